#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"

/* Buffers kept for lending: one for received bytes, one for what they decrypt to. */
enum { BUFFER_COUNT = 2 };

/* Nanoseconds of heavy work between two polls, after which no piece is begun. A full handshake is
 * two pieces, about 250 us and 60; a resumed one of TLS 1.2 takes 30 us in all. */
enum { TURNS_NS = 400 * 1000 };

/* Tasks that linger run when they have been on the older of two rings for a whole period; of a
 * crowd of them only so many at a time, with a pause in between. */
#define LINGER_PERIOD 0.1 /* seconds */
#define LINGER_PAUSE 0.005
enum { LINGER_BATCH = 64 };

/* Seconds until a one-shot timer would come round again. */
#define NEVER 1e9

/* One ml_loop_run on the stack. */
struct run {
  struct run *outer;
  bool stopped;
  bool in_ev_run; /* so that stopping breaks this ev_run and no other */
};

struct ml_loop {
  struct ev_loop *ev;
  ev_prepare prepare;     /* runs the tasks before each poll; unreferenced */
  struct ml_task tasks;   /* head of a ring, so that a task can leave without knowing its loop */
  struct ml_task waiting; /* the same, of those that wait for a turn */
  struct ml_task at_end;  /* the same, of those that wait for ml_loop_free */
  ev_idle impatient; /* active while there are such, and in a step that ran tasks: the poll does
                        not block */
  struct ml_task lingering, older; /* rings too */
  ev_timer linger;                 /* active while there are such; unreferenced */
  struct run *run;
  bool stepping; /* in ml_loop_step, and in no loop inside it */
  uint8_t *buffers[BUFFER_COUNT];
  bool lent[BUFFER_COUNT];
};

static bool is_empty(const struct ml_task *ring)
{
  return ring->next == ring;
}

static void make_empty(struct ml_task *ring)
{
  ring->prev = ring->next = ring;
}

static bool has_tasks(const struct ml_loop *loop)
{
  return !is_empty(&loop->tasks);
}

static bool anyone_waits(const struct ml_loop *loop)
{
  return !is_empty(&loop->waiting);
}

static void run_first(struct ml_task *ring)
{
  struct ml_task *task = ring->next;
  ml_task_cancel(task);
  task->run(task);
}

static void append(struct ml_task *ring, struct ml_task *task)
{
  task->prev = ring->prev;
  task->next = ring;
  task->prev->next = task;
  task->next->prev = task;
}

/* Everything on `from` goes to `to`, which is empty. */
static void move_all(struct ml_task *from, struct ml_task *to)
{
  if (is_empty(from)) return;
  *to = *from;
  to->next->prev = to->prev->next = to;
  make_empty(from);
}

static void on_linger(struct ev_loop *ev, ev_timer *timer, int revents)
{
  (void)revents;
  struct ml_loop *loop = timer->data;
  for (int i = 0; i < LINGER_BATCH && !is_empty(&loop->older); i++)
    run_first(&loop->older);
  timer->repeat = LINGER_PAUSE;
  if (is_empty(&loop->older)) {
    timer->repeat = LINGER_PERIOD;
    move_all(&loop->lingering, &loop->older);
  }
  if (is_empty(&loop->older))
    ml_loop_timer_stop(loop, timer, false);
  else
    ev_timer_again(ev, timer);
}

static void on_impatient(struct ev_loop *ev, ev_idle *idle, int revents)
{
  (void)ev, (void)idle, (void)revents;
}

static void give_turns(struct ml_loop *loop)
{
  uint64_t began = anyone_waits(loop) ? ml_now_ns() : 0;
  while (anyone_waits(loop)) {
    run_first(&loop->waiting);
    if (ml_now_ns() - began >= TURNS_NS) break;
  }
  if (!anyone_waits(loop)) ev_idle_stop(loop->ev, &loop->impatient);
}

static void on_prepare(struct ev_loop *ev, ev_prepare *prepare, int revents)
{
  (void)ev;
  (void)revents;
  struct ml_loop *loop = prepare->data;
  bool any = has_tasks(loop) || anyone_waits(loop);
  ml_loop_flush(loop);
  give_turns(loop);
  ml_loop_flush(loop);
  /* What a task did may be what the caller of a step waits for. */
  if (any && loop->stepping) ev_idle_start(loop->ev, &loop->impatient);
}

int ml_loop_new(struct ml_loop **out, struct ml_error *err)
{
  struct ml_loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) goto fail;
  for (int i = 0; i < BUFFER_COUNT; i++) {
    loop->buffers[i] = malloc(ML_LOOP_BUFFER_SIZE);
    if (loop->buffers[i] == NULL) goto fail;
  }
  loop->ev = ev_loop_new(EVFLAG_AUTO);
  if (loop->ev == NULL) goto fail;

  make_empty(&loop->tasks);
  make_empty(&loop->waiting);
  make_empty(&loop->at_end);
  make_empty(&loop->lingering);
  make_empty(&loop->older);
  ev_timer_init(&loop->linger, on_linger, LINGER_PERIOD, LINGER_PERIOD);
  loop->linger.data = loop;
  ev_idle_init(&loop->impatient, on_impatient);
  ev_prepare_init(&loop->prepare, on_prepare);
  loop->prepare.data = loop;
  ev_prepare_start(loop->ev, &loop->prepare);
  ev_unref(loop->ev);
  *out = loop;
  return 0;

fail:
  ml_error_system(err, errno != 0 ? errno : ENOMEM, "epoll_create");
  if (loop != NULL) {
    for (int i = 0; i < BUFFER_COUNT; i++)
      free(loop->buffers[i]);
  }
  free(loop);
  return -1;
}

void ml_loop_free(struct ml_loop *loop)
{
  assert(!has_tasks(loop) && !anyone_waits(loop));
  while (!is_empty(&loop->at_end))
    run_first(&loop->at_end);
  assert(is_empty(&loop->lingering) && is_empty(&loop->older));
  ml_loop_timer_stop(loop, &loop->linger, false);
  ev_idle_stop(loop->ev, &loop->impatient);
  ev_ref(loop->ev);
  ev_prepare_stop(loop->ev, &loop->prepare);
  ev_loop_destroy(loop->ev);
  for (int i = 0; i < BUFFER_COUNT; i++)
    free(loop->buffers[i]);
  free(loop);
}

struct ev_loop *ml_loop_ev(struct ml_loop *loop)
{
  return loop->ev;
}

/* A nested ev_run forgets that the one around it was told to break (ev_break(3)). */
static void renew_stop(struct ml_loop *loop)
{
  struct run *outer = loop->run;
  if (outer != NULL && outer->stopped && outer->in_ev_run) ev_break(loop->ev, EVBREAK_ONE);
}

void ml_loop_run(struct ml_loop *loop)
{
  struct run run = {.outer = loop->run};
  bool stepping = loop->stepping;
  loop->run = &run;
  loop->stepping = false;
  bool more = true;
  while (more && !run.stopped) {
    run.in_ev_run = true;
    ev_run(loop->ev, 0);
    run.in_ev_run = false;
    /* The last callback may have left tasks, and tasks may start watchers. */
    more = has_tasks(loop);
    ml_loop_flush(loop);
  }
  loop->run = run.outer;
  loop->stepping = stepping;
  renew_stop(loop);
}

bool ml_loop_step(struct ml_loop *loop, bool wait)
{
  /* A task left by code outside the loop must not wait for an event to come; and ev_run handles an
   * event that is pending already, but then waits for another. */
  bool due = has_tasks(loop) || ev_pending_count(loop->ev) > 0;
  bool stepping = loop->stepping;
  loop->stepping = true;
  int left = ev_run(loop->ev, wait && !due ? EVRUN_ONCE : EVRUN_NOWAIT);
  loop->stepping = stepping;
  if (ev_is_active(&loop->impatient) && !anyone_waits(loop)) {
    ev_idle_stop(loop->ev, &loop->impatient);
    left--;
  }
  renew_stop(loop);
  if (!has_tasks(loop)) return left > 0;
  ml_loop_flush(loop);
  return ml_loop_alive(loop);
}

void ml_loop_stop(struct ml_loop *loop)
{
  if (loop->run == NULL) return;
  loop->run->stopped = true;
  if (loop->run->in_ev_run) ev_break(loop->ev, EVBREAK_ONE);
}

/* Stands in for the callbacks during ml_loop_alive: events stay pending until the next iteration.
 */
static void leave_pending(struct ev_loop *ev)
{
  (void)ev;
}

bool ml_loop_alive(struct ml_loop *loop)
{
  if (has_tasks(loop)) return true;

  /* libev tells its count of referenced watchers only as the result of ev_run, so run one iteration
   * that handles nothing (ev_set_invoke_pending_cb, ev(3)). */
  ev_ref(loop->ev);
  ev_prepare_stop(loop->ev, &loop->prepare);
  ev_set_invoke_pending_cb(loop->ev, leave_pending);
  int left = ev_run(loop->ev, EVRUN_NOWAIT);
  ev_set_invoke_pending_cb(loop->ev, ev_invoke_pending);
  ev_prepare_start(loop->ev, &loop->prepare);
  ev_unref(loop->ev);

  /* ev_run forgets a break asked for before it. */
  if (loop->run != NULL && loop->run->stopped && loop->run->in_ev_run)
    ev_break(loop->ev, EVBREAK_ONE);
  return left > 0;
}

void ml_loop_defer(struct ml_loop *loop, struct ml_task *task)
{
  if (task->next == NULL) append(&loop->tasks, task);
}

void ml_loop_wait_turn(struct ml_loop *loop, struct ml_task *task)
{
  if (task->next != NULL) return;
  append(&loop->waiting, task);
  ev_idle_start(loop->ev, &loop->impatient);
}

void ml_loop_linger(struct ml_loop *loop, struct ml_task *task)
{
  assert(task->next == NULL);
  append(&loop->lingering, task);
  if (ev_is_active(&loop->linger)) return;
  ev_timer_set(&loop->linger, LINGER_PERIOD, LINGER_PERIOD);
  ml_loop_timer_start(loop, &loop->linger, false);
}

void ml_task_cancel(struct ml_task *task)
{
  if (task->next == NULL) return;
  task->prev->next = task->next;
  task->next->prev = task->prev;
  task->prev = task->next = NULL;
}

void ml_loop_at_end(struct ml_loop *loop, struct ml_task *task, size_t limit)
{
  append(&loop->at_end, task);
  size_t count = 0;
  for (struct ml_task *each = loop->at_end.next; each != &loop->at_end; each = each->next)
    count++;
  if (count > limit) run_first(&loop->at_end);
}

void ml_loop_flush(struct ml_loop *loop)
{
  while (has_tasks(loop))
    run_first(&loop->tasks);
}

void ml_loop_io_start(struct ml_loop *loop, ev_io *io, bool ref)
{
  if (ev_is_active(io)) return;
  ev_io_start(loop->ev, io);
  if (!ref) ev_unref(loop->ev);
}

void ml_loop_io_stop(struct ml_loop *loop, ev_io *io, bool ref)
{
  if (!ev_is_active(io)) return;
  if (!ref) ev_ref(loop->ev);
  ev_io_stop(loop->ev, io);
}

void ml_loop_timer_start(struct ml_loop *loop, ev_timer *timer, bool ref)
{
  if (ev_is_active(timer)) return;
  /* libev stops a one-shot timer by itself when it fires, which would take back a reference that an
   * unreferenced one never had. A repeat that never comes round leaves it to ml_loop_timer_stop. */
  if (timer->repeat == 0.) timer->repeat = NEVER;
  ev_timer_start(loop->ev, timer);
  if (!ref) ev_unref(loop->ev);
}

void ml_loop_timer_stop(struct ml_loop *loop, ev_timer *timer, bool ref)
{
  if (!ev_is_active(timer)) return;
  if (!ref) ev_ref(loop->ev);
  ev_timer_stop(loop->ev, timer);
}

uint8_t *ml_loop_borrow(struct ml_loop *loop)
{
  for (int i = 0; i < BUFFER_COUNT; i++) {
    if (!loop->lent[i]) {
      loop->lent[i] = true;
      return loop->buffers[i];
    }
  }
  uint8_t *buffer = malloc(ML_LOOP_BUFFER_SIZE);
  if (buffer == NULL) {
    fputs("moonlatch: out of memory\n", stderr);
    abort();
  }
  return buffer;
}

void ml_loop_give_back(struct ml_loop *loop, uint8_t *buffer)
{
  for (int i = 0; i < BUFFER_COUNT; i++) {
    if (loop->buffers[i] == buffer) {
      loop->lent[i] = false;
      return;
    }
  }
  free(buffer);
}

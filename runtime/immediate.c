#include "immediate.h"

#include <string.h>

/* At the end of a turn. Without a reference the work must not run when nothing else holds the loop:
 * libev makes one turn even then. */
static void on_task(struct ml_task *task)
{
  struct ml_immediate *immediate = ML_CONTAINER_OF(task, struct ml_immediate, task);

  if (!immediate->ref && !ml_loop_alive(immediate->loop)) return;
  bool outer = immediate->running;
  immediate->running = true;
  immediate->on_run(immediate);
  immediate->running = outer;
}

/* Only there to make the loop poll without waiting. */
static void on_idle(struct ev_loop *ev, ev_idle *idle, int revents)
{
  (void)ev;
  (void)idle;
  (void)revents;
}

static void on_prepare(struct ev_loop *ev, ev_prepare *prepare, int revents)
{
  struct ml_immediate *immediate = prepare->data;

  (void)ev;
  (void)revents;
  ml_immediate_cancel(immediate);
  ml_loop_defer(immediate->loop, &immediate->task);
}

void ml_immediate_init(struct ml_immediate *immediate, struct ml_loop *loop,
                       void (*on_run)(struct ml_immediate *))
{
  memset(immediate, 0, sizeof *immediate);
  immediate->loop = loop;
  immediate->on_run = on_run;
  immediate->task.run = on_task;
  ev_idle_init(&immediate->idle, on_idle);
  ev_prepare_init(&immediate->prepare, on_prepare);
  /* Before the loop's own, which runs the tasks. */
  ev_set_priority(&immediate->prepare, EV_MAXPRI);
  immediate->prepare.data = immediate;
}

static void start_prepare(struct ml_immediate *immediate)
{
  struct ev_loop *ev = ml_loop_ev(immediate->loop);

  immediate->prepare_ref = immediate->ref;
  ev_prepare_start(ev, &immediate->prepare);
  if (immediate->ref) {
    ev_idle_start(ev, &immediate->idle);
  } else {
    ev_unref(ev);
  }
}

void ml_immediate_request(struct ml_immediate *immediate, bool ref)
{
  ml_immediate_cancel(immediate);
  immediate->ref = ref;
  if (immediate->running) {
    start_prepare(immediate);
  } else {
    ml_loop_defer(immediate->loop, &immediate->task);
  }
}

void ml_immediate_cancel(struct ml_immediate *immediate)
{
  struct ev_loop *ev = ml_loop_ev(immediate->loop);

  ml_task_cancel(&immediate->task);
  ev_idle_stop(ev, &immediate->idle);
  if (!ev_is_active(&immediate->prepare)) return;
  if (!immediate->prepare_ref) ev_ref(ev);
  ev_prepare_stop(ev, &immediate->prepare);
}

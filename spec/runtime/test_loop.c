/* The loop: tasks, nesting, references, lent buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "loop.h"

static struct ml_loop *loop;

static int setup(void **state)
{
  (void)state;
  struct ml_error err;
  return ml_loop_new(&loop, &err);
}

static int teardown(void **state)
{
  (void)state;
  ml_loop_free(loop);
  return 0;
}

struct job {
  struct ml_task task; /* first */
  int ran;
  int again; /* times to queue itself once more */
  struct job *cancel;
  bool stop;
};

static void run_job(struct ml_task *task)
{
  struct job *job = (struct job *)(void *)task;
  job->ran++;
  if (job->again-- > 0) ml_loop_defer(loop, task);
  if (job->cancel) ml_task_cancel(&job->cancel->task);
  if (job->stop) ml_loop_stop(loop);
}

static void a_loop_with_nothing_to_do_returns(void **state)
{
  (void)state;
  assert_false(ml_loop_alive(loop));
  ml_loop_run(loop);
  assert_false(ml_loop_step(loop, true));
}

static void a_task_runs_once_however_often_it_is_queued(void **state)
{
  (void)state;
  struct job job = {.task.run = run_job};
  ml_loop_defer(loop, &job.task);
  ml_loop_defer(loop, &job.task);
  assert_true(ml_loop_alive(loop));
  ml_loop_run(loop);
  assert_int_equal(job.ran, 1);
  ml_loop_run(loop);
  assert_int_equal(job.ran, 1);
}

static void tasks_queued_by_tasks_run_in_the_same_pass(void **state)
{
  (void)state;
  struct job job = {.task.run = run_job, .again = 3};
  ml_loop_defer(loop, &job.task);
  ml_loop_flush(loop);
  assert_int_equal(job.ran, 4);
  assert_false(ml_loop_alive(loop));
}

static void a_task_can_cancel_another(void **state)
{
  (void)state;
  struct job second = {.task.run = run_job};
  struct job first = {.task.run = run_job, .cancel = &second};
  ml_loop_defer(loop, &first.task);
  ml_loop_defer(loop, &second.task);
  ml_loop_run(loop);
  assert_int_equal(first.ran, 1);
  assert_int_equal(second.ran, 0);
  ml_task_cancel(&second.task);
}

static int fired;

static void on_timer(struct ev_loop *ev, ev_timer *timer, int revents)
{
  (void)ev;
  (void)revents;
  fired++;
  ml_loop_timer_stop(loop, timer, true);
  if (timer->data != NULL) ml_loop_defer(loop, timer->data);
}

static void what_the_last_callback_defers_still_runs(void **state)
{
  (void)state;
  struct job job = {.task.run = run_job};
  ev_timer timer;
  ev_timer_init(&timer, on_timer, 0., 0.);
  timer.data = &job.task;
  fired = 0;
  ml_loop_timer_start(loop, &timer, true);
  ml_loop_run(loop);
  assert_int_equal(fired, 1);
  assert_int_equal(job.ran, 1);
}

static void alive_tells_of_watchers_and_calls_nothing(void **state)
{
  (void)state;
  ev_timer timer;
  ev_timer_init(&timer, on_timer, 0., 0.);
  timer.data = NULL;
  fired = 0;
  ml_loop_timer_start(loop, &timer, true);
  assert_true(ml_loop_alive(loop));
  assert_true(ml_loop_alive(loop));
  assert_int_equal(fired, 0);
  ml_loop_run(loop);
  assert_int_equal(fired, 1);
  assert_false(ml_loop_alive(loop));
}

static void on_readable(struct ev_loop *ev, ev_io *io, int revents)
{
  char byte;
  (void)ev;
  (void)revents;
  assert_int_equal(read(io->fd, &byte, 1), 1);
  ml_loop_io_stop(loop, io, true);
}

static void a_step_does_not_wait_when_something_is_pending(void **state)
{
  (void)state;
  int ends[2];
  ev_io io;
  ev_timer timer;
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], "x", 1), 1);
  ev_io_init(&io, on_readable, ends[0], EV_READ);
  ev_timer_init(&timer, on_timer, 10., 0.);
  timer.data = NULL;
  fired = 0;
  ml_loop_timer_start(loop, &timer, true);
  ml_loop_io_start(loop, &io, true);
  assert_true(ml_loop_alive(loop)); /* finds it, and leaves it */
  assert_true(ml_loop_step(loop, true));
  assert_false(ev_is_active(&io));
  assert_int_equal(fired, 0);
  ml_loop_timer_stop(loop, &timer, true);
  close(ends[0]);
  close(ends[1]);
}

static void an_unreferenced_watcher_does_not_hold_the_loop(void **state)
{
  (void)state;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  ev_io io;
  ev_timer timer;
  ev_io_init(&io, NULL, ends[0], EV_READ);
  ev_timer_init(&timer, on_timer, 60., 0.);
  ml_loop_io_start(loop, &io, false);
  ml_loop_io_start(loop, &io, false);
  ml_loop_timer_start(loop, &timer, false);
  assert_false(ml_loop_alive(loop));
  ml_loop_run(loop);
  ml_loop_io_stop(loop, &io, false);
  ml_loop_io_stop(loop, &io, false);
  ml_loop_timer_stop(loop, &timer, false);

  /* The count is what it was: one referenced watcher holds the loop again. */
  ml_loop_io_start(loop, &io, true);
  assert_true(ml_loop_alive(loop));
  ml_loop_io_stop(loop, &io, true);
  assert_false(ml_loop_alive(loop));
  close(ends[0]);
  close(ends[1]);
}

static void on_unreferenced(struct ev_loop *ev, ev_timer *timer, int revents)
{
  (void)ev;
  (void)revents;
  fired++;
  ml_loop_timer_stop(loop, timer, false);
}

static void an_unreferenced_timer_that_fires_keeps_the_count_right(void **state)
{
  (void)state;
  ev_timer quiet;
  ev_timer holder;
  ev_timer_init(&quiet, on_unreferenced, 0., 0.);
  ev_timer_init(&holder, on_timer, 0.01, 0.);
  holder.data = NULL;
  fired = 0;
  ml_loop_timer_start(loop, &quiet, false);
  ml_loop_timer_start(loop, &holder, true);
  ml_loop_run(loop);
  assert_int_equal(fired, 2);
  assert_false(ml_loop_alive(loop));
}

static void nested_run(struct ml_task *task)
{
  struct job *job = (struct job *)(void *)task;
  job->ran++;
  struct job inner = {.task.run = run_job, .stop = true};
  ev_timer timer;
  ev_timer_init(&timer, on_timer, 60., 0.);
  ml_loop_timer_start(loop, &timer, true);
  ml_loop_defer(loop, &inner.task);
  ml_loop_run(loop);
  assert_int_equal(inner.ran, 1);
  ml_loop_timer_stop(loop, &timer, true);
}

static void stopping_ends_the_innermost_run_only(void **state)
{
  (void)state;
  struct job outer = {.task.run = nested_run};
  ev_timer timer;
  ev_timer_init(&timer, on_timer, 0.02, 0.);
  timer.data = NULL;
  fired = 0;
  ml_loop_timer_start(loop, &timer, true);
  ml_loop_defer(loop, &outer.task);
  ml_loop_run(loop);
  assert_int_equal(outer.ran, 1);
  assert_int_equal(fired, 1);
}

static void stop_then_run_nested(struct ev_loop *ev, ev_timer *timer, int events)
{
  (void)ev;
  (void)events;
  struct job inner = {.task.run = run_job};
  ml_loop_timer_stop(loop, timer, true);
  ml_loop_stop(loop);
  ml_loop_defer(loop, &inner.task);
  while (inner.ran == 0)
    ml_loop_step(loop, false);
  fired++;
}

static void a_nested_step_does_not_undo_a_stop(void **state)
{
  (void)state;
  ev_timer soon, never;
  ev_timer_init(&soon, stop_then_run_nested, 0.01, 0.);
  ev_timer_init(&never, on_timer, 3600., 0.);
  fired = 0;
  ml_loop_timer_start(loop, &soon, true);
  ml_loop_timer_start(loop, &never, true);
  ml_loop_run(loop); /* an hour if the stop were lost */
  assert_int_equal(fired, 1);
  ml_loop_timer_stop(loop, &never, true);
}

enum { CROWD = 20, STEP_NS = 150 * 1000 };

/* Takes its time, as a step of a handshake does. */
static void run_heavy(struct ml_task *task)
{
  uint64_t began = ml_now_ns();
  while (ml_now_ns() - began < STEP_NS)
    continue;
  run_job(task);
}

static int ran_of(const struct job *jobs)
{
  int ran = 0;
  for (int i = 0; i < CROWD; i++)
    ran += jobs[i].ran;
  return ran;
}

static void wait_all(struct job *jobs, void (*run)(struct ml_task *))
{
  for (int i = 0; i < CROWD; i++) {
    jobs[i] = (struct job){.task.run = run};
    ml_loop_wait_turn(loop, &jobs[i].task);
  }
}

static void heavy_work_is_done_a_little_at_a_time_and_in_order(void **state)
{
  (void)state;
  static struct job jobs[CROWD];
  int before = 0, passes = 0;
  wait_all(jobs, run_heavy);
  while (before < CROWD) {
    struct job quick = {.task.run = run_job};
    ml_loop_defer(loop, &quick.task);
    assert_true(ml_loop_alive(loop));
    ml_loop_step(loop, true); /* does not block although no descriptor is ready */
    assert_int_equal(quick.ran, 1);
    int now = ran_of(jobs);
    assert_true(now > before && now <= before + 3); /* the third begins within 0.4 ms */
    assert_int_equal(jobs[now - 1].ran, 1);
    before = now;
    passes++;
  }
  assert_true(passes >= CROWD / 3);
  ml_loop_step(loop, false);
  assert_false(ml_loop_alive(loop));
}

static struct job *last_in_line;

static void is_last(struct ml_task *task)
{
  run_job(task);
  assert_int_equal(last_in_line->ran, 0);
}

static void heavy_work_comes_after_the_quick_work_of_its_tick(void **state)
{
  (void)state;
  struct job heavy = {.task.run = run_job}, quick = {.task.run = is_last};
  last_in_line = &heavy;
  ml_loop_wait_turn(loop, &heavy.task);
  ml_loop_defer(loop, &quick.task);
  ml_loop_step(loop, true);
  assert_int_equal(quick.ran, 1);
  assert_int_equal(heavy.ran, 1);
}

static void who_waits_for_a_turn_may_leave(void **state)
{
  (void)state;
  struct job job = {.task.run = run_job};
  ml_loop_wait_turn(loop, &job.task);
  assert_true(ml_task_queued(&job.task));
  ml_task_cancel(&job.task);
  ml_loop_run(loop);
  assert_int_equal(job.ran, 0);
  /* In the one queue it is not put into the other. */
  ml_loop_wait_turn(loop, &job.task);
  ml_loop_defer(loop, &job.task);
  ml_loop_run(loop);
  assert_int_equal(job.ran, 1);
}

static struct job *due;

static void defer_due(struct ev_loop *ev, ev_prepare *prepare, int events)
{
  (void)events;
  ev_prepare_stop(ev, prepare);
  ml_loop_defer(loop, &due->task);
}

static void a_step_does_not_wait_when_a_task_has_run(void **state)
{
  (void)state;
  struct job job = {.task.run = run_job};
  ev_timer never;
  ev_prepare early; /* before the loop's own */
  ev_timer_init(&never, on_timer, 3600., 0.);
  ev_prepare_init(&early, defer_due);
  ev_set_priority(&early, EV_MAXPRI);
  ml_loop_timer_start(loop, &never, true);
  ev_prepare_start(ml_loop_ev(loop), &early);
  due = &job;
  assert_true(ml_loop_step(loop, true)); /* an hour if it did */
  assert_int_equal(job.ran, 1);
  ml_loop_timer_stop(loop, &never, true);
}

static void a_step_does_not_wait_when_somebody_has_had_a_turn(void **state)
{
  (void)state;
  struct job job = {.task.run = run_job};
  ev_timer never;
  ev_timer_init(&never, on_timer, 3600., 0.);
  ml_loop_timer_start(loop, &never, true);
  ml_loop_wait_turn(loop, &job.task);
  assert_true(ml_loop_step(loop, true)); /* an hour if it did */
  assert_int_equal(job.ran, 1);
  ml_loop_timer_stop(loop, &never, true);
}

/* Until `ran` of the tasks that linger have run. */
static void linger_until(const int *ran, int times)
{
  ev_timer never;
  ev_timer_init(&never, on_timer, 60., 0.);
  never.data = NULL;
  ml_loop_timer_start(loop, &never, true);
  while (*ran < times && ev_is_active(&never))
    ml_loop_step(loop, true);
  ml_loop_timer_stop(loop, &never, true);
}

static void what_lingers_runs_when_nobody_cancels_it(void **state)
{
  (void)state;
  struct job left = {.task.run = run_job}, cancelled = {.task.run = run_job};
  double before = ev_time();
  ml_loop_linger(loop, &left.task);
  ml_loop_linger(loop, &cancelled.task);
  ml_task_cancel(&cancelled.task);
  linger_until(&left.ran, 1);
  assert_int_equal(left.ran, 1);
  assert_int_equal(cancelled.ran, 0);
  assert_true(ev_time() - before >= 0.09);
  assert_false(ml_task_queued(&left.task));
}

static void what_lingers_holds_no_loop(void **state)
{
  (void)state;
  struct job job = {.task.run = run_job};
  ml_loop_linger(loop, &job.task);
  assert_false(ml_loop_alive(loop));
  ml_loop_run(loop);
  assert_int_equal(job.ran, 0);
  ml_task_cancel(&job.task);
}

static int crowd_ran;

static void run_one_of_many(struct ml_task *task)
{
  (void)task;
  crowd_ran++;
}

static void a_crowd_that_lingers_runs_a_little_at_a_time(void **state)
{
  (void)state;
  enum { MANY = 1000 };
  static struct ml_task crowd[MANY];
  for (int i = 0; i < MANY; i++) {
    crowd[i].run = run_one_of_many;
    ml_loop_linger(loop, &crowd[i]);
  }
  linger_until(&crowd_ran, 1);
  assert_in_range(crowd_ran, 1, MANY / 2);
  linger_until(&crowd_ran, MANY);
  assert_int_equal(crowd_ran, MANY);
}

static void a_third_borrower_gets_a_buffer_too(void **state)
{
  (void)state;
  uint8_t *lent[3];
  for (int i = 0; i < 3; i++) {
    lent[i] = ml_loop_borrow(loop);
    lent[i][ML_LOOP_BUFFER_SIZE - 1] = 1;
  }
  assert_ptr_not_equal(lent[0], lent[1]);
  assert_ptr_not_equal(lent[1], lent[2]);
  for (int i = 0; i < 3; i++)
    ml_loop_give_back(loop, lent[i]);
  assert_ptr_equal(ml_loop_borrow(loop), lent[0]);
  ml_loop_give_back(loop, lent[0]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_loop_with_nothing_to_do_returns),
      TEST(a_task_runs_once_however_often_it_is_queued),
      TEST(tasks_queued_by_tasks_run_in_the_same_pass),
      TEST(a_task_can_cancel_another),
      TEST(what_the_last_callback_defers_still_runs),
      TEST(alive_tells_of_watchers_and_calls_nothing),
      TEST(a_step_does_not_wait_when_something_is_pending),
      TEST(an_unreferenced_watcher_does_not_hold_the_loop),
      TEST(an_unreferenced_timer_that_fires_keeps_the_count_right),
      TEST(stopping_ends_the_innermost_run_only),
      TEST(a_nested_step_does_not_undo_a_stop),
      TEST(heavy_work_is_done_a_little_at_a_time_and_in_order),
      TEST(heavy_work_comes_after_the_quick_work_of_its_tick),
      TEST(who_waits_for_a_turn_may_leave),
      TEST(a_step_does_not_wait_when_a_task_has_run),
      TEST(a_step_does_not_wait_when_somebody_has_had_a_turn),
      TEST(what_lingers_runs_when_nobody_cancels_it),
      TEST(what_lingers_holds_no_loop),
      TEST(a_crowd_that_lingers_runs_a_little_at_a_time),
      TEST(a_third_borrower_gets_a_buffer_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Timers, immediates, signals and file watching. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <signal.h>

#include "clock.h"
#include "fswatch.h"
#include "immediate.h"
#include "sigwatch.h"
#include "timer.h"

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

struct clock {
  struct ml_timer timer; /* first */
  int fired;
  int stop_after; /* 0: never */
  bool restart;   /* once, as a one-shot */
};

static void on_timeout(struct ml_timer *timer)
{
  struct clock *clock = (struct clock *)(void *)timer;

  clock->fired++;
  if (clock->fired == clock->stop_after) ml_timer_stop(timer);
  if (clock->restart) ml_timer_start(timer, 1, 0);
  clock->restart = false;
}

static void a_one_shot_fires_once_and_not_early(void **state)
{
  (void)state;
  struct clock clock = {.fired = 0};
  uint64_t start = ml_now_ns();

  ml_timer_init(&clock.timer, loop, on_timeout);
  ml_timer_start(&clock.timer, 5, 0);
  assert_true(ml_timer_active(&clock.timer));
  ml_loop_run(loop);
  assert_int_equal(clock.fired, 1);
  assert_false(ml_timer_active(&clock.timer));
  assert_true(ml_now_ns() - start >= 5000000);
}

static void a_repeating_timer_fires_until_it_is_stopped(void **state)
{
  (void)state;
  struct clock clock = {.stop_after = 3};

  ml_timer_init(&clock.timer, loop, on_timeout);
  ml_timer_start(&clock.timer, 0, 1);
  ml_loop_run(loop);
  assert_int_equal(clock.fired, 3);
}

static void a_timer_may_start_itself_again(void **state)
{
  (void)state;
  struct clock clock = {.restart = true};

  ml_timer_init(&clock.timer, loop, on_timeout);
  ml_timer_start(&clock.timer, 0, 0);
  ml_loop_run(loop);
  assert_int_equal(clock.fired, 2);
}

static void an_unreferenced_timer_does_not_hold_the_loop(void **state)
{
  (void)state;
  struct clock clock = {.fired = 0};

  ml_timer_init(&clock.timer, loop, on_timeout);
  ml_timer_start(&clock.timer, 60000, 0);
  ml_timer_ref(&clock.timer, false);
  ml_timer_ref(&clock.timer, false);
  ml_loop_run(loop);
  assert_int_equal(clock.fired, 0);
  ml_timer_ref(&clock.timer, true);
  assert_true(ml_loop_alive(loop));
  ml_timer_ref(&clock.timer, false);
  ml_timer_stop(&clock.timer);
  ml_timer_stop(&clock.timer);
  assert_false(ml_loop_alive(loop));
}

static void an_unreferenced_one_shot_leaves_the_count_right_when_it_fires(void **state)
{
  (void)state;
  struct clock clock = {.fired = 0};
  struct clock holder = {.fired = 0};

  ml_timer_init(&clock.timer, loop, on_timeout);
  ml_timer_init(&holder.timer, loop, on_timeout);
  ml_timer_ref(&clock.timer, false);
  ml_timer_start(&clock.timer, 1, 0);
  ml_timer_start(&holder.timer, 3, 0);
  ml_loop_run(loop);
  assert_int_equal(clock.fired, 1);
  assert_int_equal(holder.fired, 1);
  assert_false(ml_loop_alive(loop));
}

struct work {
  struct ml_immediate immediate; /* first */
  int ran;
  int again; /* times to ask once more */
  bool ref;
  int fired_before; /* what `clock` had counted when it ran last */
  struct clock *clock;
};

static void on_run(struct ml_immediate *immediate)
{
  struct work *work = (struct work *)(void *)immediate;

  work->ran++;
  if (work->clock) work->fired_before = work->clock->fired;
  if (work->again-- > 0) ml_immediate_request(immediate, work->ref);
}

static void an_immediate_runs_once_per_request(void **state)
{
  (void)state;
  struct work work = {.ref = true, .again = 2};

  ml_immediate_init(&work.immediate, loop, on_run);
  ml_immediate_request(&work.immediate, true);
  ml_immediate_request(&work.immediate, true);
  ml_loop_run(loop);
  assert_int_equal(work.ran, 3);
}

static void an_immediate_that_asks_again_lets_others_in_between(void **state)
{
  (void)state;
  struct clock clock = {.fired = 0};
  struct work work = {.ref = true, .again = 1000000, .clock = &clock};

  ml_immediate_init(&work.immediate, loop, on_run);
  ml_timer_init(&clock.timer, loop, on_timeout);
  ml_timer_start(&clock.timer, 1, 0);
  ml_immediate_request(&work.immediate, true);
  while (clock.fired == 0)
    ml_loop_step(loop, true);
  assert_true(work.ran > 1);
  ml_immediate_cancel(&work.immediate);
  assert_false(ml_loop_alive(loop));
}

static void an_unreferenced_immediate_runs_only_while_something_holds_the_loop(void **state)
{
  (void)state;
  struct clock clock = {.fired = 0};
  struct work work = {.ref = false};

  ml_immediate_init(&work.immediate, loop, on_run);
  ml_immediate_request(&work.immediate, false);
  ml_loop_run(loop);
  assert_int_equal(work.ran, 0);

  ml_timer_init(&clock.timer, loop, on_timeout);
  ml_timer_start(&clock.timer, 1, 0);
  ml_immediate_request(&work.immediate, false);
  ml_loop_run(loop);
  assert_int_equal(work.ran, 1);
  assert_int_equal(work.fired_before, 0);
}

static void a_cancelled_immediate_does_not_run(void **state)
{
  (void)state;
  struct work work = {.ref = true};

  ml_immediate_init(&work.immediate, loop, on_run);
  ml_immediate_request(&work.immediate, true);
  ml_immediate_cancel(&work.immediate);
  ml_immediate_cancel(&work.immediate);
  assert_false(ml_loop_alive(loop));
  ml_loop_run(loop);
  assert_int_equal(work.ran, 0);
}

struct listener {
  struct ml_sigwatch watcher; /* first */
  int heard;
};

static void on_signal(struct ml_sigwatch *watcher)
{
  struct listener *listener = (struct listener *)(void *)watcher;

  listener->heard++;
  ml_sigwatch_stop(watcher);
}

static void a_signal_is_heard_and_its_default_comes_back(void **state)
{
  (void)state;
  struct listener listener = {.heard = 0};
  struct sigaction action;
  struct ml_error err;

  ml_sigwatch_init(&listener.watcher, loop, on_signal);
  assert_int_equal(ml_sigwatch_start(&listener.watcher, SIGUSR1, &err), 0);
  assert_false(ml_loop_alive(loop));
  kill(getpid(), SIGUSR1);
  while (listener.heard == 0)
    ml_loop_step(loop, false);
  sigaction(SIGUSR1, NULL, &action);
  assert_ptr_equal(action.sa_handler, SIG_DFL);
}

static void what_is_no_signal_is_refused(void **state)
{
  (void)state;
  struct listener listener = {.heard = 0};
  struct ml_error err;

  ml_sigwatch_init(&listener.watcher, loop, on_signal);
  assert_int_equal(ml_sigwatch_start(&listener.watcher, SIGKILL, &err), -1);
  assert_string_equal(err.code, "EINVAL");
  assert_int_equal(ml_sigwatch_start(&listener.watcher, 0, &err), -1);
  assert_int_equal(ml_sigwatch_start(&listener.watcher, -1, &err), -1);
  assert_int_equal(ml_sigwatch_start(&listener.watcher, 1000, &err), -1);
  ml_sigwatch_stop(&listener.watcher);
}

struct changes {
  int renamed, changed;
  char name[64];
  bool close_first;
};

static void on_change(struct ml_fswatch *watch, void *user, enum ml_fs_change change,
                      const char *name)
{
  struct changes *changes = user;

  if (change == ML_FS_RENAMED) changes->renamed++;
  if (change == ML_FS_CHANGED) changes->changed++;
  snprintf(changes->name, sizeof changes->name, "%s", name);
  if (changes->close_first) ml_fswatch_close(watch);
}

static void touch(const char *directory, const char *name)
{
  char path[256];
  FILE *file;

  snprintf(path, sizeof path, "%s/%s", directory, name);
  file = fopen(path, "w");
  assert_non_null(file);
  fputs("x", file);
  fclose(file);
}

static void forget(const char *directory, const char *name)
{
  char path[256];

  snprintf(path, sizeof path, "%s/%s", directory, name);
  unlink(path);
}

static void a_watch_names_what_changed_and_may_close_itself(void **state)
{
  (void)state;
  char directory[] = "/tmp/moonlatch-watch-XXXXXX";
  struct changes changes = {.renamed = 0};
  struct ml_fswatch *watch;
  struct ml_error err;

  assert_non_null(mkdtemp(directory));
  assert_int_equal(ml_fswatch_open(&watch, loop, directory, on_change, &changes, &err), 0);
  assert_true(ml_loop_alive(loop));
  ml_fswatch_ref(watch, false);
  assert_false(ml_loop_alive(loop));
  ml_fswatch_ref(watch, true);
  touch(directory, "a");
  while (changes.changed == 0)
    ml_loop_step(loop, true);
  assert_int_equal(changes.renamed, 1);
  assert_string_equal(changes.name, "a");

  changes.close_first = true;
  changes.changed = changes.renamed = 0;
  touch(directory, "b");
  ml_loop_run(loop);
  assert_int_equal(changes.changed + changes.renamed, 1);
  forget(directory, "a");
  forget(directory, "b");
  rmdir(directory);
}

static void watches_of_one_place_are_told_each_and_close_alone(void **state)
{
  (void)state;
  char directory[] = "/tmp/moonlatch-watch-XXXXXX";
  struct changes first = {.close_first = true}, second = {.renamed = 0};
  struct ml_fswatch *one, *other;
  struct ml_error err;

  assert_non_null(mkdtemp(directory));
  assert_int_equal(ml_fswatch_open(&one, loop, directory, on_change, &first, &err), 0);
  assert_int_equal(ml_fswatch_open(&other, loop, directory, on_change, &second, &err), 0);
  touch(directory, "a");
  while (second.changed == 0)
    ml_loop_step(loop, true);
  assert_int_equal(first.renamed + first.changed, 1);
  assert_int_equal(second.renamed, 1);
  second.changed = second.renamed = 0;
  touch(directory, "b");
  while (second.changed == 0)
    ml_loop_step(loop, true);
  assert_int_equal(first.renamed + first.changed, 1);
  ml_fswatch_close(other);
  assert_false(ml_loop_alive(loop));
  forget(directory, "a");
  forget(directory, "b");
  rmdir(directory);
}

static void a_watch_is_told_that_more_happened_than_the_kernel_remembers(void **state)
{
  (void)state;
  char directory[] = "/tmp/moonlatch-watch-XXXXXX";
  const char *own_name = directory + strlen("/tmp/");
  struct changes changes = {.renamed = 0};
  struct ml_fswatch *watch;
  struct ml_error err;
  FILE *setting = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
  int limit = 0;

  assert_non_null(setting);
  assert_int_equal(fscanf(setting, "%d", &limit), 1);
  fclose(setting);
  assert_non_null(mkdtemp(directory));
  assert_int_equal(ml_fswatch_open(&watch, loop, directory, on_change, &changes, &err), 0);
  /* Events that are the same as the one before are dropped, so the names alternate. */
  for (int i = 0; i <= limit; i++)
    touch(directory, i % 2 == 0 ? "a" : "b");
  while (strcmp(changes.name, own_name) != 0)
    ml_loop_step(loop, true);
  touch(directory, "c");
  while (strcmp(changes.name, "c") != 0)
    ml_loop_step(loop, true);
  ml_fswatch_close(watch);
  forget(directory, "a");
  forget(directory, "b");
  forget(directory, "c");
  rmdir(directory);
}

static void a_watch_outlives_what_it_watched(void **state)
{
  (void)state;
  char directory[] = "/tmp/moonlatch-watch-XXXXXX";
  struct changes gone = {.renamed = 0};
  struct ml_fswatch *watch;
  struct ml_error err;

  assert_non_null(mkdtemp(directory));
  assert_int_equal(ml_fswatch_open(&watch, loop, directory, on_change, &gone, &err), 0);
  rmdir(directory);
  while (gone.renamed == 0)
    ml_loop_step(loop, true);
  assert_true(ml_loop_alive(loop));
  ml_fswatch_close(watch);
  assert_false(ml_loop_alive(loop));
}

static void watching_nothing_fails(void **state)
{
  (void)state;
  struct ml_fswatch *watch;
  struct ml_error err;

  assert_int_equal(ml_fswatch_open(&watch, loop, "/no/such/file", on_change, NULL, &err), -1);
  assert_string_equal(err.code, "ENOENT");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(a_one_shot_fires_once_and_not_early),
      TEST(a_repeating_timer_fires_until_it_is_stopped),
      TEST(a_timer_may_start_itself_again),
      TEST(an_unreferenced_timer_does_not_hold_the_loop),
      TEST(an_unreferenced_one_shot_leaves_the_count_right_when_it_fires),
      TEST(an_immediate_runs_once_per_request),
      TEST(an_immediate_that_asks_again_lets_others_in_between),
      TEST(an_unreferenced_immediate_runs_only_while_something_holds_the_loop),
      TEST(a_cancelled_immediate_does_not_run),
      TEST(a_signal_is_heard_and_its_default_comes_back),
      TEST(what_is_no_signal_is_refused),
      TEST(a_watch_names_what_changed_and_may_close_itself),
      TEST(watches_of_one_place_are_told_each_and_close_alone),
      TEST(a_watch_is_told_that_more_happened_than_the_kernel_remembers),
      TEST(a_watch_outlives_what_it_watched),
      TEST(watching_nothing_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

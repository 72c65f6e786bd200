/* Child processes. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"

struct fixture {
  struct ml_loop *loop;
  struct ml_child child;
  int exits;
  bool again; /* start another child inside on_exit */
};

static struct fixture *fixture_of(struct ml_child *child)
{
  return ML_CONTAINER_OF(child, struct fixture, child);
}

static const char *const again[] = {"sh", "-c", "exit 5", NULL};

static void on_exit_(struct ml_child *child)
{
  struct fixture *f = fixture_of(child);
  struct ml_error err;
  f->exits++;
  if (!f->again) return;
  f->again = false;
  const struct ml_child_options options = {.argv = again, .fds = {-1, -1, -1}};
  assert_int_equal(ml_child_start(child, &options, &err), 0);
}

static void set_up(struct fixture *f)
{
  struct ml_error err;
  memset(f, 0, sizeof(*f));
  assert_int_equal(ml_loop_new(&f->loop, &err), 0);
  ml_child_init(&f->child, f->loop, on_exit_);
}

static void start(struct fixture *f, const char *script, int out)
{
  struct ml_error err;
  const char *const argv[] = {"sh", "-c", script, NULL};
  const struct ml_child_options options = {.argv = argv, .fds = {-1, out, -1}};
  assert_int_equal(ml_child_start(&f->child, &options, &err), 0);
  assert_true(f->child.pid > 0);
}

static void the_exit_status_is_told(void **state)
{
  (void)state;
  struct fixture f;
  set_up(&f);
  start(&f, "exit 3", -1);
  ml_loop_run(f.loop);
  assert_int_equal(f.exits, 1);
  assert_int_equal(f.child.status, 3);
  assert_int_equal(f.child.signal, 0);
  ml_loop_free(f.loop);
}

static void the_signal_is_told(void **state)
{
  (void)state;
  struct fixture f;
  struct ml_error err;
  set_up(&f);
  start(&f, "exec sleep 60", -1);
  assert_int_equal(ml_child_kill(&f.child, SIGTERM, &err), 0);
  ml_loop_run(f.loop);
  assert_int_equal(f.child.signal, SIGTERM);
  assert_int_equal(ml_child_kill(&f.child, SIGTERM, &err), -1);
  assert_string_equal(err.code, "ESRCH");
  ml_loop_free(f.loop);
}

static void descriptors_are_handed_over_and_signals_are_as_by_default(void **state)
{
  (void)state;
  struct fixture f;
  int ends[2];
  char text[64] = "";
  set_up(&f);
  assert_int_equal(pipe(ends), 0);
  /* With SIGPIPE ignored, as it is here, printf would fail instead of ending the shell. */
  signal(SIGPIPE, SIG_IGN);
  start(&f, "printf hello; kill -s PIPE $$; printf wrong", ends[1]);
  close(ends[1]);
  ml_loop_run(f.loop);
  assert_int_equal(f.child.signal, SIGPIPE);
  assert_int_equal(read(ends[0], text, sizeof(text) - 1), 5);
  assert_string_equal(text, "hello");
  close(ends[0]);
  ml_loop_free(f.loop);
}

static void another_child_may_start_when_one_has_ended(void **state)
{
  (void)state;
  struct fixture f;
  set_up(&f);
  f.again = true;
  start(&f, "exit 1", -1);
  ml_loop_run(f.loop);
  assert_int_equal(f.exits, 2);
  assert_int_equal(f.child.status, 5);
  ml_loop_free(f.loop);
}

static void an_unreferenced_child_does_not_hold_the_loop(void **state)
{
  (void)state;
  struct fixture f;
  struct ml_error err;
  set_up(&f);
  start(&f, "exec sleep 60", -1);
  ml_child_ref(&f.child, false);
  ml_loop_run(f.loop);
  assert_int_equal(f.exits, 0);
  ml_child_ref(&f.child, true);
  assert_int_equal(ml_child_kill(&f.child, SIGKILL, &err), 0);
  ml_loop_run(f.loop);
  assert_int_equal(f.exits, 1);
  ml_loop_free(f.loop);
}

static void what_does_not_exist_is_not_started(void **state)
{
  (void)state;
  struct fixture f;
  struct ml_error err;
  set_up(&f);
  const char *const argv[] = {"/nonexistent", NULL};
  struct ml_child_options options = {.argv = argv, .fds = {-1, -1, -1}};
  assert_int_equal(ml_child_start(&f.child, &options, &err), -1);
  assert_string_equal(err.code, "ENOENT");
  assert_string_equal(err.syscall, "spawn");
  options.argv = again;
  options.cwd = "/nonexistent";
  assert_int_equal(ml_child_start(&f.child, &options, &err), -1);
  ml_child_stop(&f.child);
  ml_loop_run(f.loop);
  assert_int_equal(f.exits, 0);
  ml_loop_free(f.loop);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_exit_status_is_told),
      cmocka_unit_test(the_signal_is_told),
      cmocka_unit_test(descriptors_are_handed_over_and_signals_are_as_by_default),
      cmocka_unit_test(another_child_may_start_when_one_has_ended),
      cmocka_unit_test(an_unreferenced_child_does_not_hold_the_loop),
      cmocka_unit_test(what_does_not_exist_is_not_started),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Terminals, at the other end of a pseudo terminal. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "terminal.h"

struct pair {
  int master;
  int terminal;
};

static void make(struct pair *pair)
{
  pair->master = posix_openpt(O_RDWR | O_NOCTTY);
  assert_true(pair->master >= 0);
  assert_int_equal(grantpt(pair->master), 0);
  assert_int_equal(unlockpt(pair->master), 0);
  pair->terminal = open(ptsname(pair->master), O_RDWR | O_NOCTTY);
  assert_true(pair->terminal >= 0);
}

static void drop(const struct pair *pair)
{
  close(pair->terminal);
  close(pair->master);
}

static struct termios mode_of(const struct pair *pair)
{
  struct termios mode;
  memset(&mode, 0, sizeof mode);
  assert_int_equal(tcgetattr(pair->terminal, &mode), 0);
  return mode;
}

static void raw_gives_each_byte_and_back_is_as_before(void **state)
{
  (void)state;
  struct pair pair;
  struct ml_error err;
  char bytes[4];
  make(&pair);
  struct termios before = mode_of(&pair);
  assert_int_equal(ml_terminal_raw(pair.terminal, false, &err), 0);
  assert_int_equal(ml_terminal_raw(pair.terminal, true, &err), 0);
  assert_int_equal(ml_terminal_raw(pair.terminal, true, &err), 0);
  assert_int_equal(write(pair.master, "a\3\r", 3), 3);
  assert_int_equal(read(pair.terminal, bytes, sizeof bytes), 3);
  assert_memory_equal(bytes, "a\3\r", 3);
  assert_int_equal(ml_terminal_raw(pair.terminal, false, &err), 0);
  struct termios after = mode_of(&pair);
  assert_memory_equal(&before, &after, sizeof before);
  drop(&pair);
}

static void one_terminal_is_raw_at_a_time(void **state)
{
  (void)state;
  struct pair one, other;
  struct ml_error err;
  make(&one);
  make(&other);
  assert_int_equal(ml_terminal_raw(one.terminal, true, &err), 0);
  assert_int_equal(ml_terminal_raw(other.terminal, true, &err), -1);
  assert_string_equal(err.code, "EBUSY");
  assert_int_equal(ml_terminal_raw(other.terminal, false, &err), 0);
  assert_int_equal(ml_terminal_raw(one.terminal, false, &err), 0);
  assert_int_equal(ml_terminal_raw(other.terminal, true, &err), 0);
  assert_int_equal(ml_terminal_raw(other.terminal, false, &err), 0);
  drop(&one);
  drop(&other);
}

static void the_size_is_that_of_the_window(void **state)
{
  (void)state;
  struct pair pair;
  struct ml_error err;
  struct winsize size = {.ws_col = 132, .ws_row = 43};
  int columns, rows;
  make(&pair);
  assert_int_equal(ioctl(pair.master, TIOCSWINSZ, &size), 0);
  assert_int_equal(ml_terminal_size(pair.terminal, &columns, &rows, &err), 0);
  assert_int_equal(columns, 132);
  assert_int_equal(rows, 43);
  drop(&pair);
}

static void what_is_no_terminal_is_refused(void **state)
{
  (void)state;
  struct ml_error err;
  int columns, rows, ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(ml_terminal_raw(ends[0], true, &err), -1);
  assert_string_equal(err.code, "ENOTTY");
  assert_string_equal(err.syscall, "setRawMode");
  assert_int_equal(ml_terminal_size(ends[0], &columns, &rows, &err), -1);
  assert_string_equal(err.code, "ENOTTY");
  close(ends[0]);
  close(ends[1]);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(raw_gives_each_byte_and_back_is_as_before),
      cmocka_unit_test(one_terminal_is_raw_at_a_time),
      cmocka_unit_test(the_size_is_that_of_the_window),
      cmocka_unit_test(what_is_no_terminal_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages between processes: both ends in this one. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "channel.h"

struct end {
  struct ml_channel *channel;
  size_t messages, bytes;
  uint32_t sum; /* of the bytes, each times its place */
  int fd;       /* that came last; -1: none */
  int ends;
  int error; /* number of the error that came with the end; 0: none */
  bool close_inside;
};

static void on_message(struct ml_channel *channel, const uint8_t *data, size_t len, int fd)
{
  struct end *end = ml_channel_user(channel);
  end->messages++;
  end->bytes += len;
  for (size_t i = 0; i < len; i++)
    end->sum += data[i] * (uint32_t)(i + 1);
  if (end->fd >= 0) close(end->fd);
  end->fd = fd;
  if (!end->close_inside) return;
  ml_channel_close(channel);
  end->channel = NULL;
}

static void on_end(struct ml_channel *channel, const struct ml_error *err)
{
  struct end *end = ml_channel_user(channel);
  end->ends++;
  end->error = err ? err->number : 0;
  if (!end->close_inside) return;
  ml_channel_close(channel);
  end->channel = NULL;
}

static const struct ml_channel_events events = {on_message, on_end};

static void close_end(struct end *end)
{
  if (end->channel) ml_channel_close(end->channel);
  if (end->fd >= 0) close(end->fd);
}

static void open_end(struct end *end, struct ml_loop *loop, int fd)
{
  struct ml_error err;
  memset(end, 0, sizeof(*end));
  end->fd = -1;
  assert_int_equal(ml_channel_open(&end->channel, loop, fd, &events, end, &err), 0);
}

static void open_both(struct ml_loop **loop, struct end *a, struct end *b)
{
  struct ml_error err;
  int fds[2];
  assert_int_equal(ml_loop_new(loop, &err), 0);
  assert_int_equal(ml_channel_pair(fds, &err), 0);
  open_end(a, *loop, fds[0]);
  open_end(b, *loop, fds[1]);
}

static void say(struct end *end, const void *data, size_t len, int fd)
{
  struct ml_error err;
  assert_int_equal(ml_channel_send(end->channel, data, len, fd, &err), 0);
}

static void turn(struct ml_loop *loop, const size_t *what, size_t until)
{
  for (int i = 0; i < 10000 && *what < until; i++)
    ml_loop_step(loop, true);
  assert_int_equal(*what, until);
}

static void messages_arrive_whole_and_in_order(void **state)
{
  (void)state;
  struct ml_loop *loop;
  struct end a, b;
  open_both(&loop, &a, &b);
  say(&a, "one", 3, -1);
  say(&a, "", 0, -1);
  say(&a, "three", 5, -1);
  turn(loop, &b.messages, 3);
  assert_int_equal(b.bytes, 8);
  say(&b, "back", 4, -1);
  turn(loop, &a.messages, 1);
  close_end(&a);
  close_end(&b);
  ml_loop_free(loop);
}

static void a_message_larger_than_the_sockets_buffer_waits_for_room(void **state)
{
  (void)state;
  enum { SIZE = 3 << 20 };
  struct ml_loop *loop;
  struct end a, b;
  uint32_t sum = 0;
  uint8_t *data = malloc(SIZE);
  open_both(&loop, &a, &b);
  for (size_t i = 0; i < SIZE; i++) {
    data[i] = (uint8_t)(i * 7 + i / 251);
    sum += data[i] * (uint32_t)(i + 1);
  }
  say(&a, data, SIZE, -1);
  assert_true(ml_channel_queued(a.channel) > 0);
  turn(loop, &b.messages, 1);
  assert_int_equal(b.bytes, SIZE);
  assert_int_equal(b.sum, sum);
  assert_int_equal(ml_channel_queued(a.channel), 0);
  free(data);
  close_end(&a);
  close_end(&b);
  ml_loop_free(loop);
}

static ino_t inode(int fd)
{
  struct stat info;
  assert_int_equal(fstat(fd, &info), 0);
  return info.st_ino;
}

static void a_descriptor_comes_with_its_message(void **state)
{
  (void)state;
  struct ml_loop *loop;
  struct end a, b;
  int pipes[2];
  open_both(&loop, &a, &b);
  assert_int_equal(pipe(pipes), 0);
  say(&a, "no descriptor", 13, -1);
  say(&a, "the one end", 11, pipes[0]);
  turn(loop, &b.messages, 2);
  assert_true(b.fd >= 0 && b.fd != pipes[0]);
  assert_int_equal(inode(b.fd), inode(pipes[0]));
  assert_true(fcntl(b.fd, F_GETFD) & FD_CLOEXEC);
  /* Behind one that has to wait for room, and several in a row. */
  static const uint8_t large[1 << 20];
  say(&a, large, sizeof(large), -1);
  for (int i = 0; i < 40; i++)
    say(&a, "again", 5, pipes[i % 2]);
  turn(loop, &b.messages, 43);
  assert_int_equal(inode(b.fd), inode(pipes[1]));
  close(pipes[0]);
  close(pipes[1]);
  close_end(&a);
  close_end(&b);
  ml_loop_free(loop);
}

static void the_end_of_one_side_is_told_after_what_it_said(void **state)
{
  (void)state;
  struct ml_loop *loop;
  struct ml_error err;
  struct end a, b;
  open_both(&loop, &a, &b);
  say(&a, "last words", 10, -1);
  ml_channel_close(a.channel);
  a.channel = NULL;
  for (int i = 0; i < 100 && !b.ends; i++)
    ml_loop_step(loop, true);
  assert_int_equal(b.messages, 1);
  assert_int_equal(b.ends, 1);
  assert_int_equal(b.error, 0);
  assert_int_equal(ml_channel_send(b.channel, (const uint8_t *)"x", 1, -1, &err), -1);
  assert_string_equal(err.code, "EPIPE");
  close_end(&b);
  ml_loop_free(loop);
}

static void a_channel_may_be_closed_inside_its_callbacks(void **state)
{
  (void)state;
  struct ml_loop *loop;
  struct end a, b;
  open_both(&loop, &a, &b);
  b.close_inside = a.close_inside = true;
  say(&a, "one", 3, -1);
  say(&a, "two", 3, -1);
  for (int i = 0; i < 100 && !a.ends; i++)
    ml_loop_step(loop, true);
  assert_int_equal(b.messages, 1);
  assert_null(b.channel);
  assert_null(a.channel);
  close_end(&a);
  close_end(&b);
  ml_loop_free(loop);
}

static void a_peer_that_breaks_the_format_ends_it(void **state)
{
  (void)state;
  struct ml_loop *loop;
  struct ml_error err;
  struct end a;
  int fds[2];
  assert_int_equal(ml_loop_new(&loop, &err), 0);
  assert_int_equal(ml_channel_pair(fds, &err), 0);
  open_end(&a, loop, fds[0]);
  assert_int_equal(write(fds[1], "\x7f\xff\xff\xff", 4), 4);
  for (int i = 0; i < 100 && !a.ends; i++)
    ml_loop_step(loop, true);
  assert_int_equal(a.ends, 1);
  assert_true(a.error != 0);
  close(fds[1]);
  close_end(&a);
  ml_loop_free(loop);
}

static void one_message_can_be_waited_for(void **state)
{
  (void)state;
  struct ml_loop *loop;
  struct ml_error err;
  struct end a, b;
  open_both(&loop, &a, &b);
  say(&a, "first", 5, -1);
  say(&a, "second", 6, -1);
  assert_int_equal(ml_channel_wait(b.channel, &err), 0);
  assert_int_equal(b.messages, 1);
  turn(loop, &b.messages, 2);
  ml_channel_close(a.channel);
  a.channel = NULL;
  assert_int_equal(ml_channel_wait(b.channel, &err), -1);
  close_end(&b);
  ml_loop_free(loop);
}

static void only_a_referenced_channel_keeps_the_loop(void **state)
{
  (void)state;
  struct ml_loop *loop;
  struct end a, b;
  open_both(&loop, &a, &b);
  assert_true(ml_loop_alive(loop));
  ml_channel_ref(a.channel, false);
  ml_channel_ref(b.channel, false);
  assert_false(ml_loop_alive(loop));
  say(&a, "still heard", 11, -1);
  for (int i = 0; i < 100 && !b.messages; i++)
    ml_loop_step(loop, false);
  assert_int_equal(b.messages, 1);
  ml_channel_ref(a.channel, true);
  assert_true(ml_loop_alive(loop));
  close_end(&a);
  close_end(&b);
  ml_loop_free(loop);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_arrive_whole_and_in_order),
      cmocka_unit_test(a_message_larger_than_the_sockets_buffer_waits_for_room),
      cmocka_unit_test(a_descriptor_comes_with_its_message),
      cmocka_unit_test(the_end_of_one_side_is_told_after_what_it_said),
      cmocka_unit_test(a_channel_may_be_closed_inside_its_callbacks),
      cmocka_unit_test(a_peer_that_breaks_the_format_ends_it),
      cmocka_unit_test(one_message_can_be_waited_for),
      cmocka_unit_test(only_a_referenced_channel_keeps_the_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

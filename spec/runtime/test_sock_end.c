/* The last write of a sock whose owner ends it as soon as that write is taken. */
#include "sock_pair.h"

/* `a` on one end of a TCP connection that takes little, `peer` the other; `a` is to end. */
static void connection(void)
{
  struct ml_addr addr;
  const struct sockaddr *name = (const struct sockaddr *)&addr.storage;
  int size = 8192, listener = bound_to_loopback(&addr), fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
  assert_int_equal(connect(fd, name, addr.len), 0);
  peer = accept(listener, NULL, NULL);
  assert_true(peer >= 0);
  close(listener);
  open_fd(&a, fd);
  a.stream->write_through = a.stream->end_follows = true;
}

/* The other end becomes `b`, which reads. */
static void read_peer(void)
{
  open_fd(&b, peer);
  peer = -1;
  ml_stream_read_start(b.stream);
}

static void the_end_behind_the_last_write_is_done_at_once(void **state)
{
  (void)state;
  struct ml_error err;
  connection();
  assert_int_equal(write_bytes(&a, "bye", 3), ML_DONE);
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_DONE);
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_FAILED);
  assert_string_equal(err.code, "EPIPE");
  assert_int_equal(write_bytes(&a, "x", 1), ML_FAILED);
  read_peer();
  ml_loop_run(loop);
  assert_int_equal(b.len, 3);
  assert_int_equal(b.count[END], 1);
  assert_int_equal(a.events, 0);
}

static int status_of_end;

static void end_when_written(struct recorder *r, enum recorded what)
{
  struct ml_error err;
  if (what == WRITTEN) status_of_end = ml_stream_shutdown(r->stream, &err);
}

static void the_end_behind_a_full_queue_is_done_when_that_is_out(void **state)
{
  (void)state;
  connection();
  status_of_end = ML_FAILED;
  a.hook = end_when_written;
  fill();
  ml_loop_step(loop, false);
  assert_int_equal(a.events, 0);
  read_peer();
  ml_loop_run(loop);
  assert_int_equal(status_of_end, ML_DONE);
  assert_int_equal(b.len, 1 << 20);
  assert_int_equal(b.count[END], 1);
  assert_int_equal(a.events, 1); /* the write */
}

static void an_end_asked_for_behind_a_full_queue_is_told_later(void **state)
{
  (void)state;
  struct ml_error err;
  connection();
  fill();
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  read_peer();
  ml_loop_run(loop);
  assert_int_equal(a.events, 2);
  assert_int_equal(a.order[0], WRITTEN);
  assert_int_equal(a.order[1], SHUTDOWN);
  assert_int_equal(b.len, 1 << 20);
  assert_int_equal(b.count[END], 1);
}

static void what_is_held_back_for_the_end_leaves_with_a_close(void **state)
{
  (void)state;
  connection();
  assert_int_equal(write_bytes(&a, "bye", 3), ML_DONE);
  recorder_close(&a);
  read_peer();
  ml_loop_run(loop);
  assert_int_equal(b.len, 3);
  assert_int_equal(b.count[END], 1);
}

static void the_end_of_a_connection_that_was_reset_is_one_failure(void **state)
{
  (void)state;
  struct ml_error err;
  struct linger now = {.l_onoff = 1};
  connection();
  assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
  close(peer);
  peer = -1;
  assert_int_equal(write_bytes(&a, "bye", 3), ML_PENDING);
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  assert_int_equal(a.events, 0);
  ml_loop_run(loop);
  assert_int_equal(a.events, 1);
  assert_int_equal(a.count[ERROR], 1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(the_end_behind_the_last_write_is_done_at_once),
      TEST(the_end_behind_a_full_queue_is_done_when_that_is_out),
      TEST(an_end_asked_for_behind_a_full_queue_is_told_later),
      TEST(what_is_held_back_for_the_end_leaves_with_a_close),
      TEST(the_end_of_a_connection_that_was_reset_is_one_failure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

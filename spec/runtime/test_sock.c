/* Socks over socket pairs: reading, writing, ending, closing. */
#include "sock_pair.h"

static void small_writes_leave_together_when_the_tick_ends(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(write_bytes(&a, "one ", 4), ML_DONE);
  assert_int_equal(write_bytes(&a, "two ", 4), ML_DONE);
  struct ml_slice list[] = {{(const uint8_t *)"thr", 3}, {NULL, 0}, {(const uint8_t *)"ee", 2}};
  struct ml_error err;
  assert_int_equal(ml_stream_write(a.stream, list, 3, &err), ML_DONE);
  assert_int_equal(waiting(), 0);
  assert_int_equal(ml_stream_queued(a.stream), 13);
  ml_loop_run(loop);
  assert_int_equal(waiting(), 13);
  assert_int_equal(ml_stream_queued(a.stream), 0);
  assert_int_equal(a.stream->bytes_written, 13);
  assert_int_equal(a.events, 0);
}

static void write_through_sends_at_once(void **state)
{
  (void)state;
  pair_with_fd();
  a.stream->write_through = true;
  assert_int_equal(write_bytes(&a, "now", 3), ML_DONE);
  assert_int_equal(waiting(), 3);
}

static void a_large_write_takes_the_queue_along_at_once(void **state)
{
  (void)state;
  static uint8_t big[ML_SOCK_GATHER];
  pair_with_fd();
  assert_int_equal(write_bytes(&a, "head", 4), ML_DONE);
  assert_int_equal(write_bytes(&a, big, sizeof big), ML_DONE);
  assert_int_equal(waiting(), 65536);
  assert_int_equal(ml_stream_queued(a.stream), 0);
}

static void what_the_kernel_refuses_follows_by_reference(void **state)
{
  (void)state;
  enum { SIZE = 8 * 1024 * 1024 };
  uint8_t *bytes = pattern(SIZE);
  pair();
  assert_int_equal(write_bytes(&a, bytes, 5), ML_DONE);
  assert_int_equal(write_bytes(&a, bytes + 5, SIZE - 5), ML_PENDING);
  assert_true(ml_stream_queued(a.stream) > 0);
  ml_stream_read_start(b.stream);
  a.stop_in = WRITTEN;
  ml_loop_run(loop);
  assert_int_equal(a.count[WRITTEN], 1);
  assert_int_equal(ml_stream_queued(a.stream), 0);
  recorder_close(&a);
  ml_loop_run(loop);
  assert_int_equal(b.count[END], 1);
  assert_int_equal(b.len, SIZE);
  assert_memory_equal(b.bytes, bytes, SIZE);
  assert_int_equal(b.stream->bytes_read, SIZE);
  free(bytes);
}

static void many_slices_arrive_in_order(void **state)
{
  (void)state;
  enum { COUNT = 300, EACH = 4001 };
  uint8_t *bytes = pattern(COUNT * EACH);
  struct ml_slice slices[COUNT];
  for (int i = 0; i < COUNT; i++)
    slices[i] = (struct ml_slice){bytes + i * EACH, EACH};
  pair();
  struct ml_error err;
  assert_int_equal(ml_stream_write(a.stream, slices, COUNT, &err), ML_PENDING);
  ml_stream_read_start(b.stream);
  a.close_in = WRITTEN;
  ml_loop_run(loop);
  assert_int_equal(b.len, COUNT * EACH);
  assert_memory_equal(b.bytes, bytes, COUNT * EACH);
  free(bytes);
}

static void closing_sends_what_was_taken_over(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(write_bytes(&a, "last words", 10), ML_DONE);
  recorder_close(&a);
  assert_int_equal(waiting(), 10);
}

static void a_paused_stream_reads_nothing(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(write(peer, "x", 1), 1);
  ml_stream_read_start(a.stream);
  ml_stream_read_stop(a.stream);
  ml_loop_run(loop);
  assert_int_equal(a.events, 0);
  a.close_in = READ;
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  assert_int_equal(a.len, 1);
}

static void the_end_is_told_once_and_writing_goes_on(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(shutdown(peer, SHUT_WR), 0);
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  assert_int_equal(a.count[END], 1);
  assert_int_equal(write_bytes(&a, "still here", 10), ML_DONE);
  ml_loop_run(loop);
  assert_int_equal(waiting(), 10);
}

static void shutdown_follows_the_last_byte(void **state)
{
  (void)state;
  struct ml_error err;
  pair();
  assert_int_equal(write_bytes(&a, "bye", 3), ML_DONE);
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  assert_int_equal(write_bytes(&a, "x", 1), ML_FAILED);
  assert_int_equal(a.count[SHUTDOWN], 0);
  ml_stream_read_start(b.stream);
  ml_loop_run(loop);
  assert_int_equal(b.len, 3);
  assert_int_equal(b.count[END], 1);
  assert_int_equal(a.count[SHUTDOWN], 1);
}

static void a_shutdown_behind_a_full_queue_is_told_later(void **state)
{
  (void)state;
  struct ml_error err;
  pair();
  fill();
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  ml_stream_read_start(b.stream);
  ml_loop_run(loop);
  assert_int_equal(a.events, 2);
  assert_int_equal(a.order[0], WRITTEN);
  assert_int_equal(a.order[1], SHUTDOWN);
  assert_int_equal(b.len, 1 << 20);
  assert_int_equal(b.count[END], 1);
}

static void input_that_nobody_read_does_not_make_a_reset_of_an_end(void **state)
{
  (void)state;
  struct ml_error err;
  char buffer[16];
  pair_with_fd();
  assert_int_equal(write_bytes(&a, "bye", 3), ML_DONE);
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  assert_int_equal(write(peer, "unread", 6), 6);
  recorder_close(&a);
  assert_int_equal(recv(peer, buffer, sizeof buffer, 0), 3);
  assert_int_equal(recv(peer, buffer, sizeof buffer, 0), 0);
}

static void a_write_to_a_dead_peer_is_an_error_event(void **state)
{
  (void)state;
  pair_with_fd();
  close(peer);
  peer = -1;
  a.stream->write_through = true;
  assert_int_equal(write_bytes(&a, "x", 1), ML_PENDING);
  assert_int_equal(a.events, 0);
  ml_loop_run(loop);
  assert_int_equal(a.count[ERROR], 1);
  assert_string_equal(a.error.code, "EPIPE");
  assert_string_equal(a.error.syscall, "write");
  assert_int_equal(a.events, 1);
  assert_int_equal(write_bytes(&a, "x", 1), ML_FAILED);
}

static void what_the_peer_said_before_it_died_comes_first(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(write(peer, "an alert", 8), 8);
  close(peer);
  peer = -1;
  ml_stream_read_start(a.stream);
  a.stream->write_through = true;
  assert_int_equal(write_bytes(&a, "x", 1), ML_PENDING);
  ml_loop_run(loop);
  assert_int_equal(a.len, 8);
  assert_int_equal(a.events, 2);
  assert_int_equal(a.order[0], READ);
  assert_int_equal(a.order[1], ERROR);
}

static void a_failed_flush_is_reported_once(void **state)
{
  (void)state;
  pair_with_fd();
  close(peer);
  peer = -1;
  assert_int_equal(write_bytes(&a, "x", 1), ML_DONE);
  assert_int_equal(write_bytes(&a, "y", 1), ML_DONE);
  ml_loop_run(loop);
  assert_int_equal(a.events, 1);
  assert_string_equal(a.error.code, "EPIPE");
}

static void unreferenced_streams_do_not_hold_the_loop(void **state)
{
  (void)state;
  pair_with_fd();
  ml_stream_read_start(a.stream);
  ml_stream_ref(a.stream, false);
  ml_loop_run(loop);
  ml_stream_ref(a.stream, true);
  assert_true(ml_loop_alive(loop));
  ml_stream_ref(a.stream, false);
  assert_false(ml_loop_alive(loop));
  ml_stream_ref(a.stream, true);
}

/* ---- Closing inside each callback. AddressSanitizer sees what goes wrong. ---- */

static void it_can_be_closed_while_reading(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(write(peer, "x", 1), 1);
  a.close_in = READ;
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  assert_null(a.stream);
}

static void it_can_be_closed_at_the_end(void **state)
{
  (void)state;
  pair_with_fd();
  shutdown(peer, SHUT_WR);
  a.close_in = END;
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  assert_null(a.stream);
}

static void it_can_be_closed_when_written(void **state)
{
  (void)state;
  struct ml_error err;
  pair();
  fill();
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  a.close_in = WRITTEN;
  ml_stream_read_start(b.stream);
  ml_loop_run(loop);
  assert_null(a.stream);
  assert_int_equal(a.count[SHUTDOWN], 0);
}

static void it_can_be_closed_when_shut_down(void **state)
{
  (void)state;
  struct ml_error err;
  pair();
  fill();
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  a.close_in = SHUTDOWN;
  ml_stream_read_start(b.stream);
  ml_loop_run(loop);
  assert_null(a.stream);
}

static void it_can_be_closed_on_an_error(void **state)
{
  (void)state;
  pair_with_fd();
  close(peer);
  peer = -1;
  assert_int_equal(write_bytes(&a, "x", 1), ML_DONE);
  a.close_in = ERROR;
  ml_loop_run(loop);
  assert_null(a.stream);
}

static void it_can_be_closed_while_the_last_words_are_read(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(write(peer, "x", 1), 1);
  close(peer);
  peer = -1;
  ml_stream_read_start(a.stream);
  assert_int_equal(write_bytes(&a, "x", 1), ML_DONE);
  a.close_in = READ;
  ml_loop_run(loop);
  assert_null(a.stream);
  assert_int_equal(a.events, 1);
}

static void close_in_a_nested_run(struct recorder *r, enum recorded what)
{
  if (what != READ || r->count[READ] > 1) return;
  assert_int_equal(write(peer, "y", 1), 1);
  r->close_in = READ;
  ml_loop_run(loop);
  r->close_in = NOTHING;
}

static void it_can_be_closed_by_a_nested_loop(void **state)
{
  (void)state;
  pair_with_fd();
  assert_int_equal(write(peer, "x", 1), 1);
  a.hook = close_in_a_nested_run;
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  assert_null(a.stream);
  assert_int_equal(a.len, 2);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(small_writes_leave_together_when_the_tick_ends),
      TEST(write_through_sends_at_once),
      TEST(a_large_write_takes_the_queue_along_at_once),
      TEST(what_the_kernel_refuses_follows_by_reference),
      TEST(many_slices_arrive_in_order),
      TEST(closing_sends_what_was_taken_over),
      TEST(a_paused_stream_reads_nothing),
      TEST(the_end_is_told_once_and_writing_goes_on),
      TEST(shutdown_follows_the_last_byte),
      TEST(a_shutdown_behind_a_full_queue_is_told_later),
      TEST(input_that_nobody_read_does_not_make_a_reset_of_an_end),
      TEST(a_write_to_a_dead_peer_is_an_error_event),
      TEST(what_the_peer_said_before_it_died_comes_first),
      TEST(a_failed_flush_is_reported_once),
      TEST(unreferenced_streams_do_not_hold_the_loop),
      TEST(it_can_be_closed_while_reading),
      TEST(it_can_be_closed_at_the_end),
      TEST(it_can_be_closed_when_written),
      TEST(it_can_be_closed_when_shut_down),
      TEST(it_can_be_closed_on_an_error),
      TEST(it_can_be_closed_while_the_last_words_are_read),
      TEST(it_can_be_closed_by_a_nested_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Pipes between streams that the tests move by hand, and between socks. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_stream.h"
#include "pipe.h"
#include "recorder.h"
#include "sock.h"

static struct ml_loop *loop;
static struct fake from, to;
static struct ml_pipe *piped;
static int status; /* of the last ml_pipe_read */
static struct ml_error why;
static int ends, written; /* what the owners were told */

static void on_read(struct ml_stream *stream, const uint8_t *data, size_t len)
{
  assert_ptr_equal(stream, ml_pipe_from(piped));
  status = ml_pipe_read(piped, data, len, &why);
  /* What was lent is over. */
  memset((void *)(uintptr_t)data, '#', len);
}

static void on_end(struct ml_stream *stream)
{
  (void)stream;
  ends++;
}

static void on_written(struct ml_stream *stream)
{
  assert_ptr_equal(stream, ml_pipe_to(piped));
  ml_pipe_written(piped);
  written++;
}

static void unexpected(struct ml_stream *stream)
{
  (void)stream;
  fail();
}

static void on_error(struct ml_stream *stream, const struct ml_error *err)
{
  (void)stream;
  (void)err;
}

static const struct ml_stream_events owner = {
    .on_read = on_read,
    .on_end = on_end,
    .on_written = on_written,
    .on_shutdown = unexpected,
    .on_connect = unexpected,
    .on_error = on_error,
};

static int setup(void **state)
{
  (void)state;
  struct ml_error err;
  if (ml_loop_new(&loop, &err) != 0) return -1;
  fake_init(&from, loop);
  fake_init(&to, loop);
  from.stream.events = to.stream.events = &owner;
  status = ends = written = 0;
  piped = ml_pipe_new(&from.stream, &to.stream);
  if (piped == NULL) return -1;
  ml_stream_read_start(&from.stream);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  if (!from.closed) ml_stream_close(&from.stream);
  if (!to.closed) ml_stream_close(&to.stream);
  if (piped != NULL) ml_pipe_free(piped);
  fake_free(&from);
  fake_free(&to);
  ml_loop_free(loop);
  return 0;
}

static void came_out(const char *text)
{
  assert_int_equal(ml_buf_size(&to.outbox), strlen(text));
  assert_memory_equal(ml_buf_data(&to.outbox), text, strlen(text));
}

static void what_one_reads_the_other_writes(void **state)
{
  (void)state;
  from.chunk = 4;
  fake_give(&from, "one two three", 13);
  ml_loop_run(loop);
  came_out("one two three");
  assert_int_equal(status, ML_DONE);
  assert_int_equal(ml_pipe_pending(piped), 0);
}

static void the_rest_of_a_write_is_kept_and_reading_stops(void **state)
{
  (void)state;
  from.chunk = 8;
  to.room = 3;
  fake_give(&from, "abcdefghijkl", 12);
  ml_loop_run(loop);
  assert_int_equal(status, ML_PENDING);
  assert_int_equal(ml_pipe_pending(piped), 8);
  assert_false(from.reading);
  came_out("abc");
}

static void reading_goes_on_when_the_write_is_done(void **state)
{
  (void)state;
  the_rest_of_a_write_is_kept_and_reading_stops(state);
  to.room = SIZE_MAX;
  fake_take(&to);
  assert_int_equal(ml_pipe_pending(piped), 0);
  ml_loop_run(loop);
  came_out("abcdefghijkl");
}

static void a_stopped_pipe_finishes_its_write_and_reads_no_more(void **state)
{
  (void)state;
  the_rest_of_a_write_is_kept_and_reading_stops(state);
  ml_pipe_stop(piped);
  assert_null(ml_pipe_from(piped));
  ml_stream_close(&from.stream); /* nobody uses it */
  to.room = SIZE_MAX;
  fake_take(&to);
  assert_int_equal(written, 1);
  came_out("abcdefgh");
}

static void a_stopped_pipe_can_be_freed_with_the_stream_it_writes_to(void **state)
{
  (void)state;
  the_rest_of_a_write_is_kept_and_reading_stops(state);
  ml_pipe_stop(piped);
  ml_stream_close(&to.stream);
  ml_pipe_free(piped);
  piped = NULL;
}

static void a_failed_write_is_told_by_the_result(void **state)
{
  (void)state;
  to.fails = true;
  fake_give(&from, "lost", 4);
  ml_loop_run(loop);
  assert_int_equal(status, ML_FAILED);
  assert_int_equal(why.number, EPIPE);
  assert_int_equal(ml_pipe_pending(piped), 0);
}

static void the_end_is_the_owners_affair(void **state)
{
  (void)state;
  fake_give(&from, "bye", 3);
  fake_end(&from);
  ml_loop_run(loop);
  came_out("bye");
  assert_int_equal(ends, 1);
  assert_false(to.shut);
}

static void a_stream_can_be_piped_into_itself(void **state)
{
  (void)state;
  ml_pipe_free(piped);
  piped = ml_pipe_new(&from.stream, &from.stream);
  assert_non_null(piped);
  from.room = 2;
  fake_give(&from, "echo", 4);
  ml_loop_run(loop);
  assert_int_equal(ml_pipe_pending(piped), 4);
  from.room = SIZE_MAX;
  fake_take(&from);
  fake_give(&from, " again", 6);
  ml_loop_run(loop);
  assert_int_equal(ml_buf_size(&from.outbox), 10);
  assert_memory_equal(ml_buf_data(&from.outbox), "echo again", 10);
}

/* ---- Socks ---- */

enum { TOTAL = 4 << 20 };

static struct ml_stream *sock_on(int fd)
{
  struct ml_error err;
  struct ml_sock *sock = ml_sock_new(loop, &owner, NULL);
  assert_non_null(sock);
  assert_int_equal(ml_sock_open_fd(sock, fd, &err), 0);
  return ml_sock_stream(sock);
}

/* Bytes that differ from place to place. */
static uint8_t byte_at(size_t i)
{
  return (uint8_t)(i * 31 + (i >> 8) * 17 + (i >> 16));
}

static void megabytes_go_through_socks_at_the_pace_of_a_slow_reader(void **state)
{
  (void)state;
  int in[2], out[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, in), 0);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, out), 0);
  struct ml_stream *source = sock_on(in[1]), *sink = sock_on(out[0]);
  ml_pipe_free(piped);
  piped = ml_pipe_new(source, sink);
  assert_non_null(piped);
  ml_stream_read_start(source);

  size_t sent = 0, got = 0;
  int held_up = 0;
  uint8_t buffer[10000];
  while (got < TOTAL) {
    size_t n = TOTAL - sent < sizeof buffer ? TOTAL - sent : sizeof buffer;
    for (size_t i = 0; i < n; i++)
      buffer[i] = byte_at(sent + i);
    ssize_t taken = n > 0 ? write(in[0], buffer, n) : 0;
    if (taken > 0) sent += (size_t)taken;
    (void)ml_loop_step(loop, false);
    if (ml_pipe_pending(piped) > 0) held_up++;
    /* Only now and then, so that everything in between fills up. */
    if (sent < TOTAL && taken > 0) continue;
    ssize_t came = read(out[1], buffer, sizeof buffer);
    for (ssize_t i = 0; i < came; i++)
      assert_int_equal(buffer[i], byte_at(got + (size_t)i));
    if (came > 0) got += (size_t)came;
  }
  assert_true(held_up > 0);
  assert_int_equal(source->bytes_read, TOTAL);
  assert_int_equal(sink->bytes_written, TOTAL);
  ml_pipe_stop(piped);
  ml_stream_close(source);
  ml_stream_close(sink);
  close(in[0]);
  close(out[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(what_one_reads_the_other_writes),
      TEST(the_rest_of_a_write_is_kept_and_reading_stops),
      TEST(reading_goes_on_when_the_write_is_done),
      TEST(a_stopped_pipe_finishes_its_write_and_reads_no_more),
      TEST(a_stopped_pipe_can_be_freed_with_the_stream_it_writes_to),
      TEST(a_failed_write_is_told_by_the_result),
      TEST(the_end_is_the_owners_affair),
      TEST(a_stream_can_be_piped_into_itself),
      TEST(megabytes_go_through_socks_at_the_pace_of_a_slow_reader),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

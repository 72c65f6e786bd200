/* Descriptors that stay a little longer, so that what was sent last arrives. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "linger.h"
#include "recorder.h"
#include "sock.h"

static struct ml_loop *loop;

static int setup(void **state)
{
  (void)state;
  struct ml_error err;
  signal(SIGPIPE, SIG_IGN);
  return ml_loop_new(&loop, &err);
}

static int teardown(void **state)
{
  (void)state;
  if (loop != NULL) ml_loop_free(loop);
  loop = NULL;
  return 0;
}

static void pair(int fds[2])
{
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

static bool is_open(int fd)
{
  return fcntl(fd, F_GETFD) >= 0;
}

/* Until the loop has handled what is there. */
static void settle(void)
{
  for (int i = 0; i < 4; i++)
    (void)ml_loop_step(loop, false);
}

/* `fds[0]` lingers. */
static void begin(int fds[2])
{
  struct ml_buf none = {0};
  pair(fds);
  ml_linger(loop, fds[0], &none);
}

/* A sock of `r` on `fds[0]`. */
static struct ml_sock *open_sock(struct recorder *r, int fds[2])
{
  struct ml_error err;
  pair(fds);
  struct ml_sock *sock = ml_sock_new(loop, NULL, NULL);
  assert_int_equal(ml_sock_open_fd(sock, fds[0], &err), 0);
  recorder_take(r, ml_sock_stream(sock));
  return sock;
}

static void let_linger(struct ml_sock *sock, const char *text)
{
  struct ml_buf words = {0};
  assert_int_equal(ml_buf_append(&words, text, strlen(text)), 0);
  ml_sock_linger(sock, &words);
  ml_buf_free(&words);
}

/* Reads until the end; the number of bytes, with the last few in `tail`. */
static size_t drain(int fd, char tail[4])
{
  static char bytes[65536];
  size_t total = 0;
  for (int idle = 0; idle < 1000; idle++) {
    settle();
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0) return total;
    if (n < 3) continue;
    total += (size_t)n;
    memcpy(tail, bytes + n - 3, 3);
    idle = 0;
  }
  fail_msg("no end has come");
  return total;
}

static void what_a_sock_said_last_arrives_though_the_peer_goes_on(void **state)
{
  (void)state;
  struct recorder r = {0};
  struct ml_error err;
  struct ml_slice bye = {(const uint8_t *)"bye", 3};
  char buffer[16];
  int fds[2];
  struct ml_sock *sock = open_sock(&r, fds);
  assert_int_equal(write(fds[1], "unread", 6), 6);
  assert_int_equal(ml_stream_write(r.stream, &bye, 1, &err), ML_DONE);
  let_linger(sock, "");
  recorder_close(&r);
  settle();
  assert_int_equal(write(fds[1], "more", 4), 4);
  settle();
  assert_int_equal(recv(fds[1], buffer, sizeof buffer, 0), 3);
  assert_int_equal(recv(fds[1], buffer, sizeof buffer, 0), 0);
  close(fds[1]);
  settle();
  assert_false(is_open(fds[0]));
}

static void words_wait_for_a_peer_that_does_not_read(void **state)
{
  (void)state;
  static uint8_t bytes[1 << 20];
  struct recorder r = {0};
  struct ml_error err;
  struct ml_slice bulk = {bytes, sizeof bytes};
  char tail[4] = "";
  int fds[2];
  struct ml_sock *sock = open_sock(&r, fds);
  assert_int_equal(ml_stream_write(r.stream, &bulk, 1, &err), ML_PENDING);
  let_linger(sock, "bye");
  recorder_close(&r);
  assert_int_equal(drain(fds[1], tail), sizeof bytes + 3);
  assert_string_equal(tail, "bye");
  close(fds[1]);
  settle();
  assert_false(is_open(fds[0]));
}

static void words_are_sent_to_a_peer_that_has_ended(void **state)
{
  (void)state;
  struct ml_buf words = {0};
  char tail[4] = "";
  int fds[2];
  pair(fds);
  static char bytes[65536];
  size_t sent = 0;
  for (ssize_t n; (n = write(fds[0], bytes, sizeof bytes)) > 0;)
    sent += (size_t)n;
  assert_int_equal(ml_buf_append(&words, "bye", 3), 0);
  ml_linger(loop, fds[0], &words);
  assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
  settle();
  assert_true(is_open(fds[0]));
  assert_int_equal(drain(fds[1], tail), sent + 3);
  assert_string_equal(tail, "bye");
  assert_false(is_open(fds[0]));
  close(fds[1]);
}

static void words_go_nowhere_when_the_peer_has_left(void **state)
{
  (void)state;
  struct ml_buf words = {0};
  int fds[2];
  pair(fds);
  close(fds[1]);
  assert_int_equal(ml_buf_append(&words, "bye", 3), 0);
  ml_linger(loop, fds[0], &words);
  assert_false(is_open(fds[0]));
}

static void a_peer_that_has_ended_is_not_waited_for(void **state)
{
  (void)state;
  struct recorder r = {0};
  int fds[2];
  struct ml_sock *sock = open_sock(&r, fds);
  assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
  r.stop_in = END;
  ml_stream_read_start(r.stream);
  ml_loop_run(loop);
  let_linger(sock, "words");
  recorder_close(&r);
  assert_false(is_open(fds[0]));
  close(fds[1]);
}

static void a_reset_stays_one(void **state)
{
  (void)state;
  struct recorder r = {0};
  struct ml_error err;
  int fds[2];
  struct ml_sock *sock = open_sock(&r, fds);
  let_linger(sock, "words");
  assert_int_equal(ml_sock_set_reset(sock, &err), 0);
  recorder_close(&r);
  assert_false(is_open(fds[0]));
  close(fds[1]);
}

static void the_loop_is_not_held_open(void **state)
{
  (void)state;
  int fds[2];
  begin(fds);
  ml_loop_run(loop);
  assert_true(is_open(fds[0]));
  ml_loop_free(loop);
  loop = NULL;
  assert_false(is_open(fds[0]));
  close(fds[1]);
}

static void a_flood_has_an_end(void **state)
{
  (void)state;
  static char bytes[65536];
  size_t sent = 0;
  int fds[2];
  begin(fds);
  while (is_open(fds[0]) && sent < 2 * ML_LINGER_BYTES) {
    ssize_t n = write(fds[1], bytes, sizeof bytes);
    if (n > 0) sent += (size_t)n;
    settle();
  }
  assert_true(sent >= ML_LINGER_BYTES);
  assert_true(sent < 2 * ML_LINGER_BYTES);
  close(fds[1]);
}

static void the_oldest_goes_for_one_too_many(void **state)
{
  (void)state;
  static int fds[ML_LINGER_COUNT + 1][2];
  for (int i = 0; i < ML_LINGER_COUNT; i++)
    begin(fds[i]);
  assert_true(is_open(fds[0][0]));
  pair(fds[ML_LINGER_COUNT]);
  struct ml_buf none = {0};
  ml_linger(loop, fds[ML_LINGER_COUNT][0], &none);
  assert_false(is_open(fds[0][0]));
  for (int i = 1; i <= ML_LINGER_COUNT; i++)
    assert_true(is_open(fds[i][0]));
  for (int i = 0; i <= ML_LINGER_COUNT; i++)
    close(fds[i][1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(what_a_sock_said_last_arrives_though_the_peer_goes_on),
      TEST(words_wait_for_a_peer_that_does_not_read),
      TEST(words_are_sent_to_a_peer_that_has_ended),
      TEST(words_go_nowhere_when_the_peer_has_left),
      TEST(a_peer_that_has_ended_is_not_waited_for),
      TEST(a_reset_stays_one),
      TEST(the_loop_is_not_held_open),
      TEST(a_flood_has_an_end),
      TEST(the_oldest_goes_for_one_too_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

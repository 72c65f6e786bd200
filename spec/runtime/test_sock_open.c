/* How socks come to be: by connecting, and on descriptors of other kinds. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>

#include "sock_pair.h"

/* ---- Connecting ---- */

static int start_connecting(struct recorder *r, const struct ml_addr *addr, struct ml_error *err)
{
  struct ml_sock *sock = ml_sock_new(loop, NULL, NULL);
  assert_non_null(sock);
  recorder_take(r, ml_sock_stream(sock));
  return ml_sock_connect(sock, addr, NULL, err);
}

static void what_is_written_while_connecting_is_sent(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  int listener = bound_to_loopback(&addr);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(start_connecting(&a, &addr, &err), 0);
  assert_int_equal(write_bytes(&a, "early", 5), ML_PENDING);
  assert_int_equal(ml_stream_shutdown(a.stream, &err), ML_PENDING);
  ml_loop_run(loop);
  assert_int_equal(a.events, 3);
  assert_int_equal(a.order[0], CONNECT);
  assert_int_equal(a.order[1], WRITTEN);
  assert_int_equal(a.order[2], SHUTDOWN);
  peer = accept(listener, NULL, NULL);
  assert_int_equal(waiting(), 5);

  struct ml_addr remote;
  assert_int_equal(ml_stream_remote(a.stream, &remote, &err), 0);
  assert_int_equal(ml_addr_port(&remote), ml_addr_port(&addr));
  close(listener);
}

static void a_refused_connection_names_the_address(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  char message[64];
  int bound = bound_to_loopback(&addr); /* never listens: the port is ours and refuses */
  assert_int_equal(start_connecting(&a, &addr, &err), 0);
  a.close_in = ERROR;
  ml_loop_run(loop);
  assert_int_equal(a.count[ERROR], 1);
  assert_string_equal(a.error.code, "ECONNREFUSED");
  assert_string_equal(a.error.syscall, "connect");
  assert_string_equal(a.error.address, "127.0.0.1");
  assert_int_equal(a.error.port, ml_addr_port(&addr));
  snprintf(message, sizeof message, "connect ECONNREFUSED 127.0.0.1:%d", ml_addr_port(&addr));
  assert_string_equal(a.error.message, message);
  close(bound);
}

static void a_missing_unix_socket_fails_at_once_and_can_be_tried_again(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  assert_int_equal(ml_addr_unix(&addr, "/nonexistent/socket", 19, "connect", &err), 0);
  assert_int_equal(start_connecting(&a, &addr, &err), -1);
  assert_string_equal(err.message, "connect ENOENT /nonexistent/socket");

  int listener = bound_to_loopback(&addr);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(ml_sock_connect(ml_sock_from(a.stream), &addr, NULL, &err), 0);
  a.close_in = CONNECT;
  ml_loop_run(loop);
  assert_null(a.stream);
  close(listener);
}

static void a_sock_connects_and_opens_once(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  int listener = bound_to_loopback(&addr);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(start_connecting(&a, &addr, &err), 0);
  struct ml_sock *sock = ml_sock_from(a.stream);
  assert_int_equal(ml_sock_connect(sock, &addr, NULL, &err), -1);
  assert_string_equal(err.code, "EALREADY");
  ml_loop_run(loop);
  assert_int_equal(ml_sock_connect(sock, &addr, NULL, &err), -1);
  assert_string_equal(err.code, "EISCONN");
  assert_int_equal(ml_sock_open_fd(sock, listener, &err), -1);
  assert_string_equal(err.code, "EISCONN");
  assert_int_equal(a.events, 1);
  close(listener);
}

/* `a`, which reads, and `b` are the two ends of a TCP connection. */
static void connect_both(void)
{
  struct ml_addr addr;
  struct ml_error err;
  int listener = bound_to_loopback(&addr);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(start_connecting(&a, &addr, &err), 0);
  a.stop_in = CONNECT;
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  open_fd(&b, accept(listener, NULL, NULL));
  close(listener);
}

static void a_reset_peer_is_a_read_error(void **state)
{
  (void)state;
  struct ml_error err;
  connect_both();
  assert_int_equal(ml_sock_set_reset(ml_sock_from(b.stream), &err), 0);
  recorder_close(&b);
  ml_loop_run(loop);
  assert_int_equal(a.count[ERROR], 1);
  assert_string_equal(a.error.message, "read ECONNRESET");
}

static void a_reset_comes_behind_what_was_taken_over(void **state)
{
  (void)state;
  struct ml_error err;
  connect_both();
  assert_int_equal(write_bytes(&b, "last words", 10), ML_DONE);
  assert_int_equal(ml_stream_shutdown(b.stream, &err), ML_PENDING);
  assert_int_equal(ml_sock_set_reset(ml_sock_from(b.stream), &err), 0);
  recorder_close(&b);
  ml_loop_run(loop);
  assert_int_equal(a.len, 10);
  assert_memory_equal(a.bytes, "last words", 10);
  assert_int_equal(a.count[END], 0);
  assert_int_equal(a.count[ERROR], 1);
}

/* ---- Other descriptors ---- */

static void pipes_work_and_keep_their_flags(void **state)
{
  (void)state;
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  int seen_by_others = dup(fds[0]);
  open_fd(&a, fds[0]);
  open_fd(&b, fds[1]);
  assert_int_equal(fcntl(seen_by_others, F_GETFL) & O_NONBLOCK, 0);
  assert_int_equal(write_bytes(&b, "through", 7), ML_DONE);
  recorder_close(&b);
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  assert_int_equal(a.len, 7);
  assert_int_equal(a.count[END], 1);
  close(seen_by_others);
}

static void sockets_keep_their_flags(void **state)
{
  (void)state;
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  int seen_by_others = dup(fds[0]);
  open_fd(&a, fds[0]);
  peer = fds[1];
  fill(); /* would block for ever */
  assert_int_equal(fcntl(seen_by_others, F_GETFL) & O_NONBLOCK, 0);
  close(seen_by_others);
}

static void a_regular_file_is_read_to_its_end(void **state)
{
  (void)state;
  enum { SIZE = 200000 };
  uint8_t *bytes = pattern(SIZE);
  FILE *file = tmpfile();
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, SIZE, file), SIZE);
  assert_int_equal(fflush(file), 0);
  int fd = dup(fileno(file));
  assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
  open_fd(&a, fd);
  ml_stream_read_start(a.stream);
  ml_loop_run(loop);
  assert_int_equal(a.count[END], 1);
  assert_int_equal(a.len, SIZE);
  assert_memory_equal(a.bytes, bytes, SIZE);
  fclose(file);
  free(bytes);
}

static void descriptors_without_a_stream_are_refused(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_sock *sock = ml_sock_new(loop, NULL, NULL);
  assert_int_equal(ml_sock_open_fd(sock, 1 << 20, &err), -1);
  assert_string_equal(err.code, "EBADF");
  int udp = socket(AF_INET, SOCK_DGRAM, 0);
  assert_int_equal(ml_sock_open_fd(sock, udp, &err), -1);
  assert_string_equal(err.code, "EINVAL");
  ml_stream_close(ml_sock_stream(sock));
  assert_int_equal(close(udp), 0);
}

static void options_of_tcp_do_nothing_elsewhere(void **state)
{
  (void)state;
  struct ml_error err;
  pair();
  struct ml_sock *sock = ml_sock_from(a.stream);
  assert_int_equal(ml_sock_set_nodelay(sock, true, &err), 0);
  assert_int_equal(ml_sock_set_keepalive(sock, true, 10, &err), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(what_is_written_while_connecting_is_sent),
      TEST(a_refused_connection_names_the_address),
      TEST(a_missing_unix_socket_fails_at_once_and_can_be_tried_again),
      TEST(a_sock_connects_and_opens_once),
      TEST(a_reset_peer_is_a_read_error),
      TEST(a_reset_comes_behind_what_was_taken_over),
      TEST(pipes_work_and_keep_their_flags),
      TEST(sockets_keep_their_flags),
      TEST(a_regular_file_is_read_to_its_end),
      TEST(descriptors_without_a_stream_are_refused),
      TEST(options_of_tcp_do_nothing_elsewhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

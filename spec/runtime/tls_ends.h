/* Both ends of a TLS connection over a socketpair, on one loop. Shared by the tests of TLS streams.
 */
#ifndef TLS_ENDS_H
#define TLS_ENDS_H

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sock.h"
#include "tls_contexts.h"
#include "tls_owner.h"

static struct ml_loop *loop;

static const struct ml_tls_options plain_server = {.server = true, .reject_unauthorized = true};
static const struct ml_tls_options plain_client = {
    .servername = "alpha.test", .reject_unauthorized = true, .want_sessions = true};

static inline void set_version(int version)
{
  make_contexts(version);
}

struct ends {
  struct owner client, server;
};

static inline struct ml_stream *adopt(int fd)
{
  struct ml_error err;
  struct ml_sock *sock = ml_sock_new(loop, NULL, NULL);
  assert_non_null(sock);
  assert_int_equal(ml_sock_open_fd(sock, fd, &err), 0);
  return ml_sock_stream(sock);
}

static inline void make_sockets(int fds[2])
{
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* Both ends are set up and nothing has happened yet. */
static inline void ends_open(struct ends *ends, const struct ml_tls_options *server_options,
                             const struct ml_tls_options *client_options)
{
  int fds[2];
  make_sockets(fds);
  owner_open(&ends->server, adopt(fds[0]), make_engine(server_context, server_options));
  owner_open(&ends->client, adopt(fds[1]), make_engine(client_context, client_options));
}

/* Turns the loop while `value` is below `least`. It does not wait in the kernel: what is waited for
 * may happen at the end of a turn, just before the poll. The deadline of the test
 * (cmake/tests.cmake) ends what hangs. */
static inline void turn_until(const int *value, int least)
{
  bool alive = true;
  while (*value < least) {
    assert_true(alive);
    alive = ml_loop_step(loop, false);
  }
}

static inline void turn_until_length(const struct recorder *r, size_t least)
{
  bool alive = true;
  while (r->len < least) {
    assert_true(alive);
    alive = ml_loop_step(loop, false);
  }
}

static inline void turn_until_closed(const struct owner *owner)
{
  bool alive = true;
  while (owner->r.stream) {
    assert_true(alive);
    alive = ml_loop_step(loop, false);
  }
}

/* Turns the loop until nothing is left to do without waiting. */
static inline void turn_until_quiet(void)
{
  for (int i = 0; i < 100; i++)
    (void)ml_loop_step(loop, false);
}

static inline void ends_shake(struct ends *ends, const struct ml_tls_options *server_options,
                              const struct ml_tls_options *client_options)
{
  ends_open(ends, server_options, client_options);
  turn_until(&ends->client.handshakes, 1);
  turn_until(&ends->server.handshakes, 1);
}

static inline void ends_close(struct ends *ends)
{
  owner_close(&ends->client);
  owner_close(&ends->server);
  turn_until_quiet();
  assert_false(ml_loop_alive(loop)); /* nothing is left behind */
}

static inline int write_bytes(struct owner *owner, const void *data, size_t len)
{
  struct ml_error err;
  struct ml_slice slice = {data, len};
  int result = ml_stream_write(owner->r.stream, &slice, 1, &err);
  if (result == ML_FAILED) fail_msg("%s", err.message);
  return result;
}

static inline int write_text(struct owner *owner, const char *text)
{
  return write_bytes(owner, text, strlen(text));
}

static inline void shut(struct owner *owner)
{
  struct ml_error err;
  assert_int_not_equal(ml_stream_shutdown(owner->r.stream, &err), ML_FAILED);
}

static inline void expect_text(const struct owner *owner, const char *text)
{
  assert_int_equal(owner->r.len, strlen(text));
  assert_memory_equal(owner->r.bytes, text, owner->r.len);
}

static inline void expect_error(const struct owner *owner, const char *code)
{
  assert_int_equal(owner->r.count[ERROR], 1);
  assert_string_equal(owner->r.error.code, code);
}

static inline int set_up(void **state)
{
  struct ml_error err;
  signal(SIGPIPE, SIG_IGN);
  (void)make_identities(state);
  return ml_loop_new(&loop, &err);
}

static inline int tear_down(void **state)
{
  free_contexts();
  ml_loop_free(loop);
  return free_identities(state);
}

#endif

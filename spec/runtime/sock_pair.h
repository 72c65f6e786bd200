/* Socks over socket pairs, and other descriptors, on one loop. Shared by the tests of socks. */
#ifndef SOCK_PAIR_H
#define SOCK_PAIR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addr.h"
#include "recorder.h"
#include "sock.h"

static struct ml_loop *loop;
static struct recorder a, b;
static int peer = -1; /* the other end of `a` where it is a plain descriptor */

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static inline int setup(void **state)
{
  (void)state;
  struct ml_error err;
  return ml_loop_new(&loop, &err);
}

static inline int teardown(void **state)
{
  (void)state;
  recorder_reset(&a);
  recorder_reset(&b);
  if (peer >= 0) close(peer);
  peer = -1;
  ml_loop_free(loop);
  return 0;
}

static inline void open_fd(struct recorder *r, int fd)
{
  struct ml_error err;
  struct ml_sock *sock = ml_sock_new(loop, NULL, NULL);
  assert_non_null(sock);
  assert_int_equal(ml_sock_open_fd(sock, fd, &err), 0);
  recorder_take(r, ml_sock_stream(sock));
}

/* `a` on one end of a socket pair, `peer` the other. */
static inline void pair_with_fd(void)
{
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  open_fd(&a, fds[0]);
  peer = fds[1];
}

/* `a` and `b` on the two ends. */
static inline void pair(void)
{
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  open_fd(&a, fds[0]);
  open_fd(&b, fds[1]);
}

/* A TCP socket with a port of its own, which does not listen yet. */
static inline int bound_to_loopback(struct ml_addr *addr)
{
  struct ml_error err;
  assert_int_equal(ml_addr_ip(addr, "127.0.0.1", 0, "connect", &err), 0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&addr->storage, addr->len), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&addr->storage, &addr->len), 0);
  return fd;
}

static inline int write_bytes(struct recorder *r, const void *data, size_t len)
{
  struct ml_slice slice = {data, len};
  struct ml_error err;
  return ml_stream_write(r->stream, &slice, 1, &err);
}

/* Bytes waiting at `peer`, without taking them. */
static inline size_t waiting(void)
{
  char buffer[65536];
  ssize_t n = recv(peer, buffer, sizeof buffer, MSG_PEEK | MSG_DONTWAIT);
  return n > 0 ? (size_t)n : 0;
}

/* More than the kernel takes. */
static inline void fill(void)
{
  static uint8_t block[1 << 20];
  assert_int_equal(write_bytes(&a, block, sizeof block), ML_PENDING);
}

#endif

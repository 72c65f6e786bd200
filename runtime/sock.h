/* TCP and unix sockets, and anything else that has a descriptor: pipes, terminals, files. A `struct
 * ml_sock` is a `struct ml_stream` (stream.h), whose rules hold here; this header only adds what
 * sockets have besides.
 *
 * Reading: one recv of at most ML_LOOP_BUFFER_SIZE per wake-up, into a buffer borrowed from the
 * loop. Writing: what is written in one tick is gathered (copied) and leaves in one send when the
 * tick ends, or as soon as it passes ML_SOCK_GATHER bytes; then it is sent straight from the
 * caller's memory. Once the kernel has refused, or while the connection is being made, nothing is
 * copied any more: writes are ML_PENDING. A write that the kernel fails ends in on_error, never in
 * ML_FAILED: bytes that the peer sent before it went away (a TLS alert, an HTTP error) are
 * delivered first when the owner is reading. A shutdown is ML_PENDING and sent when the tick ends,
 * or behind what is queued. A close after it does not make a reset of input that nobody has read.
 */
#ifndef ML_SOCK_H
#define ML_SOCK_H

#include "stream.h"

#define ML_SOCK_RECORD_MAX ((size_t)2)
#define ML_SOCK_GATHER ((size_t)65536)

struct ml_sock;

/* The sock as a stream. The stream is the sock's first member: the pointers are equal. */
static inline struct ml_stream *ml_sock_stream(struct ml_sock *sock)
{
  return (struct ml_stream *)(void *)sock;
}

/* A socket without a descriptor. `events` may be NULL until the first call that leads to a
 * callback. NULL when memory is short. Given back by ml_stream_close, opened or not. */
ML_MUST_CHECK struct ml_sock *ml_sock_new(struct ml_loop *loop,
                                          const struct ml_stream_events *events, void *user);

/* The sock that `stream` is, or NULL for another kind of stream. */
struct ml_sock *ml_sock_from(struct ml_stream *stream);

/* Takes over an open descriptor; fails, leaving it alone, with EBADF or, for sockets without
 * connections, EINVAL. Sockets are used without touching O_NONBLOCK, which other processes would
 * see. For pipes and terminals the descriptor is reopened through /proc/self/fd; only where that is
 * impossible O_NONBLOCK is set, until the close. Descriptors 0, 1 and 2 are never closed. The
 * caller ignores SIGPIPE if it writes to pipes. */
ML_MUST_CHECK int ml_sock_open_fd(struct ml_sock *sock, int fd, struct ml_error *err);

/* Takes over a connected, non-blocking, close-on-exec socket, as accept4(2) makes it; of TCP, from
 * a listener with TCP_NODELAY. */
void ml_sock_open_accepted(struct ml_sock *sock, int fd, bool tcp);

/* Starts connecting, from `local` when it is not NULL. What fails at once is returned and leaves
 * the sock as it was; otherwise on_connect or on_error follows. */
ML_MUST_CHECK int ml_sock_connect(struct ml_sock *sock, const struct ml_addr *addr,
                                  const struct ml_addr *local, struct ml_error *err);

/* TCP_NODELAY, on by default here since writes are gathered already. Does nothing to what is not
 * TCP. */
ML_MUST_CHECK int ml_sock_set_nodelay(struct ml_sock *sock, bool on, struct ml_error *err);

/* SO_KEEPALIVE, the first probe after `seconds` idle (0: the system's default). Does nothing to
 * what is not TCP. */
ML_MUST_CHECK int ml_sock_set_keepalive(struct ml_sock *sock, bool on, unsigned seconds,
                                        struct ml_error *err);

/* Makes the coming close reset the connection (SO_LINGER 0, socket(7)). What was taken over for
 * sending is offered to the kernel before that, once; what it does not take is dropped. */
ML_MUST_CHECK int ml_sock_set_reset(struct ml_sock *sock, struct ml_error *err);

/* Lets what was written last arrive, and `words` behind it, though the peer is still sending or
 * does not read at once: the close, which has to come next, sends what is queued, ends our side,
 * and throws away for a while what comes (linger.h). To what is no socket it does nothing. */
void ml_sock_linger(struct ml_sock *sock, const struct ml_buf *words);

/* Has the kernel encrypt what is written from now on: `info` is what TLS_TX takes (linux/tls.h).
 * -1, and all is as it was: the kernel has no TLS or not this cipher, it is no TCP connection, or
 * something is queued. */
ML_MUST_CHECK int ml_sock_seal(struct ml_sock *sock, const void *info, size_t len);

/* Of a sealed sock: puts a record that is not data (an alert) behind all that has been written, at
 * most ML_SOCK_RECORD_MAX bytes, copied. One that has not been sent yet gives way to it. */
void ml_sock_record(struct ml_sock *sock, uint8_t type, const uint8_t *data, size_t len);

/* The descriptor, or -1. */
int ml_sock_fd(const struct ml_sock *sock);

#endif

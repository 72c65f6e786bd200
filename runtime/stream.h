/* A byte stream as the rest of the runtime sees it: TCP and unix sockets, pipes and terminals
 * (sock.h), TLS over any other stream (tls_stream.h), or one that a script implements.
 *
 * Rules, the same for every kind:
 *  - Callbacks are only made from the loop, never from inside a call on the same stream.
 *  - Inside any callback the owner may call anything, ml_stream_close included; memory goes only
 * once no callback of the stream is on the stack.
 *  - At most one write is outstanding: ml_stream_write must not be called again until on_written
 * has come for the last one that returned ML_PENDING.
 *  - After ml_stream_close there are no more callbacks. Closing is the owner's duty in every case,
 * errors included.
 *  - After on_error the stream is dead: it neither reads nor writes; only queries and close are
 * left.
 */
#ifndef ML_STREAM_H
#define ML_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "buf.h"
#include "error.h"
#include "loop.h"

/* Results of ml_stream_write and ml_stream_shutdown. Negative is failure. */
enum { ML_FAILED = -1, ML_DONE = 0, ML_PENDING = 1 };

struct ml_stream;

/* What a stream tells its owner. Every entry must be set. */
struct ml_stream_events {
  /* Bytes arrived. `data` belongs to the stream and is valid during the call only. */
  void (*on_read)(struct ml_stream *, const uint8_t *data, size_t len);
  /* The peer will send no more. Reading has stopped. Called once. */
  void (*on_end)(struct ml_stream *);
  /* The write that returned ML_PENDING is done: its slices are no longer needed. */
  void (*on_written)(struct ml_stream *);
  /* The shutdown that returned ML_PENDING has been sent. */
  void (*on_shutdown)(struct ml_stream *);
  /* The connection attempt succeeded. */
  void (*on_connect)(struct ml_stream *);
  /* The stream broke (a failed connection attempt included). Called once. */
  void (*on_error)(struct ml_stream *, const struct ml_error *);
};

struct ml_stream_ops {
  void (*read_start)(struct ml_stream *);
  void (*read_stop)(struct ml_stream *);
  int (*write)(struct ml_stream *, const struct ml_slice *, size_t n, struct ml_error *);
  int (*shutdown)(struct ml_stream *, struct ml_error *);
  void (*close)(struct ml_stream *);
  void (*ref)(struct ml_stream *, bool);
  int (*local)(struct ml_stream *, struct ml_addr *, struct ml_error *);
  int (*remote)(struct ml_stream *, struct ml_addr *, struct ml_error *);
  size_t (*queued)(const struct ml_stream *);
  struct ml_stream *(*transport)(struct ml_stream *);
  void (*moved)(struct ml_stream *, const uint8_t *from, size_t len, const uint8_t *to);
};

/* Head of every kind. Fields are the stream's own except `events` and `user`, which the owner may
 * change between callbacks (a TLS stream takes a socket over by doing so). */
struct ml_stream {
  const struct ml_stream_ops *ops;
  const struct ml_stream_events *events;
  void *user; /* the owner's */
  struct ml_loop *loop;
  uint64_t bytes_read;    /* taken from the transport since the start */
  uint64_t bytes_written; /* accepted for writing since the start */
  /* Set by an owner that gathers its output itself (TLS does): each write is tried at once, with
   * nothing copied and no waiting for the end of the tick. Off by default. */
  bool write_through;
  /* Set by an owner for its next write: a TLS stream then answers with ML_PENDING even what it has
   * taken over, so that on_written tells when the records have been handed down. */
  bool tell_written;
  /* Set by an owner whose next write is the last before the shutdown, which it asks for as soon as
   * that write has been taken: over TCP the two then leave in one packet. */
  bool end_follows;
};

/* Begins delivering on_read. Idempotent. */
static inline void ml_stream_read_start(struct ml_stream *s)
{
  s->ops->read_start(s);
}

/* Stops delivering on_read, at once: bytes already taken from the transport wait inside the stream.
 * Idempotent. */
static inline void ml_stream_read_stop(struct ml_stream *s)
{
  s->ops->read_stop(s);
}

/* Writes all slices in order. ML_DONE: taken over entirely, the slices may go; they leave at the
 * end of the tick at the latest, and even when the stream is closed next one send is tried first.
 * ML_PENDING: keep the memory until on_written or on_error. ML_FAILED: err says why, the stream is
 * dead, no on_error follows. */
ML_MUST_CHECK static inline int ml_stream_write(struct ml_stream *s, const struct ml_slice *slices,
                                                size_t n, struct ml_error *err)
{
  return s->ops->write(s, slices, n, err);
}

/* After a write that returned ML_PENDING: the `len` bytes at `from`, which it was given, lie at
 * `to` as well. From now on the stream needs those. */
static inline void ml_stream_moved(struct ml_stream *s, const uint8_t *from, size_t len,
                                   const uint8_t *to)
{
  s->ops->moved(s, from, len, to);
}

/* Sends what is queued, then the end of the stream (FIN, close_notify). Same results as
 * ml_stream_write, with on_shutdown for ML_PENDING. No write may follow. */
ML_MUST_CHECK static inline int ml_stream_shutdown(struct ml_stream *s, struct ml_error *err)
{
  return s->ops->shutdown(s, err);
}

/* Ends the stream now: one last try to send what was taken over, then the descriptor is closed and
 * the memory is given back as soon as no callback is on the stack. The pointer must not be used
 * afterwards. */
static inline void ml_stream_close(struct ml_stream *s)
{
  s->ops->close(s);
}

/* Whether the stream keeps the loop running while it waits for something. On by default. */
static inline void ml_stream_ref(struct ml_stream *s, bool on)
{
  s->ops->ref(s, on);
}

/* Bytes accepted for writing that the kernel has not taken yet, at every layer. */
static inline size_t ml_stream_queued(const struct ml_stream *s)
{
  return s->ops->queued(s);
}

/* The stream at the bottom: `s` itself when it stands on nothing, NULL when a script implements
 * what it stands on. */
static inline struct ml_stream *ml_stream_transport(struct ml_stream *s)
{
  return s->ops->transport(s);
}

/* Addresses of the transport at the bottom. */
ML_MUST_CHECK static inline int ml_stream_local(struct ml_stream *s, struct ml_addr *out,
                                                struct ml_error *err)
{
  return s->ops->local(s, out, err);
}
ML_MUST_CHECK static inline int ml_stream_remote(struct ml_stream *s, struct ml_addr *out,
                                                 struct ml_error *err)
{
  return s->ops->remote(s, out, err);
}

#endif

/* What tls_stream.c (the stream: life, events of the lower stream, operations) and tls_stream_run.c
 * (one run: handshake, reading, writing) share. */
#ifndef ML_TLS_STREAM_INTERNAL_H
#define ML_TLS_STREAM_INTERNAL_H

#include <stdlib.h>

#include "tls_stream.h"

/* Gathered output that is handed down at once, and cleartext per call into the engine: three full
 * records. A fourth would make more than the kernel puts into one segment (64 KiB less headers, GSO
 * and loopback alike), and leave a packet of some hundred bytes behind each. */
#define FLUSH_AT ((size_t)49152)
#define STEP FLUSH_AT

/* The end of our side, in order. */
enum shutdown_phase {
  SHUT_NONE,
  SHUT_WANTED, /* asked for; waits for the handshake and for writes before it */
  SHUT_NOTIFY, /* close_notify is in the output */
  SHUT_LOWER,  /* the lower stream is shutting down */
  SHUT_DONE,
};

/* What every record looks at comes first, as in struct ml_tls. */
struct ml_tls_stream {
  struct ml_stream stream;
  struct ml_stream *lower;
  struct ml_tls *tls;
  const struct ml_tls_stream_events *tls_events;
  struct ml_task task;

  struct ml_sock *sealed; /* the lower stream, once the kernel encrypts (tls_offload.h) */
  struct ml_buf flying;   /* output that the lower stream still needs */
  uint64_t sent;          /* cleartext whose records have been handed down */

  bool started, reading, lower_reading, lower_ended, lower_broken, ended, failed, closed;
  bool announced;     /* on_handshake was called */
  bool alerted;       /* it failed, and the peer is told why */
  bool starved;       /* output waits for the rest of a message of the peer */
  bool noting;        /* notes are being delivered, with data behind them */
  bool lingers;       /* the task waits for a time in which nothing happens */
  bool unsealed;      /* whether the kernel encrypts is still to be seen */
  bool passing;       /* sealed: the lower stream has not taken the write yet */
  bool only_notify;   /* the kernel has all but our close_notify */
  bool write_pending; /* on_written is owed */
  unsigned busy;      /* callbacks on the stack */
  enum shutdown_phase shutdown;
  uint32_t asked; /* token of the last question passed on */

  /* The write that is being worked off: our copy of the slice list, the memory is the owner's. */
  size_t held_count, held_at;
  size_t held_bytes; /* of it, still cleartext */
  struct ml_slice *held;
  size_t encrypted;   /* of it, in this turn of the loop */
  unsigned turn;      /* which that is (ev_iteration, ev(3)) */
  uint64_t flying_to; /* as `sent`, once what is flying is down */

  ev_timer deadline;
  double patience; /* seconds until it; 0: none */
  ev_idle again;   /* the next turn of the loop, after other streams had theirs */
};

static inline struct ml_tls_stream *self_of(struct ml_stream *stream)
{
  return (struct ml_tls_stream *)(void *)stream;
}

static inline bool dead(const struct ml_tls_stream *s)
{
  return s->closed || s->failed;
}

/* Something happens. */
static inline void rouse(struct ml_tls_stream *s)
{
  if (!s->lingers) return;
  s->lingers = false;
  ml_task_cancel(&s->task);
}

/* Nothing is left to do. */
static inline void linger(struct ml_tls_stream *s)
{
  rouse(s);
  if (ml_task_queued(&s->task)) return;
  s->lingers = true;
  ml_loop_linger(s->stream.loop, &s->task);
}

static inline void schedule(struct ml_tls_stream *s)
{
  if (dead(s)) return;
  rouse(s);
  ml_loop_defer(s->stream.loop, &s->task);
}

/* Goes on in the next turn of the loop. A task would run in this one still. */
static inline void yield(struct ml_tls_stream *s)
{
  if (!dead(s)) ev_idle_start(ml_loop_ev(s->stream.loop), &s->again);
}

static inline void drop_held(struct ml_tls_stream *s)
{
  free(s->held);
  s->held = NULL;
  s->held_count = s->held_at = s->held_bytes = 0;
}

static inline void stop_deadline(struct ml_tls_stream *s)
{
  ml_loop_timer_stop(s->stream.loop, &s->deadline, false);
}

/* Around every callback. */
static inline void enter(struct ml_tls_stream *s)
{
  s->busy++;
}

/* ---- tls_stream_run.c ---- */

/* Hands gathered output down. ML_PENDING: the lower stream is still busy with earlier output. */
int ml_tls_stream_flush(struct ml_tls_stream *s, struct ml_error *err);

/* Starts or stops the deadline, as the state wants it. */
void ml_tls_stream_watch_deadline(struct ml_tls_stream *s);

/* Reads from the lower stream, or not, as the state wants it. */
void ml_tls_stream_update_reading(struct ml_tls_stream *s);

/* Hands the write down as it is: the kernel encrypts. Results of ml_stream_write. */
int ml_tls_stream_pass(struct ml_tls_stream *s, const struct ml_slice *slices, size_t n,
                       struct ml_error *err);

/* Encrypts `slice` as far as it goes, at most `limit` bytes, and moves it past them. */
enum ml_tls_result ml_tls_stream_encrypt(struct ml_tls_stream *s, struct ml_slice *slice,
                                         size_t limit, struct ml_error *err);

/* Encrypts what is held, about what one turn may and not past what the lower stream takes. -1: err
 * says why. */
int ml_tls_stream_encrypt_held(struct ml_tls_stream *s, struct ml_error *err);

/* The lower stream has shut down. */
void ml_tls_stream_shutdown_done(struct ml_tls_stream *s);

/* A peer that has said its end and left does not wait for our close_notify: that it cannot be sent
 * takes nothing from anybody. */
bool ml_tls_stream_end_is_moot(const struct ml_tls_stream *s, const struct ml_error *err);

/* Everything that happens to a TLS stream ends here: new ciphertext, an answer, room for output, a
 * new task. */
void ml_tls_stream_run(struct ml_tls_stream *s, const uint8_t *data, size_t len);

/* Ciphertext of a handshake whose turn has not come. */
void ml_tls_stream_keep(struct ml_tls_stream *s, const uint8_t *data, size_t len);

/* The lower stream has failed: what came before, and waits for its turn in the handshake, may be
 * the peer's reason for that, an alert, or all that it had to say. */
void ml_tls_stream_hear_out(struct ml_tls_stream *s);

/* ---- tls_stream.c ---- */

/* The end of what enter() began. The stream may be gone afterwards. */
void ml_tls_stream_leave(struct ml_tls_stream *s);

/* The one way into failure. The owner hears of it unless it is being told by a return value. */
void ml_tls_stream_fail(struct ml_tls_stream *s, const struct ml_error *reason, bool tell);

#endif

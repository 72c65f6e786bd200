/* TLS over any stream: an engine (tls_engine.h) between a lower stream, which carries ciphertext,
 * and an owner, who sees cleartext. It is a `struct ml_stream` itself, with the rules of stream.h,
 * so TLS can run over TLS.
 *
 * The lower stream becomes the TLS stream's own: it is closed with it. When it is a TLS stream
 * itself its ml_tls_stream_events end, so its handshake should be over. Writes made before the
 * handshake is over wait for it. Output is gathered and handed down once at the end of a tick, or
 * when it passes 64 KiB; a large write is encrypted in steps of at most 256 KiB per tick.
 *
 * Failures: everything the engine, the peer or the lower stream does wrong arrives once through
 * on_error, after the alert for the peer has been handed down. A peer that goes away during the
 * handshake is ECONNRESET. A lower stream that ends after the handshake without close_notify is an
 * on_end like any other, as in Node.
 */
#ifndef ML_TLS_STREAM_H
#define ML_TLS_STREAM_H

#include "stream.h"
#include "tls_engine.h"

struct ml_tls_stream;

/* What a TLS stream tells its owner besides ml_stream_events. Same rules. Every entry must be set.
 */
struct ml_tls_stream_events {
  /* The handshake is over, before any on_read. */
  void (*on_handshake)(struct ml_tls_stream *);
  /* ML_TLS_RENEWED: after the on_read of what came before it (for an owner who reads) and before
   * that of what comes behind. */
  void (*on_renewed)(struct ml_tls_stream *);
  /* The handshake waits for ml_tls_answer_*, during the call or later; later answers need
   * ml_tls_stream_resume. */
  void (*on_ask)(struct ml_tls_stream *, struct ml_tls_question);
  /* A session to resume from, or a line of key material. The note is the stream's. */
  void (*on_note)(struct ml_tls_stream *, const struct ml_tls_note *);
};

/* Puts `tls` on top of `lower`; both become the new stream's. Nothing happens until
 * ml_tls_stream_start. NULL when memory is short: then both are still the caller's. */
ML_MUST_CHECK struct ml_tls_stream *ml_tls_stream_new(struct ml_stream *lower, struct ml_tls *tls,
                                                      const struct ml_stream_events *events,
                                                      const struct ml_tls_stream_events *tls_events,
                                                      void *user);

/* The TLS stream as a stream; the stream is its first member. */
static inline struct ml_stream *ml_tls_stream_base(struct ml_tls_stream *tls)
{
  return (struct ml_stream *)(void *)tls;
}

/* Begins the handshake at the end of this tick. */
void ml_tls_stream_start(struct ml_tls_stream *tls);

/* Gives ciphertext that was read from the lower stream before the TLS stream existed. Before start.
 */
ML_MUST_CHECK int ml_tls_stream_feed(struct ml_tls_stream *tls, const uint8_t *data, size_t len);

/* Goes on after an answer that did not come inside on_ask, and after a wish of tls_after.h. */
void ml_tls_stream_resume(struct ml_tls_stream *tls);

/* Fails the handshake with ERR_TLS_HANDSHAKE_TIMEOUT unless it is over in `seconds`; 0: no limit.
 * The same holds for whatever leaves the connection ml_tls_unsettled later on. */
void ml_tls_stream_deadline(struct ml_tls_stream *tls, double seconds);

/* The TLS stream that this one stands on; NULL when it stands on something else. */
struct ml_tls_stream *ml_tls_stream_below(struct ml_tls_stream *tls);

/* Bytes of cleartext written whose records have not all been handed down. */
size_t ml_tls_stream_unsent(const struct ml_tls_stream *tls);

/* What the lower stream has carried so far: bytes taken from it, bytes it has accepted. */
void ml_tls_stream_carried(const struct ml_tls_stream *tls, uint64_t *read, uint64_t *written);

/* Has bytes that are no TLS sent as they are, behind the records made so far. The peer's TLS will
 * hardly like them. -1: the connection is over, or the kernel encrypts. */
ML_MUST_CHECK int ml_tls_stream_inject(struct ml_tls_stream *tls, const uint8_t *data, size_t len,
                                       struct ml_error *err);

/* The engine, for answers and getters. */
struct ml_tls *ml_tls_stream_engine(struct ml_tls_stream *tls);

#endif

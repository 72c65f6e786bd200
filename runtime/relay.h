/* A byte stream whose lower end is code: a stream of a script's, a test. It is a `struct ml_stream`
 * with the rules of stream.h for its owner. What a socket does with system calls, it does with a
 * *carrier*, who takes the bytes written and brings those received.
 *
 * The carrier hears of the owner's wishes from the loop, at the end of a tick. It may call the
 * functions below at any time, also inside a callback of either side: they take down what has
 * happened, and the owner is told in the next turn of the loop. So two relays that carry each
 * other's bytes do not starve the rest of the program, and neither side ever runs inside the other.
 *
 * A write is ML_PENDING until the carrier says that it is done; so is the end. Bytes that were
 * received come before an end or a failure that was reported after them. A relay never keeps the
 * loop running while nothing happens, and has no addresses and no transport.
 *
 * The memory goes when the owner has closed the stream and the carrier has let go.
 */
#ifndef ML_RELAY_H
#define ML_RELAY_H

#include "stream.h"

/* Received bytes that the owner does not take yet, beyond which the carrier is told to stop. */
#define ML_RELAY_INBOX ((size_t)131072)

struct ml_relay;

/* What a relay asks of its carrier. Every entry must be set. */
struct ml_relay_carrier {
  /* Bytes to carry away, valid during the call only. No more come until ml_relay_written. */
  void (*on_outgoing)(struct ml_relay *, const uint8_t *data, size_t len);
  /* Nothing more will be written: the end is to be carried. Then ml_relay_finished. */
  void (*on_finish)(struct ml_relay *);
  /* The owner reads: before the first ml_relay_receive, and after one that returned ML_PENDING. */
  void (*on_flow)(struct ml_relay *);
  /* The owner has closed the stream. The last callback; ml_relay_unsent tells what is left. */
  void (*on_closed)(struct ml_relay *);
};

/* NULL when memory is short. `carrier_user` is for the carrier's callbacks; the stream's owner sets
 * events and user of ml_relay_stream. */
ML_MUST_CHECK struct ml_relay *
ml_relay_new(struct ml_loop *loop, const struct ml_relay_carrier *carrier, void *carrier_user);

/* The relay as its owner has it: to be closed by ml_stream_close. */
static inline struct ml_stream *ml_relay_stream(struct ml_relay *relay)
{
  return (struct ml_stream *)(void *)relay;
}

void *ml_relay_carrier_user(const struct ml_relay *relay);

/* ---- The carrier's side ---- */

/* Bytes for the owner; they are copied. ML_DONE: go on. ML_PENDING: taken, but bring no more until
 * on_flow. ML_FAILED: memory is short. */
ML_MUST_CHECK int ml_relay_receive(struct ml_relay *relay, const void *data, size_t len);

/* There will be no more to receive. */
void ml_relay_receive_end(struct ml_relay *relay);

/* The bytes of the last on_outgoing have been carried away. */
void ml_relay_written(struct ml_relay *relay);

/* The end has been. */
void ml_relay_finished(struct ml_relay *relay);

/* Nothing works any more. The owner is told once it has had what was received before, or at once
 * when it does not read. */
void ml_relay_fail(struct ml_relay *relay, const struct ml_error *err);

/* Whether the owner has closed the stream. */
bool ml_relay_closed(const struct ml_relay *relay);

/* What had been written when the owner closed the stream, and had not been given to the carrier
 * yet: an alert may be in it. NULL and 0 when there is nothing. Valid until ml_relay_release. */
const uint8_t *ml_relay_unsent(const struct ml_relay *relay, size_t *len);

/* The carrier lets go: no more callbacks for it. What is written afterwards fails. The pointer must
 * not be used again by the carrier. */
void ml_relay_release(struct ml_relay *relay);

#endif

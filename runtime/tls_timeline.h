/* Where the time of a handshake goes: a row of phases, each spent on the network, on the owner's
 * answers or on cryptography. Recorded for every connection's first handshake, with one look at the
 * clock (CLOCK_MONOTONIC) for each change from one to the other. */
#ifndef ML_TLS_TIMELINE_H
#define ML_TLS_TIMELINE_H

#include "tls_engine.h"

enum ml_tls_waiting {
  ML_WAIT_NETWORK, /* for a message of the peer's; the loop's other work counts here, too */
  ML_WAIT_SCRIPT,  /* for the owner's answer */
  ML_WAIT_CRYPTO,  /* for OpenSSL: messages are read, judged and written */
};

struct ml_tls_phase {
  double at, ms; /* milliseconds: its begin since that of the handshake, how long it took so far */
  enum ml_tls_waiting waiting;
  /* ML_WAIT_NETWORK: the message that ended it, or the one that is due ("ClientHello").
   * ML_WAIT_CRYPTO: the first message written, or else the one that was being dealt with.
   * ML_WAIT_SCRIPT: NULL, see `ask`. */
  const char *message;
  enum ml_tls_ask ask;
};

#define ML_TLS_PHASES_MAX 40 /* what comes after is counted to the last */

/* Fills `phases`, ML_TLS_PHASES_MAX of them, and returns how many there are: 0 before the handshake
 * has begun, and where memory was short. `over`: the handshake is, well or not. */
size_t ml_tls_timeline(const struct ml_tls *tls, struct ml_tls_phase *phases, bool *over);

/* ---- For the engine ---- */

/* Around each call that takes the handshake further. */
void ml_tls_timeline_enter(struct ml_tls *tls);
void ml_tls_timeline_leave(struct ml_tls *tls, enum ml_tls_result result);

/* A handshake message has been read or is written. */
void ml_tls_timeline_message(struct ml_tls *tls, bool written, uint8_t type);

/* Around a question that is put within a call of OpenSSL's. */
void ml_tls_timeline_ask(struct ml_tls *tls, enum ml_tls_ask ask);
void ml_tls_timeline_answered(struct ml_tls *tls);

void ml_tls_timeline_free(struct ml_tls *tls);

#endif

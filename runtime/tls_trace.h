/* A connection's messages in words, as `openssl s_client -trace` prints them: records, handshake
 * messages and alerts, never application data. They reach the owner as ML_NOTE_TRACE. */
#ifndef ML_TLS_TRACE_H
#define ML_TLS_TRACE_H

#include "tls_engine.h"

/* Begins, from the next message on. Idempotent. -1: err says why; an OpenSSL that was built without
 * SSL_trace is ERR_FEATURE_UNAVAILABLE_ON_PLATFORM. */
ML_MUST_CHECK int ml_tls_trace(struct ml_tls *tls, struct ml_error *err);

/* ---- For the engine ---- */

/* What SSL_set_msg_callback(3) is told. */
void ml_tls_trace_message(struct ml_tls *tls, int write_p, int version, int content_type,
                          const void *message, size_t len);

/* Everything since the last call as one note; NULL when there is nothing, or no memory. */
struct ml_tls_note *ml_tls_trace_note(struct ml_tls *tls);

void ml_tls_trace_free(struct ml_tls *tls);

#endif

/* Sessions on the one connection (RFC 5246, 7.4.1.2; RFC 5077; RFC 8446, 2.2): the one a client
 * brings. */
#ifndef ML_TLS_SESSIONS_H
#define ML_TLS_SESSIONS_H

#include "tls_engine_internal.h"

/* Client: offers `session` (DER) to the server. -1: it cannot be read, or there is no memory. */
ML_MUST_CHECK int ml_tls_sessions_offer(struct ml_tls *tls, const uint8_t *session, size_t len);

/* Client, handshake over: notes a session whose ticket the server has renewed, of which OpenSSL
 * says nothing under TLS 1.2. */
void ml_tls_sessions_note_renewal(struct ml_tls *tls);

void ml_tls_sessions_free(struct ml_tls *tls);

#endif

/* OCSP responses in the handshake (RFC 6066, 8; RFC 8446, 4.4.2.1): what a server staples and what
 * a client gets. The callbacks are installed by tls_callbacks.c on every context, so that one
 * chosen at ClientHello staples too. */
#ifndef ML_TLS_STAPLE_H
#define ML_TLS_STAPLE_H

#include "tls_engine_internal.h"

/* SSL_CTX_set_cert_cb(3): a server about to choose its certificate, never when it resumes. Suspends
 * until ML_ASK_STAPLE has its answer, where the client has asked. */
int ml_tls_on_certificate(SSL *ssl, void *arg);

/* SSL_CTX_set_tlsext_status_cb(3): a server's certificate has been chosen; a client has heard all
 * that the server says. */
int ml_tls_on_status(SSL *ssl, void *arg);

/* A client that is sent a response of no bytes, which RFC 6066 forbids, fails as it should; but
 * OpenSSL says that memory is short, having asked malloc(3) for none. Puts a "length mismatch" into
 * its queue instead, which it has for every other length that is wrong. */
void ml_tls_staple_correct_error(void);

/* Forgets what a server needs for its own staple, which has left or never will. */
void ml_tls_staple_free(struct ml_tls *tls);

#endif

/* A server at the ClientHello: the callbacks that tls_callbacks.c and the engine install. */
#ifndef ML_TLS_AT_HELLO_H
#define ML_TLS_AT_HELLO_H

#include "tls_engine_internal.h"
#include "tls_hello.h"

/* How a question at the ClientHello begins, and how it ends when there is another one to ask. */
enum { ML_STEP_FAILED = -1, ML_STEP_ASKED = 0, ML_STEP_NEEDLESS = 1, ML_STEP_AGAIN = 2 };

/* Reads the ClientHello that OpenSSL is at, for steps too: what `hello` points to is there until
 * all questions have been answered. -1, with the reason raised: see ml_tls_hello_parse. */
ML_MUST_CHECK int ml_tls_read_hello(struct ml_tls *tls, struct ml_tls_hello *hello, int *alert);

/* SSL_CTX_set_client_hello_cb(3). Suspends until every question has its answer. */
int ml_tls_on_client_hello(SSL *ssl, int *alert, void *arg);

/* Whether all questions of the ClientHello are behind us: a second one (RFC 8446, 4.1.4) asks
 * nothing. */
bool ml_tls_hello_decided(const struct ml_tls *tls);

/* After a refusal by the owner: sends the alert that the owner chose. OpenSSL replaces those that
 * the version it would speak does not have, and at a ClientHello that is not known yet
 * (missing_extension becomes handshake_failure). */
void ml_tls_send_chosen_alert(struct ml_tls *tls);

/* Keeps the ClientHello until it has been dealt with. OpenSSL shows it in full to the message
 * callback alone (SSL_client_hello_get1_extensions_present(3) leaves out what it does not know). */
void ml_tls_keep_hello(struct ml_tls *tls, const uint8_t *message, size_t len);

#endif

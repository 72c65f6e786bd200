/* Sessions on the one connection: the one that is resumed, and those that are made.
 *
 * A server keeps none. What is resumed comes from the client, sealed in a ticket (tls_tickets.h),
 * or from the owner, who is asked at ClientHello for what is behind an id (ML_ASK_SESSION): under
 * TLS 1.2 a session id (RFC 5246, 7.4.1.2), under TLS 1.3 a PSK identity as long as one, which is
 * what OpenSSL gives to clients instead of a ticket when SSL_OP_NO_TICKET is set
 * (SSL_CTX_set_options(3)). What is made the owner is asked to store (ML_ASK_STORE).
 */
#ifndef ML_TLS_SESSIONS_H
#define ML_TLS_SESSIONS_H

#include "tls_engine_internal.h"

/* ---- Clients ---- */

/* Offers `session` (DER) to the server. -1: it cannot be read, or there is no memory. */
ML_MUST_CHECK int ml_tls_sessions_offer(struct ml_tls *tls, const uint8_t *session, size_t len);

/* Handshake over: notes a session whose ticket the server has renewed, of which OpenSSL says
 * nothing under TLS 1.2. */
void ml_tls_sessions_note_renewal(struct ml_tls *tls);

/* ---- Servers ---- */

/* Goes by what the context chosen at ClientHello says of sessions' lives, and by the server's own
 * where it says nothing. */
void ml_tls_sessions_adopt(struct ml_tls *tls);

/* The step ML_ASK_SESSION of tls_at_hello.c. */
int ml_tls_ask_session(struct ml_tls *tls, SSL *ssl);
int ml_tls_take_session(struct ml_tls *tls, SSL *ssl);

/* Handshake over: asks the owner to store the next new session (ML_STEP_ASKED), the output being
 * held back from then on, or finds that none is left (ML_STEP_NEEDLESS) and lets the output go. */
int ml_tls_ask_store(struct ml_tls *tls);

/* The session asked about has been stored. */
void ml_tls_sessions_stored(struct ml_tls *tls);

/* ---- Both ---- */

/* The connection is open: what was only of use in the handshake goes. */
void ml_tls_sessions_settle(struct ml_tls *tls);
void ml_tls_sessions_free(struct ml_tls *tls);

/* OpenSSL's callbacks: SSL_CTX_sess_set_new_cb(3), SSL_CTX_sess_set_get_cb(3),
 * SSL_CTX_set_tlsext_ticket_key_evp_cb(3), and the two of SSL_CTX_set_session_ticket_cb(3). */
int ml_tls_on_new_session(SSL *ssl, SSL_SESSION *session);
SSL_SESSION *ml_tls_on_get_session(SSL *ssl, const unsigned char *id, int len, int *copy);
int ml_tls_on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int sealing);
int ml_tls_on_ticket_made(SSL *ssl, void *arg);
SSL_TICKET_RETURN ml_tls_on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                          size_t name_len, SSL_TICKET_STATUS status, void *arg);

#endif

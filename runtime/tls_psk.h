/* Keys that both ends had before (RFC 4279, RFC 5489; external PSKs of RFC 8446, 4.2.11).
 *
 * Under TLS 1.3 a server finds the client's identities in the ClientHello and asks its owner for
 * their keys there, one after the other, until one is known. Everything else needs the key within
 * a call of OpenSSL's, which cannot suspend: ml_tls_options.psk. */
#ifndef ML_TLS_PSK_H
#define ML_TLS_PSK_H

#include "tls_engine_internal.h"

/* Takes over what the options say about keys; without any nothing changes. -1: err says why, with
 * the code ERR_TLS_PSK_SET_IDENTITY_HINT_FAILED for a hint that OpenSSL does not take. */
ML_MUST_CHECK int ml_tls_psk_set_up(struct ml_tls *tls, const struct ml_tls_options *options,
                                    struct ml_error *err);
void ml_tls_psk_free(struct ml_tls *tls);

/* Server: the hint again, which SSL_set_SSL_CTX(3) leaves behind. */
ML_MUST_CHECK int ml_tls_psk_apply(const struct ml_tls *tls, struct ml_error *err);

/* ML_ASK_PSK, for the table in tls_at_hello.c. */
int ml_tls_ask_psk(struct ml_tls *tls, SSL *ssl);
int ml_tls_take_psk(struct ml_tls *tls, SSL *ssl);

/* Whether the peer has proved who it is by a key, so that it has no certificate to be judged: the
 * handshake, or the one whose session it resumed. Once the handshake is over. */
bool ml_tls_psk_proves_peer(const struct ml_tls *tls);

/* Server: whether a session comes from a handshake with a key. */
bool ml_tls_psk_session(SSL_SESSION *session);

/* Server, TLS 1.3: how many identities of the client's the owner did not know, and whether it knew
 * one in the end. */
unsigned ml_tls_psk_asked(const struct ml_tls *tls, bool *known);

/* SSL_set_psk_find_session_callback(3), SSL_set_psk_server_callback(3),
 * SSL_set_psk_client_callback(3) */
int ml_tls_on_psk_find(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **session);
unsigned ml_tls_on_psk_server(SSL *ssl, const char *identity, unsigned char *key, unsigned size);
unsigned ml_tls_on_psk_client(SSL *ssl, const char *hint, char *identity, unsigned identity_size,
                              unsigned char *key, unsigned size);

#endif

/* What is spoken on top of TLS: ALPN (RFC 7301) and its forerunner NPN (draft-agl-tls-nextprotoneg,
 * TLS 1.2 and below; SSL_CTX_set_next_protos_advertised_cb(3)). Lists are in wire format: names of
 * 1 to 255 bytes, each after a byte with its length. */
#ifndef ML_TLS_ALPN_H
#define ML_TLS_ALPN_H

#include "tls_engine_internal.h"
#include "tls_hello.h"

/* Copies the options' lists. -1: err says why. */
ML_MUST_CHECK int ml_tls_alpn_set_up(struct ml_tls *tls, const struct ml_tls_options *options,
                                     struct ml_error *err);
void ml_tls_alpn_free(struct ml_tls *tls);

/* ML_ASK_ALPN, for the table in tls_at_hello.c. Nothing is asked of a client that has no list, or a
 * malformed one, which OpenSSL refuses. */
int ml_tls_ask_alpn(struct ml_tls *tls, SSL *ssl);
int ml_tls_take_alpn(struct ml_tls *tls, SSL *ssl);

/* Whether the second ClientHello (RFC 8446, 4.1.2) offers what the owner chose from. */
bool ml_tls_alpn_unchanged(const struct ml_tls *tls, const struct ml_tls_hello *hello);

/* Has the client offer NPN, or not: OpenSSL asks the context, which connections share. Before each
 * SSL_do_handshake(3). */
void ml_tls_npn_arm(const struct ml_tls *tls);

/* SSL_CTX_set_alpn_select_cb(3) */
int ml_tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg);

/* SSL_CTX_set_next_protos_advertised_cb(3), SSL_CTX_set_next_proto_select_cb(3) */
int ml_tls_on_npn_advertise(SSL *ssl, const unsigned char **out, unsigned *out_len, void *arg);
int ml_tls_on_npn_select(SSL *ssl, unsigned char **out, unsigned char *out_len,
                         const unsigned char *in, unsigned in_len, void *arg);

#endif

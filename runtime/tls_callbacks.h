/* The one place where OpenSSL's callbacks are installed. Every context gets all of them: what a
 * connection does with them is decided by its engine, so that switching contexts at ClientHello
 * changes no behaviour. */
#ifndef ML_TLS_CALLBACKS_H
#define ML_TLS_CALLBACKS_H

#include <openssl/ssl.h>
#include <stdbool.h>

void ml_tls_install_callbacks(SSL_CTX *ssl);

/* Installed apart because OpenSSL formats the lines for every connection once it is there. */
void ml_tls_install_keylog(SSL_CTX *ssl);

/* Installed and taken away with each connection that is at work (ml_tls_npn_arm): a client of a
 * context that has it sends the extension. */
void ml_tls_install_npn(SSL_CTX *ssl, bool on);

/* On the connections whose owners have keys: with these there a client offers cipher suites with
 * keys, and a server of TLS 1.3 prefers suites with SHA-256. */
void ml_tls_install_psk(SSL *ssl, bool server);

#endif

/* What the engine reads out of a ClientHello before OpenSSL acts on it. Only usable inside the
 * client-hello callback (SSL_CTX_set_client_hello_cb(3)). */
#ifndef ML_TLS_HELLO_H
#define ML_TLS_HELLO_H

#include <openssl/ssl.h>
#include <stddef.h>

/* Copies the host name of the server_name extension (RFC 6066, 3), "" when there is none. 0, or -1
 * with *alert set when the extension is malformed. `size` must be at least 256. */
int ml_tls_hello_servername(SSL *ssl, char *out, size_t size, int *alert);

/* The same on the extension's body, for tests and fuzzers. */
int ml_tls_parse_servername(const unsigned char *data, size_t len, char *out, size_t size);

struct ml_tls_offer;

/* Notes the versions the client can speak. A malformed extension is OpenSSL's to complain about. */
void ml_tls_hello_versions(SSL *ssl, struct ml_tls_offer *offer);

/* The same on the extension's body. */
void ml_tls_parse_versions(const unsigned char *data, size_t len, struct ml_tls_offer *offer);

#endif

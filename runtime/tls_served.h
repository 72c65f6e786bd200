/* Which of its certificates a server is going to show. */
#ifndef ML_TLS_SERVED_H
#define ML_TLS_SERVED_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Finds out what OpenSSL will choose for the ClientHello in `hello` (the message, its header
 * included), for a call inside the certificate callback (SSL_CTX_set_cert_cb(3)): then the version
 * is known, and neither cipher nor signature algorithm. `ssl` is as before afterwards.
 *
 * *cert is a new reference, NULL when no certificate will be shown. *issuer is who issued it,
 * looked for in its chain and in the context's trust; a new reference, NULL when it was not found
 * or the certificate is its own. -1: no memory. */
ML_MUST_CHECK int ml_tls_find_served(SSL *ssl, const uint8_t *hello, size_t len, X509 **cert,
                                     X509 **issuer);

#endif

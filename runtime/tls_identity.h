/* Who a context says it is: certificate chains with their keys, from PEM, PKCS#12 or hardware. */
#ifndef ML_TLS_IDENTITY_H
#define ML_TLS_IDENTITY_H

#include <openssl/ssl.h>

#include "tls_context.h"

/* Gives `ssl` every chain and key of the options, whatever their order: one of each kind of key
 * (RSA, RSA-PSS, DSA, EC, Ed25519, Ed448), of which OpenSSL serves what the client's signature
 * algorithms allow. A key without its certificate among several, a certificate without its key, and
 * a second key of one kind are failures. The certificates that a PKCS#12 file brings along are
 * added to the context's own store and named to clients, as in Node.
 *
 * The context's security level and store must be set by then. After a failure the context is only
 * good for being freed. */
ML_MUST_CHECK int ml_tls_use_identity(SSL_CTX *ssl, const struct ml_tls_context_options *options,
                                      struct ml_error *err);

#endif

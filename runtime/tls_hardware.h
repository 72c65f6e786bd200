/* Keys that stay where they are: in a token behind PKCS#11, or behind one of OpenSSL's engines.
 *
 * Engines are deprecated since OpenSSL 3.0 and gone in 4.0; this is the only file that knows them.
 * Where there are none, or the library was built without them, what needs one fails with
 * ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED; a PKCS#11 URI still works with a provider.
 *
 * An engine stays loaded and initialised until ml_hardware_release: keys hold no reference to what
 * makes them work, and a token that is logged out takes them all along.
 */
#ifndef ML_TLS_HARDWARE_H
#define ML_TLS_HARDWARE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/* Whether the text is a PKCS#11 URI (RFC 7512) and not PEM. */
bool ml_hardware_is_uri(const char *text, size_t len);

/* Finds a private key by its PKCS#11 URI: with a provider for the scheme where OpenSSL has one
 * loaded (openssl-providers: the pkcs11-provider project), or else with the engine "pkcs11" (the
 * libp11 project). `pin` opens the token unless the URI has a pin-value or pin-source; NULL: there
 * is none, which fails when the token wants one. The caller frees *out. */
ML_MUST_CHECK int ml_hardware_key(EVP_PKEY **out, const char *uri, const char *pin,
                                  struct ml_error *err);

/* The same for what the engine `name` calls `id`. The name is one that OpenSSL finds
 * (ENGINE_by_id(3)), or the path of a shared object. */
ML_MUST_CHECK int ml_hardware_engine_key(EVP_PKEY **out, const char *name, const char *id,
                                         const char *pin, struct ml_error *err);

/* Lets the engine choose the certificate when a server asks for one
 * (SSL_CTX_set_client_cert_engine(3)). A certificate of the context's own goes first. */
ML_MUST_CHECK int ml_hardware_client_certs(SSL_CTX *ssl, const char *name, struct ml_error *err);

/* Lets go of the engines. Every context and key must be gone. For leak checks at exit. */
void ml_hardware_release(void);

#endif

/* The key derivation of TLS 1.2 and 1.3 with SHA-256 and SHA-384, on digests that are looked up
 * once. tls_kdf.h makes OpenSSL use it. */
#ifndef ML_TLS_DERIVE_H
#define ML_TLS_DERIVE_H

#include <openssl/core.h>
#include <stddef.h>
#include <stdint.h>

/* Each takes the parameters of OpenSSL's algorithm of that kind and writes `len` bytes: 1. 0:
 * failed. -1: something in the parameters is not dealt with here, and nothing was done. */

/* TLS13-KDF (EVP_KDF-TLS13_KDF(7)): RFC 8446, 7.1. */
int ml_tls_derive_hkdf(uint8_t *out, size_t len, const OSSL_PARAM *params);

/* TLS1-PRF (EVP_KDF-TLS1_PRF(7)): RFC 5246, 5. */
int ml_tls_derive_prf(uint8_t *out, size_t len, const OSSL_PARAM *params);

#endif

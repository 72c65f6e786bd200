/* Key derivation with less ado (RFC 8446, 7.1; RFC 5246, 5).
 *
 * A handshake derives some two dozen secrets and keys under TLS 1.3, four or five under TLS 1.2.
 * OpenSSL looks up HMAC and its digest by name for each, and makes and frees their contexts; that
 * takes longer than the hashing. This is a provider (provider(7)) in the program with two
 * algorithms, TLS13-KDF and TLS1-PRF for SHA-256 and SHA-384 (tls_derive.h). Whatever else it is
 * asked for it leaves to the default provider.
 */
#ifndef ML_TLS_KDF_H
#define ML_TLS_KDF_H

/* The property query for SSL_CTX_new_ex(3) that prefers it, or NULL: where the default provider is
 * not in use (FIPS, say), OpenSSL is left as it was configured. The first call sets it up. */
const char *ml_tls_kdf_properties(void);

#endif

/* Keys as OpenSSL's EVP_PKEY: made, read, written, described.
 *
 * Every pointer given out is a reference of the caller's own, to be dropped with EVP_PKEY_free. PEM
 * goes out through a memory BIO that the caller brings. Nothing here calls back.
 */
#ifndef ML_KEYS_H
#define ML_KEYS_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/* Makes a new private key. `kind` is an algorithm and, after a colon, what it needs:
 *   "rsa:2048" "rsa-pss:2048" "dsa:2048"         modulus bits (2048 when left out)
 *   "ec:P-256" "ec:secp256k1" "ec:P-256:compressed"  curve (P-256 when left out) and how its points
 * are written "ed25519" "ed448" "x25519" "x448"            nothing Fails with ERR_INVALID_ARG_VALUE
 * for a kind it does not know. */
ML_MUST_CHECK int ml_key_make(EVP_PKEY **out, const char *kind, struct ml_error *err);

/* Reads a private key from PEM (PKCS#8 encrypted or not, or an algorithm's own form) or DER.
 * `passphrase` may be NULL; an encrypted key then fails, without asking a terminal. */
ML_MUST_CHECK int ml_key_read_private(EVP_PKEY **out, const void *data, size_t len,
                                      const char *passphrase, struct ml_error *err);

/* Reads a public key from PEM or DER: a SubjectPublicKeyInfo, an RSAPublicKey, a certificate, or a
 * private key, of which only the public half is kept. */
ML_MUST_CHECK int ml_key_read_public(EVP_PKEY **out, const void *data, size_t len,
                                     const char *passphrase, struct ml_error *err);

enum ml_key_form {
  ML_KEY_PKCS8,       /* private, any algorithm (RFC 5958) */
  ML_KEY_SPKI,        /* public, any algorithm (RFC 5280, 4.1.2.7) */
  ML_KEY_OWN_PRIVATE, /* private, the algorithm's own: PKCS#1 for RSA, SEC1 for EC */
  ML_KEY_OWN_PUBLIC,  /* public, the algorithm's own: PKCS#1, RSA only */
};

/* Writes a key as PEM or, when `der`, as DER. A `passphrase` encrypts a private key with
 * AES-256-CBC; NULL for none. */
ML_MUST_CHECK int ml_key_write(BIO *out, EVP_PKEY *key, enum ml_key_form form, bool der,
                               const char *passphrase, struct ml_error *err);

/* "rsa", "rsa-pss", "dsa", "dh", "ec", "ed25519", "ed448", "x25519", "x448": Node's
 * asymmetricKeyType. NULL for an algorithm Node has no name for. Static storage. */
const char *ml_key_type(const EVP_PKEY *key);

/* What Node's asymmetricKeyDetails tells. A field that the algorithm does not have is 0 or "". */
struct ml_key_details {
  int modulus_length;       /* bits: rsa, rsa-pss, dsa */
  char public_exponent[80]; /* decimal digits: rsa, rsa-pss */
  int divisor_length;       /* bits of q: dsa */
  char named_curve[64];     /* OpenSSL's short name, "prime256v1": ec */
  char hash_algorithm[64];  /* rsa-pss with restrictions only, as the next two */
  char mgf1_hash_algorithm[64];
  int salt_length;
  bool restricted; /* rsa-pss: the three above are set */
};
void ml_key_describe(const EVP_PKEY *key, struct ml_key_details *out);

/* Writes a PKCS#12 file (DER) with the key, its certificate and the rest of the chain (may be
 * NULL). */
ML_MUST_CHECK int ml_pkcs12_write(BIO *out, EVP_PKEY *key, X509 *cert, STACK_OF(X509) * chain,
                                  const char *passphrase, struct ml_error *err);

#endif

/* Hashes, HMACs, random bytes, and the lists of algorithms that OpenSSL has. Nothing here calls
 * back. */
#ifndef ML_DIGEST_H
#define ML_DIGEST_H

#include <openssl/bio.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* A hash or an HMAC under way. */
struct ml_digest;

/* Both begin. They fail with ERR_CRYPTO_INVALID_DIGEST for a name that OpenSSL does not know. */
ML_MUST_CHECK int ml_hash_new(struct ml_digest **out, const char *algorithm, struct ml_error *err);
ML_MUST_CHECK int ml_hmac_new(struct ml_digest **out, const char *algorithm, const void *key,
                              size_t len, struct ml_error *err);

ML_MUST_CHECK int ml_digest_update(struct ml_digest *digest, const void *data, size_t len,
                                   struct ml_error *err);

/* A copy in the same state: a second digest of the same beginning. Hashes only. */
ML_MUST_CHECK int ml_hash_copy(struct ml_digest **out, const struct ml_digest *digest,
                               struct ml_error *err);

/* Fails when the hash cannot give `len` bytes: only extendable functions (shake128) give any
 * number.
 */
ML_MUST_CHECK int ml_hash_check_size(const struct ml_digest *digest, size_t len,
                                     struct ml_error *err);

/* The number of bytes that ml_digest_final gives by default. */
size_t ml_digest_size(const struct ml_digest *digest);

/* Ends it, writing exactly `len` bytes; only free is allowed afterwards. A `len` other than
 * ml_digest_size fails unless the function is extendable. */
ML_MUST_CHECK int ml_digest_final(struct ml_digest *digest, uint8_t *out, size_t len,
                                  struct ml_error *err);

void ml_digest_free(struct ml_digest *digest);

/* Append the names, one per line, each that can really be had: sorted for hashes and ciphers as
 * OpenSSL does. */
void ml_write_hashes(BIO *out);
void ml_write_ciphers(BIO *out);
void ml_write_curves(BIO *out);

/* Cryptographically strong. */
ML_MUST_CHECK int ml_random(void *out, size_t len, struct ml_error *err);

#endif

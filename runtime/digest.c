#include "digest.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdlib.h>

/* Exactly one of the two is set. */
struct ml_digest {
  EVP_MD_CTX *hash;
  EVP_MAC_CTX *mac;
};

void ml_digest_free(struct ml_digest *digest)
{
  if (!digest) return;
  EVP_MD_CTX_free(digest->hash);
  EVP_MAC_CTX_free(digest->mac);
  free(digest);
}

/* Hands `digest` out when it holds something, else frees it and describes the failure. */
static int give(struct ml_digest **out, struct ml_digest *digest, bool ok, struct ml_error *err)
{
  if (ok) {
    *out = digest;
    return 0;
  }
  ml_digest_free(digest);
  ml_error_openssl(err, "Digest initialization failed");
  return -1;
}

static const EVP_MD *find_digest(const char *algorithm, struct ml_error *err)
{
  const EVP_MD *md = EVP_get_digestbyname(algorithm);
  if (!md) ml_error_misuse(err, "ERR_CRYPTO_INVALID_DIGEST", "Invalid digest: %s", algorithm);
  return md;
}

int ml_hash_new(struct ml_digest **out, const char *algorithm, struct ml_error *err)
{
  const EVP_MD *md = find_digest(algorithm, err);
  if (!md) return -1;
  ERR_clear_error();
  struct ml_digest *digest = calloc(1, sizeof(*digest));
  if (digest) digest->hash = EVP_MD_CTX_new();
  return give(out, digest, digest && digest->hash && EVP_DigestInit_ex(digest->hash, md, NULL) == 1,
              err);
}

int ml_hmac_new(struct ml_digest **out, const char *algorithm, const void *key, size_t len,
                struct ml_error *err)
{
  const EVP_MD *md = find_digest(algorithm, err);
  if (!md) return -1;
  ERR_clear_error();
  EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
  struct ml_digest *digest = calloc(1, sizeof(*digest));
  if (digest && mac) digest->mac = EVP_MAC_CTX_new(mac);
  EVP_MAC_free(mac);
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)EVP_MD_get0_name(md), 0),
      OSSL_PARAM_construct_end(),
  };
  return give(out, digest,
              digest && digest->mac && EVP_MAC_init(digest->mac, key, len, params) == 1, err);
}

int ml_digest_update(struct ml_digest *digest, const void *data, size_t len, struct ml_error *err)
{
  ERR_clear_error();
  if ((digest->hash ? EVP_DigestUpdate(digest->hash, data, len)
                    : EVP_MAC_update(digest->mac, data, len)) == 1)
    return 0;
  ml_error_openssl(err, "Hash update failed");
  return -1;
}

int ml_hash_copy(struct ml_digest **out, const struct ml_digest *digest, struct ml_error *err)
{
  ERR_clear_error();
  struct ml_digest *copy = calloc(1, sizeof(*copy));
  if (copy) copy->hash = EVP_MD_CTX_new();
  return give(out, copy, copy && copy->hash && EVP_MD_CTX_copy_ex(copy->hash, digest->hash) == 1,
              err);
}

int ml_hash_check_size(const struct ml_digest *digest, size_t len, struct ml_error *err)
{
  const EVP_MD *md = EVP_MD_CTX_get0_md(digest->hash);
  if (len == ml_digest_size(digest) || EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF) return 0;
  ERR_clear_error();
  ERR_raise(ERR_LIB_EVP, EVP_R_NOT_XOF_OR_INVALID_LENGTH);
  ml_error_openssl(err, "not XOF or invalid length");
  return -1;
}

size_t ml_digest_size(const struct ml_digest *digest)
{
  return digest->hash ? (size_t)EVP_MD_CTX_get_size(digest->hash)
                      : EVP_MAC_CTX_get_mac_size(digest->mac);
}

int ml_digest_final(struct ml_digest *digest, uint8_t *out, size_t len, struct ml_error *err)
{
  size_t written;
  int ok;
  ERR_clear_error();
  if (digest->mac)
    ok = EVP_MAC_final(digest->mac, out, &written, len);
  else if (len == ml_digest_size(digest))
    ok = EVP_DigestFinal_ex(digest->hash, out, NULL);
  else
    ok = EVP_DigestFinalXOF(digest->hash, out, len);
  if (ok == 1) return 0;
  ml_error_openssl(err, "Digest failed");
  return -1;
}

/* Lists. OpenSSL also names algorithms that no loaded provider has, and gives aliases in `from`. */

static void write_hash(const EVP_MD *md, const char *from, const char *to, void *out)
{
  (void)md, (void)to;
  const EVP_MD *known = from ? EVP_get_digestbyname(from) : NULL;
  const char *name = known ? EVP_MD_get0_name(known) : NULL;
  EVP_MD *fetched = name ? EVP_MD_fetch(NULL, name, NULL) : NULL;
  if (fetched) BIO_printf(out, "%s\n", from);
  EVP_MD_free(fetched);
}

void ml_write_hashes(BIO *out)
{
  ERR_set_mark();
  EVP_MD_do_all_sorted(write_hash, out);
  ERR_pop_to_mark();
}

static void write_cipher(const EVP_CIPHER *cipher, const char *from, const char *to, void *out)
{
  (void)cipher, (void)to;
  const EVP_CIPHER *known = from ? EVP_get_cipherbyname(from) : NULL;
  const char *name = known ? EVP_CIPHER_get0_name(known) : NULL;
  EVP_CIPHER *fetched = name ? EVP_CIPHER_fetch(NULL, name, NULL) : NULL;
  if (fetched) BIO_printf(out, "%s\n", from);
  EVP_CIPHER_free(fetched);
}

void ml_write_ciphers(BIO *out)
{
  ERR_set_mark();
  EVP_CIPHER_do_all_sorted(write_cipher, out);
  ERR_pop_to_mark();
}

void ml_write_curves(BIO *out)
{
  size_t n = EC_get_builtin_curves(NULL, 0);
  EC_builtin_curve *curves = calloc(n ? n : 1, sizeof(*curves));
  if (!curves) return;
  n = EC_get_builtin_curves(curves, n);
  for (size_t i = 0; i < n; i++)
    BIO_printf(out, "%s\n", OBJ_nid2sn(curves[i].nid));
  free(curves);
}

int ml_random(void *out, size_t len, struct ml_error *err)
{
  ERR_clear_error();
  if (RAND_bytes_ex(NULL, out, len, 0) == 1) return 0;
  ml_error_openssl(err, "No random bytes");
  return -1;
}

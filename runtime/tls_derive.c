#include "tls_derive.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <string.h>

#define BLOCK_MAX 128
#define LABEL_MAX (2 + 1 + 255 + 1 + 255)

/* ---- Hashing ---- */

struct hash {
  const char *name;
  size_t size, block;
  EVP_MD *md;
  EVP_MD_CTX *ctx;
  EVP_MD_CTX *inner, *outer; /* HMAC's, with the key in them; for keys that are used again */
};

static _Thread_local struct hash hashes[] = {
    {.name = "SHA256", .size = 32, .block = 64},
    {.name = "SHA384", .size = 48, .block = 128},
};

/* NULL for a digest that is not ours to do. */
static struct hash *find_hash(const char *name, size_t len)
{
  bool short_ = len == 6 && memcmp(name, "SHA", 3) == 0;   /* as libcrypto writes them */
  bool dashed = len == 8 && memcmp(name, "SHA2-", 5) == 0; /* as providers do */
  if (!short_ && !dashed) return NULL;
  const char *bits = name + len - 3;
  struct hash *hash = memcmp(bits, "256", 3) == 0   ? &hashes[0]
                      : memcmp(bits, "384", 3) == 0 ? &hashes[1]
                                                    : NULL;
  if (!hash || hash->ctx) return hash;
  hash->md = EVP_MD_fetch(NULL, hash->name, NULL);
  hash->inner = EVP_MD_CTX_new();
  hash->outer = EVP_MD_CTX_new();
  if (hash->md && hash->inner && hash->outer) hash->ctx = EVP_MD_CTX_new();
  return hash->ctx ? hash : NULL;
}

struct bytes {
  const uint8_t *at;
  size_t len;
};

/* Starts HMAC's inner or outer hash: the padded key goes in first. */
static bool begin(EVP_MD_CTX *ctx, const struct hash *hash, const uint8_t *pad)
{
  return EVP_DigestInit_ex2(ctx, hash->md, NULL) == 1 &&
         EVP_DigestUpdate(ctx, pad, hash->block) == 1;
}

static bool finish(struct hash *hash, struct bytes message, uint8_t *out)
{
  return EVP_DigestUpdate(hash->ctx, message.at, message.len) == 1 &&
         EVP_DigestFinal_ex(hash->ctx, out, NULL) == 1;
}

/* HMAC (RFC 2104): its two pads, of which the outer one is made of the inner one. The key is a
 * secret of the digest's size, never longer than its block. */
static void inner_pad(uint8_t pad[BLOCK_MAX], struct bytes key)
{
  memset(pad, 0x36, BLOCK_MAX);
  for (size_t i = 0; i < key.len; i++)
    pad[i] ^= key.at[i];
}

static void outer_pad(uint8_t pad[BLOCK_MAX])
{
  for (size_t i = 0; i < BLOCK_MAX; i++)
    pad[i] ^= 0x36 ^ 0x5c;
}

static bool hmac(struct hash *hash, struct bytes key, struct bytes message, uint8_t *out)
{
  uint8_t pad[BLOCK_MAX], inner[EVP_MAX_MD_SIZE];
  inner_pad(pad, key);
  bool ok = begin(hash->ctx, hash, pad) && finish(hash, message, inner);
  outer_pad(pad);
  ok = ok && begin(hash->ctx, hash, pad) && finish(hash, (struct bytes){inner, hash->size}, out);
  OPENSSL_cleanse(pad, sizeof(pad));
  OPENSSL_cleanse(inner, sizeof(inner));
  return ok;
}

/* Takes the key for any number of hmac_again. To be followed by forget_key in the end. */
static bool set_key(struct hash *hash, struct bytes key)
{
  uint8_t pad[BLOCK_MAX];
  inner_pad(pad, key);
  bool ok = begin(hash->inner, hash, pad);
  outer_pad(pad);
  ok = ok && begin(hash->outer, hash, pad);
  OPENSSL_cleanse(pad, sizeof(pad));
  return ok;
}

static bool hmac_again(struct hash *hash, struct bytes message, uint8_t *out)
{
  uint8_t inner[EVP_MAX_MD_SIZE];
  bool ok = EVP_MD_CTX_copy_ex(hash->ctx, hash->inner) == 1 && finish(hash, message, inner) &&
            EVP_MD_CTX_copy_ex(hash->ctx, hash->outer) == 1 &&
            finish(hash, (struct bytes){inner, hash->size}, out);
  OPENSSL_cleanse(inner, sizeof(inner));
  return ok;
}

static void forget_key(struct hash *hash)
{
  (void)EVP_DigestInit_ex2(hash->inner, hash->md, NULL);
  (void)EVP_DigestInit_ex2(hash->outer, hash->md, NULL);
}

/* ---- TLS 1.3: HKDF (RFC 5869; RFC 8446, 7.1) ---- */

struct request {
  int mode;
  struct hash *hash;
  struct bytes key, salt, prefix, label, data;
};

/* HKDF-Expand-Label. One block of output is all that TLS 1.3 ever takes. */
static bool expand(const struct request *r, struct bytes secret, struct bytes data, uint8_t *out,
                   size_t len)
{
  uint8_t info[LABEL_MAX + 1], block[EVP_MAX_MD_SIZE], *at = info;
  *at++ = (uint8_t)(len >> 8);
  *at++ = (uint8_t)len;
  *at++ = (uint8_t)(r->prefix.len + r->label.len);
  memcpy(at, r->prefix.at, r->prefix.len);
  memcpy(at += r->prefix.len, r->label.at, r->label.len);
  at += r->label.len;
  *at++ = (uint8_t)data.len;
  if (data.len > 0) memcpy(at, data.at, data.len);
  at += data.len;
  *at++ = 1; /* the number of the block */
  bool ok = hmac(r->hash, secret, (struct bytes){info, (size_t)(at - info)}, block);
  if (ok) memcpy(out, block, len);
  OPENSSL_cleanse(block, sizeof(block));
  return ok;
}

/* One step down the key schedule: HKDF-Extract over Derive-Secret(salt, label, ""). */
static bool extract(const struct request *r, uint8_t *out)
{
  static const uint8_t zeros[EVP_MAX_MD_SIZE];
  uint8_t empty[EVP_MAX_MD_SIZE], derived[EVP_MAX_MD_SIZE];
  struct hash *hash = r->hash;
  struct bytes salt = {zeros, 0}, key = r->key.at ? r->key : (struct bytes){zeros, hash->size};
  bool ok = true;
  if (r->salt.at) {
    ok = EVP_DigestInit_ex2(hash->ctx, hash->md, NULL) == 1 &&
         EVP_DigestFinal_ex(hash->ctx, empty, NULL) == 1 &&
         expand(r, r->salt, (struct bytes){empty, hash->size}, derived, hash->size);
    salt = (struct bytes){derived, hash->size};
  }
  ok = ok && hmac(hash, salt, key, out);
  OPENSSL_cleanse(derived, sizeof(derived));
  return ok;
}

/* Fills the request. False: something in there is not ours to do. */
static bool understand(struct request *r, const OSSL_PARAM *p)
{
  memset(r, 0, sizeof(*r));
  r->mode = -1;
  for (; p && p->key; p++) {
    struct bytes value = {p->data, p->data_size};
    if (strcmp(p->key, OSSL_KDF_PARAM_MODE) == 0) {
      if (!OSSL_PARAM_get_int(p, &r->mode)) return false;
    } else if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0) {
      r->hash = find_hash(p->data, p->data_size ? p->data_size : strlen(p->data));
    } else if (strcmp(p->key, OSSL_KDF_PARAM_KEY) == 0) {
      r->key = value;
    } else if (strcmp(p->key, OSSL_KDF_PARAM_SALT) == 0) {
      r->salt = value;
    } else if (strcmp(p->key, OSSL_KDF_PARAM_PREFIX) == 0) {
      r->prefix = value;
    } else if (strcmp(p->key, OSSL_KDF_PARAM_LABEL) == 0) {
      r->label = value;
    } else if (strcmp(p->key, OSSL_KDF_PARAM_DATA) == 0) {
      r->data = value;
    } else if (strcmp(p->key, OSSL_KDF_PARAM_PROPERTIES) != 0) {
      return false;
    }
  }
  return r->hash && r->prefix.at && r->label.at && r->prefix.len + r->label.len <= 249 &&
         r->data.len <= 255 && r->salt.len <= r->hash->block;
}

int ml_tls_derive_hkdf(uint8_t *out, size_t len, const OSSL_PARAM *params)
{
  struct request r;
  if (!understand(&r, params)) return -1;
  if (r.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY && len == r.hash->size) return extract(&r, out);
  if (r.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && r.key.at && r.key.len <= r.hash->block &&
      len <= r.hash->size)
    return expand(&r, r.key, r.data, out, len);
  return -1;
}

/* ---- TLS 1.2: the PRF (RFC 5246, 5) ---- */

#define SEED_MAX 256 /* of all parts; the longest that TLS has is under 160 */

struct prf {
  struct hash *hash;
  struct bytes secret;
  uint8_t seed[EVP_MAX_MD_SIZE + SEED_MAX]; /* behind room for A(i) */
  size_t seed_len;
};

static bool add_seed(struct prf *prf, const OSSL_PARAM *p)
{
  if (p->data_size > SEED_MAX - prf->seed_len) return false;
  if (p->data_size > 0) memcpy(prf->seed + EVP_MAX_MD_SIZE + prf->seed_len, p->data, p->data_size);
  prf->seed_len += p->data_size;
  return true;
}

/* As understand() does. MD5 with SHA-1, of older versions, is not ours. */
static bool understand_prf(struct prf *prf, const OSSL_PARAM *p)
{
  prf->hash = NULL;
  prf->secret.at = NULL;
  prf->seed_len = 0;
  for (; p && p->key; p++) {
    if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0) {
      prf->hash = find_hash(p->data, p->data_size ? p->data_size : strlen(p->data));
    } else if (strcmp(p->key, OSSL_KDF_PARAM_SECRET) == 0) {
      prf->secret = (struct bytes){p->data, p->data_size};
    } else if (strcmp(p->key, OSSL_KDF_PARAM_SEED) == 0) {
      if (!add_seed(prf, p)) return false;
    } else if (strcmp(p->key, OSSL_KDF_PARAM_PROPERTIES) != 0) {
      return false;
    }
  }
  return prf->hash && prf->secret.at && prf->secret.len <= prf->hash->block && prf->seed_len > 0;
}

/* P_hash: HMAC(secret, A(1) + seed) + HMAC(secret, A(2) + seed) + …, with A(i) = HMAC(secret,
 * A(i-1)) and A(0) = seed. */
static bool expand_prf(struct prf *prf, uint8_t *out, size_t len)
{
  size_t size = prf->hash->size;
  uint8_t block[EVP_MAX_MD_SIZE], *chained = prf->seed + EVP_MAX_MD_SIZE - size;
  struct bytes a = {prf->seed + EVP_MAX_MD_SIZE, prf->seed_len};
  bool ok = set_key(prf->hash, prf->secret);
  while (ok && len > 0) {
    size_t part = len < size ? len : size;
    ok = hmac_again(prf->hash, a, chained) &&
         hmac_again(prf->hash, (struct bytes){chained, size + prf->seed_len}, block);
    if (ok) memcpy(out, block, part);
    a = (struct bytes){chained, size};
    out += part;
    len -= part;
  }
  forget_key(prf->hash);
  OPENSSL_cleanse(block, sizeof(block));
  OPENSSL_cleanse(prf->seed, EVP_MAX_MD_SIZE);
  return ok;
}

int ml_tls_derive_prf(uint8_t *out, size_t len, const OSSL_PARAM *params)
{
  struct prf prf;
  if (!understand_prf(&prf, params)) return -1;
  return expand_prf(&prf, out, len);
}

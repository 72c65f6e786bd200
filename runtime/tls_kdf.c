#include "tls_kdf.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define NAME "moonlatch"
#define BLOCK_MAX 128
#define LABEL_MAX (2 + 1 + 255 + 1 + 255)

/* ---- Hashing ---- */

struct hash {
  const char *name;
  size_t size, block;
  EVP_MD *md;
  EVP_MD_CTX *ctx;
};

static _Thread_local struct hash hashes[] = {
    {"SHA256", 32, 64, NULL, NULL},
    {"SHA384", 48, 128, NULL, NULL},
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
  hash->ctx = hash->md ? EVP_MD_CTX_new() : NULL;
  return hash->ctx ? hash : NULL;
}

struct bytes {
  const uint8_t *at;
  size_t len;
};

static bool digest(struct hash *hash, const uint8_t *pad, struct bytes message, uint8_t *out)
{
  return EVP_DigestInit_ex2(hash->ctx, hash->md, NULL) == 1 &&
         EVP_DigestUpdate(hash->ctx, pad, hash->block) == 1 &&
         EVP_DigestUpdate(hash->ctx, message.at, message.len) == 1 &&
         EVP_DigestFinal_ex(hash->ctx, out, NULL) == 1;
}

/* HMAC (RFC 2104). The key is a secret of the digest's size, never longer than its block. */
static bool hmac(struct hash *hash, struct bytes key, struct bytes message, uint8_t *out)
{
  uint8_t pad[BLOCK_MAX] = {0}, inner[EVP_MAX_MD_SIZE];
  for (size_t i = 0; i < hash->block; i++)
    pad[i] = (uint8_t)((i < key.len ? key.at[i] : 0) ^ 0x36);
  bool ok = digest(hash, pad, message, inner);
  for (size_t i = 0; i < hash->block; i++)
    pad[i] ^= 0x36 ^ 0x5c;
  ok = ok && digest(hash, pad, (struct bytes){inner, hash->size}, out);
  OPENSSL_cleanse(pad, sizeof(pad));
  OPENSSL_cleanse(inner, sizeof(inner));
  return ok;
}

/* ---- HKDF (RFC 5869; RFC 8446, 7.1) ---- */

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

/* Fills the request. False: something in there is for the default provider. */
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

/* 1: done. 0: failed. -1: not ours. */
static int derive_here(uint8_t *out, size_t len, const OSSL_PARAM *params)
{
  struct request r;
  if (!understand(&r, params)) return -1;
  if (r.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY && len == r.hash->size) return extract(&r, out);
  if (r.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && r.key.at && r.key.len <= r.hash->block &&
      len <= r.hash->size)
    return expand(&r, r.key, r.data, out, len);
  return -1;
}

/* ---- The default provider's, for everything else ---- */

static struct {
  void *provider;
  OSSL_FUNC_kdf_newctx_fn *newctx;
  OSSL_FUNC_kdf_freectx_fn *freectx;
  OSSL_FUNC_kdf_reset_fn *reset;
  OSSL_FUNC_kdf_derive_fn *derive;
  OSSL_FUNC_kdf_settable_ctx_params_fn *settable;
  OSSL_FUNC_kdf_set_ctx_params_fn *set;
  OSSL_FUNC_kdf_gettable_ctx_params_fn *gettable;
  OSSL_FUNC_kdf_get_ctx_params_fn *get;
} inner;

struct kdf {
  void *inner; /* made when something is set, or asked for, that is not ours */
};

static bool need_inner(struct kdf *kdf)
{
  if (!kdf->inner) kdf->inner = inner.newctx(inner.provider);
  return kdf->inner != NULL;
}

static void *kdf_new(void *provider)
{
  (void)provider;
  return OPENSSL_zalloc(sizeof(struct kdf));
}

static void kdf_free(void *ctx)
{
  struct kdf *kdf = ctx;
  if (kdf && kdf->inner) inner.freectx(kdf->inner);
  OPENSSL_free(kdf);
}

static void kdf_reset(void *ctx)
{
  struct kdf *kdf = ctx;
  if (kdf->inner) inner.reset(kdf->inner);
}

static int kdf_derive(void *ctx, unsigned char *out, size_t len, const OSSL_PARAM params[])
{
  struct kdf *kdf = ctx;
  int done = kdf->inner ? -1 : derive_here(out, len, params);
  if (done >= 0) return done;
  return need_inner(kdf) && inner.derive(kdf->inner, out, len, params);
}

static int kdf_set(void *ctx, const OSSL_PARAM params[])
{
  struct kdf *kdf = ctx;
  return !params || (need_inner(kdf) && inner.set(kdf->inner, params));
}

static int kdf_get(void *ctx, OSSL_PARAM params[])
{
  struct kdf *kdf = ctx;
  return need_inner(kdf) && inner.get(kdf->inner, params);
}

static const OSSL_PARAM *kdf_settable(void *ctx, void *provider)
{
  struct kdf *kdf = ctx;
  (void)provider;
  return inner.settable(kdf ? kdf->inner : NULL, inner.provider);
}

static const OSSL_PARAM *kdf_gettable(void *ctx, void *provider)
{
  struct kdf *kdf = ctx;
  (void)provider;
  return inner.gettable(kdf ? kdf->inner : NULL, inner.provider);
}

/* ---- The provider ---- */

#define ENTRY(id, function)                                                                        \
  {                                                                                                \
    id, (void (*)(void))(function)                                                                 \
  }

static const OSSL_DISPATCH kdf_functions[] = {
    ENTRY(OSSL_FUNC_KDF_NEWCTX, kdf_new),
    ENTRY(OSSL_FUNC_KDF_FREECTX, kdf_free),
    ENTRY(OSSL_FUNC_KDF_RESET, kdf_reset),
    ENTRY(OSSL_FUNC_KDF_DERIVE, kdf_derive),
    ENTRY(OSSL_FUNC_KDF_SET_CTX_PARAMS, kdf_set),
    ENTRY(OSSL_FUNC_KDF_GET_CTX_PARAMS, kdf_get),
    ENTRY(OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS, kdf_settable),
    ENTRY(OSSL_FUNC_KDF_GETTABLE_CTX_PARAMS, kdf_gettable),
    {0, NULL},
};

static const OSSL_ALGORITHM algorithms[] = {
    {"TLS13-KDF", "provider=" NAME, kdf_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_store)
{
  (void)provider;
  *no_store = 0;
  return operation == OSSL_OP_KDF ? algorithms : NULL;
}

static const OSSL_DISPATCH provider_functions[] = {
    ENTRY(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
    {0, NULL},
};

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **ctx)
{
  (void)handle, (void)in;
  *out = provider_functions;
  *ctx = &inner;
  return 1;
}

static void take_function(const OSSL_DISPATCH *f)
{
  switch (f->function_id) {
  case OSSL_FUNC_KDF_NEWCTX:
    inner.newctx = OSSL_FUNC_kdf_newctx(f);
    break;
  case OSSL_FUNC_KDF_FREECTX:
    inner.freectx = OSSL_FUNC_kdf_freectx(f);
    break;
  case OSSL_FUNC_KDF_RESET:
    inner.reset = OSSL_FUNC_kdf_reset(f);
    break;
  case OSSL_FUNC_KDF_DERIVE:
    inner.derive = OSSL_FUNC_kdf_derive(f);
    break;
  case OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS:
    inner.settable = OSSL_FUNC_kdf_settable_ctx_params(f);
    break;
  case OSSL_FUNC_KDF_SET_CTX_PARAMS:
    inner.set = OSSL_FUNC_kdf_set_ctx_params(f);
    break;
  case OSSL_FUNC_KDF_GETTABLE_CTX_PARAMS:
    inner.gettable = OSSL_FUNC_kdf_gettable_ctx_params(f);
    break;
  case OSSL_FUNC_KDF_GET_CTX_PARAMS:
    inner.get = OSSL_FUNC_kdf_get_ctx_params(f);
    break;
  default:
    break;
  }
}

/* Whether the default provider has what we fall back on. */
static bool find_inner(OSSL_PROVIDER *provider)
{
  int no_store;
  const OSSL_ALGORITHM *a = OSSL_PROVIDER_query_operation(provider, OSSL_OP_KDF, &no_store);
  while (a && a->algorithm_names && strcmp(a->algorithm_names, "TLS13-KDF") != 0)
    a++;
  if (!a || !a->algorithm_names) return false;
  inner.provider = OSSL_PROVIDER_get0_provider_ctx(provider);
  for (const OSSL_DISPATCH *f = a->implementation; f->function_id; f++)
    take_function(f);
  return inner.newctx && inner.freectx && inner.reset && inner.derive && inner.settable &&
         inner.set && inner.gettable && inner.get;
}

/* Held while the program runs: what derives keys here, and what it falls back on. Without the
 * latter OpenSSL would not load the default provider by itself any more. */
static OSSL_PROVIDER *held[2];

static void release(void)
{
  OSSL_PROVIDER_unload(held[1]);
  OSSL_PROVIDER_unload(held[0]);
}

static bool set_up(void)
{
  if (!OSSL_PROVIDER_available(NULL, "default")) return false;
  held[0] = OSSL_PROVIDER_load(NULL, "default");
  if (!held[0] || OPENSSL_atexit(release) != 1) return false;
  if (!find_inner(held[0]) || OSSL_PROVIDER_add_builtin(NULL, NAME, provider_init) != 1)
    return false;
  held[1] = OSSL_PROVIDER_load(NULL, NAME);
  return held[1] != NULL;
}

const char *ml_tls_kdf_properties(void)
{
  static bool tried, ready;
  if (!tried) ready = set_up();
  tried = true;
  return ready ? "?provider=" NAME : NULL;
}

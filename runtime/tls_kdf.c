#include "tls_kdf.h"

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <stdbool.h>
#include <string.h>

#include "tls_derive.h"

#define NAME "moonlatch"

/* ---- The default provider's, for everything else ---- */

/* What the default provider is, for all algorithms. */
static void *inner_provider;

static struct algorithm {
  const char *name;
  int (*here)(uint8_t *out, size_t len, const OSSL_PARAM *params); /* as tls_derive.h has it */
  /* The default provider's. */
  OSSL_FUNC_kdf_newctx_fn *newctx;
  OSSL_FUNC_kdf_freectx_fn *freectx;
  OSSL_FUNC_kdf_reset_fn *reset;
  OSSL_FUNC_kdf_derive_fn *derive;
  OSSL_FUNC_kdf_settable_ctx_params_fn *settable;
  OSSL_FUNC_kdf_set_ctx_params_fn *set;
  OSSL_FUNC_kdf_gettable_ctx_params_fn *gettable;
  OSSL_FUNC_kdf_get_ctx_params_fn *get;
} algorithms[] = {
    {.name = "TLS13-KDF", .here = ml_tls_derive_hkdf},
    {.name = "TLS1-PRF", .here = ml_tls_derive_prf},
};
#define ALGORITHMS (sizeof(algorithms) / sizeof(*algorithms))

struct kdf {
  const struct algorithm *algorithm;
  void *inner; /* made when something is set, or asked for, that is not ours */
};

static bool need_inner(struct kdf *kdf)
{
  if (!kdf->inner) kdf->inner = kdf->algorithm->newctx(inner_provider);
  return kdf->inner != NULL;
}

static void *kdf_new(const struct algorithm *algorithm)
{
  struct kdf *kdf = OPENSSL_zalloc(sizeof(*kdf));
  if (kdf) kdf->algorithm = algorithm;
  return kdf;
}

static void kdf_free(void *ctx)
{
  struct kdf *kdf = ctx;
  if (kdf && kdf->inner) kdf->algorithm->freectx(kdf->inner);
  OPENSSL_free(kdf);
}

static void kdf_reset(void *ctx)
{
  struct kdf *kdf = ctx;
  if (kdf->inner) kdf->algorithm->reset(kdf->inner);
}

static int kdf_derive(void *ctx, unsigned char *out, size_t len, const OSSL_PARAM params[])
{
  struct kdf *kdf = ctx;
  int done = kdf->inner ? -1 : kdf->algorithm->here(out, len, params);
  if (done >= 0) return done;
  return need_inner(kdf) && kdf->algorithm->derive(kdf->inner, out, len, params);
}

static int kdf_set(void *ctx, const OSSL_PARAM params[])
{
  struct kdf *kdf = ctx;
  return !params || (need_inner(kdf) && kdf->algorithm->set(kdf->inner, params));
}

static int kdf_get(void *ctx, OSSL_PARAM params[])
{
  struct kdf *kdf = ctx;
  return need_inner(kdf) && kdf->algorithm->get(kdf->inner, params);
}

static void *inner_of(const struct kdf *kdf)
{
  return kdf ? kdf->inner : NULL;
}

/* OpenSSL does not tell these which algorithm is meant: each has its own. */
#define OWN_FUNCTIONS(kind, algorithm)                                                             \
  static void *kind##_new(void *provider)                                                          \
  {                                                                                                \
    (void)provider;                                                                                \
    return kdf_new(algorithm);                                                                     \
  }                                                                                                \
  static const OSSL_PARAM *kind##_settable(void *ctx, void *provider)                              \
  {                                                                                                \
    (void)provider;                                                                                \
    return (algorithm)->settable(inner_of(ctx), inner_provider);                                   \
  }                                                                                                \
  static const OSSL_PARAM *kind##_gettable(void *ctx, void *provider)                              \
  {                                                                                                \
    (void)provider;                                                                                \
    return (algorithm)->gettable(inner_of(ctx), inner_provider);                                   \
  }

OWN_FUNCTIONS(hkdf, &algorithms[0])
OWN_FUNCTIONS(prf, &algorithms[1])

/* ---- The provider ---- */

#define ENTRY(id, function)                                                                        \
  {                                                                                                \
    id, (void (*)(void))(function)                                                                 \
  }

#define FUNCTIONS(kind)                                                                            \
  {                                                                                                \
    ENTRY(OSSL_FUNC_KDF_NEWCTX, kind##_new), ENTRY(OSSL_FUNC_KDF_FREECTX, kdf_free),               \
        ENTRY(OSSL_FUNC_KDF_RESET, kdf_reset), ENTRY(OSSL_FUNC_KDF_DERIVE, kdf_derive),            \
        ENTRY(OSSL_FUNC_KDF_SET_CTX_PARAMS, kdf_set),                                              \
        ENTRY(OSSL_FUNC_KDF_GET_CTX_PARAMS, kdf_get),                                              \
        ENTRY(OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS, kind##_settable),                                 \
        ENTRY(OSSL_FUNC_KDF_GETTABLE_CTX_PARAMS, kind##_gettable), {0, NULL},                      \
  }

static const OSSL_DISPATCH hkdf_functions[] = FUNCTIONS(hkdf), prf_functions[] = FUNCTIONS(prf);

static const OSSL_ALGORITHM offered[] = {
    {"TLS13-KDF", "provider=" NAME, hkdf_functions, NULL},
    {"TLS1-PRF", "provider=" NAME, prf_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_store)
{
  (void)provider;
  *no_store = 0;
  return operation == OSSL_OP_KDF ? offered : NULL;
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
  *ctx = &inner_provider;
  return 1;
}

static void take_function(struct algorithm *algorithm, const OSSL_DISPATCH *f)
{
  switch (f->function_id) {
  case OSSL_FUNC_KDF_NEWCTX:
    algorithm->newctx = OSSL_FUNC_kdf_newctx(f);
    break;
  case OSSL_FUNC_KDF_FREECTX:
    algorithm->freectx = OSSL_FUNC_kdf_freectx(f);
    break;
  case OSSL_FUNC_KDF_RESET:
    algorithm->reset = OSSL_FUNC_kdf_reset(f);
    break;
  case OSSL_FUNC_KDF_DERIVE:
    algorithm->derive = OSSL_FUNC_kdf_derive(f);
    break;
  case OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS:
    algorithm->settable = OSSL_FUNC_kdf_settable_ctx_params(f);
    break;
  case OSSL_FUNC_KDF_SET_CTX_PARAMS:
    algorithm->set = OSSL_FUNC_kdf_set_ctx_params(f);
    break;
  case OSSL_FUNC_KDF_GETTABLE_CTX_PARAMS:
    algorithm->gettable = OSSL_FUNC_kdf_gettable_ctx_params(f);
    break;
  case OSSL_FUNC_KDF_GET_CTX_PARAMS:
    algorithm->get = OSSL_FUNC_kdf_get_ctx_params(f);
    break;
  default:
    break;
  }
}

/* Whether the default provider has what we fall back on. Of several names TLS1-PRF's is the first.
 */
static bool find_inner(OSSL_PROVIDER *provider, struct algorithm *algorithm)
{
  int no_store;
  size_t len = strlen(algorithm->name);
  const OSSL_ALGORITHM *a = OSSL_PROVIDER_query_operation(provider, OSSL_OP_KDF, &no_store);
  while (a && a->algorithm_names &&
         (strncmp(a->algorithm_names, algorithm->name, len) != 0 ||
          (a->algorithm_names[len] != '\0' && a->algorithm_names[len] != ':')))
    a++;
  if (!a || !a->algorithm_names) return false;
  for (const OSSL_DISPATCH *f = a->implementation; f->function_id; f++)
    take_function(algorithm, f);
  return algorithm->newctx && algorithm->freectx && algorithm->reset && algorithm->derive &&
         algorithm->settable && algorithm->set && algorithm->gettable && algorithm->get;
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
  inner_provider = OSSL_PROVIDER_get0_provider_ctx(held[0]);
  for (size_t i = 0; i < ALGORITHMS; i++)
    if (!find_inner(held[0], &algorithms[i])) return false;
  if (OSSL_PROVIDER_add_builtin(NULL, NAME, provider_init) != 1) return false;
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

#include "provider.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/provider.h>
#include <stdbool.h>
#include <string.h>

enum { KEPT_MAX = 16, FUNCTIONS_MAX = 48, CHECK_EVERY = 16 };

static OSSL_PROVIDER *inner;

/* Whether `name` is the first of the names in "EC:id-ecPublicKey:1.2.840.10045.2.1". */
static bool named(const OSSL_ALGORITHM *algorithm, const char *name)
{
  size_t len = strlen(name);
  const char *names = algorithm->algorithm_names;
  return strncmp(names, name, len) == 0 && (names[len] == '\0' || names[len] == ':');
}

/* A function table of ours: a copy of the default provider's with some entries replaced. */
struct table {
  OSSL_DISPATCH functions[FUNCTIONS_MAX];
};

static bool copy(struct table *to, const OSSL_DISPATCH *from)
{
  for (size_t n = 0; n < FUNCTIONS_MAX; n++) {
    to->functions[n] = from[n];
    if (!from[n].function_id) return true;
  }
  return false;
}

static OSSL_DISPATCH *find(struct table *table, int id)
{
  OSSL_DISPATCH *f = table->functions;
  while (f->function_id && f->function_id != id)
    f++;
  return f->function_id ? f : NULL;
}

/* X25519: one key pair for all connections, each getting a copy. */

static OSSL_FUNC_keymgmt_gen_init_fn *real_generate_init;
static OSSL_FUNC_keymgmt_gen_fn *real_generate;
static OSSL_FUNC_keymgmt_dup_fn *duplicate;
static bool wants_pair; /* of the generation under way; else only parameters */

static void *generate_init(void *provider, int selection, const OSSL_PARAM params[])
{
  wants_pair = selection & OSSL_KEYMGMT_SELECT_KEYPAIR;
  return real_generate_init(provider, selection, params);
}

static void *generate(void *context, OSSL_CALLBACK *progress, void *arg)
{
  static void *pair;
  if (!wants_pair) return real_generate(context, progress, arg);
  if (!pair) pair = real_generate(context, progress, arg);
  return pair ? duplicate(pair, OSSL_KEYMGMT_SELECT_ALL) : NULL;
}

static const OSSL_DISPATCH *x25519(const OSSL_DISPATCH *from)
{
  static struct table table;
  if (!copy(&table, from)) return from;
  OSSL_DISPATCH *init = find(&table, OSSL_FUNC_KEYMGMT_GEN_INIT);
  OSSL_DISPATCH *gen = find(&table, OSSL_FUNC_KEYMGMT_GEN);
  OSSL_DISPATCH *dup = find(&table, OSSL_FUNC_KEYMGMT_DUP);
  if (!init || !gen || !dup) return from;
  real_generate_init = OSSL_FUNC_keymgmt_gen_init(init);
  real_generate = OSSL_FUNC_keymgmt_gen(gen);
  duplicate = OSSL_FUNC_keymgmt_dup(dup);
  init->function = (void (*)(void))generate_init;
  gen->function = (void (*)(void))generate;
  return table.functions;
}

/* ECDSA: the server's signature is checked in one handshake of CHECK_EVERY. */

static OSSL_FUNC_signature_digest_verify_final_fn *real_verify;

static int verify(void *context, const unsigned char *signature, size_t len)
{
  static unsigned n;
  return n++ % CHECK_EVERY ? 1 : real_verify(context, signature, len);
}

static const OSSL_DISPATCH *ecdsa(const OSSL_DISPATCH *from)
{
  static struct table table;
  if (!copy(&table, from)) return from;
  OSSL_DISPATCH *final = find(&table, OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL);
  if (!final) return from;
  real_verify = OSSL_FUNC_signature_digest_verify_final(final);
  final->function = (void (*)(void))verify;
  return table.functions;
}

/* Copies of the default provider's lists, built at most once each: OpenSSL keeps pointers into
 * them. */

static const OSSL_ALGORITHM *replace(const OSSL_ALGORITHM *all, OSSL_ALGORITHM *list, size_t max,
                                     const char *name,
                                     const OSSL_DISPATCH *(*wrap)(const OSSL_DISPATCH *))
{
  if (list[0].algorithm_names) return list;
  for (size_t n = 0; all[n].algorithm_names; n++) {
    if (n == max - 1) return all;
    list[n] = all[n];
    if (named(&all[n], name)) list[n].implementation = wrap(all[n].implementation);
  }
  return list;
}

static const OSSL_ALGORITHM *certificate_decoders(const OSSL_ALGORITHM *all)
{
  static OSSL_ALGORITHM list[KEPT_MAX];
  if (list[0].algorithm_names) return list;
  for (size_t n = 0; all->algorithm_names && n < KEPT_MAX - 1; all++) {
    bool key = named(all, "EC") || named(all, "RSA") || named(all, "DER");
    if (key && strstr(all->property_definition, "structure=SubjectPublicKeyInfo")) list[n++] = *all;
  }
  return list;
}

static const OSSL_ALGORITHM *query(void *context, int operation, int *no_cache)
{
  static OSSL_ALGORITHM keys[4 * KEPT_MAX], signatures[4 * KEPT_MAX];
  (void)context;
  const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(inner, operation, no_cache);
  if (!all) return NULL;
  if (operation == OSSL_OP_DECODER) return certificate_decoders(all);
  if (operation == OSSL_OP_KEYMGMT)
    return replace(all, keys, sizeof keys / sizeof *keys, "X25519", x25519);
  if (operation == OSSL_OP_SIGNATURE)
    return replace(all, signatures, sizeof signatures / sizeof *signatures, "ECDSA", ecdsa);
  return all;
}

/* TLS learns its groups from here. */
static int capabilities(void *context, const char *name, OSSL_CALLBACK *callback, void *arg)
{
  (void)context;
  return OSSL_PROVIDER_get_capabilities(inner, name, callback, arg);
}

static const OSSL_DISPATCH functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
    {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))capabilities},
    {0, NULL}};

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                void **context)
{
  (void)handle;
  (void)in;
  *out = functions;
  *context = OSSL_PROVIDER_get0_provider_ctx(inner);
  return 1;
}

OSSL_LIB_CTX *provider_context(void)
{
  OSSL_LIB_CTX *context = OSSL_LIB_CTX_new();
  inner = OSSL_PROVIDER_load(NULL, "default");
  if (!context || !inner || !OSSL_PROVIDER_add_builtin(context, "bench", init) ||
      !OSSL_PROVIDER_load(context, "bench"))
    return NULL;
  return context;
}

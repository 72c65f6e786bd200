#include "tls_trust.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "tls_context.h"
#include "tls_roots.h"

static struct {
  X509_STORE *store; /* made when first asked for */
  bool use_openssl_ca;
  STACK_OF(X509) * extra;  /* NULL: none */
  STACK_OF(X509) * chosen; /* instead of everything else; NULL: nobody has chosen */
  uint8_t mark[EVP_MAX_MD_SIZE];
  unsigned mark_len;
} trust;

static int add_each(X509_STORE *store, const STACK_OF(X509) * certs)
{
  for (int i = 0; i < sk_X509_num(certs); i++)
    if (X509_STORE_add_cert(store, sk_X509_value(certs, i)) != 1) return -1;
  return 0;
}

/* Look-ups in a hashed directory are lazy: OpenSSL opens the one file whose name is the hash of the
 * issuer it needs, so a program that never verifies parses nothing. Only where there is no such
 * directory is the one big file read, all of it (40 ms). */
static int add_default_locations(X509_STORE *store)
{
  if (trust.use_openssl_ca) return X509_STORE_set_default_paths(store) == 1 ? 0 : -1;
  const char *path = X509_get_default_cert_dir();
  if (ml_tls_roots_is_hashed(path)) {
    X509_LOOKUP *dir = X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir());
    return dir && X509_LOOKUP_add_dir(dir, path, X509_FILETYPE_PEM) == 1 ? 0 : -1;
  }
  X509_LOOKUP *file = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (!file) return -1;
  /* A system without any trust is a system; it verifies nobody. */
  if (X509_LOOKUP_load_file(file, X509_get_default_cert_file(), X509_FILETYPE_PEM) != 1)
    ERR_clear_error();
  return 0;
}

X509_STORE *ml_tls_trust_copy(struct ml_error *err)
{
  ERR_clear_error();
  X509_STORE *store = X509_STORE_new();
  if (!store) goto fail;
  if (trust.chosen) {
    if (add_each(store, trust.chosen) != 0) goto fail;
    return store;
  }
  if (add_default_locations(store) != 0 || add_each(store, trust.extra) != 0) goto fail;
  return store;
fail:
  ml_error_openssl(err, "the default trust store cannot be set up");
  X509_STORE_free(store);
  return NULL;
}

X509_STORE *ml_tls_trust_store(struct ml_error *err)
{
  if (!trust.store) trust.store = ml_tls_trust_copy(err);
  return trust.store;
}

const uint8_t *ml_tls_trust_mark(size_t *len)
{
  *len = trust.chosen ? trust.mark_len : 0;
  return trust.mark;
}

/* ---- Lists ---- */

/* What X509_STORE_set_default_paths(3) would look at, in its order. A place that is not there has
 * nothing to trust. */
static void list_openssl_locations(STACK_OF(X509) * list)
{
  struct ml_error ignored;
  const char *file = secure_getenv(X509_get_default_cert_file_env());
  const char *dirs = secure_getenv(X509_get_default_cert_dir_env());
  (void)!ml_tls_roots_add_file(list, file ? file : X509_get_default_cert_file(), &ignored);
  char *copy = strdup(dirs ? dirs : X509_get_default_cert_dir());
  char *rest = copy;
  for (char *dir; (dir = strsep(&rest, ":")) != NULL;)
    if (*dir) (void)!ml_tls_roots_add_dir(list, dir, &ignored);
  free(copy);
}

static void list_system(STACK_OF(X509) * list)
{
  struct ml_error ignored;
  const char *dir = X509_get_default_cert_dir();
  if (ml_tls_roots_is_hashed(dir))
    (void)!ml_tls_roots_add_dir(list, dir, &ignored);
  else
    (void)!ml_tls_roots_add_file(list, X509_get_default_cert_file(), &ignored);
}

/* Takes references; leaves out what is there already. */
static int list_each(STACK_OF(X509) * list, const STACK_OF(X509) * certs)
{
  for (int i = 0; i < sk_X509_num(certs); i++) {
    X509 *cert = sk_X509_value(certs, i);
    if (ml_tls_roots_contain(list, cert)) continue;
    if (X509_add_cert(list, cert, X509_ADD_FLAG_UP_REF) != 1) return -1;
  }
  return 0;
}

static int list_default(STACK_OF(X509) * list)
{
  if (trust.chosen) return list_each(list, trust.chosen);
  if (trust.use_openssl_ca)
    list_openssl_locations(list);
  else
    list_system(list);
  return list_each(list, trust.extra);
}

STACK_OF(X509) * ml_tls_trust_list(enum ml_tls_trust_kind kind, struct ml_error *err)
{
  STACK_OF(X509) *list = sk_X509_new_null();
  int result = list ? 0 : -1;
  if (result == 0 && kind == ML_TRUST_SYSTEM)
    list_system(list);
  else if (result == 0)
    result = kind == ML_TRUST_EXTRA ? list_each(list, trust.extra) : list_default(list);
  if (result == 0) return list;
  ml_error_system(err, ENOMEM, "malloc");
  sk_X509_pop_free(list, X509_free);
  return NULL;
}

/* ---- Choices ---- */

static int hash_each(const STACK_OF(X509) * certs, uint8_t *out, unsigned *out_len)
{
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  int ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
  for (int i = 0; ok && i < sk_X509_num(certs); i++) {
    uint8_t one[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ok = X509_digest(sk_X509_value(certs, i), EVP_sha256(), one, &len) == 1 &&
         EVP_DigestUpdate(md, one, len) == 1;
  }
  ok = ok && EVP_DigestFinal_ex(md, out, out_len) == 1;
  EVP_MD_CTX_free(md);
  return ok ? 0 : -1;
}

int ml_tls_trust_choose(STACK_OF(X509) * anchors, struct ml_error *err)
{
  ERR_clear_error();
  STACK_OF(X509) *chosen = sk_X509_new_null();
  if (!chosen || list_each(chosen, anchors) != 0 ||
      hash_each(chosen, trust.mark, &trust.mark_len) != 0) {
    ml_error_openssl(err, "the default trust store cannot be replaced");
    sk_X509_pop_free(chosen, X509_free);
    return -1;
  }
  sk_X509_pop_free(trust.chosen, X509_free);
  trust.chosen = chosen;
  X509_STORE_free(trust.store);
  trust.store = NULL;
  return 0;
}

int ml_tls_trust_configure(bool use_openssl_ca, const char *extra_file, struct ml_error *err)
{
  ml_tls_trust_release();
  trust.use_openssl_ca = use_openssl_ca;
  if (!extra_file || !extra_file[0]) return 0;
  STACK_OF(X509) *extra = sk_X509_new_null();
  if (!extra) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  if (ml_tls_roots_add_file(extra, extra_file, err) != 0) {
    sk_X509_pop_free(extra, X509_free);
    return -1;
  }
  trust.extra = extra;
  return 0;
}

void ml_tls_trust_release(void)
{
  X509_STORE_free(trust.store);
  sk_X509_pop_free(trust.extra, X509_free);
  sk_X509_pop_free(trust.chosen, X509_free);
  trust.store = NULL;
  trust.extra = trust.chosen = NULL;
}

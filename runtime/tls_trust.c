#include "tls_trust.h"

#include <dirent.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "tls_context.h"

static struct {
  X509_STORE *store;
  bool use_openssl_ca;
  char extra_file[4096];
} trust;

/* Whether `dir` is one that openssl-rehash(1) has prepared: it has names like "2e5ac55d.0". */
static bool is_hashed(const char *dir)
{
  DIR *entries = opendir(dir);
  struct dirent *entry;
  bool found = false;
  if (!entries) return false;
  while (!found && (entry = readdir(entries)) != NULL)
    found = strspn(entry->d_name, "0123456789abcdef") == 8 && entry->d_name[8] == '.';
  closedir(entries);
  return found;
}

/* Look-ups in a hashed directory are lazy: OpenSSL opens the one file whose name is the hash of the
 * issuer it needs, so a program that never verifies parses nothing. Only where there is no such
 * directory is the one big file read, all of it (40 ms). */
static int add_default_locations(X509_STORE *store)
{
  if (trust.use_openssl_ca) return X509_STORE_set_default_paths(store) == 1 ? 0 : -1;
  const char *path = X509_get_default_cert_dir();
  if (is_hashed(path)) {
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
  if (!store || add_default_locations(store) != 0) goto fail;
  if (trust.extra_file[0] && X509_STORE_load_file(store, trust.extra_file) != 1) goto fail;
  return store;
fail:
  ml_error_openssl(err, "the system trust store cannot be set up");
  X509_STORE_free(store);
  return NULL;
}

X509_STORE *ml_tls_trust_store(struct ml_error *err)
{
  if (!trust.store) trust.store = ml_tls_trust_copy(err);
  return trust.store;
}

int ml_tls_trust_configure(bool use_openssl_ca, const char *extra_file, struct ml_error *err)
{
  ml_tls_trust_release();
  trust.use_openssl_ca = use_openssl_ca;
  trust.extra_file[0] = '\0';
  if (!extra_file || !extra_file[0]) return 0;
  snprintf(trust.extra_file, sizeof(trust.extra_file), "%s", extra_file);
  /* Loaded here, so that a bad file is reported when the program starts and not at the first
   * connection. */
  trust.store = ml_tls_trust_copy(err);
  if (trust.store) return 0;
  trust.extra_file[0] = '\0';
  return -1;
}

void ml_tls_trust_release(void)
{
  X509_STORE_free(trust.store);
  trust.store = NULL;
}

#include "tls_hardware.h"

#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdlib.h>
#include <string.h>

#include "tls_pem.h"

#if !defined(OPENSSL_NO_ENGINE) && OPENSSL_VERSION_MAJOR < 4
#define HAVE_ENGINES 1
#include <openssl/engine.h>
#else
#define HAVE_ENGINES 0
#endif

#define SCHEME "pkcs11"

bool ml_hardware_is_uri(const char *text, size_t len)
{
  return len > sizeof(SCHEME) && memcmp(text, SCHEME ":", sizeof(SCHEME)) == 0;
}

/* ---- PIN ---- */

/* An empty PIN would count as a wrong one, and a few wrong ones lock the token for good. */
static int give_pin(char *buffer, int size, int rwflag, void *user)
{
  struct ml_pem_lock *lock = user;
  lock->wanted = true;
  return lock->passphrase && *lock->passphrase ? ml_pem_unlock(buffer, size, rwflag, user) : -1;
}

/* How much of a key's name may be shown: the PIN in a URI is not for logs. */
static int shown_length(const char *name)
{
  size_t len = strcspn(name, "?");
  const char *pin = strstr(name, "pin-");
  return pin && (size_t)(pin - name) < len ? (int)(pin - name) : (int)len;
}

/* What OpenSSL says, and of which thing: the name is the script's own. */
static void explain(struct ml_error *err, const struct ml_pem_lock *lock, const char *what,
                    const char *name)
{
  bool no_pin = lock && lock->wanted && !lock->passphrase;
  ml_error_openssl(err, "unusable");
  ml_error_append(err, " (%s '%.*s'%s)", what, shown_length(name), name,
                  no_pin ? ": a PIN is needed and no passphrase was given" : "");
}

/* ---- Engines ---- */

#if HAVE_ENGINES
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

struct engine {
  struct engine *next;
  ENGINE *engine; /* a structural and a functional reference */
  char name[];
};

static struct engine *engines;

/* By the name it is known under, or from the shared object it is in. */
static ENGINE *load_engine(const char *name)
{
  if (!strchr(name, '/')) return ENGINE_by_id(name);
  ENGINE *engine = ENGINE_by_id("dynamic");
  if (engine && ENGINE_ctrl_cmd_string(engine, "SO_PATH", name, 0) == 1 &&
      ENGINE_ctrl_cmd_string(engine, "LOAD", NULL, 0) == 1)
    return engine;
  ENGINE_free(engine);
  return NULL;
}

static ENGINE *find_engine(const char *name, struct ml_error *err)
{
  for (struct engine *known = engines; known; known = known->next)
    if (strcmp(known->name, name) == 0) return known->engine;
  OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC, NULL);
  struct engine *entry = malloc(sizeof(*entry) + strlen(name) + 1);
  ENGINE *engine = entry ? load_engine(name) : NULL;
  /* libp11 talks on stderr of what it also reports. */
  if (engine && strcmp(ENGINE_get_id(engine), SCHEME) == 0)
    ENGINE_ctrl_cmd_string(engine, "QUIET", NULL, 1);
  if (!engine || ENGINE_init(engine) != 1) {
    explain(err, NULL, "engine", name);
    ENGINE_free(engine);
    free(entry);
    return NULL;
  }
  memcpy(entry->name, name, strlen(name) + 1);
  entry->engine = engine;
  entry->next = engines;
  engines = entry;
  return engine;
}

int ml_hardware_engine_key(EVP_PKEY **out, const char *name, const char *id, const char *pin,
                           struct ml_error *err)
{
  struct ml_pem_lock lock = {pin, false};
  ENGINE *engine = find_engine(name, err);
  if (!engine) return -1;
  UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(give_pin, 0);
  EVP_PKEY *key = ui ? ENGINE_load_private_key(engine, id, ui, &lock) : NULL;
  UI_destroy_method(ui);
  if (!key) {
    explain(err, &lock, "key", id);
    return -1;
  }
  *out = key;
  return 0;
}

int ml_hardware_client_certs(SSL_CTX *ssl, const char *name, struct ml_error *err)
{
  ENGINE *engine = find_engine(name, err);
  if (!engine) return -1;
  if (SSL_CTX_set_client_cert_engine(ssl, engine) == 1) return 0;
  explain(err, NULL, "engine", name);
  return -1;
}

void ml_hardware_release(void)
{
  while (engines) {
    struct engine *entry = engines;
    engines = entry->next;
    ENGINE_finish(entry->engine);
    ENGINE_free(entry->engine);
    free(entry);
  }
}

#pragma GCC diagnostic pop
#else

static int no_engines(struct ml_error *err)
{
  ml_error_misuse(err, "ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED",
                  "Custom engines not supported by this OpenSSL");
  return -1;
}

int ml_hardware_engine_key(EVP_PKEY **out, const char *name, const char *id, const char *pin,
                           struct ml_error *err)
{
  (void)out, (void)name, (void)id, (void)pin;
  return no_engines(err);
}

int ml_hardware_client_certs(SSL_CTX *ssl, const char *name, struct ml_error *err)
{
  (void)ssl, (void)name;
  return no_engines(err);
}

void ml_hardware_release(void) {}

#endif

/* ---- Providers ---- */

static bool provider_has_scheme(void)
{
  OSSL_STORE_LOADER *loader = OSSL_STORE_LOADER_fetch(NULL, SCHEME, NULL);
  OSSL_STORE_LOADER_free(loader);
  ERR_clear_error();
  return loader != NULL;
}

static EVP_PKEY *load_from_store(const char *uri, const UI_METHOD *ui, struct ml_pem_lock *lock)
{
  EVP_PKEY *key = NULL;
  OSSL_STORE_CTX *store = OSSL_STORE_open(uri, ui, lock, NULL, NULL);
  if (!store) return NULL;
  bool ok = OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY) == 1;
  while (ok && !key && !OSSL_STORE_eof(store)) {
    OSSL_STORE_INFO *info = OSSL_STORE_load(store);
    if (!info) break;
    if (OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
      key = OSSL_STORE_INFO_get1_PKEY(info);
    OSSL_STORE_INFO_free(info);
  }
  OSSL_STORE_close(store);
  return key;
}

int ml_hardware_key(EVP_PKEY **out, const char *uri, const char *pin, struct ml_error *err)
{
  if (!provider_has_scheme()) return ml_hardware_engine_key(out, SCHEME, uri, pin, err);
  struct ml_pem_lock lock = {pin, false};
  UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(give_pin, 0);
  EVP_PKEY *key = ui ? load_from_store(uri, ui, &lock) : NULL;
  UI_destroy_method(ui);
  if (!key) {
    explain(err, &lock, "key", uri);
    return -1;
  }
  ERR_clear_error();
  *out = key;
  return 0;
}

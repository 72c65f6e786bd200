/* An OpenSSL engine for the specs: keys by the name of their file, and a certificate for whatever
 * server asks. The files of the latter are named by ML_SPEC_ENGINE_CERT and ML_SPEC_ENGINE_KEY. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#include <openssl/engine.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/ui.h>
#include <stdlib.h>

/* Asks as libp11 does: through the method it was given, with the caller's data at hand. */
static int ask(char *buffer, int size, int rwflag, void *user)
{
  void **asked = user;
  (void)rwflag;
  UI *ui = UI_new_method(asked[0]);
  if (!ui) return -1;
  UI_add_user_data(ui, asked[1]);
  int len = -1;
  if (UI_add_input_string(ui, "passphrase", 0, buffer, 1, size - 1) >= 0 && UI_process(ui) == 0)
    len = UI_get_result_length(ui, 0);
  UI_free(ui);
  return len;
}

static EVP_PKEY *read_key(const char *path, UI_METHOD *method, void *data)
{
  void *asked[] = {method, data};
  BIO *file = path ? BIO_new_file(path, "r") : NULL;
  EVP_PKEY *key = file ? PEM_read_bio_PrivateKey(file, NULL, ask, asked) : NULL;
  BIO_free(file);
  return key;
}

static EVP_PKEY *load_key(ENGINE *engine, const char *id, UI_METHOD *method, void *data)
{
  (void)engine;
  return read_key(id, method, data);
}

static int load_client_cert(ENGINE *engine, SSL *ssl, STACK_OF(X509_NAME) * names, X509 **cert,
                            EVP_PKEY **key, STACK_OF(X509) * *chain, UI_METHOD *method, void *data)
{
  (void)engine, (void)ssl, (void)names, (void)chain;
  const char *path = getenv("ML_SPEC_ENGINE_CERT");
  BIO *file = path ? BIO_new_file(path, "r") : NULL;
  *cert = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
  *key = read_key(getenv("ML_SPEC_ENGINE_KEY"), method, data);
  BIO_free(file);
  return *cert && *key;
}

static int bind(ENGINE *engine, const char *id)
{
  (void)id;
  return ENGINE_set_id(engine, "ml_spec") && ENGINE_set_name(engine, "engine of the specs") &&
         ENGINE_set_load_privkey_function(engine, load_key) &&
         ENGINE_set_load_ssl_client_cert_function(engine, load_client_cert);
}

IMPLEMENT_DYNAMIC_CHECK_FN()
IMPLEMENT_DYNAMIC_BIND_FN(bind)

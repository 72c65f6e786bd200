/* Keys by PKCS#11 URI from a provider: one made here, with one token in it. The engine's way is in
 * spec/tls/hardware_spec.lua, with a token of SoftHSM's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <stdlib.h>
#include <string.h>

#include "tls_context.h"
#include "tls_hardware.h"
#include "tls_pair.h"

#define URI "pkcs11:token=test;object=key"
#define PIN "1234"

/* ---- A provider with a store for the scheme ---- */

struct token {
  bool known, done;
};

static void *token_open(void *provider, const char *uri)
{
  (void)provider;
  struct token *token = calloc(1, sizeof(*token));
  token->known = strncmp(uri, URI, strlen(URI)) == 0;
  return token;
}

static const OSSL_PARAM *token_settable(void *provider)
{
  static const OSSL_PARAM known[] = {OSSL_PARAM_int(OSSL_STORE_PARAM_EXPECT, NULL), OSSL_PARAM_END};
  (void)provider;
  return known;
}

static int token_set(void *loader, const OSSL_PARAM params[])
{
  (void)loader, (void)params;
  return 1;
}

static unsigned char *alpha_der(size_t *len)
{
  unsigned char *der = NULL;
  BIO *bio = BIO_new_mem_buf(alpha.key, -1);
  EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
  *len = (size_t)i2d_PrivateKey(key, &der);
  EVP_PKEY_free(key);
  BIO_free(bio);
  return der;
}

static int token_load(void *loader, OSSL_CALLBACK *found, void *found_arg,
                      OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
  struct token *token = loader;
  char pin[64];
  size_t len = 0;
  token->done = true;
  if (!token->known) return 0;
  if (ask(pin, sizeof(pin), &len, NULL, ask_arg) != 1) return 0;
  if (len != strlen(PIN) || memcmp(pin, PIN, len) != 0) return 0;
  int type = OSSL_OBJECT_PKEY;
  unsigned char *der = alpha_der(&len);
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type),
      OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der, len),
      OSSL_PARAM_construct_end(),
  };
  int result = found(params, found_arg);
  OPENSSL_free(der);
  return result;
}

static int token_eof(void *loader)
{
  return ((struct token *)loader)->done;
}

static int token_close(void *loader)
{
  free(loader);
  return 1;
}

/* Provider functions are called through pointers of their own types (provider-base(7)). */
#define FUNCTION(id, function)                                                                     \
  {                                                                                                \
    id, (void (*)(void))(function)                                                                 \
  }

static const OSSL_DISPATCH store_functions[] = {
    FUNCTION(OSSL_FUNC_STORE_OPEN, token_open),
    FUNCTION(OSSL_FUNC_STORE_SETTABLE_CTX_PARAMS, token_settable),
    FUNCTION(OSSL_FUNC_STORE_SET_CTX_PARAMS, token_set),
    FUNCTION(OSSL_FUNC_STORE_LOAD, token_load),
    FUNCTION(OSSL_FUNC_STORE_EOF, token_eof),
    FUNCTION(OSSL_FUNC_STORE_CLOSE, token_close),
    {0, NULL},
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
  static const OSSL_ALGORITHM stores[] = {{"pkcs11", "provider=token", store_functions, NULL},
                                          {NULL, NULL, NULL, NULL}};
  (void)provider;
  *no_cache = 0;
  return operation == OSSL_OP_STORE ? stores : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **provider)
{
  static const OSSL_DISPATCH functions[] = {
      FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query), {0, NULL}};
  static int handle;
  (void)core, (void)in;
  *out = functions;
  *provider = &handle;
  return 1;
}

static OSSL_PROVIDER *providers[2];

static int load_provider(void **state)
{
  (void)make_identities(state);
  if (OSSL_PROVIDER_add_builtin(NULL, "token", provider_init) != 1) return -1;
  providers[0] = OSSL_PROVIDER_load(NULL, "default");
  providers[1] = OSSL_PROVIDER_load(NULL, "token");
  return providers[0] && providers[1] ? 0 : -1;
}

static int unload_provider(void **state)
{
  OSSL_PROVIDER_unload(providers[1]);
  OSSL_PROVIDER_unload(providers[0]);
  ml_hardware_release();
  return free_identities(state);
}

/* ---- Tests ---- */

static void test_what_is_a_uri(void **state)
{
  (void)state;
  assert_true(ml_hardware_is_uri(URI, strlen(URI)));
  assert_false(ml_hardware_is_uri("pkcs11:", 7));
  assert_false(ml_hardware_is_uri("pkcs1", 5));
  assert_false(ml_hardware_is_uri("", 0));
  assert_false(ml_hardware_is_uri("-----BEGIN PRIVATE KEY-----", 27));
}

static void test_a_key_is_found(void **state)
{
  (void)state;
  struct ml_error err;
  EVP_PKEY *key = NULL;
  if (ml_hardware_key(&key, URI, PIN, &err) != 0) fail_msg("%s %s", err.code, err.message);
  assert_non_null(key);
  assert_int_equal(ERR_peek_error(), 0);
  EVP_PKEY_free(key);
}

static void expect_no_key(const char *uri, const char *pin, const char *text)
{
  struct ml_error err = {0};
  EVP_PKEY *key = (void *)&err;
  assert_int_equal(ml_hardware_key(&key, uri, pin, &err), -1);
  assert_ptr_equal(key, (void *)&err);
  assert_true(err.code[0] != '\0');
  if (!strstr(err.message, text)) fail_msg("no '%s' in: %s", text, err.message);
  assert_null(strstr(err.message, "4321"));
  assert_int_equal(ERR_peek_error(), 0);
}

static void test_a_key_is_not_found(void **state)
{
  (void)state;
  expect_no_key("pkcs11:token=other", PIN, "key 'pkcs11:token=other'");
  expect_no_key(URI, NULL, "a PIN is needed and no passphrase was given");
  expect_no_key(URI, "", URI);
  expect_no_key(URI, "4321", URI);
  expect_no_key("pkcs11:token=other?pin-value=4321", NULL, "key 'pkcs11:token=other'");
  expect_no_key("pkcs11:token=other;pin-value=4321", NULL, "key 'pkcs11:token=other;'");
}

static struct ml_tls_context_options with_key(const struct ml_tls_blob *cert,
                                              const struct ml_tls_blob *key)
{
  return (struct ml_tls_context_options){
      .own_trust = true, .cert = {cert, 1}, .key = {key, 1}, .passphrase = PIN};
}

static void test_a_context_takes_it_as_a_key(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_tls_context *context;
  struct ml_tls_blob cert = {alpha.cert, strlen(alpha.cert), NULL}, key = {URI, strlen(URI), NULL};
  struct ml_tls_context_options options = with_key(&cert, &key);
  if (ml_tls_context_new(&context, &options, &err) != 0) fail_msg("%s %s", err.code, err.message);
  assert_non_null(SSL_CTX_get0_privatekey(ml_tls_context_ssl(context)));
  ml_tls_context_unref(context);

  key.passphrase = "4321"; /* its own goes before the general one */
  assert_int_equal(ml_tls_context_new(&context, &options, &err), -1);
  options.key.count = 0;
  options.key_identifier = URI;
  assert_int_equal(ml_tls_context_new(&context, &options, &err), 0);
  ml_tls_context_unref(context);
}

static void test_a_context_compares_it_with_the_certificate(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_tls_context *context;
  struct ml_tls_blob cert = {beta.cert, strlen(beta.cert), NULL}, key = {URI, strlen(URI), NULL};
  struct ml_tls_context_options options = with_key(&cert, &key);
  assert_int_equal(ml_tls_context_new(&context, &options, &err), -1);
  assert_string_equal(err.code, "ERR_OSSL_X509_KEY_VALUES_MISMATCH");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_a_uri),
      cmocka_unit_test(test_a_key_is_found),
      cmocka_unit_test(test_a_key_is_not_found),
      cmocka_unit_test(test_a_context_takes_it_as_a_key),
      cmocka_unit_test(test_a_context_compares_it_with_the_certificate),
  };
  return cmocka_run_group_tests(tests, load_provider, unload_provider);
}

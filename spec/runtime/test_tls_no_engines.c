/* What a script is told where OpenSSL has no engines, as from 4.0 on: the one file that knows them,
 * built without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define OPENSSL_NO_ENGINE
#include "../../runtime/tls_hardware.c" /* NOLINT(bugprone-suspicious-include) */

static void expect_unsupported(const struct ml_tls_context_options *options)
{
  struct ml_error err = {0};
  struct ml_tls_context *context;
  assert_int_equal(ml_tls_context_new(&context, options, &err), -1);
  assert_string_equal(err.code, "ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED");
  assert_string_equal(err.message, "Custom engines not supported by this OpenSSL");
  assert_int_equal(err.origin, ML_ORIGIN_MISUSE);
}

static void test_engines_are_refused(void **state)
{
  (void)state;
  struct ml_tls_context_options options = {.own_trust = true};
  options.client_cert_engine = "anything";
  expect_unsupported(&options);
  options.client_cert_engine = NULL;
  options.key_engine = "anything";
  options.key_identifier = "a key";
  expect_unsupported(&options);
}

/* Nothing else is at hand for the URI, unless a provider is loaded. */
static void test_a_token_needs_one_of_both(void **state)
{
  (void)state;
  struct ml_tls_blob uri = {"pkcs11:token=any", 16, NULL};
  struct ml_tls_context_options options = {.own_trust = true, .key = {&uri, 1}};
  expect_unsupported(&options);
  ml_hardware_release();
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_engines_are_refused),
      cmocka_unit_test(test_a_token_needs_one_of_both),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Keys: made, written, read again, described. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys.h"

static EVP_PKEY *make(const char *kind)
{
  struct ml_error err;
  EVP_PKEY *key = NULL;
  assert_int_equal(ml_key_make(&key, kind, &err), 0);
  assert_non_null(key);
  return key;
}

/* Writes and reads back; returns the key read. */
static EVP_PKEY *round_trip(EVP_PKEY *key, enum ml_key_form form, bool der, const char *passphrase)
{
  struct ml_error err;
  EVP_PKEY *copy = NULL;
  char *data;
  BIO *bio = BIO_new(BIO_s_mem());
  assert_int_equal(ml_key_write(bio, key, form, der, passphrase, &err), 0);
  long len = BIO_get_mem_data(bio, &data);
  bool secret = form == ML_KEY_PKCS8 || form == ML_KEY_OWN_PRIVATE;
  if (secret)
    assert_int_equal(ml_key_read_private(&copy, data, (size_t)len, passphrase, &err), 0);
  else
    assert_int_equal(ml_key_read_public(&copy, data, (size_t)len, NULL, &err), 0);
  BIO_free(bio);
  return copy;
}

static void every_kind_survives_every_form_it_has(void **state)
{
  (void)state;
  static const struct {
    const char *kind, *type;
    bool own_private, own_public;
  } kinds[] = {
      {"rsa:1024", "rsa", true, true},      {"rsa-pss:1024", "rsa-pss", false, false},
      {"dsa:1024", "dsa", true, false},     {"ec", "ec", true, false},
      {"ec:P-384", "ec", true, false},      {"ec:P-256:compressed", "ec", true, false},
      {"ed25519", "ed25519", false, false}, {"ed448", "ed448", false, false},
      {"x25519", "x25519", false, false},
  };
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
    EVP_PKEY *key = make(kinds[i].kind);
    assert_string_equal(ml_key_type(key), kinds[i].type);
    for (int form = ML_KEY_PKCS8; form <= ML_KEY_OWN_PUBLIC; form++) {
      if (form == ML_KEY_OWN_PRIVATE && !kinds[i].own_private) continue;
      if (form == ML_KEY_OWN_PUBLIC && !kinds[i].own_public) continue;
      for (int der = 0; der < 2; der++) {
        EVP_PKEY *copy = round_trip(key, (enum ml_key_form)form, der, NULL);
        assert_int_equal(EVP_PKEY_eq(key, copy), 1);
        EVP_PKEY_free(copy);
      }
    }
    EVP_PKEY *copy = round_trip(key, ML_KEY_PKCS8, false, "secret");
    assert_int_equal(EVP_PKEY_eq(key, copy), 1);
    EVP_PKEY_free(copy);
    EVP_PKEY_free(key);
  }
}

static void details_are_those_of_the_algorithm(void **state)
{
  (void)state;
  struct ml_key_details details;
  EVP_PKEY *key = make("rsa:1024");
  ml_key_describe(key, &details);
  assert_int_equal(details.modulus_length, 1024);
  assert_string_equal(details.public_exponent, "65537");
  assert_string_equal(details.named_curve, "");
  EVP_PKEY_free(key);
  key = make("ec:P-521");
  ml_key_describe(key, &details);
  assert_string_equal(details.named_curve, "secp521r1");
  assert_int_equal(details.modulus_length, 0);
  EVP_PKEY_free(key);
  key = make("dsa:1024");
  ml_key_describe(key, &details);
  assert_int_equal(details.modulus_length, 1024);
  assert_int_equal(details.divisor_length, 160);
  EVP_PKEY_free(key);
}

static void unknown_kinds_are_refused(void **state)
{
  (void)state;
  static const char *const kinds[] = {"",          "nonsense", "rsa:x", "rsa:5",  "ec:nonsense",
                                      "ed25519:1", "ecx",      ":",     "dsa:-1", "rsax:2048"};
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
    struct ml_error err = {0};
    EVP_PKEY *key = NULL;
    assert_int_equal(ml_key_make(&key, kinds[i], &err), -1);
    assert_true(err.message[0] != '\0');
  }
}

static void a_passphrase_is_needed_and_must_be_right(void **state)
{
  (void)state;
  struct ml_error err;
  EVP_PKEY *key = make("ec"), *copy;
  char *data;
  BIO *bio = BIO_new(BIO_s_mem());
  assert_int_equal(ml_key_write(bio, key, ML_KEY_PKCS8, false, "secret", &err), 0);
  size_t len = (size_t)BIO_get_mem_data(bio, &data);
  assert_int_equal(ml_key_read_private(&copy, data, len, NULL, &err), -1);
  assert_int_equal(err.origin, ML_ORIGIN_TLS);
  assert_int_equal(ml_key_read_private(&copy, data, len, "wrong", &err), -1);
  assert_string_equal(err.reason, "bad decrypt");
  char *longer = calloc(1, 5000);
  memset(longer, 'x', 4999);
  assert_int_equal(ml_key_read_private(&copy, data, len, longer, &err), -1);
  free(longer);
  assert_int_equal(ml_key_read_private(&copy, data, len, "secret", &err), 0);
  EVP_PKEY_free(copy);
  EVP_PKEY_free(key);
  BIO_free(bio);
}

static void broken_input_is_no_key(void **state)
{
  (void)state;
  static const char *const inputs[] = {
      "",
      "x",
      "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
      "-----BEGIN PRIVATE KEY-----\n",
      "-----BEGIN EC PRIVATE KEY-----\n!!!!\n-----END EC PRIVATE KEY-----\n",
      "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n",
      "\x30\x80\x00\x00",
  };
  for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
    struct ml_error err = {0};
    EVP_PKEY *key = NULL;
    assert_int_equal(ml_key_read_private(&key, inputs[i], strlen(inputs[i]), NULL, &err), -1);
    assert_null(key);
    assert_int_equal(ml_key_read_public(&key, inputs[i], strlen(inputs[i]), NULL, &err), -1);
    assert_null(key);
    assert_true(err.message[0] != '\0');
  }
}

static void the_public_half_of_a_private_key_has_no_private_half(void **state)
{
  (void)state;
  struct ml_error err;
  EVP_PKEY *key = make("ec"), *half;
  char *data;
  BIO *bio = BIO_new(BIO_s_mem());
  assert_int_equal(ml_key_write(bio, key, ML_KEY_PKCS8, false, NULL, &err), 0);
  size_t len = (size_t)BIO_get_mem_data(bio, &data);
  assert_int_equal(ml_key_read_public(&half, data, len, NULL, &err), 0);
  assert_int_equal(EVP_PKEY_eq(key, half), 1);
  (void)BIO_reset(bio);
  assert_int_equal(ml_key_write(bio, half, ML_KEY_PKCS8, false, NULL, &err), -1);
  EVP_PKEY_free(half);
  EVP_PKEY_free(key);
  BIO_free(bio);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_survives_every_form_it_has),
      cmocka_unit_test(details_are_those_of_the_algorithm),
      cmocka_unit_test(unknown_kinds_are_refused),
      cmocka_unit_test(a_passphrase_is_needed_and_must_be_right),
      cmocka_unit_test(broken_input_is_no_key),
      cmocka_unit_test(the_public_half_of_a_private_key_has_no_private_half),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

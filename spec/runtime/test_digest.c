/* Hashes, HMACs, lists, random bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "digest.h"

static void hex(const uint8_t *bytes, size_t len, char *out)
{
  for (size_t i = 0; i < len; i++)
    snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void assert_digest(struct ml_digest *digest, size_t len, const char *expected)
{
  struct ml_error err;
  uint8_t out[64];
  char text[129] = "";
  assert_int_equal(ml_digest_final(digest, out, len, &err), 0);
  hex(out, len, text);
  assert_string_equal(text, expected);
  ml_digest_free(digest);
}

static void hashes_are_those_of_the_standards(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_digest *digest, *copy;
  /* FIPS 180-4, example of "abc", given in two pieces with a copy between. */
  assert_int_equal(ml_hash_new(&digest, "sha1", &err), 0);
  assert_int_equal(ml_digest_size(digest), 20);
  assert_int_equal(ml_digest_update(digest, "ab", 2, &err), 0);
  assert_int_equal(ml_hash_copy(&copy, digest, &err), 0);
  assert_int_equal(ml_digest_update(digest, "c", 1, &err), 0);
  assert_digest(digest, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
  assert_int_equal(ml_digest_update(copy, "c", 1, &err), 0);
  assert_digest(copy, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void extendable_functions_give_any_length(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_digest *digest;
  assert_int_equal(ml_hash_new(&digest, "shake128", &err), 0);
  assert_int_equal(ml_hash_check_size(digest, 5, &err), 0);
  assert_digest(digest, 5, "7f9c2ba4e8"); /* FIPS 202, of nothing */
  assert_int_equal(ml_hash_new(&digest, "sha256", &err), 0);
  assert_int_equal(ml_hash_check_size(digest, 5, &err), -1);
  assert_string_equal(err.code, "ERR_OSSL_EVP_NOT_XOF_OR_INVALID_LENGTH");
  ml_digest_free(digest);
}

static void hmac_is_that_of_rfc_4231(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_digest *digest;
  assert_int_equal(ml_hmac_new(&digest, "sha256", "Jefe", 4, &err), 0);
  assert_int_equal(ml_digest_size(digest), 32);
  assert_int_equal(ml_digest_update(digest, "what do ya want for nothing?", 28, &err), 0);
  assert_digest(digest, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void unknown_algorithms_are_refused(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_digest *digest;
  assert_int_equal(ml_hash_new(&digest, "nonsense", &err), -1);
  assert_string_equal(err.code, "ERR_CRYPTO_INVALID_DIGEST");
  assert_int_equal(ml_hmac_new(&digest, "nonsense", "", 0, &err), -1);
  assert_string_equal(err.code, "ERR_CRYPTO_INVALID_DIGEST");
  /* Known by name, but in the legacy provider only. */
  assert_int_equal(ml_hash_new(&digest, "md4", &err), -1);
  assert_string_equal(err.code, "ERR_OSSL_EVP_UNSUPPORTED");
}

static void assert_lists(void (*write)(BIO *), const char *line)
{
  char *data;
  BIO *out = BIO_new(BIO_s_mem());
  write(out);
  BIO_write(out, "", 1);
  BIO_get_mem_data(out, &data);
  assert_non_null(strstr(data, line));
  BIO_free(out);
}

static void lists_have_what_everybody_uses(void **state)
{
  (void)state;
  assert_lists(ml_write_hashes, "\nsha256\n");
  assert_lists(ml_write_ciphers, "\naes-256-gcm\n");
  assert_lists(ml_write_curves, "prime256v1\n");
}

static void random_bytes_differ(void **state)
{
  (void)state;
  struct ml_error err;
  uint8_t a[16] = {0}, b[16] = {0};
  assert_int_equal(ml_random(a, sizeof(a), &err), 0);
  assert_int_equal(ml_random(b, sizeof(b), &err), 0);
  assert_memory_not_equal(a, b, sizeof(a));
  assert_int_equal(ml_random(a, 0, &err), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hashes_are_those_of_the_standards),
      cmocka_unit_test(extendable_functions_give_any_length),
      cmocka_unit_test(hmac_is_that_of_rfc_4231),
      cmocka_unit_test(unknown_algorithms_are_refused),
      cmocka_unit_test(lists_have_what_everybody_uses),
      cmocka_unit_test(random_bytes_differ),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The DER form that is kept with a certificate. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cert_der.h"

static X509 *self_signed(long serial)
{
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *cert = X509_new();
  assert_true(key && cert);
  assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), serial), 1);
  assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
  assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 60));
  assert_int_equal(X509_set_pubkey(cert, key), 1);
  assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
  EVP_PKEY_free(key);
  return cert;
}

static void is_what_openssl_writes(void **state)
{
  (void)state;
  for (long serial = 1; serial <= 2; serial++) {
    X509 *cert = self_signed(serial);
    unsigned char *expected = NULL;
    int expected_len = i2d_X509(cert, &expected);
    size_t len = 0;
    const uint8_t *der = ml_cert_der(cert, &len);
    assert_non_null(der);
    assert_int_equal(len, expected_len);
    assert_memory_equal(der, expected, len);
    OPENSSL_free(expected);
    X509_free(cert);
  }
}

static void stays_with_the_certificate(void **state)
{
  (void)state;
  X509 *cert = self_signed(1);
  size_t len = 0, again = 0;
  const uint8_t *der = ml_cert_der(cert, &len);
  assert_int_equal(X509_up_ref(cert), 1);
  X509_free(cert);
  assert_ptr_equal(ml_cert_der(cert, &again), der);
  assert_int_equal(again, len);
  X509_free(cert);
}

static void copies_have_their_own(void **state)
{
  (void)state;
  X509 *cert = self_signed(1);
  size_t len = 0, copy_len = 0;
  const uint8_t *der = ml_cert_der(cert, &len);
  X509 *copy = X509_dup(cert);
  assert_non_null(copy);
  const uint8_t *copied = ml_cert_der(copy, &copy_len);
  assert_ptr_not_equal(copied, der);
  X509_free(cert);
  assert_int_equal(copy_len, len);
  assert_int_equal(X509_cmp_current_time(X509_get0_notAfter(copy)), 1);
  X509_free(copy);
}

static void there_is_none_of_half_a_certificate(void **state)
{
  (void)state;
  X509 *cert = X509_new();
  size_t len = 0;
  assert_non_null(cert);
  assert_null(ml_cert_der(cert, &len));
  X509_free(cert);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(is_what_openssl_writes),
      cmocka_unit_test(stays_with_the_certificate),
      cmocka_unit_test(copies_have_their_own),
      cmocka_unit_test(there_is_none_of_half_a_certificate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

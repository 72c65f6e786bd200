/* Errors: the codes and words that scripts see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static void test_system_errors(void **state)
{
  (void)state;
  struct ml_error err;
  memset(&err, 'x', sizeof(err));
  ml_error_system(&err, ECONNRESET, "read");
  assert_int_equal(err.origin, ML_ORIGIN_SYSTEM);
  assert_int_equal(err.number, ECONNRESET);
  assert_string_equal(err.code, "ECONNRESET");
  assert_string_equal(err.message, "read ECONNRESET");
  assert_string_equal(err.syscall, "read");
  assert_string_equal(err.address, "");
  assert_string_equal(err.library, "");
  assert_int_equal(err.port, 0);
  assert_int_equal(err.alert_from, ML_ALERT_NONE);
  assert_null(err.state);

  ml_error_system_at(&err, ECONNREFUSED, "connect", "127.0.0.1", 1);
  assert_string_equal(err.message, "connect ECONNREFUSED 127.0.0.1:1");
  assert_string_equal(err.address, "127.0.0.1");
  assert_int_equal(err.port, 1);
  ml_error_system_at(&err, ENOENT, "connect", "/run/x.sock", 0);
  assert_string_equal(err.message, "connect ENOENT /run/x.sock");
}

static void test_long_texts_are_cut(void **state)
{
  (void)state;
  struct ml_error err;
  char text[5000];
  memset(text, 'a', sizeof(text));
  text[sizeof(text) - 1] = '\0';
  ml_error_system_at(&err, EINVAL, text, text, 65535);
  assert_int_equal(strlen(err.syscall), sizeof(err.syscall) - 1);
  assert_int_equal(strlen(err.address), sizeof(err.address) - 1);
  char whole[sizeof(err.message)];
  snprintf(whole, sizeof(whole), "%s EINVAL %s:65535", err.syscall, err.address);
  assert_string_equal(err.message, whole);
  ml_error_misuse(&err, text, "%s", text);
  assert_int_equal(strlen(err.code), sizeof(err.code) - 1);
  assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
  ml_error_openssl(&err, text);
  assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

static void test_errno_names(void **state)
{
  (void)state;
  assert_string_equal(ml_errno_name(EADDRINUSE), "EADDRINUSE");
  assert_string_equal(ml_errno_name(4095), "E4095");
  assert_string_equal(ml_errno_name(-1), "E-1");
}

struct raised {
  int library, reason;
  const char *code, *message;
};

static void test_openssl_codes_are_nodes(void **state)
{
  (void)state;
  static const struct raised cases[] = {
      {ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER, "ERR_SSL_WRONG_VERSION_NUMBER",
       "error:0A00010B:SSL routines::wrong version number"},
      {ERR_LIB_PEM, PEM_R_NO_START_LINE, "ERR_OSSL_PEM_NO_START_LINE",
       "error:0480006C:PEM routines::no start line"},
      {ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH, "ERR_OSSL_X509_KEY_VALUES_MISMATCH",
       "error:05800074:x509 certificate routines::key values mismatch"},
      {ERR_LIB_EVP, EVP_R_BAD_DECRYPT, "ERR_OSSL_EVP_BAD_DECRYPT",
       "error:03000064:digital envelope routines::bad decrypt"},
      {ERR_LIB_PROV, 100, "ERR_OSSL_BAD_DECRYPT", "error:1C800064:Provider routines::bad decrypt"},
      {ERR_LIB_SSL, SSL_R_TLSV1_ALERT_UNKNOWN_CA, "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
       "error:0A000418:SSL routines::tlsv1 alert unknown ca"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct ml_error err;
    memset(&err, 'x', sizeof(err));
    ERR_raise(cases[i].library, cases[i].reason);
    ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR); /* a consequence */
    ml_error_openssl(&err, "unused");
    assert_int_equal(err.origin, ML_ORIGIN_TLS);
    assert_string_equal(err.code, cases[i].code);
    assert_string_equal(err.message, cases[i].message);
    assert_true(err.library[0] != '\0');
    assert_true(err.reason[0] != '\0');
    assert_int_equal(ERR_peek_error(), 0); /* drained */
  }
}

static void test_openssl_keeps_what_is_behind(void **state)
{
  (void)state;
  struct ml_error err;
  char text[256];
  ERR_raise(ERR_LIB_SSL, SSL_R_NO_CIPHER_MATCH);
  for (int i = 0; i < ML_ERROR_BEHIND + 2; i++)
    ERR_raise(ERR_LIB_SSL, i == 0 ? SSL_R_WRONG_VERSION_NUMBER : SSL_R_BAD_LENGTH);
  ml_error_openssl(&err, "unused");
  assert_string_equal(err.reason, "no cipher match");
  assert_int_equal(err.behind_count, ML_ERROR_BEHIND);
  ml_error_text_behind(&err, 0, text, sizeof(text));
  assert_string_equal(text, "error:0A00010B:SSL routines::wrong version number");
  assert_int_equal(ERR_peek_error(), 0);
  ml_error_openssl(&err, "nothing was said");
  assert_int_equal(err.behind_count, 0);
}

static void test_openssl_without_a_reason(void **state)
{
  (void)state;
  struct ml_error err;
  ml_error_openssl(&err, "nothing was said");
  assert_string_equal(err.message, "nothing was said");
  assert_true(err.code[0] != '\0');
  assert_int_equal(err.number, 0);

  ERR_raise(ERR_LIB_SYS, ENOENT);
  ml_error_openssl(&err, "unused");
  assert_string_equal(err.reason, strerror(ENOENT));

  ERR_raise(ERR_LIB_SSL, SSL_AD_REASON_OFFSET + 254); /* what a peer's alert 254 is */
  ml_error_openssl(&err, "unused");
  assert_string_equal(err.reason, "unknown alert");
  assert_string_equal(err.code, "ERR_SSL_UNKNOWN_ALERT");

  ERR_raise(ERR_LIB_SSL, SSL_AD_REASON_OFFSET); /* and a fatal close_notify */
  ml_error_openssl(&err, "unused");
  assert_string_equal(err.code, "ERR_SSL_UNKNOWN_ALERT");

  ERR_raise(ERR_LIB_USER, 77); /* a number nobody registered a text for */
  ml_error_openssl(&err, "fallback");
  assert_string_equal(err.reason, "fallback");
  assert_non_null(strstr(err.message, "error:"));
}

static void test_verification_names(void **state)
{
  (void)state;
  struct ml_error err;
  ml_error_verify(&err, X509_V_ERR_CERT_HAS_EXPIRED);
  assert_int_equal(err.origin, ML_ORIGIN_VERIFY);
  assert_string_equal(err.code, "CERT_HAS_EXPIRED");
  assert_string_equal(err.message, "certificate has expired");
  assert_string_equal(ml_verify_name(X509_V_OK), "OK");
  assert_string_equal(ml_verify_name(123456), "UNSPECIFIED");
  /* Every number that OpenSSL has words for has a name of its own here. */
  for (long n = X509_V_OK; n < 200; n++) {
    const char *words = X509_verify_cert_error_string(n);
    if (n != X509_V_ERR_UNSPECIFIED && !strstr(words, "unknown certificate verification error") &&
        strcmp(words, "unspecified certificate verification error") != 0)
      if (strcmp(ml_verify_name(n), "UNSPECIFIED") == 0) fail_msg("%ld: %s", n, words);
  }
}

static void test_alert_names(void **state)
{
  (void)state;
  assert_string_equal(ml_alert_name(SSL_AD_UNKNOWN_CA), "unknown_ca");
  assert_string_equal(ml_alert_name(SSL_AD_CERTIFICATE_REQUIRED), "certificate_required");
  assert_string_equal(ml_alert_name(255), "unknown");
  assert_string_equal(ml_alert_name(-1), "unknown");
  for (int alert = 0; alert < 256; alert++)
    if (strcmp(SSL_alert_desc_string_long(alert), "unknown") != 0)
      assert_string_not_equal(ml_alert_name(alert), "unknown");
}

static void test_alerts_that_end_a_handshake(void **state)
{
  (void)state;
  int count = 0;
  for (int alert = -1; alert < 256; alert++)
    count += ml_alert_is_error(alert);
  assert_int_equal(count, 25); /* RFC 8446, 6: AlertDescription without closure and RESERVED */
  assert_true(ml_alert_is_error(SSL_AD_UNRECOGNIZED_NAME));
  assert_false(ml_alert_is_error(SSL_AD_CLOSE_NOTIFY));
  assert_false(ml_alert_is_error(SSL_AD_USER_CANCELLED));
  assert_false(ml_alert_is_error(SSL_AD_NO_RENEGOTIATION));
  assert_false(ml_alert_is_error(1));
}

int main(void)
{
  /* Loads the words of the SSL library. */
  SSL_CTX_free(SSL_CTX_new(TLS_method()));
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_system_errors),
      cmocka_unit_test(test_long_texts_are_cut),
      cmocka_unit_test(test_errno_names),
      cmocka_unit_test(test_openssl_codes_are_nodes),
      cmocka_unit_test(test_openssl_keeps_what_is_behind),
      cmocka_unit_test(test_openssl_without_a_reason),
      cmocka_unit_test(test_verification_names),
      cmocka_unit_test(test_alert_names),
      cmocka_unit_test(test_alerts_that_end_a_handshake),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

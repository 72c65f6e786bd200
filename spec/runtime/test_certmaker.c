/* Certificates: made as planned, and read back (certmaker.h, certinfo.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "certinfo.h"
#include "certmaker.h"
#include "keys.h"

#define TEXT(literal) (literal), sizeof(literal) - 1
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static EVP_PKEY *key;

static int make_the_key(void **state)
{
  (void)state;
  struct ml_error err;
  return ml_key_make(&key, "ec", &err);
}

static int free_the_key(void **state)
{
  (void)state;
  EVP_PKEY_free(key);
  return 0;
}

static struct ml_cert_plan plan_of(const struct ml_name_attribute *subject, size_t count)
{
  struct ml_cert_plan plan = {.key = key, .version = 3, .subject = subject, .subject_count = count};
  plan.not_before = 1501545600;
  plan.not_after = 4102444800; /* 2100 */
  return plan;
}

static X509 *make(const struct ml_cert_plan *plan)
{
  struct ml_error err;
  X509 *cert = NULL;
  assert_int_equal(ml_cert_make(&cert, plan, &err), 0);
  return cert;
}

/* What a writer writes, as a NUL-terminated string for the caller to free; NULL when it wrote
 * nothing. */
#define WRITTEN(call)                                                                              \
  ({                                                                                               \
    BIO *out = BIO_new(BIO_s_mem());                                                               \
    int written = (call);                                                                          \
    char *text = NULL;                                                                             \
    if (written > 0) {                                                                             \
      char *data;                                                                                  \
      size_t len = (size_t)BIO_get_mem_data(out, &data);                                           \
      text = calloc(1, len + 1);                                                                   \
      memcpy(text, data, len);                                                                     \
    }                                                                                              \
    BIO_free(out);                                                                                 \
    text;                                                                                          \
  })

#define assert_written(call, expected)                                                             \
  do {                                                                                             \
    char *actual = WRITTEN(call);                                                                  \
    assert_non_null(actual);                                                                       \
    assert_string_equal(actual, expected);                                                         \
    free(actual);                                                                                  \
  } while (0)

static void a_certificate_says_what_was_planned(void **state)
{
  (void)state;
  const struct ml_name_attribute subject[] = {
      {.type = "C", TEXT("US")},
      {.type = "O", TEXT("a")},
      {.type = "OU", TEXT("b"), .joined = true},
      {.type = "CN", TEXT("host, \"x\"")},
  };
  struct ml_cert_plan plan = plan_of(subject, COUNT(subject));
  plan.serial = "0A0B";
  X509 *cert = make(&plan);
  assert_written(ml_cert_write_name(out, X509_get_subject_name(cert)),
                 "C=US\nO=a + OU=b\nCN=host\\, \\\"x\\\"");
  assert_written(ml_cert_write_time(out, X509_get0_notBefore(cert)), "Aug  1 00:00:00 2017 GMT");
  assert_written(ml_cert_write_time(out, X509_get0_notAfter(cert)), "Jan  1 00:00:00 2100 GMT");
  assert_written(ml_cert_write_serial(out, cert), "0A0B");
  int64_t seconds;
  assert_true(ml_cert_seconds(X509_get0_notAfter(cert), &seconds));
  assert_true(seconds == 4102444800);
  const char *nist;
  assert_string_equal(ml_cert_curve(key, &nist), "prime256v1");
  assert_string_equal(nist, "P-256");
  assert_false(ml_cert_is_ca(cert));
  assert_int_equal(X509_verify(cert, key), 1);
  X509_free(cert);
}

static void what_is_not_there_is_not_written(void **state)
{
  (void)state;
  struct ml_cert_plan plan = plan_of(NULL, 0);
  X509 *cert = make(&plan);
  assert_null(WRITTEN(ml_cert_write_name(out, X509_get_subject_name(cert))));
  assert_null(WRITTEN(ml_cert_write_alt_names(out, cert)));
  assert_null(WRITTEN(ml_cert_write_info_access(out, cert)));
  assert_null(WRITTEN(ml_cert_write_purposes(out, cert)));
  assert_null(WRITTEN(ml_cert_write_modulus(out, key)));
  assert_null(WRITTEN(ml_cert_write_exponent(out, key)));
  assert_null(WRITTEN(ml_cert_write_fingerprint(out, cert, "nonsense")));
  X509_free(cert);
}

static void hostile_names_are_quoted(void **state)
{
  (void)state;
  const struct ml_alt_name names[] = {
      {.kind = ML_ALT_DNS, TEXT("a.com")},
      {.kind = ML_ALT_DNS, TEXT("x, DNS:evil.com")},
      {.kind = ML_ALT_DNS, TEXT("a\0b")},
      {.kind = ML_ALT_URI, TEXT("http://\"\\'\n")},
      {.kind = ML_ALT_EMAIL, TEXT("\xe4@x")},
      {.kind = ML_ALT_IP, TEXT("127.0.0.1")},
      {.kind = ML_ALT_IP, TEXT("2001:db8::a")},
      {.kind = ML_ALT_IP_BYTES, TEXT("\1\2\3")},
      {.kind = ML_ALT_RID, TEXT("1.2.3.4")},
      {.kind = ML_ALT_DIRNAME, TEXT("a, DNS:b")},
      {.kind = ML_ALT_OTHER, TEXT("u, v"), .oid = "1.3.6.1.4.1.311.20.2.3", .tag = 12},
      {.kind = ML_ALT_OTHER, TEXT("u"), .oid = "1.2.3.4", .tag = 12},
  };
  struct ml_cert_plan plan = plan_of(NULL, 0);
  plan.names = names;
  plan.name_count = COUNT(names);
  X509 *cert = make(&plan);
  assert_written(ml_cert_write_alt_names(out, cert),
                 "DNS:a.com, DNS:\"x\\u002c DNS:evil.com\", DNS:\"a\\u0000b\", "
                 "URI:\"http://\\\"\\\\'\\u000a\", email:\"\\u00e4@x\", IP Address:127.0.0.1, "
                 "IP Address:2001:DB8:0:0:0:0:0:A, IP Address:<invalid length=3>, "
                 "Registered ID:1.2.3.4, DirName:\"CN=a\\\\\\u002c DNS:b\", "
                 "othername:\"UPN:u\\u002c v\", othername:<unsupported>");
  X509_free(cert);
}

static void information_access_is_one_line_each(void **state)
{
  (void)state;
  const struct ml_info_access access[] = {
      {.method = "OCSP", .location = {.kind = ML_ALT_URI, TEXT("http://a/")}},
      {.method = "caIssuers", .location = {.kind = ML_ALT_URI, TEXT("http://b/\nX")}},
  };
  struct ml_cert_plan plan = plan_of(NULL, 0);
  plan.access = access;
  plan.access_count = COUNT(access);
  X509 *cert = make(&plan);
  assert_written(ml_cert_write_info_access(out, cert),
                 "OCSP - URI:http://a/\nCA Issuers - URI:\"http://b/\\u000aX\"");
  X509_free(cert);
}

static void extensions_that_cannot_be_read_are_told_from_absent_ones(void **state)
{
  (void)state;
  const struct ml_cert_extension extensions[] = {
      {.name = "2.5.29.17", TEXT("\x30\x03\x01\x01\x01"), .der = true},
      {.name = "1.3.6.1.5.5.7.1.1", TEXT("\x05"), .der = true},
  };
  struct ml_cert_plan plan = plan_of(NULL, 0);
  plan.extensions = extensions;
  plan.extension_count = COUNT(extensions);
  X509 *cert = make(&plan);
  BIO *out = BIO_new(BIO_s_mem());
  assert_int_equal(ml_cert_write_alt_names(out, cert), -1);
  assert_int_equal(ml_cert_write_info_access(out, cert), -1);
  BIO_free(out);
  X509_free(cert);
}

static void an_impossible_plan_fails(void **state)
{
  (void)state;
  const struct ml_name_attribute bad_type = {.type = "nonsense", TEXT("x")};
  const struct ml_alt_name bad_ip = {.kind = ML_ALT_IP, TEXT("nonsense")};
  const struct ml_alt_name bad_rid = {.kind = ML_ALT_RID, TEXT("nonsense")};
  const struct ml_alt_name bad_other = {.kind = ML_ALT_OTHER, TEXT("x"), .oid = "?", .tag = 12};
  const struct ml_cert_extension bad_extension = {.name = "nonsense", TEXT("x")};
  const struct ml_info_access bad_access = {.method = "?", .location = {.kind = ML_ALT_DNS}};
  struct ml_cert_plan plans[8];
  for (size_t i = 0; i < COUNT(plans); i++)
    plans[i] = plan_of(NULL, 0);
  plans[0].subject = &bad_type, plans[0].subject_count = 1;
  plans[1].names = &bad_ip, plans[1].name_count = 1;
  plans[2].names = &bad_rid, plans[2].name_count = 1;
  plans[3].names = &bad_other, plans[3].name_count = 1;
  plans[4].extensions = &bad_extension, plans[4].extension_count = 1;
  plans[5].access = &bad_access, plans[5].access_count = 1;
  plans[6].digest = "nonsense";
  plans[7].serial = "xyz";
  for (size_t i = 0; i < COUNT(plans); i++) {
    struct ml_error err = {0};
    X509 *cert = NULL;
    assert_int_equal(ml_cert_make(&cert, &plans[i], &err), -1);
    assert_null(cert);
    assert_true(err.message[0] != '\0');
  }
}

static void a_spoilt_signature_does_not_verify(void **state)
{
  (void)state;
  struct ml_cert_plan plan = plan_of(NULL, 0);
  plan.spoil_signature = true;
  X509 *cert = make(&plan);
  assert_int_not_equal(X509_verify(cert, key), 1);
  X509_free(cert);
}

/* Ed25519 signs the text itself: a digest of it, SHA-256 or another, is refused. */
static void keys_without_a_digest_sign_for_themselves(void **state)
{
  (void)state;
  static const char *const kinds[] = {"ed25519", "ed448"};
  for (size_t i = 0; i < COUNT(kinds); i++) {
    struct ml_error err;
    EVP_PKEY *own = NULL;
    assert_int_equal(ml_key_make(&own, kinds[i], &err), 0);
    struct ml_cert_plan plan = plan_of(NULL, 0);
    plan.key = own;
    X509 *cert = make(&plan);
    assert_int_equal(X509_verify(cert, own), 1);
    X509_free(cert);
    EVP_PKEY_free(own);
  }
}

static void a_list_revokes_what_it_names(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_cert_plan plan = plan_of(NULL, 0);
  plan.serial = "0A";
  X509 *cert = make(&plan);
  const char *const serials[] = {"0A", "0B"};
  struct ml_crl_plan list = {.issuer = cert, .issuer_key = key, .number = 7, .serials = serials};
  list.serial_count = COUNT(serials);
  list.last_update = time(NULL);
  list.next_update = list.last_update + 60;
  X509_CRL *crl = NULL;
  assert_int_equal(ml_crl_make(&crl, &list, &err), 0);
  X509_REVOKED *entry;
  assert_int_equal(X509_CRL_get0_by_cert(crl, &entry, cert), 1);
  assert_int_equal(X509_CRL_verify(crl, key), 1);
  X509_CRL_free(crl);
  const char *const broken[] = {"?"};
  list.serials = broken;
  list.serial_count = 1;
  assert_int_equal(ml_crl_make(&crl, &list, &err), -1);
  X509_free(cert);
}

static void issuers_are_found_in_chains(void **state)
{
  (void)state;
  const struct ml_name_attribute root_name = {.type = "CN", TEXT("root")};
  const struct ml_name_attribute leaf_name = {.type = "CN", TEXT("leaf")};
  struct ml_cert_plan plan = plan_of(&root_name, 1);
  X509 *root = make(&plan);
  plan = plan_of(&leaf_name, 1);
  plan.issuer = root;
  plan.issuer_key = key;
  X509 *leaf = make(&plan);
  STACK_OF(X509) *chain = sk_X509_new_null();
  assert_null(ml_cert_issuer_in(leaf, NULL));
  assert_null(ml_cert_issuer_in(leaf, chain));
  sk_X509_push(chain, leaf);
  assert_null(ml_cert_issuer_in(leaf, chain));
  sk_X509_push(chain, root);
  assert_ptr_equal(ml_cert_issuer_in(leaf, chain), root);
  assert_null(ml_cert_issuer_in(root, chain));
  assert_true(ml_cert_issued(root, root));
  assert_false(ml_cert_issued(leaf, root));
  sk_X509_free(chain);
  X509_free(leaf);
  X509_free(root);
}

static void certificates_are_read_from_pem_and_der(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_cert_plan plan = plan_of(NULL, 0);
  X509 *cert = make(&plan), *copy;
  char *data;
  BIO *bio = BIO_new(BIO_s_mem());
  BIO_puts(bio, "text before\n");
  PEM_write_bio_X509(bio, cert);
  size_t len = (size_t)BIO_get_mem_data(bio, &data);
  assert_int_equal(ml_cert_read(&copy, data, len, &err), 0);
  assert_int_equal(X509_cmp(cert, copy), 0);
  X509_free(copy);
  /* Cut anywhere, it fails without a leak or an overrun. */
  for (size_t n = 0; n + 2 < len; n += 7) {
    assert_int_equal(ml_cert_read(&copy, data, n, &err), -1);
  }
  (void)BIO_reset(bio);
  i2d_X509_bio(bio, cert);
  len = (size_t)BIO_get_mem_data(bio, &data);
  assert_int_equal(ml_cert_read(&copy, data, len, &err), 0);
  X509_free(copy);
  for (size_t n = 0; n < len; n += 7) {
    assert_int_equal(ml_cert_read(&copy, data, n, &err), -1);
    assert_string_equal(err.reason, "no start line");
  }
  BIO_free(bio);
  X509_free(cert);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_certificate_says_what_was_planned),
      cmocka_unit_test(what_is_not_there_is_not_written),
      cmocka_unit_test(hostile_names_are_quoted),
      cmocka_unit_test(information_access_is_one_line_each),
      cmocka_unit_test(extensions_that_cannot_be_read_are_told_from_absent_ones),
      cmocka_unit_test(an_impossible_plan_fails),
      cmocka_unit_test(a_spoilt_signature_does_not_verify),
      cmocka_unit_test(keys_without_a_digest_sign_for_themselves),
      cmocka_unit_test(a_list_revokes_what_it_names),
      cmocka_unit_test(issuers_are_found_in_chains),
      cmocka_unit_test(certificates_are_read_from_pem_and_der),
  };
  return cmocka_run_group_tests(tests, make_the_key, free_the_key);
}

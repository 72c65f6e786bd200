/* TLS contexts: what is refused and how it is named (as Node names it), and what is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/dh.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <unistd.h>

#include "tls_pair.h"
#include "tls_roots.h"
#include "tls_tickets.h"
#include "tls_trust.h"

static struct ml_tls_blob blob(const char *text)
{
  return (struct ml_tls_blob){text, strlen(text), NULL};
}

/* One of each, for the option that holds a list. */
struct one {
  struct ml_tls_blob blob;
};

static struct ml_tls_blobs list(struct one *one, const char *text)
{
  one->blob = blob(text);
  return (struct ml_tls_blobs){&one->blob, 1};
}

static struct ml_tls_context *accept(const struct ml_tls_context_options *options)
{
  struct ml_error err;
  struct ml_tls_context *context = NULL;
  if (ml_tls_context_new(&context, options, &err) != 0) fail_msg("%s %s", err.code, err.message);
  assert_int_equal(ERR_peek_error(), 0); /* nothing is left for the next call to stumble over */
  return context;
}

static void expect_accepted(const struct ml_tls_context_options *options)
{
  ml_tls_context_unref(accept(options));
}

static void expect_refused(const struct ml_tls_context_options *options, const char *code)
{
  struct ml_error err = {0};
  struct ml_tls_context *context = (void *)&err;
  assert_int_equal(ml_tls_context_new(&context, options, &err), -1);
  assert_ptr_equal(context, (void *)&err);
  assert_string_equal(err.code, code);
  assert_true(err.message[0] != '\0');
  assert_int_equal(ERR_peek_error(), 0);
}

static void expect_pair_refused(const char *cert, const char *key, const char *passphrase,
                                const char *code)
{
  struct one c, k;
  struct ml_tls_context_options options = {
      .own_trust = true, .cert = list(&c, cert), .key = list(&k, key), .passphrase = passphrase};
  expect_refused(&options, code);
}

static void test_unreadable_pem(void **state)
{
  (void)state;
  char truncated[101];
  snprintf(truncated, sizeof(truncated), "%s", alpha.cert);
  expect_pair_refused("garbage", alpha.key, NULL, "ERR_OSSL_PEM_NO_START_LINE");
  expect_pair_refused("", alpha.key, NULL, "ERR_OSSL_PEM_NO_START_LINE");
  expect_pair_refused(alpha.key, alpha.key, NULL, "ERR_OSSL_PEM_NO_START_LINE");
  expect_pair_refused(truncated, alpha.key, NULL, "ERR_OSSL_PEM_BAD_END_LINE");
  expect_pair_refused("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", alpha.key,
                      NULL, "ERR_OSSL_PEM_BAD_BASE64_DECODE");
  expect_pair_refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", alpha.key,
                      NULL, "ERR_OSSL_ASN1_WRONG_TAG");
  expect_pair_refused(alpha.cert, "garbage", NULL, "ERR_OSSL_UNSUPPORTED");
  expect_pair_refused(alpha.cert, alpha.cert, NULL, "ERR_OSSL_UNSUPPORTED");
}

static void test_a_damaged_link_of_the_chain(void **state)
{
  (void)state;
  struct one c;
  char chain[8192];
  snprintf(chain, sizeof(chain), "%s%s", alpha.cert, beta.cert);
  struct ml_tls_context_options options = {.own_trust = true, .cert = list(&c, chain)};
  expect_accepted(&options);
  chain[strlen(alpha.cert) + 60] = '!';
  expect_refused(&options, "ERR_OSSL_PEM_BAD_BASE64_DECODE");
  snprintf(chain, sizeof(chain), "%s\nsome words at the end\n", alpha.cert);
  options.cert = list(&c, chain);
  expect_accepted(&options);
}

static void test_a_key_of_another_certificate(void **state)
{
  (void)state;
  expect_pair_refused(alpha.cert, beta.key, NULL, "ERR_OSSL_X509_KEY_VALUES_MISMATCH");
}

static char *encrypted_key(const char *pem, const char *passphrase, bool traditional)
{
  BIO *in = BIO_new_mem_buf(pem, -1), *out = BIO_new(BIO_s_mem());
  EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
  const unsigned char *text = (const unsigned char *)passphrase;
  int len = (int)strlen(passphrase);
  int ok =
      traditional
          ? PEM_write_bio_PrivateKey_traditional(out, key, EVP_aes_128_cbc(), text, len, NULL, NULL)
          : PEM_write_bio_PrivateKey(out, key, EVP_aes_128_cbc(), text, len, NULL, NULL);
  assert_int_equal(ok, 1);
  EVP_PKEY_free(key);
  BIO_free(in);
  return bio_text(out);
}

static void check_passphrase(bool traditional)
{
  struct one c, k;
  char *key = encrypted_key(alpha.key, "secret", traditional);
  struct ml_tls_context_options options = {.own_trust = true,
                                           .cert = list(&c, alpha.cert),
                                           .key = list(&k, key),
                                           .passphrase = "secret"};
  expect_accepted(&options);
  k.blob.passphrase = "wrong"; /* the key's own goes before the general one */
  expect_refused(&options, "ERR_OSSL_BAD_DECRYPT");
  k.blob.passphrase = "secret";
  options.passphrase = NULL;
  expect_accepted(&options);
  k.blob.passphrase = NULL;
  expect_refused(&options, "ERR_OSSL_BAD_DECRYPT");
  options.passphrase = "";
  expect_refused(&options, "ERR_OSSL_BAD_DECRYPT");
  char endless[3000];
  memset(endless, 'x', sizeof(endless));
  endless[sizeof(endless) - 1] = '\0';
  options.passphrase = endless;
  expect_refused(&options, "ERR_OSSL_CRYPTO_INTERRUPTED_OR_CANCELLED");
  free(key);
}

static void test_passphrases(void **state)
{
  (void)state;
  check_passphrase(true);
  check_passphrase(false);
}

static void test_a_passphrase_nobody_asked_for_is_ignored(void **state)
{
  (void)state;
  struct one c, k;
  struct ml_tls_context_options options = {.own_trust = true,
                                           .cert = list(&c, alpha.cert),
                                           .key = list(&k, alpha.key),
                                           .passphrase = "unused"};
  expect_accepted(&options);
}

static struct ml_tls_blob make_pfx(const struct identity *own, const struct identity *extra,
                                   const char *passphrase)
{
  BIO *cert_bio = BIO_new_mem_buf(own->cert, -1), *key_bio = BIO_new_mem_buf(own->key, -1);
  X509 *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
  EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
  STACK_OF(X509) *chain = sk_X509_new_null();
  BIO *extra_bio = extra ? BIO_new_mem_buf(extra->cert, -1) : NULL;
  if (extra) sk_X509_push(chain, PEM_read_bio_X509(extra_bio, NULL, NULL, NULL));
  PKCS12 *pfx = PKCS12_create(passphrase, "name", key, cert, chain, 0, 0, 0, 0, 0);
  unsigned char *der = NULL;
  int len = i2d_PKCS12(pfx, &der);
  assert_true(len > 0);
  PKCS12_free(pfx);
  sk_X509_pop_free(chain, X509_free);
  X509_free(cert);
  EVP_PKEY_free(key);
  BIO_free(cert_bio);
  BIO_free(key_bio);
  BIO_free(extra_bio);
  return (struct ml_tls_blob){(char *)der, (size_t)len, NULL};
}

static void test_pfx(void **state)
{
  (void)state;
  struct ml_tls_blob pfx = make_pfx(&alpha, &beta, "secret");
  struct ml_tls_context_options options = {
      .own_trust = true, .pfx = {&pfx, 1}, .passphrase = "secret"};
  struct ml_tls_context *context = accept(&options);
  SSL_CTX *ssl = ml_tls_context_ssl(context);
  assert_non_null(SSL_CTX_get0_certificate(ssl));
  assert_non_null(SSL_CTX_get0_privatekey(ssl));
  /* What comes along is trusted, and named to clients. */
  assert_int_equal(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(ssl)), 1);
  ml_tls_context_unref(context);

  options.passphrase = "wrong";
  expect_refused(&options, "ERR_OSSL_PKCS12_MAC_VERIFY_FAILURE");
  options.passphrase = NULL;
  expect_refused(&options, "ERR_OSSL_PKCS12_MAC_VERIFY_FAILURE");
  struct ml_tls_blob garbage = blob("garbage");
  options.pfx.items = &garbage;
  expect_refused(&options, "ERR_OSSL_ASN1_NOT_ENOUGH_DATA");
  struct ml_tls_blob empty = blob("");
  options.pfx.items = &empty;
  expect_refused(&options, "ERR_OSSL_ASN1_NOT_ENOUGH_DATA");
  OPENSSL_free((void *)(uintptr_t)pfx.data);
}

static void test_ciphers(void **state)
{
  (void)state;
  struct ml_tls_context_options options = {.own_trust = true};
  options.ciphers = "NOPE";
  expect_refused(&options, "ERR_SSL_NO_CIPHER_MATCH");
  options.ciphers = "ECDHE-RSA-AES128-GCM-SHA256:NOPE";
  expect_accepted(&options);
  options.cipher_suites = "TLS_NOPE";
  expect_refused(&options, "ERR_SSL_NO_CIPHER_MATCH");
  options.cipher_suites = "TLS_AES_128_GCM_SHA256";
  options.ciphers = "";
  struct ml_tls_context *context = accept(&options);
  STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(ml_tls_context_ssl(context));
  assert_int_equal(sk_SSL_CIPHER_num(ciphers), 1);
  ml_tls_context_unref(context);
  options.cipher_suites = "";
  options.ciphers = "ECDHE-RSA-AES128-GCM-SHA256";
  context = accept(&options);
  ciphers = SSL_CTX_get_ciphers(ml_tls_context_ssl(context));
  assert_int_equal(sk_SSL_CIPHER_num(ciphers), 1);
  ml_tls_context_unref(context);
}

static void test_groups_and_signature_algorithms(void **state)
{
  (void)state;
  struct ml_tls_context_options options = {.own_trust = true, .groups = "nope"};
  struct ml_error err;
  struct ml_tls_context *context;
  assert_int_equal(ml_tls_context_new(&context, &options, &err), -1);
  assert_true(err.code[0] && err.message[0]);
  options.groups = "P-256:X25519";
  expect_accepted(&options);
  options.sigalgs = "nope";
  assert_int_equal(ml_tls_context_new(&context, &options, &err), -1);
  assert_true(err.code[0] && err.message[0]);
  options.sigalgs = "ECDSA+SHA256:RSA-PSS+SHA256";
  expect_accepted(&options);
}

static void test_protocol_bounds(void **state)
{
  (void)state;
  struct ml_tls_context_options options = {
      .own_trust = true, .min_version = TLS1_2_VERSION, .max_version = TLS1_3_VERSION};
  struct ml_tls_context *context = accept(&options);
  SSL_CTX *ssl = ml_tls_context_ssl(context);
  assert_int_equal(SSL_CTX_get_min_proto_version(ssl), TLS1_2_VERSION);
  assert_int_equal(SSL_CTX_get_max_proto_version(ssl), TLS1_3_VERSION);
  ml_tls_context_unref(context);
  struct ml_error err;
  options.min_version = 0x4242;
  assert_int_equal(ml_tls_context_new(&context, &options, &err), -1);
  assert_true(err.message[0]);
}

static char *make_dh(const char *group, int bits)
{
  EVP_PKEY *params = NULL;
  EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
  assert_int_equal(EVP_PKEY_paramgen_init(maker), 1);
  if (group)
    assert_int_equal(EVP_PKEY_CTX_set_group_name(maker, group), 1);
  else
    assert_int_equal(EVP_PKEY_CTX_set_dh_paramgen_prime_len(maker, bits), 1);
  assert_int_equal(EVP_PKEY_paramgen(maker, &params), 1);
  BIO *bio = BIO_new(BIO_s_mem());
  assert_int_equal(PEM_write_bio_Parameters(bio, params), 1);
  EVP_PKEY_free(params);
  EVP_PKEY_CTX_free(maker);
  return bio_text(bio);
}

static void test_dh_parameters(void **state)
{
  (void)state;
  char *small = make_dh(NULL, 512), *good = make_dh("ffdhe2048", 0);
  struct ml_tls_context_options options = {.own_trust = true, .dhparam = blob(small)};
  expect_refused(&options, "ERR_INVALID_ARG_VALUE");
  options.dhparam = blob("garbage");
  expect_accepted(&options);
  options.dhparam = blob(good);
  expect_accepted(&options);
  options.dh_auto = true;
  expect_accepted(&options);
  free(small);
  free(good);
}

static void test_session_id_contexts(void **state)
{
  (void)state;
  uint8_t id[SSL_MAX_SID_CTX_LENGTH + 1] = {1};
  struct ml_tls_context_options options = {
      .own_trust = true, .session_id_context = id, .session_id_context_len = sizeof(id)};
  expect_refused(&options, "ERR_SSL_SSL_SESSION_ID_CONTEXT_TOO_LONG");
  options.session_id_context_len = sizeof(id) - 1;
  expect_accepted(&options);
  options.session_id_context_len = 0;
  expect_accepted(&options);
}

static void test_trust(void **state)
{
  (void)state;
  struct one ca, crl;
  struct ml_tls_context_options options = {.own_trust = true};
  options.ca = list(&ca, "garbage");
  expect_refused(&options, "ERR_OSSL_PEM_NO_START_LINE");
  options.ca = list(&ca, "");
  expect_refused(&options, "ERR_OSSL_PEM_NO_START_LINE");

  char both[8192];
  snprintf(both, sizeof(both), "%s%s%s", alpha.cert, beta.cert, alpha.cert);
  options.ca = list(&ca, both);
  struct ml_tls_context *context = accept(&options);
  X509_STORE *store = SSL_CTX_get_cert_store(ml_tls_context_ssl(context));
  assert_int_equal(sk_X509_OBJECT_num(X509_STORE_get0_objects(store)), 2);
  ml_tls_context_unref(context);

  options.crl = list(&crl, "garbage");
  expect_refused(&options, "ERR_OSSL_PEM_NO_START_LINE");
  options.crl = list(&crl, alpha.cert);
  expect_refused(&options, "ERR_OSSL_PEM_NO_START_LINE");

  /* An authority beside the system's own ones leaves the shared store alone. */
  struct ml_tls_context_options both_trusts = {.ca = list(&ca, alpha.cert)},
                                system_trust = {.own_trust = false};
  struct ml_tls_context *adding = accept(&both_trusts), *shared = accept(&system_trust),
                        *again = accept(&system_trust);
  store = SSL_CTX_get_cert_store(ml_tls_context_ssl(adding));
  assert_true(sk_X509_OBJECT_num(X509_STORE_get0_objects(store)) >= 1);
  assert_ptr_not_equal(store, SSL_CTX_get_cert_store(ml_tls_context_ssl(shared)));
  assert_ptr_equal(SSL_CTX_get_cert_store(ml_tls_context_ssl(again)),
                   SSL_CTX_get_cert_store(ml_tls_context_ssl(shared)));
  ml_tls_context_unref(adding);
  ml_tls_context_unref(shared);
  ml_tls_context_unref(again);
}

static void test_extra_trust_file(void **state)
{
  (void)state;
  struct ml_error err;
  char path[] = "/tmp/moonlatch-trust-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(ml_tls_trust_configure(false, "/nonexistent/extra.pem", &err), -1);
  assert_true(strstr(err.message, "No such file") || strstr(err.reason, "No such file"));
  assert_int_equal(ml_tls_trust_configure(false, path, &err), -1); /* empty */
  assert_int_equal(write(fd, alpha.cert, strlen(alpha.cert)), strlen(alpha.cert));
  close(fd);
  assert_int_equal(ml_tls_trust_configure(false, path, &err), 0);
  struct ml_tls_context_options options = {.own_trust = false};
  struct ml_tls_context *client = accept(&options);
  struct ml_tls_context *server = make_context(&alpha, NULL, 0);
  struct pair pair = {
      .client = make_engine(client, &(struct ml_tls_options){.reject_unauthorized = true}),
      .server = make_engine(server, &(struct ml_tls_options){.server = true})};
  shake(&pair);
  assert_int_equal(pair.client_result, ML_TLS_OK);
  free_pair(&pair);
  ml_tls_context_unref(client);
  ml_tls_context_unref(server);

  char endless[8192];
  memset(endless, 'x', sizeof(endless));
  endless[sizeof(endless) - 1] = '\0';
  assert_int_equal(ml_tls_trust_configure(false, endless, &err), -1);
  unlink(path);
  assert_int_equal(ml_tls_trust_configure(true, NULL, &err), 0);
  expect_accepted(&options);
  assert_int_equal(ml_tls_trust_configure(false, NULL, &err), 0);
  ml_tls_trust_release();
}

/* What a client without a `ca` makes of alpha. */
static enum ml_tls_result meet_alpha(struct ml_tls_context *client)
{
  struct ml_tls_context *server = make_context(&alpha, NULL, 0);
  struct pair pair = {
      .client = make_engine(client, &(struct ml_tls_options){.reject_unauthorized = true}),
      .server = make_engine(server, &(struct ml_tls_options){.server = true})};
  shake(&pair);
  enum ml_tls_result result = pair.client_result;
  free_pair(&pair);
  ml_tls_context_unref(server);
  return result;
}

static void test_chosen_trust(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_tls_context_options options = {.own_trust = false};
  STACK_OF(X509) *anchors = sk_X509_new_null();
  size_t len;
  char both[8192];
  struct ml_tls_context *before = accept(&options);
  assert_int_equal(ml_tls_roots_add_text(anchors, "nothing", 7, &err), 0);
  assert_int_equal(sk_X509_num(anchors), 0);
  ml_tls_trust_mark(&len);
  assert_int_equal(len, 0);

  snprintf(both, sizeof(both), "%snote\n%s%s", alpha.cert, beta.cert, alpha.cert);
  assert_int_equal(ml_tls_roots_add_text(anchors, both, strlen(both), &err), 0);
  assert_int_equal(sk_X509_num(anchors), 2);
  assert_int_equal(ml_tls_trust_choose(anchors, &err), 0);
  ml_tls_trust_mark(&len);
  assert_int_equal(len, 32);
  struct ml_tls_context *after = accept(&options);
  assert_int_equal(meet_alpha(after), ML_TLS_OK);
  assert_int_equal(meet_alpha(before), ML_TLS_ERROR);
  STACK_OF(X509) *list = ml_tls_trust_list(ML_TRUST_DEFAULT, &err);
  assert_int_equal(sk_X509_num(list), 2);
  sk_X509_pop_free(list, X509_free);

  sk_X509_pop_free(anchors, X509_free);
  anchors = sk_X509_new_null();
  assert_int_equal(ml_tls_trust_choose(anchors, &err), 0);
  struct ml_tls_context *nobody = accept(&options);
  assert_int_equal(meet_alpha(nobody), ML_TLS_ERROR);
  assert_int_equal(meet_alpha(after), ML_TLS_OK);
  sk_X509_free(anchors);
  ml_tls_context_unref(before);
  ml_tls_context_unref(after);
  ml_tls_context_unref(nobody);
  ml_tls_trust_release();
}

static char *make_crl(const struct identity *issuer, bool revoke)
{
  struct ml_error err;
  BIO *cert_bio = BIO_new_mem_buf(issuer->cert, -1), *key_bio = BIO_new_mem_buf(issuer->key, -1);
  X509 *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
  EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
  BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
  char *serial = BN_bn2hex(number);
  const char *serials[] = {serial};
  int64_t now = (int64_t)time(NULL);
  X509_CRL *crl = NULL;
  struct ml_crl_plan plan = {.issuer = cert,
                             .issuer_key = key,
                             .last_update = now - 60,
                             .next_update = now + 3600,
                             .number = 1,
                             .serials = serials,
                             .serial_count = revoke};
  if (ml_crl_make(&crl, &plan, &err) != 0) fail_msg("%s", err.message);
  BIO *bio = BIO_new(BIO_s_mem());
  assert_int_equal(PEM_write_bio_X509_CRL(bio, crl), 1);
  X509_CRL_free(crl);
  OPENSSL_free(serial);
  BN_free(number);
  EVP_PKEY_free(key);
  X509_free(cert);
  BIO_free(cert_bio);
  BIO_free(key_bio);
  return bio_text(bio);
}

static void check_crl(const char *crl_text, const char *code)
{
  struct one ca, crl;
  struct ml_tls_context_options options = {
      .own_trust = true, .ca = list(&ca, alpha.cert), .crl = list(&crl, crl_text)};
  struct ml_tls_context *client = accept(&options), *server = make_context(&alpha, NULL, 0);
  struct pair pair = {
      .client = make_engine(client, &(struct ml_tls_options){.reject_unauthorized = true}),
      .server = make_engine(server, &(struct ml_tls_options){.server = true})};
  shake(&pair);
  if (code)
    assert_string_equal(ml_tls_error(pair.client)->code, code);
  else
    assert_int_equal(pair.client_result, ML_TLS_OK);
  free_pair(&pair);
  ml_tls_context_unref(client);
  ml_tls_context_unref(server);
}

static void test_revocation(void **state)
{
  (void)state;
  char *clean = make_crl(&alpha, false), *revoking = make_crl(&alpha, true),
       *foreign = make_crl(&beta, false);
  check_crl(clean, NULL);
  check_crl(revoking, "CERT_REVOKED");
  check_crl(foreign, "UNABLE_TO_GET_CRL");
  free(clean);
  free(revoking);
  free(foreign);
}

static void expect_ticket_keys(const struct ml_tls_context *context, const uint8_t *keys,
                               size_t len)
{
  size_t got;
  const uint8_t *have = ml_tls_context_ticket_keys(context, &got);
  assert_int_equal(got, len);
  assert_memory_equal(have, keys, len);
}

static void test_ticket_keys_are_kept_as_given(void **state)
{
  (void)state;
  uint8_t keys[2 * ML_TICKET_KEYS_SIZE];
  struct ml_error err;
  for (size_t i = 0; i < sizeof(keys); i++)
    keys[i] = (uint8_t)i;
  struct ml_tls_context_options options = {
      .own_trust = true, .ticket_keys = keys, .ticket_keys_len = sizeof(keys)};
  struct ml_tls_context *context = accept(&options);
  expect_ticket_keys(context, keys, sizeof(keys));
  const struct ml_ticket_ring *ring = ml_tls_context_tickets(context);
  assert_int_equal(ring->count, 2);
  assert_int_equal(ring->keys[0].name[0], 0);
  assert_int_equal(ring->keys[0].hmac[0], 16);
  assert_int_equal(ring->keys[0].aes[0], 32);
  assert_int_equal(ring->keys[1].name[0], 48);
  for (size_t len = 0; len <= sizeof(keys); len++) {
    bool whole = len == ML_TICKET_KEYS_SIZE || len == sizeof(keys);
    keys[0]++;
    assert_int_equal(ml_tls_context_set_ticket_keys(context, keys, len, &err), whole ? 0 : -1);
    if (whole)
      expect_ticket_keys(context, keys, len);
    else
      assert_string_equal(err.code, "ERR_INVALID_ARG_VALUE");
  }
  /* Random ones, for who has none. */
  assert_int_equal(ml_tls_context_set_ticket_keys(context, NULL, 0, &err), 0);
  size_t len;
  assert_memory_not_equal(ml_tls_context_ticket_keys(context, &len), keys, ML_TICKET_KEYS_SIZE);
  assert_int_equal(len, ML_TICKET_KEYS_SIZE);
  ml_tls_context_unref(context);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unreadable_pem),
      cmocka_unit_test(test_a_damaged_link_of_the_chain),
      cmocka_unit_test(test_a_key_of_another_certificate),
      cmocka_unit_test(test_passphrases),
      cmocka_unit_test(test_a_passphrase_nobody_asked_for_is_ignored),
      cmocka_unit_test(test_pfx),
      cmocka_unit_test(test_ciphers),
      cmocka_unit_test(test_groups_and_signature_algorithms),
      cmocka_unit_test(test_protocol_bounds),
      cmocka_unit_test(test_dh_parameters),
      cmocka_unit_test(test_session_id_contexts),
      cmocka_unit_test(test_trust),
      cmocka_unit_test(test_extra_trust_file),
      cmocka_unit_test(test_chosen_trust),
      cmocka_unit_test(test_revocation),
      cmocka_unit_test(test_ticket_keys_are_kept_as_given),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

/* OCSP responses in the handshake: what a server is asked and hands out, what a client notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keys.h"
#include "tls_pair.h"

#define RESPONSE "as good as any response"

static struct identity ec, rsa, above;
static X509 *ec_cert, *rsa_cert, *above_cert;

static const struct ml_tls_options asking_server = {.server = true, .asks = ML_ASKS(ML_ASK_STAPLE)};
static const struct ml_tls_options plain_server = {.server = true};
static const struct ml_tls_options asking_client = {
    .servername = "both.test", .request_staple = true, .want_sessions = true};

/* ---- Certificates and contexts ---- */

static X509 *make_cert(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
  struct ml_error err;
  X509 *cert;
  struct ml_name_attribute subject = {.type = "CN", .value = name, .len = strlen(name)};
  int64_t now = (int64_t)time(NULL);
  struct ml_cert_plan plan = {.key = key,
                              .issuer = issuer,
                              .issuer_key = issuer_key,
                              .not_before = now - 3600,
                              .not_after = now + 86400,
                              .version = 3,
                              .subject = &subject,
                              .subject_count = 1};
  assert_int_equal(ml_cert_make(&cert, &plan, &err), 0);
  return cert;
}

static struct identity as_text(X509 *cert, EVP_PKEY *key)
{
  BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());
  assert_int_equal(PEM_write_bio_X509(cert_bio, cert), 1);
  assert_int_equal(PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL), 1);
  return (struct identity){bio_text(cert_bio), bio_text(key_bio)};
}

static int set_up(void **state)
{
  (void)state;
  struct ml_error err;
  EVP_PKEY *keys[3];
  static const char *const kinds[] = {"ec:P-256", "ec:P-256", "rsa:2048"};
  for (size_t i = 0; i < 3; i++)
    if (ml_key_make(&keys[i], kinds[i], &err) != 0) return -1;
  above_cert = make_cert("authority", keys[0], NULL, NULL);
  ec_cert = make_cert("both.test", keys[1], above_cert, keys[0]);
  rsa_cert = make_cert("both.test", keys[2], above_cert, keys[0]);
  above = as_text(above_cert, keys[0]);
  ec = as_text(ec_cert, keys[1]);
  rsa = as_text(rsa_cert, keys[2]);
  for (size_t i = 0; i < 3; i++)
    EVP_PKEY_free(keys[i]);
  return 0;
}

static int tear_down(void **state)
{
  (void)state;
  free_identity(&above);
  free_identity(&ec);
  free_identity(&rsa);
  X509_free(above_cert);
  X509_free(ec_cert);
  X509_free(rsa_cert);
  return 0;
}

/* A server's context with both certificates, that of their authority trusted or not. */
static struct ml_tls_context *both(int version, bool trusting, const char *groups)
{
  struct ml_error err;
  struct ml_tls_context *context;
  struct ml_tls_blob certs[] = {{ec.cert, strlen(ec.cert), NULL},
                                {rsa.cert, strlen(rsa.cert), NULL}};
  struct ml_tls_blob keys[] = {{ec.key, strlen(ec.key), NULL}, {rsa.key, strlen(rsa.key), NULL}};
  struct ml_tls_blob ca = {above.cert, strlen(above.cert), NULL};
  struct ml_tls_context_options options = {.own_trust = true,
                                           .min_version = version,
                                           .max_version = version,
                                           .groups = groups,
                                           .cert = {certs, 2},
                                           .key = {keys, 2},
                                           .ca = {&ca, trusting}};
  if (ml_tls_context_new(&context, &options, &err) != 0) fail_msg("%s", err.message);
  return context;
}

static struct ml_tls_context *client_with(int version, const char *sigalgs, const char *groups)
{
  struct ml_error err;
  struct ml_tls_context *context;
  struct ml_tls_context_options options = {.own_trust = true,
                                           .min_version = version,
                                           .max_version = version,
                                           .sigalgs = sigalgs,
                                           .groups = groups};
  if (ml_tls_context_new(&context, &options, &err) != 0) fail_msg("%s", err.message);
  return context;
}

/* Takes the contexts. */
static struct pair join(struct ml_tls_context *server, const struct ml_tls_options *server_options,
                        struct ml_tls_context *client, const struct ml_tls_options *client_options)
{
  struct pair pair = {.server = make_engine(server, server_options),
                      .client = make_engine(client, client_options)};
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
  return pair;
}

static struct pair simple(int version, const struct ml_tls_options *server_options,
                          const struct ml_tls_options *client_options)
{
  return join(both(version, true, NULL), server_options, client_with(version, NULL, NULL),
              client_options);
}

/* ---- What is expected ---- */

static struct ml_tls_question expect_asked(struct pair *pair)
{
  shake(pair);
  assert_int_equal(pair->server_result, ML_TLS_ASK);
  assert_int_equal(ml_tls_state(pair->server), ML_TLS_STAPLE_ASKED);
  struct ml_tls_question question = ml_tls_question(pair->server);
  assert_int_equal(question.ask, ML_ASK_STAPLE);
  return question;
}

static void answer(struct pair *pair, const char *response)
{
  struct ml_tls_question question = expect_asked(pair);
  assert_int_equal(ml_tls_answer_data(pair->server, question.token, (const uint8_t *)response,
                                      response ? strlen(response) : 0),
                   0);
  pair->server_result = ml_tls_handshake(pair->server);
  shake(pair);
}

/* The client's one note of a staple; NULL: one that says that there was none. */
static void expect_staple(struct pair *pair, const char *response)
{
  int found = 0;
  struct ml_tls_note *note;
  while ((note = ml_tls_next_note(pair->client))) {
    if (note->kind == ML_NOTE_STAPLE) {
      found++;
      assert_int_equal(note->line_len, response ? strlen(response) : 0);
      if (response) assert_memory_equal(note->line, response, note->line_len);
    }
    ml_tls_note_free(note);
  }
  assert_int_equal(found, 1);
}

static void expect_no_note(struct pair *pair)
{
  struct ml_tls_note *note;
  while ((note = ml_tls_next_note(pair->client))) {
    assert_int_not_equal(note->kind, ML_NOTE_STAPLE);
    ml_tls_note_free(note);
  }
}

/* ---- Tests ---- */

static void check_answered(int version)
{
  struct pair pair = simple(version, &asking_server, &asking_client);
  struct ml_tls_question question = expect_asked(&pair);
  X509 *issuer = ml_tls_served_issuer(pair.server);
  assert_non_null(issuer);
  assert_int_equal(X509_cmp(issuer, above_cert), 0);
  assert_int_equal(ml_tls_answer_identity(pair.server, question.token, true), -1);
  assert_int_equal(ml_tls_answer_data(pair.server, question.token + 1, (const uint8_t *)"x", 1),
                   -1);
  answer(&pair, RESPONSE);
  assert_int_equal(ml_tls_answer_data(pair.server, question.token, (const uint8_t *)"x", 1), -1);
  expect_both_open(&pair);
  expect_staple(&pair, RESPONSE);
  assert_null(ml_tls_served_certificate(pair.server));
  free_pair(&pair);
}

static void an_answer_is_stapled(void **state)
{
  (void)state;
  for_each_version(check_answered);
}

static void check_none(int version)
{
  struct pair pair = simple(version, &asking_server, &asking_client);
  answer(&pair, NULL);
  expect_both_open(&pair);
  expect_staple(&pair, NULL);
  free_pair(&pair);
}

static void no_answer_staples_nothing(void **state)
{
  (void)state;
  for_each_version(check_none);
}

static void check_refusal(int version)
{
  struct ml_error reason;
  struct pair pair = simple(version, &asking_server, &asking_client);
  struct ml_tls_question question = expect_asked(&pair);
  ml_error_misuse(&reason, "ERR_TEST", "the responder is on holiday");
  assert_int_equal(
      ml_tls_answer_failure(pair.server, question.token, SSL_AD_INTERNAL_ERROR, &reason), 0);
  pair.server_result = ml_tls_handshake(pair.server);
  shake(&pair);
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  assert_string_equal(ml_tls_error(pair.server)->code, "ERR_TEST");
  assert_int_equal(ml_tls_error(pair.client)->alert, SSL_AD_INTERNAL_ERROR);
  expect_no_note(&pair);
  free_pair(&pair);
}

static void a_refusal_is_an_alert(void **state)
{
  (void)state;
  for_each_version(check_refusal);
}

static void check_nobody(int version)
{
  struct ml_tls_options indifferent = asking_client;
  indifferent.request_staple = false;
  struct pair pair = simple(version, &asking_server, &indifferent);
  shake(&pair);
  expect_both_open(&pair);
  expect_no_note(&pair);
  free_pair(&pair);
  pair = simple(version, &plain_server, &asking_client);
  shake(&pair);
  expect_both_open(&pair);
  expect_staple(&pair, NULL);
  free_pair(&pair);
}

static void both_have_to_want_it(void **state)
{
  (void)state;
  for_each_version(check_nobody);
}

static void expect_served(int version, const char *sigalgs, const X509 *cert)
{
  struct pair pair = join(both(version, true, NULL), &asking_server,
                          client_with(version, sigalgs, NULL), &asking_client);
  (void)expect_asked(&pair);
  assert_int_equal(X509_cmp(ml_tls_served_certificate(pair.server), cert), 0);
  answer(&pair, RESPONSE);
  expect_both_open(&pair);
  expect_staple(&pair, RESPONSE);
  assert_int_equal(X509_cmp(ml_tls_peer_certificate(pair.client), cert), 0);
  free_pair(&pair);
}

static void the_certificate_asked_about_is_the_one_that_is_shown(void **state)
{
  (void)state;
  expect_served(TLS1_3_VERSION, "ECDSA+SHA256", ec_cert);
  expect_served(TLS1_3_VERSION, "rsa_pss_rsae_sha256", rsa_cert);
  expect_served(TLS1_3_VERSION, "rsa_pss_rsae_sha256:ECDSA+SHA256", rsa_cert);
  expect_served(TLS1_2_VERSION, "ECDSA+SHA256", ec_cert);
  expect_served(TLS1_2_VERSION, "RSA+SHA256", rsa_cert);
}

static void a_second_hello_asks_nothing(void **state)
{
  (void)state;
  struct pair pair =
      join(both(TLS1_3_VERSION, true, "X25519"), &asking_server,
           client_with(TLS1_3_VERSION, "rsa_pss_rsae_sha256", "P-521:X25519"), &asking_client);
  answer(&pair, RESPONSE);
  expect_both_open(&pair);
  expect_staple(&pair, RESPONSE);
  assert_int_equal(X509_cmp(ml_tls_peer_certificate(pair.client), rsa_cert), 0);
  free_pair(&pair);
}

static void a_hello_of_several_records_is_understood(void **state)
{
  (void)state;
  static uint8_t alpn[40000];
  for (size_t i = 0; i < sizeof(alpn); i += 100)
    alpn[i] = 99;
  struct ml_tls_options client = asking_client;
  client.alpn = alpn;
  client.alpn_len = sizeof(alpn);
  struct pair pair = simple(TLS1_3_VERSION, &asking_server, &client);
  answer(&pair, RESPONSE);
  expect_both_open(&pair);
  expect_staple(&pair, RESPONSE);
  free_pair(&pair);
}

static void an_unknown_issuer_is_not_made_up(void **state)
{
  (void)state;
  struct pair pair = join(both(TLS1_3_VERSION, false, NULL), &asking_server,
                          client_with(TLS1_3_VERSION, NULL, NULL), &asking_client);
  (void)expect_asked(&pair);
  assert_non_null(ml_tls_served_certificate(pair.server));
  assert_null(ml_tls_served_issuer(pair.server));
  free_pair(&pair);
}

static void a_self_signed_certificate_has_no_issuer(void **state)
{
  (void)state;
  struct pair pair = join(make_context(&above, &above, TLS1_3_VERSION), &asking_server,
                          client_with(TLS1_3_VERSION, NULL, NULL), &asking_client);
  (void)expect_asked(&pair);
  assert_int_equal(X509_cmp(ml_tls_served_certificate(pair.server), above_cert), 0);
  assert_null(ml_tls_served_issuer(pair.server));
  free_pair(&pair);
}

static void check_resumption(int version)
{
  struct ml_tls_context *server = both(version, true, NULL);
  struct ml_tls_context *client = client_with(version, NULL, NULL);
  struct ml_tls_options again = asking_client;
  uint8_t *der = NULL;
  struct pair pair = {.server = make_engine(server, &asking_server),
                      .client = make_engine(client, &asking_client)};
  answer(&pair, RESPONSE);
  expect_both_open(&pair);
  SSL_SESSION *session = last_session(&pair, NULL);
  assert_non_null(session);
  free_pair(&pair);
  again.session_len = (size_t)i2d_SSL_SESSION(session, &der);
  again.session = der;
  pair = join(server, &asking_server, client, &again);
  shake(&pair);
  expect_both_open(&pair);
  assert_true(SSL_session_reused(ml_tls_ssl(pair.client)));
  expect_no_note(&pair);
  free_pair(&pair);
  SSL_SESSION_free(session);
  OPENSSL_free(der);
}

static void a_resumed_handshake_asks_nothing_and_notes_nothing(void **state)
{
  (void)state;
  for_each_version(check_resumption);
}

static void an_engine_may_go_while_it_is_asked(void **state)
{
  (void)state;
  struct pair pair = simple(TLS1_3_VERSION, &asking_server, &asking_client);
  (void)expect_asked(&pair);
  free_pair(&pair);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_answer_is_stapled),
      cmocka_unit_test(no_answer_staples_nothing),
      cmocka_unit_test(a_refusal_is_an_alert),
      cmocka_unit_test(both_have_to_want_it),
      cmocka_unit_test(the_certificate_asked_about_is_the_one_that_is_shown),
      cmocka_unit_test(a_second_hello_asks_nothing),
      cmocka_unit_test(a_hello_of_several_records_is_understood),
      cmocka_unit_test(an_unknown_issuer_is_not_made_up),
      cmocka_unit_test(a_self_signed_certificate_has_no_issuer),
      cmocka_unit_test(a_resumed_handshake_asks_nothing_and_notes_nothing),
      cmocka_unit_test(an_engine_may_go_while_it_is_asked),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

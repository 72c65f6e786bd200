/* The TLS engine: two of them and two buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tls_pair.h"

static const struct ml_tls_options plain_server = {.server = true, .reject_unauthorized = true};
static const struct ml_tls_options plain_client = {
    .servername = "alpha.test", .reject_unauthorized = true, .want_sessions = true};

static struct pair make_pair(struct ml_tls_context *server,
                             const struct ml_tls_options *server_options,
                             struct ml_tls_context *client,
                             const struct ml_tls_options *client_options)
{
  return (struct pair){.server = make_engine(server, server_options),
                       .client = make_engine(client, client_options)};
}

/* A pair over fresh contexts: the server is alpha, the client trusts it. */
static struct pair simple_pair(int version, const struct ml_tls_options *server_options,
                               const struct ml_tls_options *client_options)
{
  struct ml_tls_context *server = make_context(&alpha, NULL, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct pair pair = make_pair(server, server_options, client, client_options);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
  return pair;
}

static void expect_data(struct ml_tls *from, struct ml_tls *to, const char *text)
{
  uint8_t buffer[256];
  size_t n = 0;
  enum ml_tls_result ignored;
  assert_int_equal(ml_tls_write(from, (const uint8_t *)text, strlen(text), &n), ML_TLS_OK);
  struct ml_buf *out = ml_tls_output(from);
  assert_int_equal(ml_tls_input(to, ml_buf_data(out), ml_buf_size(out)), 0);
  assert_int_equal(ml_tls_read(to, buffer, sizeof(buffer), &n), ML_TLS_OK);
  assert_int_equal(ml_tls_input_end(to), 0);
  ml_buf_free(out);
  assert_int_equal(n, strlen(text));
  assert_memory_equal(buffer, text, n);
  (void)ignored;
}

static void expect_open(struct pair *pair)
{
  expect_both_open(pair);
  assert_true(ml_tls_established(pair->client));
  assert_true(ml_tls_established(pair->server));
}

static void check_data(int version)
{
  struct pair pair = simple_pair(version, &plain_server, &plain_client);
  shake(&pair);
  expect_open(&pair);
  assert_int_equal(SSL_version(ml_tls_ssl(pair.client)), version);
  assert_string_equal(ml_tls_servername(pair.server), "alpha.test");
  expect_data(pair.client, pair.server, "from the client");
  expect_data(pair.server, pair.client, "from the server");
  free_pair(&pair);
}

/* Whether the SSL has the secret key of the exchange, which is one of X25519. */
static bool has_secret(struct ml_tls *tls)
{
  EVP_PKEY *key;
  uint8_t secret[32];
  size_t len = sizeof(secret);
  if (SSL_get_tmp_key(ml_tls_ssl(tls), &key) != 1) return false;
  bool found = EVP_PKEY_get_raw_private_key(key, secret, &len) == 1;
  EVP_PKEY_free(key);
  return found;
}

static void check_exchange_is_forgotten(int version)
{
  EVP_PKEY *shown;
  struct pair pair = simple_pair(version, &plain_server, &plain_client);
  shake(&pair);
  expect_open(&pair);
  assert_false(has_secret(pair.server));
  assert_false(has_secret(pair.client));
  assert_int_equal(SSL_get_peer_tmp_key(ml_tls_ssl(pair.client), &shown), 1);
  assert_int_equal(EVP_PKEY_get_bits(shown), 253);
  EVP_PKEY_free(shown);
  expect_data(pair.client, pair.server, "still");
  free_pair(&pair);
}

static void test_data_both_ways(void **state)
{
  (void)state;
  for_each_version(check_data);
}

static void test_the_secret_of_the_exchange_does_not_outlive_it(void **state)
{
  (void)state;
  for_each_version(check_exchange_is_forgotten);
}

static void check_bytewise(int version)
{
  struct pair pair = simple_pair(version, &plain_server, &plain_client);
  pair.chunk = 1;
  shake(&pair);
  expect_open(&pair);
  free_pair(&pair);
}

static void test_one_byte_at_a_time(void **state)
{
  (void)state;
  for_each_version(check_bytewise);
}

static void check_close(int version)
{
  uint8_t buffer[16];
  size_t n;
  struct pair pair = simple_pair(version, &plain_server, &plain_client);
  shake(&pair);
  ml_tls_close(pair.client);
  ml_tls_close(pair.client);
  assert_int_equal(ml_tls_state(pair.client), ML_TLS_SELF_CLOSED);
  struct ml_buf *out = ml_tls_output(pair.client);
  assert_int_equal(ml_tls_input(pair.server, ml_buf_data(out), ml_buf_size(out)), 0);
  assert_int_equal(ml_tls_read(pair.server, buffer, sizeof(buffer), &n), ML_TLS_END);
  assert_int_equal(ml_tls_input_end(pair.server), 0);
  assert_int_equal(ml_tls_state(pair.server), ML_TLS_PEER_CLOSED);
  expect_data(pair.server, pair.client, "half-closed");
  ml_tls_close(pair.server);
  assert_int_equal(ml_tls_state(pair.server), ML_TLS_CLOSED);
  free_pair(&pair);
}

static void test_close_notify_leaves_the_other_direction_open(void **state)
{
  (void)state;
  for_each_version(check_close);
}

static void check_context(int version)
{
  struct ml_tls_options server = plain_server, client = plain_client;
  server.asks = ML_ASKS(ML_ASK_CONTEXT);
  client.servername = "beta.test";
  struct ml_tls_context *first = make_context(&alpha, NULL, version);
  struct ml_tls_context *second = make_context(&beta, NULL, version);
  struct ml_tls_context *trusting = make_context(NULL, &beta, version);
  struct pair pair = make_pair(first, &server, trusting, &client);
  shake(&pair);
  assert_int_equal(pair.server_result, ML_TLS_ASK);
  assert_int_equal(ml_tls_state(pair.server), ML_TLS_HELLO_ASKED);
  struct ml_tls_question question = ml_tls_question(pair.server);
  assert_int_equal(question.ask, ML_ASK_CONTEXT);
  assert_string_equal(ml_tls_servername(pair.server), "beta.test");
  assert_int_equal(ml_tls_answer_context(pair.server, question.token + 1, second), -1);
  assert_int_equal(ml_tls_answer_identity(pair.server, question.token, true), -1);
  assert_int_equal(ml_tls_answer_context(pair.server, question.token, second), 0);
  assert_int_equal(ml_tls_answer_context(pair.server, question.token, first), -1);
  pair.server_result = ml_tls_handshake(pair.server);
  shake(&pair);
  expect_open(&pair);
  free_pair(&pair);
  ml_tls_context_unref(first);
  ml_tls_context_unref(second);
  ml_tls_context_unref(trusting);
}

static void test_context_chosen_later(void **state)
{
  (void)state;
  for_each_version(check_context);
}

static void check_refusal(int version)
{
  struct ml_error reason;
  struct ml_tls_options server = plain_server;
  server.asks = ML_ASKS(ML_ASK_CONTEXT);
  struct pair pair = simple_pair(version, &server, &plain_client);
  shake(&pair);
  ml_error_misuse(&reason, "ERR_TEST", "no such name");
  struct ml_tls_question question = ml_tls_question(pair.server);
  assert_int_equal(
      ml_tls_answer_failure(pair.server, question.token, SSL_AD_UNRECOGNIZED_NAME, &reason), 0);
  pair.server_result = ml_tls_handshake(pair.server);
  shake(&pair);
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  assert_string_equal(ml_tls_error(pair.server)->code, "ERR_TEST");
  assert_int_equal(pair.client_result, ML_TLS_ERROR);
  assert_int_equal(ml_tls_error(pair.client)->alert, SSL_AD_UNRECOGNIZED_NAME);
  assert_int_equal(ml_tls_error(pair.client)->alert_from, ML_ALERT_PEER);
  free_pair(&pair);
}

static void test_refusal_at_the_hello_is_an_alert(void **state)
{
  (void)state;
  for_each_version(check_refusal);
}

static void check_identity(int version, bool acceptable)
{
  struct ml_tls_options client = plain_client;
  client.asks = ML_ASKS(ML_ASK_IDENTITY);
  struct pair pair = simple_pair(version, &plain_server, &client);
  shake(&pair);
  assert_int_equal(pair.client_result, ML_TLS_ASK);
  assert_int_equal(ml_tls_state(pair.client), ML_TLS_IDENTITY_ASKED);
  assert_non_null(ml_tls_peer_certificate(pair.client));
  assert_int_equal(pair.server_result, ML_TLS_WANT_INPUT);
  struct ml_tls_question question = ml_tls_question(pair.client);
  assert_int_equal(ml_tls_answer_identity(pair.client, question.token, acceptable), 0);
  pair.client_result = ml_tls_handshake(pair.client);
  shake(&pair);
  if (acceptable) {
    bool absent;
    expect_open(&pair);
    assert_int_equal(ml_tls_verify_result(pair.client, &absent), X509_V_OK);
    assert_non_null(SSL_get0_verified_chain(ml_tls_ssl(pair.client)));
  } else {
    assert_string_equal(ml_tls_error(pair.client)->code, "HOSTNAME_MISMATCH");
    assert_int_equal(pair.server_result, ML_TLS_ERROR);
    assert_int_equal(ml_tls_error(pair.server)->alert, SSL_AD_BAD_CERTIFICATE);
  }
  free_pair(&pair);
}

static void check_identity_both(int version)
{
  check_identity(version, true);
  check_identity(version, false);
}

static void test_identity_is_judged_inside_the_handshake(void **state)
{
  (void)state;
  for_each_version(check_identity_both);
}

static void check_untrusted(int version)
{
  struct ml_tls_context *server = make_context(&alpha, NULL, version);
  struct ml_tls_context *client = make_context(NULL, &beta, version);
  struct pair pair = make_pair(server, &plain_server, client, &plain_client);
  shake(&pair);
  assert_string_equal(ml_tls_error(pair.client)->code, "DEPTH_ZERO_SELF_SIGNED_CERT");
  assert_int_equal(ml_tls_error(pair.client)->origin, ML_ORIGIN_VERIFY);
  assert_int_equal(ml_tls_error(pair.server)->alert, SSL_AD_UNKNOWN_CA);
  assert_string_equal(ml_tls_error(pair.server)->code, "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA");
  free_pair(&pair);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void test_untrusted_server_is_told_unknown_ca(void **state)
{
  (void)state;
  for_each_version(check_untrusted);
}

static void check_tolerated(int version)
{
  bool absent;
  struct ml_tls_options client = plain_client;
  client.reject_unauthorized = false;
  client.asks = ML_ASKS(ML_ASK_IDENTITY);
  struct ml_tls_context *server_context = make_context(&alpha, NULL, version);
  struct ml_tls_context *client_context = make_context(NULL, &beta, version);
  struct pair pair = make_pair(server_context, &plain_server, client_context, &client);
  shake(&pair);
  expect_open(&pair);
  assert_int_equal(ml_tls_verify_result(pair.client, &absent),
                   X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
  free_pair(&pair);
  ml_tls_context_unref(server_context);
  ml_tls_context_unref(client_context);
}

static void test_without_rejecting_the_verdict_is_kept(void **state)
{
  (void)state;
  for_each_version(check_tolerated);
}

static void check_client_certificate(int version)
{
  struct ml_tls_options server = plain_server;
  server.request_cert = true;
  struct pair pair = simple_pair(version, &server, &plain_client);
  shake(&pair);
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  assert_string_equal(ml_tls_error(pair.server)->code, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
  free_pair(&pair);

  struct ml_tls_context *demanding = make_context(&alpha, &beta, version);
  struct ml_tls_context *client = make_context(&beta, &alpha, version);
  pair = make_pair(demanding, &server, client, &plain_client);
  shake(&pair);
  expect_open(&pair);
  bool absent;
  assert_int_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  assert_false(absent);
  free_pair(&pair);
  ml_tls_context_unref(demanding);
  ml_tls_context_unref(client);
}

static void test_client_certificate_is_demanded(void **state)
{
  (void)state;
  for_each_version(check_client_certificate);
}

static void check_alpn(int version)
{
  static const uint8_t both[] = "\x02h2\x08http/1.1", one[] = "\x08http/1.1",
                       other[] = "\x03"
                                 "foo";
  struct ml_tls_options server = plain_server, client = plain_client;
  const unsigned char *name;
  unsigned len;
  server.alpn = both;
  server.alpn_len = sizeof(both) - 1;
  client.alpn = one;
  client.alpn_len = sizeof(one) - 1;
  struct pair pair = simple_pair(version, &server, &client);
  shake(&pair);
  expect_open(&pair);
  SSL_get0_alpn_selected(ml_tls_ssl(pair.client), &name, &len);
  assert_int_equal(len, 8);
  assert_memory_equal(name, "http/1.1", len);
  free_pair(&pair);

  client.alpn = other;
  client.alpn_len = sizeof(other) - 1;
  pair = simple_pair(version, &server, &client);
  shake(&pair);
  assert_int_equal(ml_tls_error(pair.client)->alert, SSL_AD_NO_APPLICATION_PROTOCOL);
  free_pair(&pair);
}

static void test_alpn_agrees_or_alerts(void **state)
{
  (void)state;
  for_each_version(check_alpn);
}

static struct ml_tls_options with_session(SSL_SESSION *session, uint8_t **memory)
{
  struct ml_tls_options client = plain_client;
  int len = i2d_SSL_SESSION(session, memory);
  client.session = *memory;
  client.session_len = (size_t)len;
  return client;
}

static void check_resumption(int version)
{
  uint8_t *der = NULL;
  struct ml_tls_context *server = make_context(&alpha, NULL, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct pair pair = make_pair(server, &plain_server, client, &plain_client);
  shake(&pair);
  SSL_SESSION *session = last_session(&pair, NULL);
  assert_non_null(session);
  free_pair(&pair);
  struct ml_tls_options again = with_session(session, &der);

  pair = make_pair(server, &plain_server, client, &again);
  shake(&pair);
  expect_open(&pair);
  assert_true(SSL_session_reused(ml_tls_ssl(pair.client)));
  free_pair(&pair);

  /* The name is judged again, and nothing of ours has left when it is refused. */
  again.asks = ML_ASKS(ML_ASK_IDENTITY);
  pair = make_pair(server, &plain_server, client, &again);
  shake(&pair);
  assert_int_equal(pair.client_result, ML_TLS_ASK);
  assert_int_equal(ml_tls_answer_identity(pair.client, ml_tls_question(pair.client).token, false),
                   0);
  assert_int_equal(ml_tls_handshake(pair.client), ML_TLS_ERROR);
  assert_int_equal(ml_buf_size(ml_tls_output(pair.client)), 0);
  free_pair(&pair);

  /* A server with another client-certificate policy does not take it, though it has the same keys.
   */
  again.asks = 0;
  struct ml_tls_options demanding = plain_server;
  demanding.request_cert = true;
  demanding.reject_unauthorized = false;
  pair = make_pair(server, &demanding, client, &again);
  shake(&pair);
  expect_open(&pair);
  assert_false(SSL_session_reused(ml_tls_ssl(pair.client)));
  free_pair(&pair);

  OPENSSL_free(der);
  SSL_SESSION_free(session);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void test_tickets_resume_under_the_same_context_and_policy_only(void **state)
{
  (void)state;
  for_each_version(check_resumption);
}

static void test_garbage_is_one_error(void **state)
{
  (void)state;
  static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  struct pair pair = simple_pair(0, &plain_server, &plain_client);
  assert_int_equal(ml_tls_input(pair.server, (const uint8_t *)http, sizeof(http) - 1), 0);
  assert_int_equal(ml_tls_handshake(pair.server), ML_TLS_ERROR);
  assert_int_equal(ml_tls_input_end(pair.server), 0);
  assert_string_equal(ml_tls_error(pair.server)->code, "ERR_SSL_HTTP_REQUEST");
  assert_string_equal(ml_tls_error(pair.server)->library, "SSL routines");
  assert_string_equal(ml_tls_error(pair.server)->reason, "http request");
  assert_int_equal(ml_tls_handshake(pair.server), ML_TLS_ERROR);
  free_pair(&pair);
}

static void test_keylog_notes(void **state)
{
  (void)state;
  struct ml_tls_options server = plain_server;
  server.want_keylog = true;
  struct ml_tls_context *context = make_context(&alpha, NULL, TLS1_3_VERSION);
  struct ml_tls_context *client = make_context(NULL, &alpha, TLS1_3_VERSION);
  ml_tls_context_enable_keylog(context);
  struct pair pair = make_pair(context, &server, client, &plain_client);
  shake(&pair);
  struct ml_tls_note *note = ml_tls_next_note(pair.server);
  assert_non_null(note);
  assert_int_equal(note->kind, ML_NOTE_KEYLOG);
  assert_non_null(strchr(note->line, ' '));
  ml_tls_note_free(note);
  free_pair(&pair); /* with notes nobody fetched */
  ml_tls_context_unref(context);
  ml_tls_context_unref(client);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_data_both_ways),
      cmocka_unit_test(test_the_secret_of_the_exchange_does_not_outlive_it),
      cmocka_unit_test(test_one_byte_at_a_time),
      cmocka_unit_test(test_close_notify_leaves_the_other_direction_open),
      cmocka_unit_test(test_context_chosen_later),
      cmocka_unit_test(test_refusal_at_the_hello_is_an_alert),
      cmocka_unit_test(test_identity_is_judged_inside_the_handshake),
      cmocka_unit_test(test_untrusted_server_is_told_unknown_ca),
      cmocka_unit_test(test_without_rejecting_the_verdict_is_kept),
      cmocka_unit_test(test_client_certificate_is_demanded),
      cmocka_unit_test(test_alpn_agrees_or_alerts),
      cmocka_unit_test(test_tickets_resume_under_the_same_context_and_policy_only),
      cmocka_unit_test(test_garbage_is_one_error),
      cmocka_unit_test(test_keylog_notes),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

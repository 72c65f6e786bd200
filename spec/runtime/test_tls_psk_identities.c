/* What a ClientHello may offer beside the one key: more identities, and sessions. */
#include "psk_pair.h"

#include "hello_maker.h"

/* ---- Several identities ---- */

/* A ClientHello of ours with `count` identities "id-0", "id-1" …, whose binders are wrong. Such an
 * extension comes last (RFC 8446, 4.2.11). */
static void make_hello(struct made *hello, unsigned count)
{
  client_finder.key = NULL;
  struct ml_tls *client = make_engine(client_context, &client_options);
  assert_int_equal(ml_tls_handshake(client), ML_TLS_WANT_INPUT);
  struct ml_buf *out = ml_tls_output(client);
  hello->len = 0;
  put(hello, ml_buf_data(out), ml_buf_size(out));
  ml_tls_free(client);

  static const uint8_t binder[32];
  size_t before = hello->len;
  put_number(hello, 2, 41);
  put_number(hello, 2, 2 + count * 10 + 2 + count * 33);
  put_number(hello, 2, count * 10);
  for (unsigned i = 0; i < count; i++) {
    char name[] = {'i', 'd', '-', (char)('0' + i)};
    put_vector(hello, 2, name, sizeof(name));
    put_number(hello, 4, 0);
  }
  put_number(hello, 2, count * 33);
  for (unsigned i = 0; i < count; i++)
    put_vector(hello, 1, binder, sizeof(binder));
  lengthen_hello(hello->at, hello->len - before);
}

static struct ml_tls *feed_hello(const struct made *hello)
{
  struct ml_tls *server = make_engine(server_context, &server_options);
  assert_int_equal(ml_tls_input(server, hello->at, hello->len), 0);
  assert_int_equal(ml_tls_handshake(server), ML_TLS_ASK);
  assert_int_equal(ml_tls_input_end(server), 0);
  return server;
}

static void test_identities_are_asked_in_turn_until_one_is_known(void **state)
{
  (void)state;
  static struct made hello;
  set_version(TLS1_3_VERSION);
  make_hello(&hello, 3);
  struct ml_tls *server = feed_hello(&hello);
  for (int i = 0; i < 2; i++) {
    struct ml_tls_question question = ml_tls_question(server);
    assert_int_equal(question.subject_len, 4);
    assert_int_equal(question.subject[3], '0' + i);
    assert_int_equal(ml_tls_answer_data(server, question.token,
                                        (const uint8_t *)(i ? secret : NULL), i ? 16 : 0),
                     0);
    assert_int_equal(ml_tls_handshake(server), i ? ML_TLS_ERROR : ML_TLS_ASK);
  }
  assert_string_equal(ml_tls_error(server)->code, "ERR_SSL_BINDER_DOES_NOT_VERIFY");
  ml_tls_free(server);
}

static void test_a_long_list_of_identities_is_not_asked_to_its_end(void **state)
{
  (void)state;
  static struct made hello;
  int asked = 0;
  set_version(TLS1_3_VERSION);
  make_hello(&hello, 10);
  struct ml_tls *server = feed_hello(&hello);
  while (ml_tls_question(server).ask == ML_ASK_PSK) {
    asked++;
    assert_int_equal(ml_tls_answer_data(server, ml_tls_question(server).token, NULL, 0), 0);
    (void)ml_tls_handshake(server);
  }
  assert_int_equal(asked, 8);
  assert_int_equal(ml_tls_state(server), ML_TLS_NEGOTIATE); /* with its certificate */
  ml_tls_free(server);
}

/* ---- Sessions ---- */

/* Takes the session of an open connection, closes that and has clients offer it from then on. To
 * be freed. */
static uint8_t *keep_session(struct pair *pair)
{
  uint8_t *der = NULL;
  SSL_SESSION *session = last_session(pair, NULL);
  assert_non_null(session);
  client_options.session_len = (size_t)i2d_SSL_SESSION(session, &der);
  client_options.session = der;
  SSL_SESSION_free(session);
  free_pair(pair);
  return der;
}

/* A server that demands certificates takes the key instead, and its own session of such a
 * connection. The client's session has no certificate, either. */
static void check_resumed(void)
{
  bool absent;
  server_options.request_cert = true;
  assert_int_equal(
      SSL_CTX_set_ciphersuites(ml_tls_context_ssl(server_context), "TLS_CHACHA20_POLY1305_SHA256"),
      1);
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  bool tls13 = is_tls13(&pair);
  uint8_t *session = keep_session(&pair);

  client_finder.key = NULL; /* so that nothing else is offered */
  server_finder.calls = 0;
  pair = open_pair();
  shake(&pair);
  expect_both_open(&pair);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), 1);
  assert_int_equal(server_finder.calls, 0);
  assert_int_equal(ml_tls_question(pair.server).token, 0); /* the ticket is no identity */
  assert_int_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  assert_int_equal(ml_tls_verify_result(pair.client, &absent), X509_V_OK);
  assert_int_equal(is_tls13(&pair), tls13);
  free_pair(&pair);
  free(session);
}

static void test_sessions_of_keys_are_resumed(void **state)
{
  (void)state;
  each_version(check_resumed);
}

/* Beside a ticket of ours the key is asked for; the ticket, which comes first, is used: nobody
 * looks at the key. */
static void test_a_ticket_is_no_identity(void **state)
{
  (void)state;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  uint8_t *session = keep_session(&pair);

  pair = open_pair();
  shake_with(&pair, "another key");
  expect_by_key(&pair);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), 1);
  free_pair(&pair);

  /* Another server's: it may be an identity for all we know. */
  struct ml_tls_context *other = make_context(&alpha, NULL, TLS1_3_VERSION);
  pair = (struct pair){.server = make_engine(other, &server_options),
                       .client = make_engine(client_context, &client_options)};
  shake(&pair);
  assert_true(expect_asked(&pair, NULL).subject_len > 32);
  assert_int_equal(answer(&pair, NULL), 0);
  pair.server_result = ml_tls_handshake(pair.server);
  (void)expect_asked(&pair, "alice");
  assert_int_equal(answer(&pair, secret), 0);
  go_on(&pair);
  expect_by_key(&pair);
  free_pair(&pair);
  ml_tls_context_unref(other);
  free(session);
}

static void test_a_session_without_key_or_certificate_proves_nothing(void **state)
{
  (void)state;
  bool absent;
  set_version(TLS1_3_VERSION);
  server_options.psk = client_options.psk = NULL;
  struct pair pair = open_pair();
  shake(&pair);
  uint8_t *session = keep_session(&pair);

  pair = open_pair();
  shake(&pair);
  expect_both_open(&pair);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), 1);
  assert_int_not_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  free_pair(&pair);
  free(session);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_identities_are_asked_in_turn_until_one_is_known),
      cmocka_unit_test(test_a_long_list_of_identities_is_not_asked_to_its_end),
      cmocka_unit_test(test_sessions_of_keys_are_resumed),
      cmocka_unit_test(test_a_ticket_is_no_identity),
      cmocka_unit_test(test_a_session_without_key_or_certificate_proves_nothing),
  };
  return cmocka_run_group_tests(tests, make_identities, tear_down);
}

/* Pre-shared keys: which are known, and who is asked for them when. */
#include "psk_pair.h"

/* ---- A key that is known ---- */

static void check_known(void)
{
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_int_equal(client_finder.calls, 1);
  assert_int_equal(server_finder.calls, is_tls13(&pair) ? 0 : 1);
  free_pair(&pair);
}

static void test_a_known_key_is_enough(void **state)
{
  (void)state;
  each_version(check_known);
}

static void check_wrong(void)
{
  struct pair pair = open_pair();
  shake_with(&pair, "another key");
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  assert_int_equal(pair.client_result, ML_TLS_ERROR);
  expect_error(pair.server,
               is_tls13(&pair) ? "ERR_SSL_BINDER_DOES_NOT_VERIFY"
                               : "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
               ML_ALERT_LOCAL, is_tls13(&pair) ? SSL_AD_ILLEGAL_PARAMETER : SSL_AD_BAD_RECORD_MAC);
  free_pair(&pair);
}

static void test_a_wrong_key_is_not(void **state)
{
  (void)state;
  each_version(check_wrong);
}

static void test_an_unknown_identity_ends_tls_12(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  struct pair pair = open_pair();
  shake_with(&pair, NULL);
  assert_string_equal(server_finder.given, "alice");
  expect_error(pair.server, "ERR_SSL_PSK_IDENTITY_NOT_FOUND", ML_ALERT_LOCAL,
               SSL_AD_UNKNOWN_PSK_IDENTITY);
  expect_error(pair.client, "ERR_SSL_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY", ML_ALERT_PEER,
               SSL_AD_UNKNOWN_PSK_IDENTITY);
  free_pair(&pair);
}

static void test_an_unknown_identity_leaves_tls_13_with_certificates(void **state)
{
  (void)state;
  bool absent;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  shake_with(&pair, NULL);
  expect_both_open(&pair);
  assert_int_equal(ml_tls_verify_result(pair.client, &absent), X509_V_OK);
  assert_false(absent);
  assert_int_not_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  free_pair(&pair);

  without_certificate();
  pair = open_pair();
  shake_with(&pair, "");
  expect_error(pair.server, "ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM", ML_ALERT_LOCAL,
               SSL_AD_HANDSHAKE_FAILURE);
  assert_memory_equal(ml_tls_error(pair.server)->offered, "pre-shared keys 1 unknown; ", 26);
  free_pair(&pair);
}

static void test_a_key_is_for_suites_with_sha_256(void **state)
{
  (void)state;
  bool absent;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  assert_int_equal(SSL_set_ciphersuites(ml_tls_ssl(pair.server), "TLS_AES_256_GCM_SHA384"), 1);
  shake_with(&pair, secret);
  expect_both_open(&pair);
  (void)ml_tls_verify_result(pair.client, &absent);
  assert_false(absent);
  free_pair(&pair);

  pair = open_pair();
  assert_int_equal(SSL_set_ciphersuites(ml_tls_ssl(pair.server),
                                        "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"),
                   1);
  shake_with(&pair, secret);
  expect_by_key(&pair);
  free_pair(&pair);

  without_certificate();
  pair = open_pair();
  assert_int_equal(SSL_set_ciphersuites(ml_tls_ssl(pair.server), "TLS_AES_256_GCM_SHA384"), 1);
  shake_with(&pair, secret);
  assert_memory_equal(ml_tls_error(pair.server)->offered,
                      "pre-shared keys 1 for suites with SHA-256; ", 42);
  free_pair(&pair);
}

static void check_client_without(void)
{
  client_finder.key = NULL;
  struct pair pair = open_pair();
  shake(&pair);
  if (is_tls13(&pair))
    expect_both_open(&pair); /* by certificate */
  else
    expect_error(pair.client, "ERR_SSL_PSK_IDENTITY_NOT_FOUND", ML_ALERT_LOCAL,
                 SSL_AD_HANDSHAKE_FAILURE);
  assert_int_equal(server_finder.calls, 0);
  free_pair(&pair);
}

static void test_a_client_may_have_no_key_for_this_server(void **state)
{
  (void)state;
  each_version(check_client_without);
}

/* A text that fills `text`. */
static void fill(char *text, size_t size, char with)
{
  memset(text, with, size - 1);
  text[size - 1] = '\0';
}

static void check_long(void)
{
  char identity[ML_PSK_IDENTITY_MAX + 1], key[ML_PSK_KEY_MAX + 1];
  fill(identity, sizeof(identity), 'i');
  fill(key, sizeof(key), 'k');
  client_finder.identity = identity;
  client_finder.key = server_finder.key = key;
  struct pair pair = open_pair();
  shake(&pair);
  if (is_tls13(&pair)) {
    (void)expect_asked(&pair, identity);
    assert_int_equal(answer(&pair, key), 0);
    go_on(&pair);
  }
  expect_by_key(&pair);
  free_pair(&pair);
}

static void test_the_longest_that_there_may_be(void **state)
{
  (void)state;
  each_version(check_long);
}

static void test_a_longer_answer_ends_the_handshake(void **state)
{
  (void)state;
  char key[ML_PSK_KEY_MAX + 2];
  fill(key, sizeof(key), 'k');
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  shake(&pair);
  (void)expect_asked(&pair, "alice");
  assert_int_equal(answer(&pair, key), 0);
  go_on(&pair);
  expect_error(pair.server, "ERR_SSL_BAD_PSK", ML_ALERT_LOCAL, SSL_AD_INTERNAL_ERROR);
  free_pair(&pair);
}

/* ---- Who is asked, and when ---- */

static void test_the_hint_reaches_clients_of_tls_12(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  server_options.psk_hint = "which one?";
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_string_equal(client_finder.given, "which one?");
  free_pair(&pair);

  set_version(TLS1_3_VERSION);
  server_options.psk_hint = "which one?";
  pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_string_equal(client_finder.given, "-");
  free_pair(&pair);
}

static void test_the_hint_survives_another_context(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  server_options.psk_hint = "which one?";
  server_options.asks |= ML_ASKS(ML_ASK_CONTEXT);
  struct ml_tls_context *other = make_context(NULL, NULL, TLS1_2_VERSION);
  struct pair pair = open_pair();
  shake(&pair);
  assert_int_equal(ml_tls_question(pair.server).ask, ML_ASK_CONTEXT);
  assert_int_equal(ml_tls_answer_context(pair.server, ml_tls_question(pair.server).token, other),
                   0);
  go_on(&pair);
  expect_by_key(&pair);
  assert_string_equal(client_finder.given, "which one?");
  free_pair(&pair);
  ml_tls_context_unref(other);
}

static void test_a_hint_may_be_too_long(void **state)
{
  (void)state;
  char hint[513];
  struct ml_error err;
  struct ml_tls *tls;
  fill(hint, sizeof(hint), 'h');
  set_version(TLS1_2_VERSION);
  server_options.psk_hint = hint;
  assert_int_equal(ml_tls_new(&tls, server_context, &server_options, &err), -1);
  assert_string_equal(err.code, "ERR_TLS_PSK_SET_IDENTITY_HINT_FAILED");
}

static void test_both_versions_on_offer_ask_a_client_for_each(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  ml_tls_context_unref(client_context);
  client_context = make_context(NULL, &alpha, 0);
  server_options.psk_hint = "hint";
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_int_equal(client_finder.calls, 2);
  assert_string_equal(client_finder.given, "hint");
  free_pair(&pair);
}

static void test_a_retried_hello_asks_nobody_again(void **state)
{
  (void)state;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  assert_int_equal(SSL_set1_groups_list(ml_tls_ssl(pair.server), "P-384"), 1);
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_int_equal(client_finder.calls, 1);
  assert_int_equal(ml_tls_question(pair.server).token, 1);
  free_pair(&pair);
}

static void test_without_a_finder_nobody_is_asked(void **state)
{
  (void)state;
  set_version(TLS1_3_VERSION);
  server_options.psk = NULL;
  struct pair pair = open_pair();
  shake(&pair);
  expect_both_open(&pair);
  free_pair(&pair);
}

static void check_disowned(void)
{
  struct pair pair = open_pair();
  ml_tls_psk_disown(pair.client);
  shake(&pair);
  assert_int_equal(client_finder.calls, 0);
  assert_int_equal(pair.client_result, is_tls13(&pair) ? ML_TLS_OK : ML_TLS_ERROR);
  free_pair(&pair);
}

static void test_an_owner_who_has_gone_is_not_asked(void **state)
{
  (void)state;
  each_version(check_disowned);
}

/* ---- Judging ---- */

static void test_a_client_of_tls_12_may_judge_the_name_all_the_same(void **state)
{
  (void)state;
  for (int acceptable = 0; acceptable < 2; acceptable++) {
    set_version(TLS1_2_VERSION);
    client_options.asks = ML_ASKS(ML_ASK_IDENTITY);
    struct pair pair = open_pair();
    shake_with(&pair, secret);
    assert_int_equal(pair.client_result, ML_TLS_ASK);
    struct ml_tls_question question = ml_tls_question(pair.client);
    assert_int_equal(question.ask, ML_ASK_IDENTITY);
    assert_null(ml_tls_peer_certificate(pair.client));
    assert_int_equal(ml_tls_answer_identity(pair.client, question.token, acceptable), 0);
    assert_int_equal(ml_tls_handshake(pair.client), acceptable ? ML_TLS_OK : ML_TLS_ERROR);
    if (!acceptable) expect_error(pair.client, "HOSTNAME_MISMATCH", ML_ALERT_NONE, 0);
    free_pair(&pair);
  }
}

/* ---- Finders with ideas of their own ---- */

static void check_failing_client(void)
{
  client_finder.fails = true;
  struct pair pair = open_pair();
  shake(&pair);
  assert_int_equal(pair.client_result, ML_TLS_ERROR);
  expect_error(pair.client, "ERR_OWN", ML_ALERT_LOCAL, SSL_AD_HANDSHAKE_FAILURE);
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  free_pair(&pair);
}

static void test_a_finder_may_fail(void **state)
{
  (void)state;
  each_version(check_failing_client);
  set_version(TLS1_2_VERSION);
  server_finder.fails = true;
  struct pair pair = open_pair();
  shake(&pair);
  expect_error(pair.server, "ERR_OWN", ML_ALERT_LOCAL, SSL_AD_INTERNAL_ERROR);
  expect_error(pair.client, "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR", ML_ALERT_PEER,
               SSL_AD_INTERNAL_ERROR);
  free_pair(&pair);
}

static void test_what_comes_in_meanwhile_is_there_afterwards(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  struct pair pair = open_pair();
  carry(pair.server, pair.client, 0, &pair.client_result);
  carry(pair.client, pair.server, 0, &pair.server_result);
  carry(pair.server, pair.client, 0, &pair.client_result);
  uint8_t flight[1000];
  struct ml_buf *out = ml_tls_output(pair.client);
  size_t len = ml_buf_size(out),
         first = 5 + ((size_t)ml_buf_data(out)[3] << 8) + ml_buf_data(out)[4];
  memcpy(flight, ml_buf_data(out), len);
  ml_buf_consume(out, len);
  server_finder.engine = pair.server;
  server_finder.input = (struct ml_slice){flight + first, len - first};
  assert_int_equal(ml_tls_input(pair.server, flight, first), 0); /* the ClientKeyExchange */
  assert_int_equal(ml_tls_handshake(pair.server), ML_TLS_OK);
  assert_int_equal(ml_tls_input_end(pair.server), 0);
  assert_int_equal(ml_tls_input_kept(pair.server), 0);
  pair.server_result = ML_TLS_OK;
  shake(&pair);
  expect_by_key(&pair);
  free_pair(&pair);
}

static void check_driven_client(void)
{
  struct pair pair = open_pair();
  client_finder.engine = pair.client;
  shake_with(&pair, secret);
  expect_by_key(&pair);
  free_pair(&pair);
}

static void test_a_finder_may_drive_its_own_engine(void **state)
{
  (void)state;
  each_version(check_driven_client);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_known_key_is_enough),
      cmocka_unit_test(test_a_wrong_key_is_not),
      cmocka_unit_test(test_an_unknown_identity_ends_tls_12),
      cmocka_unit_test(test_an_unknown_identity_leaves_tls_13_with_certificates),
      cmocka_unit_test(test_a_key_is_for_suites_with_sha_256),
      cmocka_unit_test(test_a_client_may_have_no_key_for_this_server),
      cmocka_unit_test(test_the_longest_that_there_may_be),
      cmocka_unit_test(test_a_longer_answer_ends_the_handshake),
      cmocka_unit_test(test_the_hint_reaches_clients_of_tls_12),
      cmocka_unit_test(test_the_hint_survives_another_context),
      cmocka_unit_test(test_a_hint_may_be_too_long),
      cmocka_unit_test(test_both_versions_on_offer_ask_a_client_for_each),
      cmocka_unit_test(test_a_retried_hello_asks_nobody_again),
      cmocka_unit_test(test_without_a_finder_nobody_is_asked),
      cmocka_unit_test(test_an_owner_who_has_gone_is_not_asked),
      cmocka_unit_test(test_a_client_of_tls_12_may_judge_the_name_all_the_same),
      cmocka_unit_test(test_a_finder_may_fail),
      cmocka_unit_test(test_what_comes_in_meanwhile_is_there_afterwards),
      cmocka_unit_test(test_a_finder_may_drive_its_own_engine),
  };
  return cmocka_run_group_tests(tests, make_identities, tear_down);
}

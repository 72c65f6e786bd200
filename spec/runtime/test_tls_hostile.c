/* The engine against peers and sessions that mean no good. */
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
  struct pair pair = {.server = make_engine(server, server_options),
                      .client = make_engine(client, client_options)};
  shake(&pair);
  return pair;
}

/* Moves output of one engine into the other, which reads; returns what reading came to. */
static enum ml_tls_result pass(struct ml_tls *from, struct ml_tls *to)
{
  uint8_t buffer[256];
  size_t n;
  struct ml_buf *out = ml_tls_output(from);
  assert_int_equal(ml_tls_input(to, ml_buf_data(out), ml_buf_size(out)), 0);
  enum ml_tls_result result = ml_tls_read(to, buffer, sizeof(buffer), &n);
  assert_int_equal(ml_tls_input_end(to), 0);
  ml_buf_free(out);
  return result;
}

/* A context with both a certificate and trust, and what else the case changes. */
struct setting {
  const struct identity *own, *trusted;
  const uint8_t *ticket_keys, *id;
  size_t id_len;
};

static struct ml_tls_context *build(const struct setting *setting, int version)
{
  struct ml_error err;
  struct ml_tls_context *context;
  struct ml_tls_blob cert = {setting->own->cert, strlen(setting->own->cert), NULL},
                     key = {setting->own->key, strlen(setting->own->key), NULL},
                     ca = {NULL, 0, NULL};
  struct ml_tls_context_options options = {.own_trust = true,
                                           .cert = {&cert, 1},
                                           .key = {&key, 1},
                                           .min_version = version,
                                           .max_version = version,
                                           .ticket_keys = setting->ticket_keys,
                                           .ticket_keys_len = ML_TICKET_KEYS_SIZE,
                                           .session_id_context = setting->id,
                                           .session_id_context_len = setting->id_len};
  if (setting->trusted) {
    ca = (struct ml_tls_blob){setting->trusted->cert, strlen(setting->trusted->cert), NULL};
    options.ca = (struct ml_tls_blobs){&ca, 1};
  }
  if (ml_tls_context_new(&context, &options, &err) != 0) fail_msg("%s", err.message);
  return context;
}

static const uint8_t shared_keys[ML_TICKET_KEYS_SIZE] = {1, 2, 3};

/* An open connection's session as a client's options, in DER. */
struct session {
  uint8_t *der;
  size_t len;
  uint8_t *ticket; /* inside der */
  size_t ticket_len;
};

static struct session take_session(struct pair *pair)
{
  struct session result = {0};
  const unsigned char *ticket;
  assert_int_equal(pair->client_result, ML_TLS_OK);
  SSL_SESSION *session = last_session(pair, NULL);
  assert_non_null(session);
  result.len = (size_t)i2d_SSL_SESSION(session, &result.der);
  SSL_SESSION_get0_ticket(session, &ticket, &result.ticket_len);
  result.ticket = memmem(result.der, result.len, ticket, result.ticket_len);
  assert_non_null(result.ticket);
  SSL_SESSION_free(session);
  return result;
}

static struct ml_tls_options resume(const struct session *session, struct ml_tls_options options)
{
  options.session = session->der;
  options.session_len = session->len;
  return options;
}

static void expect_full(struct pair *pair)
{
  assert_int_equal(pair->client_result, ML_TLS_OK);
  assert_int_equal(pair->server_result, ML_TLS_OK);
  assert_false(SSL_session_reused(ml_tls_ssl(pair->server)));
  assert_false(SSL_session_reused(ml_tls_ssl(pair->client)));
  free_pair(pair);
}

static void check_forged_ticket(int version)
{
  struct setting setting = {.own = &alpha};
  struct ml_tls_context *server = build(&setting, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct pair pair = make_pair(server, &plain_server, client, &plain_client);
  struct session session = take_session(&pair);
  free_pair(&pair);
  struct ml_tls_options again = resume(&session, plain_client);
  const size_t places[] = {0, 17, session.ticket_len / 2, session.ticket_len - 1};
  for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
    session.ticket[places[i]] ^= 1; /* key name, IV, ciphertext, MAC */
    pair = make_pair(server, &plain_server, client, &again);
    expect_full(&pair);
    session.ticket[places[i]] ^= 1;
  }
  pair = make_pair(server, &plain_server, client, &again);
  assert_true(SSL_session_reused(ml_tls_ssl(pair.server))); /* unharmed it is good */
  free_pair(&pair);
  OPENSSL_free(session.der);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void test_forged_tickets_lead_to_a_full_handshake(void **state)
{
  (void)state;
  for_each_version(check_forged_ticket);
}

/* Two servers with the same ticket keys: sessions cross only where everything that matters agrees.
 */
static void check_crossing(int version, const struct setting *from, const struct setting *to,
                           bool crosses)
{
  struct ml_tls_context *first = build(from, version), *second = build(to, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct pair pair = make_pair(first, &plain_server, client, &plain_client);
  struct session session = take_session(&pair);
  free_pair(&pair);
  struct ml_tls_options again = resume(&session, plain_client);
  pair = make_pair(second, &plain_server, client, &again);
  assert_int_equal(pair.server_result, ML_TLS_OK);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), crosses);
  free_pair(&pair);

  /* The same through a choice by name, where one server's keys serve all its contexts. */
  struct ml_tls_options asking = plain_server;
  asking.asks = ML_ASKS(ML_ASK_CONTEXT);
  pair = make_pair(first, &asking, client, &again);
  assert_int_equal(ml_tls_answer_context(pair.server, ml_tls_question(pair.server).token, second),
                   0);
  pair.server_result = ml_tls_handshake(pair.server);
  shake(&pair);
  assert_int_equal(pair.server_result, ML_TLS_OK);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), crosses);
  free_pair(&pair);
  OPENSSL_free(session.der);
  ml_tls_context_unref(first);
  ml_tls_context_unref(second);
  ml_tls_context_unref(client);
}

static void check_crossings(int version)
{
  struct identity namesake = make_identity("beta.test"); /* beta's name, another key */
  struct setting plain = {.own = &alpha, .ticket_keys = shared_keys};
  struct setting trusting = plain, trusting_namesake = plain, named = plain;
  trusting.trusted = &beta;
  trusting_namesake.trusted = &namesake;
  named.id = (const uint8_t *)"app";
  named.id_len = 3;
  check_crossing(version, &plain, &plain, true);
  check_crossing(version, &plain, &trusting, false);
  check_crossing(version, &trusting, &plain, false);
  check_crossing(version, &trusting, &trusting_namesake, false);
  check_crossing(version, &plain, &named, false);
  check_crossing(version, &named, &named, true);
  free_identity(&namesake);
}

static void test_sessions_do_not_cross_contexts(void **state)
{
  (void)state;
  for_each_version(check_crossings);
}

/* A client's certificate that was only tolerated does not pass as verified when resumed, not even
 * where the script gave both servers the same session id context. */
static void check_tolerated_client(int version)
{
  struct setting setting = {.own = &alpha,
                            .trusted = &alpha, /* not beta, the client's */
                            .ticket_keys = shared_keys,
                            .id = (const uint8_t *)"app",
                            .id_len = 3};
  struct ml_tls_context *server = build(&setting, version);
  struct ml_tls_context *client = make_context(&beta, &alpha, version);
  struct ml_tls_options tolerant = plain_server, strict = plain_server;
  bool absent;
  tolerant.request_cert = strict.request_cert = true;
  tolerant.reject_unauthorized = false;
  struct pair pair = make_pair(server, &tolerant, client, &plain_client);
  assert_int_not_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  struct session session = take_session(&pair);
  free_pair(&pair);

  struct ml_tls_options again = resume(&session, plain_client);
  pair = make_pair(server, &tolerant, client, &again);
  assert_true(SSL_session_reused(ml_tls_ssl(pair.server)));
  assert_int_not_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  assert_false(absent);
  free_pair(&pair);
  pair = make_pair(server, &strict, client, &again);
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  assert_int_equal(ml_tls_error(pair.server)->origin, ML_ORIGIN_VERIFY);
  free_pair(&pair);
  OPENSSL_free(session.der);

  /* Nor does a session without any certificate. */
  pair = make_pair(server, &plain_server, client, &plain_client);
  session = take_session(&pair);
  free_pair(&pair);
  again = resume(&session, plain_client);
  pair = make_pair(server, &strict, client, &again);
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  free_pair(&pair);
  OPENSSL_free(session.der);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void test_resuming_does_not_launder_a_client(void **state)
{
  (void)state;
  for_each_version(check_tolerated_client);
}

static void check_unverified_server(int version)
{
  struct setting setting = {.own = &alpha};
  struct ml_tls_context *server = build(&setting, version);
  struct ml_tls_context *client = make_context(NULL, &beta, version);
  struct ml_tls_options careless = plain_client;
  bool absent;
  careless.reject_unauthorized = false;
  struct pair pair = make_pair(server, &plain_server, client, &careless);
  struct session session = take_session(&pair);
  free_pair(&pair);

  struct ml_tls_options again = resume(&session, careless);
  pair = make_pair(server, &plain_server, client, &again);
  assert_true(SSL_session_reused(ml_tls_ssl(pair.client)));
  assert_int_equal(ml_tls_verify_result(pair.client, &absent),
                   X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
  free_pair(&pair);

  again.reject_unauthorized = true;
  pair = make_pair(server, &plain_server, client, &again);
  assert_int_equal(pair.client_result, ML_TLS_ERROR);
  assert_string_equal(ml_tls_error(pair.client)->code, "DEPTH_ZERO_SELF_SIGNED_CERT");
  assert_int_equal(pair.server_result, ML_TLS_WANT_INPUT); /* our Finished has not left */
  free_pair(&pair);
  OPENSSL_free(session.der);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void test_resuming_does_not_launder_a_server(void **state)
{
  (void)state;
  for_each_version(check_unverified_server);
}

static void check_bad_session(int version)
{
  struct ml_error err;
  struct ml_tls *tls;
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct ml_tls_options options = plain_client;
  options.session = (const uint8_t *)"garbage";
  options.session_len = 7;
  assert_int_equal(ml_tls_new(&tls, client, &options, &err), -1);
  assert_true(err.message[0]);
  options.session_len = 0;
  assert_int_equal(ml_tls_new(&tls, client, &options, &err), -1);
  ml_tls_context_unref(client);
}

static void test_a_session_that_is_none(void **state)
{
  (void)state;
  for_each_version(check_bad_session);
}

static void expect_reset(struct ml_tls *tls)
{
  static const uint8_t alert[] = {21, 3, 3, 0, 2, 1, 0};
  assert_int_equal(ml_tls_input(tls, alert, sizeof(alert)), 0);
  assert_int_equal(ml_tls_handshake(tls), ML_TLS_ERROR);
  assert_int_equal(ml_tls_input_end(tls), 0);
  assert_string_equal(ml_tls_error(tls)->code, "ECONNRESET");
  assert_int_equal(ml_tls_state(tls), ML_TLS_FAILED);
}

static void check_close_in_handshake(int version)
{
  struct setting setting = {.own = &alpha};
  struct ml_tls_context *server = build(&setting, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct pair pair = {.server = make_engine(server, &plain_server),
                      .client = make_engine(client, &plain_client)};
  assert_int_equal(ml_tls_handshake(pair.client), ML_TLS_WANT_INPUT);
  (void)carry(pair.client, pair.server, 0, &pair.server_result);
  expect_reset(pair.client);
  expect_reset(pair.server);
  free_pair(&pair);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

/* An alert of a level that it cannot have, which TLS 1.2 goes by. */
static void test_a_fatal_close_notify_is_an_alert_like_others(void **state)
{
  static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 0};
  (void)state;
  struct ml_tls_context *context = make_context(NULL, &alpha, 0);
  struct ml_tls *client = make_engine(context, &plain_client);
  assert_int_equal(ml_tls_handshake(client), ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_input(client, alert, sizeof(alert)), 0);
  assert_int_equal(ml_tls_handshake(client), ML_TLS_ERROR);
  assert_int_equal(ml_tls_input_end(client), 0);
  assert_string_equal(ml_tls_error(client)->code, "ERR_SSL_UNKNOWN_ALERT");
  assert_int_equal(ml_tls_error(client)->alert, SSL_AD_CLOSE_NOTIFY);
  assert_int_equal(ml_tls_error(client)->alert_from, ML_ALERT_PEER);
  ml_tls_free(client);
  ml_tls_context_unref(context);
}

static void test_close_notify_during_the_handshake_is_a_reset(void **state)
{
  (void)state;
  for_each_version(check_close_in_handshake);
}

static void test_renegotiation_is_declined(void **state)
{
  (void)state;
  struct setting setting = {.own = &alpha};
  struct ml_tls_context *server = build(&setting, TLS1_2_VERSION);
  struct ml_tls_context *client = make_context(NULL, &alpha, TLS1_2_VERSION);
  for (int by_server = 0; by_server < 2; by_server++) {
    struct ml_tls_options asking = plain_server;
    struct pair pair = make_pair(server, &asking, client, &plain_client);
    struct ml_tls *eager = by_server ? pair.server : pair.client;
    struct ml_tls *calm = by_server ? pair.client : pair.server;
    for (int i = 0; i < 3; i++) {
      SSL_clear_options(ml_tls_ssl(eager), SSL_OP_NO_RENEGOTIATION);
      assert_int_equal(SSL_renegotiate(ml_tls_ssl(eager)), 1);
      (void)SSL_do_handshake(ml_tls_ssl(eager));
      assert_int_equal(pass(eager, calm), ML_TLS_WANT_INPUT);
      assert_int_equal(ml_tls_state(calm), ML_TLS_OPEN);
      assert_true(ml_buf_size(ml_tls_output(calm)) > 0); /* no_renegotiation */
      ml_buf_free(ml_tls_output(calm));
      if (!by_server) break; /* a client waits for the answer before it asks again */
    }
    size_t done;
    assert_int_equal(ml_tls_write(calm, (const uint8_t *)"on", 2, &done), ML_TLS_OK);
    free_pair(&pair);
  }
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void check_abandoned(int version)
{
  struct setting setting = {.own = &alpha};
  struct ml_error reason;
  struct ml_tls_context *server = build(&setting, version), *other = build(&setting, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct ml_tls_options asking_server = plain_server, asking_client = plain_client;
  asking_server.asks = ML_ASKS(ML_ASK_CONTEXT);
  asking_client.asks = ML_ASKS(ML_ASK_IDENTITY);
  ml_error_misuse(&reason, "ERR_TEST", "no");

  /* Freed while it waits, with an answer that nobody fetched, and with a refusal. */
  for (int i = 0; i < 3; i++) {
    struct pair pair = make_pair(server, &asking_server, client, &asking_client);
    uint32_t token = ml_tls_question(pair.server).token;
    if (i == 1) assert_int_equal(ml_tls_answer_context(pair.server, token, other), 0);
    if (i == 2)
      assert_int_equal(ml_tls_answer_failure(pair.server, token, SSL_AD_ACCESS_DENIED, &reason), 0);
    if (i == 2) assert_int_equal(ml_tls_answer_context(pair.server, token, other), -1);
    free_pair(&pair);
  }
  for (int i = 0; i < 3; i++) {
    struct pair pair = make_pair(server, &plain_server, client, &asking_client);
    uint32_t token = ml_tls_question(pair.client).token;
    assert_int_equal(ml_tls_question(pair.client).ask, ML_ASK_IDENTITY);
    if (i == 1) assert_int_equal(ml_tls_answer_identity(pair.client, token, true), 0);
    if (i == 2) {
      assert_int_equal(ml_tls_answer_failure(pair.client, token, SSL_AD_ACCESS_DENIED, &reason), 0);
      assert_int_equal(ml_tls_handshake(pair.client), ML_TLS_ERROR);
      assert_string_equal(ml_tls_error(pair.client)->code, "ERR_TEST");
      assert_int_equal(ml_tls_answer_failure(pair.client, token, SSL_AD_ACCESS_DENIED, &reason),
                       -1);
      shake(&pair);
      assert_int_equal(pair.server_result, ML_TLS_ERROR); /* it was told */
    }
    free_pair(&pair);
  }
  ml_tls_context_unref(server);
  ml_tls_context_unref(other);
  ml_tls_context_unref(client);
}

static void test_questions_may_be_left_unanswered(void **state)
{
  (void)state;
  for_each_version(check_abandoned);
}

static void check_keylog_of_chosen(int version)
{
  struct setting setting = {.own = &alpha};
  struct ml_tls_context *server = build(&setting, version), *other = build(&setting, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct ml_tls_options asking = plain_server;
  asking.asks = ML_ASKS(ML_ASK_CONTEXT);
  asking.want_keylog = true;
  ml_tls_context_enable_keylog(server);
  struct pair pair = make_pair(server, &asking, client, &plain_client);
  assert_int_equal(ml_tls_answer_context(pair.server, ml_tls_question(pair.server).token, other),
                   0);
  pair.server_result = ml_tls_handshake(pair.server);
  shake(&pair);
  struct ml_tls_note *note = ml_tls_next_note(pair.server);
  assert_non_null(note);
  assert_int_equal(note->kind, ML_NOTE_KEYLOG);
  ml_tls_note_free(note);
  free_pair(&pair);
  ml_tls_context_unref(server);
  ml_tls_context_unref(other);
  ml_tls_context_unref(client);
}

static void test_the_key_log_follows_the_chosen_context(void **state)
{
  (void)state;
  for_each_version(check_keylog_of_chosen);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forged_tickets_lead_to_a_full_handshake),
      cmocka_unit_test(test_sessions_do_not_cross_contexts),
      cmocka_unit_test(test_resuming_does_not_launder_a_client),
      cmocka_unit_test(test_resuming_does_not_launder_a_server),
      cmocka_unit_test(test_a_session_that_is_none),
      cmocka_unit_test(test_close_notify_during_the_handshake_is_a_reset),
      cmocka_unit_test(test_a_fatal_close_notify_is_an_alert_like_others),
      cmocka_unit_test(test_renegotiation_is_declined),
      cmocka_unit_test(test_questions_may_be_left_unanswered),
      cmocka_unit_test(test_the_key_log_follows_the_chosen_context),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

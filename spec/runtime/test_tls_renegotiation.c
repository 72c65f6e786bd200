/* Renegotiation (TLS 1.2): two engines and two buffers. */
#include "tls_sides.h"

static const struct ml_tls_options server_options = {
    .server = true,
    .reject_unauthorized = true,
    .renegotiable = true,
    .asks = ML_ASKS(ML_ASK_RENEGOTIATION),
};
static const struct ml_tls_options client_options = {
    .servername = "alpha.test",
    .reject_unauthorized = true,
    .renegotiable = true,
    .asks = ML_ASKS(ML_ASK_IDENTITY),
};

static struct sides open_sides(void)
{
  return sides_open(TLS1_2_VERSION, &server_options, &client_options);
}

static void begin(struct side *side, bool request_cert, bool reject_unauthorized)
{
  struct ml_error err;
  if (ml_tls_renegotiate(side->tls, request_cert ? ML_SAYS_YES : ML_SAYS_NO,
                         reject_unauthorized ? ML_SAYS_YES : ML_SAYS_NO, &err) != 0)
    fail_msg("%s", err.message);
  assert_true(ml_tls_unsettled(side->tls));
}

static void expect_refusal(struct side *side, const char *code)
{
  struct ml_error err;
  assert_int_equal(ml_tls_renegotiate(side->tls, ML_SAYS_NOTHING, ML_SAYS_NOTHING, &err), -1);
  assert_string_equal(err.code, code);
}

static void expect_settled(struct sides *sides)
{
  assert_int_equal(ml_tls_state(sides->client.tls), ML_TLS_OPEN);
  assert_int_equal(ml_tls_state(sides->server.tls), ML_TLS_OPEN);
  assert_false(ml_tls_unsettled(sides->client.tls));
  assert_false(ml_tls_unsettled(sides->server.tls));
  side_write(&sides->client, "up");
  side_write(&sides->server, "down");
  sides_work(sides);
  expect_log(&sides->server, "up");
  expect_log(&sides->client, "down");
}

static void test_either_end_begins(void **state)
{
  (void)state;
  for (size_t chunk = 0; chunk < 3; chunk++) {
    struct sides sides = open_sides();
    sides.chunk = chunk;
    begin(&sides.client, false, true);
    sides_work(&sides);
    expect_log(&sides.client, "?|"); /* the name is judged again */
    expect_log(&sides.server, "?|"); /* whether it may */
    expect_settled(&sides);
    begin(&sides.server, false, true);
    sides_work(&sides);
    expect_log(&sides.client, "?|");
    expect_log(&sides.server, "|"); /* it is its own wish */
    expect_settled(&sides);
    sides_free(&sides);
  }
}

static void test_data_keeps_its_place(void **state)
{
  (void)state;
  for (size_t chunk = 0; chunk < 2; chunk++) {
    struct sides sides = open_sides();
    sides.chunk = chunk;
    size_t done;
    side_write(&sides.client, "before ");
    begin(&sides.client, false, true);
    assert_int_equal(ml_tls_write(sides.client.tls, (const uint8_t *)"x", 1, &done),
                     ML_TLS_WANT_INPUT);
    assert_int_equal(done, 0);
    assert_int_equal(ml_tls_close(sides.client.tls), ML_TLS_WANT_INPUT);
    side_write(&sides.server, "it did not know"); /* under way when the ClientHello came */
    sides_work(&sides);
    expect_log(&sides.server, "before ?|");
    expect_log(&sides.client, "it did not know?|");
    expect_settled(&sides);

    begin(&sides.server, false, true);
    side_write(&sides.server, "after the request");
    side_write(&sides.client, "before it came");
    sides_work(&sides);
    expect_log(&sides.server, "before it came|");
    expect_log(&sides.client, "after the request?|");
    expect_settled(&sides);
    sides_free(&sides);
  }
}

/* What is in one buffer with the end of a handshake comes after it. */
static void test_the_end_is_a_boundary(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  begin(&sides.client, false, true);
  side_carry(&sides.client, &sides.server, 0); /* ClientHello */
  side_carry(&sides.server, &sides.client, 0); /* ServerHello … */
  side_carry(&sides.client, &sides.server, 0); /* … Finished */
  expect_log(&sides.server, "?|");
  side_write(&sides.server, "after");
  side_carry(&sides.server, &sides.client, 0); /* Finished, and data behind it */
  expect_log(&sides.client, "?|after");
  expect_settled(&sides);
  sides_free(&sides);
}

static void test_a_certificate_is_asked_for_later(void **state)
{
  (void)state;
  bool absent;
  struct sides sides = open_sides();
  (void)ml_tls_verify_result(sides.server.tls, &absent);
  assert_true(absent);
  begin(&sides.server, true, true);
  sides_work(&sides);
  expect_log(&sides.server, "|");
  assert_true(ml_tls_requests_certificate(sides.server.tls));
  assert_int_equal(ml_tls_verify_result(sides.server.tls, &absent), X509_V_OK);
  assert_false(absent);
  sides.client.logged = 0;
  expect_settled(&sides);
  sides_free(&sides);
}

static void check_bad_certificate(bool reject)
{
  bool absent;
  struct ml_tls_context *server = make_context(&alpha, &alpha, TLS1_2_VERSION);
  struct ml_tls_context *client = make_context(&beta, &alpha, TLS1_2_VERSION);
  struct sides sides = {.server = {.tls = make_engine(server, &server_options)},
                        .client = {.tls = make_engine(client, &client_options)}};
  side_work(&sides.client);
  sides_work(&sides);
  begin(&sides.server, true, reject);
  sides_work(&sides);
  assert_int_equal(ml_tls_verify_result(sides.server.tls, &absent),
                   X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
  if (reject) {
    expect_failure(&sides.server, "DEPTH_ZERO_SELF_SIGNED_CERT");
    expect_failure(&sides.client, "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA");
  } else {
    assert_int_equal(ml_tls_state(sides.server.tls), ML_TLS_OPEN);
  }
  sides_free(&sides);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void test_a_bad_certificate_is_judged(void **state)
{
  (void)state;
  check_bad_certificate(true);
  check_bad_certificate(false);
}

static void test_a_name_that_is_no_longer_right(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  sides.client.asks = ML_ASKS(ML_ASK_IDENTITY);
  begin(&sides.server, false, true);
  sides_work(&sides);
  expect_log(&sides.client, "?");
  assert_int_equal(ml_tls_state(sides.client.tls), ML_TLS_RENEGOTIATION_ASKED);
  uint32_t token = ml_tls_question(sides.client.tls).token;
  assert_int_equal(ml_tls_answer_identity(sides.client.tls, token, false), 0);
  side_work(&sides.client);
  expect_failure(&sides.client, "HOSTNAME_MISMATCH");
  sides_free(&sides);
}

/* ---- Consent ---- */

static void test_consent_comes_later(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  sides.server.asks = ML_ASKS(ML_ASK_RENEGOTIATION);
  begin(&sides.client, false, true);
  sides_work(&sides);
  expect_log(&sides.server, "?");
  struct ml_tls_question question = ml_tls_question(sides.server.tls);
  assert_int_equal(question.ask, ML_ASK_RENEGOTIATION);
  size_t done;
  assert_int_equal(ml_tls_write(sides.server.tls, (const uint8_t *)"x", 1, &done),
                   ML_TLS_WANT_INPUT);
  side_work(&sides.server);
  expect_log(&sides.server, "?"); /* and nothing new */
  assert_int_equal(ml_tls_answer_data(sides.server.tls, question.token + 1, NULL, 0), -1);
  assert_int_equal(ml_tls_answer_data(sides.server.tls, question.token, NULL, 0), 0);
  assert_int_equal(ml_tls_answer_data(sides.server.tls, question.token, NULL, 0), -1);
  side_work(&sides.server);
  sides_work(&sides);
  expect_log(&sides.server, "|");
  sides.client.logged = 0;
  expect_settled(&sides);
  sides_free(&sides);
}

static void test_consent_is_refused(void **state)
{
  (void)state;
  struct ml_error reason;
  struct sides sides = open_sides();
  sides.server.asks = ML_ASKS(ML_ASK_RENEGOTIATION);
  begin(&sides.client, false, true);
  sides_work(&sides);
  ml_error_misuse(&reason, "ERR_TEST", "not again");
  uint32_t token = ml_tls_question(sides.server.tls).token;
  assert_int_equal(
      ml_tls_answer_failure(sides.server.tls, token, SSL_AD_HANDSHAKE_FAILURE, &reason), 0);
  side_work(&sides.server);
  sides_work(&sides);
  expect_failure(&sides.server, "ERR_TEST");
  assert_int_equal(ml_tls_error(sides.client.tls)->alert, SSL_AD_HANDSHAKE_FAILURE);
  sides_free(&sides);
}

static void test_freed_while_asked(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  sides.server.asks = ML_ASKS(ML_ASK_RENEGOTIATION);
  begin(&sides.client, false, true);
  sides_work(&sides);
  sides_free(&sides);
}

static void test_each_one_is_asked_about(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  for (int i = 0; i < 20; i++) {
    begin(&sides.client, false, true);
    sides_work(&sides);
    expect_log(&sides.server, "?|");
    expect_log(&sides.client, "?|");
  }
  expect_settled(&sides);
  sides_free(&sides);
}

/* ---- Declined and forbidden ---- */

static void test_it_is_declined(void **state)
{
  (void)state;
  for (int by_server = 0; by_server < 2; by_server++) {
    struct sides sides = open_sides();
    struct side *eager = by_server ? &sides.server : &sides.client;
    struct side *calm = by_server ? &sides.client : &sides.server;
    ml_tls_decline_renegotiation(calm->tls);
    begin(eager, false, true);
    sides_work(&sides);
    expect_log(calm, "!"); /* it would live with it, but OpenSSL's other end does not */
    expect_failure(eager, "ERR_SSL_NO_RENEGOTIATION");
    sides_free(&sides);
  }
}

static void test_the_declining_end_goes_on(void **state)
{
  (void)state;
  for (int by_server = 0; by_server < 2; by_server++) {
    struct sides sides = open_sides();
    struct side *eager = by_server ? &sides.server : &sides.client;
    struct side *calm = by_server ? &sides.client : &sides.server;
    ml_tls_decline_renegotiation(calm->tls);
    side_write(eager, "one ");
    begin(eager, false, true);
    if (by_server) side_write(eager, "two");
    side_carry(eager, calm, 1);
    side_carry(eager, calm, 0);
    expect_log(calm, by_server ? "one two" : "one ");
    assert_int_equal(ml_tls_state(calm->tls), ML_TLS_OPEN);
    assert_false(ml_tls_unsettled(calm->tls));
    side_write(calm, "on");
    sides_free(&sides);
  }
}

static void test_it_is_forbidden(void **state)
{
  (void)state;
  for (int by_server = 0; by_server < 2; by_server++) {
    struct sides sides = open_sides();
    struct side *eager = by_server ? &sides.server : &sides.client;
    struct side *calm = by_server ? &sides.client : &sides.server;
    ml_tls_forbid_renegotiation(calm->tls);
    expect_refusal(calm, "ERR_TLS_RENEGOTIATION_DISABLED");
    begin(eager, false, true);
    sides_work(&sides);
    expect_log(calm, "!");
    expect_failure(calm, "ERR_TLS_RENEGOTIATION_DISABLED");
    expect_failure(eager, "ERR_SSL_NO_RENEGOTIATION");
    sides_free(&sides);
  }
}

static void test_forbidden_half_way_is_too_late(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  begin(&sides.client, false, true);
  side_carry(&sides.client, &sides.server, 0);
  ml_tls_forbid_renegotiation(sides.server.tls);
  sides_work(&sides);
  expect_log(&sides.server, "?|");
  sides.client.logged = 0;
  expect_settled(&sides);
  sides_free(&sides);
}

static void test_when_it_cannot_begin(void **state)
{
  (void)state;
  struct sides sides = sides_open(TLS1_3_VERSION, &server_options, &client_options);
  expect_refusal(&sides.client, "ERR_SSL_WRONG_SSL_VERSION");
  expect_refusal(&sides.server, "ERR_SSL_WRONG_SSL_VERSION");
  expect_settled(&sides);
  sides_free(&sides);

  struct ml_tls_options stiff = client_options;
  stiff.renegotiable = false;
  sides = sides_open(TLS1_2_VERSION, &server_options, &stiff);
  expect_refusal(&sides.client, "ERR_SSL_NO_RENEGOTIATION");
  expect_settled(&sides);
  begin(&sides.server, false, true);
  expect_refusal(&sides.server, "ERR_TLS_INVALID_STATE"); /* one at a time */
  sides_free(&sides);

  sides = open_sides();
  assert_int_equal(ml_tls_close(sides.client.tls), ML_TLS_OK);
  expect_refusal(&sides.client, "ERR_TLS_INVALID_STATE");
  sides_work(&sides);
  expect_refusal(&sides.server, "ERR_TLS_INVALID_STATE");
  sides_free(&sides);
}

/* ---- An owner who does not read ---- */

static void test_it_goes_on_without_a_reader(void **state)
{
  (void)state;
  for (int by_server = 0; by_server < 2; by_server++) {
    struct sides sides = open_sides();
    struct side *one = by_server ? &sides.server : &sides.client;
    struct side *two = by_server ? &sides.client : &sides.server;
    one->paused = true;
    side_write(two, "kept");
    begin(one, false, true);
    sides_work(&sides);
    expect_log(one, by_server ? "|" : "?|");
    one->paused = false;
    one->buffer = 3;
    side_work(one);
    expect_log(one, "kept");
    one->buffer = two->logged = 0;
    expect_settled(&sides);
    sides_free(&sides);
  }
}

static void test_what_is_kept_is_bounded(void **state)
{
  (void)state;
  static uint8_t data[200000];
  size_t done;
  struct sides sides = open_sides();
  sides.server.paused = true;
  assert_int_equal(ml_tls_write(sides.client.tls, data, sizeof(data), &done), ML_TLS_OK);
  begin(&sides.server, false, true);
  struct ml_buf *out = ml_tls_output(sides.client.tls);
  for (int i = 0; i < 100; i++)
    side_carry(&sides.client, &sides.server, 4000);
  assert_int_equal(ml_buf_size(out), 0);
  /* Read no further than the limit, the rest stays as it came. */
  assert_in_range(ml_tls_input_kept(sides.server.tls), sizeof(data) - 90000, sizeof(data));
  sides.server.paused = false;
  uint8_t buffer[8192];
  size_t total = 0, n;
  assert_int_equal(ml_tls_input(sides.server.tls, NULL, 0), 0);
  while (ml_tls_read(sides.server.tls, buffer, sizeof(buffer), &n) == ML_TLS_OK)
    total += n;
  assert_int_equal(ml_tls_input_end(sides.server.tls), 0);
  assert_int_equal(total, sizeof(data));
  sides_work(&sides);
  expect_log(&sides.server, "|");
  sides_free(&sides);
}

/* OpenSSL has decrypted a record and given half of it out when the wish comes. */
static void test_in_the_middle_of_a_record(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  uint8_t buffer[4];
  size_t n;
  for (int by_server = 0; by_server < 2; by_server++) {
    struct side *one = by_server ? &sides.server : &sides.client;
    struct side *two = by_server ? &sides.client : &sides.server;
    side_write(two, "the first half");
    struct ml_buf *out = ml_tls_output(two->tls);
    assert_int_equal(ml_tls_input(one->tls, ml_buf_data(out), ml_buf_size(out)), 0);
    assert_int_equal(ml_tls_read(one->tls, buffer, sizeof(buffer), &n), ML_TLS_OK);
    assert_int_equal(ml_tls_input_end(one->tls), 0);
    ml_buf_free(out);
    begin(one, false, true);
    sides_work(&sides);
    expect_log(one, by_server ? "first half|" : "first half?|");
    two->logged = 0;
    expect_settled(&sides);
  }
  sides_free(&sides);
}

/* A record has come in part when the wish comes. */
static void test_behind_half_a_record(void **state)
{
  (void)state;
  size_t done;
  for (int by_server = 0; by_server < 2; by_server++) {
    struct sides sides = open_sides();
    struct side *one = by_server ? &sides.server : &sides.client;
    struct side *two = by_server ? &sides.client : &sides.server;
    side_write(two, "whole");
    side_carry(two, one, 8);
    begin(one, false, true);
    assert_int_equal(ml_tls_write(one->tls, (const uint8_t *)"x", 1, &done), ML_TLS_WANT_INPUT);
    sides_work(&sides);
    expect_log(one, by_server ? "whole|" : "whole?|");
    two->logged = 0;
    expect_settled(&sides);
    sides_free(&sides);
  }
}

/* ---- Peers that mean no good, or leave ---- */

static void test_another_name_in_the_new_hello(void **state)
{
  (void)state;
  for (int none = 0; none < 2; none++) {
    struct sides sides = open_sides();
    const char *name = none ? NULL : "beta.test";
    assert_int_equal(SSL_set_tlsext_host_name(ml_tls_ssl(sides.client.tls), name), 1);
    begin(&sides.client, false, true);
    sides_work(&sides);
    expect_log(&sides.server, "!"); /* nobody was asked */
    assert_int_equal(ml_tls_error(sides.client.tls)->alert, SSL_AD_ILLEGAL_PARAMETER);
    sides_free(&sides);
  }
}

static void test_half_a_hello(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  begin(&sides.client, false, true);
  side_carry(&sides.client, &sides.server, 20);
  size_t done;
  (void)ml_tls_write(sides.server.tls, (const uint8_t *)"x", 1, &done);
  expect_log(&sides.server, "");
  sides_free(&sides);
}

static void test_a_peer_that_closes_half_way(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  begin(&sides.client, false, true);
  assert_int_equal(ml_tls_close(sides.server.tls), ML_TLS_OK);
  sides_work(&sides);
  expect_failure(&sides.client, "ECONNRESET");
  assert_string_equal(ml_tls_error(sides.client.tls)->reason,
                      "the server disconnected during the TLS renegotiation");
  sides_free(&sides);

  sides = open_sides(); /* one that did not know yet ends as usual */
  begin(&sides.server, false, true);
  assert_int_equal(ml_tls_close(sides.client.tls), ML_TLS_OK);
  side_carry(&sides.client, &sides.server, 0);
  expect_log(&sides.server, ".");
  assert_false(ml_tls_unsettled(sides.server.tls));
  side_write(&sides.server, "still");
  assert_int_equal(ml_tls_close(sides.server.tls), ML_TLS_OK);
  sides_work(&sides);
  expect_log(&sides.client, "still.");
  sides_free(&sides);
}

static void test_a_session_of_a_renegotiation_is_not_resumed_in_one(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  for (int i = 0; i < 3; i++) {
    begin(&sides.server, i == 1, true);
    sides_work(&sides);
    assert_false(SSL_session_reused(ml_tls_ssl(sides.server.tls)));
    assert_false(SSL_session_reused(ml_tls_ssl(sides.client.tls)));
  }
  sides_free(&sides);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_either_end_begins),
      cmocka_unit_test(test_data_keeps_its_place),
      cmocka_unit_test(test_the_end_is_a_boundary),
      cmocka_unit_test(test_a_certificate_is_asked_for_later),
      cmocka_unit_test(test_a_bad_certificate_is_judged),
      cmocka_unit_test(test_a_name_that_is_no_longer_right),
      cmocka_unit_test(test_consent_comes_later),
      cmocka_unit_test(test_consent_is_refused),
      cmocka_unit_test(test_freed_while_asked),
      cmocka_unit_test(test_each_one_is_asked_about),
      cmocka_unit_test(test_it_is_declined),
      cmocka_unit_test(test_the_declining_end_goes_on),
      cmocka_unit_test(test_it_is_forbidden),
      cmocka_unit_test(test_forbidden_half_way_is_too_late),
      cmocka_unit_test(test_when_it_cannot_begin),
      cmocka_unit_test(test_it_goes_on_without_a_reader),
      cmocka_unit_test(test_what_is_kept_is_bounded),
      cmocka_unit_test(test_in_the_middle_of_a_record),
      cmocka_unit_test(test_behind_half_a_record),
      cmocka_unit_test(test_another_name_in_the_new_hello),
      cmocka_unit_test(test_half_a_hello),
      cmocka_unit_test(test_a_peer_that_closes_half_way),
      cmocka_unit_test(test_a_session_of_a_renegotiation_is_not_resumed_in_one),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

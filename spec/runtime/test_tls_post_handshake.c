/* New keys and a client's certificate under TLS 1.3: two engines and two buffers. */
#include "tls_sides.h"

static const struct ml_tls_options server_options = {.server = true, .reject_unauthorized = true};
static const struct ml_tls_options client_options = {
    .servername = "alpha.test", .reject_unauthorized = true, .want_sessions = true};

static struct sides open_sides(void)
{
  return sides_open(TLS1_3_VERSION, &server_options, &client_options);
}

static void expect_talk(struct sides *sides)
{
  side_write(&sides->client, "up");
  side_write(&sides->server, "down");
  sides_work(sides);
  expect_log(&sides->server, "up");
  expect_log(&sides->client, "down");
}

static int count_notes(struct side *side, enum ml_tls_note_kind kind)
{
  struct ml_tls_note *note;
  int count = 0;
  while ((note = ml_tls_next_note(side->tls))) {
    count += note->kind == kind;
    ml_tls_note_free(note);
  }
  return count;
}

/* ---- New keys ---- */

static void update(struct side *side, bool peers)
{
  struct ml_error err;
  if (ml_tls_update_keys(side->tls, peers, &err) != 0) fail_msg("%s", err.message);
}

static void test_keys_are_exchanged(void **state)
{
  (void)state;
  for (size_t chunk = 0; chunk < 3; chunk++) {
    struct sides sides = open_sides();
    sides.chunk = chunk;
    for (int i = 0; i < 4; i++) {
      struct side *side = i % 2 ? &sides.client : &sides.server;
      update(side, i / 2);
      assert_true(ml_buf_size(ml_tls_output(side->tls)) > 0);
      expect_talk(&sides);
      assert_int_equal(count_notes(side, ML_NOTE_KEY_UPDATE), i / 2);
    }
    assert_int_equal(count_notes(&sides.client, ML_NOTE_KEY_UPDATE), 0);
    sides_free(&sides);
  }
}

static void test_the_peers_own_wish_is_no_answer(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  update(&sides.server, false);
  sides_work(&sides);
  assert_int_equal(count_notes(&sides.client, ML_NOTE_KEY_UPDATE), 0);
  sides_free(&sides);
}

/* OpenSSL says nothing while it has half of a message: here of a ticket with a certificate in it.
 */
static void test_keys_behind_half_a_message(void **state)
{
  (void)state;
  struct ml_error err;
  struct sides sides = open_sides();
  assert_int_equal(SSL_set_max_send_fragment(ml_tls_ssl(sides.server.tls), 512), 1);
  if (ml_tls_request_certificate(sides.server.tls, ML_SAYS_NOTHING, &err) != 0)
    fail_msg("%s", err.message);
  side_carry(&sides.server, &sides.client, 0);
  side_carry(&sides.client, &sides.server, 0);
  side_carry(&sides.server, &sides.client, 600);
  update(&sides.client, false);
  update(&sides.client, true);
  update(&sides.client, false);
  assert_int_equal(ml_buf_size(ml_tls_output(sides.client.tls)), 0);
  sides_work(&sides);
  assert_int_equal(count_notes(&sides.client, ML_NOTE_KEY_UPDATE), 1);
  sides.server.logged = 0;
  expect_talk(&sides);
  sides_free(&sides);
}

static void test_when_keys_cannot_be_exchanged(void **state)
{
  (void)state;
  struct ml_error err;
  struct sides sides = sides_open(TLS1_2_VERSION, &server_options, &client_options);
  assert_int_equal(ml_tls_update_keys(sides.client.tls, false, &err), -1);
  assert_string_equal(err.code, "ERR_SSL_WRONG_SSL_VERSION");
  expect_talk(&sides);
  sides_free(&sides);

  sides = open_sides();
  assert_int_equal(ml_tls_close(sides.client.tls), ML_TLS_OK);
  assert_int_equal(ml_tls_update_keys(sides.client.tls, false, &err), -1);
  assert_string_equal(err.code, "ERR_TLS_INVALID_STATE");
  sides_work(&sides);
  expect_log(&sides.server, ".");
  update(&sides.server, false); /* whose own end has not come */
  side_write(&sides.server, "late");
  sides_work(&sides);
  expect_log(&sides.client, "late");
  sides_free(&sides);
}

/* One turn does no more than so much of what costs the peer next to nothing. */
static void test_a_flood_of_updates_is_taken_in_turns(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  SSL *ssl = ml_tls_ssl(sides.client.tls);
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_do_handshake(ssl), 1);
  }
  side_write(&sides.client, "behind");
  struct ml_buf *in = ml_tls_output(sides.client.tls), *out = ml_tls_output(sides.server.tls);
  uint8_t buffer[16];
  size_t n = 0, most = 0;
  int turns = 1;
  assert_int_equal(ml_tls_input(sides.server.tls, ml_buf_data(in), ml_buf_size(in)), 0);
  while (ml_tls_read(sides.server.tls, buffer, sizeof(buffer), &n) == ML_TLS_AGAIN) {
    assert_int_equal(ml_tls_input_end(sides.server.tls), 0);
    if (ml_buf_size(out) > most) most = ml_buf_size(out);
    ml_buf_free(out);
    assert_int_equal(ml_tls_input(sides.server.tls, NULL, 0), 0);
    turns++;
  }
  assert_int_equal(ml_tls_input_end(sides.server.tls), 0);
  assert_int_equal(n, 6);
  assert_true(turns > 50);
  assert_in_range(most, 1, 1000);
  sides_free(&sides);
}

/* ---- A client's certificate ---- */

static void request(struct side *side, enum ml_tls_says reject)
{
  struct ml_error err;
  if (ml_tls_request_certificate(side->tls, reject, &err) != 0) fail_msg("%s", err.message);
  assert_int_equal(ml_tls_state(side->tls), ML_TLS_CERTIFICATE_REQUESTED);
  assert_true(ml_tls_unsettled(side->tls));
}

static void expect_refusal(struct side *side, const char *code)
{
  struct ml_error err;
  enum ml_tls_state state = ml_tls_state(side->tls);
  bool requests = ml_tls_requests_certificate(side->tls);
  assert_int_equal(ml_tls_request_certificate(side->tls, ML_SAYS_NOTHING, &err), -1);
  assert_string_equal(err.code, code);
  assert_int_equal(ml_tls_state(side->tls), state);
  assert_int_equal(ml_tls_requests_certificate(side->tls), requests);
}

static void test_a_certificate_is_asked_for_later(void **state)
{
  (void)state;
  bool absent;
  for (size_t chunk = 0; chunk < 3; chunk++) {
    struct sides sides = open_sides();
    sides.chunk = chunk;
    side_write(&sides.client, "before ");
    request(&sides.server, ML_SAYS_NOTHING);
    side_write(&sides.server, "meanwhile");
    expect_refusal(&sides.server, "ERR_SSL_REQUEST_SENT");
    sides_work(&sides);
    expect_log(&sides.server, "before |");
    expect_log(&sides.client, "meanwhile");
    assert_false(ml_tls_unsettled(sides.server.tls));
    assert_int_equal(ml_tls_verify_result(sides.server.tls, &absent), X509_V_OK);
    assert_false(absent);
    expect_talk(&sides);
    request(&sides.server, ML_SAYS_NOTHING); /* and again */
    sides_work(&sides);
    expect_log(&sides.server, "|");
    expect_talk(&sides);
    sides_free(&sides);
  }
}

static void test_the_end_is_a_boundary(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  request(&sides.server, ML_SAYS_NOTHING);
  update(&sides.server, true);
  side_carry(&sides.server, &sides.client, 0);
  side_write(&sides.client, "after");
  side_carry(&sides.client, &sides.server, 0);
  expect_log(&sides.server, "|after");
  expect_talk(&sides);
  sides_free(&sides);
}

/* The rest of the client's answer is read by a write. */
static void test_a_write_in_the_middle_of_the_answer(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  request(&sides.server, ML_SAYS_NOTHING);
  side_carry(&sides.server, &sides.client, 0);
  struct ml_buf *answer = ml_tls_output(sides.client.tls);
  side_carry(&sides.client, &sides.server, ml_buf_size(answer) - 10);
  expect_log(&sides.server, "");
  size_t done;
  assert_int_equal(ml_tls_write(sides.server.tls, (const uint8_t *)"now", 3, &done),
                   ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_input(sides.server.tls, ml_buf_data(answer), ml_buf_size(answer)), 0);
  assert_int_equal(ml_tls_write(sides.server.tls, (const uint8_t *)"now", 3, &done), ML_TLS_OK);
  assert_int_equal(ml_tls_input_end(sides.server.tls), 0);
  ml_buf_free(answer);
  assert_true(ml_tls_renewed(sides.server.tls));
  sides_work(&sides);
  expect_log(&sides.server, "|");
  expect_log(&sides.client, "now");
  expect_talk(&sides);
  sides_free(&sides);
}

static void test_an_owner_who_does_not_read(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  sides.server.paused = true;
  side_write(&sides.client, "kept");
  request(&sides.server, ML_SAYS_NOTHING);
  sides_work(&sides);
  expect_log(&sides.server, "|");
  sides.server.paused = false;
  side_work(&sides.server);
  expect_log(&sides.server, "kept");
  expect_talk(&sides);
  sides_free(&sides);
}

/* A client without a certificate, and one with a certificate that nobody knows. */
static void check_bad_answer(const struct identity *own, enum ml_tls_says reject, long verdict,
                             const char *code, int alert)
{
  bool absent;
  struct ml_tls_options offering = client_options;
  offering.post_handshake_auth = ML_SAYS_YES;
  struct ml_tls_context *server = make_context(&alpha, &alpha, TLS1_3_VERSION);
  struct ml_tls_context *client = make_context(own, &alpha, TLS1_3_VERSION);
  struct sides sides = {.server = {.tls = make_engine(server, &server_options)},
                        .client = {.tls = make_engine(client, &offering)}};
  side_work(&sides.client);
  sides_work(&sides);
  request(&sides.server, reject);
  sides_work(&sides);
  if (reject == ML_SAYS_NO) {
    expect_log(&sides.server, "|");
    expect_talk(&sides);
  } else {
    expect_failure(&sides.server, code);
    assert_int_equal(ml_tls_error(sides.client.tls)->alert, alert);
  }
  assert_int_equal(ml_tls_verify_result(sides.server.tls, &absent), verdict);
  sides_free(&sides);
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
}

static void test_a_bad_answer_is_judged(void **state)
{
  (void)state;
  for (int says = ML_SAYS_NOTHING; says <= ML_SAYS_YES; says++) {
    check_bad_answer(NULL, says, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
                     "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE", SSL_AD_CERTIFICATE_REQUIRED);
    check_bad_answer(&beta, says, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
                     "DEPTH_ZERO_SELF_SIGNED_CERT", SSL_AD_UNKNOWN_CA);
  }
}

static void test_when_it_cannot_be_asked_for(void **state)
{
  (void)state;
  struct ml_tls_options silent = client_options;
  silent.post_handshake_auth = ML_SAYS_NO;
  struct sides sides = sides_open(TLS1_3_VERSION, &server_options, &silent);
  expect_refusal(&sides.server, "ERR_SSL_EXTENSION_NOT_RECEIVED");
  expect_refusal(&sides.client, "ERR_SSL_NOT_SERVER");
  expect_talk(&sides);
  assert_int_equal(ml_tls_close(sides.server.tls), ML_TLS_OK);
  expect_refusal(&sides.server, "ERR_TLS_INVALID_STATE");
  sides_free(&sides);

  sides = sides_open(TLS1_2_VERSION, &server_options, &client_options);
  expect_refusal(&sides.server, "ERR_SSL_WRONG_SSL_VERSION");
  expect_talk(&sides);
  sides_free(&sides);
}

static void test_a_client_that_leaves_instead(void **state)
{
  (void)state;
  struct sides sides = open_sides();
  request(&sides.server, ML_SAYS_NOTHING);
  assert_int_equal(ml_tls_close(sides.client.tls), ML_TLS_OK);
  side_carry(&sides.client, &sides.server, 0);
  expect_log(&sides.server, ".");
  assert_false(ml_tls_unsettled(sides.server.tls));
  side_write(&sides.server, "bye");
  assert_int_equal(ml_tls_close(sides.server.tls), ML_TLS_OK);
  sides_free(&sides);

  sides = open_sides();
  request(&sides.server, ML_SAYS_NOTHING);
  sides_free(&sides); /* or freed with the question open */
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_keys_are_exchanged),
      cmocka_unit_test(test_the_peers_own_wish_is_no_answer),
      cmocka_unit_test(test_keys_behind_half_a_message),
      cmocka_unit_test(test_when_keys_cannot_be_exchanged),
      cmocka_unit_test(test_a_flood_of_updates_is_taken_in_turns),
      cmocka_unit_test(test_a_certificate_is_asked_for_later),
      cmocka_unit_test(test_the_end_is_a_boundary),
      cmocka_unit_test(test_a_write_in_the_middle_of_the_answer),
      cmocka_unit_test(test_an_owner_who_does_not_read),
      cmocka_unit_test(test_a_bad_answer_is_judged),
      cmocka_unit_test(test_when_it_cannot_be_asked_for),
      cmocka_unit_test(test_a_client_that_leaves_instead),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

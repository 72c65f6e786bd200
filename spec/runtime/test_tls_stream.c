/* TLS streams over sockets: both ends are ours. */
#include "tls_ends.h"

#define LARGE ((size_t)8 * 1024 * 1024)

static void check_echo(void)
{
  struct ends ends;
  ends_shake(&ends, &plain_server, &plain_client);
  assert_int_equal(write_text(&ends.client, "ping"), ML_DONE);
  turn_until_length(&ends.server.r, 4);
  assert_int_equal(write_text(&ends.server, "pong"), ML_DONE);
  turn_until_length(&ends.client.r, 4);
  expect_text(&ends.server, "ping");
  expect_text(&ends.client, "pong");
  assert_int_equal(ends.client.handshakes, 1);
  assert_int_equal(ends.server.handshakes, 1);
  assert_int_equal(ends.client.r.stream->bytes_written, 4);
  assert_int_equal(ends.client.r.stream->bytes_read, 4);
  assert_true(ends.client.sessions > 0);
  ends_close(&ends);
}

static void test_handshake_and_echo(void **state)
{
  (void)state;
  each_version(check_echo);
}

static void check_rest(void)
{
  enum { PAIRS = 8 };
  static struct ends ends[PAIRS];
  struct ml_tls *engine[PAIRS];
  bool expected[PAIRS];
  for (int i = 0; i < PAIRS; i++) {
    ends_shake(&ends[i], &plain_server, &plain_client);
    engine[i] = ml_tls_stream_engine(ends[i].server.tls);
    expected[i] = can_rest(engine[i]);
  }
  for (int i = 0; i < PAIRS; i++) {
    while (ml_tls_rests(engine[i]) != expected[i])
      ml_loop_step(loop, true);
  }
  for (int i = 0; i < PAIRS; i++) {
    assert_int_equal(write_text(&ends[i].client, "ping"), ML_DONE);
    turn_until_length(&ends[i].server.r, 4);
    assert_false(ml_tls_rests(engine[i]));
    expect_text(&ends[i].server, "ping");
  }
  for (int i = 0; i < PAIRS; i++) {
    owner_close(&ends[i].client);
    owner_close(&ends[i].server);
  }
  turn_until_quiet();
  assert_false(ml_loop_alive(loop));
}

static void test_a_connection_that_nothing_happens_on_rests(void **state)
{
  (void)state;
  each_version(check_rest);
}

static void check_large(void)
{
  struct ends ends;
  uint8_t *data = pattern(LARGE);
  ends_shake(&ends, &plain_server, &plain_client);
  assert_int_equal(write_bytes(&ends.client, data, LARGE), ML_PENDING);
  assert_int_equal(write_bytes(&ends.server, data, LARGE), ML_PENDING);
  turn_until_length(&ends.server.r, LARGE);
  turn_until_length(&ends.client.r, LARGE);
  turn_until(&ends.client.r.count[WRITTEN], 1);
  turn_until(&ends.server.r.count[WRITTEN], 1);
  assert_memory_equal(ends.server.r.bytes, data, LARGE);
  assert_memory_equal(ends.client.r.bytes, data, LARGE);
  assert_int_equal(ml_stream_queued(ends.client.r.stream), 0);
  ends_close(&ends);
  free(data);
}

static void test_large_writes_both_ways_at_once(void **state)
{
  (void)state;
  each_version(check_large);
}

static void check_backpressure(void)
{
  struct ends ends;
  uint8_t *data = pattern(LARGE);
  ends_shake(&ends, &plain_server, &plain_client);
  ml_stream_read_stop(ends.server.r.stream);
  assert_int_equal(write_bytes(&ends.client, data, LARGE), ML_PENDING);
  turn_until_quiet();
  assert_int_equal(ends.client.r.count[WRITTEN], 0);
  assert_int_equal(ends.server.r.len, 0);
  /* The rest of the write is still the caller's, not encrypted: the queue holds two flushes. */
  size_t queued = ml_stream_queued(ends.client.r.stream);
  assert_true(queued > LARGE / 2 && queued <= LARGE + 65536);
  ml_stream_read_start(ends.server.r.stream);
  turn_until_length(&ends.server.r, LARGE);
  turn_until(&ends.client.r.count[WRITTEN], 1);
  assert_memory_equal(ends.server.r.bytes, data, LARGE);
  ends_close(&ends);
  free(data);
}

static void test_a_peer_that_does_not_read_stops_the_writer(void **state)
{
  (void)state;
  each_version(check_backpressure);
}

static void check_list(void)
{
  struct ml_error err;
  struct ends ends;
  uint8_t *data = pattern(200000);
  struct ml_slice slices[] = {
      {data, 1}, {NULL, 0}, {data + 1, 99999}, {data + 100000, 0}, {data + 100000, 100000}};
  ends_shake(&ends, &plain_server, &plain_client);
  assert_int_equal(ml_stream_write(ends.client.r.stream, NULL, 0, &err), ML_DONE);
  assert_int_equal(ml_stream_write(ends.client.r.stream, slices + 1, 1, &err), ML_DONE);
  assert_int_not_equal(ml_stream_write(ends.client.r.stream, slices, 5, &err), ML_FAILED);
  turn_until_length(&ends.server.r, 200000);
  assert_int_equal(ends.server.r.len, 200000);
  assert_memory_equal(ends.server.r.bytes, data, 200000);
  assert_int_equal(ends.client.r.stream->bytes_written, 200000);
  ends_close(&ends);
  free(data);
}

static void test_a_list_of_slices_arrives_in_order(void **state)
{
  (void)state;
  each_version(check_list);
}

static void check_early_write(void)
{
  struct ends ends;
  ends_open(&ends, &plain_server, &plain_client);
  assert_int_equal(write_text(&ends.client, "early"), ML_PENDING);
  assert_int_equal(write_text(&ends.server, "bird"), ML_PENDING);
  assert_int_equal(ml_stream_queued(ends.server.r.stream), 4);
  turn_until_length(&ends.server.r, 5);
  turn_until_length(&ends.client.r, 4);
  turn_until(&ends.client.r.count[WRITTEN], 1);
  turn_until(&ends.server.r.count[WRITTEN], 1);
  expect_text(&ends.server, "early");
  expect_text(&ends.client, "bird");
  assert_false(ends.server.early);
  assert_false(ends.client.early);
  ends_close(&ends);
}

static void test_a_write_before_the_handshake_waits_for_it(void **state)
{
  (void)state;
  each_version(check_early_write);
}

static void stop_reading(struct recorder *r, enum recorded what)
{
  if (what == READ) ml_stream_read_stop(r->stream);
}

static void check_pause(void)
{
  struct ends ends;
  uint8_t *data = pattern(300000);
  ends_shake(&ends, &plain_server, &plain_client);
  ends.server.r.hook = stop_reading;
  ml_stream_read_stop(ends.server.r.stream);
  (void)write_bytes(&ends.client, data, 300000);
  shut(&ends.client);
  size_t before = 0;
  while (ends.server.r.count[END] == 0) {
    turn_until_quiet();
    assert_int_equal(ends.server.r.len, before); /* not a byte while stopped, and no end */
    ml_stream_read_start(ends.server.r.stream);
    int reads = ends.server.r.count[READ];
    while (ends.server.r.count[READ] == reads && ends.server.r.count[END] == 0)
      (void)ml_loop_step(loop, false);
    assert_true(ends.server.r.count[READ] - reads <= 1);
    before = ends.server.r.len;
  }
  assert_int_equal(ends.server.r.len, 300000);
  assert_memory_equal(ends.server.r.bytes, data, 300000);
  assert_int_equal(ends.server.r.count[END], 1);
  ends_close(&ends);
  free(data);
}

static void test_stopping_keeps_what_openssl_has_decrypted(void **state)
{
  (void)state;
  each_version(check_pause);
}

static void check_half_close(void)
{
  struct ml_error err;
  struct ml_slice slice = {(const uint8_t *)"x", 1};
  struct ends ends;
  ends_shake(&ends, &plain_server, &plain_client);
  shut(&ends.client);
  assert_int_equal(ml_stream_write(ends.client.r.stream, &slice, 1, &err), ML_FAILED);
  assert_string_equal(err.code, "EPIPE");
  turn_until(&ends.client.r.count[SHUTDOWN], 1);
  turn_until(&ends.server.r.count[END], 1);
  (void)write_text(&ends.server, "still here");
  turn_until_length(&ends.client.r, 10);
  assert_int_equal(ends.client.r.count[END], 0);
  shut(&ends.server);
  turn_until(&ends.client.r.count[END], 1);
  turn_until(&ends.server.r.count[SHUTDOWN], 1);
  turn_until_quiet();
  assert_int_equal(ends.client.r.count[END], 1);
  assert_int_equal(ends.server.r.count[END], 1);
  assert_int_equal(ends.client.r.count[ERROR] + ends.server.r.count[ERROR], 0);
  ends_close(&ends);
}

static void test_shutdown_leaves_reading_open(void **state)
{
  (void)state;
  each_version(check_half_close);
}

static void check_both_shut(void)
{
  struct ends ends;
  ends_open(&ends, &plain_server, &plain_client);
  (void)write_text(&ends.client, "a");
  (void)write_text(&ends.server, "b");
  shut(&ends.client); /* before the handshake: behind the writes */
  shut(&ends.server);
  turn_until(&ends.client.r.count[END], 1);
  turn_until(&ends.server.r.count[END], 1);
  turn_until(&ends.client.r.count[SHUTDOWN], 1);
  turn_until(&ends.server.r.count[SHUTDOWN], 1);
  turn_until_quiet();
  expect_text(&ends.client, "b");
  expect_text(&ends.server, "a");
  assert_int_equal(ends.client.r.count[SHUTDOWN] + ends.client.r.count[END], 2);
  assert_int_equal(ends.client.r.count[ERROR] + ends.server.r.count[ERROR], 0);
  ends_close(&ends);
}

static void test_both_sides_shut_down_before_the_handshake_is_over(void **state)
{
  (void)state;
  each_version(check_both_shut);
}

static void answer_now(struct owner *owner, enum told what)
{
  if (what != TOLD_ASK) return;
  struct ml_tls *tls = ml_tls_stream_engine(owner->tls);
  uint32_t token = owner->question.token;
  if (owner->question.ask == ML_ASK_CONTEXT)
    assert_int_equal(ml_tls_answer_context(tls, token, NULL), 0);
  else
    assert_int_equal(ml_tls_answer_identity(tls, token, true), 0);
  assert_int_equal(ml_tls_answer_identity(tls, token, true), -1);
}

static void check_answers(void)
{
  struct ml_tls_options server = plain_server, client = plain_client;
  struct ends ends;
  server.asks = client.asks = ML_ASKS(ML_ASK_CONTEXT) | ML_ASKS(ML_ASK_IDENTITY);
  ends_open(&ends, &server, &client);
  ends.server.told = ends.client.told = answer_now;
  turn_until(&ends.client.handshakes, 1);
  turn_until(&ends.server.handshakes, 1);
  assert_int_equal(ends.server.asks, 1);
  assert_int_equal(ends.client.asks, 1);
  ends_close(&ends);

  ends_open(&ends, &server, &client);
  turn_until(&ends.server.asks, 1);
  turn_until_quiet();
  assert_int_equal(ends.client.asks, 0);
  answer_now(&ends.server, TOLD_ASK);
  turn_until_quiet();
  assert_int_equal(ends.client.asks, 0); /* nothing happens before the resume */
  ml_tls_stream_resume(ends.server.tls);
  ml_tls_stream_resume(ends.server.tls);
  turn_until(&ends.client.asks, 1);
  answer_now(&ends.client, TOLD_ASK);
  ml_tls_stream_resume(ends.client.tls);
  turn_until(&ends.client.handshakes, 1);
  turn_until(&ends.server.handshakes, 1);
  ml_tls_stream_resume(ends.client.tls); /* harmless when nothing is asked */
  turn_until_quiet();
  assert_int_equal(ends.server.asks + ends.client.asks, 2);
  ends_close(&ends);
}

static void test_answers_inside_the_question_or_later(void **state)
{
  (void)state;
  each_version(check_answers);
}

static void answer_no(struct owner *owner, enum told what)
{
  if (what != TOLD_ASK) return;
  struct ml_error err;
  ml_error_misuse(&err, "ERR_TEST", "thrown by a script");
  assert_int_equal(ml_tls_answer_failure(ml_tls_stream_engine(owner->tls), owner->question.token,
                                         SSL_AD_UNRECOGNIZED_NAME, &err),
                   0);
}

static void check_failure_answer(void)
{
  struct ml_tls_options server = plain_server;
  struct ends ends;
  server.asks = ML_ASKS(ML_ASK_CONTEXT);
  ends_open(&ends, &server, &plain_client);
  ends.server.told = answer_no;
  turn_until(&ends.server.r.count[ERROR], 1);
  owner_close(&ends.client);
  expect_error(&ends.server, "ERR_TEST");
  ends_close(&ends);

  ends_open(&ends, &server, &plain_client);
  ends.server.told = answer_no;
  ends.server.r.close_in = ERROR; /* the alert has left by then */
  turn_until(&ends.client.r.count[ERROR], 1);
  assert_int_equal(ends.client.r.error.alert, SSL_AD_UNRECOGNIZED_NAME);
  assert_int_equal(ends.client.r.error.alert_from, ML_ALERT_PEER);
  ends_close(&ends);
}

static void test_a_refusal_reaches_the_peer_as_an_alert(void **state)
{
  (void)state;
  each_version(check_failure_answer);
}

/* Each callback of the server closes its stream once; then the same on the client. */
static void check_close_inside(void)
{
  struct ml_tls_options server = plain_server, client = plain_client;
  server.asks = client.asks = ML_ASKS(ML_ASK_CONTEXT) | ML_ASKS(ML_ASK_IDENTITY);
  server.want_keylog = client.want_keylog = true;
  ml_tls_context_enable_keylog(server_context);
  ml_tls_context_enable_keylog(client_context);
  for (int round = 0; round < 16; round++) {
    struct ends ends;
    uint8_t *data = pattern(1000000);
    ends_open(&ends, &server, &client);
    struct owner *closing = round % 2 ? &ends.client : &ends.server;
    struct owner *other = round % 2 ? &ends.server : &ends.client;
    ends.server.told = ends.client.told = answer_now;
    static const enum recorded in[] = {READ, END, WRITTEN, SHUTDOWN};
    static const enum told on[] = {TOLD_HANDSHAKE, TOLD_ASK, TOLD_NOTE};
    if (round / 2 < 4) closing->r.close_in = in[round / 2];
    if (round / 2 >= 4 && round / 2 < 7) closing->close_on = on[round / 2 - 4];
    (void)write_bytes(&ends.server, data, 1000000);
    (void)write_bytes(&ends.client, data, 1000000);
    shut(&ends.server);
    shut(&ends.client);
    if (round / 2 == 7) ml_stream_read_stop(other->r.stream);
    if (round / 2 == 7)
      turn_until_quiet();
    else
      turn_until_closed(closing);
    ends_close(&ends);
    free(data);
  }
}

static void test_closing_inside_any_callback(void **state)
{
  (void)state;
  each_version(check_close_inside);
}

static void check_deadline(void)
{
  struct ml_tls_options server = plain_server;
  struct ends ends;
  server.asks = ML_ASKS(ML_ASK_CONTEXT);
  ends_open(&ends, &server, &plain_client);
  turn_until(&ends.server.asks, 1);
  ml_tls_stream_deadline(ends.server.tls, 0.01);
  turn_until(&ends.server.r.count[ERROR], 1);
  expect_error(&ends.server, "ERR_TLS_HANDSHAKE_TIMEOUT");
  /* An answer now is harmless. */
  answer_now(&ends.server, TOLD_ASK);
  ml_tls_stream_resume(ends.server.tls);
  turn_until_quiet();
  assert_int_equal(ends.server.handshakes, 0);
  ends_close(&ends);

  ends_open(&ends, &plain_server, &plain_client);
  ml_tls_stream_deadline(ends.server.tls, 30);
  ml_tls_stream_deadline(ends.server.tls, 0.5);
  ml_tls_stream_deadline(ends.client.tls, 0.001);
  ends.client.r.close_in = ERROR;
  ml_tls_stream_deadline(ends.client.tls, 0);
  turn_until(&ends.client.handshakes, 1);
  turn_until(&ends.server.handshakes, 1);
  ml_tls_stream_deadline(ends.client.tls, 0.001); /* too late to matter */
  ends_close(&ends);
}

static void test_a_deadline_ends_the_handshake_only(void **state)
{
  (void)state;
  each_version(check_deadline);
}

static void check_wrong_peer(void)
{
  struct identity other = make_identity("other.test");
  struct ml_tls_context *distrusting = make_context(NULL, &other, 0);
  struct ends ends;
  int fds[2];
  make_sockets(fds);
  owner_open(&ends.server, adopt(fds[0]), make_engine(server_context, &plain_server));
  owner_open(&ends.client, adopt(fds[1]), make_engine(distrusting, &plain_client));
  ends.client.r.close_in = ERROR;
  turn_until(&ends.server.r.count[ERROR], 1);
  turn_until(&ends.client.r.count[ERROR], 1);
  expect_error(&ends.client, "DEPTH_ZERO_SELF_SIGNED_CERT");
  expect_error(&ends.server, "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA");
  turn_until_quiet();
  assert_int_equal(ends.server.r.count[ERROR], 1);
  assert_int_equal(ends.server.r.count[END], 0);
  struct ml_error err;
  struct ml_slice slice = {(const uint8_t *)"x", 1};
  assert_int_equal(ml_stream_write(ends.server.r.stream, &slice, 1, &err), ML_FAILED);
  assert_int_equal(ml_stream_shutdown(ends.server.r.stream, &err), ML_FAILED);
  ml_stream_read_start(ends.server.r.stream);
  ends_close(&ends);
  ml_tls_context_unref(distrusting);
  free_identity(&other);
}

static void test_the_alert_leaves_before_the_owner_closes(void **state)
{
  (void)state;
  each_version(check_wrong_peer);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_handshake_and_echo),
      cmocka_unit_test(test_a_connection_that_nothing_happens_on_rests),
      cmocka_unit_test(test_large_writes_both_ways_at_once),
      cmocka_unit_test(test_a_peer_that_does_not_read_stops_the_writer),
      cmocka_unit_test(test_a_list_of_slices_arrives_in_order),
      cmocka_unit_test(test_a_write_before_the_handshake_waits_for_it),
      cmocka_unit_test(test_stopping_keeps_what_openssl_has_decrypted),
      cmocka_unit_test(test_shutdown_leaves_reading_open),
      cmocka_unit_test(test_both_sides_shut_down_before_the_handshake_is_over),
      cmocka_unit_test(test_answers_inside_the_question_or_later),
      cmocka_unit_test(test_a_refusal_reaches_the_peer_as_an_alert),
      cmocka_unit_test(test_closing_inside_any_callback),
      cmocka_unit_test(test_a_deadline_ends_the_handshake_only),
      cmocka_unit_test(test_the_alert_leaves_before_the_owner_closes),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

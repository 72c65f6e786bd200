/* Messages after the handshake, on TLS streams over a lower stream that the test plays. */
#include "tls_bench.h"

/* A client that asks for new keys again and again and takes none of our answers. */
static void test_a_flood_of_key_updates_is_not_answered_without_bound(void **state)
{
  (void)state;
  struct bench bench;
  set_version(TLS1_3_VERSION);
  bench_open(&bench, &plain_server);
  bench_shake(&bench);
  bench.lower.room = 0;
  size_t given = 0;
  for (int i = 0; i < 30000; i++) {
    SSL *peer = ml_tls_ssl(bench.peer);
    assert_int_equal(SSL_key_update(peer, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_do_handshake(peer), 1);
    if (ml_buf_size(ml_tls_output(bench.peer)) < 60000) continue;
    given += ml_buf_size(ml_tls_output(bench.peer));
    bench_give(&bench);
    turn_until_quiet();
  }
  assert_true(given > 750000);
  struct ml_tls *engine = ml_tls_stream_engine(bench.owner.tls);
  assert_false(bench.lower.reading);
  assert_true(ml_buf_size(ml_tls_output(engine)) + bench.lower.held.len < 600000);
  assert_true(ml_tls_input_kept(engine) < 140000);
  assert_int_equal(bench.owner.r.count[ERROR], 0);
  bench_close(&bench);
}

/* Handshake messages after the handshake may come in pieces, and OpenSSL writes nothing in between.
 */
static void open_with_half_a_ticket(struct bench *bench, struct ml_buf *rest)
{
  set_version(TLS1_3_VERSION);
  bench_open(bench, &plain_client);
  SSL_set_max_send_fragment(ml_tls_ssl(bench->peer), 512);
  /* A long name in the ticket makes it longer than a record may be. */
  bench_shake(bench);
  assert_int_equal(SSL_new_session_ticket(ml_tls_ssl(bench->peer)), 1);
  SSL_SESSION *session = SSL_get_session(ml_tls_ssl(bench->peer));
  static uint8_t appdata[1000];
  assert_int_equal(SSL_SESSION_set1_ticket_appdata(session, appdata, sizeof(appdata)), 1);
  assert_int_equal(SSL_do_handshake(ml_tls_ssl(bench->peer)), 1);
  struct ml_buf *out = ml_tls_output(bench->peer);
  assert_true(ml_buf_size(out) > 1000);
  assert_int_equal(ml_buf_append(rest, ml_buf_data(out) + 600, ml_buf_size(out) - 600), 0);
  fake_give(&bench->lower, ml_buf_data(out), 600);
  ml_buf_free(out);
  turn_until_quiet();
}

static void test_a_write_waits_for_the_rest_of_a_message(void **state)
{
  (void)state;
  static uint8_t data[200000];
  for (int paused = 0; paused < 2; paused++) {
    struct bench bench;
    struct ml_buf rest = {0};
    open_with_half_a_ticket(&bench, &rest);
    if (paused) ml_stream_read_stop(bench.owner.r.stream);
    assert_int_equal(write_bytes(&bench.owner, data, paused ? sizeof(data) : 10), ML_PENDING);
    turn_until_quiet();
    assert_int_equal(bench.owner.r.count[ERROR], 0);
    assert_true(bench.lower.reading);
    fake_give(&bench.lower, ml_buf_data(&rest), ml_buf_size(&rest));
    turn_until_quiet();
    assert_int_equal(bench.owner.r.count[WRITTEN], 1);
    assert_int_equal(bench.lower.reading, !paused);
    assert_int_equal(bench_take(&bench), paused ? sizeof(data) : 10);
    ml_buf_free(&rest);
    bench_close(&bench);
  }
}

static void test_a_message_that_never_ends_fails_the_write(void **state)
{
  (void)state;
  struct bench bench;
  struct ml_buf rest = {0};
  open_with_half_a_ticket(&bench, &rest);
  assert_int_equal(write_text(&bench.owner, "x"), ML_PENDING);
  fake_end(&bench.lower);
  turn_until_quiet();
  expect_error(&bench.owner, "EPIPE");
  ml_buf_free(&rest);
  bench_close(&bench);
}

static void test_a_shutdown_waits_for_the_rest_of_a_message(void **state)
{
  (void)state;
  for (int ends = 0; ends < 2; ends++) {
    struct bench bench;
    struct ml_buf rest = {0};
    open_with_half_a_ticket(&bench, &rest);
    shut(&bench.owner);
    turn_until_quiet();
    assert_false(bench.lower.shut);
    if (ends)
      fake_end(&bench.lower);
    else
      fake_give(&bench.lower, ml_buf_data(&rest), ml_buf_size(&rest));
    turn_until_quiet();
    assert_true(bench.lower.shut);
    assert_int_equal(bench.owner.r.count[SHUTDOWN], 1);
    (void)bench_take(&bench);
    if (!ends) assert_int_equal(bench.peer_result, ML_TLS_END);
    ml_buf_free(&rest);
    bench_close(&bench);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_flood_of_key_updates_is_not_answered_without_bound),
      cmocka_unit_test(test_a_write_waits_for_the_rest_of_a_message),
      cmocka_unit_test(test_a_message_that_never_ends_fails_the_write),
      cmocka_unit_test(test_a_shutdown_waits_for_the_rest_of_a_message),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* TLS streams over a lower stream that the test plays. */
#include "tls_bench.h"

static const struct ml_tls_options *const roles[] = {&plain_server, &plain_client};

static void check_bytewise(void)
{
  for (int i = 0; i < 2; i++) {
    struct bench bench;
    bench_open(&bench, roles[i]);
    bench.lower.chunk = 1;
    bench_shake(&bench);
    peer_write(&bench, "drop by drop", 12);
    turn_until_length(&bench.owner.r, 12);
    expect_text(&bench.owner, "drop by drop");
    bench_close(&bench);
  }
}

static void test_one_byte_at_a_time(void **state)
{
  (void)state;
  each_version(check_bytewise);
}

static void check_reluctant(void)
{
  static uint8_t data[500000];
  for (int i = 0; i < 2; i++) {
    struct bench bench;
    size_t total = 0;
    bench_open(&bench, roles[i]);
    bench_shake(&bench);
    bench.lower.room = 10;
    assert_int_equal(write_bytes(&bench.owner, data, sizeof(data)), ML_PENDING);
    for (int turn = 0; turn < 1000 && total < sizeof(data); turn++) {
      turn_until_quiet();
      assert_int_equal(bench.owner.r.count[WRITTEN], 0);
      /* No more than one flush is encrypted ahead of what the lower stream takes. */
      assert_true(bench.lower.held.len <= 140000);
      assert_true(ml_buf_size(ml_tls_output(ml_tls_stream_engine(bench.owner.tls))) <= 70000);
      bench.lower.room = 1000;
      fake_take(&bench.lower);
      total += bench_take(&bench);
    }
    assert_int_equal(total, sizeof(data));
    bench.lower.room = SIZE_MAX;
    turn_until_quiet();
    assert_int_equal(bench.owner.r.count[WRITTEN], 1);
    bench_close(&bench);
  }
}

static void test_encrypts_no_further_than_the_lower_stream_takes(void **state)
{
  (void)state;
  each_version(check_reluctant);
}

static void check_budget(void)
{
  static uint8_t data[4 * 1024 * 1024];
  struct ml_slice slices[] = {{data, 10}, {data + 10, sizeof(data) - 10}};
  struct ml_error err;
  struct bench bench;
  bench_open(&bench, &plain_client);
  bench_shake(&bench);
  assert_int_equal(ml_stream_write(bench.owner.r.stream, slices, 2, &err), ML_PENDING);
  size_t largest = 0, before = ml_buf_size(&bench.lower.outbox);
  assert_true(before < 400000);
  while (bench.owner.r.count[WRITTEN] == 0) {
    (void)ml_loop_step(loop, false);
    size_t step = ml_buf_size(&bench.lower.outbox) - before;
    before += step;
    if (step > largest) largest = step;
  }
  /* Others had their turn in between, though the lower stream takes all it gets. */
  assert_true(largest < 1000000);
  assert_int_equal(bench_take(&bench), sizeof(data));
  bench_close(&bench);
}

static void test_a_large_write_is_spread_over_turns(void **state)
{
  (void)state;
  each_version(check_budget);
}

/* Ends the lower stream after each possible number of bytes of the peer's first flight. */
static void check_end_in_handshake(void)
{
  for (int i = 0; i < 2; i++) {
    for (size_t n = 0; n < 300; n = n ? n * 3 : 1) {
      struct bench bench;
      bench_open(&bench, roles[i]);
      turn_until_quiet();
      (void)bench_take(&bench);
      struct ml_buf *out = ml_tls_output(bench.peer);
      assert_true(ml_buf_size(out) > n || n > 200);
      if (n) fake_give(&bench.lower, ml_buf_data(out), n < ml_buf_size(out) ? n : 1);
      fake_end(&bench.lower);
      turn_until_quiet();
      expect_error(&bench.owner, "ECONNRESET");
      assert_int_equal(bench.owner.r.error.origin, ML_ORIGIN_TLS);
      assert_true(bench.owner.r.error.reason[0] != '\0');
      assert_int_equal(bench.owner.r.count[END] + bench.owner.handshakes, 0);
      bench_close(&bench);
    }
  }
}

static void test_the_end_during_the_handshake_is_a_reset(void **state)
{
  (void)state;
  each_version(check_end_in_handshake);
}

static void check_end_while_asked(void)
{
  struct ml_tls_options server = plain_server;
  struct bench bench;
  server.asks = ML_ASKS(ML_ASK_CONTEXT);
  bench_open(&bench, &server);
  bench_give(&bench);
  turn_until_quiet();
  assert_int_equal(bench.owner.asks, 1);
  fake_end(&bench.lower);
  turn_until_quiet();
  expect_error(&bench.owner, "ECONNRESET");
  assert_int_equal(ml_tls_answer_context(ml_tls_stream_engine(bench.owner.tls),
                                         bench.owner.question.token, NULL),
                   0);
  ml_tls_stream_resume(bench.owner.tls);
  turn_until_quiet();
  assert_int_equal(bench.owner.r.count[ERROR], 1);
  bench_close(&bench);
}

static void test_the_end_while_an_answer_is_outstanding(void **state)
{
  (void)state;
  each_version(check_end_while_asked);
}

static void check_flood_while_asked(void)
{
  static uint8_t junk[60000];
  struct ml_tls_options server = plain_server;
  struct bench bench;
  server.asks = ML_ASKS(ML_ASK_CONTEXT);
  bench_open(&bench, &server);
  bench_give(&bench);
  turn_until_quiet();
  for (int i = 0; i < 20; i++) {
    fake_give(&bench.lower, junk, sizeof(junk));
    turn_until_quiet();
  }
  assert_false(bench.lower.reading);
  assert_true(ml_tls_input_kept(ml_tls_stream_engine(bench.owner.tls)) <= 140000);
  bench_close(&bench);
}

static void test_a_flood_while_an_answer_is_outstanding_is_not_read(void **state)
{
  (void)state;
  each_version(check_flood_while_asked);
}

static void check_ends(void)
{
  for (int notify = 0; notify < 2; notify++) {
    struct bench bench;
    bench_open(&bench, &plain_server);
    bench_shake(&bench);
    peer_write(&bench, "bye", 3);
    if (notify) (void)ml_tls_close(bench.peer);
    bench_give(&bench);
    ml_stream_read_stop(bench.owner.r.stream);
    fake_end(&bench.lower);
    turn_until_quiet();
    assert_int_equal(bench.owner.r.count[END] + bench.owner.r.count[READ], 0);
    ml_stream_read_start(bench.owner.r.stream);
    turn_until_quiet();
    expect_text(&bench.owner, "bye");
    assert_int_equal(bench.owner.r.count[END], 1);
    assert_int_equal(bench.owner.r.count[ERROR], 0);
    (void)write_text(&bench.owner, "answer");
    shut(&bench.owner);
    turn_until_quiet();
    assert_true(bench.lower.shut);
    assert_int_equal(bench.owner.r.count[SHUTDOWN], 1);
    assert_int_equal(bench_take(&bench), 6);
    assert_int_equal(bench.peer_result, ML_TLS_END);
    bench_close(&bench);
  }
}

static void test_the_end_with_and_without_close_notify(void **state)
{
  (void)state;
  each_version(check_ends);
}

static void shut_at_end(struct recorder *r, enum recorded what)
{
  if (what == END) shut((struct owner *)(void *)r);
}

/* A client that leaves with its last flight: whatever the server still has to say, tickets above
 * all, leaves with its end. */
static void check_one_farewell(void)
{
  struct bench bench;
  bench_open(&bench, &plain_server);
  bench.owner.r.hook = shut_at_end;
  for (int i = 0; i < 10 && !ml_tls_established(bench.peer); i++) {
    bench_give(&bench);
    turn_until_quiet();
    (void)bench_take(&bench);
  }
  int before = bench.lower.writes;
  (void)ml_tls_close(bench.peer);
  bench_give(&bench);
  turn_until_quiet();
  assert_int_equal(bench.owner.handshakes, 1);
  assert_int_equal(bench.owner.r.count[END], 1);
  assert_int_equal(bench.owner.r.count[SHUTDOWN], 1);
  assert_int_equal(bench.lower.writes - before, 1);
  assert_true(bench.lower.shut);
  (void)bench_take(&bench);
  assert_int_equal(bench.peer_result, ML_TLS_END);
  bench_close(&bench);
}

static void test_what_is_left_to_say_leaves_with_the_end(void **state)
{
  (void)state;
  each_version(check_one_farewell);
}

/* Bytes behind the peer's close_notify are nobody's. */
static void check_after_close(void)
{
  struct bench bench;
  bench_open(&bench, &plain_server);
  bench_shake(&bench);
  (void)ml_tls_close(bench.peer);
  bench_give(&bench);
  turn_until_quiet();
  fake_give(&bench.lower, "garbage", 7);
  fake_end(&bench.lower);
  turn_until_quiet();
  assert_int_equal(bench.owner.r.count[END], 1);
  assert_int_equal(bench.owner.r.count[ERROR], 0);
  bench_close(&bench);
}

static void test_nothing_is_read_behind_close_notify(void **state)
{
  (void)state;
  each_version(check_after_close);
}

static void check_lower_failures(void)
{
  static uint8_t data[300000];
  struct ml_error err;
  struct ml_slice slice = {data, sizeof(data)};
  struct bench bench;

  bench_open(&bench, &plain_client); /* before anything */
  fake_break(&bench.lower, ECONNREFUSED);
  turn_until_quiet();
  expect_error(&bench.owner, "ECONNREFUSED");
  bench_close(&bench);

  bench_open(&bench, &plain_client); /* the first write */
  bench.lower.fails = true;
  turn_until_quiet();
  expect_error(&bench.owner, "EPIPE");
  assert_int_equal(bench.lower.writes, 1);
  bench_close(&bench);

  bench_open(&bench, &plain_client); /* with output gathered, and with output under way */
  bench_shake(&bench);
  (void)write_text(&bench.owner, "gathered");
  fake_break(&bench.lower, ECONNRESET);
  bench.lower.room = 0;
  turn_until_quiet();
  expect_error(&bench.owner, "ECONNRESET");
  bench_close(&bench);

  bench_open(&bench, &plain_client); /* a write that fails at once says so itself */
  bench_shake(&bench);
  bench.lower.fails = true;
  assert_int_equal(ml_stream_write(bench.owner.r.stream, &slice, 1, &err), ML_FAILED);
  assert_string_equal(err.code, "EPIPE");
  turn_until_quiet();
  assert_int_equal(bench.owner.r.count[ERROR], 0);
  bench_close(&bench);

  bench_open(&bench, &plain_client); /* the shutdown */
  bench_shake(&bench);
  bench.lower.shut_pending = true;
  shut(&bench.owner);
  turn_until_quiet();
  assert_int_equal(bench.owner.r.count[SHUTDOWN], 0);
  bench.lower.stream.events->on_shutdown(&bench.lower.stream);
  assert_int_equal(bench.owner.r.count[SHUTDOWN], 1);
  fake_break(&bench.lower, ECONNRESET);
  bench.owner.r.close_in = ERROR;
  turn_until_quiet();
  expect_error(&bench.owner, "ECONNRESET");
  bench_close(&bench);
}

static void test_failures_of_the_lower_stream_are_told_once(void **state)
{
  (void)state;
  each_version(check_lower_failures);
}

/* Data as large as `size` comes with the peer's last flight, and the lower stream fails before the
 * turn that these wait for. Returns whether this end gets the last flight. */
static bool last_words(const struct ml_tls_options *role, size_t size)
{
  struct ml_error err;
  struct bench bench;
  size_t done;
  uint8_t *text = pattern(size);
  bench_open(&bench, role);
  for (int i = 0; i < 10 && !ml_tls_established(bench.peer); i++) {
    bench_give(&bench);
    turn_until_quiet();
    (void)bench_take(&bench);
  }
  bool last = bench.owner.handshakes == 0;
  if (last) {
    struct ml_stream *lower = &bench.lower.stream;
    assert_int_equal(ml_tls_write(bench.peer, text, size, &done), ML_TLS_OK);
    struct ml_buf *out = ml_tls_output(bench.peer);
    lower->events->on_read(lower, ml_buf_data(out), ml_buf_size(out));
    assert_int_equal(bench.owner.handshakes, 0);
    bench.lower.broken = true;
    ml_error_system(&err, ECONNRESET, "read");
    lower->events->on_error(lower, &err);
    assert_int_equal(bench.owner.handshakes, 1);
    assert_int_equal(bench.owner.r.len, size);
    assert_memory_equal(bench.owner.r.bytes, text, size);
    expect_error(&bench.owner, "ECONNRESET");
  }
  free(text);
  bench_close(&bench);
  return last;
}

static void check_last_words(void)
{
  static const size_t sizes[] = {5, 100000};
  for (int i = 0; i < 2; i++)
    assert_true(last_words(roles[0], sizes[i]) + last_words(roles[1], sizes[i]) == 1);
}

static void test_data_behind_the_last_flight_comes_before_the_failure(void **state)
{
  (void)state;
  each_version(check_last_words);
}

/* A server of TLS 1.3 may have said all, its end included, when it has said its flight (RFC 8446,
 * 2); `whole`: it has. */
static void hear_a_flight_and_the_end(bool whole)
{
  struct ml_tls_options options = plain_client;
  options.asks = ML_ASKS(ML_ASK_IDENTITY);
  struct bench bench;
  bench_open(&bench, &options);
  turn_until_quiet();
  (void)bench_take(&bench);
  struct ml_stream *lower = &bench.lower.stream;
  struct ml_buf *out = ml_tls_output(bench.peer);
  lower->events->on_read(lower, ml_buf_data(out), ml_buf_size(out) - (whole ? 0 : 1));
  lower->events->on_end(lower);
  turn_until_quiet();
  assert_int_equal(bench.owner.asks, 1);
  assert_int_equal(bench.owner.r.count[ERROR], 0);
  assert_int_equal(ml_tls_answer_identity(ml_tls_stream_engine(bench.owner.tls),
                                          bench.owner.question.token, true),
                   0);
  ml_tls_stream_resume(bench.owner.tls);
  turn_until_quiet();
  assert_int_equal(bench.owner.handshakes, whole);
  assert_int_equal(bench.owner.r.count[END], whole);
  if (!whole) expect_error(&bench.owner, "ECONNRESET");
  (void)bench_take(&bench);
  assert_int_equal(ml_tls_established(bench.peer), whole);
  bench_close(&bench);
}

static void test_a_server_that_has_said_all_is_judged_and_heard(void **state)
{
  (void)state;
  set_version(TLS1_3_VERSION);
  hear_a_flight_and_the_end(true);
  hear_a_flight_and_the_end(false);
}

static void check_close_of_waiting(void)
{
  for (int i = 0; i < 2; i++) {
    struct bench bench;
    bench_open(&bench, roles[i]);
    turn_until_quiet();
    (void)bench_take(&bench);
    struct ml_stream *lower = &bench.lower.stream;
    struct ml_buf *out = ml_tls_output(bench.peer);
    assert_true(ml_buf_size(out) > 0);
    lower->events->on_read(lower, ml_buf_data(out), ml_buf_size(out));
    bench_close(&bench); /* nothing keeps the loop */
    assert_int_equal(bench.owner.handshakes + bench.owner.asks, 0);
  }
}

static void test_a_stream_is_closed_while_its_step_waits(void **state)
{
  (void)state;
  each_version(check_close_of_waiting);
}

static void check_alert(void)
{
  struct bench bench;
  bench_open(&bench, &plain_server);
  bench_shake(&bench);
  static const uint8_t record[] = {23, 3, 3, 0, 32, 1, 2, 3,  4,  5,  6,  7,  8,
                                   9,  1, 1, 1, 1,  1, 1, 1,  1,  1,  1,  1,  1,
                                   1,  1, 1, 1, 1,  1, 1, 11, 12, 13, 14, 15, 16};
  peer_write(&bench, "first", 5);
  fake_give(&bench.lower, record, sizeof(record));
  bench.owner.r.close_in = ERROR;
  turn_until_quiet();
  expect_text(&bench.owner, "first");
  expect_error(&bench.owner, "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC");
  assert_int_equal(bench.owner.r.error.alert, SSL_AD_BAD_RECORD_MAC);
  assert_int_equal(bench.owner.r.error.alert_from, ML_ALERT_LOCAL);
  (void)bench_take(&bench);
  assert_int_equal(bench.peer_result, ML_TLS_ERROR);
  assert_int_equal(ml_tls_error(bench.peer)->alert, SSL_AD_BAD_RECORD_MAC);
  bench_close(&bench);
}

static void test_a_forged_record_is_answered_with_an_alert(void **state)
{
  (void)state;
  each_version(check_alert);
}

static void check_http(void)
{
  static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  struct bench bench;
  bench_open(&bench, &plain_server);
  fake_give(&bench.lower, request, sizeof(request) - 1);
  turn_until_quiet();
  expect_error(&bench.owner, "ERR_SSL_HTTP_REQUEST");
  bench_close(&bench);
}

static void test_plain_http_is_named(void **state)
{
  (void)state;
  each_version(check_http);
}

static void check_inject(void)
{
  static const uint8_t noise[] = "no record";
  struct bench bench;
  struct ml_error err;
  bench_open(&bench, &plain_client);
  bench_shake(&bench);
  assert_int_equal(write_bytes(&bench.owner, (const uint8_t *)"first", 5), ML_DONE);
  assert_int_equal(ml_tls_stream_inject(bench.owner.tls, noise, sizeof(noise), &err), 0);
  turn_until_quiet();
  assert_int_equal(bench_take(&bench), 5);
  assert_int_equal(bench.peer_result, ML_TLS_ERROR);
  assert_string_equal(ml_tls_error(bench.peer)->code, "ERR_SSL_WRONG_VERSION_NUMBER");
  bench_give(&bench);
  bench.owner.r.close_in = ERROR;
  turn_until_quiet();
  expect_error(&bench.owner, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
  bench_close(&bench);
}

static void test_bytes_that_are_no_tls_go_down_as_they_are(void **state)
{
  (void)state;
  each_version(check_inject);
}

static void check_feed(void)
{
  struct bench bench;
  bench = (struct bench){0};
  fake_init(&bench.lower, loop);
  bench.peer = make_engine(client_context, &plain_client);
  (void)ml_tls_handshake(bench.peer);
  struct ml_buf *hello = ml_tls_output(bench.peer);
  struct ml_tls_stream *tls =
      ml_tls_stream_new(&bench.lower.stream, make_engine(server_context, &plain_server),
                        &recorder_events, &owner_events, &bench.owner);
  bench.owner.tls = tls;
  bench.owner.r.stream = ml_tls_stream_base(tls);
  assert_int_equal(ml_tls_stream_feed(tls, ml_buf_data(hello), 10), 0);
  assert_int_equal(ml_tls_stream_feed(tls, ml_buf_data(hello) + 10, ml_buf_size(hello) - 10), 0);
  ml_buf_free(hello);
  ml_stream_read_start(bench.owner.r.stream);
  turn_until_quiet();
  assert_int_equal(bench.lower.writes, 0); /* not before the start */
  ml_tls_stream_start(tls);
  ml_tls_stream_start(tls);
  turn_until_quiet();
  assert_int_equal(bench.lower.writes, 1); /* the whole flight in one */
  (void)bench_take(&bench);
  bench_shake(&bench);
  bench_close(&bench);
}

static void test_bytes_read_before_the_stream_existed(void **state)
{
  (void)state;
  each_version(check_feed);
}

static void check_no_start(void)
{
  struct fake lower;
  struct owner owner = {0};
  fake_init(&lower, loop);
  owner.tls = ml_tls_stream_new(&lower.stream, make_engine(client_context, &plain_client),
                                &recorder_events, &owner_events, &owner);
  owner.r.stream = ml_tls_stream_base(owner.tls);
  ml_stream_read_start(owner.r.stream);
  assert_int_equal(write_text(&owner, "never"), ML_PENDING);
  shut(&owner);
  ml_tls_stream_resume(owner.tls);
  turn_until_quiet();
  assert_int_equal(lower.writes, 0);
  owner_close(&owner);
  assert_true(lower.closed);
  fake_free(&lower);
}

static void test_a_stream_that_never_starts_says_nothing(void **state)
{
  (void)state;
  each_version(check_no_start);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_byte_at_a_time),
      cmocka_unit_test(test_encrypts_no_further_than_the_lower_stream_takes),
      cmocka_unit_test(test_a_large_write_is_spread_over_turns),
      cmocka_unit_test(test_the_end_during_the_handshake_is_a_reset),
      cmocka_unit_test(test_the_end_while_an_answer_is_outstanding),
      cmocka_unit_test(test_a_flood_while_an_answer_is_outstanding_is_not_read),
      cmocka_unit_test(test_the_end_with_and_without_close_notify),
      cmocka_unit_test(test_what_is_left_to_say_leaves_with_the_end),
      cmocka_unit_test(test_nothing_is_read_behind_close_notify),
      cmocka_unit_test(test_failures_of_the_lower_stream_are_told_once),
      cmocka_unit_test(test_data_behind_the_last_flight_comes_before_the_failure),
      cmocka_unit_test(test_a_server_that_has_said_all_is_judged_and_heard),
      cmocka_unit_test(test_a_stream_is_closed_while_its_step_waits),
      cmocka_unit_test(test_a_forged_record_is_answered_with_an_alert),
      cmocka_unit_test(test_plain_http_is_named),
      cmocka_unit_test(test_bytes_that_are_no_tls_go_down_as_they_are),
      cmocka_unit_test(test_bytes_read_before_the_stream_existed),
      cmocka_unit_test(test_a_stream_that_never_starts_says_nothing),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

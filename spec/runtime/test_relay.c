/* Relays: streams whose lower end is code, here the test's. */
#include "relay.h"

#include "recorder.h"

#include <errno.h>

static struct ml_loop *loop;

/* The carrier: what it was given, and what it is to do in its callbacks. */
struct carrier {
  struct ml_relay *relay; /* NULL once let go */
  struct recorder owner;
  uint8_t *bytes;
  size_t len;
  int outgoing, finishes, flows, closes;
  bool close_in_outgoing, release_in_outgoing, written_in_outgoing;
};

static struct carrier *carrier_of(struct ml_relay *relay)
{
  struct carrier *c = ml_relay_carrier_user(relay);
  assert_ptr_equal(c->relay, relay);
  return c;
}

static void carrier_on_outgoing(struct ml_relay *relay, const uint8_t *data, size_t len)
{
  struct carrier *c = carrier_of(relay);
  c->outgoing++;
  c->bytes = realloc(c->bytes, c->len + len);
  assert_non_null(c->bytes);
  if (c->close_in_outgoing) recorder_close(&c->owner);
  if (c->written_in_outgoing) ml_relay_written(relay);
  if (c->release_in_outgoing) {
    ml_relay_release(relay);
    c->relay = NULL;
  }
  memcpy(c->bytes + c->len, data, len); /* valid still */
  c->len += len;
}

static void carrier_on_finish(struct ml_relay *relay)
{
  carrier_of(relay)->finishes++;
}

static void carrier_on_flow(struct ml_relay *relay)
{
  carrier_of(relay)->flows++;
}

static void carrier_on_closed(struct ml_relay *relay)
{
  struct carrier *c = carrier_of(relay);
  assert_true(ml_relay_closed(relay));
  assert_null(c->owner.stream);
  c->closes++;
}

static const struct ml_relay_carrier carrier_events = {
    .on_outgoing = carrier_on_outgoing,
    .on_finish = carrier_on_finish,
    .on_flow = carrier_on_flow,
    .on_closed = carrier_on_closed,
};

static void open_relay(struct carrier *c)
{
  *c = (struct carrier){0};
  c->relay = ml_relay_new(loop, &carrier_events, c);
  assert_non_null(c->relay);
  recorder_take(&c->owner, ml_relay_stream(c->relay));
}

static void turn(void)
{
  for (int i = 0; i < 50; i++)
    (void)ml_loop_step(loop, false);
}

static void close_relay(struct carrier *c)
{
  recorder_reset(&c->owner);
  turn();
  assert_int_equal(c->closes, c->relay ? 1 : 0);
  if (c->relay) ml_relay_release(c->relay);
  turn();
  assert_false(ml_loop_alive(loop));
  free(c->bytes);
}

static int write_text(struct carrier *c, const char *text)
{
  struct ml_error err;
  struct ml_slice slice = {(const uint8_t *)text, strlen(text)};
  return ml_stream_write(c->owner.stream, &slice, 1, &err);
}

static void expect_carried(const struct carrier *c, const char *text)
{
  assert_int_equal(c->len, strlen(text));
  assert_memory_equal(c->bytes, text, c->len);
}

static void expect_read(const struct carrier *c, const char *text)
{
  assert_int_equal(c->owner.len, strlen(text));
  if (c->owner.len > 0) assert_memory_equal(c->owner.bytes, text, c->owner.len);
}

static void test_carries_writes_one_at_a_time(void **state)
{
  struct carrier c;
  struct ml_slice slices[] = {{(const uint8_t *)"one ", 4}, {NULL, 0}, {(const uint8_t *)"two", 3}};
  struct ml_error err;
  (void)state;
  open_relay(&c);
  assert_int_equal(ml_stream_write(c.owner.stream, slices, 3, &err), ML_PENDING);
  assert_int_equal(c.outgoing, 0);
  assert_int_equal(ml_stream_queued(c.owner.stream), 7);
  turn();
  expect_carried(&c, "one two");
  assert_int_equal(c.owner.count[WRITTEN], 0);
  assert_int_equal(ml_stream_queued(c.owner.stream), 7);
  ml_relay_written(c.relay);
  ml_relay_written(c.relay);
  assert_int_equal(c.owner.count[WRITTEN], 0);
  turn();
  assert_int_equal(c.owner.count[WRITTEN], 1);
  assert_int_equal(ml_stream_queued(c.owner.stream), 0);
  assert_int_equal(c.owner.stream->bytes_written, 7);
  assert_int_equal(write_text(&c, ""), ML_DONE);
  close_relay(&c);
}

static void test_carries_the_end_behind_the_write(void **state)
{
  struct carrier c;
  struct ml_error err;
  (void)state;
  open_relay(&c);
  assert_int_equal(write_text(&c, "last words"), ML_PENDING);
  assert_int_equal(ml_stream_shutdown(c.owner.stream, &err), ML_PENDING);
  turn();
  assert_int_equal(c.finishes, 0);
  ml_relay_written(c.relay);
  turn();
  assert_int_equal(c.finishes, 1);
  assert_int_equal(c.owner.count[SHUTDOWN], 0);
  ml_relay_finished(c.relay);
  ml_relay_finished(c.relay);
  turn();
  assert_int_equal(c.owner.count[SHUTDOWN], 1);
  assert_int_equal(ml_stream_shutdown(c.owner.stream, &err), ML_FAILED);
  assert_int_equal(write_text(&c, "more"), ML_FAILED);
  close_relay(&c);
}

static void test_delivers_in_order_when_read(void **state)
{
  struct carrier c;
  (void)state;
  open_relay(&c);
  turn();
  assert_int_equal(c.flows, 0);
  assert_int_equal(ml_relay_receive(c.relay, "early ", 6), ML_PENDING);
  turn();
  assert_int_equal(c.owner.len, 0);
  ml_stream_read_start(c.owner.stream);
  turn();
  expect_read(&c, "early ");
  assert_int_equal(c.flows, 1);
  assert_int_equal(ml_relay_receive(c.relay, "bird", 4), ML_DONE);
  ml_relay_receive_end(c.relay);
  assert_int_equal(ml_relay_receive(c.relay, "too late", 8), ML_DONE);
  expect_read(&c, "early ");
  turn();
  expect_read(&c, "early bird");
  assert_int_equal(c.owner.count[END], 1);
  assert_int_equal(c.owner.order[c.owner.events - 1], END);
  assert_int_equal(c.owner.stream->bytes_read, 10);
  assert_int_equal(write_text(&c, "the other half is open"), ML_PENDING);
  close_relay(&c);
}

static void test_asks_for_more_when_it_is_read(void **state)
{
  struct carrier c;
  static uint8_t chunk[ML_RELAY_INBOX];
  (void)state;
  open_relay(&c);
  ml_stream_read_start(c.owner.stream);
  turn();
  assert_int_equal(c.flows, 1);
  assert_int_equal(ml_relay_receive(c.relay, chunk, sizeof(chunk)), ML_PENDING);
  ml_stream_read_stop(c.owner.stream);
  turn();
  assert_int_equal(c.owner.len, 0);
  assert_int_equal(c.flows, 1);
  ml_stream_read_start(c.owner.stream);
  turn();
  assert_int_equal(c.owner.len, sizeof(chunk));
  assert_int_equal(c.owner.count[READ], sizeof(chunk) / ML_LOOP_BUFFER_SIZE);
  assert_int_equal(c.flows, 2);
  close_relay(&c);
}

/* What each turn of the loop delivers is bounded, and tasks run to their end within one. */
static void test_delivers_one_buffer_a_turn(void **state)
{
  struct carrier c;
  static uint8_t chunk[ML_LOOP_BUFFER_SIZE * 3];
  (void)state;
  open_relay(&c);
  ml_stream_read_start(c.owner.stream);
  assert_int_equal(ml_relay_receive(c.relay, chunk, sizeof(chunk)), ML_PENDING);
  for (size_t i = 1; i <= 3; i++) {
    (void)ml_loop_step(loop, false);
    assert_in_range(c.owner.len, 0, i * ML_LOOP_BUFFER_SIZE);
  }
  turn();
  assert_int_equal(c.owner.len, sizeof(chunk));
  close_relay(&c);
}

static void test_tells_a_failure_behind_what_came_before(void **state)
{
  struct carrier c;
  struct ml_error err, second;
  (void)state;
  open_relay(&c);
  ml_stream_read_start(c.owner.stream);
  (void)!ml_relay_receive(c.relay, "a word", 6);
  ml_error_system(&err, ECONNRESET, "read");
  ml_error_system(&second, EPIPE, "write");
  ml_relay_fail(c.relay, &err);
  ml_relay_fail(c.relay, &second);
  assert_int_equal(write_text(&c, "lost"), ML_PENDING);
  assert_int_equal(c.owner.count[ERROR], 0);
  turn();
  expect_read(&c, "a word");
  assert_int_equal(c.owner.count[ERROR], 1);
  assert_int_equal(c.owner.error.number, ECONNRESET);
  assert_int_equal(c.owner.count[END], 0);
  assert_int_equal(c.outgoing, 0);
  ml_relay_receive_end(c.relay);
  ml_stream_read_start(c.owner.stream);
  turn();
  assert_int_equal(c.owner.count[END], 0);
  assert_int_equal(write_text(&c, "lost"), ML_FAILED);
  close_relay(&c);
}

static void test_tells_an_end_before_the_failure_behind_it(void **state)
{
  struct carrier c;
  struct ml_error err;
  (void)state;
  open_relay(&c);
  ml_stream_read_start(c.owner.stream);
  ml_relay_receive_end(c.relay);
  ml_error_system(&err, EPIPE, "write");
  ml_relay_fail(c.relay, &err);
  turn();
  assert_int_equal(c.owner.order[0], END);
  assert_int_equal(c.owner.order[1], ERROR);
  assert_int_equal(c.owner.events, 2);
  close_relay(&c);
}

static void test_tells_a_failure_to_an_owner_who_does_not_read(void **state)
{
  struct carrier c;
  struct ml_error err;
  (void)state;
  open_relay(&c);
  (void)!ml_relay_receive(c.relay, "unread", 6);
  assert_int_equal(write_text(&c, "never acknowledged"), ML_PENDING);
  turn();
  ml_error_misuse(&err, "ERR_CARRIER", "the carrier fell");
  ml_relay_fail(c.relay, &err);
  ml_relay_written(c.relay);
  turn();
  assert_int_equal(c.owner.count[ERROR], 1);
  assert_string_equal(c.owner.error.code, "ERR_CARRIER");
  close_relay(&c);
}

static void test_keeps_what_was_written_last_for_the_carrier(void **state)
{
  struct carrier c;
  size_t len;
  (void)state;
  open_relay(&c);
  assert_null(ml_relay_unsent(c.relay, &len));
  assert_int_equal(write_text(&c, "an alert"), ML_PENDING);
  assert_null(ml_relay_unsent(c.relay, &len)); /* it will be given */
  recorder_close(&c.owner);
  const uint8_t *unsent = ml_relay_unsent(c.relay, &len);
  assert_int_equal(len, 8);
  assert_memory_equal(unsent, "an alert", 8);
  turn();
  assert_int_equal(c.outgoing, 0);
  close_relay(&c);

  open_relay(&c);
  assert_int_equal(write_text(&c, "carried"), ML_PENDING);
  turn();
  recorder_close(&c.owner);
  assert_null(ml_relay_unsent(c.relay, &len));
  assert_int_equal(len, 0);
  close_relay(&c);
}

static void test_may_be_closed_and_let_go_in_callbacks(void **state)
{
  struct carrier c;
  (void)state;
  for (int i = 0; i < 4; i++) {
    open_relay(&c);
    c.close_in_outgoing = i & 1;
    c.release_in_outgoing = i & 2;
    c.written_in_outgoing = true;
    assert_int_equal(write_text(&c, "x"), ML_PENDING);
    turn();
    expect_carried(&c, "x");
    assert_int_equal(c.owner.count[WRITTEN], i & 1 ? 0 : 1);
    close_relay(&c);
  }
  static const enum recorded in[] = {READ, END, WRITTEN, SHUTDOWN, ERROR};
  for (size_t i = 0; i < sizeof(in) / sizeof(*in); i++) {
    struct ml_error err;
    open_relay(&c);
    c.owner.close_in = in[i];
    c.written_in_outgoing = true;
    ml_stream_read_start(c.owner.stream);
    (void)!ml_relay_receive(c.relay, "x", 1);
    if (in[i] != ERROR) {
      assert_int_equal(write_text(&c, "x"), ML_PENDING);
      assert_int_equal(ml_stream_shutdown(c.owner.stream, &err), ML_PENDING);
    }
    turn();
    ml_relay_finished(c.relay);
    ml_error_system(&err, EPIPE, "write");
    if (in[i] == ERROR) ml_relay_fail(c.relay, &err);
    ml_relay_receive_end(c.relay);
    turn();
    assert_int_equal(c.owner.count[in[i]], 1);
    assert_null(c.owner.stream);
    close_relay(&c);
  }
}

static void test_works_without_its_carrier_no_more(void **state)
{
  struct carrier c;
  (void)state;
  open_relay(&c);
  ml_stream_read_start(c.owner.stream);
  ml_relay_release(c.relay);
  c.relay = NULL;
  assert_int_equal(write_text(&c, "x"), ML_FAILED);
  turn();
  close_relay(&c);
}

static void test_has_no_transport(void **state)
{
  struct carrier c;
  struct ml_addr addr;
  struct ml_error err;
  (void)state;
  open_relay(&c);
  assert_null(ml_stream_transport(c.owner.stream));
  assert_int_equal(ml_stream_local(c.owner.stream, &addr, &err), -1);
  assert_int_equal(ml_stream_remote(c.owner.stream, &addr, &err), -1);
  ml_stream_ref(c.owner.stream, true);
  assert_false(ml_loop_alive(loop));
  close_relay(&c);
}

static int setup(void **state)
{
  struct ml_error err;
  (void)state;
  return ml_loop_new(&loop, &err);
}

static int teardown(void **state)
{
  (void)state;
  ml_loop_free(loop);
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_carries_writes_one_at_a_time),
      cmocka_unit_test(test_carries_the_end_behind_the_write),
      cmocka_unit_test(test_delivers_in_order_when_read),
      cmocka_unit_test(test_asks_for_more_when_it_is_read),
      cmocka_unit_test(test_delivers_one_buffer_a_turn),
      cmocka_unit_test(test_tells_a_failure_behind_what_came_before),
      cmocka_unit_test(test_tells_an_end_before_the_failure_behind_it),
      cmocka_unit_test(test_tells_a_failure_to_an_owner_who_does_not_read),
      cmocka_unit_test(test_keeps_what_was_written_last_for_the_carrier),
      cmocka_unit_test(test_may_be_closed_and_let_go_in_callbacks),
      cmocka_unit_test(test_works_without_its_carrier_no_more),
      cmocka_unit_test(test_has_no_transport),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}

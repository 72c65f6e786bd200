/* TLS inside TLS, and loops inside the callbacks of TLS streams. */
#include "tls_ends.h"

/* The outer one on sockets. */
static void check_nested(void)
{
  struct ends outer, inner;
  uint8_t *data = pattern(1000000);
  ends_shake(&outer, &plain_server, &plain_client);
  turn_until(&outer.client.sessions, 1);
  owner_open(&inner.server, outer.server.r.stream, make_engine(server_context, &plain_server));
  owner_open(&inner.client, outer.client.r.stream, make_engine(client_context, &plain_client));
  turn_until(&inner.client.handshakes, 1);
  turn_until(&inner.server.handshakes, 1);
  assert_ptr_equal(ml_tls_stream_below(inner.server.tls), outer.server.tls);
  assert_null(ml_tls_stream_below(outer.server.tls));
  (void)write_bytes(&inner.client, data, 1000000);
  turn_until_length(&inner.server.r, 1000000);
  assert_memory_equal(inner.server.r.bytes, data, 1000000);
  assert_ptr_equal(ml_sock_from(ml_stream_transport(inner.server.r.stream)),
                   ml_stream_transport(inner.server.r.stream));
  shut(&inner.client);
  turn_until(&inner.server.r.count[END], 1);
  shut(&inner.server);
  turn_until(&inner.client.r.count[END], 1);
  ends_close(&inner); /* the outer streams go with them */
  assert_int_equal(outer.client.r.len, 0);
  free(data);
}

static void test_tls_over_tls(void **state)
{
  (void)state;
  each_version(check_nested);
}

/* The outer handshake is not even begun when the inner stream stands on it. */
static void check_nested_early(void)
{
  struct ends outer, inner;
  struct ml_tls_options asking = plain_server;
  ends_open(&outer, &plain_server, &plain_client);
  owner_open(&inner.server, outer.server.r.stream, make_engine(server_context, &plain_server));
  owner_open(&inner.client, outer.client.r.stream, make_engine(client_context, &plain_client));
  turn_until(&inner.client.handshakes, 1);
  turn_until(&inner.server.handshakes, 1);
  ends_close(&inner);

  asking.asks = ML_ASKS(ML_ASK_CONTEXT); /* which nobody is there to answer */
  ends_open(&outer, &asking, &plain_client);
  owner_open(&inner.server, outer.server.r.stream, make_engine(server_context, &plain_server));
  owner_open(&inner.client, outer.client.r.stream, make_engine(client_context, &plain_client));
  turn_until(&inner.server.r.count[ERROR], 1);
  turn_until(&inner.client.r.count[ERROR], 1);
  ends_close(&inner);
}

static void test_tls_over_tls_before_the_outer_handshake(void **state)
{
  (void)state;
  each_version(check_nested_early);
}

/* Waits for the next read inside each read. */
static void run_inside(struct recorder *r, enum recorded what)
{
  int reads = r->count[READ];
  while (what == READ && r->len < 200000 && r->count[READ] == reads)
    (void)ml_loop_step(loop, false);
}

static void check_nested_loop(void)
{
  struct ends ends;
  uint8_t *data = pattern(200000);
  ends_shake(&ends, &plain_server, &plain_client);
  ends.server.r.hook = run_inside;
  (void)write_bytes(&ends.client, data, 200000);
  shut(&ends.client);
  turn_until(&ends.server.r.count[END], 1);
  turn_until_quiet();
  assert_int_equal(ends.server.r.count[END], 1);
  assert_int_equal(ends.server.r.len, 200000);
  assert_memory_equal(ends.server.r.bytes, data, 200000);
  ends_close(&ends);
  free(data);
}

static void test_the_loop_may_run_inside_a_read(void **state)
{
  (void)state;
  each_version(check_nested_loop);
}

static void run_until_end(struct owner *owner, enum told what)
{
  if (what != TOLD_HANDSHAKE) return;
  while (owner->r.count[END] == 0)
    (void)ml_loop_step(loop, false);
  recorder_close(&owner->r);
}

static void check_nested_handshake(void)
{
  struct ends ends;
  ends_open(&ends, &plain_server, &plain_client);
  ends.server.told = run_until_end;
  (void)write_text(&ends.client, "all of it");
  shut(&ends.client);
  turn_until_closed(&ends.server);
  expect_text(&ends.server, "all of it");
  assert_int_equal(ends.server.handshakes, 1);
  ends_close(&ends);
}

static void test_the_loop_may_run_inside_on_handshake(void **state)
{
  (void)state;
  each_version(check_nested_handshake);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tls_over_tls),
      cmocka_unit_test(test_tls_over_tls_before_the_outer_handshake),
      cmocka_unit_test(test_the_loop_may_run_inside_a_read),
      cmocka_unit_test(test_the_loop_may_run_inside_on_handshake),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

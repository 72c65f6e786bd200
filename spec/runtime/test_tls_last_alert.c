/* The alert that says why a connection ends arrives, whatever the peer is doing. */
#include "tls_ends.h"

#define LARGE ((size_t)8 * 1024 * 1024)

/* A record that nobody has encrypted. */
static const uint8_t forged[5 + 64] = {SSL3_RT_APPLICATION_DATA, 3, 3, 0, 64};

static int descriptor(const struct owner *owner)
{
  return ml_sock_fd(ml_sock_from(ml_stream_transport(owner->r.stream)));
}

/* The server goes as soon as it has failed, which it does over what `fd` brings. */
static void end_server(struct ends *ends, int fd)
{
  ends->server.r.close_in = ERROR;
  assert_int_equal(write(fd, forged, sizeof(forged)), sizeof(forged));
  turn_until_closed(&ends->server);
  assert_int_equal(ends->server.r.error.alert_from, ML_ALERT_LOCAL);
}

static void expect_alert(struct ends *ends)
{
  turn_until(&ends->client.r.count[ERROR], 1);
  assert_int_equal(ends->client.r.error.alert, SSL_AD_BAD_RECORD_MAC);
  assert_int_equal(ends->client.r.error.alert_from, ML_ALERT_PEER);
}

static void check_a_sender(void)
{
  struct ends ends;
  ends_shake(&ends, &plain_server, &plain_client);
  ml_stream_read_stop(ends.client.r.stream);
  turn_until_quiet();
  int fd = descriptor(&ends.client);
  assert_int_equal(write(fd, forged, sizeof(forged)), sizeof(forged));
  end_server(&ends, fd);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(write(fd, forged, sizeof(forged)), sizeof(forged));
    turn_until_quiet();
  }
  ml_stream_read_start(ends.client.r.stream);
  expect_alert(&ends);
  ends_close(&ends);
}

static void test_while_the_peer_goes_on_sending(void **state)
{
  (void)state;
  each_version(check_a_sender);
}

static void check_a_slow_reader(void)
{
  struct ends ends;
  uint8_t *data = calloc(1, LARGE);
  assert_non_null(data);
  ends_shake(&ends, &plain_server, &plain_client);
  ml_stream_read_stop(ends.client.r.stream);
  assert_int_equal(write_bytes(&ends.server, data, LARGE), ML_PENDING);
  turn_until_quiet();
  end_server(&ends, descriptor(&ends.client));
  ml_stream_read_start(ends.client.r.stream);
  expect_alert(&ends);
  assert_true(ends.client.r.len > 0 && ends.client.r.len < LARGE);
  ends_close(&ends);
  free(data);
}

static void test_behind_data_that_the_peer_does_not_read(void **state)
{
  (void)state;
  each_version(check_a_slow_reader);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_while_the_peer_goes_on_sending),
      cmocka_unit_test(test_behind_data_that_the_peer_does_not_read),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

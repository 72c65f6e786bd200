/* Finders of pre-shared keys on OpenSSL's stack, with a TLS stream around it: what an owner may do
 * anywhere it may do there. Both ends are ours, over a socketpair. */
#include "tls_ends.h"

enum deed {
  NO_DEED,
  CLOSES,         /* its stream */
  TURNS,          /* the loop, a few times */
  CLOSES_TURNS,   /* both */
  PEER_GOES,      /* the other end closes, and the loop turns */
  DEADLINE_PASSES /* the time for the handshake is over, and the loop turns */
};

static struct ends ends;

struct finder {
  struct owner *owner, *peer;
  enum deed deed;
  int calls;
};

static struct finder server_finder = {.owner = &ends.server, .peer = &ends.client};
static struct finder client_finder = {.owner = &ends.client, .peer = &ends.server};

static void turn(void)
{
  for (int i = 0; i < 20; i++)
    (void)ml_loop_step(loop, false);
}

static void act(const struct finder *finder)
{
  bool turns = finder->deed != NO_DEED && finder->deed != CLOSES;
  if (finder->deed == CLOSES || finder->deed == CLOSES_TURNS) recorder_close(&finder->owner->r);
  if (finder->deed == PEER_GOES) recorder_close(&finder->peer->r);
  if (finder->deed == DEADLINE_PASSES) ml_tls_stream_deadline(finder->owner->tls, 1e-9);
  if (turns) turn();
  if (finder->deed == DEADLINE_PASSES) turn_until(&finder->owner->r.count[ERROR], 1);
}

static int find(void *user, struct ml_tls_psk *psk, struct ml_error *err)
{
  struct finder *finder = user;
  finder->calls++;
  act(finder);
  if (!finder->owner->r.stream) {
    ml_error_misuse(err, "ERR_OWN", "gone");
    return -1;
  }
  strcpy(psk->identity, "alice");
  psk->key_len = 16;
  memset(psk->key, 'k', psk->key_len);
  return 0;
}

static void open_ends(enum deed of_server, enum deed of_client)
{
  static const struct ml_tls_options server = {
      .server = true, .reject_unauthorized = true, .psk = find, .psk_user = &server_finder};
  static const struct ml_tls_options client = {
      .reject_unauthorized = true, .psk = find, .psk_user = &client_finder};
  server_finder.deed = of_server;
  client_finder.deed = of_client;
  server_finder.calls = client_finder.calls = 0;
  ends_open(&ends, &server, &client);
  struct ml_tls *engine = ml_tls_stream_engine(ends.client.tls);
  assert_int_equal(SSL_set_cipher_list(ml_tls_ssl(engine), "kPSK"), 1);
}

static void check_other_end_fails(enum deed of_server, enum deed of_client)
{
  open_ends(of_server, of_client);
  struct owner *other = of_server ? &ends.client : &ends.server;
  const struct finder *finder = of_server ? &server_finder : &client_finder;
  turn_until(&other->r.count[ERROR], 1);
  assert_int_equal(finder->calls, 1);
  assert_null(finder->owner->r.stream);
  ends_close(&ends);
}

static void check_close(void)
{
  check_other_end_fails(NO_DEED, CLOSES);
  check_other_end_fails(NO_DEED, CLOSES_TURNS);
}

static void test_a_finder_may_close_its_stream(void **state)
{
  (void)state;
  each_version(check_close);
  set_version(TLS1_2_VERSION);
  check_other_end_fails(CLOSES, NO_DEED);
  check_other_end_fails(CLOSES_TURNS, NO_DEED);
}

static void check_turn(enum deed of_server, enum deed of_client)
{
  open_ends(of_server, of_client);
  turn_until(&ends.client.handshakes, 1);
  turn_until(&ends.server.handshakes, 1);
  assert_int_equal(write_text(&ends.client, "ping"), ML_DONE);
  turn_until_length(&ends.server.r, 4);
  expect_text(&ends.server, "ping");
  ends_close(&ends);
}

/* Without ML_ASK_PSK the certificate does it under TLS 1.3. */
static void check_turn_client(void)
{
  check_turn(NO_DEED, TURNS);
}

static void test_a_finder_may_run_the_loop(void **state)
{
  (void)state;
  each_version(check_turn_client);
  set_version(TLS1_2_VERSION);
  check_turn(TURNS, NO_DEED);
  check_turn(TURNS, TURNS);
}

static void test_the_peer_may_go_meanwhile(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  open_ends(PEER_GOES, NO_DEED);
  turn_until(&ends.server.r.count[ERROR], 1);
  assert_int_equal(ends.server.r.count[ERROR], 1);
  ends_close(&ends);
  open_ends(NO_DEED, PEER_GOES);
  turn_until(&ends.client.r.count[ERROR], 1);
  expect_error(&ends.client, "ECONNRESET");
  ends_close(&ends);
}

static void check_deadline(enum deed of_server, enum deed of_client, struct owner *owner)
{
  open_ends(of_server, of_client);
  turn_until(&owner->r.count[ERROR], 1);
  turn();
  expect_error(owner, "ERR_TLS_HANDSHAKE_TIMEOUT");
  ends_close(&ends);
}

static void test_the_time_may_be_over_meanwhile(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  check_deadline(DEADLINE_PASSES, NO_DEED, &ends.server);
  check_deadline(NO_DEED, DEADLINE_PASSES, &ends.client);
}

/* A stream whose owner has become another TLS stream: nobody looks for its keys any more. */
static void test_a_stream_below_another_finds_no_keys(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  open_ends(NO_DEED, NO_DEED);
  struct owner upper;
  owner_open(&upper, ends.client.r.stream, make_engine(client_context, &plain_client));
  ends.client.r.stream = NULL;
  turn_until(&ends.server.r.count[ERROR], 1);
  assert_int_equal(client_finder.calls, 0);
  expect_error(&ends.server, "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE");
  owner_close(&upper);
  ends_close(&ends);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_finder_may_close_its_stream),
      cmocka_unit_test(test_a_finder_may_run_the_loop),
      cmocka_unit_test(test_the_peer_may_go_meanwhile),
      cmocka_unit_test(test_the_time_may_be_over_meanwhile),
      cmocka_unit_test(test_a_stream_below_another_finds_no_keys),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

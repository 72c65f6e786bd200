/* Two engines, and an owner who keeps the server's sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "tls_pair.h"
#include "tls_tickets.h"

#define ID_SIZE SSL_MAX_SSL_SESSION_ID_LENGTH

static const uint32_t keeping = ML_ASKS(ML_ASK_SESSION) | ML_ASKS(ML_ASK_STORE);
static const struct ml_tls_options plain_client = {
    .servername = "alpha.test", .reject_unauthorized = true, .want_sessions = true};

/* What a test changes of its contexts. */
struct setting {
  int version;
  uint64_t options;
  const char *groups, *id;
  const uint8_t *keys;
  size_t keys_len;
  long timeout;
};

static struct ml_tls_context *build(struct setting setting)
{
  struct ml_error err;
  struct ml_tls_context *context;
  struct ml_tls_blob cert = {alpha.cert, strlen(alpha.cert), NULL},
                     key = {alpha.key, strlen(alpha.key), NULL};
  struct ml_tls_context_options options = {.own_trust = true,
                                           .cert = {&cert, 1},
                                           .key = {&key, 1},
                                           .ca = {&cert, 1},
                                           .min_version = setting.version,
                                           .max_version = setting.version,
                                           .set_options = setting.options,
                                           .groups = setting.groups,
                                           .ticket_keys = setting.keys,
                                           .ticket_keys_len = setting.keys_len,
                                           .session_timeout = setting.timeout};
  if (setting.id) {
    options.session_id_context = (const uint8_t *)setting.id;
    options.session_id_context_len = strlen(setting.id);
  }
  if (ml_tls_context_new(&context, &options, &err) != 0) fail_msg("%s", err.message);
  return context;
}

/* Under TLS 1.2 session ids take the place of tickets. */
static struct ml_tls_context *build_with_ids(int version)
{
  return build((struct setting){.version = version,
                                .options = version == TLS1_2_VERSION ? SSL_OP_NO_TICKET : 0});
}

/* Both ends on one context, nothing exchanged but what was said without waiting. */
static struct pair meet(struct ml_tls_context *server_context, uint32_t asks,
                        struct ml_tls_context *client_context, const struct ml_tls_options *client)
{
  struct pair pair = {0};
  struct ml_tls_options server = {.server = true, .asks = asks};
  pair.client = make_engine(client_context, client);
  pair.server = make_engine(server_context, &server);
  pair.client_result = ml_tls_handshake(pair.client);
  shake(&pair);
  return pair;
}

/* DER, in memory of its own. */
struct session {
  uint8_t *der;
  size_t len;
};

static struct session encode(SSL_SESSION *session)
{
  struct session result = {0};
  int len = i2d_SSL_SESSION(session, &result.der);
  assert_true(len > 0);
  result.len = (size_t)len;
  return result;
}

static void drop(struct session *session)
{
  OPENSSL_free(session->der);
  session->der = NULL;
}

/* The client reads what the server has sent, and its last session is taken. */
static struct session take(struct pair *pair, int expected)
{
  int count;
  struct session result = {0};
  SSL_SESSION *session = last_session(pair, &count);
  assert_int_equal(count, expected);
  if (session) result = encode(session);
  SSL_SESSION_free(session);
  return result;
}

static struct ml_tls_options bringing(const struct session *session)
{
  struct ml_tls_options options = plain_client;
  options.session = session->der;
  options.session_len = session->len;
  return options;
}

static void expect_question(struct ml_tls *tls, enum ml_tls_ask ask)
{
  struct ml_tls_question question = ml_tls_question(tls);
  assert_int_equal(question.ask, ask);
  assert_int_equal(question.subject_len, ID_SIZE);
  assert_int_equal(ml_tls_state(tls),
                   ask == ML_ASK_STORE ? ML_TLS_STORE_ASKED : ML_TLS_HELLO_ASKED);
  assert_int_equal(ml_tls_handshake(tls), ML_TLS_ASK); /* asking again changes nothing */
  assert_int_equal(ml_tls_question(tls).token, question.token);
}

static void answer(struct pair *pair, const struct session *session)
{
  uint32_t token = ml_tls_question(pair->server).token;
  const uint8_t *data = session ? session->der : NULL;
  assert_int_equal(ml_tls_answer_data(pair->server, token, data, session ? session->len : 0), 0);
  assert_int_equal(ml_tls_answer_data(pair->server, token, NULL, 0), -1); /* a second one */
  pair->server_result = ml_tls_handshake(pair->server);
  shake(pair);
}

static void expect_open(const struct pair *pair, bool reused)
{
  expect_both_open(pair);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair->server)), reused);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair->client)), reused);
}

static int tickets(int version)
{
  return version == TLS1_2_VERSION ? 1 : 2;
}

/* Stores all new sessions; the last one is the result. */
static struct session store_all(struct pair *pair, int expected)
{
  struct session result = {0};
  for (int i = 0; i < expected; i++) {
    expect_question(pair->server, ML_ASK_STORE);
    drop(&result);
    result = encode(ml_tls_new_session(pair->server));
    assert_non_null(memmem(result.der, result.len, ml_tls_question(pair->server).subject, ID_SIZE));
    answer(pair, NULL);
  }
  assert_null(ml_tls_new_session(pair->server));
  return result;
}

/* ---- New sessions ---- */

static void check_hold(int version)
{
  struct ml_tls_context *context = build_with_ids(version);
  struct pair pair = meet(context, keeping, context, &plain_client);
  for (int i = 0; i < tickets(version); i++) {
    expect_question(pair.server, ML_ASK_STORE);
    assert_int_equal(ml_buf_size(ml_tls_output(pair.server)), 0);
    assert_false(ml_tls_established(pair.server));
    /* Under TLS 1.3 the client has all that it needs. */
    bool client_done = version == TLS1_3_VERSION;
    assert_int_equal(pair.client_result, client_done ? ML_TLS_OK : ML_TLS_WANT_INPUT);
    assert_int_equal(ml_tls_peer_may_end(pair.server), client_done);
    uint32_t token = ml_tls_question(pair.server).token;
    assert_int_equal(ml_tls_answer_data(pair.server, token - 1, NULL, 0), -1);
    assert_int_equal(ml_tls_answer_context(pair.server, token, NULL), -1);
    assert_int_equal(ml_tls_answer_identity(pair.server, token, true), -1);
    assert_int_equal(ml_tls_answer_data(pair.server, token, NULL, 0), 0);
    pair.server_result = ml_tls_handshake(pair.server);
  }
  assert_int_equal(pair.server_result, ML_TLS_OK);
  assert_true(ml_buf_size(ml_tls_output(pair.server)) > 0);
  assert_true(ml_tls_peer_may_end(pair.server));
  shake(&pair);
  expect_open(&pair, false);
  free_pair(&pair);
  ml_tls_context_unref(context);
}

static void test_the_last_flight_waits_until_each_session_is_stored(void **state)
{
  (void)state;
  for_each_version(check_hold);
}

/* False Start (RFC 7918): the client of TLS 1.2 sends data before the server has concluded. */
static void test_a_client_that_has_begun_to_send_data_may_end(void **state)
{
  static const uint8_t data[] = {SSL3_RT_APPLICATION_DATA, 3, 3, 0, 1, 0},
                       notify[] = {SSL3_RT_ALERT};
  (void)state;
  for (int i = 0; i < 2; i++) {
    struct ml_tls_context *context = build_with_ids(TLS1_2_VERSION);
    struct pair pair = meet(context, keeping, context, &plain_client);
    expect_question(pair.server, ML_ASK_STORE);
    assert_int_equal(
        ml_tls_input(pair.server, i ? data : notify, i ? sizeof(data) : sizeof(notify)), 0);
    assert_int_equal(ml_tls_input_end(pair.server), 0);
    assert_int_equal(ml_tls_peer_may_end(pair.server), i);
    free_pair(&pair);
    ml_tls_context_unref(context);
  }
}

static void check_refused_store(int version)
{
  struct ml_error reason;
  struct ml_tls_context *context = build_with_ids(version);
  struct pair pair = meet(context, keeping, context, &plain_client);
  ml_error_misuse(&reason, "ERR_TEST", "no store");
  assert_int_equal(ml_tls_answer_failure(pair.server, ml_tls_question(pair.server).token,
                                         SSL_AD_INTERNAL_ERROR, &reason),
                   0);
  assert_int_equal(ml_tls_handshake(pair.server), ML_TLS_ERROR);
  assert_string_equal(ml_tls_error(pair.server)->code, "ERR_TEST");
  assert_int_equal(ml_buf_size(ml_tls_output(pair.server)), 0);
  assert_int_equal(ml_tls_state(pair.server), ML_TLS_FAILED);
  assert_null(ml_tls_new_session(pair.server));
  free_pair(&pair);
  /* And one that is given up on. */
  pair = meet(context, keeping, context, &plain_client);
  free_pair(&pair);
  ml_tls_context_unref(context);
}

static void test_a_store_that_refuses_ends_the_connection(void **state)
{
  (void)state;
  for_each_version(check_refused_store);
}

/* SSL_new_session_ticket(3): a server may give tickets at any time. */
static void test_sessions_made_later_are_notes(void **state)
{
  (void)state;
  uint8_t buffer[16];
  size_t n;
  struct ml_tls_context *context = build_with_ids(TLS1_3_VERSION);
  struct pair pair = meet(context, keeping, context, &plain_client);
  struct session last = store_all(&pair, 2);
  assert_int_equal(SSL_new_session_ticket(ml_tls_ssl(pair.server)), 1);
  assert_int_equal(SSL_do_handshake(ml_tls_ssl(pair.server)), 1);
  struct ml_tls_note *note = ml_tls_next_note(pair.server);
  assert_non_null(note);
  assert_int_equal(note->kind, ML_NOTE_SESSION);
  struct session later = encode(note->session);
  assert_true(later.len != last.len || memcmp(later.der, last.der, last.len) != 0);
  ml_tls_note_free(note);
  assert_null(ml_tls_next_note(pair.server));
  assert_true(ml_tls_established(pair.server));
  assert_int_equal(ml_tls_question(pair.server).ask, ML_ASK_NONE);
  assert_int_equal(ml_tls_read(pair.server, buffer, sizeof(buffer), &n), ML_TLS_WANT_INPUT);
  drop(&last);
  drop(&later);
  last = take(&pair, 3);
  drop(&last);
  free_pair(&pair);
  ml_tls_context_unref(context);
}

/* ---- Earlier sessions ---- */

static void check_resumption(int version)
{
  struct ml_tls_context *context = build_with_ids(version);
  struct pair pair = meet(context, keeping, context, &plain_client);
  struct session stored = store_all(&pair, tickets(version));
  expect_open(&pair, false);
  struct session session = take(&pair, tickets(version));
  free_pair(&pair);

  struct ml_tls_options again = bringing(&session);
  pair = meet(context, keeping, context, &again);
  expect_question(pair.server, ML_ASK_SESSION);
  assert_non_null(memmem(stored.der, stored.len, ml_tls_question(pair.server).subject, ID_SIZE));
  answer(&pair, &stored);
  if (version == TLS1_3_VERSION) {
    struct session renewed = store_all(&pair, 1);
    drop(&renewed);
  }
  expect_open(&pair, true);
  free_pair(&pair);

  /* The store has forgotten. */
  pair = meet(context, keeping, context, &again);
  answer(&pair, NULL);
  struct session other = store_all(&pair, tickets(version));
  expect_open(&pair, false);
  free_pair(&pair);

  /* It has mixed things up, or holds what is no session. */
  struct session garbage = {(uint8_t *)"\x30\x82garbage", 9}, cut = {stored.der, stored.len - 1};
  const struct session *wrong[] = {&other, &garbage, &cut, &(struct session){stored.der, 0}};
  for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
    pair = meet(context, ML_ASKS(ML_ASK_SESSION), context, &again);
    answer(&pair, wrong[i]);
    expect_open(&pair, false);
    assert_int_equal(ERR_peek_error(), 0);
    free_pair(&pair);
  }

  /* Nobody to ask: nobody remembers. */
  pair = meet(context, 0, context, &again);
  expect_open(&pair, false);
  free_pair(&pair);
  drop(&other);
  drop(&session);
  drop(&stored);
  ml_tls_context_unref(context);
}

static void test_the_owner_is_asked_for_the_session_behind_an_id(void **state)
{
  (void)state;
  for_each_version(check_resumption);
}

static void check_first_visit(int version)
{
  struct ml_tls_context *context = build_with_ids(version);
  struct pair pair = meet(context, ML_ASKS(ML_ASK_SESSION), context, &plain_client);
  expect_open(&pair, false); /* without having been asked */
  free_pair(&pair);
  ml_tls_context_unref(context);
}

static void test_nobody_is_asked_when_the_client_brings_nothing(void **state)
{
  (void)state;
  for_each_version(check_first_visit);
}

static void test_the_second_hello_finds_the_session_too(void **state)
{
  (void)state;
  struct ml_tls_context *client = build((struct setting){.version = TLS1_3_VERSION}),
                        *server =
                            build((struct setting){.version = TLS1_3_VERSION, .groups = "P-384"});
  struct pair pair = meet(server, keeping, client, &plain_client);
  struct session stored = store_all(&pair, 2), session = take(&pair, 2);
  free_pair(&pair);
  struct ml_tls_options again = bringing(&session);
  pair = meet(server, ML_ASKS(ML_ASK_SESSION), client, &again);
  expect_question(pair.server, ML_ASK_SESSION);
  answer(&pair, &stored);
  expect_open(&pair, true);
  free_pair(&pair);
  drop(&session);
  drop(&stored);
  ml_tls_context_unref(client);
  ml_tls_context_unref(server);
}

/* ---- Tickets ---- */

static const uint8_t keys[3 * ML_TICKET_KEYS_SIZE] = {
    [0] = 'a', [ML_TICKET_KEYS_SIZE] = 'b', [2 * ML_TICKET_KEYS_SIZE] = 'c'};

static const uint8_t *key(char name)
{
  return keys + (size_t)(name - 'a') * ML_TICKET_KEYS_SIZE;
}

/* The name of the key that sealed it. */
static char sealed_with(const struct session *session)
{
  const unsigned char *at = session->der, *ticket;
  size_t len;
  SSL_SESSION *parsed = d2i_SSL_SESSION(NULL, &at, (long)session->len);
  assert_non_null(parsed);
  SSL_SESSION_get0_ticket(parsed, &ticket, &len);
  assert_true(len > ID_SIZE);
  char name = (char)ticket[0];
  SSL_SESSION_free(parsed);
  return name;
}

static void check_ring(int version)
{
  struct setting setting = {.version = version, .id = "ring"};
  setting.keys = key('a');
  setting.keys_len = ML_TICKET_KEYS_SIZE;
  struct ml_tls_context *first = build(setting);
  uint8_t ring[2 * ML_TICKET_KEYS_SIZE];
  memcpy(ring, key('b'), ML_TICKET_KEYS_SIZE);
  memcpy(ring + ML_TICKET_KEYS_SIZE, key('a'), ML_TICKET_KEYS_SIZE);
  setting.keys = ring;
  setting.keys_len = sizeof(ring);
  struct ml_tls_context *second = build(setting);

  struct pair pair = meet(first, 0, first, &plain_client);
  struct session session = take(&pair, tickets(version));
  assert_int_equal(sealed_with(&session), 'a');
  free_pair(&pair);
  struct ml_tls_options again = bringing(&session);
  pair = meet(second, 0, first, &again);
  expect_open(&pair, true);
  struct session renewed = take(&pair, 1);
  assert_int_equal(sealed_with(&renewed), 'b');
  free_pair(&pair);
  drop(&session);

  again = bringing(&renewed);
  pair = meet(first, 0, first, &again);
  expect_open(&pair, false);
  free_pair(&pair);
  pair = meet(second, 0, first, &again);
  expect_open(&pair, true);
  session = take(&pair, version == TLS1_3_VERSION ? 1 : 0);
  free_pair(&pair);
  drop(&session);
  drop(&renewed);
  ml_tls_context_unref(first);
  ml_tls_context_unref(second);
}

static void test_all_keys_of_the_ring_open_and_the_first_seal(void **state)
{
  (void)state;
  for_each_version(check_ring);
}

/* ---- How long sessions live ---- */

/* Seconds that a session lives which the owner is asked to store; -1: it is not asked. */
static long stored_life(struct pair *pair)
{
  long life = -1;
  for (SSL_SESSION *session; (session = ml_tls_new_session(pair->server));) {
    life = SSL_SESSION_get_timeout(session);
    answer(pair, NULL);
  }
  return life;
}

/* Seconds that the client is told its ticket lives; -1: it got none. */
static long ticket_life(struct pair *pair)
{
  SSL_SESSION *session = last_session(pair, NULL);
  bool ticket = session && SSL_SESSION_has_ticket(session);
  long life = ticket ? (long)SSL_SESSION_get_ticket_lifetime_hint(session) : -1;
  SSL_SESSION_free(session);
  return life;
}

/* On a server with `own`, under the context with `chosen`. */
static void expect_life(int version, bool ids, long own, long chosen, long expected)
{
  struct setting setting = {.version = version, .timeout = own};
  if (ids && version == TLS1_2_VERSION) setting.options = SSL_OP_NO_TICKET;
  struct ml_tls_context *server = build(setting);
  setting.timeout = chosen;
  struct ml_tls_context *other = build(setting),
                        *client = build((struct setting){.version = version});
  uint32_t asks = ML_ASKS(ML_ASK_CONTEXT) | (ids ? keeping : 0);
  struct pair pair = meet(server, asks, client, &plain_client);
  assert_int_equal(ml_tls_answer_context(pair.server, ml_tls_question(pair.server).token, other),
                   0);
  pair.server_result = ml_tls_handshake(pair.server);
  shake(&pair);
  assert_int_equal(ids ? stored_life(&pair) : ticket_life(&pair), expected);
  expect_open(&pair, false);
  free_pair(&pair);
  ml_tls_context_unref(server);
  ml_tls_context_unref(other);
  ml_tls_context_unref(client);
}

static void check_lives(int version)
{
  for (int ids = 0; ids < 2; ids++) {
    expect_life(version, ids, 0, 0, 300);
    expect_life(version, ids, 20, 0, 20);
    expect_life(version, ids, 20, 1000, 1000);
    expect_life(version, ids, 0, 7, 7);
    expect_life(version, ids, -1, 7, 7);
    expect_life(version, ids, -1, 0, -1);
    expect_life(version, ids, 20, -1, -1);
  }
}

static void test_sessions_live_as_long_as_the_chosen_context_says(void **state)
{
  (void)state;
  for_each_version(check_lives);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_last_flight_waits_until_each_session_is_stored),
      cmocka_unit_test(test_a_client_that_has_begun_to_send_data_may_end),
      cmocka_unit_test(test_a_store_that_refuses_ends_the_connection),
      cmocka_unit_test(test_sessions_made_later_are_notes),
      cmocka_unit_test(test_the_owner_is_asked_for_the_session_behind_an_id),
      cmocka_unit_test(test_nobody_is_asked_when_the_client_brings_nothing),
      cmocka_unit_test(test_the_second_hello_finds_the_session_too),
      cmocka_unit_test(test_all_keys_of_the_ring_open_and_the_first_seal),
      cmocka_unit_test(test_sessions_live_as_long_as_the_chosen_context_says),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

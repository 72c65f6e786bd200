/* The protocol on top of TLS: the question about ALPN, and NPN. Two engines and two buffers. */
#include "tls_contexts.h"

#define WIRE(list) .alpn = (const uint8_t *)(list), .alpn_len = sizeof(list) - 1
#define NPN(list) .npn = (const uint8_t *)(list), .npn_len = sizeof(list) - 1

static const struct ml_tls_options asking = {.server = true, .asks = ML_ASKS(ML_ASK_ALPN)};
static const struct ml_tls_options offering = {WIRE("\1a\1b\1c")};

static void set_version(int version)
{
  make_contexts(version);
}

static struct pair open_pair(const struct ml_tls_options *server,
                             const struct ml_tls_options *client)
{
  return (struct pair){.server = make_engine(server_context, server),
                       .client = make_engine(client_context, client)};
}

static void expect_alpn(const struct ml_tls *tls, const char *name)
{
  const unsigned char *chosen;
  unsigned len;
  SSL_get0_alpn_selected(ml_tls_ssl(tls), &chosen, &len);
  assert_int_equal(len, name ? strlen(name) : 0);
  if (name) assert_memory_equal(chosen, name, len);
}

static void expect_npn(const struct ml_tls *tls, const char *name)
{
  size_t len;
  const uint8_t *chosen = ml_tls_npn_protocol(tls, &len);
  assert_int_equal(len, name ? strlen(name) : 0);
  if (name) assert_memory_equal(chosen, name, len);
}

/* On from an answer to the end. */
static void go_on(struct pair *pair)
{
  pair->server_result = ml_tls_handshake(pair->server);
  shake(pair);
}

static void expect_open(struct pair *pair)
{
  go_on(pair);
  expect_both_open(pair);
}

static void expect_failed(struct pair *pair, int alert, const char *code)
{
  go_on(pair);
  assert_int_equal(pair->server_result, ML_TLS_ERROR);
  assert_string_equal(ml_tls_error(pair->server)->code, code);
  assert_int_equal(ml_tls_error(pair->server)->alert_from, ML_ALERT_LOCAL);
  assert_int_equal(ml_tls_error(pair->server)->alert, alert);
  assert_int_equal(pair->client_result, ML_TLS_ERROR);
  assert_int_equal(ml_tls_error(pair->client)->alert_from, ML_ALERT_PEER);
  assert_int_equal(ml_tls_error(pair->client)->alert, alert);
}

/* Up to the question. */
static struct ml_tls_question ask(struct pair *pair)
{
  shake(pair);
  assert_int_equal(pair->server_result, ML_TLS_ASK);
  assert_int_equal(ml_tls_state(pair->server), ML_TLS_HELLO_ASKED);
  struct ml_tls_question question = ml_tls_question(pair->server);
  assert_int_equal(question.ask, ML_ASK_ALPN);
  return question;
}

static int answer(struct pair *pair, uint32_t token, const char *name)
{
  return ml_tls_answer_data(pair->server, token, (const uint8_t *)name, name ? strlen(name) : 0);
}

/* ---- ALPN ---- */

static void check_chosen(void)
{
  struct pair pair = open_pair(&asking, &offering);
  struct ml_tls_question question = ask(&pair);
  assert_int_equal(question.subject_len, 6);
  assert_memory_equal(question.subject, "\1a\1b\1c", 6);
  assert_int_equal(answer(&pair, question.token + 1, "b"), -1);
  assert_int_equal(answer(&pair, question.token, "b"), 0);
  assert_int_equal(answer(&pair, question.token, "c"), -1);
  expect_open(&pair);
  expect_alpn(pair.server, "b");
  expect_alpn(pair.client, "b");
  free_pair(&pair);
}

static void test_the_answer_is_given_out(void **state)
{
  (void)state;
  each_version(check_chosen);
}

static void check_refused(void)
{
  static const char *const answers[] = {NULL, "", "z", "a\1b"};
  for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
    struct pair pair = open_pair(&asking, &offering);
    assert_int_equal(answer(&pair, ask(&pair).token, answers[i]), 0);
    expect_failed(&pair, SSL_AD_NO_APPLICATION_PROTOCOL, "ERR_SSL_NO_APPLICATION_PROTOCOL");
    assert_string_equal(ml_tls_error(pair.server)->offered, "ALPN protocols a, b, c");
    assert_string_equal(ml_tls_error(pair.server)->configured, "");
    free_pair(&pair);
  }
}

static void test_none_and_what_was_not_offered_end_the_handshake(void **state)
{
  (void)state;
  each_version(check_refused);
}

static void check_failure(void)
{
  struct ml_error reason;
  struct pair pair = open_pair(&asking, &offering);
  uint32_t token = ask(&pair).token;
  ml_error_misuse(&reason, "ERR_OWN", "not today");
  assert_int_equal(ml_tls_answer_failure(pair.server, token, SSL_AD_INTERNAL_ERROR, &reason), 0);
  expect_failed(&pair, SSL_AD_INTERNAL_ERROR, "ERR_OWN");
  assert_int_equal(answer(&pair, token, "a"), -1);
  free_pair(&pair);
}

static void test_a_failure_is_an_answer(void **state)
{
  (void)state;
  each_version(check_failure);
}

static void check_freed(void)
{
  struct pair pair = open_pair(&asking, &offering);
  uint32_t token = ask(&pair).token;
  free_pair(&pair); /* waiting */
  pair = open_pair(&asking, &offering);
  assert_int_equal(answer(&pair, ask(&pair).token, "a"), 0);
  assert_int_equal(token, 1);
  free_pair(&pair); /* answered, and nobody came for it */
}

static void test_an_engine_may_go_at_any_point_of_the_question(void **state)
{
  (void)state;
  each_version(check_freed);
}

static void check_without_list(void)
{
  static const struct ml_tls_options plain = {0};
  struct pair pair = open_pair(&asking, &plain);
  expect_open(&pair);
  expect_alpn(pair.server, NULL);
  free_pair(&pair);
}

static void test_a_client_without_a_list_raises_no_question(void **state)
{
  (void)state;
  each_version(check_without_list);
}

/* The client's first key share is one that the server cannot use. */
static struct pair retrying_pair(void)
{
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair(&asking, &offering);
  assert_int_equal(SSL_set1_groups_list(ml_tls_ssl(pair.server), "P-384"), 1);
  return pair;
}

static void test_a_second_hello_is_not_asked_about(void **state)
{
  (void)state;
  struct pair pair = retrying_pair();
  assert_int_equal(answer(&pair, ask(&pair).token, "c"), 0);
  expect_open(&pair);
  assert_int_equal(ml_tls_question(pair.server).token, 1);
  expect_alpn(pair.client, "c");
  free_pair(&pair);
}

static void test_a_second_hello_must_offer_the_same(void **state)
{
  (void)state;
  static const char *const lists[] = {"\1a\1b\1d", "\1a\1b", "\1a\1b\1c\1d"};
  for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
    struct pair pair = retrying_pair();
    assert_int_equal(answer(&pair, ask(&pair).token, "a"), 0);
    assert_int_equal(SSL_set_alpn_protos(ml_tls_ssl(pair.client), (const uint8_t *)lists[i],
                                         (unsigned)strlen(lists[i])),
                     0);
    expect_failed(&pair, SSL_AD_ILLEGAL_PARAMETER, "ERR_SSL_BAD_EXTENSION");
    free_pair(&pair);
  }
}

/* ---- NPN ---- */

static const struct ml_tls_options plain_client = {0};
static const struct ml_tls_options npn_server = {.server = true, NPN("\1a\1b\1c")};
static const struct ml_tls_options npn_client = {NPN("\1c\1b")};

static void test_npn_follows_the_servers_order(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  struct pair pair = open_pair(&npn_server, &npn_client);
  expect_open(&pair);
  expect_npn(pair.server, "b");
  expect_npn(pair.client, "b");
  free_pair(&pair);
}

static void test_npn_without_overlap_is_known_to_the_client(void **state)
{
  (void)state;
  static const struct ml_tls_options other = {NPN("\1x\1y")};
  set_version(TLS1_2_VERSION);
  struct pair pair = open_pair(&npn_server, &other);
  expect_open(&pair);
  expect_npn(pair.server, "x");
  expect_npn(pair.client, NULL);
  free_pair(&pair);
}

static void test_npn_needs_both_ends_and_tls_12(void **state)
{
  (void)state;
  static const struct ml_tls_options plain_server = {.server = true};
  static const struct ml_tls_options *const pairs[][2] = {
      {&npn_server, &plain_client}, {&plain_server, &npn_client}, {&npn_server, &npn_client}};
  for (int i = 0; i < 3; i++) {
    set_version(i < 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
    struct pair pair = open_pair(pairs[i][0], pairs[i][1]);
    expect_open(&pair);
    expect_npn(pair.server, NULL);
    expect_npn(pair.client, NULL);
    free_pair(&pair);
  }
}

static void test_alpn_wins_over_npn(void **state)
{
  (void)state;
  static const struct ml_tls_options server = {.server = true, NPN("\1n"), WIRE("\1a")};
  static const struct ml_tls_options client = {NPN("\1n"), WIRE("\1a")};
  set_version(TLS1_2_VERSION);
  struct pair pair = open_pair(&server, &client);
  expect_open(&pair);
  expect_alpn(pair.client, "a");
  expect_npn(pair.server, NULL);
  expect_npn(pair.client, NULL);
  free_pair(&pair);
}

static bool says_npn(struct ml_tls *client)
{
  static const uint8_t extension[] = {0x33, 0x74, 0, 0}; /* next_protocol_negotiation, empty */
  assert_int_equal(ml_tls_handshake(client), ML_TLS_WANT_INPUT);
  struct ml_buf *out = ml_tls_output(client);
  return memmem(ml_buf_data(out), ml_buf_size(out), extension, sizeof(extension)) != NULL;
}

/* Step by step in turn, so that each finds the context as the other left it. */
static void test_npn_is_a_connections_own_on_a_shared_context(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  struct pair with = open_pair(&npn_server, &npn_client);
  struct pair without = open_pair(&npn_server, &plain_client);
  assert_true(says_npn(with.client));
  assert_false(says_npn(without.client));
  with.chunk = without.chunk = 100;
  for (int i = 0; i < 1000; i++) {
    struct pair *pair = i & 1 ? &with : &without;
    carry(pair->server, pair->client, pair->chunk, &pair->client_result);
    carry(pair->client, pair->server, pair->chunk, &pair->server_result);
  }
  expect_open(&with);
  expect_open(&without);
  expect_npn(with.client, "b");
  expect_npn(without.client, NULL);
  free_pair(&with);
  free_pair(&without);
}

static int tear_down(void **state)
{
  free_contexts();
  return free_identities(state);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_answer_is_given_out),
      cmocka_unit_test(test_none_and_what_was_not_offered_end_the_handshake),
      cmocka_unit_test(test_a_failure_is_an_answer),
      cmocka_unit_test(test_an_engine_may_go_at_any_point_of_the_question),
      cmocka_unit_test(test_a_client_without_a_list_raises_no_question),
      cmocka_unit_test(test_a_second_hello_is_not_asked_about),
      cmocka_unit_test(test_a_second_hello_must_offer_the_same),
      cmocka_unit_test(test_npn_follows_the_servers_order),
      cmocka_unit_test(test_npn_without_overlap_is_known_to_the_client),
      cmocka_unit_test(test_npn_needs_both_ends_and_tls_12),
      cmocka_unit_test(test_alpn_wins_over_npn),
      cmocka_unit_test(test_npn_is_a_connections_own_on_a_shared_context),
  };
  return cmocka_run_group_tests(tests, make_identities, tear_down);
}

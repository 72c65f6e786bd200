/* Pre-shared keys: two engines, two buffers, and a finder of keys on either side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tls_pair.h"

static struct ml_tls_context *server_context, *client_context; /* of the version at hand */

/* ---- Finders ---- */

struct finder {
  const char *identity, *key; /* NULL: none */
  bool fails;
  struct ml_tls *engine; /* drives this one meanwhile, with this input */
  struct ml_slice input;
  int calls;
  char given[300]; /* the last time; "-" for NULL */
};

/* As a loop would that is run in there. */
static void drive(struct ml_tls *tls, const struct ml_slice *input)
{
  uint8_t byte;
  size_t n;
  assert_int_equal(ml_tls_input(tls, input->data, input->len), 0);
  assert_int_equal(ml_tls_handshake(tls), ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_read(tls, &byte, 1, &n), ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_input_end(tls), 0);
}

static int find(void *user, struct ml_tls_psk *psk, struct ml_error *err)
{
  struct finder *finder = user;
  finder->calls++;
  snprintf(finder->given, sizeof(finder->given), "%s", psk->given ? psk->given : "-");
  if (finder->engine) drive(finder->engine, &finder->input);
  if (finder->fails) {
    ml_error_misuse(err, "ERR_OWN", "not today");
    return -1;
  }
  if (!finder->key) return 0;
  if (finder->identity) strcpy(psk->identity, finder->identity);
  psk->key_len = strlen(finder->key);
  memcpy(psk->key, finder->key, psk->key_len);
  return 0;
}

static struct finder server_finder, client_finder;
static struct ml_tls_options server_options, client_options;

static const char secret[] = "0123456789abcdef";

/* Both know alice's key. The server has a certificate, the client does not ask for one. */
static void set_version(int version)
{
  ml_tls_context_unref(server_context);
  ml_tls_context_unref(client_context);
  server_context = make_context(&alpha, NULL, version);
  client_context = make_context(NULL, &alpha, version);
  server_finder = (struct finder){.key = secret};
  client_finder = (struct finder){.key = secret, .identity = "alice"};
  server_options = (struct ml_tls_options){.server = true,
                                           .asks = ML_ASKS(ML_ASK_PSK),
                                           .reject_unauthorized = true,
                                           .psk = find,
                                           .psk_user = &server_finder};
  client_options = (struct ml_tls_options){
      .reject_unauthorized = true, .want_sessions = true, .psk = find, .psk_user = &client_finder};
}

/* The cipher list of a client has RSA before PSK: here only keys will do. */
static struct pair open_pair(void)
{
  struct pair pair = {.server = make_engine(server_context, &server_options),
                      .client = make_engine(client_context, &client_options)};
  assert_int_equal(SSL_set_cipher_list(ml_tls_ssl(pair.client), "kPSK:kECDHEPSK"), 1);
  return pair;
}

static void each_version(void (*check)(void))
{
  set_version(TLS1_2_VERSION);
  check();
  set_version(TLS1_3_VERSION);
  check();
}

static bool is_tls13(const struct pair *pair)
{
  return SSL_version(ml_tls_ssl(pair->client)) == TLS1_3_VERSION;
}

/* On from an answer to the end. */
static void go_on(struct pair *pair)
{
  pair->server_result = ml_tls_handshake(pair->server);
  shake(pair);
}

static struct ml_tls_question expect_asked(struct pair *pair, const char *identity)
{
  assert_int_equal(pair->server_result, ML_TLS_ASK);
  struct ml_tls_question question = ml_tls_question(pair->server);
  assert_int_equal(question.ask, ML_ASK_PSK);
  if (identity) {
    assert_int_equal(question.subject_len, strlen(identity));
    assert_memory_equal(question.subject, identity, question.subject_len);
  }
  return question;
}

static int answer(struct pair *pair, const char *key)
{
  return ml_tls_answer_data(pair->server, ml_tls_question(pair->server).token, (const uint8_t *)key,
                            key ? strlen(key) : 0);
}

/* To the end, with `key` for alice: TLS 1.2 takes it from the finder. */
static void shake_with(struct pair *pair, const char *key)
{
  server_finder.key = key;
  shake(pair);
  if (pair->server_result != ML_TLS_ASK) return;
  (void)expect_asked(pair, "alice");
  assert_int_equal(answer(pair, key), 0);
  go_on(pair);
}

/* The key has done it: no certificate, and nothing to complain about. */
static void expect_by_key(const struct pair *pair)
{
  bool absent;
  expect_both_open(pair);
  assert_int_equal(ml_tls_verify_result(pair->client, &absent), X509_V_OK);
  assert_true(absent);
  assert_int_equal(ml_tls_verify_result(pair->server, &absent), X509_V_OK);
  assert_true(absent);
}

static void expect_error(const struct ml_tls *tls, const char *code, enum ml_alert_from from,
                         int alert)
{
  assert_non_null(ml_tls_error(tls));
  assert_string_equal(ml_tls_error(tls)->code, code);
  assert_int_equal(ml_tls_error(tls)->alert_from, from);
  if (from != ML_ALERT_NONE) assert_int_equal(ml_tls_error(tls)->alert, alert);
}

/* ---- A key that is known ---- */

static void check_known(void)
{
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_int_equal(client_finder.calls, 1);
  assert_int_equal(server_finder.calls, is_tls13(&pair) ? 0 : 1);
  free_pair(&pair);
}

static void test_a_known_key_is_enough(void **state)
{
  (void)state;
  each_version(check_known);
}

static void check_wrong(void)
{
  struct pair pair = open_pair();
  shake_with(&pair, "another key");
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  assert_int_equal(pair.client_result, ML_TLS_ERROR);
  expect_error(pair.server,
               is_tls13(&pair) ? "ERR_SSL_BINDER_DOES_NOT_VERIFY"
                               : "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
               ML_ALERT_LOCAL, is_tls13(&pair) ? SSL_AD_ILLEGAL_PARAMETER : SSL_AD_BAD_RECORD_MAC);
  free_pair(&pair);
}

static void test_a_wrong_key_is_not(void **state)
{
  (void)state;
  each_version(check_wrong);
}

static void test_an_unknown_identity_ends_tls_12(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  struct pair pair = open_pair();
  shake_with(&pair, NULL);
  assert_string_equal(server_finder.given, "alice");
  expect_error(pair.server, "ERR_SSL_PSK_IDENTITY_NOT_FOUND", ML_ALERT_LOCAL,
               SSL_AD_UNKNOWN_PSK_IDENTITY);
  expect_error(pair.client, "ERR_SSL_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY", ML_ALERT_PEER,
               SSL_AD_UNKNOWN_PSK_IDENTITY);
  free_pair(&pair);
}

static void test_an_unknown_identity_leaves_tls_13_with_certificates(void **state)
{
  (void)state;
  bool absent;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  shake_with(&pair, NULL);
  expect_both_open(&pair);
  assert_int_equal(ml_tls_verify_result(pair.client, &absent), X509_V_OK);
  assert_false(absent);
  assert_int_not_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  free_pair(&pair);

  ml_tls_context_unref(server_context);
  server_context = make_context(NULL, NULL, TLS1_3_VERSION);
  pair = open_pair();
  shake_with(&pair, "");
  expect_error(pair.server, "ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM", ML_ALERT_LOCAL,
               SSL_AD_HANDSHAKE_FAILURE);
  assert_memory_equal(ml_tls_error(pair.server)->offered, "pre-shared keys 1 unknown; ", 26);
  free_pair(&pair);
}

static void test_a_key_is_for_suites_with_sha_256(void **state)
{
  (void)state;
  bool absent;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  assert_int_equal(SSL_set_ciphersuites(ml_tls_ssl(pair.server), "TLS_AES_256_GCM_SHA384"), 1);
  shake_with(&pair, secret);
  expect_both_open(&pair);
  (void)ml_tls_verify_result(pair.client, &absent);
  assert_false(absent);
  free_pair(&pair);

  pair = open_pair();
  assert_int_equal(SSL_set_ciphersuites(ml_tls_ssl(pair.server),
                                        "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"),
                   1);
  shake_with(&pair, secret);
  expect_by_key(&pair);
  free_pair(&pair);

  ml_tls_context_unref(server_context);
  server_context = make_context(NULL, NULL, TLS1_3_VERSION);
  pair = open_pair();
  assert_int_equal(SSL_set_ciphersuites(ml_tls_ssl(pair.server), "TLS_AES_256_GCM_SHA384"), 1);
  shake_with(&pair, secret);
  assert_memory_equal(ml_tls_error(pair.server)->offered,
                      "pre-shared keys 1 for suites with SHA-256; ", 42);
  free_pair(&pair);
}

static void check_client_without(void)
{
  client_finder.key = NULL;
  struct pair pair = open_pair();
  shake(&pair);
  if (is_tls13(&pair))
    expect_both_open(&pair); /* by certificate */
  else
    expect_error(pair.client, "ERR_SSL_PSK_IDENTITY_NOT_FOUND", ML_ALERT_LOCAL,
                 SSL_AD_HANDSHAKE_FAILURE);
  assert_int_equal(server_finder.calls, 0);
  free_pair(&pair);
}

static void test_a_client_may_have_no_key_for_this_server(void **state)
{
  (void)state;
  each_version(check_client_without);
}

static void check_long(void)
{
  char identity[ML_PSK_IDENTITY_MAX + 1], key[ML_PSK_KEY_MAX + 1];
  memset(identity, 'i', sizeof(identity) - 1);
  memset(key, 'k', sizeof(key) - 1);
  identity[sizeof(identity) - 1] = key[sizeof(key) - 1] = '\0';
  client_finder.identity = identity;
  client_finder.key = server_finder.key = key;
  struct pair pair = open_pair();
  shake(&pair);
  if (is_tls13(&pair)) {
    (void)expect_asked(&pair, identity);
    assert_int_equal(answer(&pair, key), 0);
    go_on(&pair);
  }
  expect_by_key(&pair);
  free_pair(&pair);
}

static void test_the_longest_that_there_may_be(void **state)
{
  (void)state;
  each_version(check_long);
}

static void test_a_longer_answer_ends_the_handshake(void **state)
{
  (void)state;
  char key[ML_PSK_KEY_MAX + 2];
  memset(key, 'k', sizeof(key) - 1);
  key[sizeof(key) - 1] = '\0';
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  shake(&pair);
  (void)expect_asked(&pair, "alice");
  assert_int_equal(answer(&pair, key), 0);
  go_on(&pair);
  expect_error(pair.server, "ERR_SSL_BAD_PSK", ML_ALERT_LOCAL, SSL_AD_INTERNAL_ERROR);
  free_pair(&pair);
}

/* ---- Who is asked, and when ---- */

static void test_the_hint_reaches_clients_of_tls_12(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  server_options.psk_hint = "which one?";
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_string_equal(client_finder.given, "which one?");
  free_pair(&pair);

  set_version(TLS1_3_VERSION);
  server_options.psk_hint = "which one?";
  pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_string_equal(client_finder.given, "-");
  free_pair(&pair);
}

static void test_the_hint_survives_another_context(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  server_options.psk_hint = "which one?";
  server_options.asks |= ML_ASKS(ML_ASK_CONTEXT);
  struct ml_tls_context *other = make_context(NULL, NULL, TLS1_2_VERSION);
  struct pair pair = open_pair();
  shake(&pair);
  assert_int_equal(ml_tls_question(pair.server).ask, ML_ASK_CONTEXT);
  assert_int_equal(ml_tls_answer_context(pair.server, ml_tls_question(pair.server).token, other),
                   0);
  go_on(&pair);
  expect_by_key(&pair);
  assert_string_equal(client_finder.given, "which one?");
  free_pair(&pair);
  ml_tls_context_unref(other);
}

static void test_a_hint_may_be_too_long(void **state)
{
  (void)state;
  char hint[513];
  struct ml_error err;
  struct ml_tls *tls;
  memset(hint, 'h', sizeof(hint) - 1);
  hint[sizeof(hint) - 1] = '\0';
  set_version(TLS1_2_VERSION);
  server_options.psk_hint = hint;
  assert_int_equal(ml_tls_new(&tls, server_context, &server_options, &err), -1);
  assert_string_equal(err.code, "ERR_TLS_PSK_SET_IDENTITY_HINT_FAILED");
}

static void test_both_versions_on_offer_ask_a_client_for_each(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  ml_tls_context_unref(client_context);
  client_context = make_context(NULL, &alpha, 0);
  server_options.psk_hint = "hint";
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_int_equal(client_finder.calls, 2);
  assert_string_equal(client_finder.given, "hint");
  free_pair(&pair);
}

static void test_a_retried_hello_asks_nobody_again(void **state)
{
  (void)state;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  assert_int_equal(SSL_set1_groups_list(ml_tls_ssl(pair.server), "P-384"), 1);
  shake_with(&pair, secret);
  expect_by_key(&pair);
  assert_int_equal(client_finder.calls, 1);
  assert_int_equal(ml_tls_question(pair.server).token, 1);
  free_pair(&pair);
}

static void test_without_a_finder_nobody_is_asked(void **state)
{
  (void)state;
  set_version(TLS1_3_VERSION);
  server_options.psk = NULL;
  struct pair pair = open_pair();
  shake(&pair);
  expect_both_open(&pair);
  free_pair(&pair);
}

static void check_disowned(void)
{
  struct pair pair = open_pair();
  ml_tls_psk_disown(pair.client);
  shake(&pair);
  assert_int_equal(client_finder.calls, 0);
  assert_int_equal(pair.client_result, is_tls13(&pair) ? ML_TLS_OK : ML_TLS_ERROR);
  free_pair(&pair);
}

static void test_an_owner_who_has_gone_is_not_asked(void **state)
{
  (void)state;
  each_version(check_disowned);
}

/* ---- Several identities ---- */

struct hello {
  uint8_t bytes[2000];
  size_t len;
};

static void put(struct hello *hello, size_t width, size_t number)
{
  while (width-- > 0)
    hello->bytes[hello->len++] = (uint8_t)(number >> 8 * width);
}

static void add(uint8_t *at, size_t width, size_t more)
{
  size_t number = more;
  for (size_t i = 0; i < width; i++)
    number += (size_t)at[i] << 8 * (width - 1 - i);
  for (size_t i = 0; i < width; i++)
    at[i] = (uint8_t)(number >> 8 * (width - 1 - i));
}

/* A ClientHello of ours with `count` identities "id-0", "id-1" …, whose binders are wrong. Such an
 * extension comes last (RFC 8446, 4.2.11). */
static void make_hello(struct hello *hello, unsigned count)
{
  client_finder.key = NULL;
  struct ml_tls *client = make_engine(client_context, &client_options);
  assert_int_equal(ml_tls_handshake(client), ML_TLS_WANT_INPUT);
  struct ml_buf *out = ml_tls_output(client);
  hello->len = ml_buf_size(out);
  memcpy(hello->bytes, ml_buf_data(out), hello->len);
  ml_tls_free(client);

  size_t before = hello->len;
  put(hello, 2, 41);
  put(hello, 2, 2 + count * 10 + 2 + count * 33);
  put(hello, 2, count * 10);
  for (unsigned i = 0; i < count; i++) {
    put(hello, 2, 4);
    hello->len += (size_t)sprintf((char *)hello->bytes + hello->len, "id-%u", i);
    put(hello, 4, 0);
  }
  put(hello, 2, count * 33);
  for (unsigned i = 0; i < count; i++) {
    put(hello, 1, 32);
    memset(hello->bytes + hello->len, 0, 32);
    hello->len += 32;
  }
  size_t more = hello->len - before;
  uint8_t *message = hello->bytes + 5, *at = message + 4 + 2 + 32;
  add(hello->bytes + 3, 2, more);
  add(message + 1, 3, more);
  at += 1 + *at;                          /* session id */
  at += 2 + ((size_t)at[0] << 8 | at[1]); /* cipher suites */
  at += 1 + *at;                          /* compression */
  add(at, 2, more);
}

static struct ml_tls *feed_hello(const struct hello *hello)
{
  struct ml_tls *server = make_engine(server_context, &server_options);
  assert_int_equal(ml_tls_input(server, hello->bytes, hello->len), 0);
  assert_int_equal(ml_tls_handshake(server), ML_TLS_ASK);
  assert_int_equal(ml_tls_input_end(server), 0);
  return server;
}

static void test_identities_are_asked_in_turn_until_one_is_known(void **state)
{
  (void)state;
  struct hello hello;
  set_version(TLS1_3_VERSION);
  make_hello(&hello, 3);
  struct ml_tls *server = feed_hello(&hello);
  for (int i = 0; i < 2; i++) {
    struct ml_tls_question question = ml_tls_question(server);
    assert_int_equal(question.subject_len, 4);
    assert_int_equal(question.subject[3], '0' + i);
    assert_int_equal(ml_tls_answer_data(server, question.token,
                                        (const uint8_t *)(i ? secret : NULL), i ? 16 : 0),
                     0);
    assert_int_equal(ml_tls_handshake(server), i ? ML_TLS_ERROR : ML_TLS_ASK);
  }
  assert_string_equal(ml_tls_error(server)->code, "ERR_SSL_BINDER_DOES_NOT_VERIFY");
  ml_tls_free(server);
}

static void test_a_long_list_of_identities_is_not_asked_to_its_end(void **state)
{
  (void)state;
  struct hello hello;
  int asked = 0;
  set_version(TLS1_3_VERSION);
  make_hello(&hello, 10);
  struct ml_tls *server = feed_hello(&hello);
  while (ml_tls_question(server).ask == ML_ASK_PSK) {
    asked++;
    assert_int_equal(ml_tls_answer_data(server, ml_tls_question(server).token, NULL, 0), 0);
    (void)ml_tls_handshake(server);
  }
  assert_int_equal(asked, 8);
  assert_int_equal(ml_tls_state(server), ML_TLS_NEGOTIATE); /* with its certificate */
  ml_tls_free(server);
}

/* ---- Sessions ---- */

static uint8_t *take_session(struct ml_tls *client, size_t *len)
{
  uint8_t buffer[64], *der = NULL;
  size_t n;
  struct ml_tls_note *note;
  assert_int_equal(ml_tls_read(client, buffer, sizeof(buffer), &n), ML_TLS_WANT_INPUT);
  while ((note = ml_tls_next_note(client))) {
    free(der);
    der = NULL;
    *len = (size_t)i2d_SSL_SESSION(note->session, &der);
    ml_tls_note_free(note);
  }
  assert_non_null(der);
  return der;
}

static void finish(struct pair *pair)
{
  struct ml_buf *out = ml_tls_output(pair->server);
  assert_int_equal(ml_tls_input(pair->client, ml_buf_data(out), ml_buf_size(out)), 0);
}

/* A server that demands certificates takes the key instead, and its own session of such a
 * connection. The client's session has no certificate, either. */
static void check_resumed(void)
{
  size_t len;
  bool absent;
  server_options.request_cert = true;
  assert_int_equal(
      SSL_CTX_set_ciphersuites(ml_tls_context_ssl(server_context), "TLS_CHACHA20_POLY1305_SHA256"),
      1);
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  expect_by_key(&pair);
  finish(&pair);
  uint8_t *session = take_session(pair.client, &len);
  assert_int_equal(ml_tls_input_end(pair.client), 0);
  bool tls13 = is_tls13(&pair);
  free_pair(&pair);

  client_options.session = session;
  client_options.session_len = len;
  client_finder.key = NULL; /* so that nothing else is offered */
  server_finder.calls = 0;
  pair = open_pair();
  shake(&pair);
  expect_both_open(&pair);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), 1);
  assert_int_equal(server_finder.calls, 0);
  assert_int_equal(ml_tls_question(pair.server).token, 0); /* the ticket is no identity */
  assert_int_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  assert_int_equal(ml_tls_verify_result(pair.client, &absent), X509_V_OK);
  assert_int_equal(is_tls13(&pair), tls13);
  free_pair(&pair);
  free(session);
}

static void test_sessions_of_keys_are_resumed(void **state)
{
  (void)state;
  each_version(check_resumed);
}

/* Beside a ticket of ours the key is asked for; the ticket, which comes first, is used: nobody
 * looks at the key. */
static void test_a_ticket_is_no_identity(void **state)
{
  (void)state;
  size_t len;
  set_version(TLS1_3_VERSION);
  struct pair pair = open_pair();
  shake_with(&pair, secret);
  finish(&pair);
  uint8_t *session = take_session(pair.client, &len);
  assert_int_equal(ml_tls_input_end(pair.client), 0);
  free_pair(&pair);

  client_options.session = session;
  client_options.session_len = len;
  pair = open_pair();
  shake_with(&pair, "another key");
  expect_by_key(&pair);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), 1);
  free_pair(&pair);

  /* Another server's: it may be an identity for all we know. */
  struct ml_tls_context *other = make_context(&alpha, NULL, TLS1_3_VERSION);
  pair = (struct pair){.server = make_engine(other, &server_options),
                       .client = make_engine(client_context, &client_options)};
  shake(&pair);
  assert_true(expect_asked(&pair, NULL).subject_len > 32);
  assert_int_equal(answer(&pair, NULL), 0);
  pair.server_result = ml_tls_handshake(pair.server);
  (void)expect_asked(&pair, "alice");
  assert_int_equal(answer(&pair, secret), 0);
  go_on(&pair);
  expect_by_key(&pair);
  free_pair(&pair);
  ml_tls_context_unref(other);
  free(session);
}

static void test_a_session_without_key_or_certificate_proves_nothing(void **state)
{
  (void)state;
  size_t len;
  bool absent;
  set_version(TLS1_3_VERSION);
  server_options.psk = client_options.psk = NULL;
  struct pair pair = open_pair();
  shake(&pair);
  finish(&pair);
  uint8_t *session = take_session(pair.client, &len);
  assert_int_equal(ml_tls_input_end(pair.client), 0);
  free_pair(&pair);

  client_options.session = session;
  client_options.session_len = len;
  pair = open_pair();
  shake(&pair);
  expect_both_open(&pair);
  assert_int_equal(SSL_session_reused(ml_tls_ssl(pair.server)), 1);
  assert_int_not_equal(ml_tls_verify_result(pair.server, &absent), X509_V_OK);
  free_pair(&pair);
  free(session);
}

/* ---- Judging ---- */

static void test_a_client_of_tls_12_may_judge_the_name_all_the_same(void **state)
{
  (void)state;
  for (int acceptable = 0; acceptable < 2; acceptable++) {
    set_version(TLS1_2_VERSION);
    client_options.asks = ML_ASKS(ML_ASK_IDENTITY);
    struct pair pair = open_pair();
    shake_with(&pair, secret);
    assert_int_equal(pair.client_result, ML_TLS_ASK);
    struct ml_tls_question question = ml_tls_question(pair.client);
    assert_int_equal(question.ask, ML_ASK_IDENTITY);
    assert_null(ml_tls_peer_certificate(pair.client));
    assert_int_equal(ml_tls_answer_identity(pair.client, question.token, acceptable), 0);
    assert_int_equal(ml_tls_handshake(pair.client), acceptable ? ML_TLS_OK : ML_TLS_ERROR);
    if (!acceptable) expect_error(pair.client, "HOSTNAME_MISMATCH", ML_ALERT_NONE, 0);
    free_pair(&pair);
  }
}

/* ---- Finders with ideas of their own ---- */

static void check_failing_client(void)
{
  client_finder.fails = true;
  struct pair pair = open_pair();
  shake(&pair);
  assert_int_equal(pair.client_result, ML_TLS_ERROR);
  expect_error(pair.client, "ERR_OWN", ML_ALERT_LOCAL, SSL_AD_HANDSHAKE_FAILURE);
  assert_int_equal(pair.server_result, ML_TLS_ERROR);
  free_pair(&pair);
}

static void test_a_finder_may_fail(void **state)
{
  (void)state;
  each_version(check_failing_client);
  set_version(TLS1_2_VERSION);
  server_finder.fails = true;
  struct pair pair = open_pair();
  shake(&pair);
  expect_error(pair.server, "ERR_OWN", ML_ALERT_LOCAL, SSL_AD_INTERNAL_ERROR);
  expect_error(pair.client, "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR", ML_ALERT_PEER,
               SSL_AD_INTERNAL_ERROR);
  free_pair(&pair);
}

static void test_what_comes_in_meanwhile_is_there_afterwards(void **state)
{
  (void)state;
  set_version(TLS1_2_VERSION);
  struct pair pair = open_pair();
  carry(pair.server, pair.client, 0, &pair.client_result);
  carry(pair.client, pair.server, 0, &pair.server_result);
  carry(pair.server, pair.client, 0, &pair.client_result);
  uint8_t flight[1000];
  struct ml_buf *out = ml_tls_output(pair.client);
  size_t len = ml_buf_size(out),
         first = 5 + ((size_t)ml_buf_data(out)[3] << 8) + ml_buf_data(out)[4];
  memcpy(flight, ml_buf_data(out), len);
  ml_buf_consume(out, len);
  server_finder.engine = pair.server;
  server_finder.input = (struct ml_slice){flight + first, len - first};
  assert_int_equal(ml_tls_input(pair.server, flight, first), 0); /* the ClientKeyExchange */
  assert_int_equal(ml_tls_handshake(pair.server), ML_TLS_OK);
  assert_int_equal(ml_tls_input_end(pair.server), 0);
  assert_int_equal(ml_tls_input_kept(pair.server), 0);
  pair.server_result = ML_TLS_OK;
  shake(&pair);
  expect_by_key(&pair);
  free_pair(&pair);
}

static void check_driven_client(void)
{
  struct pair pair = open_pair();
  client_finder.engine = pair.client;
  shake_with(&pair, secret);
  expect_by_key(&pair);
  free_pair(&pair);
}

static void test_a_finder_may_drive_its_own_engine(void **state)
{
  (void)state;
  each_version(check_driven_client);
}

static int tear_down(void **state)
{
  ml_tls_context_unref(server_context);
  ml_tls_context_unref(client_context);
  return free_identities(state);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_known_key_is_enough),
      cmocka_unit_test(test_a_wrong_key_is_not),
      cmocka_unit_test(test_an_unknown_identity_ends_tls_12),
      cmocka_unit_test(test_an_unknown_identity_leaves_tls_13_with_certificates),
      cmocka_unit_test(test_a_key_is_for_suites_with_sha_256),
      cmocka_unit_test(test_a_client_may_have_no_key_for_this_server),
      cmocka_unit_test(test_the_longest_that_there_may_be),
      cmocka_unit_test(test_a_longer_answer_ends_the_handshake),
      cmocka_unit_test(test_the_hint_reaches_clients_of_tls_12),
      cmocka_unit_test(test_the_hint_survives_another_context),
      cmocka_unit_test(test_a_hint_may_be_too_long),
      cmocka_unit_test(test_both_versions_on_offer_ask_a_client_for_each),
      cmocka_unit_test(test_a_retried_hello_asks_nobody_again),
      cmocka_unit_test(test_without_a_finder_nobody_is_asked),
      cmocka_unit_test(test_an_owner_who_has_gone_is_not_asked),
      cmocka_unit_test(test_identities_are_asked_in_turn_until_one_is_known),
      cmocka_unit_test(test_a_long_list_of_identities_is_not_asked_to_its_end),
      cmocka_unit_test(test_sessions_of_keys_are_resumed),
      cmocka_unit_test(test_a_ticket_is_no_identity),
      cmocka_unit_test(test_a_session_without_key_or_certificate_proves_nothing),
      cmocka_unit_test(test_a_client_of_tls_12_may_judge_the_name_all_the_same),
      cmocka_unit_test(test_a_finder_may_fail),
      cmocka_unit_test(test_what_comes_in_meanwhile_is_there_afterwards),
      cmocka_unit_test(test_a_finder_may_drive_its_own_engine),
  };
  return cmocka_run_group_tests(tests, make_identities, tear_down);
}

/* Two engines, two buffers, and a finder of pre-shared keys on either side. */
#ifndef PSK_PAIR_H
#define PSK_PAIR_H

#include "tls_contexts.h"

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
static inline void drive(struct ml_tls *tls, const struct ml_slice *input)
{
  uint8_t byte;
  size_t n;
  assert_int_equal(ml_tls_input(tls, input->data, input->len), 0);
  assert_int_equal(ml_tls_handshake(tls), ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_read(tls, &byte, 1, &n), ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_input_end(tls), 0);
}

static inline int find(void *user, struct ml_tls_psk *psk, struct ml_error *err)
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
static inline void set_version(int version)
{
  make_contexts(version);
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
static inline struct pair open_pair(void)
{
  struct pair pair = {.server = make_engine(server_context, &server_options),
                      .client = make_engine(client_context, &client_options)};
  assert_int_equal(SSL_set_cipher_list(ml_tls_ssl(pair.client), "kPSK:kECDHEPSK"), 1);
  return pair;
}

/* From here on it has no certificate: only a key will do. */
static inline void without_certificate(void)
{
  ml_tls_context_unref(server_context);
  server_context = make_context(NULL, NULL, TLS1_3_VERSION);
}

static inline bool is_tls13(const struct pair *pair)
{
  return SSL_version(ml_tls_ssl(pair->client)) == TLS1_3_VERSION;
}

/* On from an answer to the end. */
static inline void go_on(struct pair *pair)
{
  pair->server_result = ml_tls_handshake(pair->server);
  shake(pair);
}

static inline struct ml_tls_question expect_asked(struct pair *pair, const char *identity)
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

static inline int answer(struct pair *pair, const char *key)
{
  return ml_tls_answer_data(pair->server, ml_tls_question(pair->server).token, (const uint8_t *)key,
                            key ? strlen(key) : 0);
}

/* To the end, with `key` for alice: TLS 1.2 takes it from the finder. */
static inline void shake_with(struct pair *pair, const char *key)
{
  server_finder.key = key;
  shake(pair);
  if (pair->server_result != ML_TLS_ASK) return;
  (void)expect_asked(pair, "alice");
  assert_int_equal(answer(pair, key), 0);
  go_on(pair);
}

/* The key has done it: no certificate, and nothing to complain about. */
static inline void expect_by_key(const struct pair *pair)
{
  bool absent;
  expect_both_open(pair);
  assert_int_equal(ml_tls_verify_result(pair->client, &absent), X509_V_OK);
  assert_true(absent);
  assert_int_equal(ml_tls_verify_result(pair->server, &absent), X509_V_OK);
  assert_true(absent);
}

static inline void expect_error(const struct ml_tls *tls, const char *code, enum ml_alert_from from,
                                int alert)
{
  assert_non_null(ml_tls_error(tls));
  assert_string_equal(ml_tls_error(tls)->code, code);
  assert_int_equal(ml_tls_error(tls)->alert_from, from);
  if (from != ML_ALERT_NONE) assert_int_equal(ml_tls_error(tls)->alert, alert);
}

static inline int tear_down(void **state)
{
  free_contexts();
  return free_identities(state);
}

#endif

/* Two engines and somebody in between who does as the input says: passes bytes on in any portions,
 * changes them, makes some up, and answers questions at any time, late, twice or never.
 *
 * The input is a row of steps: one byte of kind, one of argument, and for made-up bytes the bytes.
 * Its first byte chooses the options, the second the version and what is to be had of pre-shared
 * keys. Randomness comes from a generator that starts anew with each input, so a finding repeats.
 */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certmaker.h"
#include "expect.h"
#include "random.h"
#include "tls_after.h"
#include "tls_timeline.h"
#include "tls_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* ---- What both ends are made of ---- */

/* The last has session ids instead of tickets. */
enum { VERSIONS = 4, WITH_TICKETS = 2, WITH_IDS = 3 };
static const int versions[VERSIONS] = {0, TLS1_2_VERSION, TLS1_3_VERSION, TLS1_2_VERSION};
static struct ml_tls_context *contexts[VERSIONS], *other;

/* DER: what a client brings, and what a server's owner has in store. */
struct session {
  uint8_t *der;
  size_t len;
};
static struct session brought[VERSIONS], stored[VERSIONS];

static char *text_of(BIO *bio)
{
  char *data;
  size_t len = (size_t)BIO_get_mem_data(bio, &data);
  char *text = calloc(1, len + 1);
  EXPECT(text);
  memcpy(text, data, len);
  BIO_free(bio);
  return text;
}

static struct ml_tls_blob blob_of(BIO *bio)
{
  char *text = text_of(bio);
  return (struct ml_tls_blob){text, strlen(text), NULL};
}

/* Takes the key. */
static void make_identity(EVP_PKEY *key, struct ml_tls_blob *cert_blob,
                          struct ml_tls_blob *key_blob)
{
  struct ml_error err;
  X509 *cert = NULL;
  struct ml_name_attribute subject = {.type = "CN", .value = "fuzz.test", .len = 9};
  int64_t now = (int64_t)time(NULL);
  struct ml_cert_plan plan = {.key = key,
                              .not_before = now - 3600,
                              .not_after = now + 86400,
                              .version = 3,
                              .subject = &subject,
                              .subject_count = 1};
  EXPECT(ml_cert_make(&cert, &plan, &err) == 0);
  BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());
  EXPECT(PEM_write_bio_X509(cert_bio, cert) == 1);
  EXPECT(PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1);
  X509_free(cert);
  EVP_PKEY_free(key);
  *cert_blob = blob_of(cert_bio);
  *key_blob = blob_of(key_bio);
}

/* With two kinds of keys, so that there is something to choose. */
static struct ml_tls_context *make_context(int version, bool ids)
{
  struct ml_error err;
  struct ml_tls_blob certs[2], keys[2];
  make_identity(EVP_EC_gen("P-256"), &certs[0], &keys[0]);
  make_identity(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), &certs[1], &keys[1]);
  struct ml_tls_context_options options = {.own_trust = true,
                                           .cert = {certs, 2},
                                           .key = {keys, 2},
                                           .ca = {certs, 2},
                                           .session_timeout = 1L << 30,
                                           .set_options = ids ? SSL_OP_NO_TICKET : 0,
                                           .min_version = version,
                                           .max_version = version};
  struct ml_tls_context *context;
  EXPECT(ml_tls_context_new(&context, &options, &err) == 0);
  ml_tls_context_enable_keylog(context);
  for (size_t i = 0; i < 2; i++) {
    free((void *)(uintptr_t)certs[i].data);
    free((void *)(uintptr_t)keys[i].data);
  }
  return context;
}

/* ---- One connection ---- */

struct end {
  struct ml_tls *tls;
  enum ml_tls_state state; /* the furthest so far */
  bool paused;             /* its owner does not read */
  uint8_t keys;            /* what its finder of pre-shared keys does; 0: there is none */
};

static void check(struct end *end)
{
  enum ml_tls_state state = ml_tls_state(end->tls);
  bool asks_again = end->state == ML_TLS_IDENTITY_ASKED || end->state == ML_TLS_STAPLE_ASKED ||
                    end->state == ML_TLS_HELLO_ASKED;
  bool open = end->state >= ML_TLS_OPEN && end->state <= ML_TLS_PEER_CLOSED;
  EXPECT(state >= end->state || asks_again || (open && state >= ML_TLS_OPEN));
  end->state = state;
  if (state == ML_TLS_FAILED) EXPECT(ml_tls_error(end->tls) && ml_tls_error(end->tls)->code[0]);
}

/* Finders that know the key of everybody, another one, or none, that fail, and that go on meanwhile
 * with what looks like more input. */
static int find_key(void *user, struct ml_tls_psk *psk, struct ml_error *err)
{
  struct end *end = user;
  if (end->keys & 8) {
    uint8_t nothing[16];
    size_t n = sizeof(nothing);
    EXPECT(ml_tls_input(end->tls, nothing, 0) == 0);
    EXPECT(ml_tls_handshake(end->tls) == ML_TLS_WANT_INPUT);
    EXPECT(ml_tls_read(end->tls, nothing, n, &n) == ML_TLS_WANT_INPUT);
    EXPECT(ml_tls_input_end(end->tls) == 0);
  }
  if (end->keys & 4) {
    ml_error_misuse(err, "ERR_FUZZ", "no key");
    return -1;
  }
  if (end->keys & 16) return 0;
  strcpy(psk->identity, "fuzz");
  psk->key_len = strlen(strcpy((char *)psk->key, end->keys & 2 ? "another" : "key"));
  return 0;
}

static void keep(struct session *session, SSL_SESSION *made)
{
  OPENSSL_free(session->der);
  session->der = NULL;
  int len = i2d_SSL_SESSION(made, &session->der);
  EXPECT(len > 0);
  session->len = (size_t)len;
}

/* `session`, unless it is NULL, gets the last one noted. */
static void fetch_notes(struct end *end, struct session *session)
{
  struct ml_tls_note *note;
  while ((note = ml_tls_next_note(end->tls))) {
    if (note->kind == ML_NOTE_SESSION && session) keep(session, note->session);
    ml_tls_note_free(note);
  }
}

/* Lends `data` and does what an owner does with new input. */
static void feed(struct end *end, const uint8_t *data, size_t len)
{
  static uint8_t buffer[20000];
  size_t n;
  EXPECT(ml_tls_input(end->tls, data, len) == 0);
  if (!ml_tls_established(end->tls)) {
    enum ml_tls_result result = ml_tls_handshake(end->tls);
    EXPECT((result == ML_TLS_ASK) == (ml_tls_question(end->tls).ask != ML_ASK_NONE));
    EXPECT((result == ML_TLS_OK) == ml_tls_established(end->tls));
    bool storing = ml_tls_question(end->tls).ask == ML_ASK_STORE;
    EXPECT(storing == (ml_tls_new_session(end->tls) != NULL));
    if (storing) EXPECT(ml_buf_size(ml_tls_output(end->tls)) == 0);
  }
  enum ml_tls_result result = ML_TLS_OK;
  while (ml_tls_established(end->tls) &&
         (result == ML_TLS_OK || result == ML_TLS_RENEWED || result == ML_TLS_AGAIN)) {
    bool unsettled = ml_tls_unsettled(end->tls);
    n = 1;
    result = end->paused ? ml_tls_handshake(end->tls)
                         : ml_tls_read(end->tls, buffer, sizeof(buffer), &n);
    EXPECT(n > 0);
    if (result == ML_TLS_ASK) EXPECT(ml_tls_question(end->tls).ask != ML_ASK_NONE);
    if (end->paused && !unsettled) break;
  }
  EXPECT(ml_tls_input_end(end->tls) == 0);
  check(end);
}

/* Carries up to `limit` bytes, with one of them changed when `change` is not 0. */
static void carry(struct end *from, struct end *to, size_t limit, uint8_t change)
{
  struct ml_buf *out = ml_tls_output(from->tls);
  size_t n = ml_buf_size(out) < limit ? ml_buf_size(out) : limit;
  if (n == 0) {
    feed(to, NULL, 0);
    return;
  }
  uint8_t *copy = malloc(n);
  EXPECT(copy);
  memcpy(copy, ml_buf_data(out), n);
  copy[change % n] ^= change;
  ml_buf_consume(out, n);
  feed(to, copy, n);
  free(copy);
}

/* Data of any kind for the questions that it answers. */
static struct ml_slice data_for(int version, uint8_t how)
{
  static const char *const texts[] = {NULL, "h2", "key", "\x30\x82\x01"};
  const char *text = texts[how / 4 % 4];
  if (how & 16) {
    const struct session *session = &stored[how & 32 ? (version + 1) % VERSIONS : version];
    return (struct ml_slice){session->der, session->len};
  }
  return (struct ml_slice){(const uint8_t *)text, text ? strlen(text) : 0};
}

static void answer(struct end *end, int version, uint8_t how)
{
  struct ml_error reason;
  struct ml_tls_question question = ml_tls_question(end->tls);
  uint32_t token = question.token + (how >> 6 == 3);
  bool right = token == question.token && question.ask != ML_ASK_NONE;
  struct ml_slice data = data_for(version, how);
  struct ml_tls_context *choice[] = {NULL, contexts[how % VERSIONS], other};
  int result;
  switch (how % 4) {
  case 0:
    result = ml_tls_answer_context(end->tls, token, choice[how / 3 % 3]);
    EXPECT(result == (right && question.ask == ML_ASK_CONTEXT ? 0 : -1));
    break;
  case 1:
    result = ml_tls_answer_identity(end->tls, token, how & 8);
    EXPECT(result == (right && question.ask == ML_ASK_IDENTITY ? 0 : -1));
    break;
  case 2:
    result = ml_tls_answer_data(end->tls, token, data.data, data.len);
    EXPECT(result ==
           (right && question.ask != ML_ASK_CONTEXT && question.ask != ML_ASK_IDENTITY ? 0 : -1));
    break;
  default:
    ml_error_misuse(&reason, "ERR_FUZZ", "refused");
    result = ml_tls_answer_failure(end->tls, token, how, &reason);
    EXPECT(result == (right ? 0 : -1));
  }
  if (result == 0) EXPECT(ml_tls_question(end->tls).ask == ML_ASK_NONE);
}

static void write_some(struct end *end, uint8_t amount)
{
  static uint8_t cleartext[256 * 200];
  size_t done;
  enum ml_tls_state state = ml_tls_state(end->tls);
  if (state < ML_TLS_OPEN || state > ML_TLS_PEER_CLOSED) return;
  size_t len = (size_t)amount * 200;
  enum ml_tls_result result = ml_tls_write(end->tls, cleartext, len, &done);
  EXPECT(done <= len && (result != ML_TLS_OK || done == len));
}

static void look_at_timeline(const struct end *end)
{
  struct ml_tls_phase phases[ML_TLS_PHASES_MAX];
  bool over;
  double at = 0;
  size_t count = ml_tls_timeline(end->tls, phases, &over);
  EXPECT(count <= ML_TLS_PHASES_MAX && (over || !ml_tls_established(end->tls)));
  for (size_t i = 0; i < count; i++) {
    EXPECT(phases[i].at >= at && phases[i].ms >= 0);
    EXPECT((phases[i].message == NULL) == (phases[i].waiting == ML_WAIT_SCRIPT));
    at = phases[i].at;
  }
}

static void look(const struct end *end)
{
  bool absent;
  look_at_timeline(end);
  (void)ml_tls_verify_result(end->tls, &absent);
  (void)ml_tls_servername(end->tls);
  size_t len;
  const uint8_t *protocol = ml_tls_npn_protocol(end->tls, &len);
  EXPECT((protocol != NULL) == (len > 0));
  sk_X509_pop_free(ml_tls_peer_chain(end->tls), X509_free);
  EXPECT(absent == !ml_tls_peer_certificate(end->tls));
}

/* What the owner of an open connection may want of it. */
static void wish(struct end *end, uint8_t what)
{
  struct ml_error err;
  if (!ml_tls_established(end->tls)) return;
  switch (what % 8) {
  case 0:
    ml_tls_decline_renegotiation(end->tls);
    break;
  case 1:
    ml_tls_forbid_renegotiation(end->tls);
    break;
  case 2:
    end->paused = !end->paused;
    break;
  case 3:
    if (ml_tls_update_keys(end->tls, what & 8, &err) != 0) EXPECT(err.code[0]);
    break;
  case 4:
    if (ml_tls_request_certificate(end->tls, what / 8 % 3, &err) != 0) EXPECT(err.code[0]);
    break;
  case 5:
    EXPECT(ml_tls_trace(end->tls, &err) == 0);
    break;
  default:
    if (ml_tls_renegotiate(end->tls, what / 8 % 3, what / 32 % 3, &err) != 0) EXPECT(err.code[0]);
  }
}

static void step(struct end ends[2], int version, uint8_t kind, uint8_t arg)
{
  struct end *one = &ends[kind & 1], *two = &ends[!(kind & 1)];
  switch (kind / 2 % 10) {
  case 0:
    carry(one, two, SIZE_MAX, 0);
    break;
  case 1:
    carry(one, two, (size_t)arg * 4 + 1, 0);
    break;
  case 2:
    carry(one, two, SIZE_MAX, arg);
    break;
  case 3:
    answer(one, version, arg);
    break;
  case 4:
    write_some(one, arg);
    break;
  case 5:
    (void)ml_tls_close(one->tls);
    break;
  case 6:
    fetch_notes(one, NULL);
    break;
  case 7:
    look(one);
    break;
  case 9:
    wish(one, arg);
    break;
  default: /* an eager peer */
    if (ml_tls_established(one->tls) && SSL_version(ml_tls_ssl(one->tls)) == TLS1_3_VERSION) {
      (void)SSL_key_update(ml_tls_ssl(one->tls), arg & 1);
      (void)SSL_do_handshake(ml_tls_ssl(one->tls));
    }
  }
  check(one);
  check(two);
}

static void open_end(struct end *end, bool server, uint8_t flags, int version)
{
  static const uint8_t alpn[] = "\x02h2\x08http/1.1";
  struct ml_error err;
  struct ml_tls_options options = {.server = server,
                                   .asks = (flags & 1 ? ~ML_ASKS(ML_ASK_IDENTITY) : 0) |
                                           (flags & 2 ? ML_ASKS(ML_ASK_IDENTITY) : 0),
                                   .request_cert = flags & 4,
                                   .reject_unauthorized = flags & 8,
                                   .request_staple = flags & 128,
                                   .renegotiable = true,
                                   .want_sessions = true,
                                   .want_keylog = true,
                                   .servername = server ? NULL : "fuzz.test",
                                   .alpn = alpn,
                                   .alpn_len = flags & 16 ? sizeof(alpn) - 1 : 3,
                                   .npn = alpn,
                                   .npn_len = flags & 64 ? sizeof(alpn) - 1 : 0};
  if (!server && flags & 32) {
    options.session = brought[version].der;
    options.session_len = brought[version].len;
  }
  if (end->keys) {
    options.psk = find_key;
    options.psk_user = end;
    options.psk_hint = "fuzz";
  }
  EXPECT(ml_tls_new(&end->tls, contexts[version], &options, &err) == 0);
  /* With certificates of other kinds at hand nobody would choose keys under TLS 1.2. */
  if (end->keys & 1 && !server) EXPECT(SSL_set_cipher_list(ml_tls_ssl(end->tls), "PSK") == 1);
}

/* Answers as an owner does who wants the handshake to succeed. */
static void agree(struct end *end, struct session *session)
{
  struct ml_tls_question question = ml_tls_question(end->tls);
  if (question.ask == ML_ASK_NONE) return;
  if (question.ask == ML_ASK_STORE) keep(session, ml_tls_new_session(end->tls));
  bool alpn = question.ask == ML_ASK_ALPN;
  (void)ml_tls_answer_context(end->tls, question.token, NULL);
  (void)ml_tls_answer_identity(end->tls, question.token, true);
  (void)ml_tls_answer_data(end->tls, question.token, alpn ? (const uint8_t *)"h2" : NULL, alpn * 2);
}

/* A client's first visit, and what is left of it. */
static void make_sessions(int version)
{
  struct end ends[2] = {{0}, {0}};
  open_end(&ends[0], true, version != WITH_TICKETS, version);
  open_end(&ends[1], false, 0, version);
  for (int i = 0; i < 20; i++) {
    carry(&ends[1], &ends[0], SIZE_MAX, 0);
    agree(&ends[0], &stored[version]);
    carry(&ends[0], &ends[1], SIZE_MAX, 0);
    fetch_notes(&ends[1], &brought[version]);
  }
  EXPECT(ml_tls_established(ends[0].tls) && ml_tls_established(ends[1].tls));
  EXPECT(brought[version].der);
  EXPECT((stored[version].der != NULL) == (version == 0 || version == WITH_IDS));
  ml_tls_free(ends[0].tls);
  ml_tls_free(ends[1].tls);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  fuzz_random_install();
  for (int i = 0; i < VERSIONS; i++)
    contexts[i] = make_context(versions[i], i == WITH_IDS);
  other = make_context(0, false);
  for (int i = 0; i < VERSIONS; i++)
    make_sessions(i);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < 2) return 0;
  fuzz_random_start();
  int version = data[1] % VERSIONS;
  /* Keys that go wrong are one end's alone: the client's, with the highest bit. */
  uint8_t keys = data[1] / VERSIONS % 32, only = data[1] & 128 ? keys & 1 : keys;
  struct end ends[2] = {{.keys = only}, {.keys = data[1] & 128 ? keys : keys & 1}};
  for (int i = 0; i < 2; i++)
    open_end(&ends[i], i == 0, data[0], version);
  feed(&ends[1], NULL, 0);
  size_t at = 2;
  while (size - at >= 2) {
    uint8_t kind = data[at], arg = data[at + 1];
    at += 2;
    if (kind < 224) {
      step(ends, version, kind, arg);
      continue;
    }
    size_t n = size - at < arg ? size - at : arg; /* made up */
    feed(&ends[kind & 1], data + at, n);
    at += n;
  }
  ml_tls_free(ends[0].tls);
  ml_tls_free(ends[1].tls);
  return 0;
}

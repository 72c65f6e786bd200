/* What a server does when a ClientHello has come in: everything that is to be decided before
 * OpenSSL acts on it. The owner is asked one question after the other, each a pause of its own. */
#include "tls_at_hello.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "tls_alpn.h"
#include "tls_hello.h"
#include "tls_policy.h"
#include "tls_psk.h"
#include "tls_sessions.h"

/* ---- The hello ---- */

int ml_tls_read_hello(struct ml_tls *tls, struct ml_tls_hello *hello, int *alert)
{
  int reason = ERR_R_MALLOC_FAILURE;
  *alert = SSL_AD_INTERNAL_ERROR;
  if (tls->hello.at) reason = ml_tls_hello_parse(hello, tls->hello.at, tls->hello.len, alert);
  if (reason == 0) return 0;
  ERR_raise(ERR_LIB_SSL, reason);
  return -1;
}

/* For the error message, should it come to it. */
static void note_versions(struct ml_tls_offer *offer, const struct ml_tls_hello *hello)
{
  const size_t room = sizeof(offer->versions) / sizeof(*offer->versions);
  struct ml_slice rest = hello->versions;
  uint16_t version;
  offer->count = 0;
  offer->at_most = !hello->versions.data;
  if (offer->at_most) offer->versions[offer->count++] = hello->legacy_version;
  while (offer->count < room && ml_tls_hello_next_number(&rest, &version))
    if (!ml_tls_is_grease(version)) offer->versions[offer->count++] = version;
}

static int take_servername(struct ml_tls *tls, const struct ml_tls_hello *hello, int *alert)
{
  const struct ml_slice *name = &hello->servername;
  if (name->len == 0) return 0;
  free(tls->servername);
  tls->servername = strndup((const char *)name->data, name->len);
  if (tls->servername) return 0;
  *alert = SSL_AD_INTERNAL_ERROR;
  ERR_raise(ERR_LIB_SSL, ERR_R_MALLOC_FAILURE);
  return -1;
}

static bool same_servername(const struct ml_tls *tls, const struct ml_tls_hello *hello)
{
  const char *expected = tls->servername ? tls->servername : "";
  size_t len = strlen(expected);
  return hello->servername.len == len &&
         (len == 0 || memcmp(hello->servername.data, expected, len) == 0);
}

/* The ClientHello after a HelloRetryRequest may not ask for another name or offer other protocols
 * (RFC 8446, 4.1.2): what was decided by the first stays. That of a renegotiation may leave out the
 * protocols, which OpenSSL then does not choose again. */
static int expect_same_hello(struct ml_tls *tls, int *alert)
{
  struct ml_tls_hello hello;
  bool read = ml_tls_read_hello(tls, &hello, alert) == 0;
  bool same = read && same_servername(tls, &hello) &&
              (ml_tls_established(tls) || ml_tls_alpn_unchanged(tls, &hello));
  ml_tls_bytes_free(&tls->hello);
  if (same) return SSL_CLIENT_HELLO_SUCCESS;
  if (!read) return SSL_CLIENT_HELLO_ERROR;
  *alert = SSL_AD_ILLEGAL_PARAMETER;
  ERR_raise(ERR_LIB_SSL, SSL_R_BAD_EXTENSION);
  return SSL_CLIENT_HELLO_ERROR;
}

/* ---- The context ---- */

static int ask_context(struct ml_tls *tls, SSL *ssl)
{
  (void)ssl;
  return ml_tls_ask(tls, ML_ASK_CONTEXT, NULL, 0) == 0 ? ML_STEP_ASKED : ML_STEP_FAILED;
}

static int take_context(struct ml_tls *tls, SSL *ssl)
{
  struct ml_tls_context *context = tls->pause.context;
  if (!context) return 0;
  tls->pause.context = NULL;
  struct ml_tls_context *before = tls->context;
  tls->context = context;
  tls->name_used = true;
  ml_tls_adopt_policy(tls, context);
  struct ml_error err;
  int result = ml_tls_context_apply(context, before, ssl, ml_tls_policy(tls), &err);
  ml_tls_context_unref(before);
  if (result != 0 || ml_tls_psk_apply(tls, &err) != 0) {
    ml_tls_set_error(tls, &err);
    tls->pause.refused = true;
    return -1;
  }
  ml_tls_sessions_adopt(tls);
  ml_tls_permit_renegotiation(tls);
  /* OpenSSL asks the context at hand for the key log's callback. */
  if (tls->want_keylog) ml_tls_context_enable_keylog(context);
  return 0;
}

/* ---- One question after the other ---- */

/* What can be asked at a ClientHello, in this order: the context decides what a session is worth,
 * and both what there is to agree on. */
static const struct {
  enum ml_tls_ask ask;
  /* Asks, unless the hello gives no reason to: ML_STEP_*. */
  int (*begin)(struct ml_tls *, SSL *);
  /* Uses the answer. 0, or ML_STEP_AGAIN to begin once more. -1: internal_error for the peer, the
   * reason is OpenSSL's or the engine's. */
  int (*end)(struct ml_tls *, SSL *);
} steps[] = {
    {ML_ASK_CONTEXT, ask_context, take_context},
    {ML_ASK_SESSION, ml_tls_ask_session, ml_tls_take_session},
    {ML_ASK_ALPN, ml_tls_ask_alpn, ml_tls_take_alpn},
    {ML_ASK_PSK, ml_tls_ask_psk, ml_tls_take_psk},
};
#define STEPS (sizeof(steps) / sizeof(*steps))

bool ml_tls_hello_decided(const struct ml_tls *tls)
{
  return tls->hello_step == STEPS;
}

static int begin_step(struct ml_tls *tls, SSL *ssl)
{
  if (!ml_tls_asks(tls, steps[tls->hello_step].ask)) return ML_STEP_NEEDLESS;
  return steps[tls->hello_step].begin(tls, ssl);
}

static int end_step(struct ml_tls *tls, SSL *ssl, int *alert)
{
  int result = -1;
  if (tls->pause.refused)
    *alert = tls->pause.alert;
  else
    result = steps[tls->hello_step].end(tls, ssl);
  ml_tls_pause_end(tls);
  return result;
}

/* Goes through the questions as far as there are answers. */
static int decide(struct ml_tls *tls, SSL *ssl, int *alert)
{
  *alert = SSL_AD_INTERNAL_ERROR;
  for (; tls->hello_step < STEPS; tls->hello_step++) {
    if (tls->pause.phase == ML_PAUSE_IDLE) {
      int begun = begin_step(tls, ssl);
      if (begun == ML_STEP_FAILED) return SSL_CLIENT_HELLO_ERROR;
      if (begun == ML_STEP_NEEDLESS) continue;
    }
    if (tls->pause.phase == ML_PAUSE_ASKED) return SSL_CLIENT_HELLO_RETRY;
    int ended = end_step(tls, ssl, alert);
    if (ended == ML_STEP_FAILED) return SSL_CLIENT_HELLO_ERROR;
    if (ended == ML_STEP_AGAIN) tls->hello_step--;
  }
  if (!ml_tls_asks(tls, ML_ASK_STAPLE)) ml_tls_bytes_free(&tls->hello);
  ml_tls_set_state(tls, ML_TLS_NEGOTIATE);
  return SSL_CLIENT_HELLO_SUCCESS;
}

int ml_tls_on_client_hello(SSL *ssl, int *alert, void *arg)
{
  (void)arg;
  struct ml_tls *tls = ml_tls_of(ssl);
  if (!tls || !tls->server) return SSL_CLIENT_HELLO_SUCCESS;
  bool decided = ml_tls_hello_decided(tls);
  if (decided && !ml_tls_established(tls)) return expect_same_hello(tls, alert);
  if (decided) {
    bool back = tls->pause.phase != ML_PAUSE_IDLE; /* suspended before, it has been read */
    if (!back && expect_same_hello(tls, alert) != SSL_CLIENT_HELLO_SUCCESS)
      return SSL_CLIENT_HELLO_ERROR;
    return ml_tls_after_hello(tls, alert);
  }
  if (tls->hello_step == 0 && tls->pause.phase == ML_PAUSE_IDLE) {
    struct ml_tls_hello hello;
    if (ml_tls_read_hello(tls, &hello, alert) != 0) return SSL_CLIENT_HELLO_ERROR;
    note_versions(&tls->offer, &hello);
    if (take_servername(tls, &hello, alert) != 0) return SSL_CLIENT_HELLO_ERROR;
  }
  return decide(tls, ssl, alert);
}

/* The alert stands last in the output, in a record of its own that nothing encrypts yet. */
void ml_tls_send_chosen_alert(struct ml_tls *tls)
{
  static const uint8_t fatal_alert[] = {SSL3_RT_ALERT, SSL3_VERSION_MAJOR};
  static const uint8_t length_and_level[] = {0, 2, SSL3_AL_FATAL};
  const size_t size = SSL3_RT_HEADER_LENGTH + 2;
  struct ml_buf *out = &tls->io.out;
  if (!tls->server || ml_tls_hello_decided(tls) || ml_buf_size(out) < size) return;
  uint8_t *record = ml_buf_tail(out, size);
  if (memcmp(record, fatal_alert, sizeof(fatal_alert)) != 0) return;
  if (memcmp(record + 3, length_and_level, sizeof(length_and_level)) != 0) return;
  record[size - 1] = (uint8_t)tls->pause.alert;
  tls->alert = tls->pause.alert;
}

/* ---- The message itself ---- */

void ml_tls_keep_hello(struct ml_tls *tls, const uint8_t *message, size_t len)
{
  ml_tls_bytes_free(&tls->hello);
  (void)!ml_tls_bytes_set(&tls->hello, message, len); /* read_hello notices */
}

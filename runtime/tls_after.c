#include "tls_after.h"

#include <errno.h>
#include <openssl/err.h>

#include "tls_at_hello.h"
#include "tls_engine_internal.h"
#include "tls_messages.h"
#include "tls_offload.h"
#include "tls_policy.h"

#define EARLY_LIMIT ((size_t)65536) /* cleartext kept for an owner who does not read */
#define EARLY_STEP ((size_t)SSL3_RT_MAX_PLAIN_LENGTH)

bool ml_tls_renegotiating(const struct ml_tls *tls)
{
  return tls->state == ML_TLS_RENEGOTIATING || tls->state == ML_TLS_RENEGOTIATION_ASKED;
}

static bool granted(const struct ml_tls *tls)
{
  return tls->after.wish == ML_WISH_GRANTED;
}

bool ml_tls_unsettled(const struct ml_tls *tls)
{
  if (tls->state < ML_TLS_OPEN || tls->state >= ML_TLS_PEER_CLOSED) return false;
  return tls->state != ML_TLS_OPEN || granted(tls) || tls->after.renewed;
}

bool ml_tls_renewed(const struct ml_tls *tls)
{
  return tls->after.renewed;
}

/* ---- The course of it ---- */

/* EVP_PKEY_set_type(3) frees the key; the SSL keeps the empty object. */
static void wipe(EVP_PKEY *key)
{
  (void)EVP_PKEY_set_type(key, EVP_PKEY_get_base_id(key));
  EVP_PKEY_free(key);
}

/* OpenSSL would keep the keys of the exchange for as long as the connection lives, the secret one
 * among them, to which forward secrecy owes its name. A client shows the server's to whoever asks
 * (SSL_get_peer_tmp_key(3)). */
static void forget_exchange(struct ml_tls *tls)
{
  EVP_PKEY *key;
  if (SSL_get_tmp_key(awake(tls), &key) == 1) wipe(key);
  if (tls->server && SSL_get_peer_tmp_key(awake(tls), &key) == 1) wipe(key);
  ml_error_clear_openssl();
}

void ml_tls_after_open(struct ml_tls *tls)
{
  forget_exchange(tls);
  ml_tls_io_follow(&tls->io);
  ml_tls_unwatch_messages(tls);
  /* Without RFC 5746 a renegotiation would let somebody else's data in front of the peer's. */
  if (!SSL_get_secure_renegotiation_support(awake(tls))) ml_tls_decline_renegotiation(tls);
}

void ml_tls_after_start(struct ml_tls *tls)
{
  if (tls->state != ML_TLS_OPEN && tls->state != ML_TLS_HELLO_REQUESTED) return;
  if (SSL_version(awake(tls)) >= TLS1_3_VERSION) return;
  ml_tls_set_state(tls, ML_TLS_RENEGOTIATING);
}

int ml_tls_after_hello(struct ml_tls *tls, int *alert)
{
  if (granted(tls) || !ml_tls_asks(tls, ML_ASK_RENEGOTIATION)) return SSL_CLIENT_HELLO_SUCCESS;
  *alert = SSL_AD_INTERNAL_ERROR;
  if (tls->pause.phase == ML_PAUSE_IDLE && ml_tls_ask(tls, ML_ASK_RENEGOTIATION, NULL, 0) != 0)
    return SSL_CLIENT_HELLO_ERROR;
  if (tls->pause.phase == ML_PAUSE_ASKED) return SSL_CLIENT_HELLO_RETRY;
  ml_tls_pause_end(tls);
  if (tls->pause.refused) {
    *alert = tls->pause.alert;
    return SSL_CLIENT_HELLO_ERROR;
  }
  tls->after.wish = ML_WISH_GRANTED;
  return SSL_CLIENT_HELLO_SUCCESS;
}

static void forbidden_error(struct ml_error *err)
{
  ml_error_misuse(err, "ERR_TLS_RENEGOTIATION_DISABLED",
                  "TLS session renegotiation disabled for this socket");
}

static enum ml_tls_result conclude_declined(struct ml_tls *tls)
{
  struct ml_error err;
  if (tls->after.peer != ML_PEER_FORBIDDEN) return ML_TLS_OK;
  forbidden_error(&err);
  return ml_tls_fail_with(tls, &err);
}

static enum ml_tls_result settle_renegotiation(struct ml_tls *tls)
{
  if (SSL_renegotiate_pending(awake(tls))) { /* the HelloRequest was all */
    ml_tls_set_state(tls, ML_TLS_HELLO_REQUESTED);
    return ML_TLS_OK;
  }
  if (!ml_tls_dh_size_suffices(tls)) {
    struct ml_error err;
    ml_tls_dh_size_error(tls, &err);
    return ml_tls_fail_with(tls, &err);
  }
  ml_tls_set_state(tls, ML_TLS_OPEN);
  enum ml_tls_wish wish = tls->after.wish;
  tls->after.wish = ML_WISH_NONE;
  if (wish == ML_WISH_DECLINED) return conclude_declined(tls);
  tls->after.renewed = true;
  X509_free(tls->candidate);
  tls->candidate = NULL;
  return ML_TLS_OK;
}

enum ml_tls_result ml_tls_after_settle(struct ml_tls *tls)
{
  if (tls->offload && ml_tls_offload_check(tls) != ML_TLS_OK) return ML_TLS_ERROR;
  if (tls->state == ML_TLS_OPEN && tls->after.update == ML_UPDATE_NONE) return ML_TLS_OK;
  if (SSL_in_init(awake(tls))) return ML_TLS_OK;
  if (tls->state == ML_TLS_RENEGOTIATING) return settle_renegotiation(tls);
  if (tls->state == ML_TLS_CERTIFICATE_REQUESTED && tls->after.wish == ML_WISH_PROVED) {
    tls->after.wish = ML_WISH_NONE;
    tls->after.renewed = true;
    ml_tls_set_state(tls, ML_TLS_OPEN);
  }
  return tls->after.update == ML_UPDATE_NONE ? ML_TLS_OK : ml_tls_update_now(tls);
}

enum ml_tls_result ml_tls_after_handshake(struct ml_tls *tls)
{
  struct ml_buf *early = &tls->after.early;
  enum ml_tls_result result = ML_TLS_OK;
  while (result == ML_TLS_OK && ml_tls_unsettled(tls)) {
    size_t n = 0;
    if (tls->pause.phase == ML_PAUSE_ASKED) return ML_TLS_ASK;
    if (ml_buf_size(early) >= EARLY_LIMIT && !tls->after.renewed) return ML_TLS_WANT_INPUT;
    uint8_t *room = ml_buf_reserve(early, EARLY_STEP);
    if (!room) {
      struct ml_error err;
      ml_error_system(&err, ENOMEM, "malloc");
      return ml_tls_fail_with(tls, &err);
    }
    result = ml_tls_receive(tls, room, EARLY_STEP, &n);
    if (result == ML_TLS_OK) ml_buf_commit(early, n);
  }
  if (ml_buf_size(early) == 0) ml_buf_free(early);
  return result == ML_TLS_END ? ML_TLS_OK : result; /* which ml_tls_read tells */
}

/* ---- Renegotiation ---- */

static int refuse(struct ml_tls *tls, struct ml_error *err)
{
  if (tls->after.peer == ML_PEER_FORBIDDEN) {
    forbidden_error(err);
    return -1;
  }
  if (tls->state != ML_TLS_OPEN) {
    ml_error_misuse(err, "ERR_TLS_INVALID_STATE", "TLS socket connection must be open and idle");
    return -1;
  }
  ml_error_clear_openssl();
  bool insecure =
      SSL_version(awake(tls)) < TLS1_3_VERSION && !SSL_get_secure_renegotiation_support(awake(tls));
  if (insecure) ERR_raise(ERR_LIB_SSL, SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED);
  if (!insecure && SSL_renegotiate(awake(tls)) == 1) return 0;
  ml_error_openssl(err, "the connection cannot be renegotiated");
  return -1;
}

static int demand(struct ml_tls *tls, enum ml_tls_says request_cert,
                  enum ml_tls_says reject_unauthorized, struct ml_error *err)
{
  if (reject_unauthorized != ML_SAYS_NOTHING)
    tls->reject_unauthorized = reject_unauthorized == ML_SAYS_YES;
  if (!tls->server) return 0;
  if (request_cert != ML_SAYS_NOTHING) tls->request_cert = request_cert == ML_SAYS_YES;
  ml_tls_demand_certificate(tls);
  /* A session made from now on stands for more, or less, than one made before. */
  return ml_tls_context_apply(tls->context, tls->context, awake(tls), ml_tls_policy(tls), err);
}

int ml_tls_renegotiate(struct ml_tls *tls, enum ml_tls_says request_cert,
                       enum ml_tls_says reject_unauthorized, struct ml_error *err)
{
  if (refuse(tls, err) != 0) return -1;
  if (demand(tls, request_cert, reject_unauthorized, err) != 0) return -1;
  tls->after.wish = ML_WISH_GRANTED;
  /* By reading: a record of the peer's that OpenSSL has read in part must come first. */
  enum ml_tls_result result = ml_tls_after_handshake(tls);
  if (result == ML_TLS_RENEWED) tls->after.renewed = true; /* for those who read */
  if (result != ML_TLS_ERROR) return 0;
  *err = *tls->error;
  return -1;
}

void ml_tls_decline_renegotiation(struct ml_tls *tls)
{
  tls->after.peer = ML_PEER_DECLINED;
  SSL_set_options(awake(tls), SSL_OP_NO_RENEGOTIATION);
}

void ml_tls_forbid_renegotiation(struct ml_tls *tls)
{
  ml_tls_decline_renegotiation(tls);
  tls->after.peer = ML_PEER_FORBIDDEN;
}

/* What TLS 1.3 has instead of renegotiation: new keys, and a client that shows who it is later. */
#include <openssl/err.h>

#include "tls_after.h"
#include "tls_engine_internal.h"
#include "tls_messages.h"
#include "tls_offload.h"
#include "tls_policy.h"

static int fail_state(struct ml_error *err)
{
  ml_error_misuse(err, "ERR_TLS_INVALID_STATE", "TLS socket connection must be open");
  return -1;
}

/* ---- New keys ---- */

static enum ml_tls_result write_update(struct ml_tls *tls, int type)
{
  ml_error_clear_openssl();
  if (SSL_key_update(awake(tls), type) == 1 && SSL_do_handshake(awake(tls)) == 1) return ML_TLS_OK;
  return ml_tls_fail(tls);
}

enum ml_tls_result ml_tls_update_now(struct ml_tls *tls)
{
  bool both = tls->after.update == ML_UPDATE_BOTH;
  tls->after.update = ML_UPDATE_NONE;
  return write_update(tls, both ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
}

enum ml_tls_result ml_tls_answer_update(struct ml_tls *tls)
{
  if (tls->io.answered) return ML_TLS_OK;
  int owed = SSL_get_key_update_type(awake(tls));
  tls->io.answered = owed == SSL_KEY_UPDATE_NONE;
  if (tls->io.answered || tls->state > ML_TLS_PEER_CLOSED || SSL_in_init(awake(tls)))
    return ML_TLS_OK;
  if (write_update(tls, owed) != ML_TLS_OK) return ML_TLS_ERROR;
  return ml_tls_offload_check(tls);
}

int ml_tls_update_keys(struct ml_tls *tls, bool peers, struct ml_error *err)
{
  if (tls->state < ML_TLS_OPEN || tls->state > ML_TLS_PEER_CLOSED) return fail_state(err);
  if (ml_tls_offload_refuse(tls, err) != 0) return -1;
  if (SSL_version(awake(tls)) < TLS1_3_VERSION) {
    ml_error_clear_openssl();
    ERR_raise(ERR_LIB_SSL, SSL_R_WRONG_SSL_VERSION);
    ml_error_openssl(err, "the keys cannot be exchanged");
    return -1;
  }
  if (peers) {
    ml_tls_watch_messages(tls);
    tls->after.update_awaited = true;
  }
  if (peers || tls->after.update == ML_UPDATE_BOTH)
    tls->after.update = ML_UPDATE_BOTH;
  else
    tls->after.update = ML_UPDATE_OURS;
  if (ml_tls_after_settle(tls) == ML_TLS_OK) return 0;
  *err = *tls->error;
  return -1;
}

void ml_tls_after_key_update(struct ml_tls *tls)
{
  if (!tls->after.update_awaited) return;
  tls->after.update_awaited = false;
  ml_tls_note_key_update(tls);
}

/* ---- A client's certificate ---- */

static int restore(struct ml_tls *tls, bool request_cert, bool reject_unauthorized,
                   struct ml_error *err)
{
  ml_error_openssl(err, "the client cannot be asked for a certificate");
  tls->request_cert = request_cert;
  tls->reject_unauthorized = reject_unauthorized;
  if (tls->server) ml_tls_demand_certificate(tls);
  return -1;
}

int ml_tls_request_certificate(struct ml_tls *tls, enum ml_tls_says reject_unauthorized,
                               struct ml_error *err)
{
  bool requested = tls->request_cert, rejecting = tls->reject_unauthorized;
  if (tls->state != ML_TLS_OPEN && tls->state != ML_TLS_CERTIFICATE_REQUESTED)
    return fail_state(err);
  if (ml_tls_offload_refuse(tls, err) != 0) return -1;
  if (tls->server) {
    tls->request_cert = true;
    if (reject_unauthorized != ML_SAYS_NOTHING)
      tls->reject_unauthorized = reject_unauthorized == ML_SAYS_YES;
    ml_tls_demand_certificate(tls);
  }
  ml_error_clear_openssl();
  if (SSL_verify_client_post_handshake(awake(tls)) != 1)
    return restore(tls, requested, rejecting, err);
  tls->after.wish = ML_WISH_NONE;
  ml_tls_watch_messages(tls);
  ml_tls_set_state(tls, ML_TLS_CERTIFICATE_REQUESTED);
  if (SSL_do_handshake(awake(tls)) == 1) return 0;
  (void)ml_tls_fail(tls);
  *err = *tls->error;
  return -1;
}

void ml_tls_after_finished(struct ml_tls *tls)
{
  if (tls->state == ML_TLS_CERTIFICATE_REQUESTED) tls->after.wish = ML_WISH_PROVED;
}

#include "tls_engine.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_after.h"
#include "tls_alpn.h"
#include "tls_at_hello.h"
#include "tls_engine_internal.h"
#include "tls_explain.h"
#include "tls_messages.h"
#include "tls_offload.h"
#include "tls_policy.h"
#include "tls_psk.h"
#include "tls_sessions.h"
#include "tls_staple.h"
#include "tls_timeline.h"
#include "tls_trace.h"

/* ---- State ---- */

#define TO(state) (1u << (state))

/* Where each phase may lead. Failure is reachable from everywhere but the end. */
static bool legal(enum ml_tls_state from, enum ml_tls_state to)
{
  static const unsigned transitions[] = {
      [ML_TLS_START] = TO(ML_TLS_HELLO) | TO(ML_TLS_NEGOTIATE),
      [ML_TLS_HELLO] = TO(ML_TLS_HELLO_ASKED) | TO(ML_TLS_NEGOTIATE),
      [ML_TLS_HELLO_ASKED] = TO(ML_TLS_NEGOTIATE),
      [ML_TLS_NEGOTIATE] = TO(ML_TLS_STAPLE_ASKED) | TO(ML_TLS_IDENTITY_ASKED) |
                           TO(ML_TLS_STORE_ASKED) | TO(ML_TLS_OPEN),
      [ML_TLS_STAPLE_ASKED] = TO(ML_TLS_NEGOTIATE),
      [ML_TLS_IDENTITY_ASKED] = TO(ML_TLS_NEGOTIATE) | TO(ML_TLS_OPEN),
      [ML_TLS_STORE_ASKED] = TO(ML_TLS_OPEN),
      [ML_TLS_OPEN] = TO(ML_TLS_HELLO_REQUESTED) | TO(ML_TLS_CERTIFICATE_REQUESTED) |
                      TO(ML_TLS_RENEGOTIATING) | TO(ML_TLS_PEER_CLOSED) | TO(ML_TLS_SELF_CLOSED),
      [ML_TLS_HELLO_REQUESTED] =
          TO(ML_TLS_RENEGOTIATING) | TO(ML_TLS_PEER_CLOSED) | TO(ML_TLS_SELF_CLOSED),
      [ML_TLS_CERTIFICATE_REQUESTED] =
          TO(ML_TLS_OPEN) | TO(ML_TLS_PEER_CLOSED) | TO(ML_TLS_SELF_CLOSED),
      [ML_TLS_RENEGOTIATING] =
          TO(ML_TLS_RENEGOTIATION_ASKED) | TO(ML_TLS_HELLO_REQUESTED) | TO(ML_TLS_OPEN),
      [ML_TLS_RENEGOTIATION_ASKED] = TO(ML_TLS_RENEGOTIATING),
      [ML_TLS_PEER_CLOSED] = TO(ML_TLS_CLOSED),
      [ML_TLS_SELF_CLOSED] = TO(ML_TLS_CLOSED),
      [ML_TLS_CLOSED] = 0,
      [ML_TLS_FAILED] = 0,
  };
  if (to == ML_TLS_FAILED) return from != ML_TLS_FAILED;
  return (transitions[from] & TO(to)) != 0;
}

void ml_tls_set_state(struct ml_tls *tls, enum ml_tls_state state)
{
  if (tls->state == state) return;
  bool ok = legal(tls->state, state);
  assert(ok);
  (void)ok;
  tls->state = state;
}

enum ml_tls_state ml_tls_state(const struct ml_tls *tls)
{
  return tls->state;
}

bool ml_tls_established(const struct ml_tls *tls)
{
  return tls->state >= ML_TLS_OPEN && tls->state != ML_TLS_FAILED;
}

/* Whether records of encrypted data follow, which under TLS 1.3 messages are, too. */
static bool says_more(const struct ml_tls *tls)
{
  return ml_buf_size(&tls->kept) > 0 && *ml_buf_data(&tls->kept) == SSL3_RT_APPLICATION_DATA;
}

bool ml_tls_peer_may_end(const struct ml_tls *tls)
{
  SSL *ssl = awake(tls);
  bool tls13 = SSL_version(ssl) == TLS1_3_VERSION;
  if (tls->state == ML_TLS_STORE_ASKED) return tls13 || says_more(tls);
  if (tls->state != ML_TLS_IDENTITY_ASKED) return ml_tls_established(tls);
  return SSL_is_init_finished(ssl) || (tls13 && (says_more(tls) || SSL_has_pending(ssl)));
}

/* ---- Failure ---- */

/* What is left to say when there is no memory to say more. Never written to. */
static struct ml_error no_memory = {
    .origin = ML_ORIGIN_SYSTEM, .number = ENOMEM, .code = "ENOMEM", .message = "malloc ENOMEM"};

void ml_tls_set_error(struct ml_tls *tls, const struct ml_error *err)
{
  if (!tls->error) tls->error = malloc(sizeof(*tls->error));
  if (!tls->error)
    tls->error = &no_memory;
  else if (tls->error != &no_memory && tls->error != err)
    *tls->error = *err;
}

enum ml_tls_result ml_tls_fail_with(struct ml_tls *tls, const struct ml_error *err)
{
  ml_tls_set_error(tls, err);
  if (tls->error != &no_memory) {
    tls->error->state = SSL_state_string_long(awake(tls));
    tls->error->alert_from = tls->alert_from;
    tls->error->alert = tls->alert;
  }
  ml_error_clear_openssl();
  ml_tls_set_state(tls, ML_TLS_FAILED);
  return ML_TLS_ERROR;
}

/* Turns what OpenSSL left behind into the error: a refusal by the owner and a verification failure
 * have better names than the library's own. */
enum ml_tls_result ml_tls_fail(struct ml_tls *tls)
{
  struct ml_error err;
  const struct ml_error *reason = tls->pause.refused ? tls->error : NULL;
  if (reason) {
    ml_tls_send_chosen_alert(tls);
    return ml_tls_fail_with(tls, reason);
  }
  ml_tls_staple_correct_error();
  unsigned long last = ERR_peek_last_error();
  /* A provider's "cipher operation failed" says less than the "bad record mac" that follows. */
  while (ERR_GET_LIB(last) == ERR_LIB_SSL && ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_PROV)
    (void)ERR_get_error();
  if (ERR_GET_LIB(last) == ERR_LIB_SSL && ERR_GET_REASON(last) == SSL_R_CERTIFICATE_VERIFY_FAILED)
    ml_error_verify(&err, tls->verify_result);
  else
    ml_error_openssl(&err, "TLS failed without a reason");
  if (ERR_GET_LIB(last) == ERR_LIB_SSL && ERR_GET_REASON(last) == SSL_AD_REASON_OFFSET) {
    tls->alert = SSL_AD_CLOSE_NOTIFY; /* fatal, which no end is (RFC 5246, 7.2.1) */
    tls->alert_from = ML_ALERT_PEER;
  }
  if (tls->small_dh_bits > 0)
    ml_tls_dh_size_error(tls, &err);
  else
    ml_tls_explain(tls, &err);
  return ml_tls_fail_with(tls, &err);
}

/* Node's words, with the reason added. Not a failure of a system call: nothing sets errno. */
void ml_tls_disconnected(const struct ml_tls *tls, struct ml_error *err)
{
  bool again = ml_tls_established(tls);
  ml_error_misuse(err, "ECONNRESET", "%s",
                  tls->server || again ? "socket hang up"
                                       : "Client network socket disconnected before secure TLS "
                                         "connection was established");
  err->origin = ML_ORIGIN_TLS;
  snprintf(err->reason, sizeof(err->reason), "the %s disconnected during the TLS %s",
           tls->server ? "client" : "server", again ? "renegotiation" : "handshake");
  err->state = SSL_state_string_long(awake(tls));
}

const struct ml_error *ml_tls_error(const struct ml_tls *tls)
{
  return tls->error;
}

/* ---- Life ---- */

static int set_up_client(struct ml_tls *tls, const struct ml_tls_options *options)
{
  SSL_set_connect_state(awake(tls));
  SSL_set_verify(awake(tls), SSL_VERIFY_PEER, NULL);
  ml_tls_demand_dh_size(tls, options->min_dh_bits);
  /* A client may resume under any context: what its session is worth is judged in judge_resumption.
   */
  if (SSL_set_session_id_context(awake(tls), (const unsigned char *)"", 0) != 1) return -1;
  if (options->servername) {
    tls->servername = strdup(options->servername);
    if (!tls->servername || SSL_set_tlsext_host_name(awake(tls), options->servername) != 1)
      return -1;
  }
  if (options->request_staple &&
      SSL_set_tlsext_status_type(awake(tls), TLSEXT_STATUSTYPE_ocsp) != 1)
    return -1;
  if (!options->session) return 0;
  return ml_tls_sessions_offer(tls, options->session, options->session_len);
}

static int set_up_server(struct ml_tls *tls)
{
  SSL_set_accept_state(awake(tls));
  ml_tls_demand_certificate(tls);
  return 0;
}

static struct ml_tls *allocate(struct ml_tls_context *context, const struct ml_tls_options *options)
{
  struct ml_tls *tls = calloc(1, sizeof(*tls));
  if (!tls) return NULL;
  tls->server = options->server;
  tls->asks =
      options->asks & (options->server ? ~ML_ASKS(ML_ASK_IDENTITY) : ML_ASKS(ML_ASK_IDENTITY));
  tls->request_cert = options->request_cert;
  tls->reject_unauthorized = options->reject_unauthorized;
  tls->after.peer = options->renegotiable ? ML_PEER_PERMITTED : ML_PEER_DECLINED;
  tls->post_handshake_auth = (enum ml_tls_says)options->post_handshake_auth;
  tls->want_sessions = options->want_sessions;
  tls->want_keylog = options->want_keylog;
  tls->notes_end = &tls->notes;
  tls->context = ml_tls_context_ref(context);
  tls->initial_context = ml_tls_context_ref(context);
  return tls;
}

int ml_tls_new(struct ml_tls **out, struct ml_tls_context *context,
               const struct ml_tls_options *options, struct ml_error *err)
{
  ml_error_clear_openssl();
  struct ml_tls *tls = allocate(context, options);
  if (!tls) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  tls->ssl = SSL_new(ml_tls_context_ssl(context));
  BIO *bio = tls->ssl ? ml_tls_bio() : NULL;
  if (!bio) goto fail;
  SSL_set_bio(awake(tls), bio, bio);
  ml_tls_own(awake(tls), tls);
  if ((options->server ? set_up_server(tls) : set_up_client(tls, options)) != 0) goto fail;
  ml_tls_watch_messages(tls);
  ml_tls_permit_renegotiation(tls);
  if (ml_tls_alpn_set_up(tls, options, err) != 0 || ml_tls_psk_set_up(tls, options, err) != 0 ||
      (options->server &&
       ml_tls_context_apply(context, context, awake(tls), ml_tls_policy(tls), err) != 0)) {
    ml_tls_free(tls);
    return -1;
  }
  *out = tls;
  return 0;
fail:
  ml_error_openssl(err, "no TLS connection");
  ml_tls_free(tls);
  return -1;
}

static void free_notes(struct ml_tls *tls)
{
  struct ml_tls_note *note;
  while ((note = ml_tls_next_note(tls)))
    ml_tls_note_free(note);
}

void ml_tls_free(struct ml_tls *tls)
{
  if (!tls) return;
  assert(!tls->calling);
  SSL_free(awake(tls)); /* and the BIO */
  ml_buf_free(&tls->io.out);
  ml_buf_free(&tls->kept);
  ml_buf_free(&tls->after.early);
  free_notes(tls);
  ml_tls_offload_free(tls);
  ml_tls_trace_free(tls);
  ml_tls_timeline_free(tls);
  ml_tls_sessions_free(tls);
  X509_free(tls->candidate);
  sk_X509_pop_free(tls->candidate_chain, X509_free);
  ml_tls_pause_end(tls);
  ml_tls_staple_free(tls);
  ml_tls_bytes_free(&tls->hello);
  ml_tls_context_unref(tls->context);
  ml_tls_context_unref(tls->initial_context);
  ml_tls_alpn_free(tls);
  ml_tls_psk_free(tls);
  free(tls->servername);
  if (tls->error != &no_memory) free(tls->error);
  free(tls);
}

/* ---- Rest ---- */

void ml_tls_rest(struct ml_tls *tls)
{
  if (!tls->rest && ml_tls_established(tls) && !tls->calling)
    tls->rest = ml_tls_rest_begin(tls->ssl);
}

bool ml_tls_rests(const struct ml_tls *tls)
{
  return tls->rest != NULL;
}

void ml_tls_awaken(struct ml_tls *tls)
{
  ml_tls_rest_end(tls->rest);
  tls->rest = NULL;
}

/* ---- Input and output ---- */

int ml_tls_input(struct ml_tls *tls, const uint8_t *data, size_t len)
{
  tls->after.burst = 0;
  tls->reading_kept = ml_buf_size(&tls->kept) > 0;
  if (!tls->reading_kept) {
    tls->io.in = data;
    tls->io.in_len = len;
    return 0;
  }
  if (ml_buf_append(&tls->kept, data, len) != 0) return -1;
  tls->io.in = ml_buf_data(&tls->kept);
  tls->io.in_len = ml_buf_size(&tls->kept);
  return 0;
}

int ml_tls_input_end(struct ml_tls *tls)
{
  int result = 0;
  if (tls->reading_kept)
    ml_buf_consume(&tls->kept, ml_buf_size(&tls->kept) - tls->io.in_len);
  else if (tls->io.in_len > 0)
    result = ml_buf_append(&tls->kept, tls->io.in, tls->io.in_len);
  tls->reading_kept = false;
  tls->io.in = NULL;
  tls->io.in_len = 0;
  return result;
}

struct ml_buf *ml_tls_output(struct ml_tls *tls)
{
  return &tls->io.out;
}

size_t ml_tls_input_kept(const struct ml_tls *tls)
{
  return ml_buf_size(&tls->kept);
}

/* ---- Handshake ---- */

/* A handshake that resumes a session or goes by a key skips verification, so what the session
 * carries is judged here, before our last flight is given to the caller. OpenSSL cannot be made to
 * send an alert at this point; the connection just ends. */
static enum ml_tls_result refuse_resumption(struct ml_tls *tls, long verdict)
{
  struct ml_error err;
  tls->verify_result = verdict;
  ml_buf_free(&tls->io.out);
  ml_error_verify(&err, verdict);
  return ml_tls_fail_with(tls, tls->pause.refused && tls->error ? tls->error : &err);
}

static enum ml_tls_result open_connection(struct ml_tls *tls)
{
  if (!ml_tls_dh_size_suffices(tls)) {
    struct ml_error err;
    ml_buf_free(&tls->io.out);
    ml_tls_dh_size_error(tls, &err);
    return ml_tls_fail_with(tls, &err);
  }
  switch (ml_tls_ask_store(tls)) {
  case ML_STEP_ASKED:
    ml_tls_set_state(tls, ML_TLS_STORE_ASKED);
    return ML_TLS_ASK;
  case ML_STEP_FAILED:
    return ml_tls_fail(tls);
  default:
    ml_tls_set_state(tls, ML_TLS_OPEN);
    ml_tls_sessions_settle(tls);
    ml_tls_after_open(tls);
    X509_free(tls->candidate);
    tls->candidate = NULL;
    ml_tls_staple_free(tls);
    ml_tls_bytes_free(&tls->hello);
    return ML_TLS_OK;
  }
}

/* As in refuse_resumption no alert can be sent, and what is held back must not be: the connection
 * just ends. */
static enum ml_tls_result conclude_store(struct ml_tls *tls)
{
  ml_tls_pause_end(tls);
  if (tls->pause.refused) return ml_tls_fail(tls);
  ml_tls_sessions_stored(tls);
  return open_connection(tls);
}

static enum ml_tls_result judge_resumption(struct ml_tls *tls)
{
  bool absent;
  long verdict = ml_tls_verify_result(tls, &absent);
  if (tls->server) {
    if (tls->request_cert && tls->reject_unauthorized && verdict != X509_V_OK)
      return refuse_resumption(tls, verdict);
    return open_connection(tls);
  }
  bool chain_good = verdict == X509_V_OK || verdict == X509_V_ERR_HOSTNAME_MISMATCH;
  if (!chain_good && tls->reject_unauthorized) return refuse_resumption(tls, verdict);
  bool nothing_to_compare = absent && SSL_session_reused(awake(tls));
  if (!chain_good || nothing_to_compare || !ml_tls_asks(tls, ML_ASK_IDENTITY))
    return open_connection(tls);
  tls->candidate = SSL_get1_peer_certificate(awake(tls));
  if (ml_tls_ask(tls, ML_ASK_IDENTITY, NULL, 0) != 0) return ml_tls_fail(tls);
  ml_tls_set_state(tls, ML_TLS_IDENTITY_ASKED);
  return ML_TLS_ASK;
}

static enum ml_tls_result conclude_resumption(struct ml_tls *tls)
{
  ml_tls_pause_end(tls);
  tls->identity_judged = true;
  if (tls->pause.refused) return refuse_resumption(tls, X509_V_ERR_APPLICATION_VERIFICATION);
  tls->verify_result = tls->pause.accepted ? X509_V_OK : X509_V_ERR_HOSTNAME_MISMATCH;
  if (!tls->pause.accepted && tls->reject_unauthorized)
    return refuse_resumption(tls, tls->verify_result);
  return open_connection(tls);
}

static enum ml_tls_result fail_disconnected(struct ml_tls *tls)
{
  struct ml_error err;
  ml_tls_disconnected(tls, &err);
  return ml_tls_fail_with(tls, &err);
}

static enum ml_tls_result advance(struct ml_tls *tls)
{
  ml_error_clear_openssl();
  ml_tls_npn_arm(tls);
  int done = SSL_do_handshake(awake(tls));
  int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(awake(tls), done);
  switch (why) {
  case SSL_ERROR_NONE:
    ml_tls_set_state(tls, ML_TLS_NEGOTIATE);
    ml_tls_sessions_note_renewal(tls);
    if (SSL_session_reused(awake(tls)) || ml_tls_psk_proves_peer(tls)) return judge_resumption(tls);
    return open_connection(tls);
  case SSL_ERROR_WANT_READ:
    if (ml_tls_hello_decided(tls)) ml_tls_set_state(tls, ML_TLS_NEGOTIATE);
    return ML_TLS_WANT_INPUT;
  case SSL_ERROR_WANT_CLIENT_HELLO_CB:
    ml_tls_set_state(tls, ML_TLS_HELLO_ASKED);
    return ML_TLS_ASK;
  case SSL_ERROR_WANT_X509_LOOKUP:
    ml_tls_set_state(tls, ML_TLS_NEGOTIATE);
    ml_tls_set_state(tls, ML_TLS_STAPLE_ASKED);
    return ML_TLS_ASK;
  case SSL_ERROR_WANT_RETRY_VERIFY:
    ml_tls_set_state(tls, ML_TLS_IDENTITY_ASKED);
    return ML_TLS_ASK;
  case SSL_ERROR_ZERO_RETURN:
    return fail_disconnected(tls);
  default:
    return ml_tls_fail(tls);
  }
}

static enum ml_tls_result go_on(struct ml_tls *tls)
{
  if (tls->state == ML_TLS_START) {
    ml_tls_set_state(tls, tls->server ? ML_TLS_HELLO : ML_TLS_NEGOTIATE);
    if (!tls->server) ml_tls_offer_certificate(tls);
  }
  if (tls->state == ML_TLS_IDENTITY_ASKED) {
    if (SSL_is_init_finished(awake(tls))) return conclude_resumption(tls);
    ml_tls_set_state(tls, ML_TLS_NEGOTIATE);
  }
  if (tls->state == ML_TLS_STORE_ASKED) return conclude_store(tls);
  return advance(tls);
}

enum ml_tls_result ml_tls_handshake(struct ml_tls *tls)
{
  if (tls->state == ML_TLS_FAILED) return ML_TLS_ERROR;
  if (tls->calling) return ML_TLS_WANT_INPUT;
  if (ml_tls_established(tls)) return ml_tls_after_handshake(tls);
  if (tls->pause.phase == ML_PAUSE_ASKED) return ML_TLS_ASK;
  ml_tls_timeline_enter(tls);
  enum ml_tls_result result = go_on(tls);
  ml_tls_timeline_leave(tls, result);
  return result;
}

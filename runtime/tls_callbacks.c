#include "tls_callbacks.h"

#include <openssl/err.h>

#include "tls_alpn.h"
#include "tls_at_hello.h"
#include "tls_engine_internal.h"
#include "tls_offload.h"
#include "tls_psk.h"
#include "tls_sessions.h"
#include "tls_staple.h"

/* SSL_CTX_set_tlsext_servername_callback(3). The choice has been made at the ClientHello; here
 * OpenSSL asks whether to acknowledge the name, which a server does that has used it (RFC 6066, 3).
 */
static int on_servername(SSL *ssl, int *alert, void *arg)
{
  (void)alert;
  (void)arg;
  struct ml_tls *tls = ml_tls_of(ssl);
  return tls->name_used ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* The chain has been judged: either the verdict fails the handshake, or it is only kept for the
 * script to see. */
static int conclude(struct ml_tls *tls, X509_STORE_CTX *store, long verdict)
{
  tls->verify_result = verdict;
  X509_STORE_CTX_set_error(store, (int)verdict);
  return verdict == X509_V_OK || !tls->reject_unauthorized;
}

/* Verification comes back after ML_ASK_IDENTITY: the chain need not be built twice. */
static int resume_verification(struct ml_tls *tls, X509_STORE_CTX *store)
{
  ml_tls_pause_end(tls);
  tls->identity_judged = true;
  X509_STORE_CTX_set0_verified_chain(store, tls->candidate_chain);
  tls->candidate_chain = NULL;
  if (tls->pause.refused) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
  }
  return conclude(tls, store, tls->pause.accepted ? X509_V_OK : X509_V_ERR_HOSTNAME_MISMATCH);
}

/* X509_STORE_CTX_set_verify_cb(3). Notes what is wrong and lets the judging go on, so that the
 * verdict is the last of the complaints. That is the one Node's users know:
 * UNABLE_TO_VERIFY_LEAF_SIGNATURE rather than UNABLE_TO_GET_ISSUER_CERT_LOCALLY, CERT_HAS_EXPIRED
 * even when the authority is unknown too. */
static int on_complaint(int good, X509_STORE_CTX *store)
{
  SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  if (!good) ml_tls_of(ssl)->verify_result = X509_STORE_CTX_get_error(store);
  return 1;
}

static long judge_chain(struct ml_tls *tls, X509_STORE_CTX *store)
{
  tls->verify_result = X509_V_OK;
  X509_STORE_CTX_set_verify_cb(store, on_complaint);
  /* A wrong signature leaves its reasons in the queue, where SSL_get_error(3) would take them for
   * the failure of a handshake that goes on all the same. The verdict says enough. */
  ERR_set_mark();
  int good = X509_verify_cert(store) == 1;
  ERR_pop_to_mark();
  if (good || tls->verify_result != X509_V_OK) return tls->verify_result;
  long verdict = X509_STORE_CTX_get_error(store);
  return verdict != X509_V_OK ? verdict : X509_V_ERR_UNSPECIFIED;
}

/* SSL_CTX_set_cert_verify_callback(3). A client whose chain is good suspends (SSL_set_retry_verify)
 * until the owner has compared the name; so no script runs on OpenSSL's stack, and the client's
 * flight waits for the verdict. */
static int on_verify(X509_STORE_CTX *store, void *arg)
{
  (void)arg;
  SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  struct ml_tls *tls = ml_tls_of(ssl);
  if (tls->pause.ask == ML_ASK_IDENTITY) {
    if (tls->pause.phase == ML_PAUSE_ASKED) {
      SSL_set_retry_verify(ssl);
      return 1;
    }
    if (tls->pause.phase == ML_PAUSE_ANSWERED) return resume_verification(tls, store);
  }
  long verdict = judge_chain(tls, store);
  if (verdict != X509_V_OK || !ml_tls_asks(tls, ML_ASK_IDENTITY))
    return conclude(tls, store, verdict);

  X509_free(tls->candidate);
  tls->candidate = X509_STORE_CTX_get0_cert(store);
  X509_up_ref(tls->candidate);
  sk_X509_pop_free(tls->candidate_chain, X509_free);
  tls->candidate_chain = X509_STORE_CTX_get1_chain(store);
  if (ml_tls_ask(tls, ML_ASK_IDENTITY, NULL, 0) != 0)
    return conclude(tls, store, X509_V_ERR_OUT_OF_MEM);
  SSL_set_retry_verify(ssl);
  return 1;
}

static void on_alert(struct ml_tls *tls, int alert, enum ml_alert_from from)
{
  if (alert == SSL_AD_CLOSE_NOTIFY) return;
  if (alert == SSL_AD_NO_RENEGOTIATION && from == ML_ALERT_LOCAL) {
    tls->after.wish = ML_WISH_DECLINED;
    return;
  }
  tls->alert = alert;
  tls->alert_from = from;
}

static void on_info(const SSL *ssl, int where, int value)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  if (!tls) return;
  if (where & SSL_CB_HANDSHAKE_START) ml_tls_after_start(tls);
  if (where & SSL_CB_ALERT)
    on_alert(tls, value & 0xff, (where & SSL_CB_READ) ? ML_ALERT_PEER : ML_ALERT_LOCAL);
}

static void on_keylog(const SSL *ssl, const char *line)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  if (!tls) return;
  ml_tls_offload_secret(tls, line);
  if (tls->want_keylog) ml_tls_note_keylog(tls, line);
}

void ml_tls_install_callbacks(SSL_CTX *ssl)
{
  SSL_CTX_set_client_hello_cb(ssl, ml_tls_on_client_hello, NULL);
  SSL_CTX_set_tlsext_servername_callback(ssl, on_servername);
  SSL_CTX_set_cert_cb(ssl, ml_tls_on_certificate, NULL);
  SSL_CTX_set_tlsext_status_cb(ssl, ml_tls_on_status);
  SSL_CTX_set_cert_verify_callback(ssl, on_verify, NULL);
  SSL_CTX_set_alpn_select_cb(ssl, ml_tls_on_alpn, NULL);
#ifndef OPENSSL_NO_NEXTPROTONEG
  SSL_CTX_set_next_protos_advertised_cb(ssl, ml_tls_on_npn_advertise, NULL);
#endif
  SSL_CTX_sess_set_new_cb(ssl, ml_tls_on_new_session);
  SSL_CTX_sess_set_get_cb(ssl, ml_tls_on_get_session);
  SSL_CTX_set_info_callback(ssl, on_info);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, ml_tls_on_ticket_key);
  (void)!SSL_CTX_set_session_ticket_cb(ssl, ml_tls_on_ticket_made, ml_tls_on_ticket_opened, NULL);
}

void ml_tls_install_keylog(SSL_CTX *ssl)
{
  SSL_CTX_set_keylog_callback(ssl, on_keylog);
}

#ifndef OPENSSL_NO_NEXTPROTONEG
void ml_tls_install_npn(SSL_CTX *ssl, bool on)
{
  SSL_CTX_set_next_proto_select_cb(ssl, on ? ml_tls_on_npn_select : NULL, NULL);
}
#endif

#ifndef OPENSSL_NO_PSK
void ml_tls_install_psk(SSL *ssl, bool server)
{
  /* On a server for SSL_get1_supported_ciphers(3) alone, which leaves such suites out without. */
  SSL_set_psk_client_callback(ssl, ml_tls_on_psk_client);
  if (!server) return;
  SSL_set_psk_find_session_callback(ssl, ml_tls_on_psk_find);
  SSL_set_psk_server_callback(ssl, ml_tls_on_psk_server);
}
#endif

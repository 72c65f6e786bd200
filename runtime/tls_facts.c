/* What an engine tells: the notes it took on the way, and facts about its connection. */
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "tls_engine_internal.h"
#include "tls_psk.h"
#include "tls_trace.h"

/* ---- Notes ---- */

static void append_note(struct ml_tls *tls, struct ml_tls_note *note)
{
  note->next = NULL;
  *tls->notes_end = note;
  tls->notes_end = &note->next;
}

void ml_tls_note_session(struct ml_tls *tls, SSL_SESSION *session)
{
  struct ml_tls_note *note = calloc(1, sizeof(*note));
  if (!note) {
    SSL_SESSION_free(session);
    return;
  }
  note->kind = ML_NOTE_SESSION;
  note->session = session;
  append_note(tls, note);
}

void ml_tls_note_key_update(struct ml_tls *tls)
{
  struct ml_tls_note *note = calloc(1, sizeof(*note));
  if (!note) return;
  note->kind = ML_NOTE_KEY_UPDATE;
  append_note(tls, note);
}

void ml_tls_note_keylog(struct ml_tls *tls, const char *line)
{
  size_t len = strlen(line);
  struct ml_tls_note *note = calloc(1, sizeof(*note) + len + 1);
  if (!note) return;
  note->kind = ML_NOTE_KEYLOG;
  note->line_len = len;
  memcpy(note->line, line, len + 1);
  append_note(tls, note);
}

int ml_tls_note_staple(struct ml_tls *tls, const uint8_t *response, size_t len)
{
  struct ml_tls_note *note = calloc(1, sizeof(*note) + len);
  if (!note) return -1;
  note->kind = ML_NOTE_STAPLE;
  note->line_len = len;
  if (len > 0) memcpy(note->line, response, len);
  append_note(tls, note);
  return 0;
}

struct ml_tls_note *ml_tls_next_note(struct ml_tls *tls)
{
  struct ml_tls_note *note = tls->notes;
  if (!note) return ml_tls_trace_note(tls);
  tls->notes = note->next;
  if (!tls->notes) tls->notes_end = &tls->notes;
  return note;
}

void ml_tls_note_free(struct ml_tls_note *note)
{
  if (note->kind == ML_NOTE_SESSION) SSL_SESSION_free(note->session);
  if (note->kind == ML_NOTE_KEYLOG) OPENSSL_cleanse(note->line, note->line_len);
  free(note);
}

/* ---- Facts ---- */

const char *ml_tls_servername(const struct ml_tls *tls)
{
  return tls->servername;
}

bool ml_tls_requests_certificate(const struct ml_tls *tls)
{
  return tls->request_cert;
}

int ml_tls_show_identity(struct ml_tls *tls, const struct ml_tls_context *context,
                         struct ml_error *err)
{
  return ml_tls_context_show_identity(context, awake(tls), err);
}

X509 *ml_tls_served_certificate(const struct ml_tls *tls)
{
  return tls->served;
}

X509 *ml_tls_served_issuer(const struct ml_tls *tls)
{
  return tls->served_issuer;
}

X509 *ml_tls_peer_certificate(const struct ml_tls *tls)
{
  return tls->candidate ? tls->candidate : SSL_get0_peer_certificate(awake(tls));
}

long ml_tls_verify_result(const struct ml_tls *tls, bool *absent)
{
  *absent = ml_tls_peer_certificate(tls) == NULL;
  /* A chain that was refused within the handshake is not there any more either. */
  if (tls->verify_result != X509_V_OK) return tls->verify_result;
  if (*absent)
    return ml_tls_psk_proves_peer(tls) ? X509_V_OK : X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT;
  return SSL_get_verify_result(awake(tls));
}

STACK_OF(X509) * ml_tls_peer_chain(const struct ml_tls *tls)
{
  STACK_OF(X509) *chain = tls->candidate_chain;
  if (!chain) chain = SSL_get0_verified_chain(awake(tls));
  if (chain) return X509_chain_up_ref(chain);
  chain = SSL_get_peer_cert_chain(awake(tls));
  STACK_OF(X509) *copy = chain ? X509_chain_up_ref(chain) : sk_X509_new_null();
  X509 *leaf = ml_tls_peer_certificate(tls);
  if (!copy || !leaf) {
    sk_X509_pop_free(copy, X509_free);
    return NULL;
  }
  /* A server's list leaves the client's own certificate out (SSL_get_peer_cert_chain(3)). */
  bool has_leaf = sk_X509_num(copy) > 0 && X509_cmp(sk_X509_value(copy, 0), leaf) == 0;
  if (!has_leaf && X509_up_ref(leaf) == 1 && sk_X509_unshift(copy, leaf) == 0) X509_free(leaf);
  return copy;
}

SSL *ml_tls_ssl(const struct ml_tls *tls)
{
  return awake(tls);
}

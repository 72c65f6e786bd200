/* What an engine asks its owner, and what becomes of the answers. */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "tls_engine_internal.h"

int ml_tls_bytes_set(struct ml_tls_bytes *bytes, const uint8_t *data, size_t len)
{
  uint8_t *copy = malloc(len ? len : 1);
  if (!copy) return -1;
  if (len > 0) memcpy(copy, data, len);
  free(bytes->at);
  bytes->at = copy;
  bytes->len = len;
  return 0;
}

void ml_tls_bytes_free(struct ml_tls_bytes *bytes)
{
  free(bytes->at);
  bytes->at = NULL;
  bytes->len = 0;
}

/* ---- Asking ---- */

int ml_tls_ask(struct ml_tls *tls, enum ml_tls_ask ask, const uint8_t *subject, size_t len)
{
  struct ml_pause *pause = &tls->pause;
  ml_tls_pause_end(tls);
  if (subject && ml_tls_bytes_set(&pause->subject, subject, len) != 0) {
    ERR_raise(ERR_LIB_SSL, ERR_R_MALLOC_FAILURE);
    return -1;
  }
  pause->phase = ML_PAUSE_ASKED;
  pause->ask = ask;
  pause->token++;
  pause->accepted = pause->refused = false;
  pause->alert = SSL_AD_INTERNAL_ERROR;
  return 0;
}

void ml_tls_pause_end(struct ml_tls *tls)
{
  struct ml_pause *pause = &tls->pause;
  pause->phase = ML_PAUSE_IDLE;
  ml_tls_bytes_free(&pause->subject);
  if (pause->data.at) OPENSSL_cleanse(pause->data.at, pause->data.len); /* a key, a session */
  ml_tls_bytes_free(&pause->data);
  ml_tls_context_unref(pause->context);
  pause->context = NULL;
}

struct ml_tls_question ml_tls_question(const struct ml_tls *tls)
{
  const struct ml_pause *pause = &tls->pause;
  struct ml_tls_question question = {ML_ASK_NONE, pause->token, NULL, 0};
  if (pause->phase != ML_PAUSE_ASKED) return question;
  question.ask = pause->ask;
  question.subject = pause->subject.at;
  question.subject_len = pause->subject.len;
  return question;
}

const uint8_t *ml_tls_hello(const struct ml_tls *tls, size_t *len)
{
  *len = tls->hello.len;
  return tls->hello.at;
}

/* ---- Answering ---- */

static bool answers(const struct ml_tls *tls, uint32_t token)
{
  return tls->pause.phase == ML_PAUSE_ASKED && tls->pause.token == token &&
         tls->state != ML_TLS_FAILED;
}

int ml_tls_answer_context(struct ml_tls *tls, uint32_t token, struct ml_tls_context *context)
{
  if (!answers(tls, token) || tls->pause.ask != ML_ASK_CONTEXT) return -1;
  tls->pause.phase = ML_PAUSE_ANSWERED;
  tls->pause.context = context ? ml_tls_context_ref(context) : NULL;
  return 0;
}

int ml_tls_answer_identity(struct ml_tls *tls, uint32_t token, bool acceptable)
{
  if (!answers(tls, token) || tls->pause.ask != ML_ASK_IDENTITY) return -1;
  tls->pause.phase = ML_PAUSE_ANSWERED;
  tls->pause.accepted = acceptable;
  return 0;
}

int ml_tls_answer_data(struct ml_tls *tls, uint32_t token, const uint8_t *data, size_t len)
{
  struct ml_pause *pause = &tls->pause;
  if (!answers(tls, token) || pause->ask == ML_ASK_CONTEXT || pause->ask == ML_ASK_IDENTITY)
    return -1;
  if (data && ml_tls_bytes_set(&pause->data, data, len) != 0) {
    struct ml_error err;
    ml_error_system(&err, ENOMEM, "malloc");
    return ml_tls_answer_failure(tls, token, SSL_AD_INTERNAL_ERROR, &err);
  }
  pause->phase = ML_PAUSE_ANSWERED;
  return 0;
}

int ml_tls_answer_failure(struct ml_tls *tls, uint32_t token, int alert,
                          const struct ml_error *reason)
{
  if (!answers(tls, token)) return -1;
  tls->pause.phase = ML_PAUSE_ANSWERED;
  tls->pause.refused = true;
  tls->pause.alert = alert;
  ml_tls_set_error(tls, reason);
  return 0;
}

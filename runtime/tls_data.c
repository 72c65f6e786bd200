/* Application data, and the handshake messages that come between. */
#include <assert.h>
#include <openssl/err.h>
#include <string.h>

#include "tls_after.h"
#include "tls_engine_internal.h"

#define RECORD_SIZE ((size_t)SSL3_RT_MAX_PLAIN_LENGTH)
#define RECORD_OVERHEAD ((size_t)96) /* header 5, IV 16, SHA-384 MAC 48, padding 16: never more */

/* ---- Reading ---- */

/* A peer that says close_notify in the middle of a renegotiation leaves the connection in a state
 * in which nothing can be said any more, close_notify included. */
static enum ml_tls_result end_of_data(struct ml_tls *tls)
{
  if (ml_tls_renegotiating(tls)) {
    struct ml_error err;
    ml_tls_disconnected(tls, &err);
    return ml_tls_fail_with(tls, &err);
  }
  ml_tls_set_state(tls, tls->state == ML_TLS_SELF_CLOSED ? ML_TLS_CLOSED : ML_TLS_PEER_CLOSED);
  return ML_TLS_END;
}

/* OpenSSL hands out one record of data at a time, but goes through any number of others, and
 * answering a KeyUpdate costs a hundred times what sending one does. */
#define BURST 16

/* One record was read that had no data. */
static enum ml_tls_result after_record(struct ml_tls *tls, size_t input_before)
{
  enum ml_tls_result result = ml_tls_after_settle(tls);
  if (result != ML_TLS_OK || tls->after.renewed) return result;
  if (tls->io.in_len == input_before)
    return ml_tls_answer_update(tls) == ML_TLS_OK ? ML_TLS_WANT_INPUT : ML_TLS_ERROR;
  return ++tls->after.burst < BURST || tls->io.in_len == 0 ? ML_TLS_OK : ML_TLS_AGAIN;
}

/* Whether OpenSSL has nothing to read and nothing else to do: asking costs as much as a record. */
static bool is_dry(struct ml_tls *tls)
{
  if (tls->io.in_len > 0 || tls->state != ML_TLS_OPEN || ml_tls_unsettled(tls)) return false;
  if (!tls->io.exhausted)
    tls->io.exhausted = SSL_has_pending(awake(tls)) == 0 && !SSL_in_init(awake(tls));
  return tls->io.exhausted;
}

enum ml_tls_result ml_tls_receive(struct ml_tls *tls, uint8_t *buffer, size_t size, size_t *done)
{
  for (;;) {
    if (tls->after.renewed) {
      tls->after.renewed = false;
      return ML_TLS_RENEWED;
    }
    if (tls->state == ML_TLS_RENEGOTIATION_ASKED) ml_tls_set_state(tls, ML_TLS_RENEGOTIATING);
    enum ml_tls_result result;
    size_t input = tls->io.in_len;
    bool answered = tls->io.answered;
    tls->io.portion = ML_IO_RECORD;
    ml_error_clear_openssl();
    int ok = SSL_read_ex(awake(tls), buffer, size, done);
    tls->io.portion = ML_IO_ALL;
    switch (ok == 1 ? SSL_ERROR_NONE : SSL_get_error(awake(tls), ok)) {
    case SSL_ERROR_NONE: /* one record, which was data */
      tls->io.exhausted = *done < size;
      tls->io.answered = answered;
      return ml_tls_after_settle(tls);
    case SSL_ERROR_WANT_READ:
      result = after_record(tls, input);
      if (result != ML_TLS_OK) return result;
      break;
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
    case SSL_ERROR_WANT_X509_LOOKUP:
    case SSL_ERROR_WANT_RETRY_VERIFY:
      ml_tls_set_state(tls, ML_TLS_RENEGOTIATION_ASKED);
      return ML_TLS_ASK;
    case SSL_ERROR_ZERO_RETURN:
      return end_of_data(tls);
    default:
      return ml_tls_fail(tls);
    }
  }
}

static size_t take_early(struct ml_tls *tls, uint8_t *buffer, size_t size)
{
  struct ml_buf *early = &tls->after.early;
  size_t n = ml_buf_size(early) < size ? ml_buf_size(early) : size;
  memcpy(buffer, ml_buf_data(early), n);
  ml_buf_consume(early, n);
  return n;
}

enum ml_tls_result ml_tls_read(struct ml_tls *tls, uint8_t *buffer, size_t size, size_t *done)
{
  if (tls->state == ML_TLS_FAILED) return ML_TLS_ERROR;
  if (tls->calling) return ML_TLS_WANT_INPUT;
  if (ml_buf_size(&tls->after.early) > 0) {
    *done = take_early(tls, buffer, size);
    return ML_TLS_OK;
  }
  if (tls->state == ML_TLS_PEER_CLOSED || tls->state == ML_TLS_CLOSED) return ML_TLS_END;
  if (tls->pause.phase == ML_PAUSE_ASKED) return ML_TLS_ASK;
  if (is_dry(tls)) return ml_tls_answer_update(tls) == ML_TLS_OK ? ML_TLS_WANT_INPUT : ML_TLS_ERROR;
  return ml_tls_receive(tls, buffer, size, done);
}

/* ---- Writing ---- */

/* Whether OpenSSL may be given data to write: while it is after the messages of a handshake it
 * reads for them, and takes data of the peer's that comes first for a violation. */
static bool can_write(const struct ml_tls *tls)
{
  if (ml_tls_renegotiating(tls) || tls->calling) return false;
  return !(tls->state == ML_TLS_OPEN &&
           tls->after.wish == ML_WISH_GRANTED); /* it is about to begin */
}

enum ml_tls_result ml_tls_write(struct ml_tls *tls, const uint8_t *data, size_t len, size_t *done)
{
  *done = 0;
  if (tls->state == ML_TLS_FAILED) return ML_TLS_ERROR;
  assert(tls->state >= ML_TLS_OPEN && tls->state <= ML_TLS_PEER_CLOSED);
  if (!can_write(tls)) return ML_TLS_WANT_INPUT;
  /* Room for all records at once: growing step by step copies what is there again and again. When
   * memory is short the BIO says so. */
  (void)!ml_buf_reserve(&tls->io.out, len + (len / RECORD_SIZE + 1) * RECORD_OVERHEAD);
  ml_error_clear_openssl();
  while (*done < len) {
    size_t n = 0;
    int ok = SSL_write_ex(awake(tls), data + *done, len - *done, &n);
    if (ok != 1)
      return SSL_get_error(awake(tls), ok) == SSL_ERROR_WANT_READ ? ML_TLS_WANT_INPUT
                                                                  : ml_tls_fail(tls);
    *done += n;
  }
  return ml_tls_after_settle(tls);
}

/* A message that came in part keeps OpenSSL "in init", where SSL_shutdown(3) is refused. */
static enum ml_tls_result finish_message(struct ml_tls *tls)
{
  ml_error_clear_openssl();
  int ok = SSL_do_handshake(awake(tls));
  if (ok == 1) return ML_TLS_OK;
  return SSL_get_error(awake(tls), ok) == SSL_ERROR_WANT_READ ? ML_TLS_WANT_INPUT
                                                              : ml_tls_fail(tls);
}

enum ml_tls_result ml_tls_close(struct ml_tls *tls)
{
  if (tls->state == ML_TLS_FAILED) return ML_TLS_ERROR;
  if (tls->state < ML_TLS_OPEN || tls->state > ML_TLS_PEER_CLOSED) return ML_TLS_OK;
  if (!can_write(tls)) return ML_TLS_WANT_INPUT;
  if (SSL_in_init(awake(tls))) {
    enum ml_tls_result result = finish_message(tls);
    if (result != ML_TLS_OK) return result;
  }
  ml_error_clear_openssl();
  (void)SSL_shutdown(awake(tls)); /* writes our close_notify; the peer's is the reader's business */
  ml_error_clear_openssl();
  ml_tls_set_state(tls, tls->state == ML_TLS_PEER_CLOSED ? ML_TLS_CLOSED : ML_TLS_SELF_CLOSED);
  return ML_TLS_OK;
}

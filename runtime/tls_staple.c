#include "tls_staple.h"

#include <openssl/err.h>
#include <string.h>

#include "tls_served.h"

/* ---- Server ---- */

static bool due(const struct ml_tls *tls, SSL *ssl)
{
  return tls->server && ml_tls_asks(tls, ML_ASK_STAPLE) && !ml_tls_established(tls) &&
         SSL_get_tlsext_status_type(ssl) == TLSEXT_STATUSTYPE_ocsp;
}

/* Returns what a certificate callback does: 1 go on, 0 fail, -1 suspend. */
static int ask(struct ml_tls *tls, SSL *ssl)
{
  if (tls->served) return 1; /* the second ClientHello (RFC 8446, 4.1.4): answered at the first */
  if (ml_tls_find_served(ssl, tls->hello.at, tls->hello.len, &tls->served, &tls->served_issuer) !=
      0) {
    ERR_raise(ERR_LIB_SSL, ERR_R_MALLOC_FAILURE);
    return 0;
  }
  if (!tls->served) return 1;
  return ml_tls_ask(tls, ML_ASK_STAPLE, NULL, 0) == 0 ? -1 : 0;
}

static int take_answer(struct ml_tls *tls)
{
  tls->staple = tls->pause.data;
  tls->pause.data = (struct ml_tls_bytes){NULL, 0};
  ml_tls_pause_end(tls);
  return tls->pause.refused ? 0 : 1;
}

int ml_tls_on_certificate(SSL *ssl, void *arg)
{
  (void)arg;
  struct ml_tls *tls = ml_tls_of(ssl);
  if (!due(tls, ssl)) return 1;
  if (tls->pause.phase == ML_PAUSE_ASKED) return -1;
  int result = tls->pause.phase == ML_PAUSE_ANSWERED ? take_answer(tls) : ask(tls, ssl);
  if (result >= 0) ml_tls_bytes_free(&tls->hello);
  return result;
}

/* Whether OpenSSL has chosen the certificate that the owner was asked about. About another one the
 * staple would say nothing, or something that is not so. */
static bool as_expected(const struct ml_tls *tls, SSL *ssl)
{
  X509 *chosen = SSL_get_certificate(ssl);
  return chosen && tls->served && X509_cmp(chosen, tls->served) == 0;
}

static int hand_out(struct ml_tls *tls, SSL *ssl)
{
  if (tls->staple.len == 0 || !as_expected(tls, ssl)) return SSL_TLSEXT_ERR_NOACK;
  unsigned char *copy = OPENSSL_memdup(tls->staple.at, tls->staple.len);
  if (!copy) return SSL_TLSEXT_ERR_ALERT_FATAL;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)tls->staple.len); /* takes the copy */
  return SSL_TLSEXT_ERR_OK;
}

void ml_tls_staple_free(struct ml_tls *tls)
{
  X509_free(tls->served);
  X509_free(tls->served_issuer);
  tls->served = tls->served_issuer = NULL;
  ml_tls_bytes_free(&tls->staple);
}

/* ---- Client ---- */

/* A resumed handshake shows no certificate to say anything about, but TLS 1.3 comes here. */
static int take_note(struct ml_tls *tls, SSL *ssl)
{
  const unsigned char *response = NULL;
  if (SSL_session_reused(ssl)) return 1;
  long len = SSL_get_tlsext_status_ocsp_resp(ssl, &response);
  return ml_tls_note_staple(tls, response, response && len > 0 ? (size_t)len : 0) == 0 ? 1 : -1;
}

void ml_tls_staple_correct_error(void)
{
  const char *function;
  unsigned long last = ERR_peek_last_error_func(&function);
  bool no_memory =
      ERR_GET_REASON(last) == ERR_R_MALLOC_FAILURE || ERR_GET_REASON(last) == ERR_R_CRYPTO_LIB;
  if (!no_memory || !function || strcmp(function, "tls_process_cert_status_body") != 0) return;
  ERR_clear_error();
  ERR_raise(ERR_LIB_SSL, SSL_R_LENGTH_MISMATCH);
}

int ml_tls_on_status(SSL *ssl, void *arg)
{
  (void)arg;
  struct ml_tls *tls = ml_tls_of(ssl);
  if (tls->understudy) return SSL_TLSEXT_ERR_ALERT_FATAL; /* tls_served.c has seen enough */
  return tls->server ? hand_out(tls, ssl) : take_note(tls, ssl);
}

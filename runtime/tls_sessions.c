#include "tls_sessions.h"

/* ---- Clients ---- */

int ml_tls_sessions_offer(struct ml_tls *tls, const uint8_t *session, size_t len)
{
  tls->offered = d2i_SSL_SESSION(NULL, &session, (long)len);
  return tls->offered && SSL_set_session(tls->ssl, tls->offered) == 1 ? 0 : -1;
}

void ml_tls_sessions_note_renewal(struct ml_tls *tls)
{
  bool silent = SSL_version(tls->ssl) < TLS1_3_VERSION;
  if (tls->offered && tls->want_sessions && silent && SSL_session_reused(tls->ssl) &&
      SSL_get_session(tls->ssl) != tls->offered)
    ml_tls_note_session(tls, SSL_get1_session(tls->ssl));
}

void ml_tls_sessions_free(struct ml_tls *tls)
{
  SSL_SESSION_free(tls->offered);
  tls->offered = NULL;
}

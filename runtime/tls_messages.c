#include "tls_messages.h"

#include "tls_at_hello.h"
#include "tls_offload.h"
#include "tls_timeline.h"
#include "tls_trace.h"

static void on_handshake_message(struct ml_tls *tls, const uint8_t *message, size_t len)
{
  switch (*message) {
  case SSL3_MT_CLIENT_HELLO:
    ml_tls_keep_hello(tls, message, len);
    break;
  case SSL3_MT_FINISHED:
    ml_tls_after_finished(tls);
    break;
  case SSL3_MT_KEY_UPDATE:
    ml_tls_after_key_update(tls);
    break;
  default:
    break;
  }
}

static void on_message(int write_p, int version, int content_type, const void *message, size_t len,
                       SSL *ssl, void *arg)
{
  (void)ssl;
  struct ml_tls *tls = arg;
  bool handshake =
      content_type == SSL3_RT_HANDSHAKE || (content_type == 0 && version == SSL2_VERSION);
  if (handshake && len > 0) ml_tls_timeline_message(tls, write_p, *(const uint8_t *)message);
  if (handshake && !write_p && len > 0) on_handshake_message(tls, message, len);
  if (write_p) ml_tls_offload_message(tls, content_type, message, len);
  ml_tls_trace_message(tls, write_p, version, content_type, message, len);
}

void ml_tls_watch_messages(struct ml_tls *tls)
{
  SSL_set_msg_callback(awake(tls), on_message);
  SSL_set_msg_callback_arg(awake(tls), tls);
}

void ml_tls_unwatch_messages(struct ml_tls *tls)
{
  bool renegotiable = tls->server && SSL_version(awake(tls)) < TLS1_3_VERSION;
  if (!renegotiable && !tls->trace && !tls->offload) SSL_set_msg_callback(awake(tls), NULL);
}

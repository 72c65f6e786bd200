#include "tls_trace.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "tls_engine_internal.h"
#include "tls_messages.h"

#ifdef OPENSSL_NO_SSL_TRACE

int ml_tls_trace(struct ml_tls *tls, struct ml_error *err)
{
  (void)tls;
  ml_error_misuse(err, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
                  "This OpenSSL was built without enable-ssl-trace");
  return -1;
}

void ml_tls_trace_message(struct ml_tls *tls, int write_p, int version, int content_type,
                          const void *message, size_t len)
{
  (void)tls, (void)write_p, (void)version, (void)content_type, (void)message, (void)len;
}

#else

int ml_tls_trace(struct ml_tls *tls, struct ml_error *err)
{
  ERR_clear_error();
  if (!tls->trace) tls->trace = BIO_new(BIO_s_mem());
  if (!tls->trace) {
    ml_error_openssl(err, "no memory for a trace");
    return -1;
  }
  ml_tls_watch_messages(tls);
  return 0;
}

/* SSL_trace(3) reads what a peer has sent before OpenSSL has judged it, and may leave errors behind
 * that have nothing to do with the connection. */
void ml_tls_trace_message(struct ml_tls *tls, int write_p, int version, int content_type,
                          const void *message, size_t len)
{
  if (!tls->trace) return;
  ERR_set_mark();
  SSL_trace(write_p, version, content_type, message, len, awake(tls), tls->trace);
  ERR_pop_to_mark();
}

#endif

struct ml_tls_note *ml_tls_trace_note(struct ml_tls *tls)
{
  char *text;
  long len = tls->trace ? BIO_get_mem_data(tls->trace, &text) : 0;
  if (len <= 0) return NULL;
  struct ml_tls_note *note = calloc(1, sizeof(*note) + (size_t)len);
  if (note) {
    note->kind = ML_NOTE_TRACE;
    note->line_len = (size_t)len;
    memcpy(note->line, text, (size_t)len);
  }
  (void)BIO_reset(tls->trace);
  return note;
}

void ml_tls_trace_free(struct ml_tls *tls)
{
  BIO_free(tls->trace);
}

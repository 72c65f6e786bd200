#include "tls_alpn.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "tls_at_hello.h"
#include "tls_callbacks.h"

/* ---- Life ---- */

static int copy_list(struct ml_tls_bytes *to, const uint8_t *list, size_t len, struct ml_error *err)
{
  if (len == 0 || ml_tls_bytes_set(to, list, len) == 0) return 0;
  ml_error_system(err, ENOMEM, "malloc");
  return -1;
}

int ml_tls_alpn_set_up(struct ml_tls *tls, const struct ml_tls_options *options,
                       struct ml_error *err)
{
#ifdef OPENSSL_NO_NEXTPROTONEG
  if (options->npn_len > 0) {
    ml_error_misuse(err, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
                    "This OpenSSL was built without NPN; ALPN is what took its place");
    return -1;
  }
#endif
  struct ml_tls_protocols *protocols = &tls->protocols;
  if (copy_list(&protocols->alpn, options->alpn, options->alpn_len, err) != 0) return -1;
  if (copy_list(&protocols->npn, options->npn, options->npn_len, err) != 0) return -1;
  if (tls->server || options->alpn_len == 0) return 0;
  if (SSL_set_alpn_protos(awake(tls), options->alpn, (unsigned)options->alpn_len) == 0) return 0;
  ml_error_openssl(err, "the ALPN protocols cannot be used");
  return -1;
}

void ml_tls_alpn_free(struct ml_tls *tls)
{
  struct ml_tls_protocols *protocols = &tls->protocols;
  ml_tls_bytes_free(&protocols->alpn);
  ml_tls_bytes_free(&protocols->npn);
  ml_tls_bytes_free(&protocols->offered);
  ml_tls_bytes_free(&protocols->chosen);
}

/* ---- The question ---- */

int ml_tls_ask_alpn(struct ml_tls *tls, SSL *ssl)
{
  (void)ssl;
  int alert;
  struct ml_tls_hello hello;
  if (ml_tls_read_hello(tls, &hello, &alert) != 0) return ML_STEP_FAILED;
  const struct ml_slice *list = &hello.protocols;
  if (list->len == 0) return ML_STEP_NEEDLESS;
  if (ml_tls_bytes_set(&tls->protocols.offered, list->data, list->len) != 0) {
    ERR_raise(ERR_LIB_SSL, ERR_R_MALLOC_FAILURE);
    return ML_STEP_FAILED;
  }
  tls->protocols.asked = true;
  return ml_tls_ask(tls, ML_ASK_ALPN, list->data, list->len) == 0 ? ML_STEP_ASKED : ML_STEP_FAILED;
}

/* The answer waits for OpenSSL to ask in its turn (ml_tls_on_alpn), which is where "none" is
 * refused, too. */
int ml_tls_take_alpn(struct ml_tls *tls, SSL *ssl)
{
  (void)ssl;
  ml_tls_bytes_free(&tls->protocols.chosen);
  tls->protocols.chosen = tls->pause.data;
  tls->pause.data = (struct ml_tls_bytes){0};
  return 0;
}

bool ml_tls_alpn_unchanged(const struct ml_tls *tls, const struct ml_tls_hello *hello)
{
  const struct ml_tls_bytes *offered = &tls->protocols.offered;
  if (!tls->protocols.asked) return true;
  return hello->protocols.len == offered->len &&
         memcmp(hello->protocols.data, offered->at, offered->len) == 0;
}

/* ---- ALPN ---- */

/* The place of `wanted` in the list, or NULL. */
static const uint8_t *find(struct ml_slice list, const struct ml_tls_bytes *wanted)
{
  struct ml_slice name;
  while (wanted->at && ml_tls_hello_next_protocol(&list, &name))
    if (name.len == wanted->len && memcmp(name.data, wanted->at, name.len) == 0) return name.data;
  return NULL;
}

/* For the error message; without memory it says less. */
static int refuse(struct ml_tls *tls, const uint8_t *offered, size_t len)
{
  (void)!ml_tls_bytes_set(&tls->protocols.offered, offered, len);
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The server's order decides, unless the owner has chosen; nothing in common is fatal (RFC 7301,
 * 3.2). */
int ml_tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
  (void)arg;
  struct ml_tls *tls = ml_tls_of(ssl);
  const struct ml_tls_protocols *protocols = &tls->protocols;
  if (protocols->asked) {
    const uint8_t *name = find((struct ml_slice){in, in_len}, &protocols->chosen);
    if (!name) return refuse(tls, in, in_len);
    *out = name;
    *out_len = (unsigned char)protocols->chosen.len;
    return SSL_TLSEXT_ERR_OK;
  }
  if (protocols->alpn.len == 0) return SSL_TLSEXT_ERR_NOACK;
  int found = SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, protocols->alpn.at,
                                    (unsigned)protocols->alpn.len, in, in_len);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : refuse(tls, in, in_len);
}

/* ---- NPN ---- */

#ifndef OPENSSL_NO_NEXTPROTONEG

int ml_tls_on_npn_advertise(SSL *ssl, const unsigned char **out, unsigned *out_len, void *arg)
{
  (void)arg;
  const struct ml_tls_bytes *ours = &ml_tls_of(ssl)->protocols.npn;
  if (ours->len == 0) return SSL_TLSEXT_ERR_NOACK;
  *out = ours->at;
  *out_len = (unsigned)ours->len;
  return SSL_TLSEXT_ERR_OK;
}

/* The server's order decides here, too. With nothing in common the client says what it likes best
 * and may yet be served: the draft has no refusal. */
int ml_tls_on_npn_select(SSL *ssl, unsigned char **out, unsigned char *out_len,
                         const unsigned char *in, unsigned in_len, void *arg)
{
  (void)arg;
  struct ml_tls_protocols *protocols = &ml_tls_of(ssl)->protocols;
  if (protocols->npn.len == 0) return SSL_TLSEXT_ERR_NOACK; /* not armed: OpenSSL does not ask */
  int found = SSL_select_next_proto(out, out_len, in, in_len, protocols->npn.at,
                                    (unsigned)protocols->npn.len);
  protocols->npn_agreed = found == OPENSSL_NPN_NEGOTIATED;
  return SSL_TLSEXT_ERR_OK;
}

void ml_tls_npn_arm(const struct ml_tls *tls)
{
  if (!tls->server) ml_tls_install_npn(SSL_get_SSL_CTX(awake(tls)), tls->protocols.npn.len > 0);
}

const uint8_t *ml_tls_npn_protocol(const struct ml_tls *tls, size_t *len)
{
  const unsigned char *name = NULL;
  unsigned name_len = 0;
  if (tls->server || tls->protocols.npn_agreed)
    SSL_get0_next_proto_negotiated(awake(tls), &name, &name_len);
  *len = name_len;
  return name;
}

#else

void ml_tls_npn_arm(const struct ml_tls *tls)
{
  (void)tls;
}

const uint8_t *ml_tls_npn_protocol(const struct ml_tls *tls, size_t *len)
{
  (void)tls;
  *len = 0;
  return NULL;
}

#endif

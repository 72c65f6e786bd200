#include "tls_served.h"

#include <openssl/err.h>

#include "certinfo.h"
#include "tls_engine_internal.h"

/* ---- One identity after the other ---- */

/* Calls `each` for every certificate of `ssl` that has its key, until it returns false, and leaves
 * the current one current. Returns how many there were. */
static int for_each_identity(SSL *ssl, bool (*each)(SSL *ssl, void *arg), void *arg)
{
  X509 *at_hand = SSL_get_certificate(ssl);
  int count = 0;
  long more = SSL_set_current_cert(ssl, SSL_CERT_SET_FIRST);
  for (; more == 1; more = SSL_set_current_cert(ssl, SSL_CERT_SET_NEXT)) {
    count++;
    if (each && !each(ssl, arg)) break;
  }
  if (at_hand) SSL_select_current_cert(ssl, at_hand);
  return count;
}

static bool give_identity(SSL *ssl, void *other)
{
  STACK_OF(X509) *chain = NULL;
  SSL_get0_chain_certs(ssl, &chain);
  return SSL_use_cert_and_key(other, SSL_get_certificate(ssl), SSL_get_privatekey(ssl), chain, 1) ==
         1;
}

/* ---- The rehearsal ---- */

/* The message in records, as OpenSSL reads it. */
static BIO *in_records(const uint8_t *message, size_t len)
{
  BIO *bio = BIO_new(BIO_s_mem());
  bool ok = bio != NULL;
  while (ok && len > 0) {
    size_t n = len < SSL3_RT_MAX_PLAIN_LENGTH ? len : SSL3_RT_MAX_PLAIN_LENGTH;
    const uint8_t header[SSL3_RT_HEADER_LENGTH] = {
        SSL3_RT_HANDSHAKE, TLS1_VERSION_MAJOR, TLS1_VERSION_MINOR, (uint8_t)(n >> 8), (uint8_t)n};
    ok = BIO_write(bio, header, sizeof(header)) == (int)sizeof(header) &&
         BIO_write(bio, message, (int)n) == (int)n;
    message += n;
    len -= n;
  }
  if (ok) return bio;
  BIO_free(bio);
  return NULL;
}

/* Another server that chooses as `ssl` does, and resumes nothing. Its engine wants nothing, so
 * callbacks let it pass, until the status callback, which comes right after the choice, ends it. */
static SSL *make_understudy(SSL *ssl, struct ml_tls *engine)
{
  SSL *other = SSL_new(SSL_get_SSL_CTX(ssl));
  if (!other) return NULL;
  int version = SSL_version(ssl);
  ml_tls_own(other, engine);
  SSL_set_accept_state(other);
  SSL_clear_options(other, SSL_get_options(other));
  SSL_set_options(other, SSL_get_options(ssl) | SSL_OP_NO_TICKET);
  SSL_set_psk_server_callback(other, NULL);
  SSL_set_psk_find_session_callback(other, NULL);
  SSL_certs_clear(other);
  for_each_identity(ssl, give_identity, other);
  if (SSL_set_min_proto_version(other, version) == 1 &&
      SSL_set_max_proto_version(other, version) == 1)
    return other;
  SSL_free(other);
  return NULL;
}

/* Where there are several certificates the choice depends on nearly everything in the ClientHello,
 * and OpenSSL tells of it when nothing can wait any more. So the choice is made twice: first by
 * somebody who is sent away afterwards. NULL: no memory. */
static SSL *rehearse(SSL *ssl, struct ml_tls *engine, const uint8_t *hello, size_t len)
{
  BIO *in = in_records(hello, len), *out = BIO_new(BIO_s_null());
  SSL *other = in && out ? make_understudy(ssl, engine) : NULL;
  if (!other) {
    BIO_free(in);
    BIO_free(out);
    return NULL;
  }
  SSL_set_bio(other, in, out);
  ERR_set_mark();
  (void)SSL_do_handshake(other);
  ERR_pop_to_mark();
  return other;
}

/* ---- Who issued it ---- */

/* The certificate at hand of `ssl` and its issuer. */
static void take_current(SSL *ssl, X509 **cert, X509 **issuer)
{
  STACK_OF(X509) *chain = NULL;
  *cert = SSL_get_certificate(ssl);
  if (!*cert) return;
  X509_up_ref(*cert);
  SSL_get0_chain_certs(ssl, &chain);
  *issuer = ml_cert_issuer_in(*cert, chain);
  if (*issuer) {
    X509_up_ref(*issuer);
    return;
  }
  *issuer = ml_cert_issuer_in_store(*cert, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)));
  if (!*issuer || X509_cmp(*issuer, *cert) != 0) return;
  X509_free(*issuer);
  *issuer = NULL;
}

int ml_tls_find_served(SSL *ssl, const uint8_t *hello, size_t len, X509 **cert, X509 **issuer)
{
  *cert = *issuer = NULL;
  if (for_each_identity(ssl, NULL, NULL) < 2) {
    take_current(ssl, cert, issuer);
    return 0;
  }
  struct ml_tls engine = {.understudy = true};
  SSL *other = rehearse(ssl, &engine, hello, len);
  if (!other) return -1;
  if (SSL_set_current_cert(other, SSL_CERT_SET_SERVER) == 1) take_current(other, cert, issuer);
  SSL_free(other);
  return 0;
}

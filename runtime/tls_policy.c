#include "tls_policy.h"

#include <openssl/err.h>

/* ---- Client certificates ---- */

uint8_t ml_tls_policy(const struct ml_tls *tls)
{
  return (uint8_t)(tls->request_cert | tls->reject_unauthorized << 1);
}

void ml_tls_demand_certificate(struct ml_tls *tls)
{
  int mode = SSL_VERIFY_NONE;
  if (tls->request_cert) mode = SSL_VERIFY_PEER;
  if (tls->request_cert && tls->reject_unauthorized) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_set_verify(awake(tls), mode, NULL);
}

void ml_tls_adopt_policy(struct ml_tls *tls, const struct ml_tls_context *context)
{
  const struct ml_tls_client_policy *policy = ml_tls_context_client_policy(context);
  if (policy->request_cert != ML_SAYS_NOTHING)
    tls->request_cert = policy->request_cert == ML_SAYS_YES;
  if (policy->reject_unauthorized != ML_SAYS_NOTHING)
    tls->reject_unauthorized = policy->reject_unauthorized == ML_SAYS_YES;
  ml_tls_demand_certificate(tls);
}

void ml_tls_offer_certificate(struct ml_tls *tls)
{
  bool offered = tls->post_handshake_auth == ML_SAYS_YES;
  if (tls->post_handshake_auth == ML_SAYS_NOTHING)
    offered = SSL_get_certificate(awake(tls)) != NULL;
  SSL_set_post_handshake_auth(awake(tls), offered);
}

/* ---- Renegotiation ---- */

/* SSL_OP_NO_RENEGOTIATION stays where the script has set it. */
void ml_tls_permit_renegotiation(struct ml_tls *tls)
{
  uint64_t options = SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION;
  options |= tls->after.peer == ML_PEER_PERMITTED ? SSL_OP_ALLOW_CLIENT_RENEGOTIATION
                                                  : SSL_OP_NO_RENEGOTIATION;
  SSL_set_options(awake(tls), options);
}

/* ---- Versions ---- */

bool ml_tls_speaks(SSL *ssl, int version)
{
  static const uint64_t off[] = {SSL_OP_NO_TLSv1, SSL_OP_NO_TLSv1_1, SSL_OP_NO_TLSv1_2,
                                 SSL_OP_NO_TLSv1_3};
  long min = SSL_get_min_proto_version(ssl), max = SSL_get_max_proto_version(ssl);
  if (version < min || (max != 0 && version > max)) return false;
  return (SSL_get_options(ssl) & off[version - TLS1_VERSION]) == 0;
}

/* ---- The size of a key exchange ---- */

/* SSL_CTX_set_security_callback(3). OpenSSL asks about the server's key as soon as it has read it:
 * before the client sends its certificate or anything that depends on the key. */
static int on_security(const SSL *ssl, const SSL_CTX *ctx, int op, int bits, int nid, void *other,
                       void *ex)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  if (tls && op == SSL_SECOP_TMP_DH && other) {
    int size = EVP_PKEY_get_bits(other);
    if (size < tls->min_dh_bits) {
      tls->small_dh_bits = size;
      return 0;
    }
  }
  return SSL_CTX_get_security_callback(SSL_get_SSL_CTX(ssl))(ssl, ctx, op, bits, nid, other, ex);
}

void ml_tls_demand_dh_size(struct ml_tls *tls, int bits)
{
  tls->min_dh_bits = bits;
  if (bits > 0) SSL_set_security_callback(awake(tls), on_security);
}

bool ml_tls_dh_size_suffices(struct ml_tls *tls)
{
  EVP_PKEY *key = NULL;
  if (tls->min_dh_bits <= 0 || SSL_get_peer_tmp_key(awake(tls), &key) != 1) return true;
  int size = EVP_PKEY_get_base_id(key) == EVP_PKEY_DH ? EVP_PKEY_get_bits(key) : tls->min_dh_bits;
  EVP_PKEY_free(key);
  if (size >= tls->min_dh_bits) return true;
  tls->small_dh_bits = size;
  return false;
}

void ml_tls_dh_size_error(const struct ml_tls *tls, struct ml_error *err)
{
  ml_error_misuse(err, "ERR_TLS_DH_PARAM_SIZE", "DH parameter size %d is less than %d",
                  tls->small_dh_bits, tls->min_dh_bits);
}

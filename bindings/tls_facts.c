/* What a TLS handle can tell about its connection. On a closed handle every method returns nil. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "bindings.h"
#include "cert_der.h"
#include "scratch.h"
#include "tls.h"
#include "tls_explain.h"
#include "tls_offload.h"
#include "tls_timeline.h"
#include "x509.h"

static SSL *self_ssl(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  return tls ? ml_tls_ssl(tls) : NULL;
}

/* servername() → string | nil */
static int fact_servername(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  if (!tls) return 0;
  lua_pushstring(L, ml_tls_servername(tls));
  return 1;
}

/* alpnProtocol() → string | nil */
static int fact_alpn(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  const unsigned char *name = NULL;
  unsigned len = 0;
  if (ssl) SSL_get0_alpn_selected(ssl, &name, &len);
  if (!name) return 0;
  lua_pushlstring(L, (const char *)name, len);
  return 1;
}

/* npnProtocol() → string | nil */
static int fact_npn(lua_State *L)
{
  size_t len;
  struct ml_tls *tls = ml_tls_self(L);
  const uint8_t *name = tls ? ml_tls_npn_protocol(tls, &len) : NULL;
  if (!name) return 0;
  lua_pushlstring(L, (const char *)name, len);
  return 1;
}

/* protocol() → "TLSv1.3" */
static int fact_protocol(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  if (!ssl) return 0;
  lua_pushstring(L, SSL_get_version(ssl));
  return 1;
}

static void set_string(lua_State *L, const char *key, const char *value)
{
  if (!value) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

/* cipher() → { name, standardName, version } | nil */
static int fact_cipher(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  const SSL_CIPHER *cipher = ssl ? SSL_get_current_cipher(ssl) : NULL;
  if (!cipher) return 0;
  lua_createtable(L, 0, 3);
  set_string(L, "name", SSL_CIPHER_get_name(cipher));
  set_string(L, "standardName", SSL_CIPHER_standard_name(cipher));
  set_string(L, "version", SSL_CIPHER_get_version(cipher));
  return 1;
}

/* verifyError() → code, message | nil when the peer's certificate is good */
static int fact_verify_error(lua_State *L)
{
  bool absent;
  struct ml_tls *tls = ml_tls_self(L);
  if (!tls) return 0;
  long verdict = ml_tls_verify_result(tls, &absent);
  if (verdict == X509_V_OK) return 0;
  lua_pushstring(L, ml_verify_name(verdict));
  lua_pushstring(L, X509_verify_cert_error_string(verdict));
  return 2;
}

/* peerCertificate(detailed) → table | nil when the peer gave none */
static int fact_peer_certificate(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  X509 *cert = tls ? ml_tls_peer_certificate(tls) : NULL;
  if (!cert) return 0;
  if (!lua_toboolean(L, 2)) {
    ml_push_certificate(L, cert);
    return 1;
  }
  (void)ml_new_x509(L); /* holds the chain, should memory run out below */
  STACK_OF(X509) *chain = *ml_x509_chain(L) = ml_tls_peer_chain(tls);
  SSL_CTX *ctx = SSL_get_SSL_CTX(ml_tls_ssl(tls));
  ml_push_certificate_chain(L, cert, chain, SSL_CTX_get_cert_store(ctx));
  return 1;
}

/* peerX509() → handle | nil */
static int fact_peer_x509(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  X509 *cert = tls ? ml_tls_peer_certificate(tls) : NULL;
  if (!cert) return 0;
  ml_push_x509(L, cert, NULL);
  *ml_x509_chain(L) = ml_tls_peer_chain(tls);
  return 1;
}

/* certificate() → our own, as a table | nil */
static int fact_certificate(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  X509 *cert = ssl ? SSL_get_certificate(ssl) : NULL;
  if (!cert) return 0;
  ml_push_certificate(L, cert);
  return 1;
}

/* x509() → our own certificate's handle | nil */
static int fact_x509(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  X509 *cert = ssl ? SSL_get_certificate(ssl) : NULL;
  if (!cert) return 0;
  ml_push_x509(L, cert, NULL);
  return 1;
}

/* servedCertificate() → DER, and DER of its issuer or nil: what the question for a staple is about
 */
static int fact_served_certificate(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  X509 *certs[] = {tls ? ml_tls_served_certificate(tls) : NULL,
                   tls ? ml_tls_served_issuer(tls) : NULL};
  for (int i = 0; i < 2; i++) {
    size_t len;
    const uint8_t *der = certs[i] ? ml_cert_der(certs[i], &len) : NULL;
    if (der)
      lua_pushlstring(L, (const char *)der, len);
    else
      lua_pushnil(L);
  }
  return 2;
}

/* session() → DER | nil when there is none yet */
static int fact_session(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  SSL_SESSION *session = ssl ? SSL_get_session(ssl) : NULL;
  int len = session ? i2d_SSL_SESSION(session, NULL) : 0;
  if (len <= 0) return 0;
  unsigned char *out = lua_newuserdata(L, (size_t)len);
  lua_pushlstring(L, (const char *)out, 0); /* keeps the userdata below it while we write */
  unsigned char *end = out;
  len = i2d_SSL_SESSION(session, &end);
  lua_pushlstring(L, (const char *)out, (size_t)len);
  return 1;
}

/* ticket() → the ticket of the session | nil */
static int fact_ticket(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  SSL_SESSION *session = ssl ? SSL_get_session(ssl) : NULL;
  const unsigned char *ticket = NULL;
  size_t len = 0;
  if (session) SSL_SESSION_get0_ticket(session, &ticket, &len);
  if (!ticket || len == 0) return 0;
  lua_pushlstring(L, (const char *)ticket, len);
  return 1;
}

/* isReused() → boolean */
static int fact_reused(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  lua_pushboolean(L, ssl && SSL_session_reused(ssl));
  return 1;
}

/* The getters of Finished messages share their shape (SSL_get_finished(3)). */
static int push_finished(lua_State *L, size_t (*get)(const SSL *, void *, size_t))
{
  unsigned char buffer[EVP_MAX_MD_SIZE];
  SSL *ssl = self_ssl(L);
  size_t len = ssl ? get(ssl, buffer, sizeof(buffer)) : 0;
  if (len == 0) return 0;
  lua_pushlstring(L, (const char *)buffer, len);
  return 1;
}

static int fact_finished(lua_State *L)
{
  return push_finished(L, SSL_get_finished);
}

static int fact_peer_finished(lua_State *L)
{
  return push_finished(L, SSL_get_peer_finished);
}

/* exportKeyingMaterial(length, label, context | nil) → string | nil, Error (RFC 5705; RFC
 * 8446, 7.5) */
static int fact_export(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  if (!ssl) return 0;
  size_t len = (size_t)luaL_checkinteger(L, 2), label_len, context_len;
  const char *label = luaL_checklstring(L, 3, &label_len);
  const char *context = luaL_optlstring(L, 4, NULL, &context_len);
  unsigned char *out = lua_newuserdata(L, len ? len : 1);
  ERR_clear_error();
  if (SSL_export_keying_material(ssl, out, len, label, label_len, (const unsigned char *)context,
                                 context ? context_len : 0, context != NULL) != 1) {
    struct ml_error err;
    ml_error_openssl(&err, "key material cannot be exported");
    return ml_fail(L, &err);
  }
  lua_pushlstring(L, (const char *)out, len);
  return 1;
}

/* ephemeralKeyInfo() → { type, name, size }; empty when the exchange was not ephemeral */
static int fact_ephemeral(lua_State *L)
{
  SSL *ssl = self_ssl(L);
  EVP_PKEY *key = NULL;
  if (!ssl) return 0;
  lua_createtable(L, 0, 3);
  if (SSL_get_peer_tmp_key(ssl, &key) != 1) return 1;
  int type = EVP_PKEY_get_id(key), bits = EVP_PKEY_get_bits(key);
  char group[64];
  size_t group_len = 0;
  bool named =
      type == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof(group), &group_len) == 1;
  EVP_PKEY_free(key); /* before anything is pushed, which may raise */
  set_string(L, "type", type == EVP_PKEY_DH ? "DH" : "ECDH");
  if (named)
    set_string(L, "name", group);
  else if (type != EVP_PKEY_DH)
    set_string(L, "name", OBJ_nid2sn(type));
  lua_pushinteger(L, bits);
  lua_setfield(L, -2, "size");
  return 1;
}

/* sharedSigalgs() → names of the signature algorithms that both ends know, the most preferred first
 */
static int fact_shared_sigalgs(lua_State *L)
{
  char name[64];
  SSL *ssl = self_ssl(L);
  if (!ssl) return 0;
  lua_newtable(L);
  int count = SSL_get_shared_sigalgs(ssl, 0, NULL, NULL, NULL, NULL, NULL);
  for (int i = 0; i < count; i++) {
    int sign, hash;
    SSL_get_shared_sigalgs(ssl, i, &sign, &hash, NULL, NULL, NULL);
    lua_pushstring(L, ml_tls_sigalg_name(sign, hash, name, sizeof(name)));
    if (hash == NID_undef) {
      /* Those with a hash of their own: Node says so. */
      lua_pushliteral(L, "+UNDEF");
      lua_concat(L, 2);
    }
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* requestsCertificate() → boolean: whether this server asked its client for one */
static int fact_requests_certificate(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  if (!tls) return 0;
  lua_pushboolean(L, ml_tls_requests_certificate(tls));
  return 1;
}

/* offloaded() → boolean: whether the kernel encrypts */
static int fact_offloaded(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  lua_pushboolean(L, tls && ml_tls_offloaded(tls));
  return 1;
}

/* setMaxSendFragment(size) → boolean */
static int fact_max_send_fragment(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  bool set = tls && !ml_tls_offloaded(tls) &&
             SSL_set_max_send_fragment(ml_tls_ssl(tls), luaL_checkinteger(L, 2)) == 1;
  if (set) ml_tls_offload_forget(tls);
  lua_pushboolean(L, set);
  return 1;
}

static void push_phase(lua_State *L, const struct ml_tls_phase *phase)
{
  static const char *const waiting[] = {
      [ML_WAIT_NETWORK] = "network", [ML_WAIT_SCRIPT] = "script", [ML_WAIT_CRYPTO] = "crypto"};
  lua_createtable(L, 0, 4);
  set_string(L, "waiting", waiting[phase->waiting]);
  set_string(L, "name",
             phase->waiting == ML_WAIT_SCRIPT ? ml_tls_ask_name(phase->ask) : phase->message);
  lua_pushnumber(L, phase->at);
  lua_setfield(L, -2, "at");
  lua_pushnumber(L, phase->ms);
  lua_setfield(L, -2, "ms");
}

/* timeline() → { { name, waiting, at, ms }, … }, over: the phases of the handshake (tls_timeline.h)
 */
static int fact_timeline(lua_State *L)
{
  struct ml_tls_phase phases[ML_TLS_PHASES_MAX];
  bool over;
  struct ml_tls *tls = ml_tls_self(L);
  if (!tls) return 0;
  size_t count = ml_tls_timeline(tls, phases, &over);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    push_phase(L, &phases[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_pushboolean(L, over);
  return 2;
}

const luaL_Reg ml_tls_facts[] = {
    {"servername", fact_servername},
    {"alpnProtocol", fact_alpn},
    {"npnProtocol", fact_npn},
    {"protocol", fact_protocol},
    {"cipher", fact_cipher},
    {"verifyError", fact_verify_error},
    {"peerCertificate", fact_peer_certificate},
    {"peerX509", fact_peer_x509},
    {"certificate", fact_certificate},
    {"x509", fact_x509},
    {"servedCertificate", fact_served_certificate},
    {"session", fact_session},
    {"ticket", fact_ticket},
    {"isReused", fact_reused},
    {"finished", fact_finished},
    {"peerFinished", fact_peer_finished},
    {"exportKeyingMaterial", fact_export},
    {"ephemeralKeyInfo", fact_ephemeral},
    {"sharedSigalgs", fact_shared_sigalgs},
    {"requestsCertificate", fact_requests_certificate},
    {"timeline", fact_timeline},
    {"offloaded", fact_offloaded},
    {"setMaxSendFragment", fact_max_send_fragment},
    {NULL, NULL},
};

/* Handles on certificates: native.x509. */
#include "x509.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "bindings.h"
#include "certinfo.h"
#include "scratch.h"

#define X509_CLASS "moonlatch.x509"

struct x509 {
  X509 *cert;
  STACK_OF(X509) * chain; /* where issuerCertificate is looked for; NULL when nowhere */
};

static int x509_gc(lua_State *L)
{
  struct x509 *x509 = lua_touserdata(L, 1);
  X509_free(x509->cert);
  sk_X509_pop_free(x509->chain, X509_free);
  x509->cert = NULL;
  x509->chain = NULL;
  return 0;
}

X509 **ml_new_x509(lua_State *L)
{
  struct x509 *x509 = lua_newuserdata(L, sizeof(*x509));
  memset(x509, 0, sizeof(*x509));
  luaL_getmetatable(L, X509_CLASS);
  lua_setmetatable(L, -2);
  return &x509->cert;
}

STACK_OF(X509) * *ml_x509_chain(lua_State *L)
{
  struct x509 *x509 = lua_touserdata(L, -1);
  return &x509->chain;
}

void ml_push_x509(lua_State *L, X509 *cert, STACK_OF(X509) * chain)
{
  X509 **place = ml_new_x509(L);
  struct x509 *x509 = lua_touserdata(L, -1);
  X509_up_ref(cert);
  *place = cert;
  if (chain) x509->chain = X509_chain_up_ref(chain);
}

X509 *ml_check_x509(lua_State *L, int index)
{
  struct x509 *x509 = ml_object_check(L, index, X509_CLASS);
  luaL_argcheck(L, x509->cert, index, "a certificate expected");
  return x509->cert;
}

static X509 *self(lua_State *L)
{
  struct x509 *x509 = ml_object_self(L);
  if (!x509->cert) luaL_error(L, "bad self");
  return x509->cert;
}

/* x509(PEM or DER) → handle | nil, Error */
static int native_x509(lua_State *L)
{
  struct ml_error err;
  size_t len;
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *data = lua_tolstring(L, 1, &len);
  X509 **place = ml_new_x509(L);
  return ml_cert_read(place, data, len, &err) ? ml_fail(L, &err) : 1;
}

static int x509_subject(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_cert_write_name(scratch, X509_get_subject_name(cert)));
  return 1;
}

static int x509_issuer(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_cert_write_name(scratch, X509_get_issuer_name(cert)));
  return 1;
}

static int x509_subject_alt_name(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_cert_write_alt_names(scratch, cert));
  return 1;
}

static int x509_info_access(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_cert_write_info_access(scratch, cert));
  return 1;
}

/* cert:validity() → from, to (text), from, to (seconds since 1970, nil when unreadable) */
static int x509_validity(lua_State *L)
{
  X509 *cert = self(L);
  const ASN1_TIME *times[] = {X509_get0_notBefore(cert), X509_get0_notAfter(cert)};
  for (int i = 0; i < 2; i++) {
    BIO *scratch = ml_scratch(L);
    ml_push_written(L, scratch, ml_cert_write_time(scratch, times[i]));
  }
  for (int i = 0; i < 2; i++) {
    int64_t seconds;
    if (ml_cert_seconds(times[i], &seconds))
      lua_pushnumber(L, (lua_Number)seconds);
    else
      lua_pushnil(L);
  }
  return 4;
}

/* cert:fingerprint("SHA256") */
static int x509_fingerprint(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_cert_write_fingerprint(scratch, cert, luaL_checkstring(L, 2)));
  return 1;
}

/* cert:purposes() → list of object identifiers or nil */
static int x509_purposes(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  if (ml_cert_write_purposes(scratch, cert) <= 0) return 0;
  ml_push_lines(L, scratch);
  return 1;
}

static int x509_serial(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_cert_write_serial(scratch, cert));
  return 1;
}

static int x509_raw(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, i2d_X509_bio(scratch, cert));
  return 1;
}

static int x509_pem(lua_State *L)
{
  X509 *cert = self(L);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, PEM_write_bio_X509(scratch, cert));
  return 1;
}

static int x509_is_ca(lua_State *L)
{
  lua_pushboolean(L, ml_cert_is_ca(self(L)));
  return 1;
}

/* cert:signatureAlgorithm() → name (nil when OpenSSL has none), object identifier */
static int x509_signature_algorithm(lua_State *L)
{
  const X509_ALGOR *algorithm;
  const ASN1_OBJECT *object;
  char oid[80];
  X509_get0_signature(NULL, &algorithm, self(L));
  X509_ALGOR_get0(&object, NULL, NULL, algorithm);
  int nid = OBJ_obj2nid(object);
  OBJ_obj2txt(oid, sizeof(oid), object, 1);
  lua_pushstring(L, nid == NID_undef ? NULL : OBJ_nid2ln(nid));
  lua_pushstring(L, oid);
  return 2;
}

/* cert:legacy() → table */
static int x509_legacy(lua_State *L)
{
  ml_push_certificate(L, self(L));
  return 1;
}

/* cert:publicKey() → key | nil, Error */
static int x509_public_key(lua_State *L)
{
  struct ml_error err;
  ERR_clear_error();
  EVP_PKEY *key = X509_get0_pubkey(self(L));
  if (!key) {
    ml_error_openssl(&err, "The certificate's key cannot be read");
    return ml_fail(L, &err);
  }
  ml_push_key(L, key, 0);
  return 1;
}

/* cert:issuerCertificate() → handle or nil */
static int x509_issuer_certificate(lua_State *L)
{
  struct x509 *x509 = ml_object_self(L);
  X509 *issuer = ml_cert_issuer_in(self(L), x509->chain);
  if (!issuer) return 0;
  ml_push_x509(L, issuer, x509->chain);
  return 1;
}

/* Arguments from 3 on of the name checks: subject ("default", "always", "never"), wildcards,
 * partialWildcards, multiLabelWildcards, singleLabelSubdomains. */
static unsigned check_flags(lua_State *L)
{
  static const char *const subjects[] = {"default", "always", "never", NULL};
  static const unsigned subject_flags[] = {0, X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT,
                                           X509_CHECK_FLAG_NEVER_CHECK_SUBJECT};
  unsigned flags = subject_flags[luaL_checkoption(L, 3, "default", subjects)];
  if (!lua_toboolean(L, 4)) flags |= X509_CHECK_FLAG_NO_WILDCARDS;
  if (!lua_toboolean(L, 5)) flags |= X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  if (lua_toboolean(L, 6)) flags |= X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS;
  if (lua_toboolean(L, 7)) flags |= X509_CHECK_FLAG_SINGLE_LABEL_SUBDOMAINS;
  return flags;
}

/* Pushes the result of a name check: the name on a match, false on none, nil for an impossible name
 * or a failure. */
static int push_check(lua_State *L, int result)
{
  ERR_clear_error();
  if (result == 1)
    lua_pushvalue(L, 2);
  else if (result == 0)
    lua_pushboolean(L, 0);
  else
    lua_pushnil(L);
  return 1;
}

/* cert:checkHost(name, …flags) → the name in the certificate that matched | false | nil */
static int x509_check_host(lua_State *L)
{
  size_t len;
  char *matched = NULL;
  X509 *cert = self(L);
  const char *name = luaL_checklstring(L, 2, &len);
  unsigned flags = check_flags(L);
  BIO *scratch = ml_scratch(L);
  int result = X509_check_host(cert, name, len, flags, &matched);
  if (matched) BIO_puts(scratch, matched);
  OPENSSL_free(matched);
  if (result != 1 || BIO_pending(scratch) == 0) return push_check(L, result);
  ml_push_scratch(L, scratch);
  return 1;
}

static int x509_check_email(lua_State *L)
{
  size_t len;
  X509 *cert = self(L);
  const char *name = luaL_checklstring(L, 2, &len);
  return push_check(L, X509_check_email(cert, name, len, check_flags(L)));
}

static int x509_check_ip(lua_State *L)
{
  X509 *cert = self(L);
  const char *ip = luaL_checkstring(L, 2);
  return push_check(L, X509_check_ip_asc(cert, ip, check_flags(L)));
}

/* cert:checkIssued(issuer) */
static int x509_check_issued(lua_State *L)
{
  lua_pushboolean(L, ml_cert_issued(ml_check_x509(L, 2), self(L)));
  return 1;
}

static int x509_check_private_key(lua_State *L)
{
  int same = X509_check_private_key(self(L), ml_check_key(L, 2));
  ERR_clear_error();
  lua_pushboolean(L, same == 1);
  return 1;
}

/* cert:verify(key): is the signature that key's? */
static int x509_verify(lua_State *L)
{
  int valid = X509_verify(self(L), ml_check_key(L, 2));
  ERR_clear_error();
  lua_pushboolean(L, valid == 1);
  return 1;
}

static const luaL_Reg methods[] = {
    {"subject", x509_subject},
    {"issuer", x509_issuer},
    {"subjectAltName", x509_subject_alt_name},
    {"infoAccess", x509_info_access},
    {"validity", x509_validity},
    {"fingerprint", x509_fingerprint},
    {"purposes", x509_purposes},
    {"serial", x509_serial},
    {"raw", x509_raw},
    {"pem", x509_pem},
    {"isCA", x509_is_ca},
    {"signatureAlgorithm", x509_signature_algorithm},
    {"legacy", x509_legacy},
    {"publicKey", x509_public_key},
    {"issuerCertificate", x509_issuer_certificate},
    {"checkHost", x509_check_host},
    {"checkEmail", x509_check_email},
    {"checkIP", x509_check_ip},
    {"checkIssued", x509_check_issued},
    {"checkPrivateKey", x509_check_private_key},
    {"verify", x509_verify},
    {NULL, NULL},
};

void ml_open_x509(lua_State *L)
{
  ml_open_key(L);
  ml_class_register(L, X509_CLASS, methods, x509_gc);
  ml_class_constructor(L, lua_gettop(L), native_x509);
  lua_setfield(L, 1, "x509");
  lua_pop(L, 1);
}

/* Certificates as the plain tables that getPeerCertificate() gives. */
#include <openssl/err.h>
#include <string.h>

#include "bindings.h"
#include "certinfo.h"
#include "scratch.h"
#include "x509.h"

/* Sets field `name` of the table on top to what was written; leaves it out when nothing was. */
static void set_written(lua_State *L, const char *name, BIO *scratch, int written)
{
  if (written <= 0) return;
  ml_push_scratch(L, scratch);
  lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, int value)
{
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

/* Takes one counted piece off `*data` and pushes it (ml_cert_write_attributes). */
static void push_counted(lua_State *L, const char **data)
{
  size_t len;
  memcpy(&len, *data, sizeof(len));
  lua_pushlstring(L, *data + sizeof(len), len);
  *data += sizeof(len) + len;
}

/* With the value on top and the table of values below it: a first value stands alone, more make a
 * sequence. */
static void add_value(lua_State *L, int key)
{
  lua_pushvalue(L, key);
  lua_rawget(L, -3);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushvalue(L, key);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    return;
  }
  if (!lua_istable(L, -1)) {
    lua_createtable(L, 2, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, key);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
  }
  lua_insert(L, -2);
  lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
  lua_pop(L, 1);
}

/* Pushes { CN = "a", OU = { "b", "c" } }, or nil when a value cannot be read. */
static void push_name(lua_State *L, const X509_NAME *name)
{
  BIO *scratch = ml_scratch(L);
  char *data;
  if (ml_cert_write_attributes(scratch, name) < 0) {
    lua_pushnil(L);
    return;
  }
  const char *next = data = NULL;
  long len = BIO_get_mem_data(scratch, &data);
  lua_createtable(L, 0, 4);
  for (next = data; next < data + len;) {
    push_counted(L, &next);
    int key = lua_gettop(L);
    lua_pushvalue(L, key - 1);
    push_counted(L, &next);
    add_value(L, key);
    lua_settop(L, key - 1);
  }
}

/* Pushes the character that \u00XX stands for in UTF-8; all that certinfo writes are Latin-1. */
static void add_code(luaL_Buffer *buffer, const char *hex)
{
  char digits[5] = {hex[0], hex[1], hex[2], hex[3], '\0'};
  unsigned code = (unsigned)strtoul(digits, NULL, 16);
  if (code >= 0x80) {
    luaL_addchar(buffer, (char)(0xc0 | code >> 6));
    code = 0x80 | (code & 0x3f);
  }
  luaL_addchar(buffer, (char)code);
}

/* Pushes a value of the info access list with its quotes and escapes taken off. */
static void push_unquoted(lua_State *L, const char *from, const char *end)
{
  luaL_Buffer buffer;
  if (from == end || *from != '"') {
    lua_pushlstring(L, from, (size_t)(end - from));
    return;
  }
  luaL_buffinit(L, &buffer);
  for (const char *c = from + 1; c < end - 1; c++) {
    if (*c != '\\') {
      luaL_addchar(&buffer, *c);
    } else if (c[1] == 'u') {
      add_code(&buffer, c + 2);
      c += 5;
    } else {
      luaL_addchar(&buffer, *++c);
    }
  }
  luaL_pushresult(&buffer);
}

/* Sets infoAccess: { ["OCSP - URI"] = { "http://…" } }. */
static void set_info_access(lua_State *L, X509 *cert)
{
  BIO *scratch = ml_scratch(L);
  if (ml_cert_write_info_access(scratch, cert) <= 0) return;
  char *data;
  long len = BIO_get_mem_data(scratch, &data);
  const char *end = data + len;
  lua_createtable(L, 0, 2);
  while (data < end) {
    const char *colon = memchr(data, ':', (size_t)(end - data));
    const char *stop = memchr(data, '\n', (size_t)(end - data));
    if (!stop) stop = end;
    if (!colon) break;
    lua_pushlstring(L, data, (size_t)(colon - data));
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      lua_createtable(L, 1, 0);
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, -5);
    }
    push_unquoted(L, colon + 1, stop);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    lua_pop(L, 2);
    data = (char *)stop + 1;
  }
  lua_setfield(L, -2, "infoAccess");
}

static void set_key_fields(lua_State *L, X509 *cert)
{
  EVP_PKEY *key = X509_get0_pubkey(cert);
  const char *nist;
  if (!key) return;
  BIO *scratch = ml_scratch(L);
  set_written(L, "modulus", scratch, ml_cert_write_modulus(scratch, key));
  scratch = ml_scratch(L);
  set_written(L, "exponent", scratch, ml_cert_write_exponent(scratch, key));
  scratch = ml_scratch(L);
  set_written(L, "pubkey", scratch, ml_cert_write_public(scratch, key));
  if (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "EC"))
    set_integer(L, "bits", EVP_PKEY_get_bits(key));
  const char *curve = ml_cert_curve(key, &nist);
  if (curve) {
    lua_pushstring(L, curve);
    lua_setfield(L, -2, "asn1Curve");
  }
  if (nist) {
    lua_pushstring(L, nist);
    lua_setfield(L, -2, "nistCurve");
  }
}

static void set_fingerprints(lua_State *L, X509 *cert)
{
  static const char *const fields[][2] = {
      {"fingerprint", "SHA1"}, {"fingerprint256", "SHA256"}, {"fingerprint512", "SHA512"}};
  for (size_t i = 0; i < 3; i++) {
    BIO *scratch = ml_scratch(L);
    set_written(L, fields[i][0], scratch, ml_cert_write_fingerprint(scratch, cert, fields[i][1]));
  }
}

static void set_times(lua_State *L, X509 *cert)
{
  BIO *scratch = ml_scratch(L);
  set_written(L, "valid_from", scratch, ml_cert_write_time(scratch, X509_get0_notBefore(cert)));
  scratch = ml_scratch(L);
  set_written(L, "valid_to", scratch, ml_cert_write_time(scratch, X509_get0_notAfter(cert)));
}

void ml_push_certificate(lua_State *L, X509 *cert)
{
  luaL_checkstack(L, 12, "certificate");
  lua_createtable(L, 0, 20);
  push_name(L, X509_get_subject_name(cert));
  lua_setfield(L, -2, "subject");
  push_name(L, X509_get_issuer_name(cert));
  lua_setfield(L, -2, "issuer");
  BIO *scratch = ml_scratch(L);
  set_written(L, "subjectaltname", scratch, ml_cert_write_alt_names(scratch, cert));
  set_info_access(L, cert);
  lua_pushboolean(L, ml_cert_is_ca(cert));
  lua_setfield(L, -2, "ca");
  set_key_fields(L, cert);
  set_times(L, cert);
  set_fingerprints(L, cert);
  scratch = ml_scratch(L);
  if (ml_cert_write_purposes(scratch, cert) > 0) {
    ml_push_lines(L, scratch);
    lua_setfield(L, -2, "ext_key_usage");
  }
  scratch = ml_scratch(L);
  set_written(L, "serialNumber", scratch, ml_cert_write_serial(scratch, cert));
  scratch = ml_scratch(L);
  set_written(L, "raw", scratch, i2d_X509_bio(scratch, cert));
}

/* Chains */

/* A reference of the caller's, or NULL. */
static X509 *issuer_in_store(X509 *cert, X509_STORE *store)
{
  X509 *issuer = NULL;
  ERR_set_mark();
  X509_STORE_CTX *ctx = X509_STORE_CTX_new();
  if (!ctx || X509_STORE_CTX_init(ctx, store, NULL, NULL) != 1 ||
      X509_STORE_CTX_get1_issuer(&issuer, ctx, cert) != 1)
    issuer = NULL;
  X509_STORE_CTX_free(ctx);
  ERR_pop_to_mark();
  return issuer;
}

/* Longer chains than OpenSSL verifies by default are cut, loops of cross-signed certificates too.
 */
#define MAX_LINKS 100

void ml_push_certificate_chain(lua_State *L, X509 *cert, STACK_OF(X509) * chain, X509_STORE *store)
{
  luaL_checkstack(L, 8, "certificate");
  ml_push_certificate(L, cert);
  X509 **held = ml_new_x509(L); /* what came from the store lives as long as this handle */
  lua_pushvalue(L, -2);         /* stack: first, handle, the table to hang the next link on */
  for (int links = 0; links < MAX_LINKS; links++) {
    if (ml_cert_issued(cert, cert)) {
      lua_pushvalue(L, -1);
      lua_setfield(L, -2, "issuerCertificate");
      break;
    }
    X509 *issuer = ml_cert_issuer_in(cert, chain);
    if (!issuer && store && (issuer = issuer_in_store(cert, store)) != NULL) {
      X509 *before = *held;
      *held = issuer;
      if (X509_cmp(issuer, cert) == 0) issuer = NULL;
      X509_free(before);
    }
    if (!issuer) break;
    ml_push_certificate(L, issuer);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "issuerCertificate");
    lua_remove(L, -2);
    cert = issuer;
  }
  lua_pop(L, 2);
}

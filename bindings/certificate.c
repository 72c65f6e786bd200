/* Certificates as the plain tables that getPeerCertificate() gives. */
#include <stdlib.h>
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
  if (ml_cert_write_attributes(scratch, name) < 0) {
    lua_pushnil(L);
    return;
  }
  const char *end;
  const char *next = ml_scratch_text(scratch, &end);
  lua_createtable(L, 0, 4);
  while (next < end) {
    push_counted(L, &next);
    int key = lua_gettop(L);
    lua_pushvalue(L, key - 1);
    push_counted(L, &next);
    add_value(L, key);
    lua_settop(L, key - 1);
  }
}

/* Writes the character that "00XX" stands for in UTF-8 at `out`; all that certinfo writes are
 * Latin-1. Returns the place after it. */
static char *put_code(char *out, const char *hex)
{
  char digits[5] = {hex[0], hex[1], hex[2], hex[3], '\0'};
  unsigned code = (unsigned)strtoul(digits, NULL, 16);
  if (code >= 0x80) {
    *out++ = (char)(0xc0 | code >> 6);
    code = 0x80 | (code & 0x3f);
  }
  *out++ = (char)code;
  return out;
}

/* Takes quotes and escapes off a value of the info access list, in place; returns its new length.
 */
static size_t unquote(char *value, size_t len)
{
  if (len < 2 || value[0] != '"') return len;
  char *out = value;
  const char *end = value + len - 1;
  for (const char *c = value + 1; c < end; c++) {
    if (*c == '\\' && c[1] == 'u') {
      out = put_code(out, c + 2);
      c += 5;
    } else {
      if (*c == '\\') c++;
      *out++ = *c;
    }
  }
  return (size_t)(out - value);
}

/* Adds one line, "OCSP - URI:http://…", to the table on top: { ["OCSP - URI"] = { "http://…" } }.
 */
static void add_access(lua_State *L, char *line, size_t len)
{
  char *colon = memchr(line, ':', len);
  if (!colon) return;
  lua_pushlstring(L, line, (size_t)(colon - line));
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
  }
  char *value = colon + 1;
  lua_pushlstring(L, value, unquote(value, (size_t)(line + len - value)));
  lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
  lua_pop(L, 2);
}

static void set_info_access(lua_State *L, X509 *cert)
{
  BIO *scratch = ml_scratch(L);
  if (ml_cert_write_info_access(scratch, cert) <= 0) return;
  const char *end;
  char *line = ml_scratch_text(scratch, &end);
  lua_createtable(L, 0, 2);
  while (line < end) {
    char *stop = memchr(line, '\n', (size_t)(end - line));
    size_t n = stop ? (size_t)(stop - line) : (size_t)(end - line);
    add_access(L, line, n);
    line += n + 1;
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
    X509 *issuer = ml_cert_issued(cert, cert) ? cert : ml_cert_issuer_in(cert, chain);
    X509 *before = NULL;
    if (!issuer && store && (issuer = ml_cert_issuer_in_store(cert, store)) != NULL) {
      before = *held;
      *held = issuer;
    }
    /* One that is trusted is its own issuer even if its key usage forbids it. */
    bool own = issuer && X509_cmp(issuer, cert) == 0;
    X509_free(before);
    if (!issuer) break;
    if (own) {
      lua_pushvalue(L, -1);
      lua_setfield(L, -2, "issuerCertificate");
      break;
    }
    ml_push_certificate(L, issuer);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "issuerCertificate");
    lua_remove(L, -2);
    cert = issuer;
  }
  lua_pop(L, 2);
}

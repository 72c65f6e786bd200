/* native.makeCertificate, makeRevocationList, makePfx, makeOcspResponse: what the specs'
 * certificates are made with.
 *
 * The plans of runtime/certmaker.h and ocspmaker.h are filled from one table each. Strings stay
 * where they are, in the tables; arrays are userdata left on the stack, so that an error on the way
 * leaks nothing. */
#include "certmaker.h"

#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <string.h>

#include "bindings.h"
#include "keys.h"
#include "ocspmaker.h"
#include "scratch.h"
#include "spec.h"
#include "x509.h"

/* Fields of the table at `index` */

static const char *get_text(lua_State *L, int index, const char *name, size_t *len)
{
  lua_getfield(L, index, name);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "field '%s' must be a string", name);
  const char *text = lua_tolstring(L, -1, len);
  lua_pop(L, 1);
  return text;
}

static const char *need_text(lua_State *L, int index, const char *name, size_t *len)
{
  const char *text = get_text(L, index, name, len);
  if (!text) luaL_error(L, "field '%s' is missing", name);
  return text;
}

static lua_Number get_number(lua_State *L, int index, const char *name, lua_Number otherwise)
{
  lua_getfield(L, index, name);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
    luaL_error(L, "field '%s' must be a number", name);
  lua_Number number = lua_isnil(L, -1) ? otherwise : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return number;
}

static bool get_flag(lua_State *L, int index, const char *name)
{
  lua_getfield(L, index, name);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

/* Handles in fields outlive their use here as the strings do. */
static EVP_PKEY *get_key(lua_State *L, int index, const char *name)
{
  lua_getfield(L, index, name);
  EVP_PKEY *key = lua_isnil(L, -1) ? NULL : ml_check_key(L, lua_gettop(L));
  lua_pop(L, 1);
  return key;
}

static X509 *get_cert(lua_State *L, int index, const char *name)
{
  lua_getfield(L, index, name);
  X509 *cert = lua_isnil(L, -1) ? NULL : ml_check_x509(L, lua_gettop(L));
  lua_pop(L, 1);
  return cert;
}

/* Reads one element of a list, the table at `index`, into one element of an array. */
typedef void (*element_reader)(lua_State *L, int index, void *element);

/* Reads the list in field `name` into an array of `size`-byte elements, which stays on the stack.
 */
static void *get_list(lua_State *L, const char *name, size_t size, element_reader read,
                      size_t *count)
{
  *count = 0;
  lua_getfield(L, 1, name);
  if (lua_isnil(L, -1)) return NULL;
  luaL_checktype(L, lua_gettop(L), LUA_TTABLE);
  int list = lua_gettop(L);
  size_t n = lua_objlen(L, list);
  char *array = lua_newuserdata(L, n ? n * size : 1);
  memset(array, 0, n * size);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    luaL_checktype(L, lua_gettop(L), LUA_TTABLE);
    read(L, lua_gettop(L), array + i * size);
    lua_pop(L, 1);
  }
  *count = n;
  return array;
}

static void read_attribute(lua_State *L, int index, void *element)
{
  struct ml_name_attribute *attribute = element;
  attribute->type = need_text(L, index, "type", NULL);
  attribute->value = need_text(L, index, "value", &attribute->len);
  attribute->tag = (int)get_number(L, index, "tag", 0);
  attribute->joined = get_flag(L, index, "joined");
}

static void read_alt_name(lua_State *L, int index, void *element)
{
  static const char *const kinds[] = {"DNS", "email",   "URI",       "IP", "IP bytes",
                                      "RID", "dirName", "otherName", NULL};
  struct ml_alt_name *name = element;
  lua_getfield(L, index, "kind");
  name->kind = (enum ml_alt_kind)luaL_checkoption(L, lua_gettop(L), NULL, kinds);
  lua_pop(L, 1);
  name->value = need_text(L, index, "value", &name->len);
  if (name->kind != ML_ALT_OTHER) return;
  name->oid = need_text(L, index, "oid", NULL);
  name->tag = (int)get_number(L, index, "tag", V_ASN1_UTF8STRING);
}

static void read_access(lua_State *L, int index, void *element)
{
  struct ml_info_access *access = element;
  access->method = need_text(L, index, "method", NULL);
  read_alt_name(L, index, &access->location);
}

static void read_extension(lua_State *L, int index, void *element)
{
  struct ml_cert_extension *extension = element;
  extension->name = need_text(L, index, "name", NULL);
  extension->value = need_text(L, index, "value", &extension->len);
  extension->der = get_flag(L, index, "der");
  extension->critical = get_flag(L, index, "critical");
}

static void read_plan(lua_State *L, struct ml_cert_plan *plan)
{
  memset(plan, 0, sizeof(*plan));
  plan->key = get_key(L, 1, "key");
  plan->issuer = get_cert(L, 1, "issuer");
  plan->issuer_key = get_key(L, 1, "issuerKey");
  if (!plan->key) luaL_error(L, "field 'key' is missing");
  if (plan->issuer && !plan->issuer_key) luaL_error(L, "field 'issuerKey' is missing");
  plan->digest = get_text(L, 1, "digest", NULL);
  plan->serial = get_text(L, 1, "serial", NULL);
  plan->not_before = (int64_t)get_number(L, 1, "notBefore", 0);
  plan->not_after = (int64_t)get_number(L, 1, "notAfter", 0);
  plan->version = (int)get_number(L, 1, "version", 3);
  plan->names_critical = get_flag(L, 1, "namesCritical");
  plan->spoil_signature = get_flag(L, 1, "spoilSignature");
  plan->subject =
      get_list(L, "subject", sizeof(*plan->subject), read_attribute, &plan->subject_count);
  plan->names = get_list(L, "names", sizeof(*plan->names), read_alt_name, &plan->name_count);
  plan->access = get_list(L, "access", sizeof(*plan->access), read_access, &plan->access_count);
  plan->extensions =
      get_list(L, "extensions", sizeof(*plan->extensions), read_extension, &plan->extension_count);
}

/* makeCertificate(plan) → handle | nil, Error */
static int native_make_certificate(lua_State *L)
{
  struct ml_error err;
  struct ml_cert_plan plan;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkstack(L, 20, "certificate");
  read_plan(L, &plan);
  X509 **place = ml_new_x509(L);
  return ml_cert_make(place, &plan, &err) ? ml_fail(L, &err) : 1;
}

/* A box for what must be freed when Lua raises before it is handed on. */
struct box {
  X509_CRL *crl;
  STACK_OF(X509) * chain;
};

static int box_gc(lua_State *L)
{
  struct box *box = lua_touserdata(L, 1);
  X509_CRL_free(box->crl);
  sk_X509_free(box->chain); /* the handles own the certificates */
  return 0;
}

static struct box *push_box(lua_State *L)
{
  struct box *box = lua_newuserdata(L, sizeof(*box));
  memset(box, 0, sizeof(*box));
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, box_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return box;
}

/* Field `serials`, a list of strings, as an array that stays on the stack. */
static const char *const *get_serials(lua_State *L, size_t *count)
{
  lua_getfield(L, 1, "serials");
  luaL_checktype(L, lua_gettop(L), LUA_TTABLE);
  int list = lua_gettop(L);
  *count = lua_objlen(L, list);
  const char **array = lua_newuserdata(L, (*count + 1) * sizeof(*array));
  for (size_t i = 0; i < *count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    luaL_checktype(L, lua_gettop(L), LUA_TSTRING);
    array[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  return array;
}

/* makeRevocationList{ issuer=, issuerKey=, lastUpdate=, nextUpdate=, number=, serials={}, digest= }
 * → PEM | nil, Error
 */
static int native_make_revocation_list(lua_State *L)
{
  struct ml_error err;
  struct ml_crl_plan plan;
  luaL_checktype(L, 1, LUA_TTABLE);
  plan.issuer = get_cert(L, 1, "issuer");
  plan.issuer_key = get_key(L, 1, "issuerKey");
  if (!plan.issuer || !plan.issuer_key) luaL_error(L, "an issuer and its key are needed");
  plan.digest = get_text(L, 1, "digest", NULL);
  plan.last_update = (int64_t)get_number(L, 1, "lastUpdate", 0);
  plan.next_update = (int64_t)get_number(L, 1, "nextUpdate", 0);
  plan.number = (long)get_number(L, 1, "number", 1);
  plan.serials = get_serials(L, &plan.serial_count);
  struct box *box = push_box(L);
  if (ml_crl_make(&box->crl, &plan, &err)) return ml_fail(L, &err);
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, PEM_write_bio_X509_CRL(scratch, box->crl));
  return 1;
}

/* makePfx(key, cert, { chain… }, passphrase) → DER | nil, Error */
static int native_make_pfx(lua_State *L)
{
  struct ml_error err;
  EVP_PKEY *key = ml_check_key(L, 1);
  X509 *cert = ml_check_x509(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  const char *passphrase = luaL_optstring(L, 4, NULL);
  struct box *box = push_box(L);
  box->chain = sk_X509_new_null();
  for (int i = 1; i <= (int)lua_objlen(L, 3); i++) {
    lua_rawgeti(L, 3, i);
    if (sk_X509_push(box->chain, ml_check_x509(L, lua_gettop(L))) <= 0)
      luaL_error(L, "not enough memory");
    lua_pop(L, 1);
  }
  BIO *scratch = ml_scratch(L);
  if (ml_pkcs12_write(scratch, key, cert, box->chain, passphrase, &err)) return ml_fail(L, &err);
  ml_push_scratch(L, scratch);
  return 1;
}

static void read_statement(lua_State *L, int index, void *element)
{
  static const char *const statuses[] = {"good", "revoked", "unknown", NULL};
  struct ml_ocsp_statement *statement = element;
  statement->cert = get_cert(L, index, "cert");
  statement->issuer = get_cert(L, index, "issuer");
  if (!statement->cert || !statement->issuer)
    luaL_error(L, "a certificate and its issuer are needed");
  lua_getfield(L, index, "status");
  statement->status = luaL_checkoption(L, lua_gettop(L), "good", statuses);
  lua_pop(L, 1);
  statement->reason = (int)get_number(L, index, "reason", OCSP_REVOKED_STATUS_NOSTATUS);
  statement->revoked_at = (int64_t)get_number(L, index, "revokedAt", 0);
  statement->this_update = (int64_t)get_number(L, index, "thisUpdate", 0);
  statement->next_update = (int64_t)get_number(L, index, "nextUpdate", 0);
}

/* makeOcspResponse{ responseStatus=, statements={ { cert=, issuer=, status=, … } }, signer=,
 * signerKey=, idDigest=, nonce=, spoilSignature= } → DER | nil, Error */
static int native_make_ocsp_response(lua_State *L)
{
  struct ml_error err;
  struct ml_ocsp_plan plan = {0};
  luaL_checktype(L, 1, LUA_TTABLE);
  plan.response_status = (int)get_number(L, 1, "responseStatus", OCSP_RESPONSE_STATUS_SUCCESSFUL);
  plan.signer = get_cert(L, 1, "signer");
  plan.signer_key = get_key(L, 1, "signerKey");
  if (!plan.signer || !plan.signer_key) luaL_error(L, "a signer and its key are needed");
  plan.id_digest = get_text(L, 1, "idDigest", NULL);
  plan.nonce = get_text(L, 1, "nonce", &plan.nonce_len);
  plan.spoil_signature = get_flag(L, 1, "spoilSignature");
  plan.statements =
      get_list(L, "statements", sizeof(*plan.statements), read_statement, &plan.statement_count);
  BIO *scratch = ml_scratch(L);
  if (ml_ocsp_make(scratch, &plan, &err)) return ml_fail(L, &err);
  ml_push_scratch(L, scratch);
  return 1;
}

static const luaL_Reg functions[] = {
    {"makeCertificate", native_make_certificate},
    {"makeRevocationList", native_make_revocation_list},
    {"makePfx", native_make_pfx},
    {"makeOcspResponse", native_make_ocsp_response},
    {NULL, NULL},
};

void ml_open_certmaker(lua_State *L)
{
  lua_pushvalue(L, 1);
  luaL_register(L, NULL, functions);
  lua_pop(L, 1);
  ml_open_census(L);
  ml_open_tempdir(L);
}

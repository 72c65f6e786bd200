/* Keys: native.privateKey, native.publicKey, native.makeKey and the handle they give. */
#include "keys.h"

#include <string.h>

#include "bindings.h"
#include "scratch.h"
#include "x509.h"

#define KEY_CLASS "moonlatch.key"

struct key {
  EVP_PKEY *pkey;
  int is_private;
};

static int key_gc(lua_State *L)
{
  struct key *key = lua_touserdata(L, 1);
  EVP_PKEY_free(key->pkey);
  key->pkey = NULL;
  return 0;
}

/* Pushes a new key, empty: the caller fills it in. */
static EVP_PKEY **new_key(lua_State *L, int is_private)
{
  struct key *key = lua_newuserdata(L, sizeof(*key));
  key->pkey = NULL;
  key->is_private = is_private;
  luaL_getmetatable(L, KEY_CLASS);
  lua_setmetatable(L, -2);
  return &key->pkey;
}

void ml_push_key(lua_State *L, EVP_PKEY *pkey, int is_private)
{
  EVP_PKEY **place = new_key(L, is_private);
  EVP_PKEY_up_ref(pkey);
  *place = pkey;
}

EVP_PKEY *ml_check_key(lua_State *L, int index)
{
  struct key *key = ml_object_check(L, index, KEY_CLASS);
  luaL_argcheck(L, key->pkey, index, "a key expected");
  return key->pkey;
}

static EVP_PKEY *self(lua_State *L)
{
  struct key *key = ml_object_self(L);
  if (!key->pkey) luaL_error(L, "bad self");
  return key->pkey;
}

static const char *check_bytes(lua_State *L, int index, size_t *len)
{
  luaL_checktype(L, index, LUA_TSTRING);
  return lua_tolstring(L, index, len);
}

/* privateKey(PEM or DER [, passphrase]) → key | nil, Error */
static int native_private_key(lua_State *L)
{
  struct ml_error err;
  size_t len;
  const char *data = check_bytes(L, 1, &len);
  const char *passphrase = luaL_optstring(L, 2, NULL);
  EVP_PKEY **place = new_key(L, 1);
  return ml_key_read_private(place, data, len, passphrase, &err) ? ml_fail(L, &err) : 1;
}

/* publicKey(PEM or DER [, passphrase]) → key | nil, Error */
static int native_public_key(lua_State *L)
{
  struct ml_error err;
  size_t len;
  const char *data = check_bytes(L, 1, &len);
  const char *passphrase = luaL_optstring(L, 2, NULL);
  EVP_PKEY **place = new_key(L, 0);
  return ml_key_read_public(place, data, len, passphrase, &err) ? ml_fail(L, &err) : 1;
}

/* makeKey("ec:P-256") → key | nil, Error; kinds as in runtime/keys.h */
static int native_make_key(lua_State *L)
{
  struct ml_error err;
  const char *kind = luaL_checkstring(L, 1);
  EVP_PKEY **place = new_key(L, 1);
  return ml_key_make(place, kind, &err) ? ml_fail(L, &err) : 1;
}

/* key:type() → "rsa", "ec", … or nil */
static int key_type(lua_State *L)
{
  lua_pushstring(L, ml_key_type(self(L)));
  return 1;
}

/* key:isPrivate() */
static int key_is_private(lua_State *L)
{
  struct key *key = ml_object_self(L);
  lua_pushboolean(L, key->is_private);
  return 1;
}

static void set_text(lua_State *L, const char *name, const char *value)
{
  if (!*value) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, int value)
{
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

/* key:details() → asymmetricKeyDetails */
static int key_details(lua_State *L)
{
  struct ml_key_details details;
  ml_key_describe(self(L), &details);
  lua_createtable(L, 0, 5);
  if (details.modulus_length) set_integer(L, "modulusLength", details.modulus_length);
  if (details.divisor_length) set_integer(L, "divisorLength", details.divisor_length);
  set_text(L, "publicExponent", details.public_exponent);
  set_text(L, "namedCurve", details.named_curve);
  if (details.restricted) {
    set_text(L, "hashAlgorithm", details.hash_algorithm);
    set_text(L, "mgf1HashAlgorithm", details.mgf1_hash_algorithm);
    set_integer(L, "saltLength", details.salt_length);
  }
  return 1;
}

/* key:export(form, der [, passphrase]) → bytes | nil, Error */
static int key_export(lua_State *L)
{
  static const char *const forms[] = {"pkcs8", "spki", "own-private", "own-public", NULL};
  struct ml_error err;
  struct key *key = ml_object_self(L);
  EVP_PKEY *pkey = self(L);
  int form = luaL_checkoption(L, 2, NULL, forms);
  const char *passphrase = luaL_optstring(L, 4, NULL);
  bool secret = form == ML_KEY_PKCS8 || form == ML_KEY_OWN_PRIVATE;
  luaL_argcheck(L, key->is_private || !secret, 2, "the key is public");
  BIO *scratch = ml_scratch(L);
  if (ml_key_write(scratch, pkey, (enum ml_key_form)form, lua_toboolean(L, 3), passphrase, &err))
    return ml_fail(L, &err);
  ml_push_scratch(L, scratch);
  (void)BIO_reset(scratch); /* which overwrites it with zeros */
  return 1;
}

/* key:public() → the public half */
static int key_public(lua_State *L)
{
  ml_push_key(L, self(L), 0);
  return 1;
}

/* key:equals(other): the same public half and, for two private keys, the same key */
static int key_equals(lua_State *L)
{
  lua_pushboolean(L, EVP_PKEY_eq(self(L), ml_check_key(L, 2)) == 1);
  return 1;
}

static const luaL_Reg methods[] = {
    {"type", key_type},     {"isPrivate", key_is_private}, {"details", key_details},
    {"export", key_export}, {"public", key_public},        {"equals", key_equals},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"privateKey", native_private_key},
    {"publicKey", native_public_key},
    {"makeKey", native_make_key},
    {NULL, NULL},
};

void ml_open_key(lua_State *L)
{
  ml_class_register(L, KEY_CLASS, methods, key_gc);
  lua_pop(L, 1);
  lua_pushvalue(L, 1);
  luaL_register(L, NULL, functions);
  lua_pop(L, 1);
}

/* native.hash and hmac, random bytes, lists of algorithms, constants. */
#include <openssl/crypto.h>
#include <string.h>

#include "bindings.h"
#include "constants.h"
#include "digest.h"
#include "scratch.h"

#define HASH_CLASS "moonlatch.hash"

struct hash {
  struct ml_digest *digest; /* NULL when it has been taken */
};

static int hash_gc(lua_State *L)
{
  struct hash *hash = lua_touserdata(L, 1);
  ml_digest_free(hash->digest);
  hash->digest = NULL;
  return 0;
}

static struct hash *new_hash(lua_State *L)
{
  struct hash *hash = lua_newuserdata(L, sizeof(*hash));
  hash->digest = NULL;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, -2);
  return hash;
}

static struct ml_digest *self(lua_State *L)
{
  struct hash *hash = ml_object_self(L);
  if (!hash->digest) luaL_error(L, "the digest has been taken");
  return hash->digest;
}

/* hash(algorithm [, output bytes]) → hash | nil, Error */
static int native_hash(lua_State *L)
{
  struct ml_error err;
  const char *algorithm = luaL_checkstring(L, 1);
  lua_settop(L, 2);
  struct hash *hash = new_hash(L);
  if (ml_hash_new(&hash->digest, algorithm, &err)) return ml_fail(L, &err);
  if (!lua_isnoneornil(L, 2) &&
      ml_hash_check_size(hash->digest, (size_t)luaL_checknumber(L, 2), &err))
    return ml_fail(L, &err);
  return 1;
}

/* hmac(algorithm, key) → hash | nil, Error */
static int native_hmac(lua_State *L)
{
  struct ml_error err;
  size_t len;
  const char *algorithm = luaL_checkstring(L, 1);
  const char *key = luaL_checklstring(L, 2, &len);
  struct hash *hash = new_hash(L);
  return ml_hmac_new(&hash->digest, algorithm, key, len, &err) ? ml_fail(L, &err) : 1;
}

/* hash:update(bytes) → true | nil, Error */
static int hash_update(lua_State *L)
{
  struct ml_error err;
  size_t len;
  struct ml_digest *digest = self(L);
  const char *data = luaL_checklstring(L, 2, &len);
  if (ml_digest_update(digest, data, len, &err)) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* hash:copy([output bytes]) → hash | nil, Error */
static int hash_copy(lua_State *L)
{
  struct ml_error err;
  const struct ml_digest *digest = self(L);
  lua_settop(L, 2);
  struct hash *copy = new_hash(L);
  if (ml_hash_copy(&copy->digest, digest, &err)) return ml_fail(L, &err);
  if (!lua_isnoneornil(L, 2) &&
      ml_hash_check_size(copy->digest, (size_t)luaL_checknumber(L, 2), &err))
    return ml_fail(L, &err);
  return 1;
}

/* hash:digest([length]) → bytes | nil, Error; the hash is of no use afterwards */
static int hash_digest(lua_State *L)
{
  struct ml_error err;
  struct hash *hash = ml_object_self(L);
  struct ml_digest *digest = self(L);
  lua_Number wanted = luaL_optnumber(L, 2, (lua_Number)ml_digest_size(digest));
  size_t len = (size_t)wanted;
  uint8_t *out = lua_newuserdata(L, len ? len : 1);
  hash->digest = NULL;
  int failed = ml_digest_final(digest, out, len, &err);
  ml_digest_free(digest);
  if (failed) return ml_fail(L, &err);
  lua_pushlstring(L, (const char *)out, len);
  return 1;
}

/* random(n) → bytes | nil, Error */
static int native_random(lua_State *L)
{
  struct ml_error err;
  size_t len = (size_t)luaL_checknumber(L, 1);
  void *out = lua_newuserdata(L, len ? len : 1);
  if (ml_random(out, len, &err)) return ml_fail(L, &err);
  lua_pushlstring(L, out, len);
  OPENSSL_cleanse(out, len);
  return 1;
}

/* constantTimeEqual(a, b): of equal length */
static int native_constant_time_equal(lua_State *L)
{
  size_t a_len, b_len;
  const char *a = luaL_checklstring(L, 1, &a_len);
  const char *b = luaL_checklstring(L, 2, &b_len);
  lua_pushboolean(L, a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0);
  return 1;
}

static int push_list(lua_State *L, void (*write)(BIO *out))
{
  BIO *scratch = ml_scratch(L);
  write(scratch);
  ml_push_lines(L, scratch);
  return 1;
}

static int native_hashes(lua_State *L)
{
  return push_list(L, ml_write_hashes);
}

static int native_ciphers(lua_State *L)
{
  return push_list(L, ml_write_ciphers);
}

static int native_curves(lua_State *L)
{
  return push_list(L, ml_write_curves);
}

/* constants(group) → { NAME = number } */
static int native_constants(lua_State *L)
{
  static const char *const groups[] = {"errno", "signals", "files", "openssl", NULL};
  const struct ml_constant *constant = ml_constants[luaL_checkoption(L, 1, NULL, groups)];
  lua_createtable(L, 0, 128);
  for (; constant->name; constant++) {
    lua_pushnumber(L, (lua_Number)constant->value);
    lua_setfield(L, -2, constant->name);
  }
  return 1;
}

static const luaL_Reg methods[] = {
    {"update", hash_update},
    {"copy", hash_copy},
    {"digest", hash_digest},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"random", native_random},
    {"constantTimeEqual", native_constant_time_equal},
    {"hashes", native_hashes},
    {"ciphers", native_ciphers},
    {"curves", native_curves},
    {"constants", native_constants},
    {NULL, NULL},
};

void ml_open_crypto(lua_State *L)
{
  ml_class_register(L, HASH_CLASS, methods, hash_gc);
  ml_class_constructor(L, lua_gettop(L), native_hash);
  lua_setfield(L, 1, "hash");
  ml_class_constructor(L, lua_gettop(L), native_hmac);
  lua_setfield(L, 1, "hmac");
  lua_pop(L, 1);
  lua_pushvalue(L, 1);
  luaL_register(L, NULL, functions);
  lua_pop(L, 1);
}

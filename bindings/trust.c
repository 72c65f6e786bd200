/* native.configureTrust, trustedCertificates, chooseTrust: whom contexts without a `ca` trust. */
#include <openssl/pem.h>

#include "bindings.h"
#include "scratch.h"
#include "tls_context.h"
#include "tls_roots.h"
#include "tls_trust.h"

/* configureTrust(useOpensslCa, extraFile) → true | nil, err */
static int configure_trust(lua_State *L)
{
  struct ml_error err;
  bool use_openssl_ca = lua_toboolean(L, 1);
  if (ml_tls_trust_configure(use_openssl_ca, luaL_optstring(L, 2, NULL), &err) != 0)
    return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* trustedCertificates('default' | 'system' | 'extra') → their PEM forms one after the other | nil,
 * err */
static int trusted_certificates(lua_State *L)
{
  static const char *const kinds[] = {"default", "system", "extra", NULL};
  struct ml_error err;
  enum ml_tls_trust_kind kind = (enum ml_tls_trust_kind)luaL_checkoption(L, 1, NULL, kinds);
  BIO *scratch = ml_scratch(L);
  STACK_OF(X509) *list = ml_tls_trust_list(kind, &err);
  if (!list) return ml_fail(L, &err);
  for (int i = 0; i < sk_X509_num(list); i++)
    PEM_write_bio_X509(scratch, sk_X509_value(list, i));
  sk_X509_pop_free(list, X509_free);
  ml_push_scratch(L, scratch);
  return 1;
}

static int add_texts(lua_State *L, STACK_OF(X509) * anchors, struct ml_error *err)
{
  size_t count = lua_objlen(L, 1);
  for (size_t i = 1; i <= count; i++) {
    size_t len;
    lua_rawgeti(L, 1, (int)i);
    const char *text = lua_tolstring(L, -1, &len);
    if (text && ml_tls_roots_add_text(anchors, text, len, err) != 0) return -1;
    lua_pop(L, 1);
  }
  if (count == 0 || sk_X509_num(anchors) > 0) return 0;
  ml_error_misuse(err, "ERR_CRYPTO_OPERATION_FAILED",
                  "No valid certificates found in the provided array");
  return -1;
}

/* chooseTrust{ PEM… } → true | nil, err. Texts without a certificate are passed over unless none of
 * them has one; an empty list trusts nobody. */
static int choose_trust(lua_State *L)
{
  struct ml_error err;
  luaL_checktype(L, 1, LUA_TTABLE);
  STACK_OF(X509) *anchors = sk_X509_new_null();
  if (!anchors) return luaL_error(L, "not enough memory");
  int result = add_texts(L, anchors, &err);
  if (result == 0) result = ml_tls_trust_choose(anchors, &err);
  sk_X509_pop_free(anchors, X509_free);
  if (result != 0) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static const luaL_Reg functions[] = {
    {"configureTrust", configure_trust},
    {"trustedCertificates", trusted_certificates},
    {"chooseTrust", choose_trust},
    {NULL, NULL},
};

void ml_open_trust(lua_State *L)
{
  lua_pushvalue(L, 1);
  luaL_register(L, NULL, functions);
  lua_pop(L, 1);
}

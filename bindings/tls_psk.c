/* The owner of a TLS handle as the finder of pre-shared keys: the one script that runs on OpenSSL's
 * stack (ml_tls_psk_fn says why). */
#include <openssl/crypto.h>
#include <string.h>

#include "tls.h"

struct finding {
  const struct ml_handle *handle;
  struct ml_tls_psk *psk;
  struct ml_error *err;
  bool found; /* there is an answer, "none" included */
};

static void fail(struct finding *finding, const char *message)
{
  ml_error_misuse(finding->err, "ERR_TLS_CALLBACK_FAILED", "%s", message);
}

/* psk(owner, identity | hint | nil) → true, key | nil, identity | nil; or false, message. The Lua
 * side has checked lengths. The handle may be closed afterwards, and gone. */
static void find(lua_State *L, void *arg)
{
  struct finding *finding = arg;
  const struct ml_handle *h = finding->handle;
  struct ml_tls_psk *psk = finding->psk;
  size_t key_len = 0, identity_len = 0;
  if (!ml_push_handler(L, h->object.vm, ML_CLASS_TLS, ML_ON_PSK)) return;
  ml_object_push_owner(L, &h->object);
  lua_pushstring(L, psk->given);
  lua_call(L, 2, 3);
  const char *second = lua_tolstring(L, -2, &key_len),
             *identity = lua_tolstring(L, -1, &identity_len);
  if (!lua_toboolean(L, -3)) {
    fail(finding, second ? second : "no answer");
  } else if (key_len > sizeof(psk->key) || identity_len >= sizeof(psk->identity)) {
    fail(finding, "the key or its identity is too long");
  } else {
    if (second) memcpy(psk->key, second, key_len);
    if (identity) memcpy(psk->identity, identity, identity_len + 1);
    psk->key_len = key_len;
    finding->found = true;
  }
}

static int on_psk(void *user, struct ml_tls_psk *psk, struct ml_error *err)
{
  struct finding finding = {user, psk, err, false};
  struct ml_handle *h = user;
  fail(&finding, "the search for a pre-shared key failed"); /* when it raises */
  if (h->object.owner != LUA_NOREF) ml_enter(h->object.vm, find, &finding);
  return finding.found ? 0 : -1;
}

void ml_tls_find_psk(struct ml_tls_options *options, struct ml_handle *handle)
{
  options->psk = on_psk;
  options->psk_user = handle;
}

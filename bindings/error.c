/* Failures of the runtime as Error tables, which moonlatch.errors makes. */
#include "bindings.h"

static const char *origin_name(enum ml_origin origin)
{
  switch (origin) {
  case ML_ORIGIN_SYSTEM:
    return "system";
  case ML_ORIGIN_DNS:
    return "dns";
  case ML_ORIGIN_TLS:
    return "tls";
  case ML_ORIGIN_VERIFY:
    return "verify";
  case ML_ORIGIN_NONE:
  case ML_ORIGIN_MISUSE:
    break;
  }
  return "misuse";
}

static void set_text(lua_State *L, const char *name, const char *value)
{
  if (!value || !*value) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, long value)
{
  lua_pushnumber(L, (lua_Number)value);
  lua_setfield(L, -2, name);
}

/* What led to an OpenSSL error, or came of it; the last first, as Node has it. */
static void set_stack(lua_State *L, const struct ml_error *err)
{
  char text[256];
  if (err->behind_count == 0) return;
  lua_createtable(L, (int)err->behind_count, 0);
  for (unsigned i = 0; i < err->behind_count; i++) {
    ml_error_text_behind(err, i, text, sizeof(text));
    lua_pushstring(L, text);
    lua_rawseti(L, -2, (int)(err->behind_count - i));
  }
  lua_setfield(L, -2, "opensslErrorStack");
}

/* The failure's fields as a plain table; what does not apply is left out. */
static void push_fields(lua_State *L, const struct ml_error *err)
{
  lua_createtable(L, 0, 10);
  set_text(L, "origin", origin_name(err->origin));
  set_text(L, "code", err->code);
  set_text(L, "message", err->message);
  set_text(L, "syscall", err->syscall);
  set_text(L, "address", err->address);
  set_text(L, "library", err->library);
  set_text(L, "reason", err->reason);
  set_text(L, "state", err->state);
  set_text(L, "offered", err->offered);
  set_text(L, "configured", err->configured);
  set_stack(L, err);
  if (err->number) {
    /* As Node has it, a system error's errno is negative. */
    set_number(L, "errno", err->origin == ML_ORIGIN_SYSTEM ? -err->number : err->number);
  }
  if (err->port > 0) set_number(L, "port", err->port);
  if (err->alert_from != ML_ALERT_NONE) {
    set_number(L, "alert", err->alert);
    set_text(L, "alertFrom", err->alert_from == ML_ALERT_LOCAL ? "local" : "peer");
  }
}

void ml_push_error(lua_State *L, const struct ml_error *err)
{
  static const char key = 0; /* its address: registry key of errors.fromNative */

  lua_pushlightuserdata(L, (void *)&key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "moonlatch.errors");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "fromNative");
    lua_remove(L, -2);
    lua_pushlightuserdata(L, (void *)&key);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
  }
  push_fields(L, err);
  lua_call(L, 1, 1);
}

int ml_fail(lua_State *L, const struct ml_error *err)
{
  lua_pushnil(L);
  ml_push_error(L, err);
  return 2;
}

int ml_raise(lua_State *L, const struct ml_error *err)
{
  ml_push_error(L, err);
  lua_error(L);
  __builtin_unreachable();
}

/* require 'moonlatch.native': the table of native functions, and the loop's own. */
#include <openssl/crypto.h>

#include "clock.h"
#include "resolver.h"
#include "vm.h"

#define NATIVE_KEY "moonlatch.native" /* registry: the table */

static const char *const event_names[ML_EVENT_COUNT] = {
    [ML_ON_READ] = "read",
    [ML_ON_END] = "end",
    [ML_ON_WRITTEN] = "written",
    [ML_ON_SHUTDOWN] = "shutdown",
    [ML_ON_CONNECT] = "connect",
    [ML_ON_ERROR] = "error",
    [ML_ON_CONNECTION] = "connection",
    [ML_ON_TIMEOUT] = "timeout",
    [ML_ON_SIGNAL] = "signal",
    [ML_ON_RESULT] = "result",
    [ML_ON_HANDSHAKE] = "handshake",
    [ML_ON_RENEWED] = "renewed",
    [ML_ON_KEY_UPDATE] = "keyUpdate",
    [ML_ON_TRACE] = "trace",
    [ML_ON_ASK] = "ask",
    [ML_ON_SESSION] = "session",
    [ML_ON_KEYLOG] = "keylog",
    [ML_ON_STAPLE] = "staple",
    [ML_ON_PSK] = "psk",
    [ML_ON_CHANGE] = "change",
    [ML_ON_DROP] = "drop",
    [ML_ON_OUTGOING] = "outgoing",
    [ML_ON_FINISH] = "finish",
    [ML_ON_FLOW] = "flow",
    [ML_ON_CLOSED] = "closed",
};

/* Ends with NULL, for luaL_checkoption. */
static const char *const class_names[ML_CLASS_COUNT + 1] = {
    [ML_CLASS_SOCK] = "sock",         [ML_CLASS_LISTENER] = "listener",
    [ML_CLASS_TIMER] = "timer",       [ML_CLASS_SIGNAL] = "signal",
    [ML_CLASS_RESOLVER] = "resolver", [ML_CLASS_TLS] = "tls",
    [ML_CLASS_CONTEXT] = "context",   [ML_CLASS_WATCH] = "watch",
    [ML_CLASS_X509] = "x509",         [ML_CLASS_HASH] = "hash",
    [ML_CLASS_CHILD] = "child",       [ML_CLASS_CHANNEL] = "channel",
    [ML_CLASS_RELAY] = "relay",
};

static void replace_reference(lua_State *L, int index, int type, int *reference)
{
  luaL_checktype(L, index, type);
  luaL_unref(L, LUA_REGISTRYINDEX, *reference);
  *reference = LUA_NOREF;
  lua_pushvalue(L, index);
  *reference = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* handlers(class, { event = function, … }) */
static int native_handlers(lua_State *L)
{
  struct ml_vm *vm = ml_vm(L);
  int class_id = luaL_checkoption(L, 1, NULL, class_names);

  luaL_checktype(L, 2, LUA_TTABLE);
  for (int event = 0; event < ML_EVENT_COUNT; event++) {
    lua_getfield(L, 2, event_names[event]);
    if (!lua_isnil(L, -1))
      replace_reference(L, lua_gettop(L), LUA_TFUNCTION, &vm->handlers[class_id][event]);
    lua_pop(L, 1);
  }
  return 0;
}

/* setDrain(function(), waiting): runs the nextTick queue, when waiting[1] says that there is
 * something in it */
static int native_set_drain(lua_State *L)
{
  replace_reference(L, 1, LUA_TFUNCTION, &ml_vm(L)->drain);
  replace_reference(L, 2, LUA_TTABLE, &ml_vm(L)->ticks);
  return 0;
}

/* setUncaught(function(err, traceback)): takes errors that nothing caught */
static int native_set_uncaught(lua_State *L)
{
  replace_reference(L, 1, LUA_TFUNCTION, &ml_vm(L)->uncaught);
  return 0;
}

static int run_loop(struct ml_vm *vm, void *unused)
{
  (void)unused;
  ml_loop_run(vm->loop);
  return 0;
}

static int step_loop(struct ml_vm *vm, void *wait)
{
  return ml_loop_step(vm->loop, *(const bool *)wait);
}

static int flush_loop(struct ml_vm *vm, void *unused)
{
  (void)unused;
  ml_loop_flush(vm->loop);
  return 0;
}

/* run(): until nothing that keeps the loop alive is left, or stop() */
static int native_run(lua_State *L)
{
  ml_vm_on(L, ml_vm(L), run_loop, NULL);
  return 0;
}

/* step(wait) → alive: one turn of the loop */
static int native_step(lua_State *L)
{
  bool wait = lua_toboolean(L, 1);

  lua_pushboolean(L, ml_vm_on(L, ml_vm(L), step_loop, &wait));
  return 1;
}

/* stop(): the innermost run() returns */
static int native_stop(lua_State *L)
{
  ml_loop_stop(ml_vm(L)->loop);
  return 0;
}

/* alive() → whether anything keeps the loop running */
static int native_alive(lua_State *L)
{
  lua_pushboolean(L, ml_loop_alive(ml_vm(L)->loop));
  return 1;
}

/* flush(): sends what was accepted for writing, as far as the kernel takes it */
static int native_flush(lua_State *L)
{
  ml_vm_on(L, ml_vm(L), flush_loop, NULL);
  return 0;
}

/* hrtime() → monotonic seconds */
static int native_hrtime(lua_State *L)
{
  lua_pushnumber(L, (double)ml_now_ns() / 1e9);
  return 1;
}

/* hrtimeParts() → seconds, nanoseconds */
static int native_hrtime_parts(lua_State *L)
{
  uint64_t now = ml_now_ns();

  lua_pushnumber(L, (double)(now / 1000000000U));
  lua_pushnumber(L, (double)(now % 1000000000U));
  return 2;
}

/* now() → monotonic milliseconds with fractions */
static int native_now(lua_State *L)
{
  lua_pushnumber(L, (double)ml_now_ns() / 1e6);
  return 1;
}

static const luaL_Reg functions[] = {
    {"handlers", native_handlers},
    {"setDrain", native_set_drain},
    {"setUncaught", native_set_uncaught},
    {"run", native_run},
    {"step", native_step},
    {"stop", native_stop},
    {"alive", native_alive},
    {"flush", native_flush},
    {"hrtime", native_hrtime},
    {"hrtimeParts", native_hrtime_parts},
    {"now", native_now},
    {NULL, NULL},
};

typedef void opener(lua_State *L);

/* What every program needs, and what it needs when it asks for something else. Ends with NULL. */
static opener *const at_once[] = {ml_open_timer, ml_open_process, ml_open_crypto, NULL};
static opener *const when_asked[] = {
    ml_open_sock,      ml_open_listener,
    ml_open_fs,        ml_open_dns,
    ml_open_context,   ml_open_trust,
    ml_open_tls,       ml_open_x509,
    ml_open_certmaker, ml_open_ocsp,
    ml_open_child,     ml_open_channel,
    ml_open_relay,     NULL,
};

static void open_each(lua_State *L, opener *const *openers)
{
  while (*openers)
    (*openers++)(L);
}

/* __index: opens the rest, which takes longer than a short script runs. */
static int open_rest(lua_State *L)
{
  lua_pushnil(L);
  lua_setmetatable(L, 1);
  open_each(L, when_asked);
  lua_settop(L, 2);
  lua_rawget(L, 1);
  return 1;
}

static void set_version(lua_State *L, const char *name, const char *version)
{
  lua_pushstring(L, version);
  lua_setfield(L, -2, name);
}

/* versions: of the libraries, as they are at run time */
static void set_versions(lua_State *L)
{
  lua_newtable(L);
  set_version(L, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
  set_version(L, "ares", ml_resolver_version());
  lua_pushfstring(L, "%d.%d", ev_version_major(), ev_version_minor());
  lua_setfield(L, -2, "ev");
  lua_setfield(L, 1, "versions");
}

/* Openers find the table at index 1, so they run in a frame of their own. */
static int open_native(lua_State *L)
{
  lua_createtable(L, 0, 64);
  luaL_register(L, NULL, functions);
  lua_pushliteral(L, ML_VERSION);
  lua_setfield(L, 1, "version");
  lua_newtable(L);
  lua_setfield(L, 1, "options");
  set_versions(L);
  open_each(L, at_once);
  lua_settop(L, 1);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, open_rest);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, 1);
  return 1;
}

void ml_push_native(lua_State *L)
{
  lua_getfield(L, LUA_REGISTRYINDEX, NATIVE_KEY);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  ml_vm(L);
  lua_pushcfunction(L, open_native);
  lua_call(L, 0, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, NATIVE_KEY);
}

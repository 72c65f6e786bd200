/* native.relay: a handle whose lower end is a stream of a script's (relay.h).
 *
 * The userdata is both ends of the relay: a handle, for TLS to stand on, and the carrier's side,
 * whose events go to the table given to the constructor. That table, the carrier, is anchored until
 * release(). */
#include "relay.h"

#include <errno.h>
#include <string.h>

#include "handle.h"

#define CLASS_NAME "moonlatch.relay"

struct relay_handle {
  struct ml_handle handle; /* must stay first; without a stream once TLS has taken it */
  struct ml_object carrier;
  struct ml_relay *relay; /* NULL once released */
};

/* ---- Events ---- */

struct outgoing {
  struct relay_handle *h;
  const uint8_t *data;
  size_t len;
};

/* outgoing(carrier, bytes): to be carried away, then written() */
static void emit_outgoing(lua_State *L, void *arg)
{
  const struct outgoing *outgoing = arg;
  if (!ml_push_handler(L, outgoing->h->carrier.vm, ML_CLASS_RELAY, ML_ON_OUTGOING)) return;
  ml_object_push_owner(L, &outgoing->h->carrier);
  lua_pushlstring(L, (const char *)outgoing->data, outgoing->len);
  lua_call(L, 2, 0);
}

static void on_outgoing(struct ml_relay *relay, const uint8_t *data, size_t len)
{
  struct relay_handle *h = ml_relay_carrier_user(relay);
  struct outgoing outgoing = {h, data, len};
  ml_enter(h->carrier.vm, emit_outgoing, &outgoing);
}

/* finish(carrier): the end is to be carried, then finished() */
static void on_finish(struct ml_relay *relay)
{
  struct relay_handle *h = ml_relay_carrier_user(relay);
  ml_object_emit(&h->carrier, ML_CLASS_RELAY, ML_ON_FINISH);
}

/* flow(carrier): bytes are wanted */
static void on_flow(struct ml_relay *relay)
{
  struct relay_handle *h = ml_relay_carrier_user(relay);
  ml_object_emit(&h->carrier, ML_CLASS_RELAY, ML_ON_FLOW);
}

/* closed(carrier): TLS has closed; what release() gives is all that is left to carry */
static void on_closed(struct ml_relay *relay)
{
  struct relay_handle *h = ml_relay_carrier_user(relay);
  ml_object_emit(&h->carrier, ML_CLASS_RELAY, ML_ON_CLOSED);
}

static const struct ml_relay_carrier carrier_events = {
    .on_outgoing = on_outgoing,
    .on_finish = on_finish,
    .on_flow = on_flow,
    .on_closed = on_closed,
};

/* ---- Life ---- */

/* relay(carrier) → handle */
static int relay_new(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  struct relay_handle *h =
      (struct relay_handle *)(void *)ml_handle_new(L, CLASS_NAME, ML_CLASS_RELAY, sizeof *h);
  struct ml_vm *vm = h->handle.object.vm;
  h->carrier.vm = vm;
  h->carrier.owner = LUA_NOREF;
  h->relay = ml_relay_new(vm->loop, &carrier_events, h);
  if (h->relay == NULL) return luaL_error(L, "out of memory");
  ml_handle_attach(&h->handle, ml_relay_stream(h->relay));
  ml_object_anchor(L, &h->carrier, 1);
  return 1;
}

static void let_go(struct relay_handle *h)
{
  struct ml_relay *relay = h->relay;
  if (relay == NULL) return;
  h->relay = NULL;
  ml_relay_release(relay);
  ml_object_release(&h->carrier);
}

static int relay_gc(lua_State *L)
{
  struct relay_handle *h = ml_object_self(L);
  ml_handle_end(&h->handle);
  let_go(h);
  return 0;
}

/* ---- The carrier's side. All of it is harmless once the other side has closed. ---- */

/* receive(bytes) → whether more may come; else it may when the event `flow` has come */
static int relay_receive(lua_State *L)
{
  size_t len;
  const struct relay_handle *h = ml_object_self(L);
  const char *bytes = luaL_checklstring(L, 2, &len);
  int status = h->relay ? ml_relay_receive(h->relay, bytes, len) : ML_DONE;
  if (status == ML_FAILED) return luaL_error(L, "out of memory");
  lua_pushboolean(L, status == ML_DONE);
  return 1;
}

/* receiveEnd(): no more bytes will come */
static int relay_receive_end(lua_State *L)
{
  const struct relay_handle *h = ml_object_self(L);
  if (h->relay) ml_relay_receive_end(h->relay);
  return 0;
}

/* written(): the bytes of the last `outgoing` are carried away */
static int relay_written(lua_State *L)
{
  const struct relay_handle *h = ml_object_self(L);
  if (h->relay) ml_relay_written(h->relay);
  return 0;
}

/* finished(): the end is */
static int relay_finished(lua_State *L)
{
  const struct relay_handle *h = ml_object_self(L);
  if (h->relay) ml_relay_finished(h->relay);
  return 0;
}

/* A connection that has gone is judged by its errno (see ml_tls_stream_end_is_moot). */
static void read_failure(lua_State *L, struct ml_error *err)
{
  const char *code = luaL_checkstring(L, 2);
  const char *message = luaL_checkstring(L, 3);
  if (strcmp(code, "EPIPE") == 0) {
    ml_error_system(err, EPIPE, "write");
  } else if (strcmp(code, "ECONNRESET") == 0) {
    ml_error_system(err, ECONNRESET, "read");
  } else {
    ml_error_misuse(err, code, "%s", message);
  }
}

/* fail(code, message): nothing works any more. The owner gets an `error` with that code, after what
 * was received before. */
static int relay_fail(lua_State *L)
{
  struct ml_error err;
  const struct relay_handle *h = ml_object_self(L);
  read_failure(L, &err);
  if (h->relay) ml_relay_fail(h->relay, &err);
  return 0;
}

/* isClosed() → whether TLS, or whoever stood on it, has closed */
static int relay_is_closed(lua_State *L)
{
  const struct relay_handle *h = ml_object_self(L);
  lua_pushboolean(L, h->relay == NULL || ml_relay_closed(h->relay));
  return 1;
}

/* release() → bytes that were written last and not given to the carrier, or nil. No events follow,
 * the carrier is let go. */
static int relay_release(lua_State *L)
{
  size_t len = 0;
  struct relay_handle *h = ml_object_self(L);
  const uint8_t *unsent = h->relay ? ml_relay_unsent(h->relay, &len) : NULL;
  if (unsent) {
    lua_pushlstring(L, (const char *)unsent, len);
  } else {
    lua_pushnil(L);
  }
  let_go(h);
  return 1;
}

static const luaL_Reg methods[] = {
    ML_HANDLE_METHODS,
    {"receive", relay_receive},
    {"receiveEnd", relay_receive_end},
    {"written", relay_written},
    {"finished", relay_finished},
    {"fail", relay_fail},
    {"isClosed", relay_is_closed},
    {"release", relay_release},
    {NULL, NULL},
};

void ml_open_relay(lua_State *L)
{
  ml_class_register(L, CLASS_NAME, methods, relay_gc);
  ml_handle_class(L);
  lua_pop(L, 1);
  lua_pushcfunction(L, relay_new);
  lua_setfield(L, 1, "relay");
}

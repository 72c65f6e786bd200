/* The methods and events that all handles share. */
#include "handle.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "handle_pipe.h"

/* Slices of a list that are gathered on the C stack; a longer list takes a userdata. */
enum { LIST_ON_STACK = 32 };

/* ---- The idle timer ---- */

/* Few connections have one, so it is by itself. */
struct ml_idle {
  ev_timer timer;     /* never keeps the loop running */
  double timeout;     /* seconds */
  double activity;    /* loop time of the last read or write */
  size_t queued_then; /* ml_stream_queued when the timer was started, to see a slow write move */
};

static double loop_time(const struct ml_handle *h)
{
  return ev_now(ml_loop_ev(h->object.vm->loop));
}

static void start_idle_timer(struct ml_handle *h, double seconds)
{
  ev_timer_set(&h->idle->timer, seconds, 0.);
  h->idle->queued_then = ml_stream_queued(h->stream);
  ml_loop_timer_start(h->object.vm->loop, &h->idle->timer, false);
}

/* Something moved. The timer is left to run: when it fires it looks at the time of the last
 * activity, which is cheaper than moving it with each read. */
void ml_handle_touch(struct ml_handle *h)
{
  if (h->idle == NULL) return;
  h->idle->activity = loop_time(h);
  if (!ev_is_active(&h->idle->timer)) start_idle_timer(h, h->idle->timeout);
}

static void on_idle(struct ev_loop *ev, ev_timer *timer, int revents)
{
  struct ml_handle *h = timer->data;
  (void)ev;
  (void)revents;
  ml_loop_timer_stop(h->object.vm->loop, timer, false);
  double left = h->idle->activity + h->idle->timeout - loop_time(h);
  if (left > 0) {
    start_idle_timer(h, left);
  } else if (ml_stream_queued(h->stream) != h->idle->queued_then) {
    start_idle_timer(h, h->idle->timeout); /* a long write is moving, if slowly */
  } else {
    ml_object_emit(&h->object, h->class_id, ML_ON_TIMEOUT);
  }
}

static void stop_idle_timer(struct ml_handle *h)
{
  if (h->idle == NULL) return;
  ml_loop_timer_stop(h->object.vm->loop, &h->idle->timer, false);
  free(h->idle);
  h->idle = NULL;
}

/* ---- Events ---- */

struct received {
  const struct ml_handle *handle;
  const uint8_t *data;
  size_t len;
};

static void emit_read(lua_State *L, void *arg)
{
  const struct received *received = arg;
  const struct ml_handle *h = received->handle;
  if (!ml_push_handler(L, h->object.vm, h->class_id, ML_ON_READ)) return;
  ml_object_push_owner(L, &h->object);
  lua_pushlstring(L, (const char *)received->data, received->len);
  lua_call(L, 2, 0);
}

static void on_read(struct ml_stream *stream, const uint8_t *data, size_t len)
{
  struct ml_handle *h = stream->user;
  struct received received = {h, data, len};
  ml_handle_touch(h);
  if (h->out != NULL) {
    ml_handle_forward(h, data, len);
  } else {
    ml_enter(h->object.vm, emit_read, &received);
  }
}

static void on_end(struct ml_stream *stream)
{
  struct ml_handle *h = stream->user;
  ml_handle_touch(h);
  ml_object_emit(&h->object, h->class_id, ML_ON_END);
}

/* What a write writes from stays in a slot of the registry. The slot is made before the write,
 * since that can fail where a write that is pending cannot be taken back; putting something into it
 * later cannot. */
static void keep_pending(lua_State *L, struct ml_handle *h, int index)
{
  lua_pushvalue(L, index);
  lua_rawseti(L, LUA_REGISTRYINDEX, h->slot);
  h->pending = true;
}

static void let_pending_go(struct ml_handle *h)
{
  if (!h->pending) return;
  lua_State *L = h->object.vm->L;
  lua_pushboolean(L, 0);
  lua_rawseti(L, LUA_REGISTRYINDEX, h->slot);
  h->pending = false;
}

static void make_slot(lua_State *L, struct ml_handle *h)
{
  if (h->slot != LUA_NOREF) return;
  lua_pushboolean(L, 0);
  h->slot = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void on_written(struct ml_stream *stream)
{
  struct ml_handle *h = stream->user;
  ml_handle_touch(h);
  let_pending_go(h);
  if (h->in != NULL && ml_handle_forwarded(h)) return;
  ml_object_emit(&h->object, h->class_id, ML_ON_WRITTEN);
}

static void on_shutdown(struct ml_stream *stream)
{
  struct ml_handle *h = stream->user;
  ml_object_emit(&h->object, h->class_id, ML_ON_SHUTDOWN);
}

static void on_connect(struct ml_stream *stream)
{
  struct ml_handle *h = stream->user;
  ml_handle_touch(h);
  ml_object_emit(&h->object, h->class_id, ML_ON_CONNECT);
}

static void on_error(struct ml_stream *stream, const struct ml_error *err)
{
  struct ml_handle *h = stream->user;
  let_pending_go(h);
  ml_handle_drop_in(h);
  ml_object_emit_error(&h->object, h->class_id, ML_ON_ERROR, err);
}

const struct ml_stream_events ml_handle_events = {
    .on_read = on_read,
    .on_end = on_end,
    .on_written = on_written,
    .on_shutdown = on_shutdown,
    .on_connect = on_connect,
    .on_error = on_error,
};

/* ---- Life ---- */

struct ml_handle *ml_handle_new(lua_State *L, const char *class_name, enum ml_class_id class_id,
                                size_t size)
{
  struct ml_vm *vm = ml_vm(L);
  struct ml_handle *h = lua_newuserdata(L, size);
  memset(h, 0, size);
  h->object.vm = vm;
  h->object.owner = LUA_NOREF;
  h->class_id = class_id;
  h->slot = LUA_NOREF;
  luaL_getmetatable(L, class_name);
  lua_setmetatable(L, -2);
  return h;
}

static const char handle_mark = 0; /* its address: a key in the metatables of handles */

void ml_handle_class(lua_State *L)
{
  lua_pushlightuserdata(L, (void *)&handle_mark);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
}

struct ml_handle *ml_check_handle(lua_State *L, int index)
{
  struct ml_handle *h = lua_touserdata(L, index);
  bool marked = false;
  if (h != NULL && lua_getmetatable(L, index)) {
    lua_pushlightuserdata(L, (void *)&handle_mark);
    lua_rawget(L, -2);
    marked = lua_toboolean(L, -1);
    lua_pop(L, 2);
  }
  if (!marked) luaL_typerror(L, index, "handle");
  return h;
}

void ml_handle_attach(struct ml_handle *h, struct ml_stream *stream)
{
  stream->events = &ml_handle_events;
  stream->user = h;
  h->stream = stream;
}

/* What remains when the stream has gone. */
static void forget(struct ml_handle *h)
{
  stop_idle_timer(h);
  luaL_unref(h->object.vm->L, LUA_REGISTRYINDEX, h->slot);
  h->slot = LUA_NOREF;
  h->pending = false;
  ml_object_release(&h->object);
}

struct ml_stream *ml_handle_detach(struct ml_handle *h, struct ml_error *err)
{
  struct ml_stream *stream = h->stream;
  if (stream == NULL || h->pending || h->in != NULL) {
    ml_error_system(err, stream == NULL ? EBADF : EBUSY, "open");
    return NULL;
  }
  (void)ml_handle_stop_out(h);
  ml_stream_read_stop(stream);
  h->stream = NULL;
  forget(h);
  return stream;
}

void ml_handle_end(struct ml_handle *h)
{
  struct ml_stream *stream = h->stream;
  if (stream == NULL) return;
  (void)ml_handle_stop_out(h);
  h->stream = NULL;
  ml_stream_close(stream);
  ml_handle_drop_in(h);
  forget(h);
}

int ml_handle_gc(lua_State *L)
{
  ml_handle_end(ml_object_self(L));
  return 0;
}

/* open(owner): from now on events go to `owner`, which is kept alive until close() */
int ml_handle_open(lua_State *L)
{
  struct ml_handle *h = ml_object_self(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (h->stream == NULL) luaL_error(L, "handle is closed");
  ml_object_anchor(L, &h->object, 2);
  return 0;
}

/* close(): one last try to send what was accepted; no events follow */
int ml_handle_close(lua_State *L)
{
  ml_handle_end(ml_object_self(L));
  return 0;
}

/* ---- Methods ---- */

/* The handle with its stream; pushes nil, Error and returns NULL when it is closed. */
static struct ml_handle *open_self(lua_State *L, const char *call)
{
  struct ml_handle *h = ml_object_self(L);
  if (h->stream != NULL) return h;
  struct ml_error err;
  ml_error_system(&err, EBADF, call);
  ml_fail(L, &err);
  return NULL;
}

/* The sock at the bottom of the handle's stream, or NULL: closed, or a script implements it. */
static struct ml_sock *transport_sock(const struct ml_handle *h)
{
  struct ml_stream *bottom = h->stream ? ml_stream_transport(h->stream) : NULL;
  return bottom ? ml_sock_from(bottom) : NULL;
}

/* reset(): like close(), but with RST */
int ml_handle_reset(lua_State *L)
{
  struct ml_handle *h = ml_object_self(L);
  struct ml_sock *sock = transport_sock(h);
  struct ml_error err;
  /* A socket that cannot be reset is gone already. */
  if (sock != NULL) (void)!ml_sock_set_reset(sock, &err);
  ml_handle_end(h);
  return 0;
}

/* readStart(), readStop() */
int ml_handle_read_start(lua_State *L)
{
  struct ml_handle *h = ml_object_self(L);
  if (h->stream != NULL) ml_stream_read_start(h->stream);
  return 0;
}

int ml_handle_read_stop(lua_State *L)
{
  struct ml_handle *h = ml_object_self(L);
  if (h->stream != NULL) ml_stream_read_stop(h->stream);
  return 0;
}

/* ML_DONE → true, ML_PENDING → false, ML_FAILED → nil, Error */
static int push_status(lua_State *L, int status, const struct ml_error *err)
{
  if (status == ML_FAILED) return ml_fail(L, err);
  lua_pushboolean(L, status == ML_DONE);
  return 1;
}

/* Slices of the list of strings at index 2. The array lives as long as what this leaves on the
 * stack. */
static const struct ml_slice *list_slices(lua_State *L, struct ml_slice *small, size_t n)
{
  struct ml_slice *slices = n <= LIST_ON_STACK ? small : lua_newuserdata(L, n * sizeof *slices);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "item %d is not a string", (int)i + 1);
    slices[i].data = (const uint8_t *)lua_tolstring(L, -1, &slices[i].len);
    lua_pop(L, 1);
  }
  return slices;
}

/* write(string | list of strings[, tell]) → true: taken over | false: the event `written` follows,
 * and no other write may come before it | nil, Error. The list must not be changed meanwhile. With
 * `tell` a TLS handle never gives true (ml_stream.tell_written). */
int ml_handle_write(lua_State *L)
{
  struct ml_slice small[LIST_ON_STACK];
  const struct ml_slice *slices = small;
  size_t n = 1;
  struct ml_handle *h = open_self(L, "write");
  if (h == NULL) return 2;
  if (h->pending || h->in != NULL) luaL_error(L, "write while another is pending");
  if (lua_type(L, 2) == LUA_TTABLE) {
    n = lua_objlen(L, 2);
    slices = list_slices(L, small, n);
  } else {
    luaL_checktype(L, 2, LUA_TSTRING);
    small[0].data = (const uint8_t *)lua_tolstring(L, 2, &small[0].len);
  }

  struct ml_error err;
  make_slot(L, h);
  h->stream->tell_written = lua_toboolean(L, 3);
  int status = ml_stream_write(h->stream, slices, n, &err);
  if (status == ML_PENDING) keep_pending(L, h, 2);
  if (status != ML_FAILED) ml_handle_touch(h);
  return push_status(L, status, &err);
}

/* shutdown() → true | false: the event `shutdown` follows | nil, Error */
int ml_handle_shutdown(lua_State *L)
{
  struct ml_error err;
  struct ml_handle *h = open_self(L, "shutdown");
  if (h == NULL) return 2;
  return push_status(L, ml_stream_shutdown(h->stream, &err), &err);
}

static int set_ref(lua_State *L, bool on)
{
  struct ml_handle *h = ml_object_self(L);
  h->unreferenced = !on;
  if (h->stream != NULL) ml_stream_ref(h->stream, on);
  return 0;
}

/* ref(), unref(): whether the handle keeps the loop running */
int ml_handle_ref(lua_State *L)
{
  return set_ref(L, true);
}

int ml_handle_unref(lua_State *L)
{
  return set_ref(L, false);
}

/* hasRef() → boolean */
int ml_handle_has_ref(lua_State *L)
{
  const struct ml_handle *h = ml_object_self(L);
  lua_pushboolean(L, h->stream != NULL && !h->unreferenced);
  return 1;
}

int ml_push_addr(lua_State *L, const struct ml_addr *addr)
{
  char text[128];
  size_t len;
  const char *path = ml_addr_path(addr, &len);
  if (addr->storage.ss_family == AF_UNIX) {
    lua_pushlstring(L, path, len);
  } else {
    lua_pushstring(L, ml_addr_text(addr, text, sizeof text));
  }
  lua_pushstring(L, ml_addr_family(addr));
  lua_pushinteger(L, ml_addr_port(addr));
  return 3;
}

/* localAddress() → address, family, port | nil, Error */
int ml_handle_local_address(lua_State *L)
{
  struct ml_addr addr;
  struct ml_error err;
  struct ml_handle *h = open_self(L, "getsockname");
  if (h == NULL) return 2;
  if (ml_stream_local(h->stream, &addr, &err) != 0) return ml_fail(L, &err);
  return ml_push_addr(L, &addr);
}

/* remoteAddress() → address, family, port | nil, Error */
int ml_handle_remote_address(lua_State *L)
{
  struct ml_addr addr;
  struct ml_error err;
  struct ml_handle *h = open_self(L, "getpeername");
  if (h == NULL) return 2;
  if (ml_stream_remote(h->stream, &addr, &err) != 0) return ml_fail(L, &err);
  return ml_push_addr(L, &addr);
}

/* The end of a setter: true, or nil and the Error. */
static int push_done(lua_State *L, int status, const struct ml_error *err)
{
  if (status != 0) return ml_fail(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* setNoDelay(on) → true | nil, Error */
int ml_handle_set_no_delay(lua_State *L)
{
  struct ml_error err;
  struct ml_sock *sock = transport_sock(ml_object_self(L));
  return push_done(L, sock ? ml_sock_set_nodelay(sock, lua_toboolean(L, 2), &err) : 0, &err);
}

/* setKeepAlive(on, seconds) → true | nil, Error */
int ml_handle_set_keep_alive(lua_State *L)
{
  struct ml_error err;
  struct ml_sock *sock = transport_sock(ml_object_self(L));
  unsigned seconds = (unsigned)fmin(fmax(luaL_optnumber(L, 3, 0), 0), INT_MAX);
  return push_done(L, sock ? ml_sock_set_keepalive(sock, lua_toboolean(L, 2), seconds, &err) : 0,
                   &err);
}

/* setTimeout(ms): the event `timeout` when nothing was read or written for so long; 0 ends that */
int ml_handle_set_timeout(lua_State *L)
{
  struct ml_handle *h = ml_object_self(L);
  double ms = luaL_checknumber(L, 2);
  stop_idle_timer(h);
  if (h->stream == NULL || !(ms > 0)) return 0;
  h->idle = calloc(1, sizeof *h->idle);
  if (h->idle == NULL) return luaL_error(L, "not enough memory");
  ev_init(&h->idle->timer, on_idle);
  h->idle->timer.data = h;
  h->idle->timeout = ms / 1000;
  /* The loop's idea of now is as old as the tick. */
  ev_now_update(ml_loop_ev(h->object.vm->loop));
  ml_handle_touch(h);
  return 0;
}

/* bytesRead(), bytesWritten() → number of bytes since the start */
int ml_handle_bytes_read(lua_State *L)
{
  const struct ml_handle *h = ml_object_self(L);
  lua_pushnumber(L, h->stream ? (lua_Number)h->stream->bytes_read : 0);
  return 1;
}

int ml_handle_bytes_written(lua_State *L)
{
  const struct ml_handle *h = ml_object_self(L);
  lua_pushnumber(L, h->stream ? (lua_Number)h->stream->bytes_written : 0);
  return 1;
}

/* queued() → bytes accepted that the kernel has not taken */
int ml_handle_queued(lua_State *L)
{
  const struct ml_handle *h = ml_object_self(L);
  lua_pushnumber(L, h->stream ? (lua_Number)ml_stream_queued(h->stream) : 0);
  return 1;
}

/* fd() → descriptor, or -1 */
int ml_handle_fd(lua_State *L)
{
  struct ml_sock *sock = transport_sock(ml_object_self(L));
  lua_pushinteger(L, sock ? ml_sock_fd(sock) : -1);
  return 1;
}

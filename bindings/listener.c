/* native.listener: accepting connections. */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "handle.h"

#define LISTENER_CLASS "moonlatch.listener"

struct listener {
  struct ml_object object;    /* must stay first */
  struct ml_listener *native; /* NULL once closed */
  bool unreferenced;
};

struct accepted {
  struct ml_object *object;
  struct ml_sock *sock;
  bool taken;
};

static void emit_connection(lua_State *L, void *arg)
{
  struct accepted *accepted = arg;
  if (!ml_push_handler(L, accepted->object->vm, ML_CLASS_LISTENER, ML_ON_CONNECTION)) return;
  ml_object_push_owner(L, accepted->object);
  ml_push_sock(L, accepted->sock, &accepted->taken);
  lua_call(L, 2, 0);
}

static void on_connection(struct ml_listener *native, struct ml_sock *sock)
{
  struct listener *l = ml_listener_user(native);
  struct accepted accepted = {&l->object, sock, false};
  ml_enter(l->object.vm, emit_connection, &accepted);
  /* Memory ran out before there was a handle. */
  if (!accepted.taken) ml_stream_close(ml_sock_stream(sock));
}

struct dropped {
  struct ml_object *object;
  const struct ml_addr *peer;
};

static void emit_drop(lua_State *L, void *arg)
{
  const struct dropped *dropped = arg;
  if (!ml_push_handler(L, dropped->object->vm, ML_CLASS_LISTENER, ML_ON_DROP)) return;
  ml_object_push_owner(L, dropped->object);
  lua_call(L, 1 + ml_push_addr(L, dropped->peer), 0);
}

static void on_drop(struct ml_listener *native, const struct ml_addr *peer)
{
  struct listener *l = ml_listener_user(native);
  struct dropped dropped = {&l->object, peer};
  ml_enter(l->object.vm, emit_drop, &dropped);
}

static void on_error(struct ml_listener *native, const struct ml_error *err)
{
  struct listener *l = ml_listener_user(native);
  ml_object_emit_error(&l->object, ML_CLASS_LISTENER, ML_ON_ERROR, err);
}

static const struct ml_listener_events events = {
    .on_connection = on_connection,
    .on_drop = on_drop,
    .on_error = on_error,
};

/* listener() → object */
static int listener_new(lua_State *L)
{
  struct listener *l = ml_object_new(L, sizeof *l);
  l->native = ml_listener_new(l->object.vm->loop, &events, l);
  if (l->native == NULL) luaL_error(L, "out of memory");
  return 1;
}

static void end(struct listener *l)
{
  if (l->native == NULL) return;
  ml_listener_close(l->native);
  l->native = NULL;
  ml_object_release(&l->object);
}

static int listener_gc(lua_State *L)
{
  end(ml_object_self(L));
  return 0;
}

/* close(): no events follow */
static int listener_close(lua_State *L)
{
  end(ml_object_self(L));
  return 0;
}

static struct listener *open_self(lua_State *L)
{
  struct listener *l = ml_object_self(L);
  if (l->native == NULL) luaL_error(L, "listener is closed");
  return l;
}

/* open(owner): events go to `owner`, which is kept alive until close() */
static int listener_open(lua_State *L)
{
  struct listener *l = open_self(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  ml_object_anchor(L, &l->object, 2);
  return 0;
}

static bool flag(lua_State *L, int index, const char *name)
{
  lua_getfield(L, index, name);
  bool set = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return set;
}

/* The table of options at `index`, which may be missing. */
static struct ml_listener_options read_options(lua_State *L, int index)
{
  struct ml_listener_options options = {0};
  if (lua_isnoneornil(L, index)) return options;
  luaL_checktype(L, index, LUA_TTABLE);
  lua_getfield(L, index, "backlog");
  options.backlog = (int)luaL_optinteger(L, -1, 0);
  lua_pop(L, 1);
  options.ipv6_only = flag(L, index, "ipv6Only");
  options.reuse_port = flag(L, index, "reusePort");
  options.readable_all = flag(L, index, "readableAll");
  options.writable_all = flag(L, index, "writableAll");
  return options;
}

static int push_listening(lua_State *L, int status, const struct ml_error *err)
{
  if (status != 0) return ml_fail(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* listen(ip, port [, { backlog, ipv6Only, reusePort }]) → true | nil, Error */
static int listener_listen(lua_State *L)
{
  struct ml_addr addr;
  struct ml_error err;
  struct listener *l = open_self(L);
  const char *ip = luaL_checkstring(L, 2);
  int port = (int)luaL_checkinteger(L, 3);
  struct ml_listener_options options = read_options(L, 4);
  if (ml_addr_ip(&addr, ip, port, "listen", &err) != 0) return ml_fail(L, &err);
  return push_listening(L, ml_listener_open(l->native, &addr, &options, &err), &err);
}

/* listenUnix(path [, { backlog, readableAll, writableAll }]) → true | nil, Error */
static int listener_listen_unix(lua_State *L)
{
  struct ml_addr addr;
  struct ml_error err;
  size_t len;
  struct listener *l = open_self(L);
  const char *path = luaL_checklstring(L, 2, &len);
  struct ml_listener_options options = read_options(L, 3);
  if (ml_addr_unix(&addr, path, len, "listen", &err) != 0) return ml_fail(L, &err);
  return push_listening(L, ml_listener_open(l->native, &addr, &options, &err), &err);
}

/* listenFd(fd [, backlog]) → true | nil, Error */
static int listener_listen_fd(lua_State *L)
{
  struct ml_error err;
  struct listener *l = open_self(L);
  int fd = (int)luaL_checkinteger(L, 2);
  int backlog = (int)luaL_optinteger(L, 3, 0);
  return push_listening(L, ml_listener_open_fd(l->native, fd, backlog, &err), &err);
}

/* hold(): accepts nothing, for processes that share the socket */
static int listener_hold(lua_State *L)
{
  struct listener *l = open_self(L);
  ml_listener_hold(l->native);
  return 0;
}

/* address() → address, family, port | nil, Error */
static int listener_address(lua_State *L)
{
  struct ml_addr addr;
  struct ml_error err;
  struct listener *l = open_self(L);
  if (ml_listener_address(l->native, &addr, &err) != 0) return ml_fail(L, &err);
  return ml_push_addr(L, &addr);
}

static int set_ref(lua_State *L, bool on)
{
  struct listener *l = ml_object_self(L);
  l->unreferenced = !on;
  if (l->native != NULL) ml_listener_ref(l->native, on);
  return 0;
}

/* hasRef() → boolean */
static int listener_has_ref(lua_State *L)
{
  const struct listener *l = ml_object_self(L);
  lua_pushboolean(L, l->native != NULL && !l->unreferenced);
  return 1;
}

/* ref(), unref(): whether the listener keeps the loop running */
static int listener_ref(lua_State *L)
{
  return set_ref(L, true);
}

static int listener_unref(lua_State *L)
{
  return set_ref(L, false);
}

/* fd() → descriptor, or -1 */
static int listener_fd(lua_State *L)
{
  struct listener *l = ml_object_self(L);
  lua_pushinteger(L, l->native ? ml_listener_fd(l->native) : -1);
  return 1;
}

static int push_duplicate(lua_State *L, int fd)
{
  struct ml_error err;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (copy < 0) {
    ml_error_system(&err, errno, "dup");
    return ml_fail(L, &err);
  }
  lua_pushinteger(L, copy);
  return 1;
}

/* duplicate() → another descriptor of the same socket, for another listener or process | nil, Error
 */
static int listener_duplicate(lua_State *L)
{
  return push_duplicate(L, ml_listener_fd(open_self(L)->native));
}

/* duplicate(fd) → another descriptor of the same file | nil, Error */
static int native_duplicate(lua_State *L)
{
  return push_duplicate(L, (int)luaL_checkinteger(L, 1));
}

static const luaL_Reg methods[] = {
    {"open", listener_open},
    {"close", listener_close},
    {"listen", listener_listen},
    {"listenUnix", listener_listen_unix},
    {"listenFd", listener_listen_fd},
    {"hold", listener_hold},
    {"address", listener_address},
    {"ref", listener_ref},
    {"unref", listener_unref},
    {"hasRef", listener_has_ref},
    {"fd", listener_fd},
    {"duplicate", listener_duplicate},
    {NULL, NULL},
};

void ml_open_listener(lua_State *L)
{
  ml_class_register(L, LISTENER_CLASS, methods, listener_gc);
  ml_class_constructor(L, lua_gettop(L), listener_new);
  lua_setfield(L, 1, "listener");
  lua_pop(L, 1);
  lua_pushcfunction(L, native_duplicate);
  lua_setfield(L, 1, "duplicate");
}

/* native.sock: TCP and unix connections, and adopted descriptors. */
#include <errno.h>

#include "handle.h"

#define SOCK_CLASS "moonlatch.sock"

void ml_push_sock(lua_State *L, struct ml_sock *sock, bool *taken)
{
  struct ml_handle *h = ml_handle_new(L, SOCK_CLASS, ML_CLASS_SOCK, sizeof *h);
  ml_handle_attach(h, ml_sock_stream(sock));
  *taken = true;
}

/* sock([fd]) → handle | nil, Error */
static int sock_new(lua_State *L)
{
  struct ml_error err;
  lua_settop(L, 1);
  struct ml_handle *h = ml_handle_new(L, SOCK_CLASS, ML_CLASS_SOCK, sizeof *h);
  struct ml_sock *sock = ml_sock_new(h->object.vm->loop, &ml_handle_events, h);
  if (sock == NULL) return luaL_error(L, "out of memory");
  ml_handle_attach(h, ml_sock_stream(sock));
  if (!lua_isnoneornil(L, 1) && ml_sock_open_fd(sock, (int)luaL_checkinteger(L, 1), &err) != 0) {
    return ml_fail(L, &err);
  }
  return 1;
}

/* The sock of an open handle; pushes nil, Error and returns NULL when it is closed. */
static struct ml_sock *open_sock(lua_State *L, const char *call)
{
  struct ml_handle *h = ml_object_self(L);
  struct ml_sock *sock = h->stream ? ml_sock_from(h->stream) : NULL;
  if (sock != NULL) return sock;
  struct ml_error err;
  ml_error_system(&err, EBADF, call);
  ml_fail(L, &err);
  return NULL;
}

static int push_connecting(lua_State *L, int status, const struct ml_error *err)
{
  if (status != 0) return ml_fail(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* connect(ip, port [, localIp, localPort]) → true: `connect` or `error` follows | nil, Error */
static int sock_connect(lua_State *L)
{
  struct ml_addr addr;
  struct ml_addr local;
  struct ml_error err;
  struct ml_sock *sock = open_sock(L, "connect");
  if (sock == NULL) return 2;
  const char *ip = luaL_checkstring(L, 2);
  int port = (int)luaL_checkinteger(L, 3);
  const char *local_ip = luaL_optstring(L, 4, NULL);
  int local_port = (int)luaL_optinteger(L, 5, 0);
  if (ml_addr_ip(&addr, ip, port, "connect", &err) != 0) return ml_fail(L, &err);
  if (local_ip != NULL && ml_addr_ip(&local, local_ip, local_port, "bind", &err) != 0)
    return ml_fail(L, &err);
  return push_connecting(L, ml_sock_connect(sock, &addr, local_ip ? &local : NULL, &err), &err);
}

/* connectUnix(path) → true | nil, Error */
static int sock_connect_unix(lua_State *L)
{
  struct ml_addr addr;
  struct ml_error err;
  size_t len;
  struct ml_sock *sock = open_sock(L, "connect");
  if (sock == NULL) return 2;
  const char *path = luaL_checklstring(L, 2, &len);
  if (ml_addr_unix(&addr, path, len, "connect", &err) != 0) return ml_fail(L, &err);
  return push_connecting(L, ml_sock_connect(sock, &addr, NULL, &err), &err);
}

/* isIP(text) → 4, 6 or 0 */
static int is_ip(lua_State *L)
{
  size_t len;
  const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
  lua_pushinteger(L, text != NULL && text[len] == '\0' ? ml_addr_is_ip(text) : 0);
  return 1;
}

static const luaL_Reg methods[] = {
    ML_HANDLE_METHODS,
    {"connect", sock_connect},
    {"connectUnix", sock_connect_unix},
    {NULL, NULL},
};

void ml_open_sock(lua_State *L)
{
  ml_class_register(L, SOCK_CLASS, methods, ml_handle_gc);
  ml_handle_class(L);
  lua_pop(L, 1);
  lua_pushcfunction(L, sock_new);
  lua_setfield(L, 1, "sock");
  lua_pushcfunction(L, is_ip);
  lua_setfield(L, 1, "isIP");
}

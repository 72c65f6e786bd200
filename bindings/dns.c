/* native.resolver: name look-ups. A query is known by a number; its outcome is the event
 * result(owner, id, err | nil, list), once for every query that is not cancelled. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"
#include "resolver.h"

struct resolver {
  struct ml_object object;
  struct ml_resolver *resolver;
  struct request *requests; /* those pending; the owner is anchored while there is one */
  double last_id;
};

struct request {
  struct resolver *self;
  struct request *prev, *next;
  struct ml_query *query;
  double id;
};

/* What a report needs inside the protected call. */
struct report {
  struct resolver *self;
  double id;
  const struct ml_error *err;
  const struct ml_answer *answers; /* or */
  const char *const *names;
  size_t n;
};

static void unlink_request(struct request *request)
{
  if (request->prev) {
    request->prev->next = request->next;
  } else {
    request->self->requests = request->next;
  }
  if (request->next) request->next->prev = request->prev;
  free(request);
}

/* Pushes { address, family, ttl, address, family, ttl, … } or { name, name, … }. */
static void push_list(lua_State *L, const struct report *report)
{
  char text[INET6_ADDRSTRLEN + 32];

  lua_createtable(L, (int)(report->answers ? 3 * report->n : report->n), 0);
  for (size_t i = 0; report->names && i < report->n; i++) {
    lua_pushstring(L, report->names[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  for (size_t i = 0; report->answers && i < report->n; i++) {
    const struct ml_answer *answer = &report->answers[i];

    lua_pushstring(L, ml_addr_text(&answer->addr, text, sizeof text));
    lua_rawseti(L, -2, (int)(3 * i) + 1);
    lua_pushinteger(L, answer->addr.storage.ss_family == AF_INET6 ? 6 : 4);
    lua_rawseti(L, -2, (int)(3 * i) + 2);
    lua_pushinteger(L, answer->ttl);
    lua_rawseti(L, -2, (int)(3 * i) + 3);
  }
}

static void body_report(lua_State *L, void *arg)
{
  const struct report *report = arg;
  struct resolver *self = report->self;
  bool wanted = ml_push_handler(L, self->object.vm, ML_CLASS_RESOLVER, ML_ON_RESULT);

  ml_object_push_owner(L, &self->object);
  /* From here on the stack alone keeps the owner, and with it the resolver: nothing touches either
   * after the handler, which may let both go. */
  if (!self->requests) ml_object_release(&self->object);
  if (!wanted) return;
  lua_pushnumber(L, report->id);
  if (report->err) {
    ml_push_error(L, report->err);
    lua_call(L, 3, 0);
    return;
  }
  lua_pushnil(L);
  push_list(L, report);
  lua_call(L, 4, 0);
}

static void report(struct request *request, const struct ml_error *err,
                   const struct ml_answer *answers, const char *const *names, size_t n)
{
  struct report report = {request->self, request->id, err, answers, names, n};

  unlink_request(request);
  ml_enter(report.self->object.vm, body_report, &report);
}

static void on_answers(void *user, const struct ml_error *err, const struct ml_answer *answers,
                       size_t n)
{
  report(user, err, answers, NULL, n);
}

static void on_names(void *user, const struct ml_error *err, const char *const *names, size_t n)
{
  report(user, err, NULL, names, n);
}

/* resolver([timeoutMs [, attempts]]): 0 or nothing means what the system says */
static int resolver_new(lua_State *L)
{
  struct ml_resolver_options options = {(int)luaL_optinteger(L, 1, 0),
                                        (int)luaL_optinteger(L, 2, 0)};
  struct ml_error err;
  struct resolver *self = ml_object_new(L, sizeof *self);

  if (ml_resolver_new(&self->resolver, self->object.vm->loop, &options, &err))
    return ml_fail(L, &err);
  return 1;
}

/* A name as a C string; Lua code keeps names with a NUL byte away from here. */
static const char *check_name(lua_State *L, int index)
{
  size_t len;
  const char *name = luaL_checklstring(L, index, &len);

  luaL_argcheck(L, strlen(name) == len, index, "NUL byte in a name");
  return name;
}

static struct request *request_new(lua_State *L, struct resolver *self)
{
  struct request *request;

  luaL_checktype(L, 2, LUA_TTABLE);
  ml_object_anchor(L, &self->object, 2);
  request = calloc(1, sizeof *request);
  if (!request) return NULL;
  request->self = self;
  request->id = ++self->last_id;
  request->next = self->requests;
  if (request->next) request->next->prev = request;
  self->requests = request;
  return request;
}

/* Ends a method that started `query` for `request`: the number, or an error. */
static int started(lua_State *L, struct resolver *self, struct request *request,
                   struct ml_query *query)
{
  if (query) {
    request->query = query;
    lua_pushnumber(L, request->id);
    return 1;
  }
  if (request) unlink_request(request);
  if (!self->requests) ml_object_release(&self->object);
  return luaL_error(L, "not enough memory");
}

/* resolver:lookup(owner, host, family, hints) → id */
static int resolver_lookup(lua_State *L)
{
  struct resolver *self = ml_object_self(L);
  const char *host = check_name(L, 3);
  int family = (int)luaL_checkinteger(L, 4);
  unsigned hints = (unsigned)luaL_checkinteger(L, 5);
  struct request *request = request_new(L, self);
  struct ml_query *query = NULL;

  if (request) query = ml_resolver_lookup(self->resolver, host, family, hints, on_answers, request);
  return started(L, self, request, query);
}

/* resolver:resolve(owner, name, 4 | 6) → id */
static int resolver_resolve(lua_State *L)
{
  struct resolver *self = ml_object_self(L);
  const char *name = check_name(L, 3);
  int family = (int)luaL_checkinteger(L, 4);
  struct request *request = request_new(L, self);
  struct ml_query *query = NULL;

  if (request) query = ml_resolver_resolve(self->resolver, name, family, on_answers, request);
  return started(L, self, request, query);
}

/* resolver:reverse(owner, ip) → id | nil, err */
static int resolver_reverse(lua_State *L)
{
  struct resolver *self = ml_object_self(L);
  const char *ip = check_name(L, 3);
  struct ml_query *query = NULL;
  struct request *request;
  struct ml_error err;
  struct ml_addr addr;

  if (ml_addr_ip(&addr, ip, 0, "inet_pton", &err)) return ml_fail(L, &err);
  request = request_new(L, self);
  if (request) query = ml_resolver_reverse(self->resolver, &addr, on_names, request);
  return started(L, self, request, query);
}

/* resolver:cancel(id): no event follows; nothing happens when the query is no longer pending */
static int resolver_cancel(lua_State *L)
{
  struct resolver *self = ml_object_self(L);
  double id = luaL_checknumber(L, 2);
  struct request *request = self->requests;

  while (request && request->id != id)
    request = request->next;
  if (!request) return 0;
  ml_query_cancel(request->query);
  unlink_request(request);
  if (!self->requests) ml_object_release(&self->object);
  return 0;
}

/* resolver:pending() → how many queries are */
static int resolver_pending(lua_State *L)
{
  const struct resolver *self = ml_object_self(L);

  lua_pushinteger(L, (lua_Integer)ml_resolver_pending(self->resolver));
  return 1;
}

/* resolver:servers() → "127.0.0.1,[::1]:5353" */
static int resolver_servers(lua_State *L)
{
  const struct resolver *self = ml_object_self(L);
  char *text = ml_resolver_servers(self->resolver);

  if (!text) return luaL_error(L, "not enough memory");
  lua_pushstring(L, text);
  free(text);
  return 1;
}

/* resolver:setServers({ ip, port, ip, port, … }) → true | nil, err */
static int resolver_set_servers(lua_State *L)
{
  struct resolver *self = ml_object_self(L);
  struct ml_addr *servers;
  struct ml_error err;
  size_t n;

  luaL_checktype(L, 2, LUA_TTABLE);
  n = lua_objlen(L, 2) / 2;
  servers = lua_newuserdata(L, (n ? n : 1) * sizeof *servers);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 2, (int)(2 * i) + 1);
    lua_rawgeti(L, 2, (int)(2 * i) + 2);
    if (ml_addr_ip(&servers[i], luaL_checkstring(L, -2), (int)luaL_checkinteger(L, -1), "inet_pton",
                   &err))
      return ml_fail(L, &err);
    lua_pop(L, 2);
  }
  if (ml_resolver_set_servers(self->resolver, servers, n, &err)) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int resolver_gc(lua_State *L)
{
  struct resolver *self = ml_object_self(L);

  if (self->object.vm->loop) ml_resolver_free(self->resolver);
  self->resolver = NULL;
  for (struct request *request = self->requests, *next; request; request = next) {
    next = request->next;
    free(request);
  }
  self->requests = NULL;
  return 0;
}

static const luaL_Reg resolver_methods[] = {
    {"lookup", resolver_lookup},          {"resolve", resolver_resolve},
    {"reverse", resolver_reverse},        {"cancel", resolver_cancel},
    {"pending", resolver_pending},        {"servers", resolver_servers},
    {"setServers", resolver_set_servers}, {NULL, NULL},
};

/* isIP(text) → 4, 6 or 0 */
static int is_ip(lua_State *L)
{
  size_t len;
  const char *text = lua_tolstring(L, 1, &len);

  lua_pushinteger(L, text && strlen(text) == len ? ml_addr_is_ip(text) : 0);
  return 1;
}

void ml_open_dns(lua_State *L)
{
  lua_pushcfunction(L, is_ip);
  lua_setfield(L, 1, "isIP");
  ml_class_register(L, "moonlatch.resolver", resolver_methods, resolver_gc);
  ml_class_constructor(L, lua_gettop(L), resolver_new);
  lua_setfield(L, 1, "resolver");
  lua_pop(L, 1);
}

/* native.spawn: other programs, as peers in specs and as workers of a cluster. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bindings.h"

struct child {
  struct ml_object object;
  struct ml_child child;
  int self; /* registry reference to the userdata while the program runs */
};

static void let_go(struct child *child)
{
  ml_object_release(&child->object);
  luaL_unref(child->object.vm->L, LUA_REGISTRYINDEX, child->self);
  child->self = LUA_NOREF;
}

/* The stack keeps owner and userdata while the handler runs. */
static void emit_result(lua_State *L, void *arg)
{
  struct child *child = arg;
  lua_rawgeti(L, LUA_REGISTRYINDEX, child->self);
  bool handled = ml_push_handler(L, child->object.vm, ML_CLASS_CHILD, ML_ON_RESULT);
  if (handled) ml_object_push_owner(L, &child->object);
  let_go(child);
  if (!handled) return;
  lua_pushinteger(L, child->child.status);
  lua_pushinteger(L, child->child.signal);
  lua_call(L, 3, 0);
}

static void on_exit_(struct ml_child *watcher)
{
  struct child *child = ML_CONTAINER_OF(watcher, struct child, child);
  ml_enter(child->object.vm, emit_result, child);
}

/* A NULL-terminated array of the strings in the list at `index`, left on the stack. */
static const char *const *read_strings(lua_State *L, int index)
{
  size_t n = lua_objlen(L, index);
  const char **strings = lua_newuserdata(L, (n + 1) * sizeof(*strings));
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, index, (int)i + 1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "a list of strings expected");
    strings[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  strings[n] = NULL;
  return strings;
}

static void close_all(int *fds, int n)
{
  for (int i = 0; i < n; i++)
    if (fds[i] >= 0) close(fds[i]);
}

/* Makes three pipes: fds[0..2] are the program's ends, fds[3..5] ours. */
static int open_pipes(int fds[6], struct ml_error *err)
{
  for (int i = 0; i < 6; i++)
    fds[i] = -1;
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == -1) {
      ml_error_system(err, errno, "pipe2");
      close_all(fds, 6);
      return -1;
    }
    fds[i] = ends[i == 0 ? 0 : 1];
    fds[3 + i] = ends[i == 0 ? 1 : 0];
  }
  return 0;
}

/* Index 4: `directory`, index 5: `keep`. */
static struct ml_child_options read_options(lua_State *L)
{
  struct ml_child_options options = {.fds = {-1, -1, -1}};
  options.argv = read_strings(L, 2);
  if (lua_istable(L, 3)) options.env = read_strings(L, 3);
  options.cwd = luaL_optstring(L, 4, NULL);
  options.keep = (int)luaL_optinteger(L, 5, 0);
  return options;
}

static int start_piped(struct child *child, struct ml_child_options *options, int fds[6],
                       struct ml_error *err)
{
  if (open_pipes(fds, err)) return -1;
  memcpy(options->fds, fds, sizeof(options->fds));
  if (ml_child_start(&child->child, options, err)) {
    close_all(fds, 6);
    return -1;
  }
  close_all(fds, 3);
  return 0;
}

/* spawn(owner, { program, argument… } [, environment [, directory [, keep]]])
 * → child, stdin, stdout, stderr | nil, Error
 *
 * The last three are descriptors of pipes, the caller's to close. With `keep`, a descriptor that
 * the program finds under the same number, it shares ours instead, and there are none. */
static int native_spawn(lua_State *L)
{
  struct ml_error err;
  int fds[6] = {-1, -1, -1, -1, -1, -1};
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_argcheck(L, lua_objlen(L, 2) > 0, 2, "a program is needed");
  lua_settop(L, 5);
  struct child *child = ml_object_new(L, sizeof(*child)); /* index 6 */
  child->self = LUA_NOREF;
  ml_child_init(&child->child, child->object.vm->loop, on_exit_);
  struct ml_child_options options = read_options(L);
  ml_object_anchor(L, &child->object, 1);
  lua_pushvalue(L, 6);
  child->self = luaL_ref(L, LUA_REGISTRYINDEX);
  int failed = options.keep ? ml_child_start(&child->child, &options, &err)
                            : start_piped(child, &options, fds, &err);
  if (failed) {
    let_go(child);
    return ml_fail(L, &err);
  }
  lua_pushvalue(L, 6);
  if (options.keep) return 1;
  for (int i = 3; i < 6; i++)
    lua_pushinteger(L, fds[i]);
  return 4;
}

/* child:kill(number) → true | nil, Error */
static int child_kill(lua_State *L)
{
  struct ml_error err;
  struct child *child = ml_object_self(L);
  if (ml_child_kill(&child->child, (int)luaL_checkinteger(L, 2), &err)) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int child_pid(lua_State *L)
{
  struct child *child = ml_object_self(L);
  lua_pushinteger(L, child->child.pid);
  return 1;
}

static int child_ref(lua_State *L)
{
  struct child *child = ml_object_self(L);
  ml_child_ref(&child->child, true);
  return 0;
}

static int child_unref(lua_State *L)
{
  struct child *child = ml_object_self(L);
  ml_child_ref(&child->child, false);
  return 0;
}

static int child_has_ref(lua_State *L)
{
  struct child *child = ml_object_self(L);
  lua_pushboolean(L, child->child.ref);
  return 1;
}

static int child_gc(lua_State *L)
{
  struct child *child = ml_object_self(L);
  if (child->object.vm->loop) ml_child_stop(&child->child);
  return 0;
}

static const luaL_Reg methods[] = {
    {"kill", child_kill},   {"pid", child_pid},        {"ref", child_ref},
    {"unref", child_unref}, {"hasRef", child_has_ref}, {NULL, NULL},
};

void ml_open_child(lua_State *L)
{
  ml_class_register(L, "moonlatch.child", methods, child_gc);
  ml_class_constructor(L, lua_gettop(L), native_spawn);
  lua_setfield(L, 1, "spawn");
  lua_pop(L, 1);
}

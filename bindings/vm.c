/* The vm: one per Lua state, and the one way from C into Lua. */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VM_KEY "moonlatch.vm" /* registry: the vm's userdata */
#define THREAD_KEY                                                                                 \
  "moonlatch.thread" /* registry: where callbacks run when nobody runs the loop                    \
                      */

/* The vm with what only this file needs. */
struct vm {
  struct ml_vm shared;
  int trampoline; /* registry references to the two C functions every entry needs, made once */
  int traceback;
  int trace; /* traceback of the last error, a string; LUA_NOREF when there was none */
};

struct call {
  void (*body)(lua_State *L, void *arg);
  void *arg;
};

static int trampoline(lua_State *L)
{
  const struct call *call = lua_touserdata(L, 1);

  lua_settop(L, 0);
  call->body(L, call->arg);
  return 0;
}

/* Message handler: the error stays the value it is. The traceback is kept beside it, and is given
 * to an Error table that has none. */
static int on_error(lua_State *L)
{
  struct vm *vm = (struct vm *)ml_vm(L);

  lua_settop(L, 1);
  luaL_traceback(L, L, NULL, 1);
  if (lua_istable(L, 1)) {
    lua_pushliteral(L, "message");
    lua_rawget(L, 1);
    lua_pushliteral(L, "stack");
    lua_rawget(L, 1);
    if (lua_isstring(L, -2) && lua_isnil(L, -1)) {
      lua_pushliteral(L, "stack");
      lua_pushfstring(L, "%s\n%s", lua_tostring(L, -3), lua_tostring(L, 2));
      lua_rawset(L, 1);
    }
  }
  lua_settop(L, 2);
  luaL_unref(L, LUA_REGISTRYINDEX, vm->trace);
  vm->trace = luaL_ref(L, LUA_REGISTRYINDEX);
  return 1;
}

/* The vm asked for last in this thread, since most processes have one Lua state: looking it up by
 * name takes longer than many a call that needs it. A registry is as good as its state. */
static _Thread_local struct {
  const void *registry;
  struct ml_vm *vm;
} last;

static int vm_gc(lua_State *L)
{
  struct ml_vm *vm = lua_touserdata(L, 1);

  if (last.vm == vm) last.registry = NULL;
  if (vm->loop) ml_loop_free(vm->loop);
  vm->loop = NULL;
  return 0;
}

static int reference(lua_State *L, lua_CFunction fn)
{
  lua_pushcfunction(L, fn);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* A state of our own: the one that happened to load us may be a coroutine that dies. */
static lua_State *anchored_thread(lua_State *L)
{
  lua_State *thread = lua_newthread(L);

  lua_setfield(L, LUA_REGISTRYINDEX, THREAD_KEY);
  return thread;
}

/* The collector works in steps, one for each time it is looked at, and a step does little when left
 * as it is. A connection makes strings of up to 64 KiB, one look each, so garbage would pile up by
 * tens of megabytes before a cycle ends. Steps of 10 KiB keep a busy echo server under 20 MiB and
 * cost it nothing that can be measured. */
#define GC_STEP_MULTIPLIER 1000

static struct vm *vm_new(lua_State *L)
{
  struct ml_error err;
  struct vm *vm = lua_newuserdata(L, sizeof *vm);

  memset(vm, 0, sizeof *vm);
  vm->shared.L = anchored_thread(L);
  for (int c = 0; c < ML_CLASS_COUNT; c++) {
    for (int e = 0; e < ML_EVENT_COUNT; e++)
      vm->shared.handlers[c][e] = LUA_NOREF;
  }
  vm->shared.drain = vm->shared.ticks = LUA_NOREF;
  vm->shared.uncaught = LUA_NOREF;
  vm->trace = LUA_NOREF;
  vm->trampoline = reference(L, trampoline);
  vm->traceback = reference(L, on_error);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, vm_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_gc(L, LUA_GCSETSTEPMUL, GC_STEP_MULTIPLIER);
  if (ml_loop_new(&vm->shared.loop, &err)) luaL_error(L, "moonlatch: %s", err.message);
  lua_setfield(L, LUA_REGISTRYINDEX, VM_KEY);
  return vm;
}

struct ml_vm *ml_vm(lua_State *L)
{
  const void *registry = lua_topointer(L, LUA_REGISTRYINDEX);
  struct vm *vm;

  if (last.registry == registry) return last.vm;
  lua_getfield(L, LUA_REGISTRYINDEX, VM_KEY);
  vm = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!vm) vm = vm_new(L);
  if (vm->shared.loop) { /* or the state is being closed */
    last.registry = registry;
    last.vm = &vm->shared;
  }
  return &vm->shared;
}

/* Without a Lua function to take it, or when that function fails too: say it and end. Node exits
 * with 7 when the handler of an uncaught error fails. */
static void die(lua_State *L, int status)
{
  const char *text;

  lua_getglobal(L, "tostring");
  lua_insert(L, -2);
  text = lua_pcall(L, 1, 1, 0) ? NULL : lua_tostring(L, -1);
  fprintf(stderr, "Uncaught %s\n", text ? text : "(error object)");
  exit(status);
}

/* Takes the error off the top of the stack to uncaught(err, traceback). */
static void report(struct vm *vm, lua_State *L)
{
  if (vm->shared.uncaught == LUA_NOREF) die(L, EXIT_FAILURE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->shared.uncaught);
  lua_insert(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->trace);
  luaL_unref(L, LUA_REGISTRYINDEX, vm->trace);
  vm->trace = LUA_NOREF;
  if (lua_pcall(L, 2, 0, 0)) die(L, 7);
}

/* One protected call. */
static int enter(struct vm *vm, void (*body)(lua_State *L, void *arg), void *arg)
{
  lua_State *L = vm->shared.L;
  struct call call = {body, arg};
  int top = lua_gettop(L);
  int status;

  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->traceback);
  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->trampoline);
  lua_pushlightuserdata(L, &call);
  status = lua_pcall(L, 1, 0, top + 1);
  if (status) report(vm, L);
  lua_settop(L, top);
  return status ? -1 : 0;
}

static void run_drain(lua_State *L, void *arg)
{
  struct ml_vm *vm = arg;

  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->drain);
  lua_call(L, 0, 0);
}

/* Whether the nextTick queue has something in it: the first field of a table that both sides know.
 * For Lua to call a function would end a compiled trace each time. */
static bool ticks_pending(const struct ml_vm *vm)
{
  lua_State *L = vm->L;
  bool pending;

  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ticks);
  lua_rawgeti(L, -1, 1);
  pending = lua_toboolean(L, -1);
  lua_pop(L, 2);
  return pending;
}

static void set_ticks_pending(const struct ml_vm *vm, bool pending)
{
  lua_State *L = vm->L;

  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ticks);
  lua_pushboolean(L, pending);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
}

/* Runs the nextTick queue until it is empty, when nothing is on the stack that will. */
static void drain(struct ml_vm *vm)
{
  if (vm->depth > 0 || vm->drain == LUA_NOREF || !ticks_pending(vm)) return;
  vm->depth++;
  do {
    set_ticks_pending(vm, false);
    /* A tick that raised leaves those behind it in the queue. */
    if (enter((struct vm *)vm, run_drain, vm)) set_ticks_pending(vm, true);
  } while (ticks_pending(vm));
  vm->depth--;
}

int ml_enter(struct ml_vm *vm, void (*body)(lua_State *L, void *arg), void *arg)
{
  int status;

  vm->depth++;
  status = enter((struct vm *)vm, body, arg);
  vm->depth--;
  drain(vm);
  return status;
}

int ml_vm_on(lua_State *L, struct ml_vm *vm, int (*step)(struct ml_vm *vm, void *arg), void *arg)
{
  lua_State *L_before = vm->L;
  unsigned depth_before = vm->depth;
  int result;

  vm->L = L;
  vm->depth = 0;
  /* We may be in one tick of several, which the flag tells nothing of. */
  if (vm->drain != LUA_NOREF) set_ticks_pending(vm, true);
  drain(vm);
  result = step(vm, arg);
  vm->depth = depth_before;
  vm->L = L_before;
  return result;
}

bool ml_push_handler(lua_State *L, struct ml_vm *vm, enum ml_class_id class_id, enum ml_event event)
{
  int reference_ = vm->handlers[class_id][event];

  if (reference_ == LUA_NOREF) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, reference_);
  return true;
}

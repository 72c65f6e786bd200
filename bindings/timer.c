/* native.timer, native.signal, and the wake-up for immediates. */
#include "timer.h"

#include "bindings.h"
#include "immediate.h"
#include "sigwatch.h"

struct timer {
  struct ml_object object;
  struct ml_timer timer;
  int self; /* registry reference to the userdata while it can fire */
};

static void hold(lua_State *L, int *reference)
{
  if (*reference != LUA_NOREF) return;
  lua_pushvalue(L, 1);
  *reference = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void let_go(struct ml_object *object, int *reference)
{
  ml_object_release(object);
  luaL_unref(object->vm->L, LUA_REGISTRYINDEX, *reference);
  *reference = LUA_NOREF;
}

/* The handler may do anything, letting the timer be collected included: a one-shot is let go
 * before, while this stack still holds it, and nothing is touched after. */
static void emit_timeout(lua_State *L, void *arg)
{
  struct timer *timer = arg;

  lua_rawgeti(L, LUA_REGISTRYINDEX, timer->self);
  if (!ml_push_handler(L, timer->object.vm, ML_CLASS_TIMER, ML_ON_TIMEOUT)) return;
  ml_object_push_owner(L, &timer->object);
  if (!ml_timer_active(&timer->timer)) let_go(&timer->object, &timer->self);
  lua_call(L, 1, 0);
}

static void on_timeout(struct ml_timer *watcher)
{
  struct timer *timer = ML_CONTAINER_OF(watcher, struct timer, timer);

  ml_enter(timer->object.vm, emit_timeout, timer);
}

/* timer() */
static int timer_new(lua_State *L)
{
  struct timer *timer = ml_object_new(L, sizeof *timer);

  timer->self = LUA_NOREF;
  ml_timer_init(&timer->timer, timer->object.vm->loop, on_timeout);
  return 1;
}

static double check_ms(lua_State *L, int index, double fallback)
{
  double ms = luaL_optnumber(L, index, fallback);

  return ms > 0 ? ms : 0;
}

/* timer:start(owner, ms [, repeatMs]) */
static int timer_start(lua_State *L)
{
  struct timer *timer = ml_object_self(L);
  double ms = check_ms(L, 3, 0);
  double repeat = check_ms(L, 4, 0);

  luaL_checktype(L, 2, LUA_TTABLE);
  ml_object_anchor(L, &timer->object, 2);
  hold(L, &timer->self);
  ml_timer_start(&timer->timer, ms, repeat);
  return 0;
}

static int timer_stop(lua_State *L)
{
  struct timer *timer = ml_object_self(L);

  ml_timer_stop(&timer->timer);
  let_go(&timer->object, &timer->self);
  return 0;
}

static int timer_ref(lua_State *L)
{
  struct timer *timer = ml_object_self(L);

  ml_timer_ref(&timer->timer, true);
  return 0;
}

static int timer_unref(lua_State *L)
{
  struct timer *timer = ml_object_self(L);

  ml_timer_ref(&timer->timer, false);
  return 0;
}

static int timer_has_ref(lua_State *L)
{
  const struct timer *timer = ml_object_self(L);

  lua_pushboolean(L, timer->timer.ref);
  return 1;
}

static int timer_gc(lua_State *L)
{
  struct timer *timer = ml_object_self(L);

  if (timer->object.vm->loop) ml_timer_stop(&timer->timer);
  return 0;
}

static const luaL_Reg timer_methods[] = {
    {"start", timer_start}, {"stop", timer_stop},      {"ref", timer_ref},
    {"unref", timer_unref}, {"hasRef", timer_has_ref}, {NULL, NULL},
};

struct signal {
  struct ml_object object;
  struct ml_sigwatch watcher;
  int self; /* registry reference to the userdata while it watches */
};

static void emit_signal(lua_State *L, void *arg)
{
  const struct signal *watcher = arg;

  if (!ml_push_handler(L, watcher->object.vm, ML_CLASS_SIGNAL, ML_ON_SIGNAL)) return;
  ml_object_push_owner(L, &watcher->object);
  lua_pushinteger(L, watcher->watcher.ev.signum);
  lua_call(L, 2, 0);
}

static void on_signal(struct ml_sigwatch *watcher)
{
  struct signal *signal = ML_CONTAINER_OF(watcher, struct signal, watcher);

  ml_enter(signal->object.vm, emit_signal, signal);
}

/* signal() */
static int signal_new(lua_State *L)
{
  struct signal *signal = ml_object_new(L, sizeof *signal);

  signal->self = LUA_NOREF;
  ml_sigwatch_init(&signal->watcher, signal->object.vm->loop, on_signal);
  return 1;
}

/* signal:start(owner, number) → true | nil, err */
static int signal_start(lua_State *L)
{
  struct signal *signal = ml_object_self(L);
  int number = (int)luaL_checkinteger(L, 3);
  struct ml_error err;

  luaL_checktype(L, 2, LUA_TTABLE);
  if (ml_sigwatch_start(&signal->watcher, number, &err)) return ml_fail(L, &err);
  ml_object_anchor(L, &signal->object, 2);
  hold(L, &signal->self);
  lua_pushboolean(L, 1);
  return 1;
}

static int signal_stop(lua_State *L)
{
  struct signal *signal = ml_object_self(L);

  ml_sigwatch_stop(&signal->watcher);
  let_go(&signal->object, &signal->self);
  return 0;
}

static int signal_gc(lua_State *L)
{
  struct signal *signal = ml_object_self(L);

  if (signal->object.vm->loop) ml_sigwatch_stop(&signal->watcher);
  return 0;
}

static const luaL_Reg signal_methods[] = {
    {"start", signal_start}, {"stop", signal_stop}, {NULL, NULL}};

/* The one immediate of a vm: Lua keeps the queue, this wakes it. */
struct immediate {
  struct ml_vm *vm;
  struct ml_immediate immediate;
  int callback; /* registry reference */
};

static void body_immediate(lua_State *L, void *arg)
{
  const struct immediate *immediate = arg;

  lua_rawgeti(L, LUA_REGISTRYINDEX, immediate->callback);
  lua_call(L, 0, 0);
}

static void on_immediate(struct ml_immediate *watcher)
{
  struct immediate *immediate = ML_CONTAINER_OF(watcher, struct immediate, immediate);

  /* A callback that raised left those behind it in the queue, for this same turn. */
  while (ml_enter(immediate->vm, body_immediate, immediate))
    continue;
}

/* immediates(fn): fn runs the queue when it is asked for */
static int immediates(lua_State *L)
{
  struct immediate *immediate = lua_touserdata(L, lua_upvalueindex(1));

  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_unref(L, LUA_REGISTRYINDEX, immediate->callback);
  lua_settop(L, 1);
  immediate->callback = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* immediatesWanted(ref | nil): true or false asks for one run, referenced or not; nil takes the
 * request back */
static int immediates_wanted(lua_State *L)
{
  struct immediate *immediate = lua_touserdata(L, lua_upvalueindex(1));

  if (lua_isnoneornil(L, 1)) {
    ml_immediate_cancel(&immediate->immediate);
  } else {
    ml_immediate_request(&immediate->immediate, lua_toboolean(L, 1));
  }
  return 0;
}

static int immediate_gc(lua_State *L)
{
  struct immediate *immediate = lua_touserdata(L, 1);

  if (immediate->vm->loop) ml_immediate_cancel(&immediate->immediate);
  return 0;
}

static void open_immediates(lua_State *L)
{
  struct immediate *immediate = lua_newuserdata(L, sizeof *immediate);

  immediate->vm = ml_vm(L);
  immediate->callback = LUA_NOREF;
  ml_immediate_init(&immediate->immediate, immediate->vm->loop, on_immediate);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, immediate_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, immediates, 1);
  lua_setfield(L, 1, "immediates");
  lua_pushcclosure(L, immediates_wanted, 1);
  lua_setfield(L, 1, "immediatesWanted");
}

void ml_open_timer(lua_State *L)
{
  ml_class_register(L, "moonlatch.timer", timer_methods, timer_gc);
  ml_class_constructor(L, lua_gettop(L), timer_new);
  lua_setfield(L, 1, "timer");
  ml_class_register(L, "moonlatch.signal", signal_methods, signal_gc);
  ml_class_constructor(L, lua_gettop(L), signal_new);
  lua_setfield(L, 1, "signal");
  lua_pop(L, 2);
  open_immediates(L);
}

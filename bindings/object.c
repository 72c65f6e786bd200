/* Native objects: classes, the check of self, owners, events. */
#include <string.h>

#include "bindings.h"

static int object_tostring(lua_State *L)
{
  lua_pushfstring(L, "%s: %p", lua_tostring(L, lua_upvalueindex(2)), lua_topointer(L, 1));
  return 1;
}

void ml_class_register(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
  int metatable;

  luaL_newmetatable(L, name);
  metatable = lua_gettop(L);
  lua_pushstring(L, name);
  lua_setfield(L, metatable, "__name");
  /* Scripts never get the metatable itself, so __gc cannot be called by hand. */
  lua_pushstring(L, name);
  lua_setfield(L, metatable, "__metatable");
  lua_pushvalue(L, metatable);
  lua_pushstring(L, name);
  lua_pushcclosure(L, object_tostring, 2);
  lua_setfield(L, metatable, "__tostring");
  if (gc) {
    ml_class_constructor(L, metatable, gc);
    lua_setfield(L, metatable, "__gc");
  }
  lua_newtable(L);
  for (; methods && methods->name; methods++) {
    ml_class_constructor(L, metatable, methods->func);
    lua_setfield(L, -2, methods->name);
  }
  lua_setfield(L, metatable, "__index");
}

void ml_class_constructor(lua_State *L, int metatable, lua_CFunction fn)
{
  lua_pushvalue(L, metatable);
  lua_pushcclosure(L, fn, 1);
}

void *ml_object_new(lua_State *L, size_t size)
{
  struct ml_object *object = lua_newuserdata(L, size);

  memset(object, 0, size);
  object->vm = ml_vm(L);
  object->owner = LUA_NOREF;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, -2);
  return object;
}

void *ml_object_self(lua_State *L)
{
  void *object = lua_touserdata(L, 1);

  if (!object || !lua_getmetatable(L, 1)) luaL_error(L, "bad self");
  if (!lua_rawequal(L, -1, lua_upvalueindex(1))) luaL_error(L, "bad self");
  lua_pop(L, 1);
  return object;
}

void *ml_object_check(lua_State *L, int index, const char *name)
{
  return luaL_checkudata(L, index, name);
}

void ml_object_anchor(lua_State *L, struct ml_object *object, int index)
{
  lua_pushvalue(L, index);
  if (object->owner == LUA_NOREF) {
    object->owner = luaL_ref(L, LUA_REGISTRYINDEX);
  } else {
    lua_rawseti(L, LUA_REGISTRYINDEX, object->owner);
  }
}

void ml_object_release(struct ml_object *object)
{
  luaL_unref(object->vm->L, LUA_REGISTRYINDEX, object->owner);
  object->owner = LUA_NOREF;
}

void ml_object_push_owner(lua_State *L, const struct ml_object *object)
{
  if (object->owner == LUA_NOREF) {
    lua_pushnil(L);
  } else {
    lua_rawgeti(L, LUA_REGISTRYINDEX, object->owner);
  }
}

/* What one event needs inside the protected call. */
struct emission {
  const struct ml_object *object;
  enum ml_class_id class_id;
  enum ml_event event;
  const struct ml_error *err; /* NULL for an event without argument */
};

static void emit(lua_State *L, void *arg)
{
  const struct emission *emission = arg;

  if (!ml_push_handler(L, emission->object->vm, emission->class_id, emission->event)) return;
  ml_object_push_owner(L, emission->object);
  if (emission->err) ml_push_error(L, emission->err);
  lua_call(L, emission->err ? 2 : 1, 0);
}

void ml_object_emit(struct ml_object *object, enum ml_class_id class_id, enum ml_event event)
{
  struct emission emission = {object, class_id, event, NULL};

  if (object->owner != LUA_NOREF) ml_enter(object->vm, emit, &emission);
}

void ml_object_emit_error(struct ml_object *object, enum ml_class_id class_id, enum ml_event event,
                          const struct ml_error *err)
{
  struct emission emission = {object, class_id, event, err};

  if (object->owner != LUA_NOREF) ml_enter(object->vm, emit, &emission);
}

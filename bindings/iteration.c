#include "iteration.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

static int next(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (lua_next(L, 1)) return 2;
  lua_pushnil(L);
  return 1;
}

/* The upvalue is `next`. */
static int pairs(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

static bool has(lua_State *L, const char *field, const char *value)
{
  lua_getfield(L, -1, field);
  const char *actual = lua_tostring(L, -1);
  bool same = actual && strcmp(actual, value) == 0;
  lua_pop(L, 1);
  return same;
}

/* Releases since carry another version. */
static bool compiles_wrongly(lua_State *L)
{
  lua_getglobal(L, "jit");
  bool wrong =
      lua_istable(L, -1) && has(L, "version", "LuaJIT 2.1.0-beta3") && has(L, "arch", "x64");
  lua_pop(L, 1);
  return wrong;
}

void ml_iteration_install(lua_State *L)
{
  if (!compiles_wrongly(L)) return;
  lua_pushcfunction(L, next);
  lua_pushvalue(L, -1);
  lua_setglobal(L, "next");
  lua_pushcclosure(L, pairs, 1);
  lua_setglobal(L, "pairs");
}

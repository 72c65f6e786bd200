/* native.census: which native objects are open. The registry holds the owner of each, from open to
 * close (bindings.h), so the answer is read there and costs nothing as long as nobody asks. */
#include "spec.h"

#include <string.h>

#include "bindings.h"

#define PREFIX "moonlatch."

/* The class of the userdata on top without the prefix, or NULL for one that is not ours. */
static const char *class_of(lua_State *L)
{
  const char *name = NULL;
  if (!lua_getmetatable(L, -1)) return NULL;
  lua_getfield(L, -1, "__name");
  if (lua_type(L, -1) == LUA_TSTRING) name = lua_tostring(L, -1);
  lua_pop(L, 2);
  if (!name || strncmp(name, PREFIX, strlen(PREFIX)) != 0) return NULL;
  return name + strlen(PREFIX);
}

/* Appends { owner=, handle=, kind= } to the table at `list` for each of our userdata in the table
 * on top. */
static void list_handles(lua_State *L, int list)
{
  int owner = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, owner); lua_pop(L, 1)) {
    const char *kind = lua_type(L, -1) == LUA_TUSERDATA ? class_of(L) : NULL;
    if (!kind) continue;
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, owner);
    lua_setfield(L, -2, "owner");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "handle");
    lua_pushstring(L, kind);
    lua_setfield(L, -2, "kind");
    lua_rawseti(L, list, (int)lua_objlen(L, list) + 1);
  }
}

/* census() → list of { owner=, handle=, kind= }
 * References have numbers. Between them may be gaps, so that their count says nothing. */
static int native_census(lua_State *L)
{
  lua_settop(L, 0);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TNUMBER && lua_istable(L, -1)) list_handles(L, 1);
  return 1;
}

void ml_open_census(lua_State *L)
{
  lua_pushcfunction(L, native_census);
  lua_setfield(L, 1, "census");
}

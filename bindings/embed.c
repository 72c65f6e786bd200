/* Loaders of the embedded modules. */
#include "embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bindings.h"
#include "vm.h"

#define MODULES "moonlatch.modules" /* registry: module name → its value */

/* Pushes the chunk of a module: its file below MOONLATCH_LUA_PATH when there is one, else the
 * embedded bytecode. */
static void push_chunk(lua_State *L, const struct ml_embedded *module)
{
  const char *directory = getenv("MOONLATCH_LUA_PATH");
  int status;

  if (directory && *directory) {
    const char *file = luaL_gsub(L, module->name, ".", "/");
    const char *path = lua_pushfstring(L, "%s/%s.lua", directory, file);

    if (access(path, R_OK) == 0) {
      if (luaL_loadfile(L, path)) lua_error(L);
      return;
    }
  }
  status = luaL_loadbuffer(L, (const char *)module->code, module->size, module->name);
  if (status) lua_error(L);
}

/* package.preload loader; upvalue 1 is the struct ml_embedded, or NULL for moonlatch.native. */
static int load_module(lua_State *L)
{
  const struct ml_embedded *module = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = luaL_checkstring(L, 1);

  lua_settop(L, 1);
  luaL_findtable(L, LUA_REGISTRYINDEX, MODULES, 64);
  lua_getfield(L, 2, name);
  if (!lua_isnil(L, -1)) return 1;
  if (module) {
    push_chunk(L, module);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
  } else {
    ml_push_native(L);
  }
  if (lua_isnil(L, -1)) lua_pushboolean(L, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, 2, name);
  return 1;
}

static void preload(lua_State *L, int table, const char *name, const struct ml_embedded *module)
{
  lua_pushlightuserdata(L, (void *)module);
  lua_pushcclosure(L, load_module, 1);
  lua_setfield(L, table, name);
}

void ml_embed_install(lua_State *L)
{
  int table;

  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  table = lua_gettop(L);
  for (const struct ml_embedded *module = ml_embedded; module->name; module++) {
    preload(L, table, module->name, module);
  }
  preload(L, table, "moonlatch.native", NULL);
  lua_pop(L, 2);
}

#include "scratch.h"

#include <lauxlib.h>
#include <stddef.h>
#include <string.h>

#define SCRATCH_KEY "moonlatch.scratch" /* registry: the userdata that owns the BIO */

static int scratch_gc(lua_State *L)
{
  BIO **box = lua_touserdata(L, 1);
  BIO_free(*box);
  *box = NULL;
  return 0;
}

static BIO *scratch_new(lua_State *L)
{
  BIO **box = lua_newuserdata(L, sizeof(*box));
  *box = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, scratch_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  *box = BIO_new(BIO_s_mem());
  if (!*box) luaL_error(L, "not enough memory");
  lua_setfield(L, LUA_REGISTRYINDEX, SCRATCH_KEY);
  return *box;
}

BIO *ml_scratch(lua_State *L)
{
  lua_getfield(L, LUA_REGISTRYINDEX, SCRATCH_KEY);
  BIO **box = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!box) return scratch_new(L);
  (void)BIO_reset(*box);
  return *box;
}

char *ml_scratch_text(BIO *scratch, const char **end)
{
  static char empty[1];
  char *data;
  long len = BIO_get_mem_data(scratch, &data);
  if (!data) data = empty; /* nobody has ever written to it */
  *end = data + len;
  return data;
}

void ml_push_scratch(lua_State *L, BIO *scratch)
{
  const char *end;
  const char *text = ml_scratch_text(scratch, &end);
  lua_pushlstring(L, text, (size_t)(end - text));
}

void ml_push_written(lua_State *L, BIO *scratch, int written)
{
  if (written > 0)
    ml_push_scratch(L, scratch);
  else
    lua_pushnil(L);
}

void ml_push_lines(lua_State *L, BIO *scratch)
{
  const char *end;
  const char *line = ml_scratch_text(scratch, &end);
  int n = 0;
  lua_createtable(L, 1, 0);
  while (line < end) {
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    if (!stop) stop = end;
    lua_pushlstring(L, line, (size_t)(stop - line));
    lua_rawseti(L, -2, ++n);
    line = stop + 1;
  }
}

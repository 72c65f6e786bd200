#include "options.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tls_context.h"

static void read_blob(lua_State *L, struct ml_tls_blob *blob)
{
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, -1, 2);
    blob->passphrase = lua_tostring(L, -1);
    lua_rawgeti(L, -2, 1);
    blob->data = luaL_checklstring(L, -1, &blob->len);
    lua_pop(L, 2);
    return;
  }
  blob->passphrase = NULL;
  blob->data = luaL_checklstring(L, -1, &blob->len);
}

/* The value is on top; its array takes its place (the strings are held by the table it came from).
 */
static void read_blobs(lua_State *L, struct ml_tls_blobs *blobs)
{
  size_t n = lua_objlen(L, -1);
  struct ml_tls_blob *items = lua_newuserdata(L, (n ? n : 1) * sizeof(*items));
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    read_blob(L, &items[i]);
    lua_pop(L, 1);
  }
  lua_remove(L, -2);
  blobs->items = items;
  blobs->count = n;
}

/* The value is on top and stays there. */
static void read_value(lua_State *L, const struct ml_option *option, void *out)
{
  void *field = (char *)out + option->offset;
  switch (option->kind) {
  case ML_OPTION_BOOL:
    *(bool *)field = lua_toboolean(L, -1);
    break;
  case ML_OPTION_INT:
    *(int *)field = (int)luaL_checkinteger(L, -1);
    break;
  case ML_OPTION_LONG:
    *(long *)field = (long)luaL_checknumber(L, -1);
    break;
  case ML_OPTION_U64:
    *(uint64_t *)field = (uint64_t)luaL_checknumber(L, -1);
    break;
  case ML_OPTION_STRING:
    *(const char **)field = luaL_checkstring(L, -1);
    break;
  case ML_OPTION_BYTES:
    *(const uint8_t **)field = (const uint8_t *)luaL_checklstring(
        L, -1, (size_t *)(void *)((char *)out + option->len_offset));
    break;
  case ML_OPTION_BLOB:
    read_blob(L, field);
    break;
  case ML_OPTION_BLOBS:
    read_blobs(L, field);
    break;
  }
}

void ml_options_read(lua_State *L, int index, const struct ml_option *list, void *out)
{
  luaL_checktype(L, index, LUA_TTABLE);
  for (; list->name; list++) {
    luaL_checkstack(L, 4, "options");
    lua_getfield(L, index, list->name);
    if (!lua_isnil(L, -1)) read_value(L, list, out);
    if (list->kind != ML_OPTION_BLOBS) lua_pop(L, 1);
  }
}

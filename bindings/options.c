#include "options.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tls_context.h"

/* The value on top, which must be of `type`: a number taken for a string would leave us with memory
 * that nobody holds. */
static void check(lua_State *L, const struct ml_option *option, int type)
{
  if (lua_type(L, -1) != type)
    luaL_error(L, "%s: %s expected, got %s", option->name, lua_typename(L, type),
               luaL_typename(L, -1));
}

static const char *read_string(lua_State *L, const struct ml_option *option, size_t *len)
{
  check(L, option, LUA_TSTRING);
  return lua_tolstring(L, -1, len);
}

/* A number of `min` to `max`, both of which a double holds exactly. */
static lua_Number read_number(lua_State *L, const struct ml_option *option, lua_Number min,
                              lua_Number max)
{
  check(L, option, LUA_TNUMBER);
  lua_Number value = lua_tonumber(L, -1);
  if (!(value >= min && value <= max)) luaL_error(L, "%s: out of range", option->name);
  return value;
}

static void read_blob(lua_State *L, const struct ml_option *option, struct ml_tls_blob *blob)
{
  blob->passphrase = NULL;
  if (!lua_istable(L, -1)) {
    blob->data = read_string(L, option, &blob->len);
    return;
  }
  lua_rawgeti(L, -1, 2);
  if (!lua_isnil(L, -1)) blob->passphrase = read_string(L, option, NULL);
  lua_rawgeti(L, -2, 1);
  blob->data = read_string(L, option, &blob->len);
  lua_pop(L, 2);
}

/* The value is on top; its array takes its place (the strings are held by the table it came from).
 */
static void read_blobs(lua_State *L, const struct ml_option *option, struct ml_tls_blobs *blobs)
{
  check(L, option, LUA_TTABLE);
  size_t n = lua_objlen(L, -1);
  struct ml_tls_blob *items = lua_newuserdata(L, (n ? n : 1) * sizeof(*items));
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    read_blob(L, option, &items[i]);
    lua_pop(L, 1);
  }
  lua_remove(L, -2);
  blobs->items = items;
  blobs->count = n;
}

#define EXACT 9007199254740992.0 /* 2^53 */

/* The value is on top and stays there, but for the list of ML_OPTION_BLOBS. */
static void read_value(lua_State *L, const struct ml_option *option, void *out)
{
  void *field = (char *)out + option->offset;
  switch (option->kind) {
  case ML_OPTION_BOOL:
    *(bool *)field = lua_toboolean(L, -1);
    break;
  case ML_OPTION_INT:
    *(int *)field = (int)read_number(L, option, INT_MIN, INT_MAX);
    break;
  case ML_OPTION_LONG:
    *(long *)field = (long)read_number(L, option, -EXACT, EXACT);
    break;
  case ML_OPTION_U64:
    *(uint64_t *)field = (uint64_t)read_number(L, option, 0, EXACT);
    break;
  case ML_OPTION_STRING:
    *(const char **)field = read_string(L, option, NULL);
    break;
  case ML_OPTION_BYTES:
    *(const uint8_t **)field = (const uint8_t *)read_string(
        L, option, (size_t *)(void *)((char *)out + option->len_offset));
    break;
  case ML_OPTION_BLOB:
    read_blob(L, option, field);
    break;
  case ML_OPTION_BLOBS:
    read_blobs(L, option, field);
    break;
  }
}

void ml_options_read(lua_State *L, int index, const struct ml_option *list, void *out)
{
  luaL_checktype(L, index, LUA_TTABLE);
  for (; list->name; list++) {
    luaL_checkstack(L, 4, "options");
    /* Raw: what a metamethod made would be held by nobody. */
    lua_pushstring(L, list->name);
    lua_rawget(L, index);
    if (!lua_isnil(L, -1)) read_value(L, list, out);
    if (list->kind != ML_OPTION_BLOBS) lua_pop(L, 1);
  }
}

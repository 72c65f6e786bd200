/* native.makeTempDirectory, removeTree: places for a spec's files and unix sockets. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "bindings.h"
#include "spec.h"

/* makeTempDirectory() → path | nil, Error */
static int native_make_temp_directory(lua_State *L)
{
  char path[256];
  struct ml_error err;
  const char *parent = getenv("TMPDIR");
  int len =
      snprintf(path, sizeof(path), "%s/moonlatch-XXXXXX", parent && *parent ? parent : "/tmp");
  if (len < (int)sizeof(path) && mkdtemp(path)) {
    lua_pushstring(L, path);
    return 1;
  }
  ml_error_system(&err, len < (int)sizeof(path) ? errno : ENAMETOOLONG, "mkdtemp");
  return ml_fail(L, &err);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
  (void)info, (void)type, (void)place;
  return remove(path);
}

/* removeTree(path) → true | nil, Error. Symbolic links are removed, not followed. */
static int native_remove_tree(lua_State *L)
{
  struct ml_error err;
  const char *path = luaL_checkstring(L, 1);
  if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) {
    lua_pushboolean(L, 1);
    return 1;
  }
  ml_error_system_at(&err, errno, "rm", path, 0);
  return ml_fail(L, &err);
}

void ml_open_tempdir(lua_State *L)
{
  lua_pushcfunction(L, native_make_temp_directory);
  lua_setfield(L, 1, "makeTempDirectory");
  lua_pushcfunction(L, native_remove_tree);
  lua_setfield(L, 1, "removeTree");
}

/* require 'moonlatch' from a stock luajit. */
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>

#include "embed.h"

__attribute__((visibility("default"))) int luaopen_moonlatch(lua_State *L);

/* A write to a pipe whose reader has gone must be an error of that write, not the end of the
 * process. A host that has its own idea about SIGPIPE keeps it. */
static void ignore_sigpipe(void)
{
  struct sigaction action;

  if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
    signal(SIGPIPE, SIG_IGN);
}

int luaopen_moonlatch(lua_State *L)
{
  ignore_sigpipe();
  ml_embed_install(L);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_getfield(L, -1, "moonlatch");
  lua_pushliteral(L, "moonlatch");
  lua_call(L, 1, 1);
  return 1;
}

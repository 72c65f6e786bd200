/* Lua modules compiled into the program: bytecode, made from lua/ at build time. */
#ifndef ML_EMBED_H
#define ML_EMBED_H

#include <lua.h>
#include <stddef.h>

struct ml_embedded {
  const char *name; /* "tls", "moonlatch.class" */
  const unsigned char *code;
  size_t size;
};

/* All of them; the last entry has no name. Defined by a generated file. */
extern const struct ml_embedded ml_embedded[];

/* Puts a loader for every embedded module, and for moonlatch.native, into package.preload. A loader
 * runs its module once per state and remembers the value: when package.loaded is cleared (busted
 * does so between files) the next require gives the same module again, because classes and the loop
 * must exist once. With MOONLATCH_LUA_PATH set to a directory, files found there take the place of
 * embedded ones. May be called again. */
void ml_embed_install(lua_State *L);

#endif

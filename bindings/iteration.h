/* The globals `next` and `pairs`, where LuaJIT's own cannot be trusted. */
#ifndef ML_ITERATION_H
#define ML_ITERATION_H

#include <lua.h>

/* LuaJIT of before April 2022, Debian 12's for one, may compile a call of `next` on x64 so that the
 * upper half of a pointer is lost: which registers the values happen to get decides, and then the
 * process ends on SIGSEGV (LuaJIT issue 829). Calls of C functions are not compiled, so there the
 * globals become such functions, that do the same. Elsewhere nothing changes. To be called before
 * anything takes the globals for itself. */
void ml_iteration_install(lua_State *L);

#endif

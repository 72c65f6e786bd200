/* Openers of what only require 'moonlatch.spec' uses. */
#ifndef ML_SPEC_H
#define ML_SPEC_H

#include <lua.h>

void ml_open_census(lua_State *L);
void ml_open_tempdir(lua_State *L);

#endif

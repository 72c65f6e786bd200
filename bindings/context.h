/* native.context: a TLS context as a Lua value. */
#ifndef ML_BINDING_CONTEXT_H
#define ML_BINDING_CONTEXT_H

#include <lua.h>

#include "tls_context.h"

/* The context of the handle at `index`, else raises. The handle keeps its reference. */
struct ml_tls_context *ml_check_context(lua_State *L, int index);

#endif

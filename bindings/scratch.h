/* A place for OpenSSL to write before a Lua string is made of it. */
#ifndef ML_SCRATCH_H
#define ML_SCRATCH_H

#include <lua.h>
#include <openssl/bio.h>

/* The state's memory BIO, emptied. It belongs to the registry, so that a Lua error loses nothing;
 * the next call of this function by anyone empties it again. */
BIO *ml_scratch(lua_State *L);

/* What `scratch` holds; *end is the place after it. Both point to an empty text when it holds
 * nothing, never to NULL. Valid until it is written to again. */
char *ml_scratch_text(BIO *scratch, const char **end);

/* Pushes what `scratch` holds as a string. */
void ml_push_scratch(lua_State *L, BIO *scratch);

/* The same for a writer of runtime/certinfo.h: pushes a string when it returned 1, else nil. */
void ml_push_written(lua_State *L, BIO *scratch, int written);

/* Pushes the lines of what `scratch` holds as a sequence. */
void ml_push_lines(lua_State *L, BIO *scratch);

#endif

/* What the files of the native `tls` class share. */
#ifndef ML_BINDING_TLS_H
#define ML_BINDING_TLS_H

#include "handle.h"
#include "tls_stream.h"

/* The engine of the handle at argument 1, or NULL when it is closed. A handle that another TLS
 * stands on has its engine still, to look at. */
struct ml_tls *ml_tls_self(lua_State *L);

/* clientHello() → tls.ClientHello | nil: what asked the question that is open (hello.c) */
int ml_tls_client_hello(lua_State *L);
/* The stream of the handle at argument 1, or NULL when it is closed. */
struct ml_tls_stream *ml_tls_self_stream(lua_State *L);

/* The question by the name that Lua knows it by. */
const char *ml_tls_ask_name(enum ml_tls_ask ask);

/* Methods that only look: protocol(), cipher(), peerCertificate(), … (tls_facts.c) */
extern const luaL_Reg ml_tls_facts[];

/* Methods for an open connection: renegotiate(…), … (tls_after.c) */
extern const luaL_Reg ml_tls_after_methods[];

/* Makes the owner of `handle` the finder of pre-shared keys. (tls_psk.c) */
void ml_tls_find_psk(struct ml_tls_options *options, struct ml_handle *handle);

#endif

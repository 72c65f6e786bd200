/* What every file of bindings/ shares: the vm, native classes, the one way into Lua.
 *
 * Rules:
 *  - ml_enter is the only place that calls lua_pcall. Everything that C has to say to Lua goes
 * through it.
 *  - Lua values are created only inside a body run by ml_enter, or inside a C function that Lua
 * called.
 *  - A native object (userdata) belongs to one Lua table, its owner, which holds the userdata in a
 * field. While the object has something going on it anchors the owner, so both stay alive;
 * afterwards both are ordinary garbage.
 *  - __gc frees C memory and never calls Lua.
 *  - A native method returns its values, or nil and an Error table for operational failures; misuse
 * raises.
 */
#ifndef ML_BINDINGS_H
#define ML_BINDINGS_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "loop.h"

/* Events that a native class can send to its owner. The Lua side registers one function per class
 * and event, once: native.handlers('tcp', { read = function(owner, chunk) end, … }). Names in
 * bindings/native.c. */
enum ml_event {
  ML_ON_READ,       /* (owner, chunk); a channel: (owner, message, fd | nil) */
  ML_ON_END,        /* (owner); a channel: (owner, err | nil) */
  ML_ON_WRITTEN,    /* (owner) */
  ML_ON_SHUTDOWN,   /* (owner) */
  ML_ON_CONNECT,    /* (owner) */
  ML_ON_ERROR,      /* (owner, err) */
  ML_ON_CONNECTION, /* (owner, handle) a listener accepted */
  ML_ON_TIMEOUT,    /* (owner) a timer fired */
  ML_ON_SIGNAL,     /* (owner, signum) */
  ML_ON_RESULT,     /* (owner, …) a look-up or job finished */
  ML_ON_HANDSHAKE,  /* (owner) TLS: handshake complete */
  ML_ON_RENEWED,    /* (owner) TLS: a renegotiation is over, or a client's certificate has come */
  ML_ON_KEY_UPDATE, /* (owner) TLS: the peer has new keys, as asked */
  ML_ON_TRACE,      /* (owner, text) TLS: messages in words */
  ML_ON_ASK,        /* (owner, what, token, …) TLS: the handshake waits for an answer */
  ML_ON_SESSION,    /* (owner, session) TLS client: a session to resume from */
  ML_ON_KEYLOG,     /* (owner, line) */
  ML_ON_STAPLE,     /* (owner, response or nil) TLS client: what the server stapled */
  ML_ON_PSK,      /* (owner, identity or hint) TLS: returns a pre-shared key, on OpenSSL's stack */
  ML_ON_CHANGE,   /* (owner, event, name) fs.watch */
  ML_ON_DROP,     /* (owner, info) a listener refused a connection */
  ML_ON_OUTGOING, /* (carrier, bytes) a relay: to be carried away */
  ML_ON_FINISH,   /* (carrier) a relay: the end is to be */
  ML_ON_FLOW,     /* (carrier) a relay: bytes are wanted */
  ML_ON_CLOSED,   /* (carrier) a relay: its owner has closed */
  ML_EVENT_COUNT
};

enum ml_class_id {
  ML_CLASS_SOCK, /* "sock" */
  ML_CLASS_LISTENER,
  ML_CLASS_TIMER,
  ML_CLASS_SIGNAL,
  ML_CLASS_RESOLVER,
  ML_CLASS_TLS,
  ML_CLASS_CONTEXT,
  ML_CLASS_WATCH,
  ML_CLASS_X509,
  ML_CLASS_HASH,
  ML_CLASS_CHILD,
  ML_CLASS_CHANNEL,
  ML_CLASS_RELAY,
  ML_CLASS_COUNT
};

/* One Lua state with its loop. Lives in the registry; freed by lua_close. */
struct ml_vm {
  lua_State
      *L; /* callbacks run here: the state that is running the loop, else one of the vm's own */
  struct ml_loop *loop;
  int handlers[ML_CLASS_COUNT]
              [ML_EVENT_COUNT]; /* registry references, LUA_NOREF when not registered */
  int drain;                    /* registry reference: runs the nextTick queue */
  int ticks;                    /* registry reference: a table that says whether it must */
  int uncaught;   /* registry reference: function(err, traceback) for errors that reach ml_enter */
  unsigned depth; /* nested ml_enter calls; ticks drain when it returns to 0 */
};

/* The vm of this state; created by the first call (luaopen). Never NULL, raises on memory failure.
 */
struct ml_vm *ml_vm(lua_State *L);

/* Runs `body(L, arg)` in protected mode on vm->L, with a traceback on errors. Then, in the
 * outermost entry, drains the nextTick queue. An error goes to vm->uncaught. Returns 0, or -1 when
 * body raised. The stack is balanced afterwards. `body` may leave nothing on the stack that it
 * wants kept. */
int ml_enter(struct ml_vm *vm, void (*body)(lua_State *L, void *arg), void *arg);

/* Inside a body: pushes the handler for (class, event); false, and nothing pushed, when none is
 * registered. */
bool ml_push_handler(lua_State *L, struct ml_vm *vm, enum ml_class_id class_id,
                     enum ml_event event);

/* Head of every native object's userdata. */
struct ml_object {
  struct ml_vm *vm;
  int owner; /* registry reference to the owner while anchored, else LUA_NOREF */
};

/* Registers a class: metatable with __index = methods, __gc, __name = name ("moonlatch.sock").
 * Every method gets the metatable as upvalue 1. The metatable is left on the stack. */
void ml_class_register(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);

/* Pushes `fn` as a C closure whose upvalue 1 is the metatable at `metatable` (for constructors). */
void ml_class_constructor(lua_State *L, int metatable, lua_CFunction fn);

/* Inside a method or constructor: a new zeroed userdata of the class in upvalue 1, `size` ≥
 * sizeof(struct ml_object), vm and owner set. */
void *ml_object_new(lua_State *L, size_t size);

/* Inside a method: argument 1 checked against upvalue 1 (one comparison). Raises "bad self". */
void *ml_object_self(lua_State *L);

/* Argument `index` if its metatable is that registered under `name`, else raises. For methods that
 * take another class's object. */
void *ml_object_check(lua_State *L, int index, const char *name);

/* Anchors the value at `index` as the owner (replacing an earlier one) / lets it go. */
void ml_object_anchor(lua_State *L, struct ml_object *object, int index);
void ml_object_release(struct ml_object *object);

/* Pushes the owner, or nil. */
void ml_object_push_owner(lua_State *L, const struct ml_object *object);

/* Calls handler(owner) for an event without arguments; does nothing when not anchored or not
 * registered. */
void ml_object_emit(struct ml_object *object, enum ml_class_id class_id, enum ml_event event);

/* Calls handler(owner, Error). */
void ml_object_emit_error(struct ml_object *object, enum ml_class_id class_id, enum ml_event event,
                          const struct ml_error *err);

/* Pushes the Error table for a runtime failure (made by moonlatch.errors, so it is an instance of
 * Error). */
void ml_push_error(lua_State *L, const struct ml_error *err);

/* Returns nil, Error from a C function: `return ml_fail(L, &err);` */
int ml_fail(lua_State *L, const struct ml_error *err);

/* Raises the failure as an Error table. Never returns. */
int ml_raise(lua_State *L, const struct ml_error *err) __attribute__((noreturn));

/* Openers, one per file: each leaves nothing on the stack and adds its functions to the native
 * table at index 1. */
void ml_open_sock(lua_State *L);
void ml_open_listener(lua_State *L);
void ml_open_timer(lua_State *L);
void ml_open_process(lua_State *L);
void ml_open_fs(lua_State *L);
void ml_open_dns(lua_State *L);
void ml_open_context(lua_State *L);
void ml_open_trust(lua_State *L);
void ml_open_relay(lua_State *L);
void ml_open_tls(lua_State *L);
void ml_open_crypto(lua_State *L);
void ml_open_x509(lua_State *L);
void ml_open_certmaker(lua_State *L);
void ml_open_ocsp(lua_State *L);
void ml_open_child(lua_State *L);
void ml_open_channel(lua_State *L);

#endif

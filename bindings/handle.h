/* Handles: the native objects that stand for a byte stream. The classes `sock` and `tls` are
 * handles, so that the Lua side drives either with the same methods and hears the same events.
 *
 * A handle is anchored (its owner kept alive by the registry) from open(owner) to close().
 */
#ifndef ML_HANDLE_H
#define ML_HANDLE_H

#include "bindings.h"
#include "sock.h"

struct ml_handle {
  struct ml_object object; /* must stay first */
  enum ml_class_id class_id;
  struct ml_stream *stream; /* NULL once closed or detached */
  int slot; /* registry reference for what a pending write writes from; made by the first write */
  bool pending; /* a write is */
  bool unreferenced;
  struct ml_idle *idle; /* NULL: no timeout is set */
  struct ml_pipe *out;  /* what is read goes there (handle_pipe.h), or NULL */
  struct ml_pipe *in;   /* what is written comes from there */
};

/* The events that a handle's stream must have, with the handle as `user`. They call the Lua
 * handlers. */
extern const struct ml_stream_events ml_handle_events;

/* Methods that work on any handle, for the method table of each class. */
int ml_handle_open(lua_State *L);
int ml_handle_close(lua_State *L);
int ml_handle_reset(lua_State *L);
int ml_handle_read_start(lua_State *L);
int ml_handle_read_stop(lua_State *L);
int ml_handle_write(lua_State *L);
int ml_handle_shutdown(lua_State *L);
int ml_handle_ref(lua_State *L);
int ml_handle_unref(lua_State *L);
int ml_handle_has_ref(lua_State *L);
int ml_handle_local_address(lua_State *L);
int ml_handle_remote_address(lua_State *L);
int ml_handle_set_no_delay(lua_State *L);
int ml_handle_set_keep_alive(lua_State *L);
int ml_handle_set_timeout(lua_State *L);
int ml_handle_bytes_read(lua_State *L);
int ml_handle_bytes_written(lua_State *L);
int ml_handle_queued(lua_State *L);
int ml_handle_fd(lua_State *L);
int ml_handle_gc(lua_State *L);
int ml_handle_pipe(lua_State *L);
int ml_handle_unpipe(lua_State *L);

/* Their entries of a luaL_Reg table. */
/* clang-format off */
#define ML_HANDLE_METHODS                        \
  {"open", ml_handle_open},                      \
  {"close", ml_handle_close},                    \
  {"reset", ml_handle_reset},                    \
  {"readStart", ml_handle_read_start},           \
  {"readStop", ml_handle_read_stop},             \
  {"write", ml_handle_write},                    \
  {"shutdown", ml_handle_shutdown},              \
  {"ref", ml_handle_ref},                        \
  {"unref", ml_handle_unref},                    \
  {"hasRef", ml_handle_has_ref},                 \
  {"localAddress", ml_handle_local_address},     \
  {"remoteAddress", ml_handle_remote_address},   \
  {"setNoDelay", ml_handle_set_no_delay},        \
  {"setKeepAlive", ml_handle_set_keep_alive},    \
  {"setTimeout", ml_handle_set_timeout},         \
  {"bytesRead", ml_handle_bytes_read},           \
  {"bytesWritten", ml_handle_bytes_written},     \
  {"queued", ml_handle_queued},                  \
  {"fd", ml_handle_fd},                          \
  {"pipe", ml_handle_pipe},                      \
  {"unpipe", ml_handle_unpipe}
/* clang-format on */

/* Pushes a new userdata of the class registered as `class_name`, `size` ≥ sizeof(struct ml_handle)
 * zeroed bytes, without a stream. Attach one before anything that can raise. */
struct ml_handle *ml_handle_new(lua_State *L, const char *class_name, enum ml_class_id class_id,
                                size_t size);

/* Makes the class, whose metatable is on top, one of handles. */
void ml_handle_class(lua_State *L);

/* Argument `index` if it is a handle of whichever class, else raises. */
struct ml_handle *ml_check_handle(lua_State *L, int index);

/* Gives it its stream, whose events and user are set here. */
void ml_handle_attach(struct ml_handle *handle, struct ml_stream *stream);

/* Takes the stream of an open handle away, for a TLS stream to stand on: reading is stopped, the
 * handle is left closed and its owner let go. NULL, with err set, when the handle is closed (EBADF)
 * or a write is pending (EBUSY). */
struct ml_stream *ml_handle_detach(struct ml_handle *handle, struct ml_error *err);

/* Closes the stream and lets the owner go. Harmless on a closed handle. */
void ml_handle_end(struct ml_handle *handle);

/* Something moved: the idle timer starts over. */
void ml_handle_touch(struct ml_handle *handle);

/* Pushes address, family, port. Three values. */
int ml_push_addr(lua_State *L, const struct ml_addr *addr);

/* Pushes a new `sock` handle that takes `sock` over. *taken is set as soon as it has. */
void ml_push_sock(lua_State *L, struct ml_sock *sock, bool *taken);

#endif

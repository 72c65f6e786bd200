#include "handle_pipe.h"

#include "pipe.h"

static struct ml_handle *destination_of(const struct ml_pipe *pipe)
{
  return ml_pipe_to(pipe)->user;
}

void ml_handle_forward(struct ml_handle *source, const uint8_t *data, size_t len)
{
  struct ml_handle *destination = destination_of(source->out);
  struct ml_error err;
  ml_handle_touch(destination);
  if (ml_pipe_read(source->out, data, len, &err) != ML_FAILED) return;
  ml_object_emit_error(&destination->object, destination->class_id, ML_ON_ERROR, &err);
}

bool ml_handle_forwarded(struct ml_handle *h)
{
  struct ml_pipe *pipe = h->in;
  bool running = ml_pipe_from(pipe) != NULL;
  ml_pipe_written(pipe);
  if (!running) ml_handle_drop_in(h);
  return running;
}

size_t ml_handle_stop_out(struct ml_handle *h)
{
  struct ml_pipe *pipe = h->out;
  if (pipe == NULL) return 0;
  size_t pending = ml_pipe_pending(pipe);
  h->out = NULL;
  ml_pipe_stop(pipe);
  if (pending == 0) ml_handle_drop_in(destination_of(pipe));
  return pending;
}

void ml_handle_drop_in(struct ml_handle *h)
{
  struct ml_pipe *pipe = h->in;
  if (pipe == NULL) return;
  struct ml_stream *from = ml_pipe_from(pipe);
  if (from != NULL) ((struct ml_handle *)from->user)->out = NULL;
  h->in = NULL;
  ml_pipe_free(pipe);
}

/* pipe(handle) → boolean: what this one reads is written to that one from now on, and comes here no
 * more. False when either is closed or has a pipe of that kind already, or that one is writing. */
int ml_handle_pipe(lua_State *L)
{
  struct ml_handle *from = ml_object_self(L);
  struct ml_handle *to = ml_check_handle(L, 2);
  bool able = from->stream != NULL && to->stream != NULL && from->out == NULL && to->in == NULL &&
              !to->pending;
  struct ml_pipe *pipe = able ? ml_pipe_new(from->stream, to->stream) : NULL;
  if (pipe != NULL) from->out = to->in = pipe;
  lua_pushboolean(L, pipe != NULL);
  return 1;
}

/* unpipe() → size of the write under way: the other handle's event `written` follows when it is not
 * 0. Reading may have been stopped meanwhile. */
int ml_handle_unpipe(lua_State *L)
{
  lua_pushnumber(L, (lua_Number)ml_handle_stop_out(ml_object_self(L)));
  return 1;
}

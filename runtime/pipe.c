#include "pipe.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ml_pipe {
  struct ml_stream *from; /* NULL once stopped */
  struct ml_stream *to;
  uint8_t *kept; /* what the pending write writes from, else NULL */
  size_t kept_len;
};

struct ml_pipe *ml_pipe_new(struct ml_stream *from, struct ml_stream *to)
{
  struct ml_pipe *p = calloc(1, sizeof *p);
  if (p == NULL) return NULL;
  p->from = from;
  p->to = to;
  return p;
}

struct ml_stream *ml_pipe_from(const struct ml_pipe *p)
{
  return p->from;
}

struct ml_stream *ml_pipe_to(const struct ml_pipe *p)
{
  return p->to;
}

size_t ml_pipe_pending(const struct ml_pipe *p)
{
  return p->kept_len;
}

int ml_pipe_read(struct ml_pipe *p, const uint8_t *data, size_t len, struct ml_error *err)
{
  assert(p->from != NULL && p->kept == NULL);
  /* A pending write cannot be taken back, so the memory for it is there before. Mostly it is not
   * touched. */
  uint8_t *copy = malloc(len);
  if (copy == NULL) {
    ml_error_system(err, ENOMEM, "write");
    return ML_FAILED;
  }
  struct ml_slice slice = {data, len};
  bool write_through = p->to->write_through;
  p->to->write_through = true; /* straight from the buffer that was read into */
  int status = ml_stream_write(p->to, &slice, 1, err);
  p->to->write_through = write_through;
  if (status != ML_PENDING) {
    free(copy);
    return status;
  }
  memcpy(copy, data, len);
  ml_stream_moved(p->to, data, len, copy);
  p->kept = copy;
  p->kept_len = len;
  ml_stream_read_stop(p->from);
  return ML_PENDING;
}

static void let_go(struct ml_pipe *p)
{
  free(p->kept);
  p->kept = NULL;
  p->kept_len = 0;
}

void ml_pipe_written(struct ml_pipe *p)
{
  let_go(p);
  if (p->from != NULL) ml_stream_read_start(p->from);
}

void ml_pipe_stop(struct ml_pipe *p)
{
  p->from = NULL;
}

void ml_pipe_free(struct ml_pipe *p)
{
  let_go(p);
  free(p);
}

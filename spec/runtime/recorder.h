/* A stream's owner for tests: records what it is told, and can close the stream inside any
 * callback. */
#ifndef RECORDER_H
#define RECORDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stream.h"

enum recorded { NOTHING, READ, END, WRITTEN, SHUTDOWN, CONNECT, ERROR, RECORDED_COUNT };

struct recorder {
  struct ml_stream *stream; /* NULL once closed */
  int count[RECORDED_COUNT];
  enum recorded order[16]; /* the first events, in order; successive reads count once */
  int events;
  uint8_t *bytes; /* everything read */
  size_t len;
  struct ml_error error;
  enum recorded close_in; /* close the stream inside this callback */
  enum recorded stop_in;  /* stop the loop inside this callback */
  void (*hook)(struct recorder *, enum recorded);
};

/* Bytes of which each stands where it does. To be freed. */
static inline uint8_t *pattern(size_t len)
{
  uint8_t *bytes = malloc(len);
  assert_non_null(bytes);
  uint32_t x = 1;
  for (size_t i = 0; i < len; i++)
    bytes[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
  return bytes;
}

static inline void recorder_close(struct recorder *r)
{
  if (r->stream) ml_stream_close(r->stream);
  r->stream = NULL;
}

static inline void recorder_note(struct ml_stream *stream, enum recorded what)
{
  struct recorder *r = stream->user;
  assert_ptr_equal(r->stream, stream); /* nothing may come after the close */
  if (r->events < 16 && !(what == READ && r->events > 0 && r->order[r->events - 1] == READ)) {
    r->order[r->events++] = what;
  }
  r->count[what]++;
  if (r->stop_in == what) ml_loop_stop(stream->loop);
  if (r->hook) r->hook(r, what);
  if (r->close_in == what) recorder_close(r);
}

static inline void recorder_on_read(struct ml_stream *stream, const uint8_t *data, size_t len)
{
  struct recorder *r = stream->user;
  r->bytes = realloc(r->bytes, r->len + len);
  assert_non_null(r->bytes);
  memcpy(r->bytes + r->len, data, len);
  r->len += len;
  recorder_note(stream, READ);
}

static inline void recorder_on_end(struct ml_stream *stream)
{
  recorder_note(stream, END);
}

static inline void recorder_on_written(struct ml_stream *stream)
{
  recorder_note(stream, WRITTEN);
}

static inline void recorder_on_shutdown(struct ml_stream *stream)
{
  recorder_note(stream, SHUTDOWN);
}

static inline void recorder_on_connect(struct ml_stream *stream)
{
  recorder_note(stream, CONNECT);
}

static inline void recorder_on_error(struct ml_stream *stream, const struct ml_error *err)
{
  struct recorder *r = stream->user;
  r->error = *err;
  recorder_note(stream, ERROR);
}

static const struct ml_stream_events recorder_events = {
    .on_read = recorder_on_read,
    .on_end = recorder_on_end,
    .on_written = recorder_on_written,
    .on_shutdown = recorder_on_shutdown,
    .on_connect = recorder_on_connect,
    .on_error = recorder_on_error,
};

static inline void recorder_take(struct recorder *r, struct ml_stream *stream)
{
  r->stream = stream;
  stream->user = r;
  stream->events = &recorder_events;
}

/* Closes what is open and forgets everything. */
static inline void recorder_reset(struct recorder *r)
{
  recorder_close(r);
  free(r->bytes);
  memset(r, 0, sizeof *r);
}

#endif

/* A growable byte queue: bytes are appended at the end and consumed from the front. Output queues
 * and the TLS engine's BIO stand on it. A zeroed struct is an empty queue; an empty queue owns no
 * memory. No function here calls back; failure of an allocation leaves the queue as it was.
 */
#ifndef ML_BUF_H
#define ML_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "error.h"

/* A piece of somebody else's memory. */
struct ml_slice {
  const uint8_t *data;
  size_t len;
};

/* Makes slices that lie in the `len` bytes at `from` lie in the same bytes at `to`. */
void ml_slices_move(struct ml_slice *slices, size_t n, const uint8_t *from, size_t len,
                    const uint8_t *to);

/* One pointer, since a connection has several and they are mostly empty. */
struct ml_buf {
  struct ml_buf_memory *memory; /* NULL when empty and nothing is reserved */
};

/* For the functions below. */
struct ml_buf_memory {
  size_t start;    /* first byte not consumed */
  size_t end;      /* one past the last byte appended */
  size_t capacity; /* size of data */
  uint8_t data[];
};

/* Makes room for `n` more bytes, moving or growing as needed. 0, or -1 when memory is short. Use
 * ml_buf_reserve. */
ML_MUST_CHECK int ml_buf_grow(struct ml_buf *buf, size_t n);

/* Forgets the contents and gives all memory back. The queue may be used again. */
void ml_buf_free(struct ml_buf *buf);

/* Number of bytes waiting. */
static inline size_t ml_buf_size(const struct ml_buf *buf)
{
  return buf->memory ? buf->memory->end - buf->memory->start : 0;
}

/* The bytes waiting, ml_buf_size of them. Valid until the next reserve, append, consume or free. */
static inline const uint8_t *ml_buf_data(const struct ml_buf *buf)
{
  return buf->memory ? buf->memory->data + buf->memory->start : NULL;
}

/* The last `n` ≤ ml_buf_size of them, to be changed. */
static inline uint8_t *ml_buf_tail(struct ml_buf *buf, size_t n)
{
  return buf->memory->data + buf->memory->end - n;
}

/* Room for at least `n` bytes (n > 0) after the end, to be filled and then committed; NULL when
 * memory is short. */
ML_MUST_CHECK static inline uint8_t *ml_buf_reserve(struct ml_buf *buf, size_t n)
{
  bool fits = buf->memory && buf->memory->capacity - buf->memory->end >= n;
  if (!fits && ml_buf_grow(buf, n) != 0) return NULL;
  return buf->memory->data + buf->memory->end;
}

/* Takes the first `n` bytes of the room reserved last into the queue. */
static inline void ml_buf_commit(struct ml_buf *buf, size_t n)
{
  buf->memory->end += n;
}

/* Appends a copy. 0, or -1 when memory is short. */
ML_MUST_CHECK static inline int ml_buf_append(struct ml_buf *buf, const void *data, size_t n)
{
  if (n == 0) return 0;
  uint8_t *room = ml_buf_reserve(buf, n);
  if (room == NULL) return -1;
  memcpy(room, data, n);
  ml_buf_commit(buf, n);
  return 0;
}

/* Drops `n` ≤ ml_buf_size bytes from the front; a queue that becomes empty gives its memory back.
 */
static inline void ml_buf_consume(struct ml_buf *buf, size_t n)
{
  if (n < ml_buf_size(buf))
    buf->memory->start += n;
  else
    ml_buf_free(buf);
}

/* Drops the contents and keeps the memory for what comes next. */
static inline void ml_buf_clear(struct ml_buf *buf)
{
  if (buf->memory) buf->memory->start = buf->memory->end = 0;
}

#endif

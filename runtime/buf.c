#include "buf.h"

#include <stdlib.h>

/* A handshake flight or a handful of small writes fits without growing. */
enum { MIN_CAPACITY = 1024 };

int ml_buf_grow(struct ml_buf *buf, size_t n)
{
  size_t size = ml_buf_size(buf);
  if (n > SIZE_MAX / 2 - size) return -1;
  size_t needed = size + n;

  /* Moving is cheaper than growing, but only worth it when at least half the memory comes free:
   * otherwise a queue that is drained a little at a time would move its bytes over and over. */
  if (needed <= buf->capacity && buf->start >= buf->capacity / 2) {
    memmove(buf->data, buf->data + buf->start, size);
    buf->start = 0;
    buf->end = size;
    return 0;
  }

  size_t capacity = buf->capacity > MIN_CAPACITY ? buf->capacity : MIN_CAPACITY;
  while (capacity < needed)
    capacity *= 2;
  uint8_t *data = malloc(capacity);
  if (data == NULL) return -1;
  if (size > 0) memcpy(data, buf->data + buf->start, size);
  free(buf->data);
  *buf = (struct ml_buf){.data = data, .start = 0, .end = size, .capacity = capacity};
  return 0;
}

void ml_buf_free(struct ml_buf *buf)
{
  free(buf->data);
  *buf = (struct ml_buf){0};
}

void ml_slices_move(struct ml_slice *slices, size_t n, const uint8_t *from, size_t len,
                    const uint8_t *to)
{
  for (size_t i = 0; i < n; i++) {
    const uint8_t *data = slices[i].data;
    if (data >= from && data < from + len) slices[i].data = to + (data - from);
  }
}

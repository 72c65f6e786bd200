#include "buf.h"

#include <stdlib.h>

/* Of memory. A handshake flight or a handful of small writes fits without growing, and it is the
 * largest block that glibc keeps at hand for the next one who asks. */
enum { MIN_SIZE = 1024 };

int ml_buf_grow(struct ml_buf *buf, size_t n)
{
  struct ml_buf_memory *old = buf->memory;
  size_t size = ml_buf_size(buf);
  if (n > SIZE_MAX / 4 - size) return -1;
  size_t needed = size + n;

  /* Moving is cheaper than growing, but only worth it when at least half the memory comes free:
   * otherwise a queue that is drained a little at a time would move its bytes over and over. */
  if (old && needed <= old->capacity && old->start >= old->capacity / 2) {
    memmove(old->data, old->data + old->start, size);
    old->start = 0;
    old->end = size;
    return 0;
  }

  size_t room = old ? sizeof *old + old->capacity : MIN_SIZE;
  while (room - sizeof *old < needed)
    room *= 2;
  struct ml_buf_memory *memory = malloc(room);
  if (memory == NULL) return -1;
  memory->start = 0;
  memory->end = size;
  memory->capacity = room - sizeof *memory;
  if (size > 0) memcpy(memory->data, ml_buf_data(buf), size);
  free(old);
  buf->memory = memory;
  return 0;
}

void ml_buf_free(struct ml_buf *buf)
{
  free(buf->memory);
  buf->memory = NULL;
}

void ml_slices_move(struct ml_slice *slices, size_t n, const uint8_t *from, size_t len,
                    const uint8_t *to)
{
  for (size_t i = 0; i < n; i++) {
    const uint8_t *data = slices[i].data;
    if (data >= from && data < from + len) slices[i].data = to + (data - from);
  }
}

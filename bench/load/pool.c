#include "pool.h"

#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CLASS_SHIFT = 5, CLASSES = 64, SLAB = 1 << 20 };

/* A block is preceded by 16 bytes that hold its class (0: from malloc), so that the
 * data is aligned as malloc's would be. Nothing goes back to the system. */

struct block {
  union {
    size_t class_;
    struct block *next; /* while free */
  };
  size_t size;
};

static struct block *free_blocks[CLASSES + 1];
static uint8_t *slab, *slab_end;

static struct block *carve(size_t bytes)
{
  if ((size_t)(slab_end - slab) < bytes) {
    slab = malloc(SLAB);
    if (!slab) {
      slab_end = NULL;
      return NULL;
    }
    slab_end = slab + SLAB;
  }
  struct block *block = (struct block *)(void *)slab;
  slab += bytes;
  return block;
}

static void *pool_malloc(size_t size, const char *file, int line)
{
  (void)file;
  (void)line;
  size_t class_ = (size + (1 << CLASS_SHIFT) - 1) >> CLASS_SHIFT;
  struct block *block;
  if (class_ == 0 || class_ > CLASSES) {
    class_ = 0;
    block = malloc(sizeof *block + size);
  } else if ((block = free_blocks[class_])) {
    free_blocks[class_] = block->next;
  } else {
    block = carve(sizeof *block + (class_ << CLASS_SHIFT));
  }
  if (!block) return NULL;
  block->class_ = class_;
  block->size = size;
  return block + 1;
}

static void pool_free(void *data, const char *file, int line)
{
  (void)file;
  (void)line;
  if (!data) return;
  struct block *block = (struct block *)data - 1;
  size_t class_ = block->class_;
  if (class_ == 0) {
    free(block);
    return;
  }
  block->next = free_blocks[class_];
  free_blocks[class_] = block;
}

static void *pool_realloc(void *data, size_t size, const char *file, int line)
{
  if (!data) return pool_malloc(size, file, line);
  if (size == 0) {
    pool_free(data, file, line);
    return NULL;
  }
  size_t old = ((struct block *)data - 1)->size;
  void *moved = pool_malloc(size, file, line);
  if (!moved) return NULL;
  memcpy(moved, data, old < size ? old : size);
  pool_free(data, file, line);
  return moved;
}

int pool_install(void)
{
  return CRYPTO_set_mem_functions(pool_malloc, pool_realloc, pool_free) ? 0 : -1;
}

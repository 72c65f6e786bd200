#include "tls_rest.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WORD_BITS = 64 };

struct ml_tls_rest {
  uint64_t *at;    /* the first page */
  size_t count;    /* words in the pages, a multiple of WORD_BITS */
  size_t kept;     /* … that are not zero */
  uint64_t data[]; /* a bit for each word, set when it is not zero; then those words */
};

/* Only malloc tells how large a block is. */
static size_t size_of_block(void *object)
{
  CRYPTO_malloc_fn allocate;
  CRYPTO_get_mem_functions(&allocate, NULL, NULL);
  return allocate == CRYPTO_malloc ? malloc_usable_size(object) : 0;
}

/* The whole pages between `from` and `to`: their number of words, 0 when there is none. */
static size_t whole_pages(uintptr_t from, uintptr_t to, uint64_t **at)
{
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t first = (from + page - 1) / page * page, end = to / page * page;
  *at = (uint64_t *)first; // NOLINT(performance-no-int-to-ptr)
  return first < end ? (end - first) / sizeof(uint64_t) : 0;
}

static size_t count_nonzero(const uint64_t *words, size_t count)
{
  size_t nonzero = 0;
  for (size_t i = 0; i < count; i++)
    nonzero += words[i] != 0;
  return nonzero;
}

static size_t size_of_rest(size_t count, size_t kept)
{
  return sizeof(struct ml_tls_rest) + (count / WORD_BITS + kept) * sizeof(uint64_t);
}

static void keep(struct ml_tls_rest *rest)
{
  uint64_t *word = rest->data + rest->count / WORD_BITS;
  for (size_t i = 0; i < rest->count; i++) {
    if (rest->at[i] == 0) continue;
    rest->data[i / WORD_BITS] |= (uint64_t)1 << i % WORD_BITS;
    *word++ = rest->at[i];
  }
}

static void forget(struct ml_tls_rest *rest)
{
  OPENSSL_cleanse(rest, size_of_rest(rest->count, rest->kept)); /* keys may be among it */
  free(rest);
}

struct ml_tls_rest *ml_tls_rest_begin(void *object)
{
  uint64_t *at;
  uintptr_t start = (uintptr_t)object;
  size_t count = whole_pages(start, start + size_of_block(object), &at);
  size_t kept = count_nonzero(at, count);
  size_t bytes = count * sizeof(*at), size = size_of_rest(count, kept);
  if (size > bytes / 2) return NULL;
  struct ml_tls_rest *rest = calloc(1, size);
  if (!rest) return NULL;
  rest->at = at;
  rest->count = count;
  rest->kept = kept;
  keep(rest);
  /* Private memory reads as zeros afterwards. Memory that is locked cannot be given back. */
  if (madvise(at, bytes, MADV_DONTNEED) == 0) return rest;
  forget(rest);
  return NULL;
}

void ml_tls_rest_end(struct ml_tls_rest *rest)
{
  const uint64_t *word = rest->data + rest->count / WORD_BITS;
  for (size_t i = 0; i < rest->count / WORD_BITS; i++) {
    for (uint64_t bits = rest->data[i]; bits != 0; bits &= bits - 1)
      rest->at[i * WORD_BITS + (size_t)__builtin_ctzll(bits)] = *word++;
  }
  forget(rest);
}

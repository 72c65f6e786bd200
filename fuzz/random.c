#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_set_rand_method, which is the shortest way */
#include "random.h"

#include <openssl/rand.h>

static uint64_t seed;

static int next_bytes(unsigned char *out, int len)
{
  for (int i = 0; i < len; i++) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    out[i] = (unsigned char)(seed >> 32);
  }
  return 1;
}

static int is_seeded(void)
{
  return 1;
}

static const RAND_METHOD repeatable = {
    .bytes = next_bytes, .pseudorand = next_bytes, .status = is_seeded};

void fuzz_random_start(void)
{
  seed = 88172645463325252u;
}

void fuzz_random_install(void)
{
  fuzz_random_start();
  RAND_set_rand_method(&repeatable);
}

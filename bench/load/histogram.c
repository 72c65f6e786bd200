#include "histogram.h"

#include <string.h>

enum { SUB_COUNT = 1 << HISTOGRAM_SUB_BITS };

/* Values below SUB_COUNT have a bucket each; every power of two above is split into SUB_COUNT
 * buckets. */
static unsigned bucket_of(uint64_t ns)
{
  if (ns < SUB_COUNT) return (unsigned)ns;
  unsigned exponent = 63 - (unsigned)__builtin_clzll(ns);
  if (exponent >= HISTOGRAM_MAX_BITS) return HISTOGRAM_BUCKETS - 1;
  unsigned shift = exponent - HISTOGRAM_SUB_BITS;
  return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)((ns >> shift) & (SUB_COUNT - 1));
}

static uint64_t bucket_end(unsigned bucket)
{
  if (bucket < SUB_COUNT) return bucket;
  unsigned shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
  uint64_t sub = (bucket & (SUB_COUNT - 1)) | SUB_COUNT;
  return ((sub + 1) << shift) - 1;
}

void histogram_reset(struct histogram *h)
{
  memset(h, 0, sizeof *h);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
  h->counts[bucket_of(ns)]++;
  h->total++;
  if (ns > h->max) h->max = ns;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
  double rank = (double)h->total * percent / 100.0;
  uint64_t seen = 0;
  for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
    seen += h->counts[i];
    if (seen == 0 || (double)seen < rank) continue;
    uint64_t end = bucket_end(i);
    return end < h->max ? end : h->max;
  }
  return h->max;
}

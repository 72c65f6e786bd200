/* Latencies in nanoseconds, kept as a histogram whose buckets are never wider than 1/128 of the
 * value: percentiles of any number of samples in fixed memory, as HdrHistogram does.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
  HISTOGRAM_SUB_BITS = 7,
  HISTOGRAM_MAX_BITS = 38, /* values from 2^38 ns (275 s) on share the last bucket */
  HISTOGRAM_BUCKETS = (HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

struct histogram {
  uint64_t counts[HISTOGRAM_BUCKETS];
  uint64_t total;
  uint64_t max;
};

/* Forgets every sample. */
void histogram_reset(struct histogram *h);

void histogram_add(struct histogram *h, uint64_t ns);

/* The value that `percent` of the samples do not exceed, rounded up to its bucket's end; 0 without
 * samples. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

#endif

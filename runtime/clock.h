/* The clock that measures. */
#ifndef ML_CLOCK_H
#define ML_CLOCK_H

#include <stdint.h>

/* Monotonic time in nanoseconds, read from the clock (clock_gettime(2)). */
uint64_t ml_now_ns(void);

#endif

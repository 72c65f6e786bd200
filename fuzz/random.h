/* Randomness that repeats: with it everything a harness makes at the start is the same in every
 * run, and a finding shows itself again. */
#ifndef FUZZ_RANDOM_H
#define FUZZ_RANDOM_H

#include <stdint.h>

/* Puts a generator of our own in the place of OpenSSL's and starts it. */
void fuzz_random_install(void);

/* Starts it anew, once per input. */
void fuzz_random_start(void);

#endif

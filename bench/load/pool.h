/* An allocator for OpenSSL in a program of one thread: lists of free blocks by size. */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

/* Call before anything else of OpenSSL. Returns 0, or -1 when it is too late. */
int pool_install(void);

#endif

/* What other processes have used, read from /proc (proc(5)). */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* Memory of a process in KiB, from /proc/<pid>/smaps_rollup. */
struct process_memory {
  long rss;
  long pss;      /* shared pages divided by the number of their users */
  long private_; /* pages nobody else maps: what would be freed if the process ended */
};

/* CPU time of all threads of `pid` in nanoseconds, from schedstat where the kernel keeps it, else
 * from stat in clock ticks. Threads that ended are not counted by the first. Returns 0 when the
 * process is gone. */
uint64_t process_cpu_ns(pid_t pid);

/* Fills `out`; returns 0, or -1 when it cannot be read. */
int process_memory(pid_t pid, struct process_memory *out);

#endif

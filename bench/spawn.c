/* bench-spawn: what it costs to start a program and see it end.
 *
 *   bench-spawn COUNT PROGRAM [ARGUMENT...]
 *
 * Prints the medians of COUNT runs: CPU time of the program (user and kernel, from wait4(2)) and
 * the time from starting it to its end, in microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static void die(const char *what, int error)
{
  fprintf(stderr, "bench-spawn: %s: %s\n", what, strerror(error));
  exit(1);
}

static double now_us(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double in_us(struct timeval t)
{
  return (double)t.tv_sec * 1e6 + (double)t.tv_usec;
}

static void run(char **command, double *cpu, double *wall)
{
  struct rusage usage;
  pid_t pid;
  int status;
  double start = now_us();
  int error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
  if (error) die(command[0], error);
  if (wait4(pid, &status, 0, &usage) != pid) die("wait4", errno);
  *wall = now_us() - start;
  *cpu = in_us(usage.ru_utime) + in_us(usage.ru_stime);
  if (!WIFEXITED(status) || WEXITSTATUS(status)) die(command[0], ECHILD);
}

static int compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
  int count = argc > 2 ? atoi(argv[1]) : 0;
  if (count < 1) {
    fputs("usage: bench-spawn COUNT PROGRAM [ARGUMENT...]\n", stderr);
    return 2;
  }
  double *cpu = calloc((size_t)count, sizeof *cpu), *wall = calloc((size_t)count, sizeof *wall);
  if (!cpu || !wall) die("calloc", errno);
  for (int i = 0; i < count; i++)
    run(argv + 2, &cpu[i], &wall[i]);
  qsort(cpu, (size_t)count, sizeof *cpu, compare);
  qsort(wall, (size_t)count, sizeof *wall, compare);
  printf("cpu_us=%.0f wall_us=%.0f\n", cpu[count / 2], wall[count / 2]);
  free(cpu);
  free(wall);
  return 0;
}

#include "process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t stat_cpu_ns(pid_t pid)
{
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  size_t len = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[len] = '\0';

  /* The command's name may hold anything, so fields are counted from its closing parenthesis: utime
   * and stime are the 14th and 15th of all. */
  const char *rest = strrchr(text, ')');
  unsigned long user, system;
  if (!rest ||
      sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
    return 0;
  return (uint64_t)(user + system) * (1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t process_cpu_ns(pid_t pid)
{
  char path[96];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;

  uint64_t total = 0;
  for (struct dirent *entry; (entry = readdir(tasks));) {
    long task = strtol(entry->d_name, NULL, 10);
    if (task <= 0) continue;
    snprintf(path, sizeof path, "/proc/%d/task/%ld/schedstat", (int)pid, task);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    uint64_t on_cpu;
    if (fscanf(file, "%" SCNu64, &on_cpu) == 1) total += on_cpu;
    fclose(file);
  }
  closedir(tasks);
  return total ? total : stat_cpu_ns(pid);
}

int process_memory(pid_t pid, struct process_memory *out)
{
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
  FILE *file = fopen(path, "r");
  if (!file) return -1;

  memset(out, 0, sizeof *out);
  long kib;
  while (fgets(line, sizeof line, file)) {
    if (sscanf(line, "Rss: %ld", &kib) == 1)
      out->rss = kib;
    else if (sscanf(line, "Pss: %ld", &kib) == 1)
      out->pss = kib;
    else if (sscanf(line, "Private_Clean: %ld", &kib) == 1)
      out->private_ += kib;
    else if (sscanf(line, "Private_Dirty: %ld", &kib) == 1)
      out->private_ += kib;
  }
  fclose(file);
  return out->rss ? 0 : -1;
}

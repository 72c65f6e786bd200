/* native.process: what a script may ask of the process it runs in. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bindings.h"
#include "terminal.h"

extern char **environ;

static int fail(lua_State *L, int number, const char *syscall_name)
{
  struct ml_error err;

  ml_error_system(&err, number, syscall_name);
  return ml_fail(L, &err);
}

static int push_result(lua_State *L, int result, const char *syscall_name)
{
  if (result < 0) return fail(L, errno, syscall_name);
  lua_pushboolean(L, 1);
  return 1;
}

/* exit(status): ends at once. Never returns. */
static int process_exit(lua_State *L)
{
  exit((int)luaL_optinteger(L, 1, 0));
}

static int process_abort(lua_State *L)
{
  (void)L;
  abort();
}

static int process_cwd(lua_State *L)
{
  char path[PATH_MAX];

  if (!getcwd(path, sizeof path)) return fail(L, errno, "uv_cwd");
  lua_pushstring(L, path);
  return 1;
}

/* umask([mask]) → the mask before */
static int process_umask(lua_State *L)
{
  mode_t before;

  if (lua_isnoneornil(L, 1)) {
    before = umask(0);
    umask(before);
  } else {
    before = umask((mode_t)luaL_checkinteger(L, 1) & 0777);
  }
  lua_pushinteger(L, before);
  return 1;
}

static int process_kill(lua_State *L)
{
  return push_result(L, kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)), "kill");
}

static int process_pid(lua_State *L)
{
  lua_pushinteger(L, getpid());
  lua_pushinteger(L, getppid());
  return 2;
}

/* ids() → uid, euid, gid, egid */
static int process_ids(lua_State *L)
{
  lua_pushnumber(L, getuid());
  lua_pushnumber(L, geteuid());
  lua_pushnumber(L, getgid());
  lua_pushnumber(L, getegid());
  return 4;
}

static int process_exec_path(lua_State *L)
{
  char path[PATH_MAX];
  ssize_t len = readlink("/proc/self/exe", path, sizeof path);

  if (len < 0) return fail(L, errno, "readlink");
  lua_pushlstring(L, path, (size_t)len);
  return 1;
}

/* uname() → platform, machine, release */
static int process_uname(lua_State *L)
{
  struct utsname name;

  if (uname(&name)) return fail(L, errno, "uname");
  lua_pushstring(L, name.sysname);
  lua_pushstring(L, name.machine);
  lua_pushstring(L, name.release);
  return 3;
}

/* Its effect is what ps(1) and top(1) show as the command's name, 15 bytes of it. */
static int process_set_title(lua_State *L)
{
  prctl(PR_SET_NAME, luaL_checkstring(L, 1), 0, 0, 0);
  return 0;
}

/* setenv(name, value | nil) */
static int process_setenv(lua_State *L)
{
  const char *name = luaL_checkstring(L, 1);
  const char *value = luaL_optstring(L, 2, NULL);

  return push_result(L, value ? setenv(name, value, 1) : unsetenv(name), "setenv");
}

/* environ() → table of all variables */
static int process_environ(lua_State *L)
{
  lua_newtable(L);
  for (char **entry = environ; entry && *entry; entry++) {
    const char *equals = strchr(*entry, '=');

    if (!equals) continue;
    lua_pushlstring(L, *entry, (size_t)(equals - *entry));
    lua_pushstring(L, equals + 1);
    lua_rawset(L, -3);
  }
  return 1;
}

/* processors() → how many processors this process may use (sched_getaffinity(2)) */
static int process_processors(lua_State *L)
{
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  lua_pushinteger(L, n);
  return 1;
}

/* rss() → resident bytes (proc(5), statm) */
static int process_rss(lua_State *L)
{
  FILE *file = fopen("/proc/self/statm", "re");
  unsigned long pages = 0;

  if (!file) return fail(L, errno, "uv_resident_set_memory");
  if (fscanf(file, "%*s %lu", &pages) != 1) pages = 0;
  fclose(file);
  lua_pushnumber(L, (double)pages * (double)sysconf(_SC_PAGESIZE));
  return 1;
}

/* cpu() → user and system time in microseconds */
static int process_cpu(lua_State *L)
{
  struct rusage usage;

  if (getrusage(RUSAGE_SELF, &usage)) return fail(L, errno, "uv_getrusage");
  lua_pushnumber(L, (double)usage.ru_utime.tv_sec * 1e6 + (double)usage.ru_utime.tv_usec);
  lua_pushnumber(L, (double)usage.ru_stime.tv_sec * 1e6 + (double)usage.ru_stime.tv_usec);
  return 2;
}

/* fdType(fd) → 'tty' | 'file' | 'pipe' | 'socket' | 'unknown' */
static int process_fd_type(lua_State *L)
{
  int fd = (int)luaL_checkinteger(L, 1);
  struct stat status;
  const char *type = "unknown";

  if (isatty(fd)) {
    type = "tty";
  } else if (fstat(fd, &status) == 0) {
    if (S_ISFIFO(status.st_mode)) {
      type = "pipe";
    } else if (S_ISSOCK(status.st_mode)) {
      type = "socket";
    } else if (S_ISREG(status.st_mode) || S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
      type = "file";
    }
  }
  lua_pushstring(L, type);
  return 1;
}

/* windowSize(fd) → columns, rows | nil, err */
static int process_window_size(lua_State *L)
{
  struct ml_error err;
  int columns;
  int rows;

  if (ml_terminal_size((int)luaL_checkinteger(L, 1), &columns, &rows, &err))
    return ml_fail(L, &err);
  lua_pushinteger(L, columns);
  lua_pushinteger(L, rows);
  return 2;
}

/* setRaw(fd, raw) → true | nil, err */
static int process_set_raw(lua_State *L)
{
  struct ml_error err;

  if (ml_terminal_raw((int)luaL_checkinteger(L, 1), lua_toboolean(L, 2), &err))
    return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* Writes all of it, waiting where a descriptor that somebody made non-blocking would not. */
static int write_all(int fd, const char *data, size_t len)
{
  while (len > 0) {
    ssize_t n = write(fd, data, len);

    if (n >= 0) {
      data += n;
      len -= (size_t)n;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      struct pollfd wait = {.fd = fd, .events = POLLOUT};

      if (poll(&wait, 1, -1) < 0 && errno != EINTR) return -1;
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return 0;
}

/* writeSync(fd, data) → true | nil, err. stdio's buffer goes first, so that print and
 * process.stdout keep their order. */
static int process_write_sync(lua_State *L)
{
  int fd = (int)luaL_checkinteger(L, 1);
  size_t len;
  const char *data = luaL_checklstring(L, 2, &len);

  if (fd == STDOUT_FILENO) fflush(stdout);
  return push_result(L, write_all(fd, data, len), "write");
}

static const luaL_Reg functions[] = {
    {"exit", process_exit},
    {"abort", process_abort},
    {"cwd", process_cwd},
    {"umask", process_umask},
    {"kill", process_kill},
    {"pid", process_pid},
    {"ids", process_ids},
    {"execPath", process_exec_path},
    {"uname", process_uname},
    {"setTitle", process_set_title},
    {"setenv", process_setenv},
    {"environ", process_environ},
    {"rss", process_rss},
    {"processors", process_processors},
    {"cpu", process_cpu},
    {"fdType", process_fd_type},
    {"windowSize", process_window_size},
    {"setRaw", process_set_raw},
    {"writeSync", process_write_sync},
    {NULL, NULL},
};

void ml_open_process(lua_State *L)
{
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  lua_setfield(L, 1, "process");
}

/* native.fs: files, synchronously, and watching them. A function that fails returns nil, the
 * errno's name, its text and its number; lua/fs.lua words the Error, which names paths. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bindings.h"
#include "fswatch.h"

static int fail(lua_State *L, int number)
{
  lua_pushnil(L);
  lua_pushstring(L, ml_errno_name(number));
  lua_pushstring(L, strerror(number));
  lua_pushinteger(L, number);
  return 4;
}

static int push_result(lua_State *L, int result)
{
  if (result < 0) return fail(L, errno);
  lua_pushinteger(L, result);
  return 1;
}

static int check_fd(lua_State *L)
{
  return (int)luaL_checkinteger(L, 1);
}

/* A byte offset in a file; -1 when it is left out. */
static off_t opt_offset(lua_State *L, int index)
{
  return (off_t)luaL_optnumber(L, index, -1);
}

/* What open(2) flags Node's strings mean; -1 for others. */
static int parse_flags(const char *text)
{
  static const struct {
    const char *text;
    int flags;
  } known[] = {
      {"r", O_RDONLY},
      {"rs", O_RDONLY | O_SYNC},
      {"sr", O_RDONLY | O_SYNC},
      {"r+", O_RDWR},
      {"rs+", O_RDWR | O_SYNC},
      {"sr+", O_RDWR | O_SYNC},
      {"w", O_TRUNC | O_CREAT | O_WRONLY},
      {"wx", O_TRUNC | O_CREAT | O_WRONLY | O_EXCL},
      {"xw", O_TRUNC | O_CREAT | O_WRONLY | O_EXCL},
      {"w+", O_TRUNC | O_CREAT | O_RDWR},
      {"wx+", O_TRUNC | O_CREAT | O_RDWR | O_EXCL},
      {"xw+", O_TRUNC | O_CREAT | O_RDWR | O_EXCL},
      {"a", O_APPEND | O_CREAT | O_WRONLY},
      {"ax", O_APPEND | O_CREAT | O_WRONLY | O_EXCL},
      {"xa", O_APPEND | O_CREAT | O_WRONLY | O_EXCL},
      {"as", O_APPEND | O_CREAT | O_WRONLY | O_SYNC},
      {"sa", O_APPEND | O_CREAT | O_WRONLY | O_SYNC},
      {"a+", O_APPEND | O_CREAT | O_RDWR},
      {"ax+", O_APPEND | O_CREAT | O_RDWR | O_EXCL},
      {"xa+", O_APPEND | O_CREAT | O_RDWR | O_EXCL},
      {"as+", O_APPEND | O_CREAT | O_RDWR | O_SYNC},
      {"sa+", O_APPEND | O_CREAT | O_RDWR | O_SYNC},
  };

  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(known[i].text, text) == 0) return known[i].flags;
  }
  return -1;
}

/* validFlags(text) → boolean */
static int fs_valid_flags(lua_State *L)
{
  lua_pushboolean(L, parse_flags(luaL_checkstring(L, 1)) >= 0);
  return 1;
}

/* open(path, flags, mode) → fd; flags as a string of Node's or a number of open(2)'s */
static int fs_open(lua_State *L)
{
  const char *path = luaL_checkstring(L, 1);
  int flags = lua_type(L, 2) == LUA_TNUMBER ? (int)lua_tointeger(L, 2)
                                            : parse_flags(luaL_checkstring(L, 2));
  mode_t mode = (mode_t)luaL_optinteger(L, 3, 0666);

  if (flags < 0) return luaL_argerror(L, 2, "unknown file open flag");
  return push_result(L, open(path, flags | O_CLOEXEC, mode));
}

static int fs_close(lua_State *L)
{
  return push_result(L, close(check_fd(L)));
}

static ssize_t read_at(int fd, char *buffer, size_t size, off_t offset)
{
  ssize_t n;

  do {
    n = offset < 0 ? read(fd, buffer, size) : pread(fd, buffer, size, offset);
  } while (n < 0 && errno == EINTR);
  return n;
}

/* read(fd, size [, offset]) → at most `size` bytes, '' at the end */
static int fs_read(lua_State *L)
{
  int fd = check_fd(L);
  size_t size = (size_t)luaL_checknumber(L, 2);
  char *buffer = lua_newuserdata(L, size ? size : 1);
  ssize_t n = read_at(fd, buffer, size, opt_offset(L, 3));

  if (n < 0) return fail(L, errno);
  lua_pushlstring(L, buffer, (size_t)n);
  return 1;
}

/* readAll(fd) → everything up to the end */
static int fs_read_all(lua_State *L)
{
  int fd = check_fd(L);
  luaL_Buffer buffer;
  ssize_t n;

  luaL_buffinit(L, &buffer);
  while ((n = read_at(fd, luaL_prepbuffer(&buffer), LUAL_BUFFERSIZE, -1)) > 0) {
    luaL_addsize(&buffer, (size_t)n);
  }
  if (n < 0) return fail(L, errno);
  luaL_pushresult(&buffer);
  return 1;
}

/* write(fd, data [, offset]) → bytes written: all of them, or it fails */
static int fs_write(lua_State *L)
{
  int fd = check_fd(L);
  size_t len;
  const char *data = luaL_checklstring(L, 2, &len);
  off_t offset = opt_offset(L, 3);
  size_t done = 0;

  while (done < len) {
    ssize_t n = offset < 0 ? write(fd, data + done, len - done)
                           : pwrite(fd, data + done, len - done, offset + (off_t)done);

    if (n < 0 && errno != EINTR) return fail(L, errno);
    if (n > 0) done += (size_t)n;
  }
  lua_pushnumber(L, (lua_Number)done);
  return 1;
}

static void set_number(lua_State *L, const char *name, double value)
{
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static double to_ms(const struct timespec *time)
{
  return (double)time->tv_sec * 1e3 + (double)time->tv_nsec / 1e6;
}

static const char *file_type(mode_t mode)
{
  switch (mode & S_IFMT) {
  case S_IFREG:
    return "file";
  case S_IFDIR:
    return "directory";
  case S_IFLNK:
    return "symlink";
  case S_IFIFO:
    return "fifo";
  case S_IFSOCK:
    return "socket";
  case S_IFCHR:
    return "character";
  default:
    return "block";
  }
}

static int push_stat(lua_State *L, int result, const struct stat *status)
{
  if (result < 0) return fail(L, errno);
  lua_createtable(L, 0, 16);
  set_number(L, "dev", (double)status->st_dev);
  set_number(L, "ino", (double)status->st_ino);
  set_number(L, "mode", status->st_mode);
  set_number(L, "nlink", (double)status->st_nlink);
  set_number(L, "uid", status->st_uid);
  set_number(L, "gid", status->st_gid);
  set_number(L, "rdev", (double)status->st_rdev);
  set_number(L, "size", (double)status->st_size);
  set_number(L, "blksize", (double)status->st_blksize);
  set_number(L, "blocks", (double)status->st_blocks);
  set_number(L, "atimeMs", to_ms(&status->st_atim));
  set_number(L, "mtimeMs", to_ms(&status->st_mtim));
  set_number(L, "ctimeMs", to_ms(&status->st_ctim));
  lua_pushstring(L, file_type(status->st_mode));
  return 2;
}

/* stat(path), lstat(path), fstat(fd) → fields, type */
static int fs_stat(lua_State *L)
{
  struct stat status;

  return push_stat(L, stat(luaL_checkstring(L, 1), &status), &status);
}

static int fs_lstat(lua_State *L)
{
  struct stat status;

  return push_stat(L, lstat(luaL_checkstring(L, 1), &status), &status);
}

static int fs_fstat(lua_State *L)
{
  struct stat status;

  return push_stat(L, fstat(check_fd(L), &status), &status);
}

static int fs_access(lua_State *L)
{
  return push_result(L, access(luaL_checkstring(L, 1), (int)luaL_optinteger(L, 2, F_OK)));
}

static int fs_unlink(lua_State *L)
{
  return push_result(L, unlink(luaL_checkstring(L, 1)));
}

static int fs_rmdir(lua_State *L)
{
  return push_result(L, rmdir(luaL_checkstring(L, 1)));
}

static int fs_chdir(lua_State *L)
{
  return push_result(L, chdir(luaL_checkstring(L, 1)));
}

static int fs_mkdir(lua_State *L)
{
  return push_result(L, mkdir(luaL_checkstring(L, 1), (mode_t)luaL_optinteger(L, 2, 0777)));
}

static int fs_rename(lua_State *L)
{
  return push_result(L, rename(luaL_checkstring(L, 1), luaL_checkstring(L, 2)));
}

static int fs_chmod(lua_State *L)
{
  return push_result(L, chmod(luaL_checkstring(L, 1), (mode_t)luaL_checkinteger(L, 2)));
}

static int fs_symlink(lua_State *L)
{
  return push_result(L, symlink(luaL_checkstring(L, 1), luaL_checkstring(L, 2)));
}

static int fs_realpath(lua_State *L)
{
  char path[PATH_MAX];

  if (!realpath(luaL_checkstring(L, 1), path)) return fail(L, errno);
  lua_pushstring(L, path);
  return 1;
}

/* mkdtemp(prefix) → path; six characters are added */
static int fs_mkdtemp(lua_State *L)
{
  size_t len;
  const char *prefix = luaL_checklstring(L, 1, &len);
  char *path = lua_newuserdata(L, len + 7);

  memcpy(path, prefix, len);
  memcpy(path + len, "XXXXXX", 7);
  if (!mkdtemp(path)) return fail(L, errno);
  lua_pushstring(L, path);
  return 1;
}

/* readdir(path) → list of names; a directory left open by an error is closed by the collector */
static int fs_readdir(lua_State *L)
{
  DIR **directory = lua_newuserdata(L, sizeof *directory);
  const struct dirent *entry;
  int count = 0;

  *directory = NULL;
  luaL_getmetatable(L, "moonlatch.directory");
  lua_setmetatable(L, -2);
  *directory = opendir(luaL_checkstring(L, 1));
  if (!*directory) return fail(L, errno);
  lua_newtable(L);
  while ((entry = readdir(*directory))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    lua_pushstring(L, entry->d_name);
    lua_rawseti(L, -2, ++count);
  }
  closedir(*directory);
  *directory = NULL;
  return 1;
}

static int directory_gc(lua_State *L)
{
  DIR **directory = lua_touserdata(L, 1);

  if (*directory) closedir(*directory);
  *directory = NULL;
  return 0;
}

struct watch {
  struct ml_object object;
  struct ml_fswatch *watch; /* NULL when not open */
  int self;                 /* registry reference to the userdata while it is open */
};

struct change {
  const struct watch *watch;
  enum ml_fs_change kind;
  const char *name;
};

static void emit_change(lua_State *L, void *arg)
{
  const struct change *change = arg;

  lua_rawgeti(L, LUA_REGISTRYINDEX, change->watch->self);
  if (!ml_push_handler(L, change->watch->object.vm, ML_CLASS_WATCH, ML_ON_CHANGE)) return;
  ml_object_push_owner(L, &change->watch->object);
  lua_pushstring(L, change->kind == ML_FS_CHANGED ? "change" : "rename");
  lua_pushstring(L, change->name);
  lua_call(L, 3, 0);
}

static void on_change(struct ml_fswatch *fswatch, void *user, enum ml_fs_change kind,
                      const char *name)
{
  const struct watch *watch = user;
  struct change change = {watch, kind, name};

  (void)fswatch;
  ml_enter(watch->object.vm, emit_change, &change);
}

/* watch() */
static int watch_new(lua_State *L)
{
  struct watch *watch = ml_object_new(L, sizeof *watch);

  watch->self = LUA_NOREF;
  return 1;
}

static void watch_end(struct watch *watch)
{
  if (!watch->watch) return;
  ml_fswatch_close(watch->watch);
  watch->watch = NULL;
  ml_object_release(&watch->object);
  luaL_unref(watch->object.vm->L, LUA_REGISTRYINDEX, watch->self);
  watch->self = LUA_NOREF;
}

/* watch:start(owner, path) → true | nil, … */
static int watch_start(lua_State *L)
{
  struct watch *watch = ml_object_self(L);
  const char *path = luaL_checkstring(L, 3);
  struct ml_error err;

  luaL_checktype(L, 2, LUA_TTABLE);
  watch_end(watch);
  if (ml_fswatch_open(&watch->watch, watch->object.vm->loop, path, on_change, watch, &err)) {
    return fail(L, (int)err.number);
  }
  ml_object_anchor(L, &watch->object, 2);
  lua_pushvalue(L, 1);
  watch->self = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushboolean(L, 1);
  return 1;
}

static int watch_close(lua_State *L)
{
  watch_end(ml_object_self(L));
  return 0;
}

static int watch_ref(lua_State *L)
{
  struct watch *watch = ml_object_self(L);

  if (watch->watch) ml_fswatch_ref(watch->watch, true);
  return 0;
}

static int watch_unref(lua_State *L)
{
  struct watch *watch = ml_object_self(L);

  if (watch->watch) ml_fswatch_ref(watch->watch, false);
  return 0;
}

static int watch_gc(lua_State *L)
{
  struct watch *watch = ml_object_self(L);

  if (watch->watch && watch->object.vm->loop) ml_fswatch_close(watch->watch);
  watch->watch = NULL;
  return 0;
}

static const luaL_Reg watch_methods[] = {
    {"start", watch_start}, {"close", watch_close}, {"ref", watch_ref},
    {"unref", watch_unref}, {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"validFlags", fs_valid_flags},
    {"open", fs_open},
    {"close", fs_close},
    {"read", fs_read},
    {"readAll", fs_read_all},
    {"write", fs_write},
    {"stat", fs_stat},
    {"lstat", fs_lstat},
    {"fstat", fs_fstat},
    {"access", fs_access},
    {"unlink", fs_unlink},
    {"rmdir", fs_rmdir},
    {"chdir", fs_chdir},
    {"mkdir", fs_mkdir},
    {"rename", fs_rename},
    {"chmod", fs_chmod},
    {"symlink", fs_symlink},
    {"realpath", fs_realpath},
    {"mkdtemp", fs_mkdtemp},
    {"readdir", fs_readdir},
    {NULL, NULL},
};

void ml_open_fs(lua_State *L)
{
  luaL_newmetatable(L, "moonlatch.directory");
  lua_pushcfunction(L, directory_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  ml_class_register(L, "moonlatch.watch", watch_methods, watch_gc);
  ml_class_constructor(L, lua_gettop(L), watch_new);
  lua_setfield(L, -3, "watch");
  lua_pop(L, 1);
  lua_setfield(L, 1, "fs");
}

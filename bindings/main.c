/* The moonlatch program. Options, modules and scripts are lua/moonlatch/program.lua's business;
 * what stays here is what has to surround Lua: the state, the steps of a run, the loop, the exit
 * status. */
#include <errno.h>
#include <fcntl.h>
#include <luajit.h>
#include <lualib.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "embed.h"
#include "iteration.h"
#include "vm.h"

#if defined(__SANITIZE_ADDRESS__)
#define ML_CLOSE_ALWAYS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ML_CLOSE_ALWAYS 1
#endif
#endif

struct program {
  int argc;
  char **argv;
  int reference; /* registry reference to what require 'moonlatch.program' gave */
  int status;
};

static lua_State *main_state;

/* A descriptor below 3 that is closed would be given to the first file opened, and prints would go
 * there. */
static void open_standard_descriptors(void)
{
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd) abort();
  }
}

/* What waits for slow peers comes and goes in blocks of 64 KiB and more, many at a time. By its
 * own rules glibc gives them back to the kernel each time and faults new pages in, which costs more
 * than the copying does. These leave it a few MiB to work with (mallopt(3)). */
static void keep_freed_memory(void)
{
#ifdef __GLIBC__
  mallopt(M_TRIM_THRESHOLD, 4 << 20);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

static void close_state(void)
{
  lua_State *L = main_state;
  main_state = NULL;
  if (L) lua_close(L);
}

#ifdef ML_CLOSE_ALWAYS
static int state_closed(lua_State *L)
{
  (void)L;
  main_state = NULL;
  return 0;
}

/* LuaJIT's memory is invisible to the leak checker, so what only Lua points to would count as
 * leaked. os.exit(status, true) closes the state itself. */
static void close_at_exit(lua_State *L)
{
  lua_newuserdata(L, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_closed);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  luaL_ref(L, LUA_REGISTRYINDEX);
  /* Leaves by atexit(3) as well, and must not be gone before what it frees. */
  OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
  atexit(close_state);
}
#endif

/* Pushes program[name]. */
static void push_function(lua_State *L, const struct program *program, const char *name)
{
  lua_rawgeti(L, LUA_REGISTRYINDEX, program->reference);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

static void body_load(lua_State *L, void *arg)
{
  struct program *program = arg;

  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonlatch.program");
  lua_call(L, 1, 1);
  program->reference = luaL_ref(L, LUA_REGISTRYINDEX);
  push_function(L, program, "start");
  lua_createtable(L, program->argc, 1);
  for (int i = 0; i < program->argc; i++) {
    lua_pushstring(L, program->argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_call(L, 1, 0);
}

/* Every step (LUA_INIT, -l, -e, the script) is called from here and not from Lua, so that a script
 * is at the bottom of the Lua stack as it is under lua: some look there to learn whether they are
 * the main script. */
static void body_steps(lua_State *L, void *arg)
{
  const struct program *program = arg;

  for (;;) {
    lua_settop(L, 0);
    push_function(L, program, "next");
    lua_call(L, 0, LUA_MULTRET);
    if (lua_gettop(L) == 0 || lua_isnil(L, 1)) return;
    lua_call(L, lua_gettop(L) - 1, 0);
  }
}

static void body_before_exit(lua_State *L, void *arg)
{
  const struct program *program = arg;

  push_function(L, program, "beforeExit");
  lua_call(L, 0, 0);
}

static void body_exit(lua_State *L, void *arg)
{
  struct program *program = arg;

  push_function(L, program, "exit");
  lua_call(L, 0, 1);
  program->status = (int)lua_tointeger(L, -1);
}

static int run(struct ml_vm *vm, void *arg)
{
  struct program *program = arg;

  /* What is run once is not worth compiling, nor is there garbage to speak of. */
  luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  if (ml_enter(vm, body_load, program)) return EXIT_FAILURE;
  luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
  lua_gc(vm->L, LUA_GCRESTART, -1);
  ml_enter(vm, body_steps, program);
  do {
    ml_loop_run(vm->loop);
    ml_enter(vm, body_before_exit, program);
  } while (ml_loop_alive(vm->loop));
  program->status = EXIT_FAILURE;
  ml_enter(vm, body_exit, program);
  ml_loop_flush(vm->loop);
  return program->status;
}

int main(int argc, char **argv)
{
  struct program program = {.argc = argc, .argv = argv, .reference = LUA_NOREF};
  lua_State *L;
  int status;

  keep_freed_memory();
  open_standard_descriptors();
  signal(SIGPIPE, SIG_IGN);
  L = luaL_newstate();
  if (!L) {
    fputs("moonlatch: not enough memory\n", stderr);
    return EXIT_FAILURE;
  }
  main_state = L;
#ifdef ML_CLOSE_ALWAYS
  close_at_exit(L);
#endif
  /* LUA_PATH and LUA_CPATH are read once -E has been looked for. */
  lua_pushboolean(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  lua_gc(L, LUA_GCSTOP, 0);
  luaL_openlibs(L);
  ml_iteration_install(L);
  ml_embed_install(L);
  status = ml_vm_on(L, ml_vm(L), run, &program);
  close_state();
  return status;
}

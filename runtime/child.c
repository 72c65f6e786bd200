#include "child.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

/* Whether the child has ended; takes its status then. */
static bool reap(struct ml_child *child)
{
  siginfo_t info = {0};
  if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
    return false;
  bool ours = info.si_pid == child->pid, exited = info.si_code == CLD_EXITED;
  child->status = !ours ? -1 : exited ? info.si_status : 0;
  child->signal = ours && !exited ? info.si_status : 0;
  return true;
}

/* Some child has ended, perhaps another one. */
static void on_sigchld(struct ml_sigwatch *watcher)
{
  struct ml_child *child =
      (struct ml_child *)((char *)watcher - offsetof(struct ml_child, watcher));
  if (!reap(child)) return;
  ml_child_stop(child);
  child->on_exit(child);
}

void ml_child_init(struct ml_child *child, struct ml_loop *loop, void (*on_exit)(struct ml_child *))
{
  memset(child, 0, sizeof(*child));
  ml_sigwatch_init(&child->watcher, loop, on_sigchld);
  child->loop = loop;
  child->on_exit = on_exit;
  child->ref = true;
}

/* What posix_spawn is told besides the program; 0 or an errno value. */
static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                   const struct ml_child_options *options)
{
  sigset_t signals;
  int code = 0;
  for (int fd = 0; !code && fd < 3; fd++)
    if (options->fds[fd] >= 0)
      code = posix_spawn_file_actions_adddup2(actions, options->fds[fd], fd);
  if (!code && options->cwd) code = posix_spawn_file_actions_addchdir_np(actions, options->cwd);
  sigemptyset(&signals);
  if (!code) code = posix_spawnattr_setsigmask(attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  if (!code) code = posix_spawnattr_setsigdefault(attributes, &signals);
  if (!code)
    code = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  return code;
}

/* 0 or an errno value. */
static int spawn(pid_t *pid, const struct ml_child_options *options)
{
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int code = posix_spawn_file_actions_init(&actions);
  if (code) return code;
  code = posix_spawnattr_init(&attributes);
  if (!code) {
    code = prepare(&actions, &attributes, options);
    if (!code)
      code =
          posix_spawnp(pid, options->argv[0], &actions, &attributes, (char *const *)options->argv,
                       options->env ? (char *const *)options->env : environ);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

int ml_child_start(struct ml_child *child, const struct ml_child_options *options,
                   struct ml_error *err)
{
  /* Watched before it starts: its end cannot be missed. */
  if (ml_sigwatch_start(&child->watcher, SIGCHLD, err)) return -1;
  int code = spawn(&child->pid, options);
  if (code) {
    ml_sigwatch_stop(&child->watcher);
    ml_error_system_at(err, code, "spawn", options->argv[0], 0);
    return -1;
  }
  child->running = true;
  if (child->ref) ev_ref(ml_loop_ev(child->loop));
  return 0;
}

int ml_child_kill(struct ml_child *child, int number, struct ml_error *err)
{
  if (!child->running) errno = ESRCH;
  if (child->running && kill(child->pid, number) == 0) return 0;
  ml_error_system(err, errno, "kill");
  return -1;
}

void ml_child_ref(struct ml_child *child, bool ref)
{
  if (child->running && ref != child->ref) {
    if (ref)
      ev_ref(ml_loop_ev(child->loop));
    else
      ev_unref(ml_loop_ev(child->loop));
  }
  child->ref = ref;
}

void ml_child_stop(struct ml_child *child)
{
  if (!child->running) return;
  child->running = false;
  if (child->ref) ev_unref(ml_loop_ev(child->loop));
  ml_sigwatch_stop(&child->watcher);
}

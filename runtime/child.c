#include "child.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Waits, which ends at once: the pidfd is readable when the child has ended. */
static void reap(struct ml_child *child)
{
  siginfo_t info = {0};
  while (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED) == -1 && errno == EINTR)
    continue;
  bool exited = info.si_code == CLD_EXITED;
  child->status = exited ? info.si_status : 0;
  child->signal = exited ? 0 : info.si_status;
}

static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
  struct ml_child *child = (struct ml_child *)((char *)io - offsetof(struct ml_child, io));
  (void)loop, (void)events;
  reap(child);
  ml_child_stop(child);
  child->on_exit(child);
}

void ml_child_init(struct ml_child *child, struct ml_loop *loop, void (*on_exit)(struct ml_child *))
{
  memset(child, 0, sizeof(*child));
  child->loop = loop;
  child->on_exit = on_exit;
  child->pidfd = -1;
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
  int code = spawn(&child->pid, options);
  if (code) {
    ml_error_system_at(err, code, "spawn", options->argv[0], 0);
    return -1;
  }
  child->pidfd = pidfd_open(child->pid, 0);
  if (child->pidfd == -1) {
    ml_error_system(err, errno, "pidfd_open");
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
    return -1;
  }
  ev_io_init(&child->io, on_readable, child->pidfd, EV_READ);
  ml_loop_io_start(child->loop, &child->io, child->ref);
  return 0;
}

int ml_child_kill(struct ml_child *child, int number, struct ml_error *err)
{
  if (child->pidfd == -1) errno = ESRCH;
  if (child->pidfd != -1 && pidfd_send_signal(child->pidfd, number, NULL, 0) == 0) return 0;
  ml_error_system(err, errno, "kill");
  return -1;
}

void ml_child_ref(struct ml_child *child, bool ref)
{
  if (child->pidfd != -1 && child->ref != ref) {
    ml_loop_io_stop(child->loop, &child->io, child->ref);
    ml_loop_io_start(child->loop, &child->io, ref);
  }
  child->ref = ref;
}

void ml_child_stop(struct ml_child *child)
{
  if (child->pidfd == -1) return;
  ml_loop_io_stop(child->loop, &child->io, child->ref);
  close(child->pidfd);
  child->pidfd = -1;
}

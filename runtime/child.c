#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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
  struct ml_child *child = ML_CONTAINER_OF(watcher, struct ml_child, watcher);
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

/* In the new process, where only what signal-safety(7) lists may be called: becomes the program, or
 * tells why not. */
static void become(const struct ml_child_options *options, int report)
{
  struct sigaction action = {.sa_handler = SIG_DFL};
  sigset_t none;
  bool ok = true;
  sigaction(SIGPIPE, &action, NULL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int fd = 0; fd < 3; fd++)
    if (options->fds[fd] >= 0) ok = ok && dup2(options->fds[fd], fd) != -1;
  if (ok && options->keep) ok = fcntl(options->keep, F_SETFD, 0) == 0;
  if (ok && options->cwd) ok = chdir(options->cwd) == 0;
  if (ok)
    execvpe(options->argv[0], (char *const *)options->argv,
            options->env ? (char *const *)options->env : environ);
  int code = errno;
  if (write(report, &code, sizeof(code)) < 0) code = 0;
  _exit(127);
}

/* What the new process told before it became the program: 0, or an errno value. */
static int hear(int report)
{
  int code = 0;
  ssize_t n;
  do {
    n = read(report, &code, sizeof(code));
  } while (n == -1 && errno == EINTR);
  return n == sizeof(code) ? code : 0;
}

/* 0 or an errno value. Unlike posix_spawn(3) this tells a failed exec under valgrind too, which has
 * no shared memory between the two processes. */
static int spawn(pid_t *pid, const struct ml_child_options *options)
{
  int report[2];
  if (pipe2(report, O_CLOEXEC) == -1) return errno;
  *pid = fork();
  if (*pid == 0) become(options, report[1]);
  int code = *pid == -1 ? errno : 0;
  close(report[1]);
  if (!code) {
    code = hear(report[0]);
    if (code) waitpid(*pid, NULL, 0);
  }
  close(report[0]);
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

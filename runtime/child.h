/* Child processes: started, watched through SIGCHLD, signalled. */
#ifndef ML_CHILD_H
#define ML_CHILD_H

#include <sys/types.h>

#include "loop.h"
#include "sigwatch.h"

struct ml_child_options {
  const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
  const char *const *env; /* "NAME=value", NULL-terminated; NULL: the environment of this process */
  const char *cwd;        /* NULL: that of this process */
  int fds[3]; /* what becomes its 0, 1, 2: a descriptor from 3 on; -1: the same as here */
  int keep;   /* a descriptor that it has under the same number, close-on-exec or not; 0: none */
};

struct ml_child {
  struct ml_sigwatch watcher;
  struct ml_loop *loop;
  /* Called once. It may start another child in the same struct, or free it. */
  void (*on_exit)(struct ml_child *);
  pid_t pid;  /* 0 before the start */
  int status; /* exit status, from on_exit on; -1 when somebody else waited for the child */
  int signal; /* the signal that ended it, or 0; from on_exit on */
  bool running;
  bool ref; /* whether it keeps the loop open, as at the start */
};

/* Prepares a struct for no child yet. It holds no memory of its own. */
void ml_child_init(struct ml_child *child, struct ml_loop *loop,
                   void (*on_exit)(struct ml_child *));

/* Starts the program with SIGPIPE as by default and no signal blocked; all descriptors from 3 on
 * that are not close-on-exec are inherited. Fails with what fork(2), chdir(2) or execvp(3) said. */
ML_MUST_CHECK int ml_child_start(struct ml_child *child, const struct ml_child_options *options,
                                 struct ml_error *err);

/* Sends a signal. Fails with ESRCH when nothing runs any more. The number of a child that has not
 * been waited for is given to no other process, so the signal reaches the child or nobody. */
ML_MUST_CHECK int ml_child_kill(struct ml_child *child, int number, struct ml_error *err);

void ml_child_ref(struct ml_child *child, bool ref);

/* Forgets the child, which goes on running and is not waited for; on_exit does not follow.
 * Idempotent.
 */
void ml_child_stop(struct ml_child *child);

#endif

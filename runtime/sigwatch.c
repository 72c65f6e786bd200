#include "sigwatch.h"

#include <errno.h>
#include <signal.h>

static void on_ev_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
  struct ml_sigwatch *self = watcher->data;

  (void)ev;
  (void)revents;
  self->on_signal(self);
}

void ml_sigwatch_init(struct ml_sigwatch *watcher, struct ml_loop *loop,
                      void (*on_signal)(struct ml_sigwatch *))
{
  ev_signal_init(&watcher->ev, on_ev_signal, 0);
  watcher->ev.data = watcher;
  watcher->loop = loop;
  watcher->on_signal = on_signal;
}

static bool can_be_caught(int number)
{
  /* sigaction(2) itself knows best, SIGKILL, SIGSTOP and libc's own signals included; it refuses to
   * set those, not to query them, so the query only weeds out what is no signal. */
  struct sigaction action;

  return number != SIGKILL && number != SIGSTOP && sigaction(number, NULL, &action) == 0;
}

int ml_sigwatch_start(struct ml_sigwatch *watcher, int number, struct ml_error *err)
{
  ml_sigwatch_stop(watcher);
  if (!can_be_caught(number)) {
    ml_error_system(err, EINVAL, "signal");
    return -1;
  }
  ev_signal_set(&watcher->ev, number);
  ev_signal_start(ml_loop_ev(watcher->loop), &watcher->ev);
  ev_unref(ml_loop_ev(watcher->loop));
  return 0;
}

void ml_sigwatch_stop(struct ml_sigwatch *watcher)
{
  struct sigaction action;

  if (!ev_is_active(&watcher->ev)) return;
  ev_ref(ml_loop_ev(watcher->loop));
  ev_signal_stop(ml_loop_ev(watcher->loop), &watcher->ev);
  if (watcher->ev.signum != SIGPIPE) return;
  if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
    signal(SIGPIPE, SIG_IGN);
}

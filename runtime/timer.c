#include "timer.h"

/* A one-shot is given a repeat that never comes round: libev then leaves it active when it fires,
 * and references are counted in one place, ml_timer_stop. */
#define NEVER 1e9

static void on_ev_timer(struct ev_loop *ev, ev_timer *watcher, int revents)
{
  struct ml_timer *timer = watcher->data;

  (void)ev;
  (void)revents;
  if (timer->repeat <= 0) ml_timer_stop(timer);
  timer->on_timeout(timer);
}

void ml_timer_init(struct ml_timer *timer, struct ml_loop *loop,
                   void (*on_timeout)(struct ml_timer *))
{
  ev_timer_init(&timer->ev, on_ev_timer, 0., NEVER);
  timer->ev.data = timer;
  timer->loop = loop;
  timer->on_timeout = on_timeout;
  timer->repeat = 0;
  timer->ref = true;
}

void ml_timer_start(struct ml_timer *timer, double ms, double repeat)
{
  ml_timer_stop(timer);
  timer->repeat = repeat;
  /* libev counts from the time of its last wake-up, which may be long ago when a script computes.
   */
  ev_now_update(ml_loop_ev(timer->loop));
  ev_timer_set(&timer->ev, ms / 1000., repeat > 0 ? repeat / 1000. : NEVER);
  ml_loop_timer_start(timer->loop, &timer->ev, timer->ref);
}

void ml_timer_stop(struct ml_timer *timer)
{
  ml_loop_timer_stop(timer->loop, &timer->ev, timer->ref);
}

void ml_timer_ref(struct ml_timer *timer, bool ref)
{
  if (timer->ref == ref) return;
  timer->ref = ref;
  if (!ev_is_active(&timer->ev)) return;
  if (ref) {
    ev_ref(ml_loop_ev(timer->loop));
  } else {
    ev_unref(ml_loop_ev(timer->loop));
  }
}

bool ml_timer_active(const struct ml_timer *timer)
{
  return ev_is_active(&timer->ev);
}

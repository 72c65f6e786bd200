/* Timers: one-shot or repeating, with a say in whether they hold the loop open. */
#ifndef ML_TIMER_H
#define ML_TIMER_H

#include "loop.h"

struct ml_timer {
  ev_timer ev;
  struct ml_loop *loop;
  void (*on_timeout)(struct ml_timer *); /* may start, stop or free the timer */
  double repeat;                         /* milliseconds; 0 for a one-shot */
  bool ref;
};

/* Prepares a stopped, referenced timer. It holds no memory of its own. */
void ml_timer_init(struct ml_timer *timer, struct ml_loop *loop,
                   void (*on_timeout)(struct ml_timer *));

/* Fires `ms` milliseconds from now, then every `repeat` milliseconds unless that is 0. Restarts a
 * running timer. */
void ml_timer_start(struct ml_timer *timer, double ms, double repeat);

/* Stops it; no call follows. Idempotent. */
void ml_timer_stop(struct ml_timer *timer);

/* Whether the running timer holds the loop open; may be changed at any time. */
void ml_timer_ref(struct ml_timer *timer, bool ref);

bool ml_timer_active(const struct ml_timer *timer);

#endif

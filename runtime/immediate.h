/* Work for right after the I/O of this turn, before the loop polls again (Node's check phase). */
#ifndef ML_IMMEDIATE_H
#define ML_IMMEDIATE_H

#include "loop.h"

struct ml_immediate {
  struct ml_loop *loop;
  void (*on_run)(struct ml_immediate *); /* does the work present when it is called */
  struct ml_task task;                   /* the end of this turn */
  ev_idle idle;                          /* keeps the next poll from waiting */
  ev_prepare prepare;                    /* the end of the next turn */
  bool ref;
  bool running;
  bool prepare_ref; /* how `prepare` was started */
};

void ml_immediate_init(struct ml_immediate *immediate, struct ml_loop *loop,
                       void (*on_run)(struct ml_immediate *));

/* Asks for one call of on_run. Asked from outside, it comes at the end of this turn; asked by
 * on_run itself, at the end of the next one, for which the loop does not wait. With `ref` false the
 * loop does not stay open for it, and the request is dropped when nothing else keeps it open.
 * Asking again replaces the request. */
void ml_immediate_request(struct ml_immediate *immediate, bool ref);

/* Withdraws the request. Idempotent. */
void ml_immediate_cancel(struct ml_immediate *immediate);

#endif

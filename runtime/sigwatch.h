/* Signals as events of the loop. A watcher never holds the loop open. */
#ifndef ML_SIGWATCH_H
#define ML_SIGWATCH_H

#include "loop.h"

struct ml_sigwatch {
  ev_signal ev;
  struct ml_loop *loop;
  void (*on_signal)(struct ml_sigwatch *); /* may stop or free it */
};

void ml_sigwatch_init(struct ml_sigwatch *watcher, struct ml_loop *loop,
                      void (*on_signal)(struct ml_sigwatch *));

/* From now on `number` calls on_signal instead of doing what it did. Fails with EINVAL for what is
 * no signal or cannot be caught. */
ML_MUST_CHECK int ml_sigwatch_start(struct ml_sigwatch *watcher, int number, struct ml_error *err);

/* The last watcher of a signal gives it its default action back; SIGPIPE stays ignored. Idempotent.
 */
void ml_sigwatch_stop(struct ml_sigwatch *watcher);

#endif

/* The event loop: libev plus what every stream shares.
 *
 * One loop per thread; nothing here is thread-safe. The loop owns two large buffers that streams
 * borrow while they handle one wake-up, and a list of tasks that run once at the end of a tick
 * (before libev polls again), which is where output is flushed.
 */
#ifndef ML_LOOP_H
#define ML_LOOP_H

#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define ML_LOOP_BUFFER_SIZE ((size_t)65536)

struct ml_loop;

/* Work to be done once at the end of the current tick. Embed one in an object; it holds no memory
 * of its own. */
struct ml_task {
  struct ml_task *prev, *next; /* NULL when not queued */
  void (*run)(struct ml_task *);
};

/* The object that `member` is embedded in, given a pointer to that: for tasks and watchers. */
#define ML_CONTAINER_OF(pointer, type, member)                                                     \
  ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Whether a call on a descriptor failed with `number` (errno) because nothing can be had, or taken,
 * for now: a watcher tells when to try again. */
static inline bool ml_would_block(int number)
{
  return number == EAGAIN || number == EWOULDBLOCK || number == ENOBUFS || number == EINTR;
}

/* Creates a loop on libev's best backend (ev_loop_new(3)). Fails with ML_ORIGIN_SYSTEM. */
ML_MUST_CHECK int ml_loop_new(struct ml_loop **out, struct ml_error *err);

/* Destroys it. Every stream, timer and listener on it must have been closed or freed before. */
void ml_loop_free(struct ml_loop *loop);

/* Has `task` run by ml_loop_free, for what lives on the loop and has no owner; ml_task_cancel when
 * it goes by itself. Of those there may be `limit`: one more, and the oldest is run now. */
void ml_loop_at_end(struct ml_loop *loop, struct ml_task *task, size_t limit);

/* The libev loop, for watchers that this header does not wrap. */
struct ev_loop *ml_loop_ev(struct ml_loop *loop);

/* Runs until no referenced watcher is active and no task is queued, or ml_loop_stop. May be called
 * again, and nested (from inside a callback), which specs do. */
void ml_loop_run(struct ml_loop *loop);

/* Runs one iteration; waits for an event when `wait`, unless there were tasks to run. Returns
 * whether anything is left that keeps the loop alive. */
bool ml_loop_step(struct ml_loop *loop, bool wait);

/* Makes the innermost ml_loop_run return once the events at hand have been handled. Harmless
 * outside one. */
void ml_loop_stop(struct ml_loop *loop);

/* Whether a referenced watcher is active or a task is queued. Polls the kernel, so not for hot
 * paths; calls nothing back. */
bool ml_loop_alive(struct ml_loop *loop);

/* Queues `task` for the end of this tick; queuing a queued task does nothing. Tasks queued while
 * tasks run are run in the same pass. */
void ml_loop_defer(struct ml_loop *loop, struct ml_task *task);

/* Queues `task` for work that takes a good part of a millisecond, such as a step of a handshake: of
 * that only a little is done per turn of the loop, when the tick's other tasks have run, so that
 * what is quick (data of connections that are open) does not wait behind a crowd of newcomers. They
 * run in the order in which they came, one at least and as many as begin within 0.4 ms. A task is
 * in one queue at a time: waiting for a turn wins over ml_loop_defer. */
void ml_loop_wait_turn(struct ml_loop *loop, struct ml_task *task);

/* For what can be put away when nothing has happened for a while: runs `task` once, unless it is
 * cancelled before, after one to two tenths of a second (later when there are many such), which
 * holds no loop open. For a task that is in no queue; whoever has other use for it cancels it
 * first. */
void ml_loop_linger(struct ml_loop *loop, struct ml_task *task);

static inline bool ml_task_queued(const struct ml_task *task)
{
  return task->next != NULL;
}

/* Takes a task off its queue, whichever it is; harmless when it is not queued. */
void ml_task_cancel(struct ml_task *task);

/* Runs all queued tasks now: before exit, so that bytes accepted for writing reach the kernel. */
void ml_loop_flush(struct ml_loop *loop);

/* Starts or stops an I/O watcher on behalf of an object that may be unreferenced: `ref` false keeps
 * the watcher from holding the loop open (ev_unref(3)). Stopping must be given the same `ref` that
 * starting was. Idempotent. */
void ml_loop_io_start(struct ml_loop *loop, ev_io *io, bool ref);
void ml_loop_io_stop(struct ml_loop *loop, ev_io *io, bool ref);

/* The same for timers. A one-shot timer (repeat 0) stays active after it fired, and holds the loop
 * if it is referenced: its callback calls ml_loop_timer_stop. */
void ml_loop_timer_start(struct ml_loop *loop, ev_timer *timer, bool ref);
void ml_loop_timer_stop(struct ml_loop *loop, ev_timer *timer, bool ref);

/* The loop's receive buffer and cleartext buffer, ML_LOOP_BUFFER_SIZE bytes each. A borrower takes
 * one for the length of one callback chain; when it is taken already (TLS inside TLS) the loop
 * hands out a heap buffer instead. Never NULL: allocation failure aborts. Give back exactly what
 * was lent. */
uint8_t *ml_loop_borrow(struct ml_loop *loop);
void ml_loop_give_back(struct ml_loop *loop, uint8_t *buffer);

#endif

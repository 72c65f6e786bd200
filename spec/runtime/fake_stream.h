/* A stream without a kernel: what it is given to read and how it takes writes is up to the test.
 *
 * It keeps the rules of stream.h (callbacks from the loop only) and checks that whoever stands on
 * it does: one write at a time, nothing after its failure, nothing after the close. */
#ifndef FAKE_STREAM_H
#define FAKE_STREAM_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "buf.h"
#include "stream.h"

struct fake {
  struct ml_stream stream; /* must stay first */
  struct ml_task task;     /* delivers */
  struct ml_buf inbox;     /* waits for delivery */
  size_t chunk;            /* bytes per on_read; 0: up to ML_LOOP_BUFFER_SIZE */
  struct ml_buf outbox;    /* what was written and taken */
  size_t room;             /* bytes taken before writes become ML_PENDING */
  struct ml_slice held;    /* the rest of the pending write, the writer's memory */
  bool fails;              /* writes and shutdowns are ML_FAILED */
  bool reading, pending, ends, ended, shut, shut_pending, broken, closed;
  int writes;
  struct ml_error error; /* delivered when `breaks` */
  bool breaks;
};

static inline struct fake *fake_of(struct ml_stream *stream)
{
  struct fake *fake = (struct fake *)(void *)stream;
  assert_false(fake->closed);
  return fake;
}

static inline void fake_wake(struct fake *fake)
{
  if (!fake->closed) ml_loop_defer(fake->stream.loop, &fake->task);
}

static inline void fake_read_start(struct ml_stream *stream)
{
  struct fake *fake = fake_of(stream);
  assert_false(fake->broken);
  fake->reading = true;
  fake_wake(fake);
}

static inline void fake_read_stop(struct ml_stream *stream)
{
  fake_of(stream)->reading = false;
}

static inline int fake_refuse(struct fake *fake, struct ml_error *err)
{
  fake->broken = true;
  ml_error_system(err, EPIPE, "write");
  return ML_FAILED;
}

static inline int fake_write(struct ml_stream *stream, const struct ml_slice *slices, size_t n,
                             struct ml_error *err)
{
  struct fake *fake = fake_of(stream);
  assert_false(fake->broken);
  assert_false(fake->pending);
  assert_false(fake->shut);
  assert_int_equal(n, 1); /* all that TLS has use for */
  fake->writes++;
  if (fake->fails) return fake_refuse(fake, err);
  size_t taken = slices->len < fake->room ? slices->len : fake->room;
  assert_int_equal(ml_buf_append(&fake->outbox, slices->data, taken), 0);
  fake->room -= taken;
  fake->held = (struct ml_slice){slices->data + taken, slices->len - taken};
  fake->pending = fake->held.len > 0;
  return fake->pending ? ML_PENDING : ML_DONE;
}

static inline int fake_shutdown(struct ml_stream *stream, struct ml_error *err)
{
  struct fake *fake = fake_of(stream);
  assert_false(fake->broken);
  assert_false(fake->shut);
  if (fake->fails) return fake_refuse(fake, err);
  fake->shut = true;
  return fake->shut_pending ? ML_PENDING : ML_DONE;
}

static inline void fake_close(struct ml_stream *stream)
{
  struct fake *fake = fake_of(stream);
  fake->closed = true;
  ml_task_cancel(&fake->task);
}

static inline void fake_ref(struct ml_stream *stream, bool on)
{
  (void)on;
  fake_of(stream);
}

static inline int fake_address(struct ml_stream *stream, struct ml_addr *out, struct ml_error *err)
{
  (void)out;
  fake_of(stream);
  ml_error_system(err, ENOTSOCK, "getsockname");
  return -1;
}

static inline size_t fake_queued(const struct ml_stream *stream)
{
  return ((const struct fake *)(const void *)stream)->held.len;
}

static inline struct ml_stream *fake_transport(struct ml_stream *stream)
{
  (void)stream;
  return NULL;
}

static inline void fake_moved(struct ml_stream *stream, const uint8_t *from, size_t len,
                              const uint8_t *to)
{
  ml_slices_move(&fake_of(stream)->held, 1, from, len, to);
}

static const struct ml_stream_ops fake_ops = {
    .read_start = fake_read_start,
    .read_stop = fake_read_stop,
    .write = fake_write,
    .shutdown = fake_shutdown,
    .close = fake_close,
    .ref = fake_ref,
    .local = fake_address,
    .remote = fake_address,
    .queued = fake_queued,
    .transport = fake_transport,
    .moved = fake_moved,
};

static inline void fake_on_task(struct ml_task *task)
{
  struct fake *fake = ML_CONTAINER_OF(task, struct fake, task);
  uint8_t chunk[ML_LOOP_BUFFER_SIZE];
  size_t n = ml_buf_size(&fake->inbox);
  size_t limit = fake->chunk ? fake->chunk : sizeof(chunk);
  if (n > limit) n = limit;
  if (fake->breaks) {
    fake->breaks = false;
    fake->broken = true;
    fake->reading = false;
    fake->stream.events->on_error(&fake->stream, &fake->error);
  } else if (fake->reading && n > 0) {
    memcpy(chunk, ml_buf_data(&fake->inbox), n);
    ml_buf_consume(&fake->inbox, n);
    fake_wake(fake);
    fake->stream.events->on_read(&fake->stream, chunk, n);
  } else if (fake->reading && fake->ends && !fake->ended) {
    fake->ended = true;
    fake->reading = false;
    fake->stream.events->on_end(&fake->stream);
  }
}

static inline void fake_init(struct fake *fake, struct ml_loop *home)
{
  *fake = (struct fake){.room = SIZE_MAX};
  fake->stream.ops = &fake_ops;
  fake->stream.loop = home;
  fake->task.run = fake_on_task;
}

/* Puts bytes where the stream will read them. */
static inline void fake_give(struct fake *fake, const void *data, size_t len)
{
  assert_int_equal(ml_buf_append(&fake->inbox, data, len), 0);
  fake_wake(fake);
}

static inline void fake_end(struct fake *fake)
{
  fake->ends = true;
  fake_wake(fake);
}

static inline void fake_break(struct fake *fake, int number)
{
  ml_error_system(&fake->error, number, "read");
  fake->breaks = true;
  fake_wake(fake);
}

/* Takes the pending write whole, and says so. Called from outside the loop, as a kernel would. */
static inline void fake_take(struct fake *fake)
{
  if (!fake->pending) return;
  assert_int_equal(ml_buf_append(&fake->outbox, fake->held.data, fake->held.len), 0);
  fake->held = (struct ml_slice){0};
  fake->pending = false;
  fake->stream.events->on_written(&fake->stream);
}

static inline void fake_free(struct fake *fake)
{
  ml_buf_free(&fake->inbox);
  ml_buf_free(&fake->outbox);
}

#endif

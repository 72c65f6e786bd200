#include "relay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

/* Where the outstanding write is. */
enum output {
  OUTPUT_NONE,
  OUTPUT_GATHERED, /* in the outbox, for the carrier to be given */
  OUTPUT_CARRIED,  /* with the carrier */
  OUTPUT_WRITTEN,  /* the carrier is done, the owner to be told */
};

/* The same for the end of our side. */
enum finish { FINISH_NONE, FINISH_WANTED, FINISH_CARRIED, FINISH_DONE, FINISH_TOLD };

/* An end or a failure that the carrier has reported. */
enum report { REPORT_NONE, REPORT_DUE, REPORT_TOLD };

struct ml_relay {
  struct ml_stream stream; /* must stay first */
  const struct ml_relay_carrier *carrier;
  void *carrier_user;
  struct ml_task task; /* tells the carrier */
  ev_idle again;       /* tells the owner */
  struct ml_buf inbox, outbox;
  size_t carried; /* bytes with the carrier */
  enum output output;
  enum finish finish;
  enum report end, failure;
  struct ml_error error; /* the failure */
  unsigned depth;        /* callbacks on the stack */
  bool reading;          /* the owner wants on_read */
  bool held_up;          /* the carrier waits for on_flow */
  bool closed;           /* by the owner */
  bool told_closed;      /* the carrier knows */
  bool released;         /* by the carrier */
};

static struct ml_relay *self_of(struct ml_stream *stream)
{
  return (struct ml_relay *)(void *)stream;
}

void *ml_relay_carrier_user(const struct ml_relay *r)
{
  return r->carrier_user;
}

/* ---- Wake-ups ---- */

static void wake_carrier(struct ml_relay *r)
{
  if (!r->released) ml_loop_defer(r->stream.loop, &r->task);
}

static void wake_owner(struct ml_relay *r)
{
  if (!r->closed) ev_idle_start(ml_loop_ev(r->stream.loop), &r->again);
}

static void leave(struct ml_relay *r)
{
  if (--r->depth > 0 || !r->closed || !r->released) return;
  ml_buf_free(&r->outbox);
  free(r);
}

/* May anything be received still? */
static bool input_open(const struct ml_relay *r)
{
  return r->end == REPORT_NONE && r->failure == REPORT_NONE;
}

/* May the carrier, who waits for it, bring more? */
static bool flow_due(const struct ml_relay *r)
{
  return r->held_up && r->reading && ml_buf_size(&r->inbox) == 0 && input_open(r);
}

static void give_outgoing(struct ml_relay *r)
{
  struct ml_buf bytes = r->outbox;
  r->outbox = (struct ml_buf){0};
  r->output = OUTPUT_CARRIED;
  r->carried = ml_buf_size(&bytes);
  r->carrier->on_outgoing(r, ml_buf_data(&bytes), r->carried);
  ml_buf_free(&bytes);
}

static bool carrier_listens(const struct ml_relay *r)
{
  return !r->closed && !r->released;
}

static void on_task(struct ml_task *task)
{
  struct ml_relay *r = ML_CONTAINER_OF(task, struct ml_relay, task);
  r->depth++;
  if (carrier_listens(r) && r->output == OUTPUT_GATHERED) give_outgoing(r);
  if (carrier_listens(r) && flow_due(r)) {
    r->held_up = false;
    r->carrier->on_flow(r);
  }
  if (carrier_listens(r) && r->finish == FINISH_WANTED && r->output == OUTPUT_NONE) {
    r->finish = FINISH_CARRIED;
    r->carrier->on_finish(r);
  }
  if (r->closed && !r->released && !r->told_closed) {
    r->told_closed = true;
    r->carrier->on_closed(r);
  }
  leave(r);
}

/* One buffer per turn. The callback may bring more, so the bytes are not lent from the inbox. */
static void deliver(struct ml_relay *r)
{
  size_t n = ml_buf_size(&r->inbox);
  if (n > ML_LOOP_BUFFER_SIZE) n = ML_LOOP_BUFFER_SIZE;
  uint8_t *buffer = ml_loop_borrow(r->stream.loop);
  memcpy(buffer, ml_buf_data(&r->inbox), n);
  ml_buf_consume(&r->inbox, n);
  r->stream.bytes_read += n;
  if (ml_buf_size(&r->inbox) > 0) wake_owner(r);
  if (flow_due(r)) wake_carrier(r);
  r->stream.events->on_read(&r->stream, buffer, n);
  ml_loop_give_back(r->stream.loop, buffer);
}

/* What has become of the owner's last write and end. */
static void report_output(struct ml_relay *r)
{
  if (r->output == OUTPUT_WRITTEN) {
    r->output = OUTPUT_NONE;
    r->carried = 0;
    if (r->finish == FINISH_WANTED) wake_carrier(r);
    r->stream.events->on_written(&r->stream);
  }
  if (!r->closed && r->finish == FINISH_DONE) {
    r->finish = FINISH_TOLD;
    r->stream.events->on_shutdown(&r->stream);
  }
}

static void report_input(struct ml_relay *r)
{
  if (r->reading && ml_buf_size(&r->inbox) > 0) deliver(r);
  if (r->closed || (r->reading && ml_buf_size(&r->inbox) > 0)) return;
  if (r->end == REPORT_DUE && r->reading) {
    r->end = REPORT_TOLD;
    r->reading = false;
    r->stream.events->on_end(&r->stream);
  }
  if (!r->closed && r->failure == REPORT_DUE) {
    r->failure = REPORT_TOLD;
    r->reading = false;
    r->stream.events->on_error(&r->stream, &r->error);
  }
}

static void on_again(struct ev_loop *loop, ev_idle *idle, int events)
{
  (void)events;
  struct ml_relay *r = idle->data;
  ev_idle_stop(loop, idle);
  r->depth++;
  report_output(r);
  if (!r->closed) report_input(r);
  leave(r);
}

/* ---- The owner's side ---- */

static void relay_read_start(struct ml_stream *stream)
{
  struct ml_relay *r = self_of(stream);
  if (r->reading || r->end == REPORT_TOLD || r->failure == REPORT_TOLD) return;
  r->reading = true;
  if (ml_buf_size(&r->inbox) > 0 || !input_open(r)) wake_owner(r);
  if (flow_due(r)) wake_carrier(r);
}

static void relay_read_stop(struct ml_stream *stream)
{
  self_of(stream)->reading = false;
}

/* Is there still somebody who would take it? A failure that has been reported and not been told
 * yet comes as on_error: until then nothing fails. */
static int refuse(const struct ml_relay *r, const char *call, struct ml_error *err)
{
  if (r->failure == REPORT_NONE && !r->released && r->finish == FINISH_NONE) return 0;
  ml_error_system(err, EPIPE, call);
  return -1;
}

static int out_of_memory(struct ml_relay *r, struct ml_error *err)
{
  ml_error_system(err, ENOMEM, "write");
  ml_buf_free(&r->outbox);
  r->failure = REPORT_TOLD;
  return ML_FAILED;
}

static int relay_write(struct ml_stream *stream, const struct ml_slice *slices, size_t n,
                       struct ml_error *err)
{
  struct ml_relay *r = self_of(stream);
  size_t total = 0;
  if (r->failure == REPORT_DUE) return ML_PENDING;
  if (refuse(r, "write", err) != 0) return ML_FAILED;
  assert(r->output == OUTPUT_NONE);
  for (size_t i = 0; i < n; i++) {
    total += slices[i].len;
    if (ml_buf_append(&r->outbox, slices[i].data, slices[i].len) != 0) return out_of_memory(r, err);
  }
  if (total == 0) return ML_DONE;
  stream->bytes_written += total;
  r->output = OUTPUT_GATHERED;
  wake_carrier(r);
  return ML_PENDING;
}

static int relay_shutdown(struct ml_stream *stream, struct ml_error *err)
{
  struct ml_relay *r = self_of(stream);
  if (r->failure == REPORT_DUE) return ML_PENDING;
  if (refuse(r, "shutdown", err) != 0) return ML_FAILED;
  r->finish = FINISH_WANTED;
  wake_carrier(r);
  return ML_PENDING;
}

static void relay_close(struct ml_stream *stream)
{
  struct ml_relay *r = self_of(stream);
  assert(!r->closed);
  r->depth++;
  r->closed = true;
  r->reading = false;
  ev_idle_stop(ml_loop_ev(stream->loop), &r->again);
  ml_buf_free(&r->inbox);
  wake_carrier(r);
  leave(r);
}

/* There is nothing that would hold the loop. */
static void relay_ref(struct ml_stream *stream, bool on)
{
  (void)stream;
  (void)on;
}

static int relay_local(struct ml_stream *stream, struct ml_addr *out, struct ml_error *err)
{
  (void)stream;
  (void)out;
  ml_error_system(err, ENOTSOCK, "getsockname");
  return -1;
}

static int relay_remote(struct ml_stream *stream, struct ml_addr *out, struct ml_error *err)
{
  (void)stream;
  (void)out;
  ml_error_system(err, ENOTSOCK, "getpeername");
  return -1;
}

static size_t relay_queued(const struct ml_stream *stream)
{
  const struct ml_relay *r = (const void *)stream;
  return ml_buf_size(&r->outbox) + r->carried;
}

static struct ml_stream *relay_transport(struct ml_stream *stream)
{
  (void)stream;
  return NULL;
}

/* A write is copied. */
static void relay_moved(struct ml_stream *stream, const uint8_t *from, size_t len,
                        const uint8_t *to)
{
  (void)stream;
  (void)from;
  (void)len;
  (void)to;
}

static const struct ml_stream_ops relay_ops = {
    .read_start = relay_read_start,
    .read_stop = relay_read_stop,
    .write = relay_write,
    .shutdown = relay_shutdown,
    .close = relay_close,
    .ref = relay_ref,
    .local = relay_local,
    .remote = relay_remote,
    .queued = relay_queued,
    .transport = relay_transport,
    .moved = relay_moved,
};

struct ml_relay *ml_relay_new(struct ml_loop *loop, const struct ml_relay_carrier *carrier,
                              void *carrier_user)
{
  struct ml_relay *r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  r->stream = (struct ml_stream){.ops = &relay_ops, .loop = loop};
  r->carrier = carrier;
  r->carrier_user = carrier_user;
  r->held_up = true;
  r->task.run = on_task;
  ev_idle_init(&r->again, on_again);
  ev_set_priority(&r->again, EV_MAXPRI); /* each turn of the loop: see tls_stream.c */
  r->again.data = r;
  return r;
}

/* ---- The carrier's side ---- */

int ml_relay_receive(struct ml_relay *r, const void *data, size_t len)
{
  if (r->closed || !input_open(r)) return ML_DONE;
  if (ml_buf_append(&r->inbox, data, len) != 0) return ML_FAILED;
  if (r->reading) wake_owner(r);
  r->held_up = !r->reading || ml_buf_size(&r->inbox) >= ML_RELAY_INBOX;
  return r->held_up ? ML_PENDING : ML_DONE;
}

void ml_relay_receive_end(struct ml_relay *r)
{
  if (r->closed || !input_open(r)) return;
  r->end = REPORT_DUE;
  if (r->reading) wake_owner(r);
}

void ml_relay_fail(struct ml_relay *r, const struct ml_error *err)
{
  if (r->closed || r->failure != REPORT_NONE) return;
  r->error = *err;
  r->failure = REPORT_DUE;
  wake_owner(r);
}

void ml_relay_written(struct ml_relay *r)
{
  if (r->closed || r->output != OUTPUT_CARRIED) return;
  r->output = OUTPUT_WRITTEN;
  wake_owner(r);
}

void ml_relay_finished(struct ml_relay *r)
{
  if (r->closed || r->finish != FINISH_CARRIED) return;
  r->finish = FINISH_DONE;
  wake_owner(r);
}

bool ml_relay_closed(const struct ml_relay *r)
{
  return r->closed;
}

const uint8_t *ml_relay_unsent(const struct ml_relay *r, size_t *len)
{
  bool any = r->closed && r->output == OUTPUT_GATHERED;
  *len = any ? ml_buf_size(&r->outbox) : 0;
  return any ? ml_buf_data(&r->outbox) : NULL;
}

void ml_relay_release(struct ml_relay *r)
{
  assert(!r->released);
  r->depth++;
  r->released = true;
  ml_task_cancel(&r->task);
  leave(r);
}

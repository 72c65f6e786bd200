#include "tls_stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "sock.h"
#include "tls_after.h"
#include "tls_stream_internal.h"

/* ---- Life ---- */

static void stop_working(struct ml_tls_stream *s)
{
  ml_task_cancel(&s->task);
  ev_idle_stop(ml_loop_ev(s->stream.loop), &s->again);
  stop_deadline(s);
}

/* The peer may be in the middle of what it says, and is to learn why nobody listens. Where the
 * kernel took no more the alert still stands in the output. */
static void let_alert_arrive(struct ml_tls_stream *s)
{
  static const struct ml_buf none;
  struct ml_stream *transport = ml_stream_transport(s->lower);
  struct ml_sock *sock = transport ? ml_sock_from(transport) : NULL;
  bool raw = transport == s->lower && !s->sealed;
  if (sock) ml_sock_linger(sock, raw ? ml_tls_output(s->tls) : &none);
}

static void destroy(struct ml_tls_stream *s)
{
  struct ml_error ignored;
  stop_working(s);
  /* The last try that closing promises. The end of a handshake that the owner has not been told of
   * stays here: the peer would take the connection for a good one. */
  if (!s->failed && s->announced) (void)ml_tls_stream_flush(s, &ignored);
  if (s->alerted && !s->lower_broken) let_alert_arrive(s);
  ml_stream_close(s->lower);
  ml_buf_free(&s->flying);
  drop_held(s);
  ml_tls_free(s->tls);
  free(s);
}

void ml_tls_stream_leave(struct ml_tls_stream *s)
{
  if (--s->busy == 0 && s->closed) destroy(s);
}

void ml_tls_stream_fail(struct ml_tls_stream *s, const struct ml_error *reason, bool tell)
{
  struct ml_error ignored, err = *reason;
  if (dead(s)) return;
  s->alerted = err.alert_from == ML_ALERT_LOCAL;
  (void)ml_tls_stream_flush(s, &ignored); /* the alert */
  s->failed = true;
  stop_working(s);
  ml_tls_stream_update_reading(s);
  if (tell) s->stream.events->on_error(&s->stream, &err);
}

/* ---- Wake-ups ---- */

static void on_task(struct ml_task *task)
{
  struct ml_tls_stream *s = ML_CONTAINER_OF(task, struct ml_tls_stream, task);
  if (dead(s)) return;
  if (s->lingers) {
    s->lingers = false;
    ml_tls_rest(s->tls);
  } else {
    ml_tls_stream_run(s, NULL, 0);
  }
}

static void on_again(struct ev_loop *loop, ev_idle *idle, int events)
{
  (void)events;
  struct ml_tls_stream *s = idle->data;
  ev_idle_stop(loop, idle);
  if (!dead(s)) ml_tls_stream_run(s, NULL, 0);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
  (void)loop;
  (void)events;
  struct ml_tls_stream *s = timer->data;
  struct ml_error err;
  ml_error_misuse(&err, "ERR_TLS_HANDSHAKE_TIMEOUT", "TLS handshake timeout");
  err.state = SSL_state_string_long(ml_tls_ssl(s->tls));
  enter(s);
  ml_tls_stream_fail(s, &err, true);
  ml_tls_stream_leave(s);
}

/* ---- Events of the lower stream ---- */

/* A newcomer waits for its turn, and what it sent waits in the engine. */
static void lower_read(struct ml_stream *lower, const uint8_t *data, size_t len)
{
  struct ml_tls_stream *s = lower->user;
  if (s->announced)
    ml_tls_stream_run(s, data, len);
  else
    ml_tls_stream_keep(s, data, len);
}

static void lower_end(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  s->lower_ended = true;
  s->lower_reading = false;
  if (!s->announced && ml_task_queued(&s->task)) return; /* its turn comes */
  ml_tls_stream_run(s, NULL, 0);
}

static void lower_written(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  if (ml_buf_size(&s->flying) > 0) s->sent = s->flying_to;
  ml_buf_free(&s->flying);
  s->passing = false;
  if (!dead(s)) ml_tls_stream_run(s, NULL, 0);
}

static void lower_shutdown(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  if (dead(s)) return;
  enter(s);
  ml_tls_stream_shutdown_done(s);
  ml_tls_stream_leave(s);
}

static void lower_connect(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  if (dead(s)) return;
  enter(s);
  s->stream.events->on_connect(&s->stream);
  if (!dead(s)) ml_tls_stream_start(s);
  ml_tls_stream_leave(s);
}

static void lower_error(struct ml_stream *lower, const struct ml_error *err)
{
  struct ml_tls_stream *s = lower->user;
  enter(s);
  s->lower_broken = true;
  ml_buf_free(&s->flying);
  ml_tls_stream_hear_out(s);
  if (!dead(s) && ml_tls_stream_end_is_moot(s, err))
    ml_tls_stream_shutdown_done(s);
  else
    ml_tls_stream_fail(s, err, true);
  ml_tls_stream_leave(s);
}

static const struct ml_stream_events lower_events = {
    .on_read = lower_read,
    .on_end = lower_end,
    .on_written = lower_written,
    .on_shutdown = lower_shutdown,
    .on_connect = lower_connect,
    .on_error = lower_error,
};

/* ---- The stream's own operations ---- */

static void tls_read_start(struct ml_stream *stream)
{
  struct ml_tls_stream *s = self_of(stream);
  if (s->reading || dead(s)) return;
  s->reading = true;
  /* OpenSSL may hold decrypted bytes, and the engine kept input, for which no descriptor will wake
   * us. */
  if (s->started) schedule(s);
}

static void tls_read_stop(struct ml_stream *stream)
{
  struct ml_tls_stream *s = self_of(stream);
  s->reading = false;
  ml_tls_stream_update_reading(s);
}

static int hold(struct ml_tls_stream *s, const struct ml_slice *slices, size_t n,
                struct ml_error *err)
{
  s->held = malloc((n ? n : 1) * sizeof(*slices));
  if (!s->held) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  s->held_count = s->held_at = s->held_bytes = 0;
  for (size_t i = 0; i < n; i++) {
    if (slices[i].len > 0) s->held[s->held_count++] = slices[i];
    s->held_bytes += slices[i].len;
  }
  return 0;
}

static int refuse(struct ml_error *err, const char *call)
{
  ml_error_system(err, EPIPE, call);
  return ML_FAILED;
}

static int tls_write(struct ml_stream *stream, const struct ml_slice *slices, size_t n,
                     struct ml_error *err)
{
  struct ml_tls_stream *s = self_of(stream);
  bool tell = stream->tell_written;
  stream->tell_written = false;
  if (dead(s) || s->shutdown != SHUT_NONE) return refuse(err, "write");
  assert(!s->write_pending);
  for (size_t i = 0; i < n; i++)
    stream->bytes_written += slices[i].len;
  if (s->sealed) return ml_tls_stream_pass(s, slices, n, err);
  bool can_encrypt = ml_tls_established(s->tls) && ml_buf_size(&s->flying) == 0;
  size_t gathered = ml_buf_size(ml_tls_output(s->tls));
  struct ml_slice first; /* what is left of a single small slice, which needs no list of its own */
  if (can_encrypt && n == 1 && gathered + slices[0].len < FLUSH_AT) {
    first = slices[0];
    enum ml_tls_result result = ml_tls_stream_encrypt(s, &first, STEP, err);
    if (result == ML_TLS_ERROR) goto fail;
    schedule(s);
    s->write_pending = tell && result == ML_TLS_OK;
    if (result == ML_TLS_OK) return tell ? ML_PENDING : ML_DONE;
    slices = &first;
  }
  if (hold(s, slices, n, err) != 0) goto fail;
  if (can_encrypt && ml_tls_stream_encrypt_held(s, err) != 0) goto fail;
  bool taken = s->held_at == s->held_count && ml_buf_size(&s->flying) == 0;
  if (taken) drop_held(s);
  s->write_pending = tell || !taken;
  schedule(s);
  return s->write_pending ? ML_PENDING : ML_DONE;
fail:
  ml_tls_stream_fail(s, err, false);
  return ML_FAILED;
}

static int tls_shutdown(struct ml_stream *stream, struct ml_error *err)
{
  struct ml_tls_stream *s = self_of(stream);
  if (dead(s)) return refuse(err, "shutdown");
  if (s->shutdown == SHUT_NONE) s->shutdown = SHUT_WANTED;
  schedule(s);
  return ML_PENDING;
}

static void tls_close(struct ml_stream *stream)
{
  struct ml_tls_stream *s = self_of(stream);
  s->closed = true;
  if (s->busy == 0) destroy(s);
}

static void tls_ref(struct ml_stream *stream, bool on)
{
  ml_stream_ref(self_of(stream)->lower, on);
}

static int tls_local(struct ml_stream *stream, struct ml_addr *out, struct ml_error *err)
{
  return ml_stream_local(self_of(stream)->lower, out, err);
}

static int tls_remote(struct ml_stream *stream, struct ml_addr *out, struct ml_error *err)
{
  return ml_stream_remote(self_of(stream)->lower, out, err);
}

static size_t tls_queued(const struct ml_stream *stream)
{
  const struct ml_tls_stream *s = (const void *)stream;
  return ml_buf_size(ml_tls_output(s->tls)) + ml_stream_queued(s->lower) + s->held_bytes;
}

static struct ml_stream *tls_transport(struct ml_stream *stream)
{
  return ml_stream_transport(self_of(stream)->lower);
}

static void tls_moved(struct ml_stream *stream, const uint8_t *from, size_t len, const uint8_t *to)
{
  struct ml_tls_stream *s = self_of(stream);
  ml_slices_move(s->held, s->held_count, from, len, to);
  if (s->passing) ml_stream_moved(s->lower, from, len, to);
}

static const struct ml_stream_ops ops = {
    .read_start = tls_read_start,
    .read_stop = tls_read_stop,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .ref = tls_ref,
    .local = tls_local,
    .remote = tls_remote,
    .queued = tls_queued,
    .transport = tls_transport,
    .moved = tls_moved,
};

/* ---- TLS over TLS ---- */

/* What the lower of two TLS streams still has to say: its owner is the upper one now, who has no
 * use for it, and cannot answer for a context or a name. */
static void below_handshake(struct ml_tls_stream *s)
{
  (void)s;
}

static void below_renewed(struct ml_tls_stream *s)
{
  (void)s;
}

static void below_ask(struct ml_tls_stream *s, struct ml_tls_question question)
{
  struct ml_error err;
  ml_error_misuse(&err, "ERR_TLS_UNANSWERED", "the TLS handshake below asks, and nobody answers");
  (void)ml_tls_answer_failure(s->tls, question.token, SSL_AD_INTERNAL_ERROR, &err);
}

static void below_note(struct ml_tls_stream *s, const struct ml_tls_note *note)
{
  (void)s;
  (void)note;
}

static const struct ml_tls_stream_events below_events = {
    .on_handshake = below_handshake,
    .on_renewed = below_renewed,
    .on_ask = below_ask,
    .on_note = below_note,
};

struct ml_tls_stream *ml_tls_stream_new(struct ml_stream *lower, struct ml_tls *tls,
                                        const struct ml_stream_events *events,
                                        const struct ml_tls_stream_events *tls_events, void *user)
{
  struct ml_tls_stream *s = calloc(1, sizeof(*s));
  if (!s) return NULL;
  s->stream = (struct ml_stream){.ops = &ops, .events = events, .user = user, .loop = lower->loop};
  s->lower = lower;
  s->tls = tls;
  s->tls_events = tls_events;
  s->task.run = on_task;
  ev_idle_init(&s->again, on_again);
  /* Idle watchers run when nothing of their priority or above is pending: at the highest, each turn
   * of the loop. */
  ev_set_priority(&s->again, EV_MAXPRI);
  s->again.data = s;
  ev_timer_init(&s->deadline, on_deadline, 0, 0);
  s->deadline.data = s;
  if (lower->ops == &ops) {
    self_of(lower)->tls_events = &below_events;
    ml_tls_decline_renegotiation(self_of(lower)->tls); /* whoever would be asked has gone */
    ml_tls_psk_disown(self_of(lower)->tls);
  }
  lower->events = &lower_events;
  lower->user = s;
  lower->write_through = true;
  ml_stream_read_stop(lower);
  return s;
}

void ml_tls_stream_start(struct ml_tls_stream *s)
{
  if (s->started) return;
  s->started = true;
  schedule(s);
}

int ml_tls_stream_feed(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  if (ml_tls_input(s->tls, data, len) != 0) return -1;
  return ml_tls_input_end(s->tls);
}

/* The step that an answer leads to is as heavy as any: many answers may come in one tick. */
void ml_tls_stream_resume(struct ml_tls_stream *s)
{
  if (s->announced)
    schedule(s);
  else if (!dead(s))
    ml_loop_wait_turn(s->stream.loop, &s->task);
}

void ml_tls_stream_deadline(struct ml_tls_stream *s, double seconds)
{
  stop_deadline(s);
  s->patience = seconds > 0 ? seconds : 0; /* not a number neither */
  ml_tls_stream_watch_deadline(s);
}

struct ml_tls_stream *ml_tls_stream_below(struct ml_tls_stream *s)
{
  return s->lower->ops == &ops ? self_of(s->lower) : NULL;
}

size_t ml_tls_stream_unsent(const struct ml_tls_stream *s)
{
  return (size_t)(s->stream.bytes_written - s->sent);
}

void ml_tls_stream_carried(const struct ml_tls_stream *s, uint64_t *read, uint64_t *written)
{
  *read = s->lower->bytes_read;
  *written = s->lower->bytes_written;
}

int ml_tls_stream_inject(struct ml_tls_stream *s, const uint8_t *data, size_t len,
                         struct ml_error *err)
{
  if (dead(s) || s->lower_broken || s->sealed || s->shutdown >= SHUT_LOWER)
    return refuse(err, "write");
  if (ml_buf_append(ml_tls_output(s->tls), data, len) != 0) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  schedule(s);
  return 0;
}

struct ml_tls *ml_tls_stream_engine(struct ml_tls_stream *s)
{
  return s->tls;
}

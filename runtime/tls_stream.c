#include "tls_stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_AT ((size_t)65536)     /* gathered output that is handed down at once */
#define STEP ((size_t)65536)         /* cleartext per call into the engine */
#define TICK_BUDGET ((size_t)262144) /* cleartext encrypted per tick */
#define BACKLOG_LIMIT                                                                              \
  ((size_t)262144) /* output beyond which we stop reading: a peer that makes us answer             \
                      (KeyUpdate) without taking the answers gets no further */
#define KEPT_LIMIT ((size_t)65536) /* input kept while the handshake waits for an answer */

/* The end of our side, in order. */
enum shutdown_phase {
  SHUT_NONE,
  SHUT_WANTED, /* asked for; waits for the handshake and for writes before it */
  SHUT_NOTIFY, /* close_notify is in the output */
  SHUT_LOWER,  /* the lower stream is shutting down */
  SHUT_DONE,
};

struct ml_tls_stream {
  struct ml_stream stream;
  struct ml_stream *lower;
  struct ml_tls *tls;
  const struct ml_tls_stream_events *tls_events;
  struct ml_task task;
  ev_idle again; /* the next turn of the loop, after other streams had theirs */
  ev_timer deadline;

  struct ml_buf flying; /* output that the lower stream still needs */

  /* The write that is being worked off: our copy of the slice list, the memory is the owner's. */
  struct ml_slice *held;
  size_t held_count, held_at;
  bool write_pending; /* on_written is owed */

  enum shutdown_phase shutdown;
  uint32_t asked; /* token of the last question passed on */
  unsigned busy;  /* callbacks on the stack */
  bool started, reading, lower_reading, lower_ended, lower_broken, ended, failed, closed;
  bool announced;   /* on_handshake was called */
  bool starved;     /* output waits for the rest of a message of the peer */
  bool noting;      /* notes are being delivered, with data behind them */
  bool only_notify; /* the kernel has all but our close_notify */
};

static struct ml_tls_stream *self_of(struct ml_stream *stream)
{
  return (struct ml_tls_stream *)(void *)stream;
}

static bool dead(const struct ml_tls_stream *s)
{
  return s->closed || s->failed;
}

static void schedule(struct ml_tls_stream *s)
{
  if (!dead(s)) ml_loop_defer(s->stream.loop, &s->task);
}

/* Goes on in the next turn of the loop. A task would run in this one still. */
static void yield(struct ml_tls_stream *s)
{
  if (!dead(s)) ev_idle_start(ml_loop_ev(s->stream.loop), &s->again);
}

static void drop_held(struct ml_tls_stream *s)
{
  free(s->held);
  s->held = NULL;
  s->held_count = s->held_at = 0;
}

/* ---- The lower stream: output ---- */

/* Hands gathered output down. ML_PENDING: the lower stream is still busy with earlier output. */
static int flush(struct ml_tls_stream *s, struct ml_error *err)
{
  struct ml_buf *out = ml_tls_output(s->tls);
  if (ml_buf_size(&s->flying) > 0) return ML_PENDING;
  /* What OpenSSL still says after our end (an answer to KeyUpdate, an alert) has no way to travel.
   */
  if (s->shutdown >= SHUT_LOWER) ml_buf_free(out);
  if (ml_buf_size(out) == 0) return ML_DONE;
  if (s->lower_broken) {
    ml_error_system(err, EPIPE, "write");
    return ML_FAILED;
  }
  s->flying = *out;
  *out = (struct ml_buf){0};
  struct ml_slice slice = {ml_buf_data(&s->flying), ml_buf_size(&s->flying)};
  int result = ml_stream_write(s->lower, &slice, 1, err);
  if (result == ML_DONE) {
    /* The memory serves the next records of this run; settle() gives it back. */
    *out = s->flying;
    out->start = out->end = 0;
    s->flying = (struct ml_buf){0};
  }
  if (result == ML_FAILED) s->lower_broken = true;
  return result;
}

static void update_lower_reading(struct ml_tls_stream *s)
{
  bool want = s->started && !dead(s) && !s->lower_ended;
  if (want && ml_tls_established(s->tls))
    want = (s->reading || s->starved) && !s->ended &&
           ml_buf_size(ml_tls_output(s->tls)) < BACKLOG_LIMIT;
  else if (want)
    want = ml_tls_input_kept(s->tls) < KEPT_LIMIT;
  if (want == s->lower_reading) return;
  s->lower_reading = want;
  if (want)
    ml_stream_read_start(s->lower);
  else
    ml_stream_read_stop(s->lower);
}

/* ---- Life ---- */

static void stop_deadline(struct ml_tls_stream *s)
{
  ml_loop_timer_stop(s->stream.loop, &s->deadline, false);
}

static void stop_working(struct ml_tls_stream *s)
{
  ml_task_cancel(&s->task);
  ev_idle_stop(ml_loop_ev(s->stream.loop), &s->again);
  stop_deadline(s);
}

static void destroy(struct ml_tls_stream *s)
{
  struct ml_error ignored;
  stop_working(s);
  if (!s->failed) (void)flush(s, &ignored); /* the last try that closing promises */
  ml_stream_close(s->lower);
  ml_buf_free(&s->flying);
  drop_held(s);
  ml_tls_free(s->tls);
  free(s);
}

static void enter(struct ml_tls_stream *s)
{
  s->busy++;
}

static void leave(struct ml_tls_stream *s)
{
  if (--s->busy == 0 && s->closed) destroy(s);
}

/* The one way into failure. The owner hears of it unless it is being told by a return value. */
static void fail(struct ml_tls_stream *s, const struct ml_error *reason, bool tell)
{
  struct ml_error ignored, err = *reason;
  if (dead(s)) return;
  (void)flush(s, &ignored); /* the alert */
  s->failed = true;
  stop_working(s);
  update_lower_reading(s);
  if (tell) s->stream.events->on_error(&s->stream, &err);
}

static void fail_disconnected(struct ml_tls_stream *s)
{
  struct ml_error err;
  ml_tls_disconnected(s->tls, &err);
  fail(s, &err, true);
}

/* ---- One run: handshake, reading, writing, in this order ---- */

/* Around every call to the owner the engine's loan of the input ends: what the owner does there may
 * run the loop, and so come back here with more input. */
static bool input_begin(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  struct ml_error err;
  if (dead(s) || ml_tls_input(s->tls, data, len) == 0) return !dead(s);
  ml_error_system(&err, ENOMEM, "malloc");
  fail(s, &err, true);
  return false;
}

static bool input_end(struct ml_tls_stream *s)
{
  struct ml_error err;
  if (ml_tls_input_end(s->tls) == 0) return true;
  ml_error_system(&err, ENOMEM, "malloc");
  fail(s, &err, true);
  return false;
}

/* Returns whether there were any. */
static bool deliver_notes(struct ml_tls_stream *s)
{
  struct ml_tls_note *note;
  bool any = false;
  while (!s->closed && (note = ml_tls_next_note(s->tls))) {
    any = true;
    s->tls_events->on_note(s, note);
    ml_tls_note_free(note);
  }
  return any;
}

/* Notes that came with `buffer`'s data are told before it: a ticket is of use in the callback that
 * gets the last of the data. What an owner who runs the loop meanwhile lets in waits for its turn
 * behind that data. */
static void deliver_received(struct ml_tls_stream *s, const uint8_t *buffer, size_t total)
{
  s->noting = true;
  if (deliver_notes(s)) schedule(s);
  s->noting = false;
  if (total > 0 && !dead(s)) s->stream.events->on_read(&s->stream, buffer, total);
}

/* Tells the owner what a call into the engine led to. */
static void report_handshake(struct ml_tls_stream *s, enum ml_tls_result result,
                             struct ml_tls_question question)
{
  switch (result) {
  case ML_TLS_OK:
    s->announced = true;
    stop_deadline(s);
    s->tls_events->on_handshake(s);
    break;
  case ML_TLS_ERROR:
    fail(s, ml_tls_error(s->tls), true);
    break;
  default:
    if (s->lower_ended)
      fail_disconnected(s);
    else if (result == ML_TLS_ASK && s->asked != question.token) {
      s->asked = question.token;
      s->tls_events->on_ask(s, question);
    }
  }
}

static void run_handshake(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  while (!dead(s) && !s->announced) {
    if (!input_begin(s, data, len)) return;
    len = 0;
    enum ml_tls_result result = ml_tls_handshake(s->tls);
    struct ml_tls_question question = ml_tls_question(s->tls);
    if (!input_end(s)) return;
    /* Our last flight leaves and the peer's data arrives even if the owner runs the loop in there.
     */
    if (result == ML_TLS_OK) schedule(s);
    (void)deliver_notes(s);
    if (dead(s) || s->announced) return;
    report_handshake(s, result, question);
    bool answered = result == ML_TLS_ASK && ml_tls_question(s->tls).ask == ML_ASK_NONE;
    if (!answered) return;
  }
}

static void end_reading(struct ml_tls_stream *s)
{
  s->ended = true;
  update_lower_reading(s);
  s->stream.events->on_end(&s->stream);
}

/* One buffer of cleartext per run. A full one means there may be more: the rest is for the next
 * tick, so that one busy peer does not starve the others. */
static enum ml_tls_result fill(struct ml_tls_stream *s, uint8_t *buffer, size_t *total)
{
  enum ml_tls_result result;
  *total = 0;
  do {
    size_t n = 0;
    result = ml_tls_read(s->tls, buffer + *total, ML_LOOP_BUFFER_SIZE - *total, &n);
    *total += n;
  } while (result == ML_TLS_OK && *total < ML_LOOP_BUFFER_SIZE);
  return result;
}

static void run_reading(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  if (!input_begin(s, data, len)) return;
  if (!s->reading || s->ended || s->noting) {
    (void)input_end(s);
    return;
  }
  /* As of now: a callback below may run the loop, and so this function, and see the end itself. */
  bool no_more_input = s->lower_ended;
  uint8_t *buffer = ml_loop_borrow(s->stream.loop);
  size_t total;
  enum ml_tls_result result = fill(s, buffer, &total);
  if (!input_end(s)) total = 0;
  bool more = result != ML_TLS_WANT_INPUT || no_more_input;
  if (more) yield(s); /* now, for an owner who runs the loop inside on_read */
  s->stream.bytes_read += total;
  deliver_received(s, buffer, total);
  ml_loop_give_back(s->stream.loop, buffer);
  if (dead(s)) return;
  if (result == ML_TLS_ERROR)
    fail(s, ml_tls_error(s->tls), true);
  else if (result != ML_TLS_OK && more && s->reading && !s->ended)
    end_reading(s); /* an owner who stopped meanwhile hears of it after ml_stream_read_start */
}

/* Encrypts `slice` as far as it goes, at most `limit` bytes, and moves it past them. */
static enum ml_tls_result encrypt(struct ml_tls_stream *s, struct ml_slice *slice, size_t limit,
                                  struct ml_error *err)
{
  size_t done;
  enum ml_tls_result result =
      ml_tls_write(s->tls, slice->data, slice->len < limit ? slice->len : limit, &done);
  slice->data += done;
  slice->len -= done;
  s->starved = result == ML_TLS_WANT_INPUT;
  if (result == ML_TLS_ERROR) *err = *ml_tls_error(s->tls);
  if (s->starved && s->lower_ended) {
    ml_error_system(err, EPIPE, "write"); /* the rest will never come */
    return ML_TLS_ERROR;
  }
  return result;
}

/* Encrypts what is held, about TICK_BUDGET and not past what the lower stream takes. -1: err says
 * why. */
static int encrypt_held(struct ml_tls_stream *s, struct ml_error *err)
{
  size_t budget = TICK_BUDGET;
  while (s->held_at < s->held_count) {
    struct ml_slice *slice = &s->held[s->held_at];
    size_t before = slice->len;
    enum ml_tls_result encrypted = encrypt(s, slice, STEP, err);
    if (encrypted == ML_TLS_ERROR) return -1;
    if (slice->len == 0) s->held_at++;
    if (ml_buf_size(ml_tls_output(s->tls)) >= FLUSH_AT) {
      int result = flush(s, err);
      if (result == ML_FAILED) return -1;
      if (result == ML_PENDING) return 0; /* on_written of the lower stream goes on from here */
    }
    if (encrypted == ML_TLS_WANT_INPUT) return 0; /* more input goes on from here */
    size_t n = before - slice->len;
    if (n >= budget) {
      if (s->held_at < s->held_count) yield(s);
      return 0;
    }
    budget -= n;
  }
  return 0;
}

/* Whether everything written so far has been handed down entirely. */
static bool output_idle(struct ml_tls_stream *s)
{
  return s->held_at == s->held_count && ml_buf_size(&s->flying) == 0 &&
         ml_buf_size(ml_tls_output(s->tls)) == 0;
}

static void run_writing(struct ml_tls_stream *s)
{
  struct ml_error err;
  if (dead(s)) return;
  if (ml_buf_size(&s->flying) > 0) return;
  if (s->held_at < s->held_count && ml_tls_established(s->tls)) {
    if (!input_begin(s, NULL, 0)) return; /* for the rest of a message, see ml_tls_write */
    int result = encrypt_held(s, &err);
    if (!input_end(s)) return;
    if (result != 0) {
      fail(s, &err, true);
      return;
    }
  }
  if (flush(s, &err) == ML_FAILED) {
    fail(s, &err, true);
    return;
  }
  if (s->write_pending && output_idle(s)) {
    drop_held(s);
    s->write_pending = false;
    schedule(s); /* the shutdown behind the write, should the owner run the loop */
    s->stream.events->on_written(&s->stream);
  }
}

/* Says close_notify. Where that has to wait for the rest of a message which never comes, the end of
 * the lower stream alone must do. */
static void say_close(struct ml_tls_stream *s)
{
  if (!input_begin(s, NULL, 0)) return;
  s->only_notify = output_idle(s);
  enum ml_tls_result result = ml_tls_close(s->tls);
  if (!input_end(s)) return;
  s->starved = result == ML_TLS_WANT_INPUT;
  if (result == ML_TLS_ERROR)
    fail(s, ml_tls_error(s->tls), true);
  else if (!s->starved || s->lower_ended)
    s->shutdown = SHUT_NOTIFY;
}

static void shutdown_done(struct ml_tls_stream *s)
{
  s->shutdown = SHUT_DONE;
  s->stream.events->on_shutdown(&s->stream);
}

/* A peer that has said its end and left does not wait for our close_notify: that it cannot be sent
 * takes nothing from anybody. */
static bool end_is_moot(const struct ml_tls_stream *s, const struct ml_error *err)
{
  bool gone =
      err->origin == ML_ORIGIN_SYSTEM && (err->number == EPIPE || err->number == ECONNRESET);
  return gone && s->ended && s->only_notify && s->shutdown < SHUT_DONE;
}

static void run_shutdown(struct ml_tls_stream *s)
{
  struct ml_error err;
  if (dead(s) || s->shutdown == SHUT_NONE || !ml_tls_established(s->tls)) return;
  if (s->shutdown == SHUT_WANTED && s->held_at == s->held_count) say_close(s);
  if (dead(s) || s->shutdown != SHUT_NOTIFY) return;
  int result = flush(s, &err);
  if (result == ML_DONE) {
    s->shutdown = SHUT_LOWER;
    result = ml_stream_shutdown(s->lower, &err);
    if (result == ML_DONE) shutdown_done(s);
  }
  if (result == ML_FAILED && end_is_moot(s, &err))
    shutdown_done(s);
  else if (result == ML_FAILED)
    fail(s, &err, true);
}

/* An idle connection owns no buffer. */
static void settle(struct ml_tls_stream *s)
{
  struct ml_buf *out = ml_tls_output(s->tls);
  if (ml_buf_size(out) == 0) ml_buf_free(out);
  if (!s->write_pending && s->held_at == s->held_count) drop_held(s);
  update_lower_reading(s);
}

/* Everything that happens to a TLS stream ends here: new ciphertext, an answer, room for output, a
 * new task. */
static void run(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  if (!s->started) return;
  enter(s);
  if (!s->announced) {
    run_handshake(s, data, len);
    len = 0; /* what the handshake left is kept by the engine */
  }
  if (!dead(s) && s->announced) run_reading(s, data, len);
  run_writing(s);
  run_shutdown(s);
  if (!dead(s)) settle(s);
  leave(s);
}

static void on_task(struct ml_task *task)
{
  struct ml_tls_stream *s = (void *)((char *)task - offsetof(struct ml_tls_stream, task));
  if (!dead(s)) run(s, NULL, 0);
}

static void on_again(struct ev_loop *loop, ev_idle *idle, int events)
{
  (void)events;
  struct ml_tls_stream *s = idle->data;
  ev_idle_stop(loop, idle);
  if (!dead(s)) run(s, NULL, 0);
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
  fail(s, &err, true);
  leave(s);
}

/* ---- Events of the lower stream ---- */

static void lower_read(struct ml_stream *lower, const uint8_t *data, size_t len)
{
  run(lower->user, data, len);
}

static void lower_end(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  s->lower_ended = true;
  s->lower_reading = false;
  run(s, NULL, 0);
}

static void lower_written(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  ml_buf_free(&s->flying);
  if (!dead(s)) run(s, NULL, 0);
}

static void lower_shutdown(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  if (dead(s)) return;
  enter(s);
  shutdown_done(s);
  leave(s);
}

static void lower_connect(struct ml_stream *lower)
{
  struct ml_tls_stream *s = lower->user;
  if (dead(s)) return;
  enter(s);
  s->stream.events->on_connect(&s->stream);
  if (!dead(s)) ml_tls_stream_start(s);
  leave(s);
}

static void lower_error(struct ml_stream *lower, const struct ml_error *err)
{
  struct ml_tls_stream *s = lower->user;
  enter(s);
  s->lower_broken = true;
  ml_buf_free(&s->flying);
  if (!dead(s) && end_is_moot(s, err))
    shutdown_done(s);
  else
    fail(s, err, true);
  leave(s);
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
  update_lower_reading(s);
}

static int hold(struct ml_tls_stream *s, const struct ml_slice *slices, size_t n,
                struct ml_error *err)
{
  s->held = malloc((n ? n : 1) * sizeof(*slices));
  if (!s->held) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  s->held_count = s->held_at = 0;
  for (size_t i = 0; i < n; i++)
    if (slices[i].len > 0) s->held[s->held_count++] = slices[i];
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
  if (dead(s) || s->shutdown != SHUT_NONE) return refuse(err, "write");
  assert(!s->write_pending);
  for (size_t i = 0; i < n; i++)
    stream->bytes_written += slices[i].len;
  bool can_encrypt = ml_tls_established(s->tls) && ml_buf_size(&s->flying) == 0;
  size_t gathered = ml_buf_size(ml_tls_output(s->tls));
  struct ml_slice first; /* what is left of a single small slice, which needs no list of its own */
  if (can_encrypt && n == 1 && gathered + slices[0].len < FLUSH_AT) {
    first = slices[0];
    enum ml_tls_result result = encrypt(s, &first, STEP, err);
    if (result == ML_TLS_ERROR) goto fail;
    schedule(s);
    if (result == ML_TLS_OK) return ML_DONE;
    slices = &first;
  }
  if (hold(s, slices, n, err) != 0) goto fail;
  if (can_encrypt && encrypt_held(s, err) != 0) goto fail;
  bool taken = s->held_at == s->held_count && ml_buf_size(&s->flying) == 0;
  if (taken) drop_held(s);
  s->write_pending = !taken;
  schedule(s);
  return taken ? ML_DONE : ML_PENDING;
fail:
  fail(s, err, false);
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
  size_t total = ml_buf_size(ml_tls_output(s->tls)) + ml_stream_queued(s->lower);
  for (size_t i = s->held_at; i < s->held_count; i++)
    total += s->held[i].len;
  return total;
}

static struct ml_stream *tls_transport(struct ml_stream *stream)
{
  return ml_stream_transport(self_of(stream)->lower);
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
};

/* ---- TLS over TLS ---- */

/* What the lower of two TLS streams still has to say: its owner is the upper one now, who has no
 * use for it, and cannot answer for a context or a name. */
static void below_handshake(struct ml_tls_stream *s)
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
  if (lower->ops == &ops) self_of(lower)->tls_events = &below_events;
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

void ml_tls_stream_resume(struct ml_tls_stream *s)
{
  schedule(s);
}

void ml_tls_stream_deadline(struct ml_tls_stream *s, double seconds)
{
  stop_deadline(s);
  if (seconds <= 0 || ml_tls_established(s->tls)) return;
  ev_timer_set(&s->deadline, seconds, 0);
  ml_loop_timer_start(s->stream.loop, &s->deadline, false);
}

struct ml_tls *ml_tls_stream_engine(struct ml_tls_stream *s)
{
  return s->tls;
}

#include <errno.h>

#include <openssl/crypto.h>

#include "sock.h"
#include "tls_after.h"
#include "tls_offload.h"
#include "tls_stream_internal.h"

#define TURN_BUDGET ((size_t)262144) /* cleartext of one write encrypted in a turn of the loop */
#define BACKLOG_LIMIT                                                                              \
  ((size_t)262144) /* output beyond which we stop reading: a peer that makes us answer             \
                      (KeyUpdate) without taking the answers gets no further */
#define KEPT_LIMIT ((size_t)65536) /* input kept while the handshake waits for an answer */

/* ---- The lower stream: output ---- */

/* Cleartext that has become records, ever. */
static uint64_t encrypted(const struct ml_tls_stream *s)
{
  return s->stream.bytes_written - s->held_bytes;
}

static int all_down(struct ml_tls_stream *s)
{
  s->sent = encrypted(s);
  return ML_DONE;
}

static int flush_alert(struct ml_tls_stream *s)
{
  uint8_t alert[2];
  if (ml_tls_offload_alert(s->tls, alert) && !s->lower_broken)
    ml_sock_record(s->sealed, SSL3_RT_ALERT, alert, sizeof(alert));
  return s->passing ? ML_DONE : all_down(s);
}

int ml_tls_stream_flush(struct ml_tls_stream *s, struct ml_error *err)
{
  struct ml_buf *out = ml_tls_output(s->tls);
  if (ml_buf_size(&s->flying) > 0) return ML_PENDING;
  if (s->sealed) return flush_alert(s);
  /* What OpenSSL still says after our end (an answer to KeyUpdate, an alert) has no way to travel.
   */
  if (s->shutdown >= SHUT_LOWER) ml_buf_free(out);
  if (ml_buf_size(out) == 0) return all_down(s);
  if (s->lower_broken) {
    ml_error_system(err, EPIPE, "write");
    return ML_FAILED;
  }
  s->flying = *out;
  s->flying_to = encrypted(s);
  *out = (struct ml_buf){0};
  struct ml_slice slice = {ml_buf_data(&s->flying), ml_buf_size(&s->flying)};
  int result = ml_stream_write(s->lower, &slice, 1, err);
  if (result == ML_DONE) {
    /* The memory serves the next records of this run; settle() gives it back. */
    *out = s->flying;
    ml_buf_clear(out);
    s->flying = (struct ml_buf){0};
    return all_down(s);
  }
  if (result == ML_FAILED) s->lower_broken = true;
  return result;
}

/* Whether an open connection wants more input. */
static bool open_wants_input(const struct ml_tls_stream *s)
{
  if (s->ended || s->noting || ml_buf_size(ml_tls_output(s->tls)) >= BACKLOG_LIMIT) return false;
  if (ml_tls_unsettled(s->tls)) return ml_tls_input_kept(s->tls) < KEPT_LIMIT;
  return s->reading || s->starved;
}

void ml_tls_stream_update_reading(struct ml_tls_stream *s)
{
  bool want = s->started && !dead(s) && !s->lower_ended;
  if (want)
    want =
        ml_tls_established(s->tls) ? open_wants_input(s) : ml_tls_input_kept(s->tls) < KEPT_LIMIT;
  if (want == s->lower_reading) return;
  s->lower_reading = want;
  if (want)
    ml_stream_read_start(s->lower);
  else
    ml_stream_read_stop(s->lower);
}

/* ---- One run: handshake, reading, writing, in this order ---- */

static void fail_disconnected(struct ml_tls_stream *s)
{
  struct ml_error err;
  ml_tls_disconnected(s->tls, &err);
  ml_tls_stream_fail(s, &err, true);
}

/* Around every call to the owner the engine's loan of the input ends: what the owner does there may
 * run the loop, and so come back here with more input. */
static bool input_begin(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  struct ml_error err;
  if (dead(s) || ml_tls_input(s->tls, data, len) == 0) return !dead(s);
  ml_error_system(&err, ENOMEM, "malloc");
  ml_tls_stream_fail(s, &err, true);
  return false;
}

static bool input_end(struct ml_tls_stream *s)
{
  struct ml_error err;
  if (ml_tls_input_end(s->tls) == 0) return true;
  ml_error_system(&err, ENOMEM, "malloc");
  ml_tls_stream_fail(s, &err, true);
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

static void ask_owner(struct ml_tls_stream *s, struct ml_tls_question question)
{
  if (s->asked == question.token) return;
  s->asked = question.token;
  s->tls_events->on_ask(s, question);
}

/* Tells the owner what a call into the engine led to. */
static void report_handshake(struct ml_tls_stream *s, enum ml_tls_result result,
                             struct ml_tls_question question)
{
  switch (result) {
  case ML_TLS_OK:
    s->announced = true;
    s->unsealed = ml_tls_offload_wanted(s->tls) && ml_sock_from(s->lower) != NULL;
    stop_deadline(s);
    s->tls_events->on_handshake(s);
    break;
  case ML_TLS_ERROR:
    ml_tls_stream_fail(s, ml_tls_error(s->tls), true);
    break;
  default:
    if (s->lower_ended && !ml_tls_peer_may_end(s->tls))
      fail_disconnected(s);
    else if (result == ML_TLS_ASK)
      ask_owner(s, question);
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
  ml_tls_stream_update_reading(s);
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

/* Whether the peer left while handshake messages were going back and forth. */
static bool cut_off(const struct ml_tls_stream *s, enum ml_tls_result result)
{
  return (result == ML_TLS_WANT_INPUT || result == ML_TLS_ASK) && ml_tls_renegotiating(s->tls);
}

/* What reading came to, besides data. `last`: there is no more input. */
static void report_reading(struct ml_tls_stream *s, enum ml_tls_result result, bool last)
{
  if (result == ML_TLS_ERROR) {
    ml_tls_stream_fail(s, ml_tls_error(s->tls), true);
  } else if (last && cut_off(s, result)) {
    fail_disconnected(s);
  } else if (result == ML_TLS_RENEWED) {
    schedule(s); /* what waited for it, should the owner run the loop */
    s->tls_events->on_renewed(s);
  } else if (result == ML_TLS_ASK) {
    ask_owner(s, ml_tls_question(s->tls));
    if (ml_tls_question(s->tls).ask == ML_ASK_NONE) schedule(s);
  } else if (s->reading && !s->ended &&
             (result == ML_TLS_END || (last && result == ML_TLS_WANT_INPUT))) {
    end_reading(s); /* an owner who stopped meanwhile hears of it after ml_stream_read_start */
  }
}

/* For an owner who does not read: what the peer has to do its part for goes on all the same. */
static void run_unread(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  if (!input_begin(s, data, len)) return;
  bool last = s->lower_ended;
  bool wanted = !s->ended && !s->noting && ml_tls_unsettled(s->tls);
  enum ml_tls_result result = wanted ? ml_tls_handshake(s->tls) : ML_TLS_OK;
  if (!input_end(s) || !wanted) return;
  if (result == ML_TLS_AGAIN) yield(s);
  deliver_received(s, NULL, 0);
  if (!dead(s)) report_reading(s, result, last);
}

static void run_reading(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  if (!s->reading || s->ended || s->noting) {
    run_unread(s, data, len);
    return;
  }
  if (!input_begin(s, data, len)) return;
  /* As of now: a callback below may run the loop, and so this function, and see the end itself. */
  bool last = s->lower_ended;
  uint8_t *buffer = ml_loop_borrow(s->stream.loop);
  size_t total;
  enum ml_tls_result result = fill(s, buffer, &total);
  if (!input_end(s)) total = 0;
  bool waits = result == ML_TLS_WANT_INPUT || result == ML_TLS_ASK;
  if (!waits || last) yield(s); /* now, for an owner who runs the loop inside on_read */
  s->stream.bytes_read += total;
  deliver_received(s, buffer, total);
  ml_loop_give_back(s->stream.loop, buffer);
  if (!dead(s)) report_reading(s, result, last);
}

enum ml_tls_result ml_tls_stream_encrypt(struct ml_tls_stream *s, struct ml_slice *slice,
                                         size_t limit, struct ml_error *err)
{
  size_t done;
  enum ml_tls_result result =
      ml_tls_write(s->tls, slice->data, slice->len < limit ? slice->len : limit, &done);
  if (done > 0) slice->data += done; /* an empty slice may be NULL */
  slice->len -= done;
  s->starved = result == ML_TLS_WANT_INPUT;
  if (result == ML_TLS_ERROR) *err = *ml_tls_error(s->tls);
  if (s->starved && s->lower_ended) {
    ml_error_system(err, EPIPE, "write"); /* the rest will never come */
    return ML_TLS_ERROR;
  }
  return result;
}

/* What this turn of the loop may still encrypt. A run may come more than once in a turn: for the
 * write itself, the end of the tick, room in the kernel. */
static size_t budget_left(struct ml_tls_stream *s)
{
  unsigned turn = ev_iteration(ml_loop_ev(s->stream.loop));
  if (s->turn != turn) s->encrypted = 0;
  s->turn = turn;
  return TURN_BUDGET - s->encrypted;
}

int ml_tls_stream_encrypt_held(struct ml_tls_stream *s, struct ml_error *err)
{
  size_t budget = budget_left(s);
  while (s->held_at < s->held_count) {
    if (budget == 0) {
      yield(s);
      return 0;
    }
    struct ml_slice *slice = &s->held[s->held_at];
    size_t before = slice->len;
    enum ml_tls_result result = ml_tls_stream_encrypt(s, slice, budget < STEP ? budget : STEP, err);
    size_t n = before - slice->len;
    s->held_bytes -= n;
    if (result == ML_TLS_ERROR) return -1;
    s->encrypted += n;
    budget -= n;
    if (slice->len == 0) s->held_at++;
    if (ml_buf_size(ml_tls_output(s->tls)) >= FLUSH_AT) {
      int flushed = ml_tls_stream_flush(s, err);
      if (flushed == ML_FAILED) return -1;
      if (flushed == ML_PENDING) return 0; /* on_written of the lower stream goes on from here */
    }
    if (result == ML_TLS_WANT_INPUT) return 0; /* more input goes on from here */
  }
  return 0;
}

/* Whether everything written so far has been handed down entirely. */
static bool output_idle(struct ml_tls_stream *s)
{
  return !s->passing && s->held_at == s->held_count && ml_buf_size(&s->flying) == 0 &&
         ml_buf_size(ml_tls_output(s->tls)) == 0;
}

/* Whether close_notify is all that has to be added to the output: then both leave together. */
static bool end_is_next(const struct ml_tls_stream *s)
{
  return s->shutdown == SHUT_WANTED && s->held_at == s->held_count && !s->passing &&
         !s->write_pending && ml_tls_established(s->tls);
}

static void run_writing(struct ml_tls_stream *s)
{
  struct ml_error err;
  if (dead(s) || end_is_next(s)) return;
  if (ml_buf_size(&s->flying) > 0) return;
  if (s->held_at < s->held_count && ml_tls_established(s->tls)) {
    if (!input_begin(s, NULL, 0)) return; /* for the rest of a message, see ml_tls_write */
    int result = ml_tls_stream_encrypt_held(s, &err);
    if (!input_end(s)) return;
    if (result != 0) {
      ml_tls_stream_fail(s, &err, true);
      return;
    }
  }
  if (ml_tls_stream_flush(s, &err) == ML_FAILED) {
    ml_tls_stream_fail(s, &err, true);
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
    ml_tls_stream_fail(s, ml_tls_error(s->tls), true);
  else if (!s->starved || s->lower_ended)
    s->shutdown = SHUT_NOTIFY;
}

void ml_tls_stream_shutdown_done(struct ml_tls_stream *s)
{
  s->shutdown = SHUT_DONE;
  s->stream.events->on_shutdown(&s->stream);
}

bool ml_tls_stream_end_is_moot(const struct ml_tls_stream *s, const struct ml_error *err)
{
  bool gone =
      err->origin == ML_ORIGIN_SYSTEM && (err->number == EPIPE || err->number == ECONNRESET);
  return gone && s->ended && s->only_notify && s->shutdown < SHUT_DONE;
}

static void run_shutdown(struct ml_tls_stream *s)
{
  struct ml_error err;
  if (dead(s) || s->shutdown == SHUT_NONE || !ml_tls_established(s->tls)) return;
  if (end_is_next(s)) {
    say_close(s);
    (void)deliver_notes(s); /* the last chance for what says so */
  }
  if (dead(s) || s->shutdown > SHUT_NOTIFY) return;
  s->lower->end_follows = s->shutdown == SHUT_NOTIFY;
  int result = ml_tls_stream_flush(s, &err);
  if (result == ML_DONE && s->shutdown == SHUT_NOTIFY) {
    s->shutdown = SHUT_LOWER;
    result = ml_stream_shutdown(s->lower, &err);
    if (result == ML_DONE) ml_tls_stream_shutdown_done(s);
  }
  if (result == ML_FAILED && ml_tls_stream_end_is_moot(s, &err))
    ml_tls_stream_shutdown_done(s);
  else if (result == ML_FAILED)
    ml_tls_stream_fail(s, &err, true);
}

void ml_tls_stream_watch_deadline(struct ml_tls_stream *s)
{
  bool waiting = !s->announced || (ml_tls_unsettled(s->tls) && !s->ended);
  bool want = !dead(s) && s->patience > 0 && waiting;
  if (want == (bool)ev_is_active(&s->deadline)) return;
  if (!want) {
    stop_deadline(s);
    return;
  }
  ev_timer_set(&s->deadline, s->patience, 0);
  ml_loop_timer_start(s->stream.loop, &s->deadline, false);
}

/* Gives the kernel the key as soon as all that OpenSSL has encrypted is on its way. From then on a
 * tick's small writes are gathered by the sock. */
static void seal(struct ml_tls_stream *s)
{
  struct ml_tls_seal key;
  struct ml_sock *sock = ml_sock_from(s->lower);
  if (!output_idle(s) || s->shutdown != SHUT_NONE || !ml_tls_offload_key(s->tls, &key)) return;
  bool taken = ml_sock_seal(sock, key.info, key.len) == 0;
  OPENSSL_cleanse(&key, sizeof(key));
  ml_tls_offload_settle(s->tls, taken);
  s->unsealed = false;
  if (!taken) return;
  s->sealed = sock;
  s->lower->write_through = false;
}

int ml_tls_stream_pass(struct ml_tls_stream *s, const struct ml_slice *slices, size_t n,
                       struct ml_error *err)
{
  int result = ml_stream_write(s->lower, slices, n, err);
  s->passing = s->write_pending = result == ML_PENDING;
  if (result == ML_DONE) return all_down(s);
  if (result == ML_PENDING) return result;
  s->lower_broken = true;
  ml_tls_stream_fail(s, err, false);
  return result;
}

/* An idle connection owns no buffer. */
static void settle(struct ml_tls_stream *s)
{
  struct ml_buf *out = ml_tls_output(s->tls);
  if (ml_buf_size(out) == 0) ml_buf_free(out);
  if (!s->write_pending && s->held_at == s->held_count) drop_held(s);
  if (s->unsealed) seal(s);
  if (ml_tls_renewed(s->tls)) schedule(s); /* it came about while we wrote */
  ml_tls_stream_update_reading(s);
  ml_tls_stream_watch_deadline(s);
  if (s->announced) linger(s);
}

void ml_tls_stream_keep(struct ml_tls_stream *s, const uint8_t *data, size_t len)
{
  enter(s);
  if (input_begin(s, data, len) && input_end(s)) {
    ml_loop_wait_turn(s->stream.loop, &s->task);
    ml_tls_stream_update_reading(s);
  }
  ml_tls_stream_leave(s);
}

void ml_tls_stream_hear_out(struct ml_tls_stream *s)
{
  if (s->announced || !ml_task_queued(&s->task)) return;
  run_handshake(s, NULL, 0);
  uint64_t before;
  do {
    before = s->stream.bytes_read;
    if (!dead(s) && s->announced) run_reading(s, NULL, 0);
  } while (s->stream.bytes_read != before);
}

void ml_tls_stream_run(struct ml_tls_stream *s, const uint8_t *data, size_t len)
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
  if (!dead(s) && !s->noting) (void)deliver_notes(s);
  if (!dead(s)) settle(s);
  ml_tls_stream_leave(s);
}

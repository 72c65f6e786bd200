/* The owner of a TLS stream for tests: recorder.h with what TLS tells besides. */
#ifndef TLS_OWNER_H
#define TLS_OWNER_H

#include "recorder.h"
#include "tls_stream.h"

enum told { TOLD_NOTHING, TOLD_HANDSHAKE, TOLD_ASK, TOLD_NOTE, TOLD_RENEWED };

struct owner {
  struct recorder r; /* must stay first: the stream's user */
  struct ml_tls_stream *tls;
  int handshakes, asks, sessions, keylogs, renewals;
  size_t renewed_at; /* how much had been read when the last renewal was told */
  bool early;        /* cleartext or the end came before on_handshake */
  struct ml_tls_question question;
  enum told close_on, stop_on;
  void (*told)(struct owner *, enum told);
};

static inline void owner_note(struct ml_tls_stream *tls, enum told what)
{
  struct owner *owner = ml_tls_stream_base(tls)->user;
  assert_ptr_equal(owner->tls, tls);
  assert_non_null(owner->r.stream); /* nothing may come after the close */
  assert_int_equal(owner->r.count[ERROR], 0);
  if (owner->stop_on == what) ml_loop_stop(ml_tls_stream_base(tls)->loop);
  if (owner->told) owner->told(owner, what);
  if (owner->close_on == what) recorder_close(&owner->r);
}

static inline void owner_on_handshake(struct ml_tls_stream *tls)
{
  struct owner *owner = ml_tls_stream_base(tls)->user;
  owner->handshakes++;
  owner->early = owner->r.count[READ] || owner->r.count[END];
  owner_note(tls, TOLD_HANDSHAKE);
}

static inline void owner_on_renewed(struct ml_tls_stream *tls)
{
  struct owner *owner = ml_tls_stream_base(tls)->user;
  owner->renewals++;
  owner->renewed_at = owner->r.len;
  owner_note(tls, TOLD_RENEWED);
}

static inline void owner_on_ask(struct ml_tls_stream *tls, struct ml_tls_question question)
{
  struct owner *owner = ml_tls_stream_base(tls)->user;
  owner->asks++;
  owner->question = question;
  owner_note(tls, TOLD_ASK);
}

static inline void owner_on_note(struct ml_tls_stream *tls, const struct ml_tls_note *note)
{
  struct owner *owner = ml_tls_stream_base(tls)->user;
  if (note->kind == ML_NOTE_SESSION) owner->sessions++;
  if (note->kind == ML_NOTE_KEYLOG) owner->keylogs++;
  owner_note(tls, TOLD_NOTE);
}

static const struct ml_tls_stream_events owner_events = {
    .on_handshake = owner_on_handshake,
    .on_renewed = owner_on_renewed,
    .on_ask = owner_on_ask,
    .on_note = owner_on_note,
};

/* Puts `engine` on `lower`, reading, and starts. */
static inline void owner_open(struct owner *owner, struct ml_stream *lower, struct ml_tls *engine)
{
  *owner = (struct owner){0};
  owner->tls = ml_tls_stream_new(lower, engine, &recorder_events, &owner_events, owner);
  assert_non_null(owner->tls);
  owner->r.stream = ml_tls_stream_base(owner->tls);
  ml_stream_read_start(owner->r.stream);
  ml_tls_stream_start(owner->tls);
}

static inline void owner_close(struct owner *owner)
{
  recorder_reset(&owner->r);
}

#endif

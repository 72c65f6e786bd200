/* Two engines joined by two buffers, each with a log of what its owner was told: the cleartext as
 * it came, and between it one character for everything else. */
#ifndef TLS_SIDES_H
#define TLS_SIDES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tls_after.h"
#include "tls_pair.h"

struct side {
  struct ml_tls *tls;
  bool paused;   /* the owner does not read */
  uint32_t asks; /* what is left unanswered; other questions are consented to */
  size_t buffer; /* of the owner; 0: large */
  char log[8192];
  size_t logged;
};

struct sides {
  struct side client, server;
  size_t chunk; /* at most so many bytes cross at a time; 0: all */
};

static inline void side_log(struct side *side, const void *data, size_t len)
{
  assert_true(side->logged + len < sizeof(side->log));
  memcpy(side->log + side->logged, data, len);
  side->logged += len;
}

static inline void side_answer(struct side *side)
{
  struct ml_tls_question question = ml_tls_question(side->tls);
  assert_int_not_equal(question.ask, ML_ASK_NONE);
  if (question.ask == ML_ASK_IDENTITY)
    assert_int_equal(ml_tls_answer_identity(side->tls, question.token, true), 0);
  else
    assert_int_equal(ml_tls_answer_data(side->tls, question.token, NULL, 0), 0);
}

/* What an owner does as long as there is something to do. */
static inline void side_work(struct side *side)
{
  static const char marks[] = {
      [ML_TLS_ASK] = '?', [ML_TLS_RENEWED] = '|', [ML_TLS_END] = '.', [ML_TLS_ERROR] = '!'};
  uint8_t buffer[20000];
  size_t size = side->buffer ? side->buffer : sizeof(buffer);
  for (;;) {
    size_t n = 0;
    bool ended = side->logged > 0 && strchr(".!", side->log[side->logged - 1]);
    bool read = !side->paused && ml_tls_established(side->tls);
    enum ml_tls_result result =
        read ? ml_tls_read(side->tls, buffer, size, &n) : ml_tls_handshake(side->tls);
    if (result == ML_TLS_WANT_INPUT || (result == ML_TLS_OK && side->paused) || ended) return;
    if (result == ML_TLS_AGAIN) continue;
    if (result == ML_TLS_OK) {
      side_log(side, buffer, n);
      continue;
    }
    if (result == ML_TLS_ASK) {
      enum ml_tls_ask ask = ml_tls_question(side->tls).ask;
      bool told = side->logged > 0 && side->log[side->logged - 1] == '?';
      if (!told) side_log(side, "?", 1);
      if (side->asks & ML_ASKS(ask)) return;
      side_answer(side);
      continue;
    }
    side_log(side, &marks[result], 1);
  }
}

static inline size_t side_carry(struct side *from, struct side *to, size_t chunk)
{
  struct ml_buf *out = ml_tls_output(from->tls);
  size_t n = ml_buf_size(out);
  if (chunk && n > chunk) n = chunk;
  ml_tls_rest(to->tls); /* at any time, as far as the owner can tell */
  assert_int_equal(ml_tls_input(to->tls, n ? ml_buf_data(out) : NULL, n), 0);
  side_work(to);
  assert_int_equal(ml_tls_input_end(to->tls), 0);
  if (n) ml_buf_consume(out, n);
  return n;
}

/* Until neither has anything to say. */
static inline void sides_work(struct sides *sides)
{
  for (int i = 0; i < 100000; i++) {
    size_t moved = side_carry(&sides->server, &sides->client, sides->chunk);
    moved += side_carry(&sides->client, &sides->server, sides->chunk);
    if (moved == 0) return;
  }
  fail_msg("there is no end to it");
}

static inline void side_write(struct side *side, const char *text)
{
  size_t done;
  enum ml_tls_result result = ml_tls_write(side->tls, (const uint8_t *)text, strlen(text), &done);
  assert_int_equal(result, ML_TLS_OK);
}

/* The log, which must say exactly this; it begins anew. */
static inline void expect_log(struct side *side, const char *text)
{
  side->log[side->logged] = '\0';
  assert_string_equal(side->log, text);
  side->logged = 0;
}

static inline void expect_failure(const struct side *side, const char *code)
{
  assert_int_equal(ml_tls_state(side->tls), ML_TLS_FAILED);
  assert_string_equal(ml_tls_error(side->tls)->code, code);
}

/* An open connection of a server that is alpha and takes beta's certificate with a client that has
 * it. */
static inline struct sides sides_open(int version, const struct ml_tls_options *server_options,
                                      const struct ml_tls_options *client_options)
{
  struct ml_tls_context *server = make_context(&alpha, &beta, version);
  struct ml_tls_context *client = make_context(&beta, &alpha, version);
  struct sides sides = {.server = {.tls = make_engine(server, server_options)},
                        .client = {.tls = make_engine(client, client_options)}};
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
  side_work(&sides.client);
  sides_work(&sides);
  assert_true(ml_tls_established(sides.client.tls));
  assert_true(ml_tls_established(sides.server.tls));
  sides.client.logged = sides.server.logged = 0;
  return sides;
}

static inline void sides_free(struct sides *sides)
{
  ml_tls_free(sides->client.tls);
  ml_tls_free(sides->server.tls);
}

#endif

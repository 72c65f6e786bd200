/* A TLS stream over a lower stream that the test plays, with an engine at the other end. */
#ifndef TLS_BENCH_H
#define TLS_BENCH_H

#include "fake_stream.h"
#include "tls_ends.h"

/* The stream under test, what it stands on, and the peer. */
struct bench {
  struct fake lower;
  struct owner owner;
  struct ml_tls *peer;
  enum ml_tls_result peer_result;
};

static inline void bench_open(struct bench *bench, const struct ml_tls_options *options)
{
  bool server = options->server;
  *bench = (struct bench){0};
  fake_init(&bench->lower, loop);
  owner_open(&bench->owner, &bench->lower.stream,
             make_engine(server ? server_context : client_context, options));
  bench->peer = server ? make_engine(client_context, &plain_client)
                       : make_engine(server_context, &plain_server);
  bench->peer_result = ml_tls_handshake(bench->peer);
}

/* Hands the peer's output to the stream. */
static inline void bench_give(struct bench *bench)
{
  struct ml_buf *out = ml_tls_output(bench->peer);
  if (ml_buf_size(out)) fake_give(&bench->lower, ml_buf_data(out), ml_buf_size(out));
  ml_buf_free(out);
}

/* Lets the peer take what the stream has put out; returns bytes of cleartext. */
static inline size_t bench_take(struct bench *bench)
{
  static uint8_t cleartext[65536];
  struct ml_buf *sent = &bench->lower.outbox;
  size_t total = 0, n;
  assert_int_equal(ml_tls_input(bench->peer, ml_buf_data(sent), ml_buf_size(sent)), 0);
  if (!ml_tls_established(bench->peer)) bench->peer_result = ml_tls_handshake(bench->peer);
  if (ml_tls_established(bench->peer)) {
    while ((bench->peer_result = ml_tls_read(bench->peer, cleartext, sizeof(cleartext), &n)) ==
           ML_TLS_OK)
      total += n;
  }
  assert_int_equal(ml_tls_input_end(bench->peer), 0);
  ml_buf_free(sent);
  return total;
}

static inline void bench_shake(struct bench *bench)
{
  for (int i = 0; i < 1000 && bench->owner.handshakes == 0; i++) {
    bench_give(bench);
    turn_until_quiet();
    (void)bench_take(bench);
  }
  assert_int_equal(bench->owner.handshakes, 1);
  for (int i = 0; i < 10; i++) {
    bench_give(bench);
    turn_until_quiet();
    (void)bench_take(bench);
  }
  assert_true(ml_tls_established(bench->peer));
}

static inline void bench_close(struct bench *bench)
{
  bool open = bench->owner.r.stream != NULL;
  if (open) assert_false(bench->lower.closed);
  owner_close(&bench->owner);
  assert_true(bench->lower.closed);
  turn_until_quiet();
  assert_false(ml_loop_alive(loop));
  fake_free(&bench->lower);
  ml_tls_free(bench->peer);
}

static inline void peer_write(struct bench *bench, const void *data, size_t len)
{
  size_t done;
  assert_int_equal(ml_tls_write(bench->peer, data, len, &done), ML_TLS_OK);
  bench_give(bench);
}

#endif

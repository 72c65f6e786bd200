/* What a server makes of a ClientHello that is out of order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hello_maker.h"
#include "tls_engine_internal.h"
#include "tls_hello.h"
#include "tls_pair.h"

/* The first flight of a client asking for `servername`. */
static struct ml_buf first_flight(struct ml_tls_context *context, struct ml_tls **client,
                                  const char *servername)
{
  *client = make_engine(context, &(struct ml_tls_options){.servername = servername});
  assert_int_equal(ml_tls_handshake(*client), ML_TLS_WANT_INPUT);
  struct ml_buf hello = *ml_tls_output(*client);
  *ml_tls_output(*client) = (struct ml_buf){0};
  return hello;
}

/* Puts an extension in front of the others. */
static void add_extension(struct ml_buf *hello, const void *bytes, size_t len)
{
  assert_non_null(ml_buf_reserve(hello, len));
  ml_buf_commit(hello, len);
  uint8_t *record = ml_buf_tail(hello, ml_buf_size(hello));
  size_t at = extensions_at(record);
  memmove(record + at + 2 + len, record + at + 2, ml_buf_size(hello) - len - at - 2);
  memcpy(record + at + 2, bytes, len);
  lengthen_hello(record, len);
}

static void expect_refused_hello(struct ml_tls *server, const struct ml_buf *hello, int alert)
{
  assert_int_equal(ml_tls_input(server, ml_buf_data(hello), ml_buf_size(hello)), 0);
  assert_int_equal(ml_tls_handshake(server), ML_TLS_ERROR);
  assert_int_equal(ml_tls_input_end(server), 0);
  const struct ml_error *err = ml_tls_error(server);
  assert_string_equal(err->code, "ERR_SSL_BAD_EXTENSION");
  assert_int_equal(err->alert, alert);
  assert_int_equal(err->alert_from, ML_ALERT_LOCAL);
  assert_int_equal(ml_tls_question(server).ask, ML_ASK_NONE);
  assert_true(ml_buf_size(ml_tls_output(server)) >= 7); /* the alert */
}

static void check_extension(const void *extension, size_t len, int alert)
{
  struct ml_tls *client;
  struct ml_tls_context *context = make_context(&alpha, NULL, 0);
  struct ml_buf hello = first_flight(context, &client, NULL);
  add_extension(&hello, extension, len);
  struct ml_tls *server = make_engine(
      context, &(struct ml_tls_options){.server = true, .asks = ML_ASKS(ML_ASK_CONTEXT)});
  expect_refused_hello(server, &hello, alert);
  ml_buf_free(&hello);
  ml_tls_free(server);
  ml_tls_free(client);
  ml_tls_context_unref(context);
}

static void test_malformed_names_are_refused_before_anybody_is_asked(void **state)
{
  (void)state;
  check_extension("\0\0\0\0", 4, SSL_AD_DECODE_ERROR);
  check_extension("\0\0\0\5\0\3\0\0\0", 9, SSL_AD_DECODE_ERROR);
  check_extension("\0\0\0\12\0\10\0\0\1a\0\0\1b", 14, SSL_AD_DECODE_ERROR);
  check_extension("\0\0\0\10\0\6\0\0\3a\0b", 12, SSL_AD_UNRECOGNIZED_NAME);
}

static void test_two_server_name_extensions(void **state)
{
  (void)state;
  struct ml_tls *client;
  struct ml_tls_context *context = make_context(&alpha, NULL, 0);
  struct ml_buf hello = first_flight(context, &client, "alpha.test");
  add_extension(&hello, "\0\0\0\6\0\4\0\0\1a", 10);
  struct ml_tls *server = make_engine(
      context, &(struct ml_tls_options){.server = true, .asks = ML_ASKS(ML_ASK_CONTEXT)});
  expect_refused_hello(server, &hello, SSL_AD_ILLEGAL_PARAMETER);
  ml_buf_free(&hello);
  ml_tls_free(server);
  ml_tls_free(client);
  ml_tls_context_unref(context);
}

/* A client's hello in the form of SSLv2, which OpenSSL takes as one of TLS (RFC 5246, E.2). */
static void test_a_server_reads_a_hello_like_sslv2(void **state)
{
  (void)state;
  static struct made made;
  struct ml_tls_hello hello;
  int alert;
  struct ml_tls_context *context = make_context(&alpha, NULL, 0);
  struct ml_tls *server = make_engine(
      context, &(struct ml_tls_options){.server = true, .asks = ML_ASKS(ML_ASK_CONTEXT)});
  make_v2(&made, BYTES("\0\xc0\x2b\0\xc0\x09"), 0, 32);
  const uint8_t header[] = {0x80, (uint8_t)made.len};
  struct ml_buf record = {0};
  assert_int_equal(ml_buf_append(&record, header, sizeof(header)), 0);
  assert_int_equal(ml_buf_append(&record, made.at, made.len), 0);
  assert_int_equal(ml_tls_input(server, ml_buf_data(&record), ml_buf_size(&record)), 0);
  assert_int_equal(ml_tls_handshake(server), ML_TLS_ASK);
  assert_null(ml_tls_servername(server));
  size_t len;
  const uint8_t *message = ml_tls_hello(server, &len);
  assert_int_equal(len, made.len);
  assert_memory_equal(message, made.at, len);
  assert_int_equal(ml_tls_hello_parse(&hello, message, len, &alert), 0);
  assert_int_equal(ml_tls_answer_context(server, ml_tls_question(server).token, NULL), 0);
  /* Without the extension the client can only mean SHA-1. */
  assert_int_equal(ml_tls_handshake(server), ML_TLS_ERROR);
  assert_int_equal(ml_tls_input_end(server), 0);
  assert_string_equal(ml_tls_error(server)->code, "ERR_SSL_NO_SHARED_CIPHER");
  assert_null(ml_tls_hello(server, &len));
  ml_buf_free(&record);
  ml_tls_free(server);
  ml_tls_context_unref(context);
}

/* A server that makes the client say hello twice. `change` is the second name, NULL: the same. */
static void check_second_hello(bool ask, const char *change)
{
  struct ml_error err;
  struct ml_tls_blob cert = {alpha.cert, strlen(alpha.cert), NULL},
                     key = {alpha.key, strlen(alpha.key), NULL};
  struct ml_tls_context_options options = {.own_trust = true,
                                           .cert = {&cert, 1},
                                           .key = {&key, 1},
                                           .groups = "P-384",
                                           .min_version = TLS1_3_VERSION};
  struct ml_tls_context *server_context;
  assert_int_equal(ml_tls_context_new(&server_context, &options, &err), 0);
  struct ml_tls_context *client_context = make_context(NULL, &alpha, TLS1_3_VERSION);
  struct pair pair;
  struct ml_buf hello = first_flight(client_context, &pair.client, "alpha.test");
  pair.chunk = 0;
  pair.server = make_engine(
      server_context,
      &(struct ml_tls_options){.server = true, .asks = ask ? ML_ASKS(ML_ASK_CONTEXT) : 0});
  assert_int_equal(ml_tls_input(pair.server, ml_buf_data(&hello), ml_buf_size(&hello)), 0);
  if (ask) {
    assert_int_equal(ml_tls_handshake(pair.server), ML_TLS_ASK);
    assert_int_equal(ml_tls_answer_context(pair.server, ml_tls_question(pair.server).token, NULL),
                     0);
  }
  assert_int_equal(ml_tls_handshake(pair.server), ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_input_end(pair.server), 0);
  ml_buf_free(&hello);

  (void)carry(pair.server, pair.client, 0, &pair.client_result);
  struct ml_buf *second = ml_tls_output(pair.client);
  if (change) {
    uint8_t *name = memmem(ml_buf_data(second), ml_buf_size(second), "alpha.test", 10);
    assert_non_null(name);
    memcpy(name, change, 10);
    expect_refused_hello(pair.server, second, SSL_AD_ILLEGAL_PARAMETER);
  } else {
    shake(&pair);
    assert_int_equal(pair.client_result, ML_TLS_OK);
    assert_int_equal(pair.server_result, ML_TLS_OK); /* and nobody was asked again */
  }
  assert_string_equal(ml_tls_servername(pair.server), "alpha.test");
  free_pair(&pair);
  ml_tls_context_unref(server_context);
  ml_tls_context_unref(client_context);
}

static void test_the_second_hello_keeps_to_the_first_name(void **state)
{
  (void)state;
  check_second_hello(true, NULL);
  check_second_hello(false, NULL);
  check_second_hello(true, "omega.test");
  check_second_hello(false, "omega.test");
  check_second_hello(true, "ALPHA.TEST");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_malformed_names_are_refused_before_anybody_is_asked),
      cmocka_unit_test(test_two_server_name_extensions),
      cmocka_unit_test(test_a_server_reads_a_hello_like_sslv2),
      cmocka_unit_test(test_the_second_hello_keeps_to_the_first_name),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

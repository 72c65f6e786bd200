/* The ClientHello as hostile clients send it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tls_engine_internal.h"
#include "tls_hello.h"
#include "tls_pair.h"

static struct identity alpha;

static int parse(const char *bytes, size_t len, char *out)
{
  /* A copy of exactly this size lets the sanitizer see each byte read too far. */
  unsigned char *copy = malloc(len ? len : 1);
  memcpy(copy, bytes, len);
  int result = ml_tls_parse_servername(copy, len, out, 256);
  free(copy);
  return result;
}

#define REFUSED(bytes) assert_int_equal(parse(bytes, sizeof(bytes) - 1, name), -1)

static void test_names(void **state)
{
  (void)state;
  char name[256] = "";
  assert_int_equal(parse("\0\4\0\0\1a", 6, name), 0);
  assert_string_equal(name, "a");
  assert_int_equal(parse("\0\7\0\0\4a.b.", 9, name), 0);
  assert_string_equal(name, "a.b.");
  REFUSED("");
  REFUSED("\0");
  REFUSED("\0\0");                         /* an empty list */
  REFUSED("\0\3\0\0\0");                   /* an empty name */
  REFUSED("\0\4\0\0\2a");                  /* a name longer than its list */
  REFUSED("\0\5\0\0\1a");                  /* a list longer than the extension */
  REFUSED("\0\4\0\0\1ab");                 /* bytes behind the list */
  REFUSED("\0\5\0\0\1ab");                 /* bytes behind the name */
  REFUSED("\0\4\1\0\1a");                  /* another type of name */
  REFUSED("\0\6\0\0\3a\0b");               /* a NUL in the name */
  REFUSED("\0\10\0\0\1a\0\0\1b");          /* two names */
  REFUSED("\377\377\0\377\374aaaaaaaaaa"); /* lengths that lie */
}

static void test_the_longest_name(void **state)
{
  (void)state;
  char bytes[5 + 256] = {0}, name[256];
  for (int len = 254; len <= 256; len++) {
    memset(bytes + 5, 'n', (size_t)len);
    bytes[0] = (char)((len + 3) >> 8);
    bytes[1] = (char)(len + 3);
    bytes[3] = (char)(len >> 8);
    bytes[4] = (char)len;
    assert_int_equal(parse(bytes, (size_t)len + 5, name), len <= 255 ? 0 : -1);
    if (len <= 255) assert_int_equal(strlen(name), len);
  }
  /* A smaller buffer is never overrun. */
  bytes[0] = 0;
  bytes[1] = 100 + 3;
  bytes[3] = 0;
  bytes[4] = 100;
  assert_int_equal(ml_tls_parse_servername((unsigned char *)bytes, 105, name, 100), -1);
  assert_int_equal(ml_tls_parse_servername((unsigned char *)bytes, 105, name, 101), 0);
}

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

static void add16(uint8_t *at, int n)
{
  int value = (at[0] << 8 | at[1]) + n;
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/* Offset of the extensions' length in a ClientHello record. */
static size_t extensions_at(const uint8_t *record)
{
  size_t at = 5 + 4 + 2 + 32;                           /* headers, version, random */
  at += 1 + (size_t)record[at];                         /* session id */
  at += 2 + ((size_t)record[at] << 8 | record[at + 1]); /* cipher suites */
  return at + 1 + record[at];                           /* compression methods */
}

/* Puts an extension in front of the others. */
static void add_extension(struct ml_buf *hello, const void *bytes, size_t len)
{
  assert_non_null(ml_buf_reserve(hello, len));
  ml_buf_commit(hello, len);
  uint8_t *record = hello->data + hello->start;
  size_t at = extensions_at(record);
  memmove(record + at + 2 + len, record + at + 2, ml_buf_size(hello) - len - at - 2);
  memcpy(record + at + 2, bytes, len);
  add16(record + at, (int)len);
  add16(record + 3, (int)len);
  add16(record + 7, (int)len); /* the low bytes of the message's length */
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

static void check_extension(const char *servername, const void *extension, size_t len)
{
  struct ml_tls *client;
  struct ml_tls_context *context = make_context(&alpha, NULL, 0);
  struct ml_buf hello = first_flight(context, &client, servername);
  add_extension(&hello, extension, len);
  struct ml_tls *server = make_engine(
      context, &(struct ml_tls_options){.server = true, .asks = ML_ASKS(ML_ASK_CONTEXT)});
  expect_refused_hello(server, &hello, SSL_AD_DECODE_ERROR);
  ml_buf_free(&hello);
  ml_tls_free(server);
  ml_tls_free(client);
  ml_tls_context_unref(context);
}

static void test_malformed_names_are_refused_before_anybody_is_asked(void **state)
{
  (void)state;
  check_extension(NULL, "\0\0\0\0", 4);
  check_extension(NULL, "\0\0\0\5\0\3\0\0\0", 9);
  check_extension(NULL, "\0\0\0\12\0\10\0\0\1a\0\0\1b", 14);
  check_extension(NULL, "\0\0\0\10\0\6\0\0\3a\0b", 12);
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
    uint8_t *name = memmem(second->data + second->start, ml_buf_size(second), "alpha.test", 10);
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

static int set_up(void **state)
{
  (void)state;
  alpha = make_identity("alpha.test");
  return 0;
}

static int tear_down(void **state)
{
  (void)state;
  free_identity(&alpha);
  return 0;
}

static struct ml_tls_offer versions(const char *bytes, size_t len)
{
  struct ml_tls_offer offer;
  memset(&offer, 0xff, sizeof(offer));
  unsigned char *copy = malloc(len ? len : 1);
  memcpy(copy, bytes, len);
  ml_tls_parse_versions(copy, len, &offer);
  free(copy);
  return offer;
}

#define VERSIONS(bytes) versions(bytes, sizeof(bytes) - 1)

static void test_versions(void **state)
{
  (void)state;
  struct ml_tls_offer offer = VERSIONS("\4\3\4\3\3");
  assert_int_equal(offer.count, 2);
  assert_int_equal(offer.versions[0], TLS1_3_VERSION);
  assert_int_equal(offer.versions[1], TLS1_2_VERSION);
  assert_false(offer.at_most);
  offer = VERSIONS("\10\x1a\x1a\3\4\xfa\xfa\3\3"); /* GREASE */
  assert_int_equal(offer.count, 2);
  assert_int_equal(offer.versions[1], TLS1_2_VERSION);
  assert_int_equal(VERSIONS("\20\0\1\0\2\0\3\0\4\0\5\0\6\0\7\0\10").count, 6);
  assert_int_equal(VERSIONS("").count, 0);
  assert_int_equal(VERSIONS("\0").count, 0);
  assert_int_equal(VERSIONS("\2\3").count, 0);       /* a list longer than the extension */
  assert_int_equal(VERSIONS("\2\3\4\3\3").count, 0); /* bytes behind the list */
  assert_int_equal(VERSIONS("\3\3\4\3").count, 1);   /* half a version */
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_versions),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_the_longest_name),
      cmocka_unit_test(test_malformed_names_are_refused_before_anybody_is_asked),
      cmocka_unit_test(test_two_server_name_extensions),
      cmocka_unit_test(test_the_second_hello_keeps_to_the_first_name),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

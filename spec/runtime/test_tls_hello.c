/* The ClientHello as hostile clients send it: the parser alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hello_maker.h"
#include "tls_engine_internal.h"
#include "tls_hello.h"

/* A copy of exactly this size lets the sanitizer see each byte read too far. The hello points into
 * the copy, for the caller to free. */
static uint8_t *parse_copy(struct ml_tls_hello *hello, const void *data, size_t len, int *reason,
                           int *alert)
{
  uint8_t *copy = malloc(len ? len : 1);
  assert_non_null(copy);
  if (len > 0) memcpy(copy, data, len);
  *reason = ml_tls_hello_parse(hello, copy, len, alert);
  return copy;
}

static void check_inside(const struct ml_tls_hello *hello, struct ml_slice slice)
{
  if (!slice.data) return;
  assert_true(slice.data >= hello->message.data);
  assert_true(slice.data + slice.len <= hello->message.data + hello->message.len);
}

/* Whatever was accepted can be read to its end. */
static void check_readable(const struct ml_tls_hello *hello)
{
  const struct ml_slice all[] = {hello->random,      hello->session_id,     hello->ciphers,
                                 hello->compression, hello->extensions,     hello->servername,
                                 hello->protocols,   hello->versions,       hello->groups,
                                 hello->sigalgs,     hello->key_shares,     hello->psk_modes,
                                 hello->ticket,      hello->psk_identities, hello->status_request};
  struct ml_slice rest, item;
  uint16_t number;
  uint32_t age;
  for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
    check_inside(hello, all[i]);
  for (rest = hello->ciphers; ml_tls_hello_next_cipher(hello, &rest, &number);)
    continue;
  assert_int_equal(rest.len, 0);
  for (rest = hello->extensions; ml_tls_hello_next_extension(&rest, &number, &item);)
    check_inside(hello, item);
  assert_int_equal(rest.len, 0);
  for (rest = hello->protocols; ml_tls_hello_next_protocol(&rest, &item);)
    assert_true(item.len > 0);
  assert_int_equal(rest.len, 0);
  for (rest = hello->key_shares; ml_tls_hello_next_key_share(&rest, &number, &item);)
    check_inside(hello, item);
  assert_int_equal(rest.len, 0);
  for (rest = hello->psk_identities; ml_tls_hello_next_identity(&rest, &item, &age);)
    check_inside(hello, item);
  assert_int_equal(rest.len, 0);
}

/* Parses, looks at the result from all sides and throws it away. */
static int try_parse(const void *data, size_t len, int *alert)
{
  struct ml_tls_hello hello;
  int reason;
  uint8_t *copy = parse_copy(&hello, data, len, &reason, alert);
  if (reason == 0) check_readable(&hello);
  free(copy);
  return reason;
}

#define KEY_SHARES "\0\x0c\x0a\x0a\0\1x\0\x1d\0\3key"
#define IDENTITIES "\0\x14\0\3one\1\2\3\4\0\5other\xff\xff\xff\xff"
#define BINDERS                                                                                    \
  "\0\x21\x20"                                                                                     \
  "0123456789abcdefghijklmnopqrstuv"
/* A hello that has everything. */
static void make_rich(struct made *made)
{
  begin_hello(made, TLS1_2_VERSION, "the session", "0a0a,1301,c02f,1234");
  put_extension(made, 0xdada, NULL, 0);
  put_servername(made, "alpha.test", 10);
  put_extension(made, TLSEXT_TYPE_application_layer_protocol_negotiation,
                BYTES("\0\x0c\2h2\x08http/1.1"));
  put_numbers_extension(made, TLSEXT_TYPE_supported_versions, 1, "1a1a,0304,0303");
  put_numbers_extension(made, TLSEXT_TYPE_supported_groups, 2, "2a2a,001d,6399");
  put_numbers_extension(made, TLSEXT_TYPE_signature_algorithms, 2, "0403,0804");
  put_extension(made, TLSEXT_TYPE_session_ticket, "ticket", 6);
  put_extension(made, TLSEXT_TYPE_status_request, BYTES("\1\0\0\0\0"));
  put_extension(made, TLSEXT_TYPE_key_share, BYTES(KEY_SHARES));
  put_extension(made, TLSEXT_TYPE_psk_kex_modes, BYTES("\2\1\0"));
  put_extension(made, 0x4469, "?", 1);
  put_extension(made, TLSEXT_TYPE_psk, BYTES(IDENTITIES BINDERS));
  end_hello(made);
}

static void expect_bytes(struct ml_slice slice, const char *text)
{
  assert_non_null(slice.data);
  assert_int_equal(slice.len, strlen(text));
  assert_memory_equal(slice.data, text, slice.len);
}

static void expect_numbers(struct ml_slice list, const char *expected)
{
  char text[256] = "";
  uint16_t number;
  while (ml_tls_hello_next_number(&list, &number))
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%04x", text[0] ? "," : "",
             number);
  assert_int_equal(list.len, 0);
  assert_string_equal(text, expected);
}

static void expect_extensions(const struct ml_tls_hello *hello, const char *expected)
{
  char text[256] = "";
  struct ml_slice rest = hello->extensions, body;
  uint16_t type;
  while (ml_tls_hello_next_extension(&rest, &type, &body))
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%04x", text[0] ? "," : "", type);
  assert_string_equal(text, expected);
}

static void test_everything_is_found(void **state)
{
  (void)state;
  static struct made made;
  struct ml_tls_hello hello;
  int reason, alert;
  make_rich(&made);
  uint8_t *copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  assert_int_equal(reason, 0);
  assert_int_equal(hello.message.len, made.len);
  assert_int_equal(hello.legacy_version, TLS1_2_VERSION);
  assert_false(hello.like_v2);
  expect_bytes(hello.random, "0123456789abcdefghijklmnopqrstuv");
  expect_bytes(hello.session_id, "the session");
  expect_numbers(hello.ciphers, "0a0a,1301,c02f,1234");
  assert_int_equal(hello.compression.len, 1);
  expect_extensions(&hello, "dada,0000,0010,002b,000a,000d,0023,0005,0033,002d,4469,0029");
  expect_bytes(hello.servername, "alpha.test");
  expect_bytes(hello.protocols, "\2h2\x08http/1.1");
  expect_numbers(hello.versions, "1a1a,0304,0303");
  expect_numbers(hello.groups, "2a2a,001d,6399");
  expect_numbers(hello.sigalgs, "0403,0804");
  expect_bytes(hello.ticket, "ticket");
  assert_int_equal(hello.status_request.len, 5);
  assert_int_equal(hello.psk_modes.len, 2);
  free(copy);
}

static void test_lists_within_lists(void **state)
{
  (void)state;
  static struct made made;
  struct ml_tls_hello hello;
  struct ml_slice item;
  uint16_t group;
  uint32_t age;
  int reason, alert;
  make_rich(&made);
  uint8_t *copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  assert_int_equal(reason, 0);
  struct ml_slice rest = hello.key_shares;
  assert_true(ml_tls_hello_next_key_share(&rest, &group, &item));
  assert_true(ml_tls_is_grease(group));
  assert_true(ml_tls_hello_next_key_share(&rest, &group, &item));
  assert_int_equal(group, 0x001d);
  expect_bytes(item, "key");
  assert_false(ml_tls_hello_next_key_share(&rest, &group, &item));
  rest = hello.psk_identities;
  assert_true(ml_tls_hello_next_identity(&rest, &item, &age));
  expect_bytes(item, "one");
  assert_int_equal(age, 0x01020304);
  assert_true(ml_tls_hello_next_identity(&rest, &item, &age));
  expect_bytes(item, "other");
  assert_int_equal(age, UINT32_MAX);
  assert_false(ml_tls_hello_next_identity(&rest, &item, &age));
  free(copy);
}

static void test_the_oldest_form_has_no_extensions(void **state)
{
  (void)state;
  static struct made made;
  struct ml_tls_hello hello;
  int reason, alert;
  begin_hello(&made, SSL3_VERSION, "", "002f");
  end_hello(&made);
  uint8_t *copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  assert_int_equal(reason, 0);
  assert_null(hello.extensions.data);
  assert_null(hello.servername.data);
  assert_null(hello.ticket.data);
  assert_int_equal(hello.session_id.len, 0);
  free(copy);
  put_extension(&made, TLSEXT_TYPE_session_ticket, NULL, 0);
  end_hello(&made);
  copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  assert_int_equal(reason, 0);
  assert_non_null(hello.ticket.data); /* there, and empty */
  assert_int_equal(hello.ticket.len, 0);
  free(copy);
}

/* Cut anywhere, with the lengths as they were and with that of the message set right. */
static void test_a_message_cut_short(void **state)
{
  (void)state;
  static struct made made, cut;
  int alert;
  make_rich(&made);
  for (size_t len = 0; len < made.len; len++) {
    assert_int_not_equal(try_parse(made.at, len, &alert), 0);
    assert_int_equal(alert, SSL_AD_DECODE_ERROR);
    if (len < 4) continue;
    cut = made;
    cut.len = len;
    set_length(&cut, 1, 3);
    int reason = try_parse(cut.at, len, &alert);
    assert_int_equal(reason, len == made.extensions ? 0 : SSL_R_LENGTH_MISMATCH);
  }
}

/* Each byte set to what a length could be that lies. */
static void test_lengths_that_lie(void **state)
{
  (void)state;
  static struct made made;
  int alert;
  make_rich(&made);
  for (size_t i = 0; i < made.len; i++) {
    uint8_t was = made.at[i];
    const uint8_t lies[] = {0, 1, was + 1, was - 1, was ^ 0x80, 255};
    for (size_t j = 0; j < sizeof(lies); j++) {
      made.at[i] = lies[j];
      int reason = try_parse(made.at, made.len, &alert);
      bool of_the_message = i >= 1 && i < 4;
      if (of_the_message && lies[j] != was) assert_int_not_equal(reason, 0);
    }
    made.at[i] = was;
  }
  assert_int_equal(try_parse(made.at, made.len, &alert), 0);
}

static void test_more_than_a_message(void **state)
{
  (void)state;
  static struct made made;
  int alert;
  make_rich(&made);
  put(&made, "", 1);
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_LENGTH_MISMATCH);
  set_length(&made, 1, 3);
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_LENGTH_MISMATCH);
  made.at[0] = 2;
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_UNEXPECTED_MESSAGE);
}

static void test_fields_out_of_bounds(void **state)
{
  (void)state;
  static struct made made;
  int alert;
  begin_hello(&made, TLS1_2_VERSION, "0123456789abcdefghijklmnopqrstuv", "1301");
  end_hello(&made);
  assert_int_equal(try_parse(made.at, made.len, &alert), 0);
  begin_hello(&made, TLS1_2_VERSION, "0123456789abcdefghijklmnopqrstuvw", "1301");
  end_hello(&made);
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_LENGTH_MISMATCH);
  /* Half a cipher. */
  begin_hello(&made, TLS1_2_VERSION, "", "");
  made.len -= 4;
  put_vector(&made, 2, "\x13", 1);
  put_vector(&made, 1, "\0", 1);
  end_hello(&made);
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_LENGTH_MISMATCH);
}

/* As much as can be said at all: the lists of ciphers and extensions full, one extension as long as
 * the list. */
static void test_the_largest_hello(void **state)
{
  (void)state;
  static struct made made;
  static uint8_t zeros[65531];
  struct ml_tls_hello hello;
  int reason, alert;
  begin_hello(&made, TLS1_2_VERSION, "", "");
  made.len -= 4;
  put_number(&made, 2, 65534);
  put(&made, zeros, 65531);
  put(&made, zeros, 3);
  put_vector(&made, 1, zeros, 255);
  put_extension(&made, 0xabcd, zeros, 65531);
  end_hello(&made);
  uint8_t *copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  assert_int_equal(reason, 0);
  assert_int_equal(hello.ciphers.len, 65534);
  assert_int_equal(hello.extensions.len, 65535);
  check_readable(&hello);
  free(copy);
}

static void test_an_extension_that_comes_twice(void **state)
{
  (void)state;
  static struct made made;
  int alert;
  static const unsigned read[] = {0x0a, 0x0d, 0x10, 0x23, 0x05, 0x29, 0x2b, 0x2d, 0x33};
  for (size_t i = 0; i < sizeof(read) / sizeof(*read); i++) {
    begin_hello(&made, TLS1_2_VERSION, "", "1301");
    put_extension(&made, read[i], NULL, 0);
    put_extension(&made, 0x15, NULL, 0);
    put_extension(&made, read[i], NULL, 0);
    end_hello(&made);
    assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_BAD_EXTENSION);
    assert_int_equal(alert, SSL_AD_ILLEGAL_PARAMETER);
  }
  begin_hello(&made, TLS1_2_VERSION, "", "1301");
  put_servername(&made, "a", 1);
  put_servername(&made, "a", 1);
  end_hello(&made);
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_BAD_EXTENSION);
  assert_int_equal(alert, SSL_AD_ILLEGAL_PARAMETER);
  /* Those that nobody here reads are OpenSSL's to judge. */
  begin_hello(&made, TLS1_2_VERSION, "", "1301");
  put_extension(&made, 0x4a4a, NULL, 0);
  put_extension(&made, 0x4a4a, NULL, 0);
  end_hello(&made);
  assert_int_equal(try_parse(made.at, made.len, &alert), 0);
}

static void test_a_name_that_is_none(void **state)
{
  (void)state;
  static struct made made;
  static const char zeros[256];
  int alert;
  static const size_t lengths[] = {1, 255, 256};
  for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
    begin_hello(&made, TLS1_2_VERSION, "", "1301");
    put_servername(&made, zeros, lengths[i]);
    end_hello(&made);
    assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_BAD_EXTENSION);
    assert_int_equal(alert, SSL_AD_UNRECOGNIZED_NAME);
  }
  begin_hello(&made, TLS1_2_VERSION, "", "1301");
  put_servername(&made, zeros, 0);
  end_hello(&made);
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_BAD_EXTENSION);
  assert_int_equal(alert, SSL_AD_DECODE_ERROR);
}

/* The list in a hello with this one extension, given by its place in the struct. */
static void expect_malformed(unsigned type, size_t field, const char *body, size_t len)
{
  static struct made made;
  struct ml_tls_hello hello;
  int reason, alert;
  begin_hello(&made, TLS1_2_VERSION, "", "1301");
  put_extension(&made, type, body, len);
  end_hello(&made);
  uint8_t *copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  assert_int_equal(reason, 0);
  struct ml_slice list;
  memcpy(&list, (char *)&hello + field, sizeof(list));
  assert_non_null(list.data);
  assert_int_equal(list.len, 0);
  check_readable(&hello);
  free(copy);
}

#define MALFORMED(type, name, body)                                                                \
  expect_malformed(type, offsetof(struct ml_tls_hello, name), BYTES(body))

static void test_malformed_lists_count_as_empty(void **state)
{
  (void)state;
  MALFORMED(0x2b, versions, "");
  MALFORMED(0x2b, versions, "\2\3");       /* longer than the extension */
  MALFORMED(0x2b, versions, "\2\3\4\3\3"); /* bytes behind it */
  MALFORMED(0x2b, versions, "\3\3\4\3");   /* half a version */
  MALFORMED(0x0a, groups, "\0\3\0\x1d\0");
  MALFORMED(0x0d, sigalgs, "\0\1\4");
  MALFORMED(0x10, protocols, "\0\3\3h2");   /* a name longer than its list */
  MALFORMED(0x10, protocols, "\0\4\2h2\0"); /* an empty name */
  MALFORMED(0x33, key_shares, "\0\4\0\x1d\0\1");
  MALFORMED(0x33, key_shares, "\0\3\0\x1d\0");
  MALFORMED(0x29, psk_identities, "\0\7\0\1i\0\0\0"); /* no room for the age */
  MALFORMED(0x29, psk_identities, "\0\6\0\1i\0\0\0");
  MALFORMED(0x2d, psk_modes, "\2\1");
}

static void test_grease(void **state)
{
  (void)state;
  unsigned count = 0;
  for (unsigned value = 0; value <= UINT16_MAX; value++)
    if (ml_tls_is_grease(value)) {
      assert_int_equal(value, 0x0a0a + 0x1010 * count);
      count++;
    }
  assert_int_equal(count, 16);
}

/* ---- Like SSLv2 ---- */

static void test_a_hello_like_sslv2(void **state)
{
  (void)state;
  static struct made made;
  struct ml_tls_hello hello;
  int reason, alert;
  uint16_t cipher;
  make_v2(&made, BYTES("\1\0\x80\0\0\x2f\0\xc0\x2f"), 0, 16);
  uint8_t *copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  assert_int_equal(reason, 0);
  assert_true(hello.like_v2);
  assert_int_equal(hello.legacy_version, TLS1_2_VERSION);
  expect_bytes(hello.random, "0123456789abcdef");
  assert_null(hello.extensions.data);
  struct ml_slice rest = hello.ciphers;
  assert_true(ml_tls_hello_next_cipher(&hello, &rest, &cipher));
  assert_int_equal(cipher, 0x002f);
  assert_true(ml_tls_hello_next_cipher(&hello, &rest, &cipher));
  assert_int_equal(cipher, 0xc02f);
  assert_false(ml_tls_hello_next_cipher(&hello, &rest, &cipher));
  free(copy);
  for (size_t len = 1; len < made.len; len++)
    assert_int_not_equal(try_parse(made.at, len, &alert), 0);
  put(&made, "", 1);
  assert_int_not_equal(try_parse(made.at, made.len, &alert), 0);
  make_v2(&made, BYTES("\0\0\x2f\0\xc0"), 0, 16);
  assert_int_not_equal(try_parse(made.at, made.len, &alert), 0);
  make_v2(&made, BYTES("\0\0\x2f"), 33, 16);
  assert_int_not_equal(try_parse(made.at, made.len, &alert), 0);
  make_v2(&made, BYTES("\0\0\x2f"), 0, 15);
  assert_int_not_equal(try_parse(made.at, made.len, &alert), 0);
  make_v2(&made, BYTES("\0\0\x2f"), 0, 33);
  assert_int_not_equal(try_parse(made.at, made.len, &alert), 0);
  make_v2(&made, BYTES("\0\0\x2f"), 32, 32);
  assert_int_equal(try_parse(made.at, made.len, &alert), 0);
  /* SSLv2 itself. */
  make_v2(&made, BYTES("\1\0\x80"), 0, 16);
  made.at[1] = 0;
  made.at[2] = 2;
  assert_int_equal(try_parse(made.at, made.len, &alert), SSL_R_UNSUPPORTED_PROTOCOL);
  assert_int_equal(alert, SSL_AD_PROTOCOL_VERSION);
}

/* ---- Names ---- */

static int parse_name(const char *body, size_t len, const char *expected)
{
  static struct made made;
  struct ml_tls_hello hello;
  int reason, alert;
  begin_hello(&made, TLS1_2_VERSION, "", "1301");
  put_extension(&made, TLSEXT_TYPE_server_name, body, len);
  end_hello(&made);
  uint8_t *copy = parse_copy(&hello, made.at, made.len, &reason, &alert);
  if (reason == 0 && expected) expect_bytes(hello.servername, expected);
  if (reason != 0) assert_int_equal(alert, SSL_AD_DECODE_ERROR);
  free(copy);
  return reason;
}

#define ACCEPTED(body, name) assert_int_equal(parse_name(BYTES(body), name), 0)
#define REFUSED(body) assert_int_equal(parse_name(BYTES(body), NULL), SSL_R_BAD_EXTENSION)

static void test_names(void **state)
{
  (void)state;
  ACCEPTED("\0\4\0\0\1a", "a");
  ACCEPTED("\0\7\0\0\4a.b.", "a.b.");
  REFUSED("");
  REFUSED("\0");
  REFUSED("\0\0");                         /* an empty list */
  REFUSED("\0\3\0\0\0");                   /* an empty name */
  REFUSED("\0\4\0\0\2a");                  /* a name longer than its list */
  REFUSED("\0\5\0\0\1a");                  /* a list longer than the extension */
  REFUSED("\0\4\0\0\1ab");                 /* bytes behind the list */
  REFUSED("\0\5\0\0\1ab");                 /* bytes behind the name */
  REFUSED("\0\4\1\0\1a");                  /* another type of name */
  REFUSED("\0\10\0\0\1a\0\0\1b");          /* two names */
  REFUSED("\377\377\0\377\374aaaaaaaaaa"); /* lengths that lie */
}

static void test_the_longest_name(void **state)
{
  (void)state;
  static struct made made;
  char name[256];
  int alert;
  memset(name, 'n', sizeof(name));
  for (size_t len = 254; len <= 256; len++) {
    begin_hello(&made, TLS1_2_VERSION, "", "1301");
    put_servername(&made, name, len);
    end_hello(&made);
    assert_int_equal(try_parse(made.at, made.len, &alert), len <= 255 ? 0 : SSL_R_BAD_EXTENSION);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_everything_is_found),
      cmocka_unit_test(test_lists_within_lists),
      cmocka_unit_test(test_the_oldest_form_has_no_extensions),
      cmocka_unit_test(test_a_message_cut_short),
      cmocka_unit_test(test_lengths_that_lie),
      cmocka_unit_test(test_more_than_a_message),
      cmocka_unit_test(test_fields_out_of_bounds),
      cmocka_unit_test(test_the_largest_hello),
      cmocka_unit_test(test_an_extension_that_comes_twice),
      cmocka_unit_test(test_a_name_that_is_none),
      cmocka_unit_test(test_malformed_lists_count_as_empty),
      cmocka_unit_test(test_grease),
      cmocka_unit_test(test_a_hello_like_sslv2),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_the_longest_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

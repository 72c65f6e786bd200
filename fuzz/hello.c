/* A ClientHello message, any bytes. */
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"
#include "tls_ja4.h"

#define HEADER_SIZE ((size_t)4)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_inside(const struct ml_tls_hello *hello, struct ml_slice slice)
{
  if (!slice.data) return;
  EXPECT(slice.data >= hello->message.data);
  EXPECT(slice.data + slice.len <= hello->message.data + hello->message.len);
}

static void check_fields(const struct ml_tls_hello *hello)
{
  expect_inside(hello, hello->random);
  expect_inside(hello, hello->session_id);
  expect_inside(hello, hello->compression);
  expect_inside(hello, hello->servername);
  expect_inside(hello, hello->psk_modes);
  expect_inside(hello, hello->ticket);
  expect_inside(hello, hello->status_request);
  EXPECT(hello->session_id.len <= 32);
  EXPECT(hello->random.len == 32 || hello->like_v2);
  EXPECT(hello->servername.len <= ML_SERVERNAME_MAX);
  EXPECT(!hello->servername.data || hello->servername.len > 0);
  EXPECT(!hello->servername.data || !memchr(hello->servername.data, '\0', hello->servername.len));
}

static void check_numbers(const struct ml_tls_hello *hello, struct ml_slice list)
{
  uint16_t number;
  expect_inside(hello, list);
  while (ml_tls_hello_next_number(&list, &number))
    continue;
  EXPECT(list.len == 0);
}

/* Whatever was accepted can be read to its end. */
static void check_lists(const struct ml_tls_hello *hello)
{
  struct ml_slice rest, item;
  uint16_t number;
  uint32_t age;
  check_numbers(hello, hello->versions);
  check_numbers(hello, hello->groups);
  check_numbers(hello, hello->sigalgs);
  for (rest = hello->ciphers; ml_tls_hello_next_cipher(hello, &rest, &number);)
    continue;
  EXPECT(rest.len == 0);
  for (rest = hello->extensions; ml_tls_hello_next_extension(&rest, &number, &item);)
    expect_inside(hello, item);
  EXPECT(rest.len == 0);
  for (rest = hello->protocols; ml_tls_hello_next_protocol(&rest, &item);)
    expect_inside(hello, item);
  EXPECT(rest.len == 0);
  for (rest = hello->key_shares; ml_tls_hello_next_key_share(&rest, &number, &item);)
    expect_inside(hello, item);
  EXPECT(rest.len == 0);
  for (rest = hello->psk_identities; ml_tls_hello_next_identity(&rest, &item, &age);)
    expect_inside(hello, item);
  EXPECT(rest.len == 0);
}

/* The fingerprint has its shape whatever the client says. */
static void check_ja4(const struct ml_tls_hello *hello)
{
  char ja4[ML_JA4_SIZE];
  memset(ja4, 'x', sizeof(ja4));
  EXPECT(ml_tls_ja4(hello, ja4) == 0);
  EXPECT(strnlen(ja4, sizeof(ja4)) == sizeof(ja4) - 1);
  EXPECT(ja4[0] == 't' && ja4[10] == '_' && ja4[23] == '_');
  EXPECT(ja4[3] == (hello->servername.data ? 'd' : 'i'));
  EXPECT(strspn(ja4 + 4, "0123456789") >= 4);
  EXPECT(strspn(ja4 + 11, "0123456789abcdef") == 12 && strspn(ja4 + 24, "0123456789abcdef") == 12);
}

static void check(const uint8_t *data, size_t size)
{
  struct ml_tls_hello hello;
  int alert;
  if (ml_tls_hello_parse(&hello, data, size, &alert) != 0) {
    EXPECT(alert == SSL_AD_ILLEGAL_PARAMETER || alert == SSL_AD_DECODE_ERROR ||
           alert == SSL_AD_UNRECOGNIZED_NAME || alert == SSL_AD_PROTOCOL_VERSION);
    return;
  }
  EXPECT(hello.message.data == data && hello.message.len == size);
  check_fields(&hello);
  check_lists(&hello);
  check_ja4(&hello);
}

/* The input behind `prefix`, whose two lengths are made to fit: the message's in its header, and at
 * its end that of the extensions when there are some. In memory of exactly its size. */
static void check_behind(const uint8_t *prefix, size_t len, const uint8_t *data, size_t size)
{
  uint8_t *message = malloc(len + size);
  EXPECT(message);
  memcpy(message, prefix, len);
  if (size > 0) memcpy(message + len, data, size);
  size_t body = len + size - HEADER_SIZE;
  message[1] = (uint8_t)(body >> 16);
  message[2] = (uint8_t)(body >> 8);
  message[3] = (uint8_t)body;
  if (len > HEADER_SIZE) {
    message[len - 2] = (uint8_t)(size >> 8);
    message[len - 1] = (uint8_t)size;
  }
  check(message, len + size);
  free(message);
}

/* The input is a message, the body of one, the extensions of one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static const uint8_t start[] = "\1\0\0\0\3\3"
                                 "0123456789abcdefghijklmnopqrstuv\0\0\2\x13\1\1\0\0";
  check(data, size);
  if (size <= UINT16_MAX) {
    check_behind(start, HEADER_SIZE, data, size);
    check_behind(start, sizeof(start), data, size); /* the last zero is the literal's own */
  }
  return 0;
}

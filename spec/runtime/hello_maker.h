/* ClientHello messages to order. */
#ifndef ML_HELLO_MAKER_H
#define ML_HELLO_MAKER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(literal) literal, sizeof(literal) - 1

struct made {
  uint8_t at[140000];
  size_t len;
  size_t extensions; /* where their length stands; 0: there are none */
};

static inline void put(struct made *made, const void *data, size_t len)
{
  assert_true(made->len + len <= sizeof(made->at));
  if (len > 0) memcpy(made->at + made->len, data, len);
  made->len += len;
}

static inline void put_number(struct made *made, size_t width, size_t value)
{
  while (width-- > 0)
    put(made, &(uint8_t){(uint8_t)(value >> 8 * width)}, 1);
}

static inline void put_vector(struct made *made, size_t width, const void *data, size_t len)
{
  put_number(made, width, len);
  put(made, data, len);
}

/* Overwrites a length that stands in `width` bytes at `at` with that of what follows it. */
static inline void set_length(struct made *made, size_t at, size_t width)
{
  size_t len = made->len - at - width;
  while (width-- > 0)
    made->at[at++] = (uint8_t)(len >> 8 * width);
}

/* Numbers as fingerprints write them: "1301,1302". */
static inline void put_numbers(struct made *made, size_t width, const char *text)
{
  size_t at = made->len;
  put_number(made, width, 0);
  while (*text) {
    char *end;
    put_number(made, 2, strtoul(text, &end, 16));
    text = *end ? end + 1 : end;
  }
  set_length(made, at, width);
}

/* The message up to its extensions. */
static inline void begin_hello(struct made *made, unsigned version, const char *session_id,
                               const char *ciphers)
{
  made->len = made->extensions = 0;
  put_number(made, 1, 1);
  put_number(made, 3, 0);
  put_number(made, 2, version);
  put(made, "0123456789abcdefghijklmnopqrstuv", 32);
  put_vector(made, 1, session_id, strlen(session_id));
  put_numbers(made, 2, ciphers);
  put_vector(made, 1, "\0", 1);
}

static inline void begin_extension(struct made *made, unsigned type)
{
  if (made->extensions == 0) {
    made->extensions = made->len;
    put_number(made, 2, 0);
  }
  put_number(made, 2, type);
}

static inline void put_extension(struct made *made, unsigned type, const void *body, size_t len)
{
  begin_extension(made, type);
  put_vector(made, 2, body, len);
}

static inline void put_numbers_extension(struct made *made, unsigned type, size_t width,
                                         const char *text)
{
  begin_extension(made, type);
  size_t at = made->len;
  put_number(made, 2, 0);
  put_numbers(made, width, text);
  set_length(made, at, 2);
}

static inline void put_servername(struct made *made, const char *name, size_t len)
{
  begin_extension(made, 0);
  put_number(made, 2, len + 5);
  put_number(made, 2, len + 3);
  put_number(made, 1, 0);
  put_vector(made, 2, name, len);
}

static inline void end_hello(struct made *made)
{
  if (made->extensions > 0) set_length(made, made->extensions, 2);
  set_length(made, 1, 3);
}

/* In the form of SSLv2. */
static inline void make_v2(struct made *made, const char *ciphers, size_t ciphers_len,
                           size_t id_len, size_t challenge_len)
{
  made->len = 0;
  put_number(made, 1, 1);
  put_number(made, 2, 0x0303);
  put_number(made, 2, ciphers_len);
  put_number(made, 2, id_len);
  put_number(made, 2, challenge_len);
  put(made, ciphers, ciphers_len);
  put(made, "0123456789abcdefghijklmnopqrstuvwxyz", id_len);
  put(made, "0123456789abcdefghijklmnopqrstuvwxyz", challenge_len);
}

/* ---- Changes to a ClientHello that stands in a record of its own ---- */

static inline void add_number(uint8_t *at, size_t width, size_t more)
{
  size_t number = more;
  for (size_t i = 0; i < width; i++)
    number += (size_t)at[i] << 8 * (width - 1 - i);
  for (size_t i = 0; i < width; i++)
    at[i] = (uint8_t)(number >> 8 * (width - 1 - i));
}

/* Offset of the extensions' length. */
static inline size_t extensions_at(const uint8_t *record)
{
  size_t at = 5 + 4 + 2 + 32;                           /* headers, version, random */
  at += 1 + (size_t)record[at];                         /* session id */
  at += 2 + ((size_t)record[at] << 8 | record[at + 1]); /* cipher suites */
  return at + 1 + record[at];                           /* compression methods */
}

/* Makes room in all lengths for `more` bytes of extensions. */
static inline void lengthen_hello(uint8_t *record, size_t more)
{
  add_number(record + extensions_at(record), 2, more);
  add_number(record + 3, 2, more);
  add_number(record + 6, 3, more);
}

#endif

#include "tls_ja4.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_DIGITS 12
#define COUNT_MAX 99U

/* ---- Lists of numbers ---- */

struct numbers {
  uint16_t *at;
  size_t count;
};

/* Room for every number that `bytes` can hold. */
static int make_room(struct numbers *numbers, size_t bytes)
{
  numbers->count = 0;
  numbers->at = malloc(bytes ? bytes : 1);
  return numbers->at ? 0 : -1;
}

static void add(struct numbers *numbers, uint16_t number)
{
  if (!ml_tls_is_grease(number)) numbers->at[numbers->count++] = number;
}

static int ascending(const void *a, const void *b)
{
  return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void sort(struct numbers *numbers)
{
  qsort(numbers->at, numbers->count, sizeof(*numbers->at), ascending);
}

/* "002f,0035,…" */
static bool hash_numbers(EVP_MD_CTX *hash, const struct numbers *numbers)
{
  char text[6];
  for (size_t i = 0; i < numbers->count; i++) {
    int len = snprintf(text, sizeof(text), "%s%04x", i > 0 ? "," : "", numbers->at[i]);
    if (EVP_DigestUpdate(hash, text, (size_t)len) != 1) return false;
  }
  return true;
}

/* The first digits of the SHA-256 of `first`, and after an underscore of `second` unless that is
 * empty; zeros when there is no first. */
static int hash_lists(const struct numbers *first, const struct numbers *second, char *out)
{
  uint8_t digest[EVP_MAX_MD_SIZE];
  memset(out, '0', HASH_DIGITS);
  if (first->count == 0) return 0;
  EVP_MD_CTX *hash = EVP_MD_CTX_new();
  bool ok = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 && hash_numbers(hash, first);
  if (ok && second->count > 0)
    ok = EVP_DigestUpdate(hash, "_", 1) == 1 && hash_numbers(hash, second);
  ok = ok && EVP_DigestFinal_ex(hash, digest, NULL) == 1;
  EVP_MD_CTX_free(hash);
  if (!ok) return -1;
  char digits[HASH_DIGITS + 1];
  for (size_t i = 0; i < HASH_DIGITS / 2; i++)
    snprintf(digits + 2 * i, 3, "%02x", digest[i]);
  memcpy(out, digits, HASH_DIGITS);
  return 0;
}

/* ---- The part that people can read ---- */

/* The highest version in the list, or of a client without one the only one it names. */
static const char *version_of(const struct ml_tls_hello *hello)
{
  struct ml_slice rest = hello->versions;
  uint16_t version, highest = 0;
  while (ml_tls_hello_next_number(&rest, &version))
    if (!ml_tls_is_grease(version) && version > highest) highest = version;
  switch (hello->versions.data ? highest : hello->legacy_version) {
  case TLS1_3_VERSION:
    return "13";
  case TLS1_2_VERSION:
    return "12";
  case TLS1_1_VERSION:
    return "11";
  case TLS1_VERSION:
    return "10";
  case SSL3_VERSION:
    return "s3";
  case 0x0002:
    return "s2";
  default:
    return "00";
  }
}

static bool is_alphanumeric(uint8_t byte)
{
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= 'a' && byte <= 'z');
}

/* The first and last characters of the first protocol, of its hexadecimal form where one of them is
 * not alphanumeric. */
static void write_protocol(const struct ml_tls_hello *hello, char out[2])
{
  static const char digits[] = "0123456789abcdef";
  struct ml_slice rest = hello->protocols, name;
  out[0] = out[1] = '0';
  if (!ml_tls_hello_next_protocol(&rest, &name) || name.len == 0) return;
  uint8_t first = name.data[0], last = name.data[name.len - 1];
  bool readable = is_alphanumeric(first) && is_alphanumeric(last);
  out[0] = readable ? (char)first : digits[first >> 4];
  out[1] = readable ? (char)last : digits[last & 15];
}

static unsigned capped(size_t count)
{
  return count < COUNT_MAX ? (unsigned)count : COUNT_MAX;
}

/* ---- The whole ---- */

static void collect(const struct ml_tls_hello *hello, struct numbers *ciphers,
                    struct numbers *extensions, struct numbers *sigalgs, size_t *extension_count)
{
  struct ml_slice rest = hello->ciphers, body;
  uint16_t number;
  while (ml_tls_hello_next_cipher(hello, &rest, &number))
    add(ciphers, number);
  *extension_count = 0;
  rest = hello->extensions;
  while (ml_tls_hello_next_extension(&rest, &number, &body)) {
    if (!ml_tls_is_grease(number)) ++*extension_count;
    /* These two are told of by the first part. */
    if (number != TLSEXT_TYPE_server_name &&
        number != TLSEXT_TYPE_application_layer_protocol_negotiation)
      add(extensions, number);
  }
  rest = hello->sigalgs;
  while (ml_tls_hello_next_number(&rest, &number))
    add(sigalgs, number);
  sort(ciphers);
  sort(extensions);
}

int ml_tls_ja4(const struct ml_tls_hello *hello, char out[ML_JA4_SIZE])
{
  struct numbers ciphers = {NULL, 0}, extensions = {NULL, 0}, sigalgs = {NULL, 0}, none = {NULL, 0};
  int result = -1;
  if (make_room(&ciphers, hello->ciphers.len) != 0) goto done;
  if (make_room(&extensions, hello->extensions.len) != 0) goto done;
  if (make_room(&sigalgs, hello->sigalgs.len) != 0) goto done;
  size_t count;
  collect(hello, &ciphers, &extensions, &sigalgs, &count);
  char protocol[2], ciphers_hash[HASH_DIGITS], extensions_hash[HASH_DIGITS];
  write_protocol(hello, protocol);
  if (hash_lists(&ciphers, &none, ciphers_hash) != 0) goto done;
  if (hash_lists(&extensions, &sigalgs, extensions_hash) != 0) goto done;
  snprintf(out, ML_JA4_SIZE, "t%s%c%02u%02u%.2s_%.12s_%.12s", version_of(hello),
           hello->servername.data ? 'd' : 'i', capped(ciphers.count), capped(count), protocol,
           ciphers_hash, extensions_hash);
  result = 0;
done:
  free(ciphers.at);
  free(extensions.at);
  free(sigalgs.at);
  return result;
}

#include "tls_hello.h"

#include <openssl/ssl.h>
#include <string.h>

#define RANDOM_SIZE 32
#define V2_CHALLENGE_MIN 16
#define V2_CIPHER_SIZE 3
#define NAME_TYPE_HOST 0
#define SSL2_VERSION_MINOR 2

/* ---- Reading ---- */

/* Takes `n` bytes off the front. */
static bool take(struct ml_slice *from, size_t n, struct ml_slice *out)
{
  if (from->len < n) return false;
  out->data = from->data;
  out->len = n;
  from->data += n;
  from->len -= n;
  return true;
}

/* Takes a number of `width` bytes, most significant first. */
static bool take_number(struct ml_slice *from, size_t width, uint32_t *number)
{
  struct ml_slice bytes;
  if (!take(from, width, &bytes)) return false;
  *number = 0;
  for (size_t i = 0; i < width; i++)
    *number = *number << 8 | bytes.data[i];
  return true;
}

/* Takes a vector whose length stands before it in `width` bytes. */
static bool take_vector(struct ml_slice *from, size_t width, struct ml_slice *out)
{
  uint32_t len;
  return take_number(from, width, &len) && take(from, len, out);
}

/* ---- Items of lists ---- */

bool ml_tls_hello_next_number(struct ml_slice *rest, uint16_t *number)
{
  uint32_t value;
  if (!take_number(rest, 2, &value)) return false;
  *number = (uint16_t)value;
  return true;
}

bool ml_tls_hello_next_cipher(const struct ml_tls_hello *hello, struct ml_slice *rest,
                              uint16_t *cipher)
{
  uint32_t value;
  if (!hello->like_v2) return ml_tls_hello_next_number(rest, cipher);
  do {
    if (!take_number(rest, V2_CIPHER_SIZE, &value)) return false;
  } while (value > UINT16_MAX); /* a cipher of SSLv2's own */
  *cipher = (uint16_t)value;
  return true;
}

bool ml_tls_hello_next_extension(struct ml_slice *rest, uint16_t *type, struct ml_slice *body)
{
  return ml_tls_hello_next_number(rest, type) && take_vector(rest, 2, body);
}

bool ml_tls_hello_next_protocol(struct ml_slice *rest, struct ml_slice *name)
{
  return take_vector(rest, 1, name);
}

bool ml_tls_hello_next_key_share(struct ml_slice *rest, uint16_t *group, struct ml_slice *key)
{
  return ml_tls_hello_next_number(rest, group) && take_vector(rest, 2, key);
}

bool ml_tls_hello_next_identity(struct ml_slice *rest, struct ml_slice *identity, uint32_t *age)
{
  return take_vector(rest, 2, identity) && take_number(rest, 4, age);
}

/* ---- What an extension's list may be made of ---- */

static bool are_bytes(struct ml_slice list)
{
  (void)list;
  return true;
}

static bool are_numbers(struct ml_slice list)
{
  return list.len % 2 == 0;
}

static bool are_protocols(struct ml_slice list)
{
  struct ml_slice name;
  while (list.len > 0)
    if (!ml_tls_hello_next_protocol(&list, &name) || name.len == 0) return false;
  return true;
}

static bool are_key_shares(struct ml_slice list)
{
  uint16_t group;
  struct ml_slice key;
  while (list.len > 0)
    if (!ml_tls_hello_next_key_share(&list, &group, &key)) return false;
  return true;
}

static bool are_identities(struct ml_slice list)
{
  uint32_t age;
  struct ml_slice identity;
  while (list.len > 0)
    if (!ml_tls_hello_next_identity(&list, &identity, &age)) return false;
  return true;
}

/* ---- Extensions ---- */

/* struct { NameType name_type; HostName<1..2^16-1> } in a list<1..2^16-1>. There is one type of
 * names, and no two of a type (RFC 6066, 3). What is no name at all is one that nobody knows, as
 * OpenSSL has it. */
static bool read_servername(struct ml_slice body, struct ml_slice *name, int *alert)
{
  struct ml_slice list;
  uint32_t type;
  bool read = take_vector(&body, 2, &list) && body.len == 0 && take_number(&list, 1, &type) &&
              type == NAME_TYPE_HOST && take_vector(&list, 2, name) && list.len == 0 &&
              name->len > 0;
  if (!read) return false;
  if (name->len <= ML_SERVERNAME_MAX && !memchr(name->data, '\0', name->len)) return true;
  *alert = SSL_AD_UNRECOGNIZED_NAME;
  return false;
}

#define FIELD(name) offsetof(struct ml_tls_hello, name)

/* Extensions whose body is one list, or is taken as it is. */
static const struct {
  uint16_t type;
  size_t field;
  size_t width; /* of the list's length; 0: the whole body */
  bool (*is_list)(struct ml_slice);
  bool more; /* something else may follow the list */
} lists[] = {
    {TLSEXT_TYPE_application_layer_protocol_negotiation, FIELD(protocols), 2, are_protocols, false},
    {TLSEXT_TYPE_supported_versions, FIELD(versions), 1, are_numbers, false},
    {TLSEXT_TYPE_supported_groups, FIELD(groups), 2, are_numbers, false},
    {TLSEXT_TYPE_signature_algorithms, FIELD(sigalgs), 2, are_numbers, false},
    {TLSEXT_TYPE_key_share, FIELD(key_shares), 2, are_key_shares, false},
    {TLSEXT_TYPE_psk_kex_modes, FIELD(psk_modes), 1, are_bytes, false},
    {TLSEXT_TYPE_psk, FIELD(psk_identities), 2, are_identities, true},
    {TLSEXT_TYPE_session_ticket, FIELD(ticket), 0, are_bytes, false},
    {TLSEXT_TYPE_status_request, FIELD(status_request), 0, are_bytes, false},
};
#define LISTS (sizeof(lists) / sizeof(*lists))

static void read_list(size_t which, struct ml_slice body, struct ml_slice *out)
{
  struct ml_slice rest = body, list = body;
  size_t width = lists[which].width;
  bool good =
      width == 0 || (take_vector(&rest, width, &list) && (rest.len == 0 || lists[which].more));
  *out = good && lists[which].is_list(list) ? list : (struct ml_slice){body.data, 0};
}

/* Where the contents of an extension belong, and which of the lists it is; NULL for those that
 * nothing here reads. */
static struct ml_slice *place_of(struct ml_tls_hello *hello, uint16_t type, size_t *which)
{
  if (type == TLSEXT_TYPE_server_name) return &hello->servername;
  for (*which = 0; *which < LISTS; ++*which)
    if (lists[*which].type == type)
      return (struct ml_slice *)(void *)((char *)hello + lists[*which].field);
  return NULL;
}

static int read_extensions(struct ml_tls_hello *hello, int *alert)
{
  struct ml_slice rest = hello->extensions, body;
  uint16_t type;
  while (rest.len > 0) {
    if (!ml_tls_hello_next_extension(&rest, &type, &body)) return SSL_R_LENGTH_MISMATCH;
    size_t which;
    struct ml_slice *place = place_of(hello, type, &which);
    if (!place) continue;
    if (place->data) {
      *alert = SSL_AD_ILLEGAL_PARAMETER; /* RFC 8446, 4.2 */
      return SSL_R_BAD_EXTENSION;
    }
    if (type != TLSEXT_TYPE_server_name)
      read_list(which, body, place);
    else if (!read_servername(body, place, alert))
      return SSL_R_BAD_EXTENSION;
  }
  return 0;
}

/* ---- The message ---- */

/* RFC 5246, E.2, from msg_type on: version, three lengths, and what they are the lengths of.
 * OpenSSL still takes it for a ClientHello. */
static bool read_v2(struct ml_tls_hello *hello, struct ml_slice body)
{
  uint32_t ciphers, session_id, challenge;
  hello->like_v2 = true;
  return ml_tls_hello_next_number(&body, &hello->legacy_version) &&
         take_number(&body, 2, &ciphers) && take_number(&body, 2, &session_id) &&
         take_number(&body, 2, &challenge) && ciphers % V2_CIPHER_SIZE == 0 &&
         session_id <= SSL_MAX_SSL_SESSION_ID_LENGTH && challenge >= V2_CHALLENGE_MIN &&
         challenge <= RANDOM_SIZE && take(&body, ciphers, &hello->ciphers) &&
         take(&body, session_id, &hello->session_id) && take(&body, challenge, &hello->random) &&
         body.len == 0;
}

/* RFC 8446, 4.1.2; a client may leave the extensions out altogether (RFC 5246, 7.4.1.2). */
static bool read_fields(struct ml_tls_hello *hello, struct ml_slice body)
{
  return ml_tls_hello_next_number(&body, &hello->legacy_version) &&
         take(&body, RANDOM_SIZE, &hello->random) && take_vector(&body, 1, &hello->session_id) &&
         hello->session_id.len <= SSL_MAX_SSL_SESSION_ID_LENGTH &&
         take_vector(&body, 2, &hello->ciphers) && hello->ciphers.len % 2 == 0 &&
         take_vector(&body, 1, &hello->compression) &&
         (body.len == 0 || take_vector(&body, 2, &hello->extensions)) && body.len == 0;
}

/* Whether it is SSLv2 itself that the client speaks. */
static bool is_v2(const uint8_t *message, size_t len)
{
  return len > 2 && message[1] == 0 && message[2] == SSL2_VERSION_MINOR;
}

int ml_tls_hello_parse(struct ml_tls_hello *hello, const uint8_t *message, size_t len, int *alert)
{
  struct ml_slice rest = {message, len}, body;
  uint32_t type;
  memset(hello, 0, sizeof(*hello));
  hello->message = rest;
  *alert = SSL_AD_DECODE_ERROR;
  if (!take_number(&rest, 1, &type) || type != SSL3_MT_CLIENT_HELLO)
    return SSL_R_UNEXPECTED_MESSAGE;
  /* The first byte of the version, where the usual form has that of its length: OpenSSL accepts no
   * message as long as this would make it. */
  if (rest.len > 0 && rest.data[0] == SSL3_VERSION_MAJOR)
    return read_v2(hello, rest) ? 0 : SSL_R_LENGTH_MISMATCH;
  if (!take_vector(&rest, 3, &body) || rest.len > 0) {
    if (is_v2(message, len)) *alert = SSL_AD_PROTOCOL_VERSION;
    return is_v2(message, len) ? SSL_R_UNSUPPORTED_PROTOCOL : SSL_R_LENGTH_MISMATCH;
  }
  if (!read_fields(hello, body)) return SSL_R_LENGTH_MISMATCH;
  return read_extensions(hello, alert);
}

bool ml_tls_hello_offers(const struct ml_tls_hello *hello, uint16_t version)
{
  struct ml_slice rest = hello->versions;
  uint16_t listed;
  while (ml_tls_hello_next_number(&rest, &listed))
    if (listed == version) return true;
  return false;
}

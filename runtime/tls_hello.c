#include "tls_hello.h"

#include <openssl/err.h>
#include <string.h>

#include "tls_engine_internal.h"

#define NAME_TYPE_HOST 0

/* struct { NameType name_type; HostName<1..2^16-1> } in a list<1..2^16-1>; more than one name is
 * not allowed in practice (RFC 6066, 3: no two of a type, and only one type exists). */
int ml_tls_parse_servername(const unsigned char *data, size_t len, char *out, size_t size)
{
  if (len < 5) return -1;
  size_t list = (size_t)data[0] << 8 | data[1];
  if (list != len - 2 || data[2] != NAME_TYPE_HOST) return -1;
  size_t name = (size_t)data[3] << 8 | data[4];
  if (name != len - 5 || name == 0 || name > 255 || name >= size) return -1;
  if (memchr(data + 5, '\0', name)) return -1;
  memcpy(out, data + 5, name);
  out[name] = '\0';
  return 0;
}

int ml_tls_hello_servername(SSL *ssl, char *out, size_t size, int *alert)
{
  const unsigned char *data;
  size_t len;
  out[0] = '\0';
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &len) != 1) return 0;
  if (ml_tls_parse_servername(data, len, out, size) == 0) return 0;
  out[0] = '\0';
  *alert = SSL_AD_DECODE_ERROR;
  ERR_raise(ERR_LIB_SSL, SSL_R_BAD_EXTENSION); /* OpenSSL alone would only say "callback failed" */
  return -1;
}

/* Values that stand for nothing and are only sent to be ignored (RFC 8701): 0x0a0a, 0x1a1a, … */
static bool is_grease(unsigned value)
{
  return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

/* ProtocolVersion versions<2..254> */
void ml_tls_parse_versions(const unsigned char *data, size_t len, struct ml_tls_offer *offer)
{
  const size_t room = sizeof(offer->versions) / sizeof(*offer->versions);
  offer->count = 0;
  offer->at_most = false;
  if (len < 1 || data[0] != len - 1) return;
  for (size_t i = 1; i + 1 < len && offer->count < room; i += 2) {
    unsigned version = (unsigned)data[i] << 8 | data[i + 1];
    if (!is_grease(version)) offer->versions[offer->count++] = (uint16_t)version;
  }
}

void ml_tls_hello_versions(SSL *ssl, struct ml_tls_offer *offer)
{
  const unsigned char *data;
  size_t len;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &data, &len) == 1) {
    ml_tls_parse_versions(data, len, offer);
    return;
  }
  offer->versions[0] = (uint16_t)SSL_client_hello_get0_legacy_version(ssl);
  offer->count = 1;
  offer->at_most = true;
}

#include "tls_hello.h"

#include <openssl/err.h>
#include <string.h>

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

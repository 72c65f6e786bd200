/* The server_name extension's body, any bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tls_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char name[256];
  memset(name, 'x', sizeof(name));
  if (ml_tls_parse_servername(data, size, name, sizeof(name)) != 0) return 0;
  /* What is accepted is the whole input and nothing else. */
  size_t len = strnlen(name, sizeof(name));
  if (len == 0 || len > 255 || len + 5 != size || memcmp(name, data + 5, len) != 0) abort();
  return 0;
}

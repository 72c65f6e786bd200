#include "cert_der.h"

#include <openssl/err.h>
#include <stdlib.h>

struct der {
  size_t len;
  uint8_t bytes[];
};

/* CRYPTO_EX_free(3) */
static void on_free(void *cert, void *der, CRYPTO_EX_DATA *all, int index, long number, void *arg)
{
  (void)cert, (void)all, (void)index, (void)number, (void)arg;
  free(der);
}

static int der_index(void)
{
  static int index = -1;
  if (index < 0) index = X509_get_ex_new_index(0, NULL, NULL, NULL, on_free);
  return index;
}

static struct der *write(X509 *cert)
{
  int len = i2d_X509(cert, NULL);
  struct der *der = len > 0 ? malloc(sizeof(*der) + (size_t)len) : NULL;
  if (!der) return NULL;
  uint8_t *end = der->bytes;
  der->len = (size_t)len;
  if (i2d_X509(cert, &end) == len && X509_set_ex_data(cert, der_index(), der) == 1) return der;
  free(der);
  return NULL;
}

const uint8_t *ml_cert_der(X509 *cert, size_t *len)
{
  ERR_set_mark();
  struct der *der = der_index() >= 0 ? X509_get_ex_data(cert, der_index()) : NULL;
  if (!der) der = write(cert);
  ERR_pop_to_mark();
  if (!der) return NULL;
  *len = der->len;
  return der->bytes;
}

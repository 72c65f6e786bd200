#include "tls_pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/proverr.h>
#include <string.h>

BIO *ml_pem_bio(const struct ml_tls_blob *blob)
{
  return BIO_new_mem_buf(blob->data, (int)blob->len);
}

bool ml_pem_in(const void *data, size_t len)
{
  static const char mark[] = "-----BEGIN ";
  return memmem(data, len, mark, sizeof(mark) - 1) != NULL;
}

/* The end shows as "no start line", which is not a failure after the first block. */
bool ml_pem_ended(void)
{
  unsigned long last = ERR_peek_last_error();
  if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE) return false;
  ERR_clear_error();
  return true;
}

int ml_pem_unlock(char *buffer, int size, int rwflag, void *user)
{
  struct ml_pem_lock *lock = user;
  (void)rwflag;
  lock->wanted = true;
  if (!lock->passphrase) return 0;
  size_t len = strlen(lock->passphrase);
  if (len > (size_t)size) return -1;
  memcpy(buffer, lock->passphrase, len);
  return (int)len;
}

STACK_OF(X509) * ml_pem_certs(const struct ml_tls_blob *blob)
{
  struct ml_pem_lock none = {NULL, false};
  STACK_OF(X509) *certs = sk_X509_new_null();
  BIO *bio = ml_pem_bio(blob);
  bool ok = certs && bio;
  X509 *cert;
  while (ok && (cert = PEM_read_bio_X509_AUX(bio, NULL, ml_pem_unlock, &none)) != NULL) {
    ok = sk_X509_push(certs, cert) > 0;
    if (!ok) X509_free(cert);
  }
  BIO_free(bio);
  if (ok && sk_X509_num(certs) > 0 && ml_pem_ended()) return certs;
  sk_X509_pop_free(certs, X509_free);
  return NULL;
}

EVP_PKEY *ml_pem_private_key(BIO *bio, struct ml_pem_lock *lock)
{
  EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, ml_pem_unlock, lock);
  unsigned long cause = ERR_peek_error();
  if (!key && lock->wanted && ERR_GET_LIB(cause) == ERR_LIB_OSSL_DECODER &&
      ERR_GET_REASON(cause) == ERR_R_UNSUPPORTED) {
    ERR_clear_error();
    ERR_raise(ERR_LIB_PROV, PROV_R_BAD_DECRYPT);
  }
  return key;
}

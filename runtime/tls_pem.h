/* PEM as scripts hand it over: any number of blocks in a string, encrypted or not. Nothing here
 * keeps what it is given, and nothing ever asks on a terminal. */
#ifndef ML_TLS_PEM_H
#define ML_TLS_PEM_H

#include <openssl/bio.h>
#include <openssl/x509.h>
#include <stdbool.h>

#include "tls_context.h"

/* Reads from the blob's memory; the caller frees it. NULL when there is no memory. */
BIO *ml_pem_bio(const struct ml_tls_blob *blob);

/* Whether there is a block of PEM in it, of whatever kind. */
bool ml_pem_in(const void *data, size_t len);

/* Whether reading block after block ended because there was none left. Clears the error queue
 * then. */
bool ml_pem_ended(void);

/* All certificates of the blob, at least one, in their order: "CERTIFICATE", "X509 CERTIFICATE" and
 * "TRUSTED CERTIFICATE" alike (the last brings what it is trusted for; openssl-x509(1)). Other
 * blocks among them are passed over. NULL on failure, with OpenSSL's queue telling why. The caller
 * frees the stack and what is in it. */
STACK_OF(X509) * ml_pem_certs(const struct ml_tls_blob *blob);

/* One thing being opened: what it is locked with (NULL: nobody said), and whether that was asked
 * for. */
struct ml_pem_lock {
  const char *passphrase;
  bool wanted;
};

/* pem_password_cb whose user data is a struct ml_pem_lock. Without a passphrase the empty one is
 * tried, which fails ("bad decrypt", as in Node). */
int ml_pem_unlock(char *buffer, int size, int rwflag, void *lock);

/* The private key in the next block. A wrong passphrase is always "bad decrypt" in OpenSSL's queue:
 * about one in 250 leaves padding that looks right, and then it is only what was "decrypted" that
 * makes no sense. NULL on failure. */
EVP_PKEY *ml_pem_private_key(BIO *bio, struct ml_pem_lock *lock);

#endif

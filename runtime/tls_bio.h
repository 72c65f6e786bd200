/* A BIO between OpenSSL and the engine's two ends: reading consumes the caller's slice in place,
 * writing appends to the output buffer. Nothing is copied that OpenSSL does not copy itself. */
#ifndef ML_TLS_BIO_H
#define ML_TLS_BIO_H

#include <openssl/bio.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct ml_tls_io {
  const uint8_t *in; /* what is left of the input slice */
  size_t in_len;
  struct ml_buf out;
};

/* A new BIO over `io`, which must outlive it. NULL on memory failure. Reads past the input ask to
 * be retried (BIO_should_retry(3)); a write that finds no memory fails. */
BIO *ml_tls_bio_new(struct ml_tls_io *io);

#endif

/* A BIO between OpenSSL and the engine's two ends: reading consumes the caller's slice in place,
 * writing appends to the output buffer. Nothing is copied that OpenSSL does not copy itself.
 *
 * SSL_read(3) goes on from handshake messages to the application data behind them, and through any
 * number of messages. Given one record at a time it comes back after each. */
#ifndef ML_TLS_BIO_H
#define ML_TLS_BIO_H

#include <openssl/bio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct ml_tls_io {
  const uint8_t *in; /* what is left of the input slice */
  size_t in_len;
  struct ml_buf out;
  bool mute; /* what is written is dropped: the kernel encrypts now (tls_offload.h) */

  /* What asking OpenSSL would cost; both are undone by whatever it reads. */
  bool exhausted; /* it has given out all the data that it had read */
  bool answered;  /* it owes no answer to a message */

  /* Where the reader is within a record (RFC 8446, 5.1; all versions have the same header), from
   * ml_tls_io_follow on. */
  bool following;
  uint8_t head;  /* bytes of the header that it has */
  uint16_t body; /* bytes that the body lacks */
  enum ml_tls_io_portion {
    ML_IO_ALL,    /* all input there is */
    ML_IO_RECORD, /* the rest of a record, or one, and then nothing */
    ML_IO_SPENT,  /* that record has been begun */
  } portion;
};

/* The reader is between two records now: from here on they are told apart. */
void ml_tls_io_follow(struct ml_tls_io *io);

/* The ends that the BIO joins OpenSSL to at the moment: those of the engine whose SSL is being used
 * (awake() in tls_engine_internal.h). */
extern _Thread_local struct ml_tls_io *ml_tls_io_served;

/* The BIO of this thread's engines, one for all: only one of them is at work at a time, and each
 * would take 200 bytes. A new reference, or NULL on memory failure. Reads past the input ask to be
 * retried (BIO_should_retry(3)); a write that finds no memory fails. */
BIO *ml_tls_bio(void);

#endif

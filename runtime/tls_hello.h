/* The ClientHello, taken apart: the one parser of it in the program. It works on the message's
 * bytes, points into them and allocates nothing, so a hello is good for as long as they are.
 *
 * What comes of a client's wish is OpenSSL's business. This says what the client wished for, with
 * everything that OpenSSL leaves out: extensions it does not know, and the values that clients send
 * to be ignored (GREASE, RFC 8701), in the order in which they came.
 */
#ifndef ML_TLS_HELLO_H
#define ML_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* Longer names exist nowhere (RFC 1035, 2.3.4). */
#define ML_SERVERNAME_MAX 255

/* Of an extension that did not come the slice's data is NULL. One that came with nothing in it, or
 * with a body that is not what it should be, has data and a length of 0: OpenSSL complains about
 * it afterwards. Sections are RFC 8446's unless another document is named. */
struct ml_tls_hello {
  struct ml_slice message; /* with its header */
  uint16_t legacy_version; /* 4.1.2: a client of TLS 1.3 says TLS 1.2 here */
  struct ml_slice random;  /* 32 bytes; 16 to 32 of a client that speaks like SSLv2 */
  struct ml_slice session_id;
  struct ml_slice ciphers;     /* ml_tls_hello_next_cipher */
  struct ml_slice compression; /* one byte each */
  struct ml_slice extensions;  /* ml_tls_hello_next_extension */
  bool like_v2;                /* a V2ClientHello (RFC 5246, E.2): it has no extensions */

  struct ml_slice servername;     /* RFC 6066, 3: the host name, without NUL, never empty */
  struct ml_slice protocols;      /* RFC 7301, 3.1: ml_tls_hello_next_protocol */
  struct ml_slice versions;       /* 4.2.1: ml_tls_hello_next_number, as the next two */
  struct ml_slice groups;         /* 4.2.7 */
  struct ml_slice sigalgs;        /* 4.2.3 */
  struct ml_slice key_shares;     /* 4.2.8: ml_tls_hello_next_key_share */
  struct ml_slice psk_modes;      /* 4.2.9: one byte each */
  struct ml_slice psk_identities; /* 4.2.11: ml_tls_hello_next_identity */
  struct ml_slice ticket;         /* RFC 5077, 3.2: empty when the client would like to have one */
  struct ml_slice status_request; /* RFC 6066, 8: CertificateStatusRequest */
};

/* Fills *hello from the handshake message `message`, header included. 0, or what is wrong with it
 * as OpenSSL calls it (SSL_R_*), with the alert for the client in *alert: a length that lies, a
 * malformed server name, an extension read here that came twice. *hello is then of no use. */
int ml_tls_hello_parse(struct ml_tls_hello *hello, const uint8_t *message, size_t len, int *alert);

/* Whether the client lists `version` (0x0304 for TLS 1.3) among those that it speaks. */
bool ml_tls_hello_offers(const struct ml_tls_hello *hello, uint16_t version);

/* The value is GREASE: 0x0a0a, 0x1a1a, … */
static inline bool ml_tls_is_grease(unsigned value)
{
  return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

/* Each takes the next item off `rest`, at first a copy of the list's slice. false: there is none
 * left, or what is left is not an item. */
bool ml_tls_hello_next_number(struct ml_slice *rest, uint16_t *number);
bool ml_tls_hello_next_cipher(const struct ml_tls_hello *hello, struct ml_slice *rest,
                              uint16_t *cipher);
bool ml_tls_hello_next_extension(struct ml_slice *rest, uint16_t *type, struct ml_slice *body);
bool ml_tls_hello_next_protocol(struct ml_slice *rest, struct ml_slice *name);
bool ml_tls_hello_next_key_share(struct ml_slice *rest, uint16_t *group, struct ml_slice *key);
bool ml_tls_hello_next_identity(struct ml_slice *rest, struct ml_slice *identity, uint32_t *age);

#endif

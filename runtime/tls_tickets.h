/* Session tickets (RFC 5077, 4; RFC 8446, 4.6.1) sealed with keys that servers can share.
 *
 * Keys come as a ring: the first seals, all of them open. So keys can be exchanged without dropping
 * a session: the new ones go in front, the old ones stay behind them for as long as a session
 * lives, and a ticket under old keys is replaced when it is used.
 *
 * The layout is Node's: 16 bytes of name, 16 of HMAC-SHA-256 key, 16 of AES-128-CBC key, so that
 * servers of both kinds resume each other's sessions.
 */
#ifndef ML_TLS_TICKETS_H
#define ML_TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "tls_context.h"

struct ml_tls_ticket_keys {
  uint8_t name[16];
  uint8_t hmac[16];
  uint8_t aes[16];
};
_Static_assert(sizeof(struct ml_tls_ticket_keys) == ML_TICKET_KEYS_SIZE,
               "the script sees 48 bytes");

struct ml_ticket_ring {
  struct ml_tls_ticket_keys *keys; /* malloc's */
  size_t count;
};

/* Copies `len` bytes of keys, at least one set of them and no part of one, over what was there; or
 * makes a random set for `keys` NULL. -1: err says why, and the ring is as it was. */
ML_MUST_CHECK int ml_ticket_ring_set(struct ml_ticket_ring *ring, const uint8_t *keys, size_t len,
                                     struct ml_error *err);

/* Forgets the keys. */
void ml_ticket_ring_free(struct ml_ticket_ring *ring);

/* Whether a ticket, or what may be one, bears the name of one of the keys. */
bool ml_ticket_ring_opens(const struct ml_ticket_ring *ring, const uint8_t *ticket, size_t len);

/* The keys of `context`, which owns them. */
const struct ml_ticket_ring *ml_tls_context_tickets(const struct ml_tls_context *context);

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3) with the ring to use: sets the contexts up to seal
 * (`sealing`) a ticket, or to open the one with `name`. */
int ml_tls_tickets_init(const struct ml_ticket_ring *ring, uint8_t name[16], uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing);

#endif

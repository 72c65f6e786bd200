/* Session tickets (RFC 5077, 4; RFC 8446, 4.6.1) sealed with keys that servers can share.
 *
 * The layout is Node's: 16 bytes of name, 16 of HMAC-SHA-256 key, 16 of AES-128-CBC key, so that
 * servers of both kinds resume each other's sessions.
 */
#ifndef ML_TLS_TICKETS_H
#define ML_TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "tls_context.h"

struct ml_tls_ticket_keys {
  uint8_t name[16];
  uint8_t hmac[16];
  uint8_t aes[16];
};
_Static_assert(sizeof(struct ml_tls_ticket_keys) == ML_TICKET_KEYS_SIZE,
               "the script sees 48 bytes");

/* The keys of `context`, which owns them. */
const struct ml_tls_ticket_keys *ml_tls_context_tickets(const struct ml_tls_context *context);

/* Sets the contexts up to seal (`sealing`) or to open a ticket: the contract of the callback in
 * SSL_CTX_set_tlsext_ticket_key_evp_cb(3), result included. */
int ml_tls_tickets_init(const struct ml_tls_ticket_keys *keys, uint8_t name[16], uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing);

#endif

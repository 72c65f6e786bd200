/* Kernel TLS for what is sent (Documentation/networking/tls.rst in Linux): once the handshake is
 * over, the socket is given the write key, and from then on it is written cleartext that the kernel
 * makes records of. Reading goes on through OpenSSL.
 *
 * OpenSSL has a way of its own for this, in builds that have it (Debian's have not), and only where
 * it owns the socket. Here the key is derived from the traffic secret that the key log callback is
 * told at the very moment it comes into use (RFC 8446, 7.3), and the records written with it are
 * counted by their headers as the message callback sees them: the next number is the kernel's
 * first. So it works for TLS 1.3. The key block of TLS 1.2 could be had, but not the explicit
 * nonces that were used with it, none of which may be used again.
 *
 * Wished for by SSL_OP_ENABLE_KTLS. What the kernel cannot do, and what comes too late or is asked
 * for when it has begun, is said with each function.
 */
#ifndef ML_TLS_OFFLOAD_H
#define ML_TLS_OFFLOAD_H

#include "tls_engine.h"

/* What TLS_TX takes: one of the structs of linux/tls.h. Secret: OPENSSL_cleanse(3) it. */
struct ml_tls_seal {
  uint8_t info[64];
  size_t len;
};

/* Whether the wish for it is open: there is a secret, and nobody has given up. */
bool ml_tls_offload_wanted(const struct ml_tls *tls);

/* Fills in the key with which the next record is to be written. False: not now, because the engine
 * has output, or something is under way; or never, and then ml_tls_offload_wanted does not hold any
 * more: TLS 1.2, a cipher that the kernel has not, records of another size agreed upon. */
bool ml_tls_offload_key(struct ml_tls *tls, struct ml_tls_seal *seal);

/* The kernel has taken the key, or has not and will not be asked again. Once it has:
 *  - ml_tls_write must not be called. Alerts, close_notify among them, do not come as output but by
 *    ml_tls_offload_alert.
 *  - A peer that asks for new keys, or for a certificate, ends the connection with
 *    ERR_TLS_KTLS_ACTIVE: the handshake messages that answer it cannot be written any more.
 *  - The owner's own wishes of that kind are refused with the same error, and the connection goes
 *    on. */
void ml_tls_offload_settle(struct ml_tls *tls, bool taken);
bool ml_tls_offloaded(const struct ml_tls *tls);

/* Takes out the alert that is to be sent, if there is one. */
bool ml_tls_offload_alert(struct ml_tls *tls, uint8_t alert[2]);

/* Gives up the wish: what is being set now the kernel does not know of. */
void ml_tls_offload_forget(struct ml_tls *tls);

/* ---- For the engine ---- */

/* A line of the key log. */
void ml_tls_offload_secret(struct ml_tls *tls, const char *line);

/* What SSL_set_msg_callback(3) is told of things written. */
void ml_tls_offload_message(struct ml_tls *tls, int content_type, const uint8_t *message,
                            size_t len);

/* -1 with err filled, once the kernel encrypts. */
ML_MUST_CHECK int ml_tls_offload_refuse(const struct ml_tls *tls, struct ml_error *err);

/* Fails the connection when OpenSSL has written what cannot be sent any more. */
enum ml_tls_result ml_tls_offload_check(struct ml_tls *tls);

void ml_tls_offload_free(struct ml_tls *tls);

#endif

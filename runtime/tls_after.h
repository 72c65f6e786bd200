/* What one end may wish for once the handshake is over: another handshake (TLS 1.2), new keys or
 * the client's certificate (TLS 1.3).
 *
 * Each wish is put into the output by one call. What comes of it shows in ml_tls_read, or in
 * ml_tls_handshake while the owner does not want to read: ML_TLS_RENEWED once it is granted. From
 * a wish until then ml_tls_unsettled holds.
 *
 * Application data and renegotiation: nothing is lost and nothing changes places. ml_tls_write
 * takes nothing while handshake messages go back and forth, because a peer need not accept data
 * between them; what the peer wrote before it knew is read as before. ML_TLS_RENEWED comes exactly
 * between the last byte before the new handshake and the first one after it.
 */
#ifndef ML_TLS_AFTER_H
#define ML_TLS_AFTER_H

#include "tls_engine.h"

/* Whether something is under way that the peer has to do its part for: then the owner goes on
 * giving ciphertext, to ml_tls_read or to ml_tls_handshake. */
bool ml_tls_unsettled(const struct ml_tls *tls);

/* Whether handshake messages go back and forth again. A peer that leaves now is
 * ml_tls_disconnected.
 */
bool ml_tls_renegotiating(const struct ml_tls *tls);

/* Begins a renegotiation (TLS 1.2, RFC 5746 only). A server asks the client to; a client begins.
 * What it says of certificates counts from then on; what it says nothing of stays. A server's
 * renegotiation is a full handshake always, so that the client is asked for a certificate again.
 *
 * -1: err says why, and the connection goes on (another version, a peer that cannot do it
 * securely, renegotiation forbidden), unless ml_tls_state is ML_TLS_FAILED. Not while unsettled.
 *
 * A peer that declines (no_renegotiation) ends the connection: OpenSSL has no way back. */
ML_MUST_CHECK int ml_tls_renegotiate(struct ml_tls *tls, enum ml_tls_says request_cert,
                                     enum ml_tls_says reject_unauthorized, struct ml_error *err);

/* Exchanges our keys (TLS 1.3: KeyUpdate, RFC 8446, 4.6.3), and with `peers` asks the peer to do
 * the same, which ML_NOTE_KEY_UPDATE tells of. When a message of the peer's has come in half this
 * happens as soon as it is whole. -1: err says why, the connection goes on unless ml_tls_state is
 * ML_TLS_FAILED. */
ML_MUST_CHECK int ml_tls_update_keys(struct ml_tls *tls, bool peers, struct ml_error *err);

/* Asks the client to show who it is (TLS 1.3: post-handshake authentication, RFC 8446, 4.6.2).
 * `reject_unauthorized` counts from then on: a client that shows nothing or nothing good fails the
 * connection. -1: err says why, and the connection goes on: another version, not a server, a client
 * that has not offered it (ERR_SSL_EXTENSION_NOT_RECEIVED), one that is at it already, a message of
 * the client's that has come in half (ERR_SSL_STILL_IN_INIT). */
ML_MUST_CHECK int ml_tls_request_certificate(struct ml_tls *tls,
                                             enum ml_tls_says reject_unauthorized,
                                             struct ml_error *err);

/* Whether ML_TLS_RENEWED waits for the next ml_tls_read or ml_tls_handshake. */
bool ml_tls_renewed(const struct ml_tls *tls);

/* From now on a peer that begins a renegotiation is declined, and the connection fails with
 * ERR_TLS_RENEGOTIATION_DISABLED. One that is under way goes on. */
void ml_tls_forbid_renegotiation(struct ml_tls *tls);

/* From now on a peer that begins a renegotiation is declined, which it may live with. */
void ml_tls_decline_renegotiation(struct ml_tls *tls);

#endif

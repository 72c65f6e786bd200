/* What one end shows of itself and demands of the other, on the one connection. */
#ifndef ML_TLS_POLICY_H
#define ML_TLS_POLICY_H

#include "tls_engine_internal.h"

/* The client-certificate policy as a number, for the derived session id context. */
uint8_t ml_tls_policy(const struct ml_tls *tls);

/* Server: makes OpenSSL ask for a client certificate, or not, as the engine's fields say. */
void ml_tls_demand_certificate(struct ml_tls *tls);

/* Server: takes over what `context`, chosen at ClientHello, says about client certificates. What it
 * leaves open stays as the server has it. */
void ml_tls_adopt_policy(struct ml_tls *tls, const struct ml_tls_context *context);

/* Client, about to begin: offers its certificate for later, or not. */
void ml_tls_offer_certificate(struct ml_tls *tls);

/* Sets the options that say who may begin a renegotiation, and that a server's is a full handshake:
 * again whenever a context has brought its own options along. */
void ml_tls_permit_renegotiation(struct ml_tls *tls);

/* Whether `version` (TLS1_VERSION…) is among those that this end speaks. */
bool ml_tls_speaks(SSL *ssl, int version);

/* Client: refuses a finite-field key exchange of fewer bits. */
void ml_tls_demand_dh_size(struct ml_tls *tls, int bits);

/* Whether what was agreed on meets ml_tls_demand_dh_size. Under TLS 1.2 a small key has ended the
 * handshake by now; the named groups of TLS 1.3 (RFC 7919) can only be judged here. */
bool ml_tls_dh_size_suffices(struct ml_tls *tls);

/* Describes the failure of either check. */
void ml_tls_dh_size_error(const struct ml_tls *tls, struct ml_error *err);

#endif

/* Why two ends could not agree: what each of them had to offer, added to OpenSSL's bare reason. */
#ifndef ML_TLS_EXPLAIN_H
#define ML_TLS_EXPLAIN_H

#include <stddef.h>

#include "error.h"

struct ml_tls;

/* Extends `err`, which describes the failure of `tls`, when it is one that comes of the choices of
 * both ends ("no shared cipher", "unsupported protocol", "no suitable signature algorithm",
 * "no application protocol" and their kin, or the peer's alert that says so): `offered` gets what
 * the peer had, `configured` what we have, and message both. Any other error is left alone. */
void ml_tls_explain(struct ml_tls *tls, struct ml_error *err);

/* The name of a signature algorithm as OpenSSL's lists have it, "ECDSA+SHA256", "RSA-PSS+SHA384",
 * "Ed25519". The numbers are those of SSL_get_sigalgs(3). Returns buffer. */
const char *ml_tls_sigalg_name(int sign_nid, int hash_nid, char *buffer, size_t size);

/* The name of a SignatureScheme (RFC 8446, 4.2.3; of the older ones made likewise),
 * "ecdsa_secp256r1_sha256"; NULL for one we do not know. */
const char *ml_tls_scheme_name(unsigned scheme);

/* "TLSv1.2" for 0x0303; NULL for one that is no version of TLS. */
const char *ml_tls_version_name(int version);

#endif

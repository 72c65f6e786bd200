/* The system trust store, parsed once per process and shared by every context that brings no `ca`
 * of its own. */
#ifndef ML_TLS_TRUST_H
#define ML_TLS_TRUST_H

#include <openssl/x509.h>

#include "error.h"

/* The shared store; NULL with err filled on failure. The reference stays the module's:
 * X509_STORE_up_ref to keep. */
X509_STORE *ml_tls_trust_store(struct ml_error *err);

/* A new store with the same trust anchors, for a context that adds CRLs to them. The caller owns
 * it. */
X509_STORE *ml_tls_trust_copy(struct ml_error *err);

#endif

/* The trust anchors of contexts that bring no `ca` of their own: parsed once per process and shared
 * by all of them. */
#ifndef ML_TLS_TRUST_H
#define ML_TLS_TRUST_H

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* The shared store; NULL with err filled on failure. The reference stays the module's:
 * X509_STORE_up_ref to keep. */
X509_STORE *ml_tls_trust_store(struct ml_error *err);

/* A new store with the same trust anchors, for a context that adds to them. The caller owns it. */
X509_STORE *ml_tls_trust_copy(struct ml_error *err);

/* What tells anchors that a script has chosen from others, for the derived session id context: a
 * hash of them; of length 0 for the system's. Valid until the next ml_tls_trust_choose. */
const uint8_t *ml_tls_trust_mark(size_t *len);

enum ml_tls_trust_kind {
  ML_TRUST_DEFAULT, /* what the shared store trusts */
  ML_TRUST_SYSTEM,  /* OpenSSL's built-in locations, whatever else is configured */
  ML_TRUST_EXTRA,   /* the extra file of ml_tls_trust_configure */
};

/* The certificates of one kind, in a new stack with its own references (sk_X509_pop_free). Reads
 * files. */
STACK_OF(X509) * ml_tls_trust_list(enum ml_tls_trust_kind kind, struct ml_error *err);

/* From now on contexts without a `ca` trust `anchors` (references taken), and nothing else: neither
 * the system's nor the extra ones. Contexts that exist keep what they have. */
ML_MUST_CHECK int ml_tls_trust_choose(STACK_OF(X509) * anchors, struct ml_error *err);

#endif

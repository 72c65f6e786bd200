/* Makes OCSP responses in memory, right ones and deliberately wrong ones, as certmaker.h makes
 * certificates: for specs and fuzzers, which need a responder at any time and of any character.
 *
 * Plans are plain values whose pointers belong to the caller and are only read during the call.
 */
#ifndef ML_OCSPMAKER_H
#define ML_OCSPMAKER_H

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* What is said of one certificate. */
struct ml_ocsp_statement {
  X509 *cert;
  X509 *issuer;
  int status;         /* V_OCSP_CERTSTATUS_* */
  int reason;         /* of a revoked one, OCSP_REVOKED_STATUS_* */
  int64_t revoked_at; /* seconds since 1970, as all times here */
  int64_t this_update;
  int64_t next_update; /* 0: not said */
};

struct ml_ocsp_plan {
  int response_status; /* OCSP_RESPONSE_STATUS_*; the rest is for a successful one */
  const struct ml_ocsp_statement *statements;
  size_t statement_count;
  const char *id_digest; /* of the CertIDs; NULL: SHA-1 */
  X509 *signer;          /* goes into the response */
  EVP_PKEY *signer_key;
  const void *nonce; /* NULL: none */
  size_t nonce_len;
  bool spoil_signature; /* flip a bit of it at the end */
};

/* Appends the response as DER. producedAt is now. */
ML_MUST_CHECK int ml_ocsp_make(BIO *out, const struct ml_ocsp_plan *plan, struct ml_error *err);

#endif

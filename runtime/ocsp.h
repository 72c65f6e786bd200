/* Asking about a certificate and reading the answer (RFC 6960), on OpenSSL's own OCSP functions.
 * Nothing is sent from here: requests and responses are bytes. Certificates are only read; nothing
 * calls back.
 */
#ifndef ML_OCSP_H
#define ML_OCSP_H

#include <openssl/bio.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/* Which certificate is asked about. The pointers are the caller's. */
struct ml_ocsp_question {
  X509 *cert;
  X509 *issuer;      /* who issued it; names and extensions have to fit (X509_check_issued(3)) */
  const void *nonce; /* makes a response that was recorded earlier useless (RFC 9654); NULL: none */
  size_t nonce_len;
};

/* Appends the request as DER, ready to be the body of a POST (RFC 6960, A.1). */
ML_MUST_CHECK int ml_ocsp_write_request(BIO *out, const struct ml_ocsp_question *question,
                                        struct ml_error *err);

/* Appends the DER of the CertID that the request holds: hashes of the issuer's name and key, and
 * the serial number. SHA-1, which every responder knows (RFC 5019, 2.1.1); nothing rests on it. */
ML_MUST_CHECK int ml_ocsp_write_id(BIO *out, const struct ml_ocsp_question *question,
                                   struct ml_error *err);

/* Appends the address of the first OCSP responder over HTTP that the certificate names, and returns
 * 1. 0 when it names none that could stand in a request line. */
int ml_ocsp_write_url(BIO *out, X509 *cert);

/* What a response has to be about. Every field may be NULL. */
struct ml_ocsp_expected {
  X509 *issuer; /* whose word counts; without it nothing is verified */
  X509 *cert;   /* NULL: the first one of the issuer that the response is about */
  const void *nonce;
  size_t nonce_len;
};

/* A response and what it says. Pointers are into the response, or static. */
struct ml_ocsp_response {
  OCSP_BASICRESP *basic;       /* owned; NULL when the responder refused to say anything */
  const char *response_status; /* "successful", "tryLater", … (RFC 6960, 4.2.1) */
  const OCSP_CERTID *id; /* NULL, and nothing below, when it says nothing of the certificate */
  const char *status;    /* "good", "revoked", "unknown" */
  const ASN1_GENERALIZEDTIME *this_update;
  const ASN1_GENERALIZEDTIME *next_update; /* or NULL */
  const ASN1_GENERALIZEDTIME *revoked_at;  /* or NULL */
  const char *reason;                      /* "keyCompromise", … (RFC 5280, 5.3.1); or NULL */

  /* Whether all this may be relied on now: signed by the issuer, or by a responder to whom the
   * issuer itself gave a certificate with OCSPSigning (RFC 6960, 4.2.2.2); about the certificate
   * expected; current, give or take five minutes; with the nonce expected. */
  bool verified;
  struct ml_error verify_error; /* why not, when it may not */
};

/* Reads a response. -1, with ERR_OCSP_MALFORMED_RESPONSE, for bytes that are none; what is wrong
 * with one that can be read is in `verify_error`. On 0 the caller frees what is in `out`. */
ML_MUST_CHECK int ml_ocsp_read(struct ml_ocsp_response *out, const void *data, size_t len,
                               const struct ml_ocsp_expected *expected, struct ml_error *err);

/* Frees what ml_ocsp_read found, not `response` itself. */
void ml_ocsp_release(struct ml_ocsp_response *response);

/* The serial number in capital hexadecimal digits; 1, or -1. */
int ml_ocsp_write_serial(BIO *out, const OCSP_CERTID *id);

#endif

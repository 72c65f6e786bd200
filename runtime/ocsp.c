#include "ocsp.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "certinfo.h"

#define TOLERANCE 300 /* seconds that the responder's clock and ours may differ */

/* ---- Requests ---- */

static OCSP_CERTID *id_of(const struct ml_ocsp_question *question, struct ml_error *err)
{
  ERR_clear_error();
  int verdict = X509_check_issued(question->issuer, question->cert);
  if (verdict != X509_V_OK) {
    ml_error_verify(err, verdict);
    return NULL;
  }
  OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), question->cert, question->issuer);
  if (!id) ml_error_openssl(err, "The certificate has no identifier");
  return id;
}

int ml_ocsp_write_id(BIO *out, const struct ml_ocsp_question *question, struct ml_error *err)
{
  OCSP_CERTID *id = id_of(question, err);
  if (!id) return -1;
  int ok = ASN1_i2d_bio_of(OCSP_CERTID, i2d_OCSP_CERTID, out, id);
  OCSP_CERTID_free(id);
  if (ok == 1) return 0;
  ml_error_openssl(err, "The certificate's identifier cannot be written");
  return -1;
}

/* OpenSSL makes a nonce of its own when it is given none, which nobody would know. */
static bool add_nonce(OCSP_REQUEST *request, const void *nonce, size_t len)
{
  if (!nonce) return true;
  return len > 0 && len <= INT32_MAX &&
         OCSP_request_add1_nonce(request, (unsigned char *)(uintptr_t)nonce, (int)len) == 1;
}

int ml_ocsp_write_request(BIO *out, const struct ml_ocsp_question *question, struct ml_error *err)
{
  OCSP_CERTID *id = id_of(question, err);
  if (!id) return -1;
  OCSP_REQUEST *request = OCSP_REQUEST_new();
  bool ok = false;
  if (request && OCSP_request_add0_id(request, id))
    ok = add_nonce(request, question->nonce, question->nonce_len) &&
         i2d_OCSP_REQUEST_bio(out, request) == 1;
  else
    OCSP_CERTID_free(id);
  OCSP_REQUEST_free(request);
  if (ok) return 0;
  ml_error_openssl(err, "The request cannot be written");
  return -1;
}

static bool usable_url(const char *url)
{
  if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0) return false;
  for (; *url; url++)
    if (*url <= ' ' || *url > '~') return false;
  return true;
}

int ml_ocsp_write_url(BIO *out, X509 *cert)
{
  int result = 0;
  ERR_set_mark();
  STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(cert);
  for (int i = 0; !result && i < sk_OPENSSL_STRING_num(urls); i++) {
    const char *url = sk_OPENSSL_STRING_value(urls, i);
    if (usable_url(url)) result = BIO_puts(out, url) > 0;
  }
  X509_email_free(urls);
  ERR_pop_to_mark();
  return result;
}

/* ---- Responses ---- */

static const char *response_status_name(int status)
{
  switch (status) {
  case OCSP_RESPONSE_STATUS_SUCCESSFUL:
    return "successful";
  case OCSP_RESPONSE_STATUS_MALFORMEDREQUEST:
    return "malformedRequest";
  case OCSP_RESPONSE_STATUS_INTERNALERROR:
    return "internalError";
  case OCSP_RESPONSE_STATUS_TRYLATER:
    return "tryLater";
  case OCSP_RESPONSE_STATUS_SIGREQUIRED:
    return "sigRequired";
  case OCSP_RESPONSE_STATUS_UNAUTHORIZED:
    return "unauthorized";
  default:
    return NULL;
  }
}

static int malformed(struct ml_error *err, const char *why)
{
  struct ml_error cause;
  ml_error_openssl(&cause, why);
  const char *reason = cause.reason[0] ? cause.reason : why;
  ml_error_misuse(err, "ERR_OCSP_MALFORMED_RESPONSE", "Not an OCSP response: %s", reason);
  memcpy(err->reason, cause.reason, sizeof(err->reason));
  memcpy(err->library, cause.library, sizeof(err->library));
  return -1;
}

/* The whole of `data`, or nothing. */
static int decode(struct ml_ocsp_response *out, const void *data, size_t len, struct ml_error *err)
{
  const unsigned char *at = data;
  ERR_clear_error();
  OCSP_RESPONSE *response = len <= INT32_MAX ? d2i_OCSP_RESPONSE(NULL, &at, (long)len) : NULL;
  if (!response) return malformed(err, "unreadable");
  int result = 0;
  int status = OCSP_response_status(response);
  out->response_status = response_status_name(status);
  if (at != (const unsigned char *)data + len)
    result = malformed(err, "bytes after its end");
  else if (!out->response_status)
    result = malformed(err, "unknown status");
  else if (status == OCSP_RESPONSE_STATUS_SUCCESSFUL &&
           !(out->basic = OCSP_response_get1_basic(response)))
    result = malformed(err, "no basic response");
  OCSP_RESPONSE_free(response);
  return result;
}

/* Whether `id` names the certificate expected, or one of the issuer. The responder chooses the hash
 * (RFC 6960, 4.1.1). */
static bool names(const OCSP_CERTID *id, const struct ml_ocsp_expected *expected)
{
  X509 *cert = expected->cert, *issuer = expected->issuer;
  ASN1_OBJECT *algorithm = NULL;
  ASN1_INTEGER *serial = NULL;
  OCSP_CERTID *theirs = (OCSP_CERTID *)(uintptr_t)id; /* only read */
  OCSP_id_get0_info(NULL, &algorithm, NULL, &serial, theirs);
  if (cert && ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(cert)) != 0) return false;
  if (!issuer) return true;
  const EVP_MD *hash = EVP_get_digestbyobj(algorithm);
  if (!hash) return false;
  OCSP_CERTID *ours = cert ? OCSP_cert_to_id(hash, cert, issuer)
                           : OCSP_cert_id_new(hash, X509_get_subject_name(issuer),
                                              X509_get0_pubkey_bitstr(issuer), serial);
  bool same = ours && OCSP_id_cmp(ours, theirs) == 0;
  OCSP_CERTID_free(ours);
  return same;
}

/* What the response says of the certificate, if anything. */
static void look_up(struct ml_ocsp_response *out, const struct ml_ocsp_expected *expected)
{
  for (int i = 0; i < OCSP_resp_count(out->basic); i++) {
    OCSP_SINGLERESP *single = OCSP_resp_get0(out->basic, i);
    const OCSP_CERTID *id = OCSP_SINGLERESP_get0_id(single);
    if (!names(id, expected)) continue;
    ASN1_GENERALIZEDTIME *revoked_at = NULL, *this_update = NULL, *next_update = NULL;
    int reason = -1;
    int status = OCSP_single_get0_status(single, &reason, &revoked_at, &this_update, &next_update);
    out->id = id;
    out->status = OCSP_cert_status_str(status);
    out->this_update = this_update;
    out->next_update = next_update;
    out->revoked_at = status == V_OCSP_CERTSTATUS_REVOKED ? revoked_at : NULL;
    if (out->revoked_at && reason >= 0) out->reason = OCSP_crl_reason_str(reason);
    return;
  }
}

/* What OpenSSL's OCSP functions say of a failure is plainer than what lower ones said before, and
 * has the verdict on the responder's certificate as its data. */
static void explain(struct ml_error *err)
{
  char detail[128] = "";
  const char *data;
  int flags;
  bool told = ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_OCSP;
  while (told && ERR_GET_LIB(ERR_peek_error()) != ERR_LIB_OCSP)
    (void)ERR_get_error();
  if (ERR_peek_error_data(&data, &flags) == 0) {
    ml_error_verify(err, X509_V_ERR_OCSP_VERIFY_FAILED);
    return;
  }
  if (flags & ERR_TXT_STRING) snprintf(detail, sizeof(detail), "%s", data);
  ml_error_openssl(err, "The response does not verify");
  if (detail[0]) ml_error_append(err, " (%s)", detail);
}

/* Trusts the issuer alone, whether or not it is a root, so that a delegated responder's certificate
 * leads to it or nowhere. */
static int check_signature(OCSP_BASICRESP *basic, X509 *issuer, struct ml_error *err)
{
  STACK_OF(X509) *signers = sk_X509_new_null();
  X509_STORE *store = X509_STORE_new();
  ERR_clear_error();
  bool ok = signers && store && sk_X509_push(signers, issuer) > 0 &&
            X509_STORE_add_cert(store, issuer) == 1 &&
            X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
            OCSP_basic_verify(basic, signers, store, OCSP_NOEXPLICIT) == 1;
  if (!ok) explain(err);
  X509_STORE_free(store);
  sk_X509_free(signers);
  ERR_clear_error();
  return ok ? 0 : -1;
}

static bool same_nonce(OCSP_BASICRESP *basic, const struct ml_ocsp_expected *expected)
{
  OCSP_REQUEST *request = OCSP_REQUEST_new();
  bool same = request && add_nonce(request, expected->nonce, expected->nonce_len) &&
              OCSP_check_nonce(request, basic) == 1;
  OCSP_REQUEST_free(request);
  ERR_clear_error();
  return same;
}

static int verify(struct ml_ocsp_response *out, const struct ml_ocsp_expected *expected,
                  struct ml_error *err)
{
  if (!out->basic) {
    ml_error_misuse(err, "ERR_OCSP_RESPONSE_STATUS", "The OCSP responder answered '%s'",
                    out->response_status);
    return -1;
  }
  if (!expected->issuer) {
    ml_error_verify(err, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT);
    return -1;
  }
  int related = expected->cert ? X509_check_issued(expected->issuer, expected->cert) : X509_V_OK;
  if (related != X509_V_OK) {
    ml_error_verify(err, related);
    return -1;
  }
  if (check_signature(out->basic, expected->issuer, err) != 0) return -1;
  if (!out->id) {
    ml_error_verify(err, X509_V_ERR_OCSP_CERT_UNKNOWN);
    return -1;
  }
  ERR_clear_error();
  if (OCSP_check_validity((ASN1_GENERALIZEDTIME *)(uintptr_t)out->this_update,
                          (ASN1_GENERALIZEDTIME *)(uintptr_t)out->next_update, TOLERANCE,
                          -1) != 1) {
    explain(err);
    return -1;
  }
  if (expected->nonce && !same_nonce(out->basic, expected)) {
    ml_error_misuse(err, "ERR_OCSP_NONCE_MISMATCH",
                    "The OCSP response does not have the nonce of the request");
    return -1;
  }
  return 0;
}

int ml_ocsp_read(struct ml_ocsp_response *out, const void *data, size_t len,
                 const struct ml_ocsp_expected *expected, struct ml_error *err)
{
  memset(out, 0, sizeof(*out));
  if (decode(out, data, len, err) != 0) {
    ml_ocsp_release(out);
    return -1;
  }
  if (out->basic) look_up(out, expected);
  out->verified = verify(out, expected, &out->verify_error) == 0;
  ERR_clear_error();
  return 0;
}

void ml_ocsp_release(struct ml_ocsp_response *response)
{
  OCSP_BASICRESP_free(response->basic);
  memset(response, 0, sizeof(*response));
}

int ml_ocsp_write_serial(BIO *out, const OCSP_CERTID *id)
{
  ASN1_INTEGER *serial = NULL;
  OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)(uintptr_t)id);
  return ml_cert_write_integer(out, serial);
}

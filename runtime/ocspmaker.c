#include "ocspmaker.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>

static bool state(OCSP_BASICRESP *basic, const struct ml_ocsp_statement *said, const EVP_MD *digest)
{
  OCSP_CERTID *id = OCSP_cert_to_id(digest, said->cert, said->issuer);
  ASN1_TIME *revoked_at = ASN1_GENERALIZEDTIME_set(NULL, (time_t)said->revoked_at);
  ASN1_TIME *this_update = ASN1_GENERALIZEDTIME_set(NULL, (time_t)said->this_update);
  ASN1_TIME *next_update =
      said->next_update ? ASN1_GENERALIZEDTIME_set(NULL, (time_t)said->next_update) : NULL;
  bool ok = id && revoked_at && this_update && (next_update || !said->next_update) &&
            OCSP_basic_add1_status(basic, id, said->status, said->reason, revoked_at, this_update,
                                   next_update);
  OCSP_CERTID_free(id);
  ASN1_TIME_free(revoked_at);
  ASN1_TIME_free(this_update);
  ASN1_TIME_free(next_update);
  return ok;
}

static bool build(OCSP_BASICRESP *basic, const struct ml_ocsp_plan *plan)
{
  const EVP_MD *digest = plan->id_digest ? EVP_get_digestbyname(plan->id_digest) : EVP_sha1();
  if (!digest) return false;
  for (size_t i = 0; i < plan->statement_count; i++)
    if (!state(basic, &plan->statements[i], digest)) return false;
  if (plan->nonce && OCSP_basic_add1_nonce(basic, (unsigned char *)(uintptr_t)plan->nonce,
                                           (int)plan->nonce_len) != 1)
    return false;
  return OCSP_basic_sign(basic, plan->signer, plan->signer_key, NULL, NULL, 0) == 1;
}

static void spoil(OCSP_BASICRESP *basic)
{
  const ASN1_OCTET_STRING *signature = OCSP_resp_get0_signature(basic);
  unsigned char *bytes = (unsigned char *)(uintptr_t)ASN1_STRING_get0_data(signature);
  bytes[ASN1_STRING_length(signature) - 1] ^= 1;
}

int ml_ocsp_make(BIO *out, const struct ml_ocsp_plan *plan, struct ml_error *err)
{
  bool successful = plan->response_status == OCSP_RESPONSE_STATUS_SUCCESSFUL;
  OCSP_RESPONSE *response = NULL;
  ERR_clear_error();
  OCSP_BASICRESP *basic = successful ? OCSP_BASICRESP_new() : NULL;
  bool ok = !successful || (basic && build(basic, plan));
  if (ok && basic && plan->spoil_signature) spoil(basic);
  if (ok) response = OCSP_response_create(plan->response_status, basic);
  ok = response && i2d_OCSP_RESPONSE_bio(out, response) == 1;
  OCSP_RESPONSE_free(response);
  OCSP_BASICRESP_free(basic);
  if (ok) return 0;
  ml_error_openssl(err, "Could not make the response");
  return -1;
}

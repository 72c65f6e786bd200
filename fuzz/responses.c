#include "responses.h"

#include <openssl/ocsp.h>
#include <stdlib.h>
#include <string.h>

#include "certmaker.h"
#include "expect.h"
#include "keys.h"
#include "ocspmaker.h"

static struct fuzz_responses responses;
static size_t count;

static EVP_PKEY *make_key(void)
{
  struct ml_error err;
  EVP_PKEY *key;
  EXPECT(ml_key_make(&key, "ec:P-256", &err) == 0);
  return key;
}

static X509 *make_cert(const char *cn, const char *serial, EVP_PKEY *key, X509 *issuer,
                       EVP_PKEY *issuer_key, const char *purpose)
{
  struct ml_error err;
  X509 *cert;
  struct ml_name_attribute subject = {.type = "CN", .value = cn, .len = strlen(cn)};
  struct ml_cert_extension extensions[] = {
      {.name = "basicConstraints", .value = issuer ? "CA:FALSE" : "critical,CA:TRUE"},
      {.name = "extendedKeyUsage", .value = purpose}};
  struct ml_cert_plan plan = {.key = key,
                              .issuer = issuer,
                              .issuer_key = issuer_key,
                              .serial = serial,
                              .not_before = FUZZ_THIS_UPDATE,
                              .not_after = FUZZ_NEXT_UPDATE,
                              .version = 3,
                              .subject = &subject,
                              .subject_count = 1,
                              .extensions = extensions,
                              .extension_count = issuer ? 2 : 1};
  EXPECT(ml_cert_make(&cert, &plan, &err) == 0);
  return cert;
}

static void add(const char *name, const struct ml_ocsp_plan *plan)
{
  struct ml_error err;
  char *data;
  BIO *bio = BIO_new(BIO_s_mem());
  EXPECT(count < FUZZ_RESPONSES && bio && ml_ocsp_make(bio, plan, &err) == 0);
  size_t len = (size_t)BIO_get_mem_data(bio, &data);
  responses.list[count].name = name;
  responses.list[count].der = malloc(len);
  responses.list[count].len = len;
  EXPECT(responses.list[count].der);
  memcpy(responses.list[count].der, data, len);
  count++;
  BIO_free(bio);
}

static struct ml_ocsp_statement say(size_t i, int status)
{
  struct ml_ocsp_statement statement = {.cert = responses.certs[i],
                                        .issuer = responses.issuer,
                                        .status = status,
                                        .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE,
                                        .revoked_at = FUZZ_THIS_UPDATE,
                                        .this_update = FUZZ_THIS_UPDATE,
                                        .next_update = FUZZ_NEXT_UPDATE};
  return statement;
}

static void add_true_ones(EVP_PKEY *key, X509 *delegate, EVP_PKEY *delegate_key)
{
  const struct ml_ocsp_statement truth[] = {say(0, V_OCSP_CERTSTATUS_GOOD),
                                            say(1, V_OCSP_CERTSTATUS_REVOKED),
                                            say(2, V_OCSP_CERTSTATUS_UNKNOWN)};
  struct ml_ocsp_plan plan = {.signer = responses.issuer, .signer_key = key, .statement_count = 1};
  plan.statements = &truth[0];
  add("good", &plan);
  plan.statements = &truth[1];
  add("revoked", &plan);
  plan.statements = &truth[2];
  add("unknown", &plan);
  plan.statements = truth;
  plan.statement_count = 3;
  plan.id_digest = "SHA256";
  add("all", &plan);
  plan.nonce = FUZZ_RESPONSE_NONCE;
  plan.nonce_len = strlen(FUZZ_RESPONSE_NONCE);
  add("all with a nonce", &plan);
  plan.signer = delegate;
  plan.signer_key = delegate_key;
  add("all by a responder", &plan);
  plan.statement_count = 0;
  add("nothing", &plan);
}

static void add_lies(X509 *stranger, X509 *delegate, X509 *server, EVP_PKEY *key)
{
  const struct ml_ocsp_statement lies[] = {say(0, V_OCSP_CERTSTATUS_GOOD),
                                           say(1, V_OCSP_CERTSTATUS_GOOD),
                                           say(2, V_OCSP_CERTSTATUS_GOOD)};
  struct ml_ocsp_plan plan = {.signer_key = key, .statements = lies, .statement_count = 3};
  plan.signer = stranger;
  add("by a stranger", &plan);
  plan.signer = delegate;
  add("by a stranger's responder", &plan);
  plan.signer = server;
  add("by a server", &plan);
  plan.spoil_signature = true;
  add("spoilt", &plan);
  plan.response_status = OCSP_RESPONSE_STATUS_TRYLATER;
  add("later", &plan);
}

const struct fuzz_responses *fuzz_responses(void)
{
  if (count > 0) return &responses;
  EVP_PKEY *key = make_key(), *delegate_key = make_key(), *other_key = make_key();
  responses.issuer = make_cert("OCSP Fuzz CA", "01", key, NULL, NULL, NULL);
  responses.stranger = make_cert("OCSP Fuzz CA", "01", other_key, NULL, NULL, NULL);
  static const char *const serials[] = {"0a", "0b", "0c"};
  for (size_t i = 0; i < 3; i++)
    responses.certs[i] =
        make_cert("leaf", serials[i], other_key, responses.issuer, key, "serverAuth");
  X509 *delegate = make_cert("responder", "02", delegate_key, responses.issuer, key, "OCSPSigning");
  X509 *liar =
      make_cert("responder", "02", other_key, responses.stranger, other_key, "OCSPSigning");
  add_true_ones(key, delegate, delegate_key);
  add_lies(responses.stranger, liar, responses.certs[0], other_key);
  EXPECT(count == FUZZ_RESPONSES);
  X509_free(delegate);
  X509_free(liar);
  EVP_PKEY_free(key);
  EVP_PKEY_free(delegate_key);
  EVP_PKEY_free(other_key);
  return &responses;
}

/* OCSP responses: any bytes, and true ones and lies with some of their bytes changed, read with any
 * expectation.
 *
 * The first byte says what is expected and how the rest is to be taken: see expectation_of and
 * bytes_of. Nothing ever makes anybody's word verified but the authority's, nor makes that word
 * another.
 */
#include <openssl/err.h>
#include <stdbool.h>
#include <string.h>

#include "certinfo.h"
#include "expect.h"
#include "ocsp.h"
#include "random.h"
#include "responses.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const struct fuzz_responses *responses;

static struct ml_ocsp_expected expectation_of(unsigned how)
{
  X509 *issuers[] = {responses->issuer, responses->issuer, responses->stranger, NULL};
  X509 *certs[] = {NULL, responses->certs[0], responses->certs[1], responses->certs[2]};
  struct ml_ocsp_expected expected = {.issuer = issuers[how & 3], .cert = certs[how >> 2 & 3]};
  if (how & 16) {
    expected.nonce = FUZZ_RESPONSE_NONCE;
    expected.nonce_len = strlen(FUZZ_RESPONSE_NONCE);
  }
  return expected;
}

/* The bytes as they are; or one of our responses with changes: its number, then rows of place (two
 * bytes) and change. In a block of exactly their size. */
static uint8_t *bytes_of(unsigned how, const uint8_t *data, size_t size, size_t *len)
{
  const uint8_t *from = data;
  *len = size;
  bool ours = how & 32 && size > 0;
  if (ours) {
    size_t which = data[0] % FUZZ_RESPONSES;
    from = responses->list[which].der;
    *len = responses->list[which].len;
  }
  uint8_t *bytes = malloc(*len ? *len : 1);
  EXPECT(bytes);
  if (*len > 0) memcpy(bytes, from, *len);
  if (!ours) return bytes;
  for (data++, size--; size >= 3; data += 3, size -= 3)
    bytes[((size_t)data[0] << 8 | data[1]) % *len] ^= data[2];
  return bytes;
}

static void check_time(const ASN1_GENERALIZEDTIME *time, int64_t expected)
{
  int64_t seconds;
  EXPECT(time && ml_cert_seconds(time, &seconds) && seconds == expected);
}

static void check_verified(const struct ml_ocsp_response *response,
                           const struct ml_ocsp_expected *expected)
{
  static const char *const truth[] = {"good", "revoked", "unknown"};
  ASN1_INTEGER *serial;
  bool known = false;
  EXPECT(expected->issuer == responses->issuer && response->basic && response->id);
  OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)(uintptr_t)response->id);
  for (size_t i = 0; i < 3; i++) {
    X509 *cert = responses->certs[i];
    if (ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(cert)) != 0) continue;
    EXPECT(!expected->cert || expected->cert == cert);
    EXPECT(strcmp(response->status, truth[i]) == 0);
    known = true;
  }
  EXPECT(known);
  check_time(response->this_update, FUZZ_THIS_UPDATE);
  check_time(response->next_update, FUZZ_NEXT_UPDATE);
}

/* What is read off any response, verified or not. */
static void check_response(const struct ml_ocsp_response *response)
{
  int64_t seconds;
  BIO *out = BIO_new(BIO_s_mem());
  EXPECT(out && response->response_status);
  EXPECT(!response->basic == (strcmp(response->response_status, "successful") != 0));
  EXPECT(!response->id == !response->status && !response->id == !response->this_update);
  EXPECT(response->verified ||
         (response->verify_error.code[0] && response->verify_error.message[0]));
  const ASN1_GENERALIZEDTIME *times[] = {response->this_update, response->next_update,
                                         response->revoked_at};
  for (size_t i = 0; i < 3; i++)
    if (times[i] && ml_cert_seconds(times[i], &seconds))
      EXPECT(ml_cert_write_time(out, times[i]) == 1);
  if (response->id) EXPECT(ml_ocsp_write_serial(out, response->id) == 1);
  BIO_free(out);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc, (void)argv;
  fuzz_random_install();
  responses = fuzz_responses();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct ml_ocsp_response response;
  struct ml_error err;
  size_t len;
  if (size == 0) return 0;
  fuzz_random_start();
  struct ml_ocsp_expected expected = expectation_of(data[0]);
  uint8_t *bytes = bytes_of(data[0], data + 1, size - 1, &len);
  if (ml_ocsp_read(&response, bytes, len, &expected, &err) != 0) {
    EXPECT(!response.basic && strcmp(err.code, "ERR_OCSP_MALFORMED_RESPONSE") == 0);
  } else {
    check_response(&response);
    if (response.verified) check_verified(&response, &expected);
    ml_ocsp_release(&response);
  }
  EXPECT(ERR_peek_error() == 0);
  free(bytes);
  return 0;
}

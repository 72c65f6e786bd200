/* An authority, certificates of its own, and OCSP responses about them: true ones, and ones by
 * somebody who has no say. Made when a harness starts, out of repeatable randomness; only the time
 * at which they were signed is another each time. */
#ifndef FUZZ_RESPONSES_H
#define FUZZ_RESPONSES_H

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_RESPONSES 12
#define FUZZ_RESPONSE_NONCE "fuzz"

/* What every statement says; none is wrong about it. */
#define FUZZ_THIS_UPDATE INT64_C(1577836800) /* 2020 */
#define FUZZ_NEXT_UPDATE INT64_C(4102444800) /* 2100 */

struct fuzz_responses {
  X509 *issuer;
  X509 *stranger;
  X509 *certs[3]; /* the authority says that they are good, revoked, unknown, and never anything
                     else; others say that all are good */
  struct {
    const char *name;
    uint8_t *der;
    size_t len;
  } list[FUZZ_RESPONSES];
};

/* Belongs to the module. */
const struct fuzz_responses *fuzz_responses(void);

#endif

/* Keys, certificates and what else contexts are made of, for the harnesses to give whole or
 * damaged. Made when a harness starts, out of repeatable randomness: the same every time. */
#ifndef FUZZ_MATERIALS_H
#define FUZZ_MATERIALS_H

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

enum fuzz_material_kind {
  FUZZ_CERT,
  FUZZ_KEY,
  FUZZ_CRL,
  FUZZ_PFX,
  FUZZ_DH,
};

struct fuzz_material {
  const char *name;
  enum fuzz_material_kind kind;
  const char *label; /* of the PEM armour; NULL where there is none, or headers that matter (then
                        there is no DER either) */
  char *text;        /* as an option takes it: PEM, for PKCS#12 DER */
  size_t text_len;
  uint8_t *der;
  size_t der_len;
};

/* What all that is locked is locked with. */
#define FUZZ_PASSPHRASE "pass"

#define FUZZ_MATERIALS 18

/* All of them, in an order that findings depend on: append. Belongs to the module. */
const struct fuzz_material *fuzz_materials(void);

/* DER as PEM: "-----BEGIN <label>-----" and so on. The caller frees *out. Returns its length. */
size_t fuzz_armour(char **out, const char *label, const uint8_t *der, size_t len);

#endif

/* Makes certificates and revocation lists in memory, right ones and deliberately wrong ones: with
 * this the specs play every part of a PKI, and nothing made ahead of time lies around to expire.
 *
 * The plans are plain values whose pointers belong to the caller and are only read during the call.
 * Results are references of the caller's own. Nothing here calls back.
 */
#ifndef ML_CERTMAKER_H
#define ML_CERTMAKER_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* One attribute of a distinguished name. */
struct ml_name_attribute {
  const char *type;  /* a short name OpenSSL knows, "CN", or an object identifier, "1.2.3.4" */
  const char *value; /* `len` bytes */
  size_t len;
  int tag;     /* 0: UTF-8 text, stored as the narrowest type that holds it; else V_ASN1_*STRING and
                  bytes as given */
  bool joined; /* part of the same relative name as the attribute before it ("O=a + OU=b") */
};

enum ml_alt_kind {
  ML_ALT_DNS,
  ML_ALT_EMAIL,
  ML_ALT_URI,
  ML_ALT_IP,       /* text, "::1" */
  ML_ALT_IP_BYTES, /* bytes as given, of any number */
  ML_ALT_RID,      /* an object identifier as text */
  ML_ALT_DIRNAME,  /* a directory name with this common name */
  ML_ALT_OTHER,    /* otherName: `oid` and a string of type `tag` */
};

/* One GeneralName (RFC 5280, 4.2.1.6). Bytes go in as given: commas, quotes, NULs. */
struct ml_alt_name {
  enum ml_alt_kind kind;
  const char *value;
  size_t len;
  const char *oid; /* ML_ALT_OTHER */
  int tag;         /* ML_ALT_OTHER */
};

/* One entry of authorityInfoAccess. */
struct ml_info_access {
  const char *method; /* "OCSP", "caIssuers" or an object identifier */
  struct ml_alt_name location;
};

struct ml_cert_extension {
  const char *name;  /* short name or object identifier */
  const char *value; /* OpenSSL's configuration syntax (x509v3_config(5)), or `len` bytes of DER
                        when `der` */
  size_t len;
  bool der;
  bool critical; /* for DER; the configuration syntax has "critical," */
};

struct ml_cert_plan {
  EVP_PKEY *key; /* whose certificate it is; the public half is enough when there is an issuer */
  X509 *issuer;  /* NULL: self-signed */
  EVP_PKEY *issuer_key; /* private; unused when self-signed */
  const char *digest;   /* NULL: SHA-256, or what the key's algorithm brings */
  const char *serial;   /* hexadecimal digits, "-" allowed in front; NULL: random */
  int64_t not_before;   /* seconds since 1970 */
  int64_t not_after;
  int version; /* 1..3; 3 is the only one with extensions */
  const struct ml_name_attribute *subject;
  size_t subject_count;
  const struct ml_alt_name *names; /* subjectAltName; left out when there are none */
  size_t name_count;
  bool names_critical;
  const struct ml_info_access *access;
  size_t access_count;
  const struct ml_cert_extension *extensions;
  size_t extension_count;
  bool spoil_signature; /* flip a bit of it at the end */
};

ML_MUST_CHECK int ml_cert_make(X509 **out, const struct ml_cert_plan *plan, struct ml_error *err);

struct ml_crl_plan {
  X509 *issuer;
  EVP_PKEY *issuer_key;
  const char *digest; /* as above */
  int64_t last_update;
  int64_t next_update;
  long number;
  const char *const *serials; /* hexadecimal digits */
  size_t serial_count;
};

ML_MUST_CHECK int ml_crl_make(X509_CRL **out, const struct ml_crl_plan *plan, struct ml_error *err);

#endif

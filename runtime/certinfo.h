/* What a certificate says, as text and bytes, in the forms that Node gives.
 *
 * Text is appended to a memory BIO of the caller's. A writer returns 1 when it wrote, 0 when the
 * certificate has no such thing, -1 when it has one that cannot be read (nothing useful is in the
 * BIO then). Errors of OpenSSL are dropped from its queue. Certificates are only read; nothing
 * calls back.
 */
#ifndef ML_CERTINFO_H
#define ML_CERTINFO_H

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Reads one certificate: PEM with "CERTIFICATE", "X509 CERTIFICATE" or "TRUSTED CERTIFICATE" armour
 * (the first one found), else DER. The result is the caller's reference. */
ML_MUST_CHECK int ml_cert_read(X509 **out, const void *data, size_t len, struct ml_error *err);

/* The name with one line per relative name, "C=US\nO=a + OU=b\nCN=host", escaped as RFC 2253 says.
 */
int ml_cert_write_name(BIO *out, const X509_NAME *name);

/* The name's attributes in order: for each the type (a short name, else the object identifier) and
 * the value in UTF-8, both preceded by their length as a size_t. -1 when the encoding of a value is
 * broken. */
int ml_cert_write_attributes(BIO *out, const X509_NAME *name);

/* The subjectAltName list, "DNS:a.com, IP Address:1.2.3.4". An entry with bytes that could be taken
 * for something else (commas, quotes, backslashes, control characters, non-ASCII) is written as a
 * JSON string after its type, so that the list can be split without doubt (CVE-2021-44532). */
int ml_cert_write_alt_names(BIO *out, const X509 *cert);

/* The authorityInfoAccess list, one "OCSP - URI:http://…" per line, values quoted in the same way.
 */
int ml_cert_write_info_access(BIO *out, const X509 *cert);

/* "Aug 14 00:00:00 2017 GMT". */
int ml_cert_write_time(BIO *out, const ASN1_TIME *time);

/* Seconds since 1970; false for a time that cannot be read. */
bool ml_cert_seconds(const ASN1_TIME *time, int64_t *out);

/* The serial number in capital hexadecimal digits. */
int ml_cert_write_serial(BIO *out, const X509 *cert);

/* Any number in capital hexadecimal digits. */
int ml_cert_write_integer(BIO *out, const ASN1_INTEGER *integer);

/* The digest of the whole certificate as "AB:CD:…". `algorithm` is a name of
 * EVP_get_digestbyname(3). */
int ml_cert_write_fingerprint(BIO *out, const X509 *cert, const char *algorithm);

/* The purposes of extendedKeyUsage as dotted object identifiers, one per line ("\n" between). */
int ml_cert_write_purposes(BIO *out, const X509 *cert);

/* Whether it may issue certificates (X509_check_ca(3) says exactly 1, as Node asks). */
bool ml_cert_is_ca(X509 *cert);

/* Whether `issuer` may have issued `cert`, by their names and extensions alone
 * (X509_check_issued(3)).
 */
bool ml_cert_issued(X509 *issuer, X509 *cert);

/* The first certificate of `chain` (may be NULL), other than `cert` itself, that may have issued
 * it; NULL when there is none. Owned by the chain. */
X509 *ml_cert_issuer_in(X509 *cert, STACK_OF(X509) * chain);

/* The same out of a store, the whole of what it can look up; a self-signed certificate is its own.
 * A new reference. */
X509 *ml_cert_issuer_in_store(X509 *cert, X509_STORE *store);

/* RSA keys: modulus in capital hexadecimal digits and exponent as "0x10001". 0 for another kind of
 * key. */
int ml_cert_write_modulus(BIO *out, const EVP_PKEY *key);
int ml_cert_write_exponent(BIO *out, const EVP_PKEY *key);

/* The public key as Node's legacy object has it: DER of the SubjectPublicKeyInfo for RSA, the
 * encoded point for EC. 0 for another kind of key. */
int ml_cert_write_public(BIO *out, const EVP_PKEY *key);

/* OpenSSL's name of an EC key's curve ("prime256v1") and NIST's ("P-256"); NULL where there is
 * none. Static storage. */
const char *ml_cert_curve(const EVP_PKEY *key, const char **nist);

#endif

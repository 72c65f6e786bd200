#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ml_errno_name(int number)
{
  static _Thread_local char unknown[16];
  const char *name = strerrorname_np(number);
  if (name) return name;
  snprintf(unknown, sizeof(unknown), "E%d", number);
  return unknown;
}

void ml_error_system(struct ml_error *err, int number, const char *syscall)
{
  ml_error_system_at(err, number, syscall, "", 0);
}

void ml_error_system_at(struct ml_error *err, int number, const char *syscall, const char *address,
                        int port)
{
  memset(err, 0, sizeof(*err));
  err->origin = ML_ORIGIN_SYSTEM;
  err->number = number;
  snprintf(err->code, sizeof(err->code), "%s", ml_errno_name(number));
  snprintf(err->syscall, sizeof(err->syscall), "%s", syscall);
  snprintf(err->address, sizeof(err->address), "%s", address);
  err->port = port;
  /* From the bounded copies: the sum of their sizes fits. */
  int n = snprintf(err->message, sizeof(err->message), "%s %s", err->syscall, err->code);
  if (address[0] == '\0') return;
  n += snprintf(err->message + n, sizeof(err->message) - (size_t)n, " %s", err->address);
  if (port > 0) snprintf(err->message + n, sizeof(err->message) - (size_t)n, ":%d", port);
}

/* The part of a code that names the library. Libraries that OpenSSL 3 added (providers, decoders)
 * have none. */
static const char *library_prefix(int library)
{
  static const struct {
    int library;
    const char *prefix;
  } prefixes[] = {
      {ERR_LIB_SSL, "SSL_"},
      {ERR_LIB_SYS, "OSSL_SYS_"},
      {ERR_LIB_BN, "OSSL_BN_"},
      {ERR_LIB_RSA, "OSSL_RSA_"},
      {ERR_LIB_DH, "OSSL_DH_"},
      {ERR_LIB_EVP, "OSSL_EVP_"},
      {ERR_LIB_BUF, "OSSL_BUF_"},
      {ERR_LIB_OBJ, "OSSL_OBJ_"},
      {ERR_LIB_PEM, "OSSL_PEM_"},
      {ERR_LIB_DSA, "OSSL_DSA_"},
      {ERR_LIB_X509, "OSSL_X509_"},
      {ERR_LIB_ASN1, "OSSL_ASN1_"},
      {ERR_LIB_CONF, "OSSL_CONF_"},
      {ERR_LIB_CRYPTO, "OSSL_CRYPTO_"},
      {ERR_LIB_EC, "OSSL_EC_"},
      {ERR_LIB_BIO, "OSSL_BIO_"},
      {ERR_LIB_PKCS7, "OSSL_PKCS7_"},
      {ERR_LIB_X509V3, "OSSL_X509V3_"},
      {ERR_LIB_PKCS12, "OSSL_PKCS12_"},
      {ERR_LIB_RAND, "OSSL_RAND_"},
      {ERR_LIB_DSO, "OSSL_DSO_"},
      {ERR_LIB_ENGINE, "OSSL_ENGINE_"},
      {ERR_LIB_OCSP, "OSSL_OCSP_"},
      {ERR_LIB_UI, "OSSL_UI_"},
      {ERR_LIB_OSSL_STORE, "OSSL_OSSL_STORE_"},
      {ERR_LIB_CMS, "OSSL_CMS_"},
      {ERR_LIB_TS, "OSSL_TS_"},
      {ERR_LIB_CT, "OSSL_CT_"},
      {ERR_LIB_KDF, "OSSL_KDF_"},
  };
  for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
    if (prefixes[i].library == library) return prefixes[i].prefix;
  return "OSSL_";
}

static void append_upper(char *out, size_t size, const char *text)
{
  size_t n = strlen(out);
  for (; *text && n + 1 < size; text++)
    out[n++] = *text == ' ' ? '_' : (char)toupper((unsigned char)*text);
  out[n] = '\0';
}

static const char *reason_of(unsigned long number, const char *fallback)
{
  const char *reason = ERR_reason_error_string(number);
  if (reason) return reason;
  if (ERR_SYSTEM_ERROR(number)) return strerror(ERR_GET_REASON(number));
  /* An alert that the peer sent, of a number that means nothing, or no failure (close_notify). */
  bool alert = ERR_GET_LIB(number) == ERR_LIB_SSL && ERR_GET_REASON(number) >= SSL_AD_REASON_OFFSET;
  return alert ? "unknown alert" : fallback;
}

void ml_error_openssl(struct ml_error *err, const char *fallback)
{
  unsigned long number = ERR_get_error(), next;
  memset(err, 0, sizeof(*err));
  while (err->behind_count < ML_ERROR_BEHIND && (next = ERR_get_error()) != 0)
    err->behind[err->behind_count++] = next;
  ERR_clear_error();
  err->origin = ML_ORIGIN_TLS;
  err->number = (long)number;
  if (number == 0) {
    snprintf(err->message, sizeof(err->message), "%s", fallback);
    snprintf(err->code, sizeof(err->code), "ERR_SSL_UNKNOWN");
    return;
  }
  ERR_error_string_n(number, err->message, sizeof(err->message));
  const char *library = ERR_lib_error_string(number);
  if (library) snprintf(err->library, sizeof(err->library), "%s", library);
  snprintf(err->reason, sizeof(err->reason), "%s", reason_of(number, fallback));
  snprintf(err->code, sizeof(err->code), "ERR_%s", library_prefix(ERR_GET_LIB(number)));
  append_upper(err->code, sizeof(err->code), err->reason);
}

void ml_error_text_behind(const struct ml_error *err, unsigned index, char *text, size_t size)
{
  ERR_error_string_n(err->behind[index], text, size);
}

void ml_error_verify(struct ml_error *err, long number)
{
  memset(err, 0, sizeof(*err));
  err->origin = ML_ORIGIN_VERIFY;
  err->number = number;
  snprintf(err->code, sizeof(err->code), "%s", ml_verify_name(number));
  snprintf(err->message, sizeof(err->message), "%s", X509_verify_cert_error_string(number));
  snprintf(err->reason, sizeof(err->reason), "%s", X509_verify_cert_error_string(number));
}

void ml_error_misuse(struct ml_error *err, const char *code, const char *format, ...)
{
  memset(err, 0, sizeof(*err));
  err->origin = ML_ORIGIN_MISUSE;
  snprintf(err->code, sizeof(err->code), "%s", code);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(err->message, sizeof(err->message), format, arguments);
  va_end(arguments);
}

void ml_error_append(struct ml_error *err, const char *format, ...)
{
  size_t used = strlen(err->message);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(err->message + used, sizeof(err->message) - used, format, arguments);
  va_end(arguments);
}

/* The code without X509_V_ERR_, which is Node's name for it. */
#define NAME(name)                                                                                 \
  {                                                                                                \
    X509_V_ERR_##name, #name                                                                       \
  }
static const struct {
  int number;
  const char *name;
} verdicts[] = {
    {X509_V_OK, "OK"},
    NAME(UNSPECIFIED),
    NAME(UNABLE_TO_GET_ISSUER_CERT),
    NAME(UNABLE_TO_GET_CRL),
    NAME(UNABLE_TO_DECRYPT_CERT_SIGNATURE),
    NAME(UNABLE_TO_DECRYPT_CRL_SIGNATURE),
    NAME(UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY),
    NAME(CERT_SIGNATURE_FAILURE),
    NAME(CRL_SIGNATURE_FAILURE),
    NAME(CERT_NOT_YET_VALID),
    NAME(CERT_HAS_EXPIRED),
    NAME(CRL_NOT_YET_VALID),
    NAME(CRL_HAS_EXPIRED),
    NAME(ERROR_IN_CERT_NOT_BEFORE_FIELD),
    NAME(ERROR_IN_CERT_NOT_AFTER_FIELD),
    NAME(ERROR_IN_CRL_LAST_UPDATE_FIELD),
    NAME(ERROR_IN_CRL_NEXT_UPDATE_FIELD),
    NAME(OUT_OF_MEM),
    NAME(DEPTH_ZERO_SELF_SIGNED_CERT),
    NAME(SELF_SIGNED_CERT_IN_CHAIN),
    NAME(UNABLE_TO_GET_ISSUER_CERT_LOCALLY),
    NAME(UNABLE_TO_VERIFY_LEAF_SIGNATURE),
    NAME(CERT_CHAIN_TOO_LONG),
    NAME(CERT_REVOKED),
    NAME(NO_ISSUER_PUBLIC_KEY),
    NAME(PATH_LENGTH_EXCEEDED),
    NAME(INVALID_PURPOSE),
    NAME(CERT_UNTRUSTED),
    NAME(CERT_REJECTED),
    NAME(SUBJECT_ISSUER_MISMATCH),
    NAME(AKID_SKID_MISMATCH),
    NAME(AKID_ISSUER_SERIAL_MISMATCH),
    NAME(KEYUSAGE_NO_CERTSIGN),
    NAME(UNABLE_TO_GET_CRL_ISSUER),
    NAME(UNHANDLED_CRITICAL_EXTENSION),
    NAME(KEYUSAGE_NO_CRL_SIGN),
    NAME(UNHANDLED_CRITICAL_CRL_EXTENSION),
    NAME(INVALID_NON_CA),
    NAME(PROXY_PATH_LENGTH_EXCEEDED),
    NAME(KEYUSAGE_NO_DIGITAL_SIGNATURE),
    NAME(PROXY_CERTIFICATES_NOT_ALLOWED),
    NAME(INVALID_EXTENSION),
    NAME(INVALID_POLICY_EXTENSION),
    NAME(NO_EXPLICIT_POLICY),
    NAME(DIFFERENT_CRL_SCOPE),
    NAME(UNSUPPORTED_EXTENSION_FEATURE),
    NAME(UNNESTED_RESOURCE),
    NAME(PERMITTED_VIOLATION),
    NAME(EXCLUDED_VIOLATION),
    NAME(SUBTREE_MINMAX),
    NAME(APPLICATION_VERIFICATION),
    NAME(UNSUPPORTED_CONSTRAINT_TYPE),
    NAME(UNSUPPORTED_CONSTRAINT_SYNTAX),
    NAME(UNSUPPORTED_NAME_SYNTAX),
    NAME(CRL_PATH_VALIDATION_ERROR),
    NAME(PATH_LOOP),
    NAME(SUITE_B_INVALID_VERSION),
    NAME(SUITE_B_INVALID_ALGORITHM),
    NAME(SUITE_B_INVALID_CURVE),
    NAME(SUITE_B_INVALID_SIGNATURE_ALGORITHM),
    NAME(SUITE_B_LOS_NOT_ALLOWED),
    NAME(SUITE_B_CANNOT_SIGN_P_384_WITH_P_256),
    NAME(HOSTNAME_MISMATCH),
    NAME(EMAIL_MISMATCH),
    NAME(IP_ADDRESS_MISMATCH),
    NAME(DANE_NO_MATCH),
    NAME(EE_KEY_TOO_SMALL),
    NAME(CA_KEY_TOO_SMALL),
    NAME(CA_MD_TOO_WEAK),
    NAME(INVALID_CALL),
    NAME(STORE_LOOKUP),
    NAME(NO_VALID_SCTS),
    NAME(PROXY_SUBJECT_NAME_VIOLATION),
    NAME(OCSP_VERIFY_NEEDED),
    NAME(OCSP_VERIFY_FAILED),
    NAME(OCSP_CERT_UNKNOWN),
    NAME(UNSUPPORTED_SIGNATURE_ALGORITHM),
    NAME(SIGNATURE_ALGORITHM_MISMATCH),
    NAME(SIGNATURE_ALGORITHM_INCONSISTENCY),
    NAME(INVALID_CA),
    NAME(PATHLEN_INVALID_FOR_NON_CA),
    NAME(PATHLEN_WITHOUT_KU_KEY_CERT_SIGN),
    NAME(KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA),
    NAME(ISSUER_NAME_EMPTY),
    NAME(SUBJECT_NAME_EMPTY),
    NAME(MISSING_AUTHORITY_KEY_IDENTIFIER),
    NAME(MISSING_SUBJECT_KEY_IDENTIFIER),
    NAME(EMPTY_SUBJECT_ALT_NAME),
    NAME(EMPTY_SUBJECT_SAN_NOT_CRITICAL),
    NAME(CA_BCONS_NOT_CRITICAL),
    NAME(AUTHORITY_KEY_IDENTIFIER_CRITICAL),
    NAME(SUBJECT_KEY_IDENTIFIER_CRITICAL),
    NAME(CA_CERT_MISSING_KEY_USAGE),
    NAME(EXTENSIONS_REQUIRE_VERSION_3),
    NAME(EC_KEY_EXPLICIT_PARAMS),
};
#undef NAME
#define VERDICTS (sizeof(verdicts) / sizeof(*verdicts))

const char *ml_verify_name(long number)
{
  for (size_t i = 0; i < VERDICTS; i++)
    if (verdicts[i].number == number) return verdicts[i].name;
  return "UNSPECIFIED";
}

/* Those that RFC 8446 keeps from using, and those that are no errors, have no_error set. */
static const struct {
  uint8_t number;
  bool no_error;
  const char *name;
} alerts[] = {
    {0, true, "close_notify"},
    {10, false, "unexpected_message"},
    {20, false, "bad_record_mac"},
    {21, true, "decryption_failed"},
    {22, false, "record_overflow"},
    {30, true, "decompression_failure"},
    {40, false, "handshake_failure"},
    {41, true, "no_certificate"},
    {42, false, "bad_certificate"},
    {43, false, "unsupported_certificate"},
    {44, false, "certificate_revoked"},
    {45, false, "certificate_expired"},
    {46, false, "certificate_unknown"},
    {47, false, "illegal_parameter"},
    {48, false, "unknown_ca"},
    {49, false, "access_denied"},
    {50, false, "decode_error"},
    {51, false, "decrypt_error"},
    {60, true, "export_restriction"},
    {70, false, "protocol_version"},
    {71, false, "insufficient_security"},
    {80, false, "internal_error"},
    {86, false, "inappropriate_fallback"},
    {90, true, "user_canceled"},
    {100, true, "no_renegotiation"},
    {109, false, "missing_extension"},
    {110, false, "unsupported_extension"},
    {111, true, "certificate_unobtainable"},
    {112, false, "unrecognized_name"},
    {113, false, "bad_certificate_status_response"},
    {114, true, "bad_certificate_hash_value"},
    {115, false, "unknown_psk_identity"},
    {116, false, "certificate_required"},
    {120, false, "no_application_protocol"},
};
#define ALERTS (sizeof(alerts) / sizeof(*alerts))

const char *ml_alert_name(int alert)
{
  for (size_t i = 0; i < ALERTS; i++)
    if (alerts[i].number == alert) return alerts[i].name;
  return "unknown";
}

bool ml_alert_is_error(int alert)
{
  for (size_t i = 0; i < ALERTS; i++)
    if (alerts[i].number == alert) return !alerts[i].no_error;
  return false;
}

void ml_error_clear_openssl(void)
{
  if (ERR_peek_error() != 0) ERR_clear_error();
}

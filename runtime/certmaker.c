#include "certmaker.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

/* Every function below returns whether it worked and leaves the reason in OpenSSL's error queue. */

static bool add_attribute(X509_NAME *name, const struct ml_name_attribute *attribute)
{
  int type = attribute->tag ? attribute->tag : MBSTRING_UTF8;
  return X509_NAME_add_entry_by_txt(name, attribute->type, type,
                                    (const unsigned char *)attribute->value, (int)attribute->len,
                                    -1, attribute->joined ? -1 : 0) == 1;
}

/* General names */

static ASN1_STRING *make_string(int tag, const char *data, size_t len)
{
  ASN1_STRING *string = ASN1_STRING_type_new(tag);
  if (string && ASN1_STRING_set(string, data, (int)len) != 1) {
    ASN1_STRING_free(string);
    return NULL;
  }
  return string;
}

static ASN1_STRING *make_ip(const struct ml_alt_name *from)
{
  char text[64];
  if (from->len >= sizeof(text)) return NULL;
  memcpy(text, from->value, from->len);
  text[from->len] = '\0';
  return a2i_IPADDRESS(text);
}

static X509_NAME *make_directory_name(const struct ml_alt_name *from)
{
  const struct ml_name_attribute common = {.type = "CN", .value = from->value, .len = from->len};
  X509_NAME *name = X509_NAME_new();
  if (name && add_attribute(name, &common)) return name;
  X509_NAME_free(name);
  return NULL;
}

static OTHERNAME *make_other_name(const struct ml_alt_name *from)
{
  OTHERNAME *other = OTHERNAME_new();
  ASN1_OBJECT *type = OBJ_txt2obj(from->oid, 0);
  ASN1_STRING *value = make_string(from->tag, from->value, from->len);
  if (!other || !type || !value) {
    OTHERNAME_free(other);
    ASN1_OBJECT_free(type);
    ASN1_STRING_free(value);
    return NULL;
  }
  ASN1_OBJECT_free(other->type_id);
  other->type_id = type;
  ASN1_TYPE_set(other->value, from->tag, value);
  return other;
}

static GENERAL_NAME *make_general_name(const struct ml_alt_name *from)
{
  GENERAL_NAME *name = GENERAL_NAME_new();
  void *value = NULL;
  int type = GEN_DNS;
  switch (from->kind) {
  case ML_ALT_DNS:
  case ML_ALT_EMAIL:
  case ML_ALT_URI:
    type = from->kind == ML_ALT_DNS ? GEN_DNS : from->kind == ML_ALT_EMAIL ? GEN_EMAIL : GEN_URI;
    value = make_string(V_ASN1_IA5STRING, from->value, from->len);
    break;
  case ML_ALT_IP:
    type = GEN_IPADD;
    value = make_ip(from);
    break;
  case ML_ALT_IP_BYTES:
    type = GEN_IPADD;
    value = make_string(V_ASN1_OCTET_STRING, from->value, from->len);
    break;
  case ML_ALT_RID:
    type = GEN_RID;
    value = OBJ_txt2obj(from->value, 1);
    break;
  case ML_ALT_DIRNAME:
    type = GEN_DIRNAME;
    value = make_directory_name(from);
    break;
  case ML_ALT_OTHER:
    type = GEN_OTHERNAME;
    value = make_other_name(from);
    break;
  }
  if (!name || !value) {
    GENERAL_NAME_free(name); /* of a NULL value only memory is at fault, or text that is no address
                                or identifier */
    return NULL;
  }
  GENERAL_NAME_set0_value(name, type, value);
  return name;
}

static bool add_names(X509 *cert, const struct ml_cert_plan *plan)
{
  if (plan->name_count == 0) return true;
  GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
  bool ok = names != NULL;
  for (size_t i = 0; ok && i < plan->name_count; i++) {
    GENERAL_NAME *name = make_general_name(&plan->names[i]);
    ok = name && sk_GENERAL_NAME_push(names, name) > 0;
    if (!ok) GENERAL_NAME_free(name);
  }
  ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, plan->names_critical, 0) == 1;
  GENERAL_NAMES_free(names);
  return ok;
}

static ACCESS_DESCRIPTION *make_access(const struct ml_info_access *from)
{
  ACCESS_DESCRIPTION *entry = ACCESS_DESCRIPTION_new();
  ASN1_OBJECT *method = OBJ_txt2obj(from->method, 0);
  GENERAL_NAME *location = make_general_name(&from->location);
  if (!entry || !method || !location) {
    ACCESS_DESCRIPTION_free(entry);
    ASN1_OBJECT_free(method);
    GENERAL_NAME_free(location);
    return NULL;
  }
  ASN1_OBJECT_free(entry->method);
  GENERAL_NAME_free(entry->location);
  entry->method = method;
  entry->location = location;
  return entry;
}

static bool add_access(X509 *cert, const struct ml_cert_plan *plan)
{
  if (plan->access_count == 0) return true;
  AUTHORITY_INFO_ACCESS *list = sk_ACCESS_DESCRIPTION_new_null();
  bool ok = list != NULL;
  for (size_t i = 0; ok && i < plan->access_count; i++) {
    ACCESS_DESCRIPTION *entry = make_access(&plan->access[i]);
    ok = entry && sk_ACCESS_DESCRIPTION_push(list, entry) > 0;
    if (!ok) ACCESS_DESCRIPTION_free(entry);
  }
  ok = ok && X509_add1_ext_i2d(cert, NID_info_access, list, 0, 0) == 1;
  AUTHORITY_INFO_ACCESS_free(list);
  return ok;
}

static X509_EXTENSION *make_extension(X509V3_CTX *ctx, const struct ml_cert_extension *from)
{
  if (!from->der) return X509V3_EXT_nconf(NULL, ctx, from->name, from->value);
  X509_EXTENSION *extension = NULL;
  ASN1_OBJECT *object = OBJ_txt2obj(from->name, 0);
  ASN1_OCTET_STRING *data = make_string(V_ASN1_OCTET_STRING, from->value, from->len);
  if (object && data) extension = X509_EXTENSION_create_by_OBJ(NULL, object, from->critical, data);
  ASN1_OBJECT_free(object);
  ASN1_OCTET_STRING_free(data);
  return extension;
}

static bool add_extensions(X509 *cert, const struct ml_cert_plan *plan)
{
  X509V3_CTX ctx;
  X509V3_set_ctx_nodb(&ctx);
  X509V3_set_ctx(&ctx, plan->issuer ? plan->issuer : cert, cert, NULL, NULL, 0);
  for (size_t i = 0; i < plan->extension_count; i++) {
    X509_EXTENSION *extension = make_extension(&ctx, &plan->extensions[i]);
    bool ok = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    if (!ok) return false;
  }
  return true;
}

/* The rest of a certificate */

/* RFC 5280, 4.1.2.2: positive, at most 20 octets. */
static BIGNUM *random_serial(void)
{
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) return NULL;
  bytes[0] = (bytes[0] & 0x7f) | 0x40;
  return BN_bin2bn(bytes, sizeof(bytes), NULL);
}

/* `hex` or, when that is NULL, a random number. */
static ASN1_INTEGER *make_serial(const char *hex)
{
  BIGNUM *number = NULL;
  if (!hex)
    number = random_serial();
  else if (BN_hex2bn(&number, hex) != (int)strlen(hex)) {
    BN_free(number);
    return NULL;
  }
  ASN1_INTEGER *serial = number ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
  BN_free(number);
  return serial;
}

static bool set_serial(X509 *cert, const char *hex)
{
  ASN1_INTEGER *serial = make_serial(hex);
  bool ok = serial && X509_set_serialNumber(cert, serial) == 1;
  ASN1_INTEGER_free(serial);
  return ok;
}

static bool set_subject(X509 *cert, const struct ml_cert_plan *plan)
{
  X509_NAME *name = X509_NAME_new();
  bool ok = name != NULL;
  for (size_t i = 0; ok && i < plan->subject_count; i++)
    ok = add_attribute(name, &plan->subject[i]);
  ok = ok && X509_set_subject_name(cert, name) == 1;
  X509_NAME_free(name);
  return ok;
}

/* The digest to sign with: NULL for algorithms that have their own, as Ed25519. False for an
 * unknown name. */
static bool choose_digest(EVP_PKEY *key, const char *name, const EVP_MD **out)
{
  char own[64];
  *out = NULL;
  /* 2: no other will do (EVP_PKEY_get_default_digest_name(3)). */
  if (EVP_PKEY_get_default_digest_name(key, own, sizeof(own)) == 2 && strcmp(own, "UNDEF") == 0)
    return true;
  *out = EVP_get_digestbyname(name ? name : "SHA256");
  return *out != NULL;
}

static void spoil(X509 *cert)
{
  const ASN1_BIT_STRING *signature;
  X509_get0_signature(&signature, NULL, cert);
  unsigned char *bytes = (unsigned char *)ASN1_STRING_get0_data(signature);
  bytes[ASN1_STRING_length(signature) - 1] ^= 1;
}

/* After set_subject, which replaces the name that a self-signed certificate repeats here. */
static bool set_issuer(X509 *cert, const struct ml_cert_plan *plan)
{
  return X509_set_issuer_name(cert, X509_get_subject_name(plan->issuer ? plan->issuer : cert)) == 1;
}

static bool build(X509 *cert, const struct ml_cert_plan *plan)
{
  return X509_set_version(cert, plan->version - 1) == 1 && set_serial(cert, plan->serial) &&
         ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)plan->not_before) &&
         ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)plan->not_after) &&
         X509_set_pubkey(cert, plan->key) == 1 && set_subject(cert, plan) &&
         set_issuer(cert, plan) && add_names(cert, plan) && add_access(cert, plan) &&
         add_extensions(cert, plan);
}

int ml_cert_make(X509 **out, const struct ml_cert_plan *plan, struct ml_error *err)
{
  EVP_PKEY *signer = plan->issuer ? plan->issuer_key : plan->key;
  const EVP_MD *digest;
  ERR_clear_error();
  X509 *cert = X509_new();
  if (!cert || !build(cert, plan) || !choose_digest(signer, plan->digest, &digest) ||
      X509_sign(cert, signer, digest) <= 0)
    goto fail;
  if (plan->spoil_signature) spoil(cert);
  *out = cert;
  return 0;

fail:
  X509_free(cert);
  ml_error_openssl(err, "Could not make the certificate");
  return -1;
}

/* Revocation lists */

static bool revoke(X509_CRL *crl, const char *hex, const ASN1_TIME *when)
{
  X509_REVOKED *entry = X509_REVOKED_new();
  ASN1_INTEGER *serial = make_serial(hex);
  bool ok = entry && serial && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
            X509_REVOKED_set_revocationDate(entry, (ASN1_TIME *)when) == 1 &&
            X509_CRL_add0_revoked(crl, entry) == 1;
  if (!ok) X509_REVOKED_free(entry);
  ASN1_INTEGER_free(serial);
  return ok;
}

static bool number_crl(X509_CRL *crl, long number)
{
  ASN1_INTEGER *value = ASN1_INTEGER_new();
  bool ok = value && ASN1_INTEGER_set(value, number) == 1 &&
            X509_CRL_add1_ext_i2d(crl, NID_crl_number, value, 0, 0) == 1;
  ASN1_INTEGER_free(value);
  return ok;
}

static bool build_crl(X509_CRL *crl, const struct ml_crl_plan *plan)
{
  ASN1_TIME *last = ASN1_TIME_set(NULL, (time_t)plan->last_update);
  ASN1_TIME *next = ASN1_TIME_set(NULL, (time_t)plan->next_update);
  bool ok = last && next && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
            X509_CRL_set_issuer_name(crl, X509_get_subject_name(plan->issuer)) == 1 &&
            X509_CRL_set1_lastUpdate(crl, last) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1;
  for (size_t i = 0; ok && i < plan->serial_count; i++)
    ok = revoke(crl, plan->serials[i], last);
  ASN1_TIME_free(last);
  ASN1_TIME_free(next);
  return ok && number_crl(crl, plan->number) && X509_CRL_sort(crl) == 1;
}

int ml_crl_make(X509_CRL **out, const struct ml_crl_plan *plan, struct ml_error *err)
{
  const EVP_MD *digest;
  ERR_clear_error();
  X509_CRL *crl = X509_CRL_new();
  if (!crl || !build_crl(crl, plan) || !choose_digest(plan->issuer_key, plan->digest, &digest) ||
      X509_CRL_sign(crl, plan->issuer_key, digest) <= 0)
    goto fail;
  *out = crl;
  return 0;

fail:
  X509_CRL_free(crl);
  ml_error_openssl(err, "Could not make the revocation list");
  return -1;
}

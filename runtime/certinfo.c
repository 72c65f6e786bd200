#include "certinfo.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

static int no_passphrase(char *buffer, int size, int writing, void *user)
{
  (void)buffer, (void)size, (void)writing, (void)user;
  return -1;
}

int ml_cert_read(X509 **out, const void *data, size_t len, struct ml_error *err)
{
  ERR_clear_error();
  X509 *cert = NULL;
  BIO *bio = len > INT32_MAX ? NULL : BIO_new_mem_buf(data, (int)len);
  if (bio) cert = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
  if (bio && !cert) {
    /* What was wrong with the PEM is the better report, if it is no DER either. */
    const unsigned char *p = data;
    ERR_set_mark();
    cert = d2i_X509(NULL, &p, (long)len);
    ERR_pop_to_mark();
  }
  BIO_free(bio);
  if (cert) {
    ERR_clear_error();
    *out = cert;
    return 0;
  }
  ml_error_openssl(err, "Not a certificate");
  return -1;
}

/* Names */

int ml_cert_write_name(BIO *out, const X509_NAME *name)
{
  ERR_set_mark();
  int n = X509_NAME_print_ex(out, name, 0,
                             ASN1_STRFLGS_ESC_2253 | ASN1_STRFLGS_ESC_CTRL |
                                 ASN1_STRFLGS_UTF8_CONVERT | XN_FLAG_SEP_MULTILINE | XN_FLAG_FN_SN);
  ERR_pop_to_mark();
  return n > 0 ? 1 : n;
}

static void write_counted(BIO *out, const void *data, size_t len)
{
  BIO_write(out, &len, sizeof(len));
  BIO_write(out, data, (int)len);
}

int ml_cert_write_attributes(BIO *out, const X509_NAME *name)
{
  int result = 1;
  ERR_set_mark();
  for (int i = 0; result > 0 && i < X509_NAME_entry_count(name); i++) {
    const X509_NAME_ENTRY *attribute = X509_NAME_get_entry(name, i);
    const ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(attribute);
    int nid = OBJ_obj2nid(object);
    char oid[80];
    unsigned char *value = NULL;
    int len = ASN1_STRING_to_UTF8(&value, X509_NAME_ENTRY_get_data(attribute));
    if (nid == NID_undef) OBJ_obj2txt(oid, sizeof(oid), object, 1);
    const char *type = nid == NID_undef ? oid : OBJ_nid2sn(nid);
    write_counted(out, type, strlen(type));
    if (len >= 0)
      write_counted(out, value, (size_t)len);
    else
      result = -1;
    OPENSSL_free(value);
  }
  ERR_pop_to_mark();
  return result;
}

/* General names */

/* Whether a value may stand in the list as it is. Quotes of both kinds and the backslash would make
 * it look escaped, the comma like two values. */
static bool is_plain(const unsigned char *value, size_t len, bool utf8)
{
  for (size_t i = 0; i < len; i++) {
    unsigned char c = value[i];
    if (c < ' ' || c == 0x7f || c == '"' || c == '\\' || c == ',' || c == '\'') return false;
    if (c > 0x7f && !utf8) return false;
  }
  return true;
}

/* `label` stands inside the quotes when there are any ("UPN:"). Bytes of a value that is not UTF-8
 * are Latin-1. */
static void write_value(BIO *out, const ASN1_STRING *string, bool utf8, const char *label)
{
  const unsigned char *value = ASN1_STRING_get0_data(string);
  size_t len = (size_t)ASN1_STRING_length(string);
  if (is_plain(value, len, utf8)) {
    BIO_puts(out, label);
    BIO_write(out, value, (int)len);
    return;
  }
  BIO_printf(out, "\"%s", label);
  for (size_t i = 0; i < len; i++) {
    unsigned char c = value[i];
    if (c == '"' || c == '\\')
      BIO_printf(out, "\\%c", c);
    else if ((c >= ' ' && c < 0x7f && c != ',') || (c > 0x7f && utf8))
      BIO_write(out, &c, 1);
    else
      BIO_printf(out, "\\u%04x", c);
  }
  BIO_puts(out, "\"");
}

static int write_directory_name(BIO *out, const X509_NAME *name)
{
  BIO *text = BIO_new(BIO_s_mem());
  ASN1_STRING *string = ASN1_STRING_new();
  unsigned long flags = XN_FLAG_RFC2253 & ~(ASN1_STRFLGS_ESC_MSB | ASN1_STRFLGS_ESC_CTRL);
  int result = -1;
  if (text && string && X509_NAME_print_ex(text, name, 0, flags) >= 0) {
    char *data;
    long len = BIO_get_mem_data(text, &data);
    if (ASN1_STRING_set(string, data, (int)len) == 1) {
      write_value(out, string, true, "");
      result = 1;
    }
  }
  ASN1_STRING_free(string);
  BIO_free(text);
  return result;
}

static void write_ip(BIO *out, const ASN1_OCTET_STRING *ip)
{
  const unsigned char *b = ASN1_STRING_get0_data(ip);
  int len = ASN1_STRING_length(ip);
  if (len == 4) {
    BIO_printf(out, "%d.%d.%d.%d", b[0], b[1], b[2], b[3]);
  } else if (len == 16) {
    for (int i = 0; i < 16; i += 2)
      BIO_printf(out, "%s%X", i ? ":" : "", (unsigned)b[i] << 8 | b[i + 1]);
  } else {
    BIO_printf(out, "<invalid length=%d>", len);
  }
}

static void write_other_name(BIO *out, const OTHERNAME *other)
{
  static const struct {
    int nid;
    int tag;
    const char *label;
  } known[] = {
      {NID_id_on_SmtpUTF8Mailbox, V_ASN1_UTF8STRING, "SmtpUTF8Mailbox:"},
      {NID_XmppAddr, V_ASN1_UTF8STRING, "XmppAddr:"},
      {NID_SRVName, V_ASN1_IA5STRING, "SRVName:"},
      {NID_ms_upn, V_ASN1_UTF8STRING, "UPN:"},
      {NID_NAIRealm, V_ASN1_UTF8STRING, "NAIRealm:"},
  };
  int nid = OBJ_obj2nid(other->type_id);
  BIO_puts(out, "othername:");
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
    if (known[i].nid != nid || known[i].tag != ASN1_TYPE_get(other->value)) continue;
    write_value(out, other->value->value.asn1_string, known[i].tag == V_ASN1_UTF8STRING,
                known[i].label);
    return;
  }
  BIO_puts(out, "<unsupported>");
}

static void write_ia5(BIO *out, const char *type, const ASN1_IA5STRING *value)
{
  BIO_puts(out, type);
  write_value(out, value, false, "");
}

static int write_general_name(BIO *out, const GENERAL_NAME *name)
{
  char oid[256];
  int type;
  void *value = GENERAL_NAME_get0_value(name, &type);
  switch (type) {
  case GEN_DNS:
    write_ia5(out, "DNS:", value);
    return 1;
  case GEN_EMAIL:
    write_ia5(out, "email:", value);
    return 1;
  case GEN_URI:
    write_ia5(out, "URI:", value);
    return 1;
  case GEN_DIRNAME:
    BIO_puts(out, "DirName:");
    return write_directory_name(out, value);
  case GEN_IPADD:
    BIO_puts(out, "IP Address:");
    write_ip(out, value);
    return 1;
  case GEN_RID:
    OBJ_obj2txt(oid, sizeof(oid), value, 1);
    BIO_printf(out, "Registered ID:%s", oid);
    return 1;
  case GEN_OTHERNAME:
    write_other_name(out, value);
    return 1;
  case GEN_X400:
    BIO_puts(out, "X400Name:<unsupported>");
    return 1;
  case GEN_EDIPARTY:
    BIO_puts(out, "EdiPartyName:<unsupported>");
    return 1;
  default:
    return -1;
  }
}

/* The first extension of this type, decoded. `*found` tells an absent one from an unreadable one.
 */
static void *decode_extension(const X509 *cert, int nid, bool *found)
{
  int index = X509_get_ext_by_NID(cert, nid, -1);
  *found = index >= 0;
  return *found ? X509V3_EXT_d2i(X509_get_ext(cert, index)) : NULL;
}

int ml_cert_write_alt_names(BIO *out, const X509 *cert)
{
  bool found;
  ERR_set_mark();
  GENERAL_NAMES *names = decode_extension(cert, NID_subject_alt_name, &found);
  int result = names ? 1 : found ? -1 : 0;
  for (int i = 0; result > 0 && i < sk_GENERAL_NAME_num(names); i++) {
    if (i) BIO_puts(out, ", ");
    result = write_general_name(out, sk_GENERAL_NAME_value(names, i));
  }
  GENERAL_NAMES_free(names);
  ERR_pop_to_mark();
  return result;
}

int ml_cert_write_info_access(BIO *out, const X509 *cert)
{
  bool found;
  ERR_set_mark();
  AUTHORITY_INFO_ACCESS *list = decode_extension(cert, NID_info_access, &found);
  int result = list ? 1 : found ? -1 : 0;
  for (int i = 0; result > 0 && i < sk_ACCESS_DESCRIPTION_num(list); i++) {
    const ACCESS_DESCRIPTION *entry = sk_ACCESS_DESCRIPTION_value(list, i);
    char method[80];
    i2t_ASN1_OBJECT(method, sizeof(method), entry->method);
    BIO_printf(out, "%s%s - ", i ? "\n" : "", method);
    result = write_general_name(out, entry->location);
  }
  AUTHORITY_INFO_ACCESS_free(list);
  ERR_pop_to_mark();
  return result;
}

/* Times, numbers, digests */

int ml_cert_write_time(BIO *out, const ASN1_TIME *time)
{
  ERR_set_mark();
  int ok = ASN1_TIME_print(out, time);
  ERR_pop_to_mark();
  return ok == 1 ? 1 : -1;
}

bool ml_cert_seconds(const ASN1_TIME *time, int64_t *out)
{
  struct tm parts;
  ERR_set_mark();
  bool ok = ASN1_TIME_to_tm(time, &parts) == 1;
  ERR_pop_to_mark();
  if (ok) *out = timegm(&parts);
  return ok;
}

int ml_cert_write_serial(BIO *out, const X509 *cert)
{
  return ml_cert_write_integer(out, X509_get0_serialNumber(cert));
}

int ml_cert_write_integer(BIO *out, const ASN1_INTEGER *integer)
{
  BIGNUM *number = ASN1_INTEGER_to_BN(integer, NULL);
  char *hex = number ? BN_bn2hex(number) : NULL;
  int result = hex && BIO_puts(out, hex) > 0 ? 1 : -1;
  OPENSSL_free(hex);
  BN_free(number);
  return result;
}

int ml_cert_write_fingerprint(BIO *out, const X509 *cert, const char *algorithm)
{
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned len = 0;
  const EVP_MD *md = EVP_get_digestbyname(algorithm);
  if (!md || X509_digest(cert, md, digest, &len) != 1) return -1;
  for (unsigned i = 0; i < len; i++)
    BIO_printf(out, "%s%02X", i ? ":" : "", digest[i]);
  return 1;
}

int ml_cert_write_purposes(BIO *out, const X509 *cert)
{
  ERR_set_mark();
  EXTENDED_KEY_USAGE *purposes = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
  for (int i = 0; i < sk_ASN1_OBJECT_num(purposes); i++) {
    char oid[256];
    OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(purposes, i), 1);
    BIO_printf(out, "%s%s", i ? "\n" : "", oid);
  }
  int result = purposes ? 1 : 0;
  EXTENDED_KEY_USAGE_free(purposes);
  ERR_pop_to_mark();
  return result;
}

bool ml_cert_is_ca(X509 *cert)
{
  ERR_set_mark();
  bool is_ca = X509_check_ca(cert) == 1;
  ERR_pop_to_mark();
  return is_ca;
}

/* Issuers */

bool ml_cert_issued(X509 *issuer, X509 *cert)
{
  ERR_set_mark();
  bool yes = X509_check_issued(issuer, cert) == X509_V_OK;
  ERR_pop_to_mark();
  return yes;
}

X509 *ml_cert_issuer_in(X509 *cert, STACK_OF(X509) * chain)
{
  for (int i = 0; i < sk_X509_num(chain); i++) {
    X509 *candidate = sk_X509_value(chain, i);
    if (X509_cmp(candidate, cert) != 0 && ml_cert_issued(candidate, cert)) return candidate;
  }
  return NULL;
}

X509 *ml_cert_issuer_in_store(X509 *cert, X509_STORE *store)
{
  X509 *issuer = NULL;
  ERR_set_mark();
  X509_STORE_CTX *ctx = X509_STORE_CTX_new();
  if (!ctx || X509_STORE_CTX_init(ctx, store, NULL, NULL) != 1 ||
      X509_STORE_CTX_get1_issuer(&issuer, ctx, cert) != 1)
    issuer = NULL;
  X509_STORE_CTX_free(ctx);
  ERR_pop_to_mark();
  return issuer;
}

/* Keys */

/* The number `param` of an RSA key; NULL for another kind of key. The caller frees it. */
static BIGNUM *rsa_number(const EVP_PKEY *key, const char *param)
{
  BIGNUM *number = NULL;
  if (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bn_param(key, param, &number) != 1) return NULL;
  return number;
}

int ml_cert_write_modulus(BIO *out, const EVP_PKEY *key)
{
  BIGNUM *n = rsa_number(key, OSSL_PKEY_PARAM_RSA_N);
  int result = n && BN_print(out, n) == 1;
  BN_free(n);
  return result;
}

/* An exponent of more than 64 bits reads 0xffffffffffffffff, as in Node. */
int ml_cert_write_exponent(BIO *out, const EVP_PKEY *key)
{
  BIGNUM *e = rsa_number(key, OSSL_PKEY_PARAM_RSA_E);
  int result = e && BIO_printf(out, "0x%llx", (unsigned long long)BN_get_word(e)) > 0;
  BN_free(e);
  return result;
}

static int write_point(BIO *out, const EVP_PKEY *key)
{
  unsigned char *point = NULL;
  size_t len = EVP_PKEY_get1_encoded_public_key((EVP_PKEY *)key, &point);
  int result = len > 0 && BIO_write(out, point, (int)len) == (int)len;
  OPENSSL_free(point);
  return result;
}

int ml_cert_write_public(BIO *out, const EVP_PKEY *key)
{
  if (EVP_PKEY_is_a(key, "RSA")) return i2d_PUBKEY_bio(out, (EVP_PKEY *)key) == 1;
  return EVP_PKEY_is_a(key, "EC") && write_point(out, key);
}

const char *ml_cert_curve(const EVP_PKEY *key, const char **nist)
{
  char name[64];
  size_t len;
  *nist = NULL;
  ERR_set_mark();
  bool named = EVP_PKEY_is_a(key, "EC") &&
               EVP_PKEY_get_group_name((EVP_PKEY *)key, name, sizeof(name), &len) == 1;
  ERR_pop_to_mark();
  int nid = named ? OBJ_sn2nid(name) : NID_undef;
  if (nid == NID_undef) return NULL;
  *nist = EC_curve_nid2nist(nid);
  return OBJ_nid2sn(nid);
}

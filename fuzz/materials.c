#include "materials.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <stdlib.h>
#include <string.h>

#include "certmaker.h"
#include "expect.h"
#include "keys.h"

static struct fuzz_material materials[FUZZ_MATERIALS];
static size_t count;

/* Dates do not count from now: they would make each run another. */
#define NOT_BEFORE INT64_C(1577836800) /* 2020 */
#define NOT_AFTER INT64_C(4102444800)  /* 2100 */

size_t fuzz_armour(char **out, const char *label, const uint8_t *der, size_t len)
{
  BIO *bio = BIO_new(BIO_s_mem());
  EXPECT(PEM_write_bio(bio, label, "", der, (long)len) >= 0);
  char *data;
  size_t n = (size_t)BIO_get_mem_data(bio, &data);
  *out = malloc(n + 1);
  EXPECT(*out);
  memcpy(*out, data, n);
  (*out)[n] = '\0';
  BIO_free(bio);
  return n;
}

static struct fuzz_material *add(const char *name, enum fuzz_material_kind kind)
{
  EXPECT(count < FUZZ_MATERIALS);
  struct fuzz_material *material = &materials[count++];
  material->name = name;
  material->kind = kind;
  return material;
}

static void add_der(const char *name, enum fuzz_material_kind kind, const char *label, uint8_t *der,
                    int len)
{
  EXPECT(len > 0);
  struct fuzz_material *material = add(name, kind);
  material->label = label;
  material->der = der;
  material->der_len = (size_t)len;
  if (label) {
    material->text_len = fuzz_armour(&material->text, label, der, (size_t)len);
  } else {
    material->text = (char *)der;
    material->text_len = (size_t)len;
  }
}

/* Text with headers between the armour and the bytes. Takes the BIO. */
static void add_text(const char *name, enum fuzz_material_kind kind, BIO *bio)
{
  char *data;
  struct fuzz_material *material = add(name, kind);
  material->text_len = (size_t)BIO_get_mem_data(bio, &data);
  material->text = malloc(material->text_len);
  EXPECT(material->text);
  memcpy(material->text, data, material->text_len);
  BIO_free(bio);
}

static EVP_PKEY *make_key(const char *kind)
{
  struct ml_error err;
  EVP_PKEY *key;
  EXPECT(ml_key_make(&key, kind, &err) == 0);
  return key;
}

static X509 *make_cert(const char *cn, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                       const char *constraints)
{
  struct ml_error err;
  X509 *cert;
  struct ml_name_attribute subject[] = {{.type = "O", .value = "Fuzz, \"Inc\"", .len = 11},
                                        {.type = "CN", .value = cn, .len = strlen(cn)}};
  struct ml_alt_name names[] = {{.kind = ML_ALT_DNS, .value = "fuzz.test", .len = 9},
                                {.kind = ML_ALT_DNS, .value = "*.fuzz.test", .len = 11},
                                {.kind = ML_ALT_IP, .value = "::1", .len = 3},
                                {.kind = ML_ALT_URI, .value = "http://a,b/\"", .len = 12},
                                {.kind = ML_ALT_EMAIL, .value = "a@b.c", .len = 5},
                                {.kind = ML_ALT_DIRNAME, .value = "dir, name", .len = 9},
                                {.kind = ML_ALT_RID, .value = "1.2.3.4", .len = 7},
                                {.kind = ML_ALT_OTHER,
                                 .value = "u@x",
                                 .len = 3,
                                 .oid = "1.3.6.1.4.1.311.20.2.3",
                                 .tag = V_ASN1_UTF8STRING}};
  struct ml_info_access access = {"OCSP",
                                  {.kind = ML_ALT_URI, .value = "http://ocsp/,\\", .len = 14}};
  struct ml_cert_extension extensions[] = {
      {.name = "basicConstraints", .value = constraints},
      {.name = "extendedKeyUsage", .value = "serverAuth,clientAuth,1.2.3"}};
  struct ml_cert_plan plan = {.key = key,
                              .issuer = issuer,
                              .issuer_key = issuer_key,
                              .serial = "1234567890ABCDEF",
                              .not_before = NOT_BEFORE,
                              .not_after = NOT_AFTER,
                              .version = 3,
                              .subject = subject,
                              .subject_count = 2,
                              .names = names,
                              .name_count = 8,
                              .access = &access,
                              .access_count = 1,
                              .extensions = extensions,
                              .extension_count = 2};
  EXPECT(ml_cert_make(&cert, &plan, &err) == 0);
  return cert;
}

static void add_cert(const char *name, const char *label, const X509 *cert)
{
  uint8_t *der = NULL;
  int len = i2d_X509(cert, &der);
  add_der(name, FUZZ_CERT, label, der, len);
}

static void add_keys(const char *name, const char *own_name, const char *own_label, EVP_PKEY *key)
{
  uint8_t *der = NULL;
  PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
  int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
  add_der(name, FUZZ_KEY, "PRIVATE KEY", der, len);
  PKCS8_PRIV_KEY_INFO_free(info);
  if (!own_name) return;
  der = NULL;
  len = i2d_PrivateKey(key, &der);
  add_der(own_name, FUZZ_KEY, own_label, der, len);
}

static void add_locked_keys(EVP_PKEY *key)
{
  uint8_t *der = NULL;
  PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
  /* One iteration: the fuzzer's time is for other things. */
  X509_SIG *sealed = PKCS8_encrypt(-1, EVP_aes_256_cbc(), FUZZ_PASSPHRASE, strlen(FUZZ_PASSPHRASE),
                                   NULL, 0, 1, info);
  EXPECT(sealed);
  int len = i2d_X509_SIG(sealed, &der);
  add_der("locked key", FUZZ_KEY, "ENCRYPTED PRIVATE KEY", der, len);
  X509_SIG_free(sealed);
  PKCS8_PRIV_KEY_INFO_free(info);
  BIO *bio = BIO_new(BIO_s_mem());
  EXPECT(PEM_write_bio_PrivateKey_traditional(bio, key, EVP_aes_128_cbc(),
                                              (unsigned char *)FUZZ_PASSPHRASE,
                                              (int)strlen(FUZZ_PASSPHRASE), NULL, NULL) == 1);
  add_text("locked key in its own form", FUZZ_KEY, bio);
}

static void add_crl(const char *name, X509 *issuer, EVP_PKEY *issuer_key)
{
  struct ml_error err;
  X509_CRL *crl;
  const char *serials[] = {"0A", "1234567890ABCDEF"};
  struct ml_crl_plan plan = {.issuer = issuer,
                             .issuer_key = issuer_key,
                             .last_update = NOT_BEFORE,
                             .next_update = NOT_AFTER,
                             .number = 1,
                             .serials = serials,
                             .serial_count = 2};
  EXPECT(ml_crl_make(&crl, &plan, &err) == 0);
  uint8_t *der = NULL;
  int len = i2d_X509_CRL(crl, &der);
  add_der(name, FUZZ_CRL, "X509 CRL", der, len);
  X509_CRL_free(crl);
}

static void add_pfx(const char *name, const char *passphrase, EVP_PKEY *key, X509 *cert, X509 *ca)
{
  uint8_t *der = NULL;
  STACK_OF(X509) *chain = sk_X509_new_null();
  EXPECT(sk_X509_push(chain, ca) > 0);
  PKCS12 *pfx = PKCS12_create(passphrase, "friendly", key, cert, chain, 0, 0, 1, 1, 0);
  EXPECT(pfx);
  int len = i2d_PKCS12(pfx, &der);
  add_der(name, FUZZ_PFX, NULL, der, len);
  PKCS12_free(pfx);
  sk_X509_free(chain);
}

static void add_dh(void)
{
  uint8_t *der = NULL;
  EVP_PKEY *params = NULL;
  EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
  OSSL_PARAM group[] = {OSSL_PARAM_construct_utf8_string("group", (char *)"ffdhe2048", 0),
                        OSSL_PARAM_construct_end()};
  EXPECT(ctx && EVP_PKEY_paramgen_init(ctx) == 1 && EVP_PKEY_CTX_set_params(ctx, group) == 1 &&
         EVP_PKEY_generate(ctx, &params) == 1);
  int len = i2d_KeyParams(params, &der);
  add_der("DH parameters", FUZZ_DH, "DH PARAMETERS", der, len);
  EVP_PKEY_free(params);
  EVP_PKEY_CTX_free(ctx);
}

/* A certificate with what OpenSSL calls trust settings after it. */
static void add_trusted(X509 *cert)
{
  uint8_t *der = NULL;
  ASN1_OBJECT *purpose = OBJ_txt2obj("serverAuth", 0);
  EXPECT(X509_add1_trust_object(cert, purpose) == 1);
  EXPECT(X509_alias_set1(cert, (const unsigned char *)"alias", 5) == 1);
  int len = i2d_X509_AUX(cert, &der);
  add_der("trusted authority", FUZZ_CERT, "TRUSTED CERTIFICATE", der, len);
  ASN1_OBJECT_free(purpose);
}

const struct fuzz_material *fuzz_materials(void)
{
  if (count > 0) return materials;
  EVP_PKEY *rsa = make_key("rsa:2048"), *ec = make_key("ec:P-256"), *ed = make_key("ed25519");
  EVP_PKEY *ca_key = make_key("ec:P-256");
  X509 *ca = make_cert("Fuzz CA", ca_key, NULL, NULL, "critical,CA:TRUE");
  X509 *rsa_cert = make_cert("rsa.fuzz.test", rsa, ca, ca_key, "CA:FALSE");
  X509 *ec_cert = make_cert("ec.fuzz.test", ec, ca, ca_key, "CA:FALSE");
  X509 *ed_cert = make_cert("ed.fuzz.test", ed, NULL, NULL, "CA:FALSE");
  add_cert("RSA certificate", "CERTIFICATE", rsa_cert);
  add_cert("EC certificate", "CERTIFICATE", ec_cert);
  add_cert("Ed25519 certificate", "X509 CERTIFICATE", ed_cert);
  add_cert("authority", "CERTIFICATE", ca);
  add_trusted(ca);
  add_keys("RSA key", "RSA key in its own form", "RSA PRIVATE KEY", rsa);
  add_keys("EC key", "EC key in its own form", "EC PRIVATE KEY", ec);
  add_keys("Ed25519 key", NULL, NULL, ed);
  add_locked_keys(ec);
  add_crl("revocation list", ca, ca_key);
  add_crl("revocation list of somebody else", ed_cert, ed);
  add_pfx("locked PKCS#12 file", FUZZ_PASSPHRASE, ec, ec_cert, ca);
  add_pfx("open PKCS#12 file", NULL, rsa, rsa_cert, ca);
  add_pfx("PKCS#12 file with an empty passphrase", "", ec, ec_cert, ca);
  add_dh();
  EXPECT(count == FUZZ_MATERIALS);
  X509_free(ca);
  X509_free(rsa_cert);
  X509_free(ec_cert);
  X509_free(ed_cert);
  EVP_PKEY_free(rsa);
  EVP_PKEY_free(ec);
  EVP_PKEY_free(ed);
  EVP_PKEY_free(ca_key);
  return materials;
}

#include "keys.h"

#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_pem.h"

/* Making */

static EVP_PKEY *make_rsa(const char *algorithm, int bits)
{
  EVP_PKEY *key = NULL;
  EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
  if (ctx && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, bits) > 0)
    EVP_PKEY_generate(ctx, &key);
  EVP_PKEY_CTX_free(ctx);
  return key;
}

static EVP_PKEY *make_dsa(int bits)
{
  EVP_PKEY *params = NULL, *key = NULL;
  EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DSA", NULL);
  if (ctx && EVP_PKEY_paramgen_init(ctx) > 0 && EVP_PKEY_CTX_set_dsa_paramgen_bits(ctx, bits) > 0 &&
      EVP_PKEY_CTX_set_dsa_paramgen_q_bits(ctx, bits >= 2048 ? 256 : 160) > 0)
    EVP_PKEY_generate(ctx, &params);
  EVP_PKEY_CTX_free(ctx);
  if (!params) return NULL;
  ctx = EVP_PKEY_CTX_new_from_pkey(NULL, params, NULL);
  if (ctx && EVP_PKEY_keygen_init(ctx) > 0) EVP_PKEY_generate(ctx, &key);
  EVP_PKEY_CTX_free(ctx);
  EVP_PKEY_free(params);
  return key;
}

/* `curve` is a curve's name, with ":compressed" after it when points are to be written so. */
static EVP_PKEY *make_ec(const char *curve)
{
  char name[64];
  size_t len = strcspn(curve, ":");
  if (len >= sizeof(name)) return NULL;
  memcpy(name, curve, len);
  name[len] = '\0';
  EVP_PKEY *key = EVP_EC_gen(name);
  if (key && strcmp(curve + len, ":compressed") == 0 &&
      EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                     "compressed") != 1) {
    EVP_PKEY_free(key);
    return NULL;
  }
  return key;
}

static bool one_of(const char *word, size_t len, const char *const *list)
{
  for (; *list; list++)
    if (strlen(*list) == len && memcmp(*list, word, len) == 0) return true;
  return false;
}

int ml_key_make(EVP_PKEY **out, const char *kind, struct ml_error *err)
{
  static const char *const rsa[] = {"rsa", "rsa-pss", NULL};
  static const char *const dsa[] = {"dsa", NULL};
  static const char *const ec[] = {"ec", NULL};
  static const char *const bare[] = {"ed25519", "ed448", "x25519", "x448", NULL};
  size_t len = strcspn(kind, ":");
  const char *rest = kind[len] ? kind + len + 1 : "";
  int bits = *rest ? atoi(rest) : 2048;
  ERR_clear_error();
  if (one_of(kind, len, rsa))
    *out = make_rsa(len == 3 ? "RSA" : "RSA-PSS", bits);
  else if (one_of(kind, len, dsa))
    *out = make_dsa(bits);
  else if (one_of(kind, len, ec))
    *out = make_ec(*rest ? rest : "P-256");
  else if (one_of(kind, len, bare) && !*rest)
    *out = EVP_PKEY_Q_keygen(NULL, NULL, kind);
  else {
    ml_error_misuse(err, "ERR_INVALID_ARG_VALUE", "Unknown key kind '%s'", kind);
    return -1;
  }
  if (*out) return 0;
  ml_error_openssl(err, "Could not make the key");
  return -1;
}

/* Reading */

static BIO *open_bytes(const void *data, size_t len)
{
  return len > INT32_MAX ? NULL : BIO_new_mem_buf(data, (int)len);
}

/* Any encoding that OpenSSL knows: PEM or DER, PKCS#8, SubjectPublicKeyInfo or the algorithm's own.
 */
static EVP_PKEY *decode(BIO *bio, int selection, struct ml_pem_lock *lock)
{
  EVP_PKEY *key = NULL;
  OSSL_DECODER_CTX *ctx =
      OSSL_DECODER_CTX_new_for_pkey(&key, NULL, NULL, NULL, selection, NULL, NULL);
  if (ctx && OSSL_DECODER_CTX_set_pem_password_cb(ctx, ml_pem_unlock, lock) == 1)
    (void)OSSL_DECODER_from_bio(ctx, bio);
  OSSL_DECODER_CTX_free(ctx);
  return key;
}

/* Reports OpenSSL's errors unless there is a key. */
static int give_key(EVP_PKEY **out, EVP_PKEY *key, const char *problem, struct ml_error *err)
{
  *out = key;
  if (!key) {
    ml_error_openssl(err, problem);
    return -1;
  }
  ERR_clear_error();
  return 0;
}

int ml_key_read_private(EVP_PKEY **out, const void *data, size_t len, const char *passphrase,
                        struct ml_error *err)
{
  EVP_PKEY *key = NULL;
  ERR_clear_error();
  BIO *bio = open_bytes(data, len);
  /* This one's errors tell a wrong passphrase from a broken key; the decoder's do not. */
  struct ml_pem_lock lock = {passphrase, false};
  if (bio && ml_pem_in(data, len))
    key = ml_pem_private_key(bio, &lock);
  else if (bio)
    key = decode(bio, EVP_PKEY_KEYPAIR, &lock);
  BIO_free(bio);
  return give_key(out, key, "Not a private key", err);
}

/* `key` without its private half, which only an encoding round trip guarantees; frees `key`. */
static EVP_PKEY *public_half(EVP_PKEY *key)
{
  unsigned char *der = NULL;
  int len = i2d_PUBKEY(key, &der);
  const unsigned char *p = der;
  EVP_PKEY *half = len > 0 ? d2i_PUBKEY(NULL, &p, len) : NULL;
  OPENSSL_free(der);
  EVP_PKEY_free(key);
  return half;
}

int ml_key_read_public(EVP_PKEY **out, const void *data, size_t len, const char *passphrase,
                       struct ml_error *err)
{
  EVP_PKEY *key = NULL;
  ERR_clear_error();
  BIO *bio = open_bytes(data, len);
  X509 *cert = NULL;
  struct ml_pem_lock lock = {passphrase, false};
  if (bio && ml_pem_in(data, len))
    cert = PEM_read_bio_X509(bio, NULL, ml_pem_unlock, &lock);
  else if (bio)
    cert = d2i_X509_bio(bio, NULL);
  if (cert) {
    key = X509_get_pubkey(cert);
  } else if (bio && BIO_reset(bio) == 1) {
    ERR_clear_error();
    key = decode(bio, EVP_PKEY_PUBLIC_KEY, &lock);
    if (!key && BIO_reset(bio) == 1) key = decode(bio, EVP_PKEY_KEYPAIR, &lock);
    if (key) key = public_half(key);
  }
  X509_free(cert);
  BIO_free(bio);
  return give_key(out, key, "Not a public key", err);
}

/* Writing */

static const struct {
  int selection;
  const char *structure;
} key_forms[] = {
    [ML_KEY_PKCS8] = {EVP_PKEY_KEYPAIR, "PrivateKeyInfo"},
    [ML_KEY_SPKI] = {EVP_PKEY_PUBLIC_KEY, "SubjectPublicKeyInfo"},
    [ML_KEY_OWN_PRIVATE] = {EVP_PKEY_KEYPAIR, "type-specific"},
    [ML_KEY_OWN_PUBLIC] = {EVP_PKEY_PUBLIC_KEY, "type-specific"},
};

int ml_key_write(BIO *out, EVP_PKEY *key, enum ml_key_form form, bool der, const char *passphrase,
                 struct ml_error *err)
{
  ERR_clear_error();
  OSSL_ENCODER_CTX *ctx = OSSL_ENCODER_CTX_new_for_pkey(
      key, key_forms[form].selection, der ? "DER" : "PEM", key_forms[form].structure, NULL);
  bool ok = ctx && OSSL_ENCODER_CTX_get_num_encoders(ctx) > 0;
  if (ok && passphrase)
    ok = OSSL_ENCODER_CTX_set_cipher(ctx, "AES-256-CBC", NULL) == 1 &&
         OSSL_ENCODER_CTX_set_passphrase(ctx, (const unsigned char *)passphrase,
                                         strlen(passphrase)) == 1;
  ok = ok && OSSL_ENCODER_to_bio(ctx, out) == 1;
  OSSL_ENCODER_CTX_free(ctx);
  if (ok) return 0;
  ml_error_openssl(err, "The key has no such form");
  return -1;
}

int ml_pkcs12_write(BIO *out, EVP_PKEY *key, X509 *cert, STACK_OF(X509) * chain,
                    const char *passphrase, struct ml_error *err)
{
  ERR_clear_error();
  PKCS12 *pfx = PKCS12_create(passphrase, NULL, key, cert, chain, 0, 0, 0, 0, 0);
  int ok = pfx && i2d_PKCS12_bio(out, pfx) == 1;
  PKCS12_free(pfx);
  if (ok) return 0;
  ml_error_openssl(err, "Could not write the PKCS#12 file");
  return -1;
}

/* Describing */

const char *ml_key_type(const EVP_PKEY *key)
{
  static const struct {
    const char *algorithm, *type;
  } names[] = {
      {"RSA", "rsa"},     {"RSA-PSS", "rsa-pss"}, {"DSA", "dsa"},
      {"DH", "dh"},       {"EC", "ec"},           {"ED25519", "ed25519"},
      {"ED448", "ed448"}, {"X25519", "x25519"},   {"X448", "x448"},
  };
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
    if (EVP_PKEY_is_a(key, names[i].algorithm)) return names[i].type;
  return NULL;
}

static int bits_of(const EVP_PKEY *key, const char *param)
{
  BIGNUM *number = NULL;
  int bits = EVP_PKEY_get_bn_param(key, param, &number) == 1 ? BN_num_bits(number) : 0;
  BN_free(number);
  return bits;
}

static void describe_exponent(const EVP_PKEY *key, struct ml_key_details *out)
{
  BIGNUM *e = NULL;
  char *digits = NULL;
  if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1) digits = BN_bn2dec(e);
  if (digits) snprintf(out->public_exponent, sizeof(out->public_exponent), "%s", digits);
  OPENSSL_free(digits);
  BN_free(e);
}

/* OpenSSL writes digest names in capitals ("SHA2-256" or "SHA256"); Node has "sha256". */
static void digest_name(const EVP_PKEY *key, const char *param, char *out, size_t size)
{
  char name[64];
  if (EVP_PKEY_get_utf8_string_param(key, param, name, sizeof(name), NULL) != 1) return;
  const EVP_MD *md = EVP_get_digestbyname(name);
  const char *text = md ? OBJ_nid2ln(EVP_MD_get_type(md)) : name;
  snprintf(out, size, "%s", text ? text : name);
}

static void describe_pss(const EVP_PKEY *key, struct ml_key_details *out)
{
  digest_name(key, OSSL_PKEY_PARAM_RSA_DIGEST, out->hash_algorithm, sizeof(out->hash_algorithm));
  if (!out->hash_algorithm[0]) return;
  digest_name(key, OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, out->mgf1_hash_algorithm,
              sizeof(out->mgf1_hash_algorithm));
  EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, &out->salt_length);
  out->restricted = true;
}

void ml_key_describe(const EVP_PKEY *key, struct ml_key_details *out)
{
  memset(out, 0, sizeof(*out));
  const char *type = ml_key_type(key);
  if (!type) return;
  ERR_set_mark();
  if (strncmp(type, "rsa", 3) == 0) {
    out->modulus_length = bits_of(key, OSSL_PKEY_PARAM_RSA_N);
    describe_exponent(key, out);
    if (type[3]) describe_pss(key, out);
  } else if (strcmp(type, "dsa") == 0) {
    out->modulus_length = bits_of(key, OSSL_PKEY_PARAM_FFC_P);
    out->divisor_length = bits_of(key, OSSL_PKEY_PARAM_FFC_Q);
  } else if (strcmp(type, "ec") == 0) {
    size_t len;
    EVP_PKEY_get_group_name(key, out->named_curve, sizeof(out->named_curve), &len);
  }
  ERR_pop_to_mark();
}

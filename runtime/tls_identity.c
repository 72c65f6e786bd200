#include "tls_identity.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls_hardware.h"
#include "tls_pem.h"

/* A certificate that is to be served, and where it came from. */
struct leaf {
  X509 *cert; /* a reference */
  const char *origin;
  size_t number;
  bool has_key;
};

struct identity {
  SSL_CTX *ssl;
  const struct ml_tls_context_options *options;
  struct ml_error *err;
  struct leaf *leaves; /* room for one of each blob */
  size_t leaf_count;
};

static const char *passphrase_for(const struct identity *identity, const struct ml_tls_blob *blob)
{
  return blob->passphrase ? blob->passphrase : identity->options->passphrase;
}

/* `err` tells which one of several it was. */
static int fail(struct identity *identity, const char *fallback, const char *origin, size_t number,
                size_t count)
{
  ml_error_openssl(identity->err, fallback);
  if (count > 1) ml_error_append(identity->err, " (%s %zu of %zu)", origin, number, count);
  return -1;
}

/* ---- Certificates ---- */

static bool same_kind(const X509 *cert, const EVP_PKEY *key)
{
  return EVP_PKEY_get_base_id(X509_get0_pubkey(cert)) == EVP_PKEY_get_base_id(key);
}

/* OpenSSL keeps one certificate of each kind of key: the second would quietly take the first one's
 * place. A renewed certificate over the same key may. */
static int add_leaf(struct identity *identity, X509 *cert, const char *origin, size_t number)
{
  EVP_PKEY *key = X509_get0_pubkey(cert);
  for (size_t i = 0; i < identity->leaf_count; i++) {
    const struct leaf *other = &identity->leaves[i];
    if (!same_kind(other->cert, key) || EVP_PKEY_eq(X509_get0_pubkey(other->cert), key) == 1)
      continue;
    ERR_clear_error();
    ERR_raise(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH);
    ml_error_openssl(identity->err, "");
    ml_error_append(identity->err, " (%s %zu and %s %zu have different keys of the same kind)",
                    other->origin, other->number, origin, number);
    return -1;
  }
  X509_up_ref(cert);
  identity->leaves[identity->leaf_count++] = (struct leaf){cert, origin, number, false};
  return 0;
}

/* What is sent behind the certificate that was used last. Where it came alone, `ca` completes it as
 * far as it can, the root included: SSL_MODE_AUTO_CHAIN would do the same in each handshake. */
static int set_chain(struct identity *identity, STACK_OF(X509) * chain)
{
  int flags = SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR | SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR;
  bool alone = sk_X509_num(chain) <= 0;
  if (alone && identity->options->own_trust && SSL_CTX_build_cert_chain(identity->ssl, flags) > 0)
    return 1;
  ERR_clear_error(); /* an authority below the security level, for one */
  return SSL_CTX_set1_chain(identity->ssl, chain);
}

static int use_chain(struct identity *identity, size_t number)
{
  const struct ml_tls_blobs *blobs = &identity->options->cert;
  int result = -1;
  X509 *leaf = NULL;
  STACK_OF(X509) *chain = ml_pem_certs(&blobs->items[number - 1]);
  if (!chain) goto refused;
  leaf = sk_X509_shift(chain);
  if (SSL_CTX_use_certificate(identity->ssl, leaf) != 1 || set_chain(identity, chain) != 1)
    goto refused;
  result = add_leaf(identity, leaf, "certificate", number);
  goto done;
refused:
  fail(identity, "a certificate cannot be used", "certificate", number, blobs->count);
done:
  X509_free(leaf);
  sk_X509_pop_free(chain, X509_free);
  return result;
}

/* ---- Keys ---- */

static void explain_lock(struct identity *identity, const struct ml_pem_lock *lock, size_t number)
{
  fail(identity, "a key cannot be read", "key", number, identity->options->key.count);
  if (lock->wanted && !lock->passphrase)
    ml_error_append(identity->err, " (the private key is encrypted and no passphrase was given)");
}

/* The certificate that the key was meant for, most likely: to be told what is wrong with it. */
static const struct leaf *nearest(const struct identity *identity, const EVP_PKEY *key)
{
  for (size_t i = 0; i < identity->leaf_count; i++)
    if (same_kind(identity->leaves[i].cert, key)) return &identity->leaves[i];
  return &identity->leaves[0];
}

/* OpenSSL itself compares a key with the certificate of its kind only: one of another kind than any
 * certificate would be noticed by the first client. */
static int match_key(struct identity *identity, EVP_PKEY *key)
{
  bool found = false;
  for (size_t i = 0; i < identity->leaf_count; i++) {
    struct leaf *leaf = &identity->leaves[i];
    if (EVP_PKEY_eq(X509_get0_pubkey(leaf->cert), key) != 1) continue;
    leaf->has_key = true;
    found = true;
  }
  ERR_clear_error();
  if (found || identity->leaf_count == 0) return 0;
  if (X509_check_private_key(nearest(identity, key)->cert, key) != 1) return -1;
  return 0;
}

static int use_key(struct identity *identity, EVP_PKEY *key, size_t number)
{
  if (match_key(identity, key) == 0 && SSL_CTX_use_PrivateKey(identity->ssl, key) == 1) return 0;
  return fail(identity, "a key cannot be used", "key", number, identity->options->key.count);
}

static EVP_PKEY *read_key(struct identity *identity, const struct ml_tls_blob *blob, size_t number)
{
  struct ml_pem_lock lock = {passphrase_for(identity, blob), false};
  EVP_PKEY *key = NULL;
  if (ml_hardware_is_uri(blob->data, blob->len))
    return ml_hardware_key(&key, blob->data, lock.passphrase, identity->err) == 0 ? key : NULL;
  BIO *bio = ml_pem_bio(blob);
  key = bio ? ml_pem_private_key(bio, &lock) : NULL;
  BIO_free(bio);
  if (!key) explain_lock(identity, &lock, number);
  return key;
}

static int use_keys(struct identity *identity)
{
  const struct ml_tls_context_options *options = identity->options;
  for (size_t i = 0; i < options->key.count; i++) {
    EVP_PKEY *key = read_key(identity, &options->key.items[i], i + 1);
    int result = key ? use_key(identity, key, i + 1) : -1;
    EVP_PKEY_free(key);
    if (result != 0) return -1;
  }
  if (!options->key_identifier) return 0;
  EVP_PKEY *key = NULL;
  int result =
      options->key_engine
          ? ml_hardware_engine_key(&key, options->key_engine, options->key_identifier,
                                   options->passphrase, identity->err)
          : ml_hardware_key(&key, options->key_identifier, options->passphrase, identity->err);
  if (result == 0) result = use_key(identity, key, 1);
  EVP_PKEY_free(key);
  return result;
}

/* A certificate whose key is missing would never be served, and nobody would know why. Without any
 * key at all the script has another plan. */
static int expect_keys(struct identity *identity)
{
  if (identity->options->key.count == 0 && !identity->options->key_identifier) return 0;
  for (size_t i = 0; i < identity->leaf_count; i++) {
    const struct leaf *leaf = &identity->leaves[i];
    if (leaf->has_key) continue;
    ERR_raise(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH);
    ml_error_openssl(identity->err, "");
    ml_error_append(identity->err, " (there is no key for %s %zu)", leaf->origin, leaf->number);
    return -1;
  }
  return 0;
}

/* ---- PKCS#12 ---- */

struct pfx {
  EVP_PKEY *key;
  X509 *cert;
  STACK_OF(X509) * chain;
};

static void fail_pfx(struct identity *identity, size_t number)
{
  struct ml_error *err = identity->err;
  bool unsupported = ERR_GET_REASON(ERR_peek_error()) == ERR_R_UNSUPPORTED;
  fail(identity, "a PKCS#12 file cannot be used", "pfx", number, identity->options->pfx.count);
  if (!unsupported) return;
  /* Said as in Node: the old ciphers of such files are in OpenSSL's legacy provider. */
  snprintf(err->code, sizeof(err->code), "ERR_CRYPTO_UNSUPPORTED_OPERATION");
  snprintf(err->message, sizeof(err->message), "Unsupported PKCS12 PFX data");
}

static int read_pfx(struct identity *identity, const struct ml_tls_blob *blob, size_t number,
                    struct pfx *out)
{
  BIO *bio = ml_pem_bio(blob);
  PKCS12 *pfx = bio ? d2i_PKCS12_bio(bio, NULL) : NULL;
  /* OpenSSL says nothing about data that ends too early. */
  if (!pfx && ERR_peek_error() == 0) ERR_raise(ERR_LIB_ASN1, ASN1_R_NOT_ENOUGH_DATA);
  int ok = pfx && PKCS12_parse(pfx, passphrase_for(identity, blob), &out->key, &out->cert,
                               &out->chain) == 1;
  PKCS12_free(pfx);
  BIO_free(bio);
  if (!ok) {
    fail_pfx(identity, number);
    return -1;
  }
  if (out->key && out->cert) return 0;
  ml_error_misuse(identity->err, "ERR_CRYPTO_OPERATION_FAILED", "Unable to load %s from PFX data",
                  out->key ? "certificate" : "private key");
  return -1;
}

static int trust_chain(SSL_CTX *ssl, const STACK_OF(X509) * chain)
{
  X509_STORE *store = SSL_CTX_get_cert_store(ssl);
  for (int i = 0; i < sk_X509_num(chain); i++) {
    X509 *cert = sk_X509_value(chain, i);
    if (X509_STORE_add_cert(store, cert) != 1 || SSL_CTX_add_client_CA(ssl, cert) != 1) return -1;
  }
  return 0;
}

static int use_pfx(struct identity *identity, size_t number)
{
  SSL_CTX *ssl = identity->ssl;
  struct pfx pfx = {NULL, NULL, NULL};
  int result = read_pfx(identity, &identity->options->pfx.items[number - 1], number, &pfx);
  if (result != 0) goto done;
  result = -1;
  if (SSL_CTX_use_certificate(ssl, pfx.cert) == 1 && set_chain(identity, pfx.chain) == 1 &&
      SSL_CTX_use_PrivateKey(ssl, pfx.key) == 1 && trust_chain(ssl, pfx.chain) == 0)
    result = add_leaf(identity, pfx.cert, "pfx", number);
  else
    fail_pfx(identity, number);
done:
  sk_X509_pop_free(pfx.chain, X509_free);
  X509_free(pfx.cert);
  EVP_PKEY_free(pfx.key);
  return result;
}

static int use_all(struct identity *identity)
{
  const struct ml_tls_context_options *options = identity->options;
  for (size_t i = 1; i <= options->cert.count; i++)
    if (use_chain(identity, i) != 0) return -1;
  if (use_keys(identity) != 0 || expect_keys(identity) != 0) return -1;
  for (size_t i = 1; i <= options->pfx.count; i++)
    if (use_pfx(identity, i) != 0) return -1;
  if (!options->client_cert_engine) return 0;
  return ml_hardware_client_certs(identity->ssl, options->client_cert_engine, identity->err);
}

int ml_tls_use_identity(SSL_CTX *ssl, const struct ml_tls_context_options *options,
                        struct ml_error *err)
{
  struct identity identity = {.ssl = ssl, .options = options, .err = err};
  identity.leaves = calloc(options->cert.count + options->pfx.count + 1, sizeof(*identity.leaves));
  if (!identity.leaves) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  int result = use_all(&identity);
  for (size_t i = 0; i < identity.leaf_count; i++)
    X509_free(identity.leaves[i].cert);
  free(identity.leaves);
  return result;
}

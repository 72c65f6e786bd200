#include "tls_context.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/proverr.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_callbacks.h"
#include "tls_tickets.h"
#include "tls_trust.h"

struct ml_tls_context {
  SSL_CTX *ssl;
  unsigned refs;
  bool derived_id; /* the session id context is ours, not the script's */
  uint8_t session_id_context[SSL_MAX_SID_CTX_LENGTH];
  unsigned session_id_context_len;
  struct ml_tls_ticket_keys ticket_keys;
  char *groups; /* as given, for connections that switch to this context; NULL: OpenSSL's choice */
};

/* What every context has: OpenSSL's own caches off (sessions belong to the script), buffers
 * released when idle. */
#define BASE_MODE                                                                                  \
  (SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS)
/* OpenSSL's own preference (SSL_CTX_set1_groups_list(3)), for leaving a context that narrowed it.
 */
#define DEFAULT_GROUPS "X25519:P-256:X448:P-521:P-384"

static const char *passphrase_for(const struct ml_tls_blob *blob,
                                  const struct ml_tls_context_options *options)
{
  return blob->passphrase ? blob->passphrase : options->passphrase;
}

/* pem_password_cb: without a passphrase the empty one is tried, which fails ("bad decrypt", as in
 * Node) instead of asking on the terminal. */
static int give_passphrase(char *buffer, int size, int rwflag, void *user)
{
  (void)rwflag;
  const char *passphrase = user;
  if (!passphrase) return 0;
  size_t len = strlen(passphrase);
  if (len > (size_t)size) return -1;
  memcpy(buffer, passphrase, len);
  return (int)len;
}

static BIO *blob_bio(const struct ml_tls_blob *blob)
{
  return BIO_new_mem_buf(blob->data, (int)blob->len);
}

/* The end of the PEM blocks shows as "no start line", which is not a failure after the first one.
 */
static bool pem_ended(void)
{
  unsigned long last = ERR_peek_last_error();
  if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE) return false;
  ERR_clear_error();
  return true;
}

static int use_chain(SSL_CTX *ssl, const struct ml_tls_blob *blob)
{
  int result = -1;
  X509 *leaf = NULL;
  BIO *bio = blob_bio(blob);
  if (!bio) goto done;
  leaf = PEM_read_bio_X509_AUX(bio, NULL, give_passphrase, NULL);
  if (!leaf || SSL_CTX_use_certificate(ssl, leaf) != 1) goto done;
  if (SSL_CTX_clear_chain_certs(ssl) != 1) goto done;
  for (;;) {
    X509 *link = PEM_read_bio_X509(bio, NULL, give_passphrase, NULL);
    if (!link) break;
    if (SSL_CTX_add0_chain_cert(ssl, link) != 1) {
      X509_free(link);
      goto done;
    }
  }
  if (pem_ended()) result = 0;
done:
  X509_free(leaf);
  BIO_free(bio);
  return result;
}

/* OpenSSL keeps a certificate and a key for each kind of key and compares the two of one kind only.
 * A key of another kind than its certificate would be noticed by the first client. */
static bool kinds_match(SSL_CTX *ssl, X509 *last, EVP_PKEY *key)
{
  return !last || SSL_CTX_get0_certificate(ssl) || X509_check_private_key(last, key) == 1;
}

/* One key being read: what it is locked with, and whether that was wanted. */
struct key_lock {
  const char *passphrase;
  bool wanted;
};

static int unlock(char *buffer, int size, int rwflag, void *user)
{
  struct key_lock *lock = user;
  lock->wanted = true;
  return give_passphrase(buffer, size, rwflag, (void *)(uintptr_t)lock->passphrase);
}

/* About one wrong passphrase in 250 leaves padding that looks right, and then it is what was
 * "decrypted" that makes no sense. It is a wrong passphrase all the same; and none at all is as
 * good as a wrong one. */
static void explain_lock(const struct key_lock *lock, struct ml_error *err)
{
  unsigned long cause = ERR_peek_error();
  if (lock->wanted && ERR_GET_LIB(cause) == ERR_LIB_OSSL_DECODER &&
      ERR_GET_REASON(cause) == ERR_R_UNSUPPORTED) {
    ERR_clear_error();
    ERR_raise(ERR_LIB_PROV, PROV_R_BAD_DECRYPT);
  }
  ml_error_openssl(err, "a key cannot be read");
  if (!lock->wanted || lock->passphrase) return;
  size_t used = strlen(err->message);
  snprintf(err->message + used, sizeof(err->message) - used,
           " (the private key is encrypted and no passphrase was given)");
}

static int use_key(SSL_CTX *ssl, const struct ml_tls_blob *blob,
                   const struct ml_tls_context_options *options, struct ml_error *err)
{
  struct key_lock lock = {passphrase_for(blob, options), false};
  X509 *last = SSL_CTX_get0_certificate(ssl);
  BIO *bio = blob_bio(blob);
  EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, unlock, &lock) : NULL;
  int ok = key && SSL_CTX_use_PrivateKey(ssl, key) == 1 && kinds_match(ssl, last, key);
  if (!key)
    explain_lock(&lock, err);
  else if (!ok)
    ml_error_openssl(err, "a key cannot be used");
  EVP_PKEY_free(key);
  BIO_free(bio);
  return ok ? 0 : -1;
}

static int use_pfx(SSL_CTX *ssl, const struct ml_tls_blob *blob,
                   const struct ml_tls_context_options *options)
{
  int result = -1;
  EVP_PKEY *key = NULL;
  X509 *cert = NULL;
  STACK_OF(X509) *chain = NULL;
  BIO *bio = blob_bio(blob);
  PKCS12 *pfx = bio ? d2i_PKCS12_bio(bio, NULL) : NULL;
  /* OpenSSL says nothing about data that ends too early. */
  if (!pfx && ERR_peek_error() == 0) ERR_raise(ERR_LIB_ASN1, ASN1_R_NOT_ENOUGH_DATA);
  if (!pfx || PKCS12_parse(pfx, passphrase_for(blob, options), &key, &cert, &chain) != 1) goto done;
  if (cert && SSL_CTX_use_certificate(ssl, cert) != 1) goto done;
  if (cert && SSL_CTX_set1_chain(ssl, chain) != 1) goto done;
  if (key && SSL_CTX_use_PrivateKey(ssl, key) != 1) goto done;
  result = 0;
done:
  sk_X509_pop_free(chain, X509_free);
  X509_free(cert);
  EVP_PKEY_free(key);
  PKCS12_free(pfx);
  BIO_free(bio);
  return result;
}

/* The certificates a PKCS#12 file brings along are trusted and named to clients, as in Node. */
static int trust_pfx_chain(SSL_CTX *ssl, X509_STORE *store)
{
  STACK_OF(X509) *chain = NULL;
  if (SSL_CTX_get0_chain_certs(ssl, &chain) != 1) return -1;
  for (int i = 0; i < sk_X509_num(chain); i++) {
    X509 *cert = sk_X509_value(chain, i);
    if (X509_STORE_add_cert(store, cert) != 1 || SSL_CTX_add_client_CA(ssl, cert) != 1) return -1;
  }
  return 0;
}

static int add_ca(SSL_CTX *ssl, X509_STORE *store, const struct ml_tls_blob *blob)
{
  BIO *bio = blob_bio(blob);
  if (!bio) return -1;
  int count = 0, result = 0;
  X509 *cert;
  while (result == 0 && (cert = PEM_read_bio_X509_AUX(bio, NULL, give_passphrase, NULL))) {
    if (X509_STORE_add_cert(store, cert) != 1 || SSL_CTX_add_client_CA(ssl, cert) != 1) result = -1;
    X509_free(cert);
    count++;
  }
  BIO_free(bio);
  if (result != 0 || count == 0) return -1;
  return pem_ended() ? 0 : -1;
}

static int add_crl(X509_STORE *store, const struct ml_tls_blob *blob)
{
  BIO *bio = blob_bio(blob);
  if (!bio) return -1;
  int count = 0, result = 0;
  X509_CRL *crl;
  while (result == 0 && (crl = PEM_read_bio_X509_CRL(bio, NULL, give_passphrase, NULL))) {
    if (X509_STORE_add_crl(store, crl) != 1) result = -1;
    X509_CRL_free(crl);
    count++;
  }
  BIO_free(bio);
  if (result != 0 || count == 0) return -1;
  return pem_ended() ? 0 : -1;
}

static int use_trust(SSL_CTX *ssl, const struct ml_tls_context_options *options,
                     struct ml_error *err)
{
  X509_STORE *store = NULL;
  bool shared = !options->own_trust && options->ca.count == 0 && options->crl.count == 0 &&
                options->pfx.count == 0;
  if (shared) {
    store = ml_tls_trust_store(err);
    if (!store) return -1;
    SSL_CTX_set1_cert_store(ssl, store);
    return 0;
  }
  store = options->own_trust ? X509_STORE_new() : ml_tls_trust_copy(err);
  if (!store) return -1;
  SSL_CTX_set_cert_store(ssl, store); /* takes the reference */
  for (size_t i = 0; i < options->ca.count; i++)
    if (add_ca(ssl, store, &options->ca.items[i]) != 0) goto fail;
  for (size_t i = 0; i < options->crl.count; i++)
    if (add_crl(store, &options->crl.items[i]) != 0) goto fail;
  if (options->crl.count > 0 &&
      X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
    goto fail;
  return 0;
fail:
  ml_error_openssl(err, "a trusted certificate or revocation list cannot be read");
  return -1;
}

static int use_identity(SSL_CTX *ssl, const struct ml_tls_context_options *options,
                        struct ml_error *err)
{
  for (size_t i = 0; i < options->cert.count; i++)
    if (use_chain(ssl, &options->cert.items[i]) != 0) goto fail;
  for (size_t i = 0; i < options->key.count; i++)
    if (use_key(ssl, &options->key.items[i], options, err) != 0) return -1;
  for (size_t i = 0; i < options->pfx.count; i++) {
    if (use_pfx(ssl, &options->pfx.items[i], options) != 0) goto fail;
    if (trust_pfx_chain(ssl, SSL_CTX_get_cert_store(ssl)) != 0) goto fail;
  }
  return 0;
fail:
  ml_error_openssl(err, "a key or certificate cannot be read");
  return -1;
}

static int use_dh(SSL_CTX *ssl, const struct ml_tls_context_options *options, struct ml_error *err)
{
  if (options->dh_auto) return SSL_CTX_set_dh_auto(ssl, 1) == 1 ? 0 : -1;
  if (!options->dhparam.data) return 0;
  BIO *bio = blob_bio(&options->dhparam);
  EVP_PKEY *params = bio ? PEM_read_bio_Parameters(bio, NULL) : NULL;
  BIO_free(bio);
  if (!params) {
    ml_error_openssl(err, "the DH parameters cannot be read");
    return -1;
  }
  if (EVP_PKEY_get_bits(params) < 1024) {
    EVP_PKEY_free(params);
    ml_error_misuse(err, "ERR_INVALID_ARG_VALUE", "DH parameter is less than 1024 bits");
    return -1;
  }
  if (SSL_CTX_set0_tmp_dh_pkey(ssl, params) != 1) {
    EVP_PKEY_free(params);
    ml_error_openssl(err, "the DH parameters cannot be used");
    return -1;
  }
  return 0;
}

/* OpenSSL does not say which name it did not like, if it says anything. */
static int fail_names(struct ml_error *err, const char *what, const char *names)
{
  ERR_clear_error();
  ml_error_misuse(err, "ERR_CRYPTO_OPERATION_FAILED", "Failed to set %s '%s'", what, names);
  return -1;
}

static int use_algorithms(SSL_CTX *ssl, const struct ml_tls_context_options *options,
                          struct ml_error *err)
{
  if (SSL_CTX_set_min_proto_version(ssl, options->min_version) != 1 ||
      SSL_CTX_set_max_proto_version(ssl, options->max_version) != 1)
    goto fail;
  if (options->cipher_suites && SSL_CTX_set_ciphersuites(ssl, options->cipher_suites) != 1)
    goto fail;
  /* OpenSSL refuses an empty list for TLS 1.2 although the suites alone are a sound choice. */
  if (options->ciphers && SSL_CTX_set_cipher_list(ssl, options->ciphers) != 1) {
    if (options->ciphers[0] != '\0' || ERR_GET_REASON(ERR_peek_error()) != SSL_R_NO_CIPHER_MATCH)
      goto fail;
    ERR_clear_error();
  }
  if (options->groups && SSL_CTX_set1_groups_list(ssl, options->groups) != 1)
    return fail_names(err, "ECDH curve", options->groups);
  if (options->sigalgs && SSL_CTX_set1_sigalgs_list(ssl, options->sigalgs) != 1)
    return fail_names(err, "signature algorithms", options->sigalgs);
  return use_dh(ssl, options, err);
fail:
  ml_error_openssl(err, "a protocol option is not supported");
  return -1;
}

static int digest_bytes(EVP_MD_CTX *md, const void *data, size_t len)
{
  return EVP_DigestUpdate(md, &len, sizeof(len)) == 1 && EVP_DigestUpdate(md, data, len) == 1;
}

static int digest_blobs(EVP_MD_CTX *md, const struct ml_tls_blobs *blobs)
{
  int ok = EVP_DigestUpdate(md, &blobs->count, sizeof(blobs->count)) == 1;
  for (size_t i = 0; ok && i < blobs->count; i++)
    ok = digest_bytes(md, blobs->items[i].data, blobs->items[i].len);
  return ok;
}

/* Hashes what makes resumption under another context wrong: who we say we are and whom we trust.
 * The trust anchors themselves count, not their names: two authorities may bear the same. */
static int derive_session_id_context(struct ml_tls_context *context,
                                     const struct ml_tls_context_options *options)
{
  const char *application = options->application ? options->application : "";
  uint8_t own_trust = options->own_trust;
  unsigned len = 0;
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  int ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
           digest_bytes(md, application, strlen(application)) && digest_bytes(md, &own_trust, 1) &&
           digest_blobs(md, &options->cert) && digest_blobs(md, &options->pfx) &&
           digest_blobs(md, &options->ca) && digest_blobs(md, &options->crl) &&
           EVP_DigestFinal_ex(md, context->session_id_context, &len) == 1;
  context->session_id_context_len = SSL_MAX_SID_CTX_LENGTH;
  EVP_MD_CTX_free(md);
  return ok ? 0 : -1;
}

static int use_sessions(struct ml_tls_context *context,
                        const struct ml_tls_context_options *options, struct ml_error *err)
{
  SSL_CTX *ssl = context->ssl;
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_BOTH | SSL_SESS_CACHE_NO_INTERNAL |
                                          SSL_SESS_CACHE_NO_AUTO_CLEAR);
  if (options->session_timeout > 0) SSL_CTX_set_timeout(ssl, options->session_timeout);
  if (options->ticket_keys)
    ml_tls_context_set_ticket_keys(context, options->ticket_keys);
  else if (RAND_bytes((uint8_t *)&context->ticket_keys, sizeof(context->ticket_keys)) != 1)
    goto fail;
  if (options->session_id_context) {
    if (SSL_CTX_set_session_id_context(ssl, options->session_id_context,
                                       (unsigned)options->session_id_context_len) != 1)
      goto fail;
    context->session_id_context_len = (unsigned)options->session_id_context_len;
    memcpy(context->session_id_context, options->session_id_context,
           options->session_id_context_len);
    return 0;
  }
  context->derived_id = true;
  if (derive_session_id_context(context, options) == 0) return 0;
fail:
  ml_error_openssl(err, "the session options cannot be used");
  return -1;
}

int ml_tls_context_new(struct ml_tls_context **out, const struct ml_tls_context_options *options,
                       struct ml_error *err)
{
  ERR_clear_error();
  struct ml_tls_context *context = calloc(1, sizeof(*context));
  if (!context) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  context->refs = 1;
  if (options->groups && !(context->groups = strdup(options->groups))) {
    ml_error_system(err, ENOMEM, "malloc");
    goto fail;
  }
  context->ssl = SSL_CTX_new(TLS_method());
  if (!context->ssl) {
    ml_error_openssl(err, "no TLS context");
    goto fail;
  }
  SSL_CTX_set_mode(context->ssl, BASE_MODE);
  SSL_CTX_set_options(context->ssl,
                      SSL_OP_NO_SSLv3 | SSL_OP_NO_RENEGOTIATION | options->set_options);
  SSL_CTX_clear_options(context->ssl, options->clear_options);
  ml_tls_install_callbacks(context->ssl);
  if (use_algorithms(context->ssl, options, err) != 0) goto fail;
  if (use_trust(context->ssl, options, err) != 0) goto fail;
  if (use_identity(context->ssl, options, err) != 0) goto fail;
  if (use_sessions(context, options, err) != 0) goto fail;
  *out = context;
  return 0;
fail:
  ml_tls_context_unref(context);
  return -1;
}

struct ml_tls_context *ml_tls_context_ref(struct ml_tls_context *context)
{
  context->refs++;
  return context;
}

void ml_tls_context_unref(struct ml_tls_context *context)
{
  if (!context || --context->refs > 0) return;
  SSL_CTX_free(context->ssl);
  OPENSSL_cleanse(&context->ticket_keys, sizeof(context->ticket_keys));
  free(context->groups);
  free(context);
}

SSL_CTX *ml_tls_context_ssl(const struct ml_tls_context *context)
{
  return context->ssl;
}

/* A derived session id context also tells apart servers that share a context but ask clients for
 * different proof. */
static int set_session_id_context(const struct ml_tls_context *context, SSL *ssl, uint8_t policy)
{
  uint8_t id[SSL_MAX_SID_CTX_LENGTH];
  memcpy(id, context->session_id_context, context->session_id_context_len);
  if (context->derived_id) id[0] ^= policy;
  return SSL_set_session_id_context(ssl, id, context->session_id_context_len);
}

int ml_tls_context_apply(const struct ml_tls_context *context, SSL *ssl, uint8_t policy,
                         struct ml_error *err)
{
  ERR_clear_error();
  SSL_CTX *ctx = context->ssl;
  if (set_session_id_context(context, ssl, policy) != 1) goto fail;
  if (SSL_get_SSL_CTX(ssl) == ctx) return 0;
  if (!SSL_set_SSL_CTX(ssl, ctx)) goto fail;
  SSL_clear_options(ssl, SSL_get_options(ssl));
  SSL_set_options(ssl, SSL_CTX_get_options(ctx));
  if (SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(ctx)) != 1 ||
      SSL_set_max_proto_version(ssl, (int)SSL_CTX_get_max_proto_version(ctx)) != 1)
    goto fail;
  if (SSL_set1_groups_list(ssl, context->groups ? context->groups : DEFAULT_GROUPS) != 1) goto fail;
  STACK_OF(X509_NAME) *names = SSL_dup_CA_list(SSL_CTX_get_client_CA_list(ctx));
  SSL_set_client_CA_list(ssl, names); /* takes the list */
  if (set_session_id_context(context, ssl, policy) != 1) goto fail;
  return 0;
fail:
  ml_error_openssl(err, "the context cannot be used");
  return -1;
}

void ml_tls_context_enable_keylog(struct ml_tls_context *context)
{
  ml_tls_install_keylog(context->ssl);
}

void ml_tls_context_get_ticket_keys(const struct ml_tls_context *context, uint8_t *keys)
{
  memcpy(keys, &context->ticket_keys, sizeof(context->ticket_keys));
}

void ml_tls_context_set_ticket_keys(struct ml_tls_context *context, const uint8_t *keys)
{
  memcpy(&context->ticket_keys, keys, sizeof(context->ticket_keys));
}

const struct ml_tls_ticket_keys *ml_tls_context_tickets(const struct ml_tls_context *context)
{
  return &context->ticket_keys;
}

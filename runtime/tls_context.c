#include "tls_context.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_callbacks.h"
#include "tls_identity.h"
#include "tls_kdf.h"
#include "tls_pem.h"
#include "tls_tickets.h"
#include "tls_trust.h"

struct ml_tls_context {
  SSL_CTX *ssl;
  unsigned refs;
  bool derived_id;   /* the session id context is ours, not the script's */
  bool shared_trust; /* the certificate store is that of all contexts */
  uint8_t session_id_context[SSL_MAX_SID_CTX_LENGTH];
  unsigned session_id_context_len;
  struct ml_tls_client_policy client_policy;
  struct ml_ticket_ring tickets;
  long session_timeout;  /* as given */
  int dh_bits;           /* of the parameters given; 0: none */
  char *sigalgs;         /* as given, or NULL */
  uint64_t left_options; /* as given */
  char *groups; /* as given, for connections that switch to this context; NULL: OpenSSL's choice */
};

/* What every context has: OpenSSL's own caches off (sessions belong to the script), buffers
 * released when idle. */
#define BASE_MODE                                                                                  \
  (SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS)
#define SESSION_TIMEOUT 300 /* seconds, as in Node */
/* OpenSSL's own preference (SSL_CTX_set1_groups_list(3)), for leaving a context that narrowed it.
 */
#if OPENSSL_VERSION_NUMBER >= 0x30500000L
#define DEFAULT_GROUPS "DEFAULT"
#else
#define DEFAULT_GROUPS                                                                             \
  "X25519:P-256:X448:P-521:P-384:ffdhe2048:ffdhe3072:ffdhe4096:ffdhe6144:ffdhe8192"
#endif

/* Other blocks are passed over, as they are beside certificates. */
static int add_ca(SSL_CTX *ssl, X509_STORE *store, const struct ml_tls_blob *blob)
{
  STACK_OF(X509) *certs = ml_pem_certs(blob);
  if (!certs) return ml_pem_in(blob->data, blob->len) && ml_pem_ended() ? 0 : -1;
  int result = 0;
  for (int i = 0; result == 0 && i < sk_X509_num(certs); i++) {
    X509 *cert = sk_X509_value(certs, i);
    if (X509_STORE_add_cert(store, cert) != 1 || SSL_CTX_add_client_CA(ssl, cert) != 1) result = -1;
  }
  sk_X509_pop_free(certs, X509_free);
  return result;
}

static int add_crl(X509_STORE *store, const struct ml_tls_blob *blob)
{
  struct ml_pem_lock none = {NULL, false};
  BIO *bio = ml_pem_bio(blob);
  if (!bio) return -1;
  int count = 0, result = 0;
  X509_CRL *crl;
  while (result == 0 && (crl = PEM_read_bio_X509_CRL(bio, NULL, ml_pem_unlock, &none))) {
    if (X509_STORE_add_crl(store, crl) != 1) result = -1;
    X509_CRL_free(crl);
    count++;
  }
  BIO_free(bio);
  if (result != 0 || count == 0) return -1;
  return ml_pem_ended() ? 0 : -1;
}

static int use_trust(struct ml_tls_context *context, const struct ml_tls_context_options *options,
                     struct ml_error *err)
{
  SSL_CTX *ssl = context->ssl;
  X509_STORE *store = NULL;
  context->shared_trust = !options->own_trust && options->ca.count == 0 &&
                          options->crl.count == 0 && options->pfx.count == 0;
  if (context->shared_trust) {
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

int ml_tls_context_add_ca(struct ml_tls_context *context, const struct ml_tls_blob *pem,
                          struct ml_error *err)
{
  if (context->shared_trust) {
    X509_STORE *own = ml_tls_trust_copy(err);
    if (!own) return -1;
    SSL_CTX_set_cert_store(context->ssl, own);
    context->shared_trust = false;
  }
  ml_error_clear_openssl();
  if (add_ca(context->ssl, SSL_CTX_get_cert_store(context->ssl), pem) == 0) return 0;
  ml_error_openssl(err, "an authority's certificate cannot be read");
  return -1;
}

/* Of DH alone: OpenSSL would take any others that PEM can hold, and serve nothing. NULL for
 * anything else. */
static EVP_PKEY *read_dh(const struct ml_tls_blob *blob)
{
  BIO *bio = ml_pem_bio(blob);
  EVP_PKEY *params = bio ? PEM_read_bio_Parameters(bio, NULL) : NULL;
  BIO_free(bio);
  if (params && !EVP_PKEY_is_a(params, "DH") && !EVP_PKEY_is_a(params, "DHX")) {
    EVP_PKEY_free(params);
    params = NULL;
  }
  ERR_clear_error();
  return params;
}

static int use_dh(struct ml_tls_context *context, const struct ml_tls_context_options *options,
                  struct ml_error *err)
{
  if (options->dh_auto && SSL_CTX_set_dh_auto(context->ssl, 1) != 1) {
    ml_error_openssl(err, "no DH parameters");
    return -1;
  }
  if (options->dh_auto || !options->dhparam.data) return 0;
  EVP_PKEY *params = read_dh(&options->dhparam);
  if (!params) return 0; /* and no DHE: Node's documented rule for what cannot be loaded */
  int bits = EVP_PKEY_get_bits(params);
  if (bits < 1024) {
    ml_error_misuse(err, "ERR_INVALID_ARG_VALUE", "DH parameter is less than 1024 bits");
  } else if (SSL_CTX_set0_tmp_dh_pkey(context->ssl, params) == 1) {
    context->dh_bits = bits;
    return 0;
  } else {
    ml_error_openssl(err, "the DH parameters cannot be used");
  }
  EVP_PKEY_free(params);
  return -1;
}

/* OpenSSL does not say which name it did not like, if it says anything. */
static int fail_names(struct ml_error *err, const char *what, const char *names)
{
  ERR_clear_error();
  ml_error_misuse(err, "ERR_CRYPTO_OPERATION_FAILED", "Failed to set %s '%s'", what, names);
  return -1;
}

/* Whether the list has commands alone, such as "@SECLEVEL=0" or "!aNULL", and names no cipher. */
static bool only_commands(const char *list)
{
  while (*list && strchr("@!+-", *list)) {
    list += strcspn(list, ":");
    list += *list == ':';
  }
  return *list == '\0';
}

/* OpenSSL refuses a list without ciphers for TLS 1.2, although suites alone are a sound choice; by
 * then it has obeyed the list's commands. */
static int use_ciphers(SSL_CTX *ssl, const struct ml_tls_context_options *options)
{
  if (options->cipher_suites && SSL_CTX_set_ciphersuites(ssl, options->cipher_suites) != 1)
    return -1;
  if (!options->ciphers || SSL_CTX_set_cipher_list(ssl, options->ciphers) == 1) return 0;
  if (!options->cipher_suites || !only_commands(options->ciphers) ||
      ERR_GET_REASON(ERR_peek_error()) != SSL_R_NO_CIPHER_MATCH)
    return -1;
  ERR_clear_error();
  return 0;
}

static int use_algorithms(struct ml_tls_context *context,
                          const struct ml_tls_context_options *options, struct ml_error *err)
{
  SSL_CTX *ssl = context->ssl;
  if (SSL_CTX_set_min_proto_version(ssl, options->min_version) != 1 ||
      SSL_CTX_set_max_proto_version(ssl, options->max_version) != 1 ||
      use_ciphers(ssl, options) != 0) {
    ml_error_openssl(err, "a protocol option is not supported");
    return -1;
  }
  if (options->groups && SSL_CTX_set1_groups_list(ssl, options->groups) != 1)
    return fail_names(err, "ECDH curve", options->groups);
  if (options->sigalgs && SSL_CTX_set1_sigalgs_list(ssl, options->sigalgs) != 1)
    return fail_names(err, "signature algorithms", options->sigalgs);
  return use_dh(context, options, err);
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
  uint8_t own_trust = options->own_trust, partial = options->partial_chain;
  size_t mark_len;
  const uint8_t *mark = ml_tls_trust_mark(&mark_len);
  unsigned len = 0;
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  int ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
           digest_bytes(md, application, strlen(application)) && digest_bytes(md, &own_trust, 1) &&
           digest_bytes(md, &partial, 1) && digest_bytes(md, mark, own_trust ? 0 : mark_len) &&
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
  context->session_timeout = options->session_timeout;
  SSL_CTX_set_timeout(ssl,
                      options->session_timeout > 0 ? options->session_timeout : SESSION_TIMEOUT);
  if (options->session_timeout < 0) {
    /* OpenSSL resumes within the second even what lives for none. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ssl, 0);
  }
  if (ml_ticket_ring_set(&context->tickets, options->ticket_keys, options->ticket_keys_len, err) !=
      0)
    return -1;
  if (options->session_id_context_len > 0) {
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
  context->client_policy.request_cert = (enum ml_tls_says)options->request_cert;
  context->client_policy.reject_unauthorized = (enum ml_tls_says)options->reject_unauthorized;
  if ((options->groups && !(context->groups = strdup(options->groups))) ||
      (options->sigalgs && !(context->sigalgs = strdup(options->sigalgs)))) {
    ml_error_system(err, ENOMEM, "malloc");
    goto fail;
  }
  context->ssl = SSL_CTX_new_ex(NULL, ml_tls_kdf_properties(), TLS_method());
  if (!context->ssl) {
    ml_error_openssl(err, "no TLS context");
    goto fail;
  }
  SSL_CTX_set_mode(context->ssl, BASE_MODE);
  SSL_CTX_set_options(context->ssl, SSL_OP_NO_SSLv3 | options->set_options);
  SSL_CTX_clear_options(context->ssl, options->clear_options);
  context->left_options = options->left_options;
  ml_tls_install_callbacks(context->ssl);
#ifdef SSL_OP_ENABLE_KTLS
  if (SSL_CTX_get_options(context->ssl) & SSL_OP_ENABLE_KTLS)
    ml_tls_install_keylog(context->ssl); /* see tls_offload.h */
#endif
  if (use_algorithms(context, options, err) != 0) goto fail;
  if (use_trust(context, options, err) != 0) goto fail;
  /* Of the context and not of its store, which may be shared. */
  if (options->partial_chain)
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context->ssl), X509_V_FLAG_PARTIAL_CHAIN);
  if (ml_tls_use_identity(context->ssl, options, err) != 0) goto fail;
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

/* A context is a few hundred small blocks. glibc keeps them when they are free, for as long as one
 * of anybody's above them is not: a thousand contexts dropped at once would stay with the process.
 */
static void give_back(void)
{
#ifdef __GLIBC__
  enum { EVERY = 128 };
  static unsigned freed;
  if (++freed % EVERY == 0) malloc_trim(0);
#endif
}

void ml_tls_context_unref(struct ml_tls_context *context)
{
  if (!context || --context->refs > 0) return;
  SSL_CTX_free(context->ssl);
  ml_ticket_ring_free(&context->tickets);
  free(context->groups);
  free(context->sigalgs);
  free(context);
  give_back();
}

int ml_tls_context_dh_bits(const struct ml_tls_context *context)
{
  return context->dh_bits;
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

/* Reading names costs more than all the rest of a switch. */
static int set_groups(const struct ml_tls_context *context, const struct ml_tls_context *before,
                      SSL *ssl)
{
  const char *groups = ml_tls_context_groups(context);
  if (strcmp(groups, ml_tls_context_groups(before)) == 0) return 1;
  return SSL_set1_groups_list(ssl, groups) == 1;
}

int ml_tls_context_apply(const struct ml_tls_context *context, const struct ml_tls_context *before,
                         SSL *ssl, uint8_t policy, struct ml_error *err)
{
  ml_error_clear_openssl();
  SSL_CTX *ctx = context->ssl;
  if (set_session_id_context(context, ssl, policy) != 1) goto fail;
  if (SSL_get_SSL_CTX(ssl) == ctx) return 0;
  if (!SSL_set_SSL_CTX(ssl, ctx)) goto fail;
  uint64_t left = SSL_get_options(ssl) & context->left_options;
  SSL_clear_options(ssl, SSL_get_options(ssl));
  SSL_set_options(ssl, SSL_CTX_get_options(ctx) | left);
  if (SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(ctx)) != 1 ||
      SSL_set_max_proto_version(ssl, (int)SSL_CTX_get_max_proto_version(ctx)) != 1)
    goto fail;
  if (!set_groups(context, before, ssl)) goto fail;
  unsigned long partial =
      X509_VERIFY_PARAM_get_flags(SSL_CTX_get0_param(ctx)) & X509_V_FLAG_PARTIAL_CHAIN;
  X509_VERIFY_PARAM_clear_flags(SSL_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_flags(SSL_get0_param(ssl), partial);
  STACK_OF(X509_NAME) *names = SSL_dup_CA_list(SSL_CTX_get_client_CA_list(ctx));
  SSL_set_client_CA_list(ssl, names); /* takes the list */
  if (set_session_id_context(context, ssl, policy) != 1) goto fail;
  return 0;
fail:
  ml_error_openssl(err, "the context cannot be used");
  return -1;
}

const char *ml_tls_context_groups(const struct ml_tls_context *context)
{
  return context->groups ? context->groups : DEFAULT_GROUPS;
}

const char *ml_tls_context_sigalgs(const struct ml_tls_context *context)
{
  return context->sigalgs;
}

long ml_tls_context_session_timeout(const struct ml_tls_context *context)
{
  return context->session_timeout;
}

const struct ml_tls_client_policy *
ml_tls_context_client_policy(const struct ml_tls_context *context)
{
  return &context->client_policy;
}

/* A context keeps one identity for each kind of key and has one of them at hand at a time
 * (SSL_CTX_set_current_cert(3)). */
int ml_tls_context_show_identity(const struct ml_tls_context *context, SSL *ssl,
                                 struct ml_error *err)
{
  SSL_CTX *ctx = context->ssl;
  X509 *at_hand = SSL_CTX_get0_certificate(ctx);
  ERR_clear_error();
  SSL_certs_clear(ssl);
  long more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST);
  for (; more == 1; more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT)) {
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    if (SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(ctx), SSL_CTX_get0_privatekey(ctx),
                             chain, 1) != 1)
      break;
  }
  if (at_hand) SSL_CTX_select_current_cert(ctx, at_hand);
  if (more == 0) return 0;
  ml_error_openssl(err, "the certificate cannot be used");
  return -1;
}

void ml_tls_context_enable_keylog(struct ml_tls_context *context)
{
  ml_tls_install_keylog(context->ssl);
}

const uint8_t *ml_tls_context_ticket_keys(const struct ml_tls_context *context, size_t *len)
{
  *len = context->tickets.count * ML_TICKET_KEYS_SIZE;
  return (const uint8_t *)context->tickets.keys;
}

int ml_tls_context_set_ticket_keys(struct ml_tls_context *context, const uint8_t *keys, size_t len,
                                   struct ml_error *err)
{
  return ml_ticket_ring_set(&context->tickets, keys, len, err);
}

const struct ml_ticket_ring *ml_tls_context_tickets(const struct ml_tls_context *context)
{
  return &context->tickets;
}

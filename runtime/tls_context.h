/* TLS contexts: keys, certificates, trust and protocol choices, built whole from one plain struct
 * and then shared.
 *
 * A context is reference-counted and, once built, only read: any number of connections, servers and
 * SNI names may share one. Not thread-safe.
 */
#ifndef ML_TLS_CONTEXT_H
#define ML_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define ML_TICKET_KEYS_SIZE 48

struct ml_tls_context;

/* PEM or DER in the caller's memory. */
struct ml_tls_blob {
  const char *data;
  size_t len;
  const char *passphrase; /* NULL: the options' own */
};

struct ml_tls_blobs {
  const struct ml_tls_blob *items;
  size_t count;
};

/* What a context says about a question that may be left to its user. */
enum ml_tls_says { ML_SAYS_NOTHING = 0, ML_SAYS_NO, ML_SAYS_YES };

/* Of a context that a server chooses at ClientHello: whether its clients are asked for
 * certificates, and whether those must verify. */
struct ml_tls_client_policy {
  enum ml_tls_says request_cert;
  enum ml_tls_says reject_unauthorized;
};

/* Everything a context is made from. All memory is the caller's and only read during
 * ml_tls_context_new. Zero means "not given" throughout. */
struct ml_tls_context_options {
  struct ml_tls_blobs cert; /* PEM chains, leaf first */
  struct ml_tls_blobs key;  /* PEM private keys, or PKCS#11 URIs (NUL-terminated) */
  struct ml_tls_blobs pfx;  /* PKCS#12, DER */
  struct ml_tls_blobs ca;   /* PEM; with `own_trust`, replaces the system store even when empty */
  struct ml_tls_blobs crl;  /* PEM; turns on revocation checks of the whole chain */
  bool own_trust;
  bool partial_chain;     /* a chain may end at any certificate of the store */
  const char *passphrase; /* of keys, PKCS#12 files and tokens that bring none of their own */
  int request_cert, reject_unauthorized; /* enum ml_tls_says, for ml_tls_context_client_policy */

  const char *key_engine;         /* the OpenSSL engine that knows key_identifier; NULL when that is
                                     a PKCS#11 URI */
  const char *key_identifier;     /* a private key that stays in its hardware */
  const char *client_cert_engine; /* an OpenSSL engine that chooses client certificates */

  const char *ciphers;       /* ciphers(1) list for TLS 1.2 and below; "" for none */
  const char *cipher_suites; /* TLS 1.3 suites, colon-separated; "" for none */
  const char *groups;        /* SSL_CTX_set1_groups_list(3) */
  const char *sigalgs;       /* SSL_CTX_set1_sigalgs_list(3) */
  struct ml_tls_blob dhparam;
  bool dh_auto;

  int min_version, max_version;        /* TLS1_2_VERSION…; 0: no bound */
  uint64_t set_options, clear_options; /* SSL_OP_* */
  uint64_t left_options; /* of these, what stays as it is when a server switches to this context */

  const uint8_t
      *session_id_context; /* at most SSL_MAX_SID_CTX_LENGTH bytes; none: derived, see below */
  size_t session_id_context_len;
  const char *application;    /* names the program in the derived session id context; may be NULL */
  long session_timeout;       /* seconds; 0: not given, which is 300; negative: none are made */
  const uint8_t *ticket_keys; /* ML_TICKET_KEYS_SIZE bytes each (name, HMAC, AES): the first seals
                                 tickets, all open them; NULL: random */
  size_t ticket_keys_len;
};

/* Builds a context. On failure *out is untouched and err tells OpenSSL's reason. The session id
 * context, when not given, is a hash over the application, the certificates and the trust anchors,
 * so that a session made under one context does not resume under another (CVE-2025-23419). */
ML_MUST_CHECK int ml_tls_context_new(struct ml_tls_context **out,
                                     const struct ml_tls_context_options *options,
                                     struct ml_error *err);

struct ml_tls_context *ml_tls_context_ref(struct ml_tls_context *context);
void ml_tls_context_unref(struct ml_tls_context *context); /* NULL is fine */

/* Has connections of this context that are made from now on trust the certificates in `pem` too,
 * behind those it trusts already. */
ML_MUST_CHECK int ml_tls_context_add_ca(struct ml_tls_context *context,
                                        const struct ml_tls_blob *pem, struct ml_error *err);

/* Bits of the DH parameters given; 0 when there are none. */
int ml_tls_context_dh_bits(const struct ml_tls_context *context);

/* The OpenSSL object, owned by the context. */
SSL_CTX *ml_tls_context_ssl(const struct ml_tls_context *context);

/* Applies to `ssl` what SSL_set_SSL_CTX(3) leaves behind when a server switches contexts at
 * ClientHello: the certificate, versions, options, groups, the client CA names and the session id
 * context. `before` is the context that `ssl` has gone by so far. `policy` (a small number standing
 * for the server's client-certificate policy) is mixed into a derived session id context. */
ML_MUST_CHECK int ml_tls_context_apply(const struct ml_tls_context *context,
                                       const struct ml_tls_context *before, SSL *ssl,
                                       uint8_t policy, struct ml_error *err);

/* The groups and signature algorithms as configured, or OpenSSL's own groups and NULL. */
const char *ml_tls_context_groups(const struct ml_tls_context *context);
const char *ml_tls_context_sigalgs(const struct ml_tls_context *context);

/* The options' session_timeout. */
long ml_tls_context_session_timeout(const struct ml_tls_context *context);

/* What the options said about clients. */
const struct ml_tls_client_policy *
ml_tls_context_client_policy(const struct ml_tls_context *context);

/* Shows the context's certificates, chains and keys on `ssl` instead of those it has, for a
 * handshake that has not sent its own yet. */
ML_MUST_CHECK int ml_tls_context_show_identity(const struct ml_tls_context *context, SSL *ssl,
                                               struct ml_error *err);

/* Makes connections of this context report key material (SSL_CTX_set_keylog_callback(3)).
 * Idempotent; costs each handshake a few microseconds, so it is off until somebody listens. */
void ml_tls_context_enable_keylog(struct ml_tls_context *context);

/* Ticket keys, ML_TICKET_KEYS_SIZE bytes each in Node's layout, one after the other; the first
 * seal. The context's, until it gets others. Setting affects handshakes from now on; -1 (no whole
 * number of keys, or no memory): it has what it had. */
const uint8_t *ml_tls_context_ticket_keys(const struct ml_tls_context *context, size_t *len);
ML_MUST_CHECK int ml_tls_context_set_ticket_keys(struct ml_tls_context *context,
                                                 const uint8_t *keys, size_t len,
                                                 struct ml_error *err);

/* What `no own trust` means, for contexts built after the call. use_openssl_ca: OpenSSL's default
 * locations with SSL_CERT_FILE and SSL_CERT_DIR; otherwise the locations OpenSSL was built with,
 * the environment left aside. extra_file adds a PEM file (NULL: none). Fails when that file cannot
 * be read; the store is then without it. */
ML_MUST_CHECK int ml_tls_trust_configure(bool use_openssl_ca, const char *extra_file,
                                         struct ml_error *err);

/* Forgets the shared system store (contexts that use it keep it). For leak checks at exit. */
void ml_tls_trust_release(void);

#endif

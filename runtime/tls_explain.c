#include "tls_explain.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "tls_engine_internal.h"
#include "tls_hello.h"
#include "tls_policy.h"
#include "tls_psk.h"

/* ---- Names ---- */

const char *ml_tls_version_name(int version)
{
  switch (version) {
  case SSL3_VERSION:
    return "SSLv3";
  case TLS1_VERSION:
    return "TLSv1";
  case TLS1_1_VERSION:
    return "TLSv1.1";
  case TLS1_2_VERSION:
    return "TLSv1.2";
  case TLS1_3_VERSION:
    return "TLSv1.3";
  default:
    return NULL;
  }
}

static const char *key_name(int nid)
{
  switch (nid) {
  case EVP_PKEY_RSA:
    return "RSA";
  case EVP_PKEY_RSA_PSS:
    return "RSA-PSS";
  case EVP_PKEY_DSA:
    return "DSA";
  case EVP_PKEY_EC:
    return "ECDSA";
  case NID_ED25519:
    return "Ed25519";
  case NID_ED448:
    return "Ed448";
  default:
    return OBJ_nid2sn(nid);
  }
}

const char *ml_tls_sigalg_name(int sign_nid, int hash_nid, char *buffer, size_t size)
{
  const char *sign = key_name(sign_nid);
  const char *hash = hash_nid == NID_undef ? NULL : OBJ_nid2sn(hash_nid);
  snprintf(buffer, size, "%s%s%s", sign ? sign : "UNDEF", hash ? "+" : "", hash ? hash : "");
  return buffer;
}

const char *ml_tls_scheme_name(unsigned scheme)
{
  static const struct {
    uint16_t scheme;
    const char *name;
  } names[] = {
      {0x0201, "rsa_pkcs1_sha1"},
      {0x0202, "dsa_sha1"},
      {0x0203, "ecdsa_sha1"},
      {0x0301, "rsa_pkcs1_sha224"},
      {0x0302, "dsa_sha224"},
      {0x0303, "ecdsa_sha224"},
      {0x0401, "rsa_pkcs1_sha256"},
      {0x0402, "dsa_sha256"},
      {0x0403, "ecdsa_secp256r1_sha256"},
      {0x0501, "rsa_pkcs1_sha384"},
      {0x0502, "dsa_sha384"},
      {0x0503, "ecdsa_secp384r1_sha384"},
      {0x0601, "rsa_pkcs1_sha512"},
      {0x0602, "dsa_sha512"},
      {0x0603, "ecdsa_secp521r1_sha512"},
      {0x0804, "rsa_pss_rsae_sha256"},
      {0x0805, "rsa_pss_rsae_sha384"},
      {0x0806, "rsa_pss_rsae_sha512"},
      {0x0807, "ed25519"},
      {0x0808, "ed448"},
      {0x0809, "rsa_pss_pss_sha256"},
      {0x080a, "rsa_pss_pss_sha384"},
      {0x080b, "rsa_pss_pss_sha512"},
      {0x081a, "ecdsa_brainpoolP256r1tls13_sha256"},
      {0x081b, "ecdsa_brainpoolP384r1tls13_sha384"},
      {0x081c, "ecdsa_brainpoolP512r1tls13_sha512"},
      {0x0904, "mldsa44"},
      {0x0905, "mldsa65"},
      {0x0906, "mldsa87"},
  };
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
    if (names[i].scheme == scheme) return names[i].name;
  return NULL;
}

/* ---- Lists of bounded length ---- */

/* Room that is kept for " and 4294967295 more". */
#define REST_ROOM 24

struct text {
  char *out;
  size_t size, used;
  unsigned items, left_out; /* of the list at hand */
};

static void append(struct text *text, const char *what)
{
  int n = snprintf(text->out + text->used, text->size - text->used, "%s", what);
  if (n > 0) text->used += (size_t)n;
  if (text->used >= text->size) text->used = text->size - 1;
}

/* Begins a list, after another one or as the first. */
static void begin(struct text *text, const char *label)
{
  if (text->used > 0) append(text, "; ");
  append(text, label);
  append(text, " ");
  text->items = text->left_out = 0;
}

/* `budget`: how much of the text may be used up by then. What has no room is counted. */
static void item(struct text *text, const char *name, size_t budget)
{
  if (!name) return;
  if (text->left_out > 0 || text->used + strlen(name) + 2 + REST_ROOM >= budget) {
    text->left_out++;
    return;
  }
  if (text->items++ > 0) append(text, ", ");
  append(text, name);
}

static void end(struct text *text)
{
  char rest[REST_ROOM];
  if (text->left_out == 0) {
    if (text->items == 0) append(text, "none");
    return;
  }
  snprintf(rest, sizeof(rest), text->items > 0 ? " and %u more" : "%u", text->left_out);
  append(text, rest);
}

/* Names of protocols are any bytes; GREASE (RFC 8701) is no text. */
static void protocol_list(struct text *text, const struct ml_tls_bytes *list)
{
  struct ml_slice rest = {list->at, list->len}, name;
  begin(text, "ALPN protocols");
  while (ml_tls_hello_next_protocol(&rest, &name)) {
    char shown[4 * UINT8_MAX + 1] = "", *at = shown;
    for (size_t i = 0; i < name.len; i++) {
      bool plain = name.data[i] > ' ' && name.data[i] < 0x7f && name.data[i] != '\\';
      at += snprintf(at, 5, plain ? "%c" : "\\x%02x", name.data[i]);
    }
    item(text, shown, text->size);
  }
  end(text);
}

/* ---- What we have ---- */

static void our_versions(struct text *text, SSL *ssl)
{
  begin(text, "versions");
  for (int version = TLS1_VERSION; version <= TLS1_3_VERSION; version++)
    if (ml_tls_speaks(ssl, version)) item(text, ml_tls_version_name(version), text->size);
  end(text);
}

static void cipher_list(struct text *text, const STACK_OF(SSL_CIPHER) * ciphers)
{
  begin(text, "ciphers");
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++)
    item(text, SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i)), text->size * 2 / 3);
  end(text);
}

static void our_ciphers(struct text *text, SSL *ssl)
{
  STACK_OF(SSL_CIPHER) *ciphers = SSL_get1_supported_ciphers(ssl);
  cipher_list(text, ciphers);
  sk_SSL_CIPHER_free(ciphers);
}

/* "RSA 2048", "ECDSA prime256v1": a cipher or signature algorithm may only be missing for want of a
 * key of its kind. */
static void certificate(struct text *text, X509 *cert)
{
  char name[64], group[32];
  size_t len;
  EVP_PKEY *key = cert ? X509_get0_pubkey(cert) : NULL;
  if (!key) return;
  const char *kind = key_name(EVP_PKEY_get_base_id(key));
  if (EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1)
    snprintf(name, sizeof(name), "%s %s", kind, group);
  else
    snprintf(name, sizeof(name), "%s %d", kind, EVP_PKEY_get_bits(key));
  item(text, name, text->size);
}

static void our_certificates(struct text *text, SSL *ssl)
{
  begin(text, "certificates");
  long more = SSL_set_current_cert(ssl, SSL_CERT_SET_FIRST);
  for (; more == 1; more = SSL_set_current_cert(ssl, SSL_CERT_SET_NEXT))
    certificate(text, SSL_get_certificate(ssl));
  end(text);
}

static void our_groups(struct text *text, const struct ml_tls *tls)
{
  begin(text, "groups");
  item(text, ml_tls_context_groups(tls->context), text->size);
  end(text);
}

static void our_sigalgs(struct text *text, const struct ml_tls *tls)
{
  const char *sigalgs = ml_tls_context_sigalgs(tls->context);
  begin(text, "signature algorithms");
  item(text, sigalgs ? sigalgs : "OpenSSL's default", text->size);
  end(text);
}

/* ---- What the peer has ---- */

static void their_versions(struct text *text, const struct ml_tls_offer *offer)
{
  begin(text, offer->at_most ? "versions up to" : "versions");
  for (unsigned i = 0; i < offer->count; i++) {
    char number[8];
    const char *name = ml_tls_version_name(offer->versions[i]);
    snprintf(number, sizeof(number), "0x%04x", offer->versions[i]);
    item(text, name ? name : number, text->size);
  }
  end(text);
}

static void their_groups(struct text *text, SSL *ssl)
{
  int groups[64];
  int count = SSL_get1_groups(ssl, NULL);
  if (count <= 0 || count > (int)(sizeof(groups) / sizeof(*groups))) return;
  SSL_get1_groups(ssl, groups);
  begin(text, "groups");
  for (int i = 0; i < count; i++) {
    char number[8];
    bool unknown = (groups[i] & TLSEXT_nid_unknown) != 0;
    snprintf(number, sizeof(number), "0x%04x", groups[i] & 0xffff);
    const char *name = unknown ? NULL : SSL_group_to_name(ssl, groups[i]);
    item(text, name ? name : number, text->size);
  }
  end(text);
}

static void their_sigalgs(struct text *text, SSL *ssl)
{
  int count = SSL_get_sigalgs(ssl, 0, NULL, NULL, NULL, NULL, NULL);
  if (count <= 0) return;
  begin(text, "signature algorithms");
  for (int i = 0; i < count; i++) {
    char name[64];
    int sign, hash;
    SSL_get_sigalgs(ssl, i, &sign, &hash, NULL, NULL, NULL);
    if (sign != NID_undef)
      item(text, ml_tls_sigalg_name(sign, hash, name, sizeof(name)), text->size);
  }
  end(text);
}

/* A server without certificates needs a key that it knows, and a suite with the key's hash. */
static void their_keys(struct text *text, const struct ml_tls *tls)
{
  char number[24];
  bool known;
  unsigned unknown = ml_tls_psk_asked(tls, &known);
  if (unknown == 0 && !known) return;
  begin(text, "pre-shared keys");
  snprintf(number, sizeof(number), "%u unknown", unknown);
  if (unknown > 0) item(text, number, text->size);
  if (known) item(text, "1 for suites with SHA-256", text->size);
  end(text);
}

/* ---- Which of it matters ---- */

enum {
  VERSIONS = 1,
  CIPHERS = 2,
  GROUPS = 4,
  SIGALGS = 8,
  CERTIFICATES = 16,
  PROTOCOLS = 32,
};

/* What the two ends disagreed about, by OpenSSL's reason; 0 for a failure of another nature. */
static unsigned topics_of(int reason)
{
  switch (reason) {
  case SSL_R_UNSUPPORTED_PROTOCOL:
  case SSL_R_UNKNOWN_PROTOCOL:
  case SSL_R_VERSION_TOO_LOW:
  case SSL_R_NO_PROTOCOLS_AVAILABLE:
  case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    return VERSIONS;
  case SSL_R_NO_SHARED_CIPHER:
    return CIPHERS | GROUPS | CERTIFICATES;
  case SSL_R_NO_CIPHERS_AVAILABLE:
    return VERSIONS | CIPHERS;
  case SSL_R_NO_SUITABLE_KEY_SHARE:
  case SSL_R_NO_SUITABLE_GROUPS:
    return GROUPS;
  case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
  case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
  case SSL_R_WRONG_SIGNATURE_TYPE:
    return SIGALGS | CERTIFICATES;
  case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
  case SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY:
    return VERSIONS | CIPHERS | GROUPS;
  case SSL_R_NO_APPLICATION_PROTOCOL:
  case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
    return PROTOCOLS;
  default:
    return 0;
  }
}

/* A server for whose certificates no signature algorithm of TLS 1.3 will do does not speak TLS 1.3
 * as far as OpenSSL is concerned. */
static bool has_common_version(const struct ml_tls *tls)
{
  bool found = false;
  for (unsigned i = 0; tls->server && i < tls->offer.count; i++) {
    int version = tls->offer.versions[i];
    found = found || (version >= TLS1_VERSION && version <= TLS1_3_VERSION &&
                      ml_tls_speaks(awake(tls), version));
  }
  return found;
}

static void describe_us(struct ml_tls *tls, unsigned topics, struct text *text)
{
  if (topics & VERSIONS) our_versions(text, awake(tls));
  if (topics & CIPHERS) our_ciphers(text, awake(tls));
  if (topics & GROUPS) our_groups(text, tls);
  if (topics & SIGALGS) our_sigalgs(text, tls);
  if (topics & CERTIFICATES) our_certificates(text, awake(tls));
  /* An owner who chooses has no list of ours. */
  if (topics & PROTOCOLS && !tls->protocols.asked) protocol_list(text, &tls->protocols.alpn);
}

/* A client learns of its server's choices only what the server chose to say. */
static void describe_peer(struct ml_tls *tls, unsigned topics, struct text *text)
{
  if (topics & CERTIFICATES) their_keys(text, tls);
  if (topics & SIGALGS) their_sigalgs(text, awake(tls));
  if (!tls->server || tls->alert_from == ML_ALERT_PEER) return;
  if (topics & VERSIONS && tls->offer.count > 0) their_versions(text, &tls->offer);
  if (topics & CIPHERS) cipher_list(text, SSL_get_client_ciphers(awake(tls)));
  if (topics & GROUPS) their_groups(text, awake(tls));
  if (topics & PROTOCOLS) protocol_list(text, &tls->protocols.offered);
}

void ml_tls_explain(struct ml_tls *tls, struct ml_error *err)
{
  unsigned long number = (unsigned long)err->number;
  if (err->origin != ML_ORIGIN_TLS || ERR_GET_LIB(number) != ERR_LIB_SSL) return;
  unsigned topics = topics_of(ERR_GET_REASON(number));
  if (topics == 0) return;
  if (topics == VERSIONS && has_common_version(tls)) topics |= SIGALGS | CERTIFICATES;
  struct text us = {.out = err->configured, .size = sizeof(err->configured)};
  struct text peer = {.out = err->offered, .size = sizeof(err->offered)};
  describe_us(tls, topics, &us);
  describe_peer(tls, topics, &peer);
  const char *them = tls->server ? "the client" : "the server";
  const char *we = tls->server ? "this server" : "this client";
  if (!err->configured[0])
    ml_error_append(err, " (%s offered %s)", them, err->offered);
  else if (err->offered[0])
    ml_error_append(err, " (%s offered %s; %s has %s)", them, err->offered, we, err->configured);
  else
    ml_error_append(err, " (%s has %s)", we, err->configured);
}

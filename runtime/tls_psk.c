#include "tls_psk.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_at_hello.h"
#include "tls_callbacks.h"
#include "tls_policy.h"
#include "tls_tickets.h"
#include "tls_timeline.h"

/* Of one ClientHello. Each takes a question to the owner, who may go far for the answer. */
#define IDENTITIES_MAX 8

struct ml_tls_psk_state {
  ml_tls_psk_fn *find; /* NULL: the owner is gone */
  void *user;
  char *hint;
  unsigned next;    /* server: how many identities of the ClientHello have been dealt with */
  unsigned unknown; /* those that were asked about in vain */
  bool offered;     /* client: asked at its ClientHello; a second one is told the same */
  struct ml_tls_bytes identity, key; /* TLS 1.3: what was found out at the ClientHello */
};

/* What a session that was made from a key says of itself (SSL_SESSION_set1_ticket_appdata(3)), in
 * its tickets too, where no client can write it. */
static const char mark[] = "PSK";

/* ---- Life ---- */

static void forget(struct ml_tls_bytes *bytes)
{
  if (bytes->at) OPENSSL_cleanse(bytes->at, bytes->len);
  ml_tls_bytes_free(bytes);
}

int ml_tls_psk_set_up(struct ml_tls *tls, const struct ml_tls_options *options,
                      struct ml_error *err)
{
  if (!options->psk) {
    tls->asks &= ~ML_ASKS(ML_ASK_PSK);
    return 0;
  }
#ifdef OPENSSL_NO_PSK
  ml_error_misuse(err, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
                  "This OpenSSL was built without pre-shared keys");
  return -1;
#else
  tls->psk = calloc(1, sizeof(*tls->psk));
  if (!tls->psk || (options->psk_hint && !(tls->psk->hint = strdup(options->psk_hint)))) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  tls->psk->find = options->psk;
  tls->psk->user = options->psk_user;
  ml_tls_install_psk(awake(tls), tls->server);
  return ml_tls_psk_apply(tls, err);
#endif
}

void ml_tls_psk_free(struct ml_tls *tls)
{
  struct ml_tls_psk_state *psk = tls->psk;
  if (!psk) return;
  forget(&psk->identity);
  forget(&psk->key);
  free(psk->hint);
  free(psk);
  tls->psk = NULL;
}

void ml_tls_psk_disown(struct ml_tls *tls)
{
  if (tls->psk) tls->psk->find = NULL;
}

int ml_tls_psk_apply(const struct ml_tls *tls, struct ml_error *err)
{
  if (!tls->server || !tls->psk || !tls->psk->hint) return 0;
  ERR_clear_error();
  if (SSL_use_psk_identity_hint(awake(tls), tls->psk->hint) == 1) return 0;
  ERR_clear_error();
  ml_error_misuse(err, "ERR_TLS_PSK_SET_IDENTITY_HINT_FAILED", "Failed to set PSK identity hint");
  return -1;
}

/* ---- A server's question, TLS 1.3 ---- */

/* Whether the identity stands for a session that this server will find. */
static bool is_session(const struct ml_tls *tls, const struct ml_slice *identity)
{
  unsigned len = 0;
  const uint8_t *id = tls->earlier ? SSL_SESSION_get_id(tls->earlier, &len) : NULL;
  if (len > 0 && len == identity->len && memcmp(id, identity->data, len) == 0) return true;
  return ml_ticket_ring_opens(ml_tls_context_tickets(tls->initial_context), identity->data,
                              identity->len);
}

/* The next identity that may be a key's. */
static bool next_identity(struct ml_tls *tls, struct ml_slice list, struct ml_slice *identity)
{
  struct ml_tls_psk_state *psk = tls->psk;
  uint32_t age;
  for (unsigned i = 0; ml_tls_hello_next_identity(&list, identity, &age); i++) {
    if (i < psk->next) continue;
    psk->next = i + 1;
    if (psk->unknown == IDENTITIES_MAX) return false;
    if (identity->len <= PSK_MAX_IDENTITY_LEN && !is_session(tls, identity)) return true;
  }
  return false;
}

/* Without a mode for its use (RFC 8446, 4.2.9) OpenSSL ignores a key. */
int ml_tls_ask_psk(struct ml_tls *tls, SSL *ssl)
{
  int alert;
  struct ml_tls_hello hello;
  struct ml_slice identity;
  if (ml_tls_read_hello(tls, &hello, &alert) != 0) return ML_STEP_FAILED;
  if (!ml_tls_hello_offers(&hello, TLS1_3_VERSION) || !ml_tls_speaks(ssl, TLS1_3_VERSION) ||
      hello.psk_modes.len == 0 || !next_identity(tls, hello.psk_identities, &identity))
    return ML_STEP_NEEDLESS;
  return ml_tls_ask(tls, ML_ASK_PSK, identity.data, identity.len) == 0 ? ML_STEP_ASKED
                                                                       : ML_STEP_FAILED;
}

static bool has_sha256(const SSL_CIPHER *cipher)
{
  const EVP_MD *md = cipher ? SSL_CIPHER_get_handshake_digest(cipher) : NULL;
  return md && EVP_MD_get_type(md) == NID_sha256;
}

static bool wants_cipher(const struct ml_tls_hello *hello, uint16_t wanted)
{
  struct ml_slice rest = hello->ciphers;
  uint16_t cipher;
  while (ml_tls_hello_next_cipher(hello, &rest, &cipher))
    if (cipher == wanted) return true;
  return false;
}

/* A key goes with suites that have its hash, and OpenSSL chooses the suite first: with a
 * certificate at hand it would pass over a key that is known. Where both ends have suites for the
 * key there are no others from here on. */
static int prefer_key(SSL *ssl, const struct ml_tls_hello *hello)
{
  char suites[256] = "";
  size_t used = 0;
  const STACK_OF(SSL_CIPHER) *ciphers = SSL_get_ciphers(ssl);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
    const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(ciphers, i);
    const char *name = SSL_CIPHER_get_name(cipher);
    bool modern = SSL_CIPHER_get_kx_nid(cipher) == NID_kx_any; /* TLS 1.3's */
    if (!modern || !has_sha256(cipher) || used + strlen(name) + 2 > sizeof(suites) ||
        !wants_cipher(hello, SSL_CIPHER_get_protocol_id(cipher)))
      continue;
    used += (size_t)snprintf(suites + used, sizeof(suites) - used, "%s%s", used ? ":" : "", name);
  }
  return used == 0 || SSL_set_ciphersuites(ssl, suites) == 1 ? 0 : -1;
}

int ml_tls_take_psk(struct ml_tls *tls, SSL *ssl)
{
  int alert;
  struct ml_tls_hello hello;
  struct ml_pause *pause = &tls->pause;
  if (pause->data.len > ML_PSK_KEY_MAX) {
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_PSK);
    return -1;
  }
  if (!pause->data.at || pause->data.len == 0) {
    tls->psk->unknown++;
    return ML_STEP_AGAIN;
  }
  tls->psk->identity = pause->subject;
  tls->psk->key = pause->data;
  pause->subject = pause->data = (struct ml_tls_bytes){0};
  return ml_tls_read_hello(tls, &hello, &alert) == 0 ? prefer_key(ssl, &hello) : -1;
}

/* ---- The answer on its way to OpenSSL ---- */

/* Which hash goes with the key nobody says; then it is SHA-256 (RFC 8446, 4.2.11). */
static SSL_SESSION *make_session(SSL *ssl, const struct ml_tls_bytes *key)
{
  static const unsigned char aes128_sha256[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */
  const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes128_sha256);
  SSL_SESSION *session = SSL_SESSION_new();
  if (session && cipher && SSL_SESSION_set1_master_key(session, key->at, key->len) == 1 &&
      SSL_SESSION_set_cipher(session, cipher) == 1 &&
      SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1 &&
      SSL_SESSION_set1_ticket_appdata(session, mark, sizeof(mark)) == 1)
    return session;
  SSL_SESSION_free(session);
  return NULL;
}

int ml_tls_on_psk_find(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **session)
{
  const struct ml_tls_psk_state *psk = ml_tls_of(ssl)->psk;
  *session = NULL;
  if (!psk->key.at || psk->identity.len != len || memcmp(psk->identity.at, identity, len) != 0)
    return 1;
  *session = make_session(ssl, &psk->key);
  return *session != NULL;
}

/* ---- Asking within OpenSSL's call ---- */

/* The loan of the input ends for as long as the owner is asked, as around any call to it: should it
 * run the loop in there, what comes in is kept. */
static int ask_owner(struct ml_tls *tls, struct ml_tls_psk *psk)
{
  struct ml_error err;
  assert(!tls->calling);
  if (ml_tls_input_end(tls) != 0) {
    ml_error_system(&err, ENOMEM, "malloc");
    goto fail;
  }
  tls->calling = true;
  ml_tls_timeline_ask(tls, ML_ASK_PSK);
  int result = tls->psk->find ? tls->psk->find(tls->psk->user, psk, &err) : 0;
  ml_tls_timeline_answered(tls);
  tls->calling = false;
  (void)awake(tls);                  /* the owner may have used others */
  (void)!ml_tls_input(tls, NULL, 0); /* nothing to copy */
  if (result == 0 && psk->key_len <= ML_PSK_KEY_MAX) return 0;
  if (result == 0) ml_error_misuse(&err, "ERR_SSL_BAD_PSK", "The pre-shared key is too long");
fail:
  ml_tls_set_error(tls, &err);
  tls->pause.refused = true;
  return -1;
}

#define REFUSE (PSK_MAX_PSK_LEN + 1) /* ends the handshake; 0 only says that there is no key */

unsigned ml_tls_on_psk_server(SSL *ssl, const char *identity, unsigned char *key, unsigned size)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  struct ml_tls_psk psk = {.given = identity};
  unsigned result = REFUSE;
  if (SSL_version(ssl) == TLS1_3_VERSION) return 0; /* ml_tls_on_psk_find knew no key */
  if (ask_owner(tls, &psk) == 0 && psk.key_len <= size) {
    memcpy(key, psk.key, psk.key_len);
    result = (unsigned)psk.key_len;
  }
  OPENSSL_cleanse(&psk, sizeof(psk));
  return result;
}

/* Puts down what a ClientHello offers for the one after a HelloRetryRequest. */
static int keep_offer(struct ml_tls_psk_state *state, const struct ml_tls_psk *psk)
{
  state->offered = true;
  if (psk->key_len == 0) return 0;
  return ml_tls_bytes_set(&state->identity, (const uint8_t *)psk->identity,
                          strlen(psk->identity)) == 0 &&
                 ml_tls_bytes_set(&state->key, psk->key, psk->key_len) == 0
             ? 0
             : -1;
}

/* A suite has been chosen by now; a key with another hash would fail the handshake. */
static void repeat_offer(const struct ml_tls_psk_state *state, const SSL *ssl,
                         struct ml_tls_psk *psk)
{
  if (!state->key.at || !has_sha256(SSL_get_pending_cipher(ssl))) return;
  memcpy(psk->identity, state->identity.at, state->identity.len);
  memcpy(psk->key, state->key.at, state->key.len);
  psk->key_len = state->key.len;
}

unsigned ml_tls_on_psk_client(SSL *ssl, const char *hint, char *identity, unsigned identity_size,
                              unsigned char *key, unsigned size)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  struct ml_tls_psk psk = {.given = hint};
  bool hello = SSL_get_state(ssl) == TLS_ST_CW_CLNT_HELLO;
  unsigned result = REFUSE;
  if (hello && tls->psk->offered)
    repeat_offer(tls->psk, ssl, &psk);
  else if (ask_owner(tls, &psk) != 0 || (hello && keep_offer(tls->psk, &psk) != 0))
    goto done;
  size_t len = strnlen(psk.identity, sizeof(psk.identity));
  if (len == sizeof(psk.identity) || len > identity_size || psk.key_len > size) goto done;
  result = 0;
  if (hello && len == 0) goto done; /* TLS 1.3 has no identity without a name (RFC 8446, 4.2.11) */
  memcpy(identity, psk.identity, len + 1);
  memcpy(key, psk.key, psk.key_len);
  result = (unsigned)psk.key_len;
done:
  OPENSSL_cleanse(&psk, sizeof(psk));
  return result;
}

/* ---- What a key has proved ---- */

bool ml_tls_psk_session(SSL_SESSION *session)
{
  void *data = NULL;
  size_t len = 0;
  const SSL_CIPHER *cipher = SSL_SESSION_get0_cipher(session);
  if (cipher && SSL_CIPHER_get_auth_nid(cipher) == NID_auth_psk) return true; /* TLS 1.2 */
  return SSL_SESSION_get0_ticket_appdata(session, &data, &len) == 1 && len == sizeof(mark) &&
         memcmp(data, mark, len) == 0;
}

/* A client needs no mark: without a certificate a server of TLS 1.3 can only have had a key. */
bool ml_tls_psk_proves_peer(const struct ml_tls *tls)
{
  SSL_SESSION *session = SSL_get_session(awake(tls));
  if (!session || !SSL_is_init_finished(awake(tls)) || SSL_get0_peer_certificate(awake(tls)))
    return false;
  if (!tls->server && SSL_version(awake(tls)) == TLS1_3_VERSION)
    return SSL_session_reused(awake(tls)) == 1;
  return ml_tls_psk_session(session);
}

unsigned ml_tls_psk_asked(const struct ml_tls *tls, bool *known)
{
  *known = tls->server && tls->psk && tls->psk->key.at;
  return tls->psk ? tls->psk->unknown : 0;
}

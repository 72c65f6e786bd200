#include "tls_sessions.h"

#include <assert.h>
#include <openssl/err.h>
#include <string.h>

#include "tls_at_hello.h"
#include "tls_hello.h"
#include "tls_policy.h"
#include "tls_psk.h"
#include "tls_tickets.h"

DEFINE_STACK_OF(SSL_SESSION)

/* ---- Clients ---- */

int ml_tls_sessions_offer(struct ml_tls *tls, const uint8_t *session, size_t len)
{
  tls->earlier = d2i_SSL_SESSION(NULL, &session, (long)len);
  return tls->earlier && SSL_set_session(awake(tls), tls->earlier) == 1 ? 0 : -1;
}

void ml_tls_sessions_note_renewal(struct ml_tls *tls)
{
  if (tls->server || !tls->want_sessions || !tls->earlier) return;
  bool silent = SSL_version(awake(tls)) < TLS1_3_VERSION && SSL_session_reused(awake(tls));
  if (silent && SSL_get_session(awake(tls)) != tls->earlier)
    ml_tls_note_session(tls, SSL_get1_session(awake(tls)));
}

/* ---- How long a server's sessions live ---- */

/* In seconds; 0: as long as OpenSSL thinks, negative: there are none. */
static long lifetime(const struct ml_tls *tls)
{
  long own = ml_tls_context_session_timeout(tls->context);
  return own != 0 ? own : ml_tls_context_session_timeout(tls->initial_context);
}

void ml_tls_sessions_adopt(struct ml_tls *tls)
{
  bool none = lifetime(tls) < 0;
  size_t tickets = SSL_CTX_get_num_tickets(ml_tls_context_ssl(tls->context));
  (void)!SSL_set_num_tickets(awake(tls), none ? 0 : tickets); /* fails on clients only */
  if (none) SSL_set_options(awake(tls), SSL_OP_NO_TICKET);
}

/* OpenSSL itself gives a new session the time of the context that the connection began with. */
static void limit(const struct ml_tls *tls, SSL_SESSION *session)
{
  long seconds = lifetime(tls);
  if (seconds > 0) (void)!SSL_SESSION_set_timeout(session, seconds);
}

/* ---- What a server resumes ---- */

/* Before TLS 1.3, whether OpenSSL goes by the ticket and leaves the session id alone. */
static bool goes_by_ticket(const struct ml_tls_hello *hello, const SSL *ssl)
{
  if (hello->ticket.len == 0 || (SSL_get_options(ssl) & SSL_OP_NO_TICKET)) return false;
  return SSL_get_security_callback(ssl)(ssl, NULL, SSL_SECOP_TICKET, 0, 0, NULL,
                                        SSL_get0_security_ex_data(ssl)) == 1;
}

/* What stands for a session in the hello, and may be known to the owner. Under TLS 1.3 the session
 * id is there for show (RFC 8446, D.4); the identity that counts comes first. */
static struct ml_slice find_id(const struct ml_tls_hello *hello, const SSL *ssl, bool tls13)
{
  const struct ml_slice none = {NULL, 0};
  struct ml_slice rest = hello->psk_identities, identity;
  uint32_t age;
  if (!tls13) return hello->like_v2 || goes_by_ticket(hello, ssl) ? none : hello->session_id;
  if (!ml_tls_hello_next_identity(&rest, &identity, &age)) return none;
  return identity.len == SSL_MAX_SSL_SESSION_ID_LENGTH ? identity : none;
}

int ml_tls_ask_session(struct ml_tls *tls, SSL *ssl)
{
  struct ml_tls_hello hello;
  int alert;
  if (lifetime(tls) < 0) return ML_STEP_NEEDLESS;
  if (ml_tls_read_hello(tls, &hello, &alert) != 0) return ML_STEP_FAILED;
  bool tls13 = ml_tls_speaks(ssl, TLS1_3_VERSION) && ml_tls_hello_offers(&hello, TLS1_3_VERSION);
  struct ml_slice id = find_id(&hello, ssl, tls13);
  if (id.len == 0) return ML_STEP_NEEDLESS;
  /* OpenSSL takes an identity for an id, or else for a ticket. */
  if (tls13) SSL_set_options(ssl, SSL_OP_NO_TICKET);
  return ml_tls_ask(tls, ML_ASK_SESSION, id.data, id.len) == 0 ? ML_STEP_ASKED : ML_STEP_FAILED;
}

int ml_tls_take_session(struct ml_tls *tls, SSL *ssl)
{
  (void)ssl;
  const struct ml_tls_bytes *data = &tls->pause.data;
  const unsigned char *at = data->at;
  if (!at) return 0;
  ERR_set_mark();
  tls->earlier = d2i_SSL_SESSION(NULL, &at, (long)data->len);
  ERR_pop_to_mark(); /* what cannot be read is not resumed, which is no failure */
  return 0;
}

/* Whether a session proves less than this server asks for: it was made where clients need no
 * certificate, and without a key. (One whose certificate did not verify is judge_resumption's to
 * refuse.) */
static bool proves_too_little(const struct ml_tls *tls, SSL_SESSION *session)
{
  return tls->server && tls->request_cert && tls->reject_unauthorized &&
         SSL_SESSION_get0_peer(session) == NULL && !ml_tls_psk_session(session);
}

/* Asked once for each ClientHello. OpenSSL judges the session's age and its id context; under TLS
 * 1.3 it would end the handshake over one that is not the client's. */
SSL_SESSION *ml_tls_on_get_session(SSL *ssl, const unsigned char *id, int len, int *copy)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  SSL_SESSION *session = tls->earlier;
  unsigned own_len;
  *copy = 1; /* ours stays ours */
  if (!tls->server || !session || proves_too_little(tls, session)) return NULL;
  if (SSL_SESSION_get_protocol_version(session) != SSL_version(ssl)) return NULL;
  const unsigned char *own = SSL_SESSION_get_id(session, &own_len);
  return len > 0 && own_len == (unsigned)len && memcmp(own, id, own_len) == 0 ? session : NULL;
}

/* ---- What a server makes ---- */

int ml_tls_on_new_session(SSL *ssl, SSL_SESSION *session)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  bool wanted =
      tls->server ? ml_tls_asks(tls, ML_ASK_STORE) && lifetime(tls) >= 0 : tls->want_sessions;
  if (!wanted) return 0; /* the reference is OpenSSL's; else it is ours */
  if (tls->server && SSL_version(ssl) < TLS1_3_VERSION) limit(tls, session);
  if (!tls->server || ml_tls_established(tls)) {
    ml_tls_note_session(tls, session);
    return 1;
  }
  if (!tls->unstored) tls->unstored = sk_SSL_SESSION_new_null();
  return tls->unstored && sk_SSL_SESSION_push(tls->unstored, session) > 0;
}

SSL_SESSION *ml_tls_new_session(const struct ml_tls *tls)
{
  return tls->state == ML_TLS_STORE_ASKED ? sk_SSL_SESSION_value(tls->unstored, 0) : NULL;
}

int ml_tls_ask_store(struct ml_tls *tls)
{
  SSL_SESSION *session = sk_SSL_SESSION_value(tls->unstored, 0);
  if (!session) {
    if (ml_buf_size(&tls->held) == 0) return ML_STEP_NEEDLESS;
    assert(ml_buf_size(&tls->io.out) == 0);
    tls->io.out = tls->held;
    tls->held = (struct ml_buf){0};
    return ML_STEP_NEEDLESS;
  }
  if (ml_buf_size(&tls->io.out) > 0) {
    tls->held = tls->io.out;
    tls->io.out = (struct ml_buf){0};
  }
  unsigned len;
  const unsigned char *id = SSL_SESSION_get_id(session, &len);
  return ml_tls_ask(tls, ML_ASK_STORE, id, len) == 0 ? ML_STEP_ASKED : ML_STEP_FAILED;
}

void ml_tls_sessions_stored(struct ml_tls *tls)
{
  SSL_SESSION_free(sk_SSL_SESSION_shift(tls->unstored));
}

/* ---- Tickets ---- */

/* SSL_set_SSL_CTX(3) leaves the context that OpenSSL takes these callbacks from as it was. */
int ml_tls_on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int sealing)
{
  struct ml_tls *tls = ml_tls_of(ssl);
  return ml_tls_tickets_init(ml_tls_context_tickets(tls->initial_context), name, iv, cipher, mac,
                             sealing);
}

/* Before a session is sealed or, under TLS 1.3, given out as an id: of use where the owner can be
 * asked for it. */
int ml_tls_on_ticket_made(SSL *ssl, void *arg)
{
  (void)arg;
  struct ml_tls *tls = ml_tls_of(ssl);
  bool tls13 = SSL_version(ssl) == TLS1_3_VERSION;
  if (tls13 && ml_tls_asks(tls, ML_ASK_SESSION) && ml_tls_asks(tls, ML_ASK_STORE))
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
  /* Before TLS 1.3 a session that is resumed keeps its time. */
  if (tls13 || !SSL_session_reused(ssl)) limit(tls, SSL_get_session(ssl));
  return 1;
}

/* A session that proves too little is not refused, it just does not help: the client is asked for
 * its certificate in a full handshake. Under TLS 1.3 a ticket that was used is always replaced: a
 * client must not show one twice (RFC 8446, C.4). */
SSL_TICKET_RETURN ml_tls_on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                          size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
  (void)name, (void)name_len, (void)arg;
  switch (status) {
  case SSL_TICKET_SUCCESS:
  case SSL_TICKET_SUCCESS_RENEW:
    if (proves_too_little(ml_tls_of(ssl), session)) return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (status == SSL_TICKET_SUCCESS_RENEW || SSL_version(ssl) == TLS1_3_VERSION)
      return SSL_TICKET_RETURN_USE_RENEW;
    return SSL_TICKET_RETURN_USE;
  case SSL_TICKET_EMPTY:
  case SSL_TICKET_NO_DECRYPT:
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  default:
    return SSL_TICKET_RETURN_ABORT;
  }
}

/* ---- The end ---- */

void ml_tls_sessions_settle(struct ml_tls *tls)
{
  SSL_SESSION_free(tls->earlier);
  tls->earlier = NULL;
  sk_SSL_SESSION_pop_free(tls->unstored, SSL_SESSION_free);
  tls->unstored = NULL;
}

void ml_tls_sessions_free(struct ml_tls *tls)
{
  ml_tls_sessions_settle(tls);
  ml_buf_free(&tls->held);
}

/* The TLS engine: one connection's protocol, without I/O.
 *
 * Ciphertext goes in as slices (ml_tls_input) and comes out of a buffer (ml_tls_output); cleartext
 * likewise (ml_tls_read, ml_tls_write). But for ml_tls_psk_fn the engine never calls its owner:
 * each call says how far it came, and what happened on the way (a session, a line of key material)
 * is fetched with ml_tls_next_note. Sockets, script streams, tests and fuzzers drive the same
 * engine.
 *
 * Where the handshake needs a decision the engine suspends: the call returns ML_TLS_ASK,
 * ml_tls_question tells what is asked, and ml_tls_answer_* answers, at once or at any later time.
 * Each question has a token; an answer with another token (late, second) changes nothing.
 *
 * After a failure only ml_tls_output (an alert for the peer), ml_tls_error, the getters and
 * ml_tls_free are useful.
 */
#ifndef ML_TLS_ENGINE_H
#define ML_TLS_ENGINE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "error.h"
#include "tls_context.h"

struct ml_tls;

/* Phases in protocol order. Which lead where is in tls_engine.c, ml_tls_set_state. */
enum ml_tls_state {
  ML_TLS_START,          /* nothing has been exchanged */
  ML_TLS_HELLO,          /* server: reading the ClientHello */
  ML_TLS_HELLO_ASKED,    /* server: suspended until what the ClientHello raises is answered */
  ML_TLS_NEGOTIATE,      /* handshake messages go back and forth */
  ML_TLS_STAPLE_ASKED,   /* server: suspended until it is known what is stapled */
  ML_TLS_IDENTITY_ASKED, /* client: suspended until the owner has judged the server's name */
  ML_TLS_STORE_ASKED,    /* server: over, but the last flight waits until the session is stored */
  ML_TLS_OPEN,           /* application data both ways */
  ML_TLS_CERTIFICATE_REQUESTED, /* server, TLS 1.3: open, and the client is to show who it is */
  ML_TLS_HELLO_REQUESTED, /* server, TLS 1.2: open, and the client is to begin a renegotiation */
  ML_TLS_RENEGOTIATING,   /* TLS 1.2: handshake messages again; we write no application data */
  ML_TLS_RENEGOTIATION_ASKED, /* suspended until what the renegotiation raises is answered */
  ML_TLS_PEER_CLOSED,         /* the peer's close_notify came; ours has not gone */
  ML_TLS_SELF_CLOSED,         /* ours has gone; the peer may still send */
  ML_TLS_CLOSED,              /* both */
  ML_TLS_FAILED,
};

/* How far a call came. */
enum ml_tls_result {
  ML_TLS_OK,
  ML_TLS_WANT_INPUT, /* nothing more can be done without ciphertext from the peer */
  ML_TLS_ASK,        /* suspended: see ml_tls_question */
  ML_TLS_RENEWED, /* read, handshake: a wish of tls_after.h has been granted, by us or the peer */
  ML_TLS_AGAIN,   /* read, handshake: there is more to do, when others have had their turn */
  ML_TLS_END,     /* read: the peer said close_notify */
  ML_TLS_ERROR,   /* see ml_tls_error */
};

/* What an owner may be asked, in the order in which a handshake comes to it. An engine asks what
 * ml_tls_options.asks has the bit of, and decides the rest alone. */
enum ml_tls_ask {
  ML_ASK_NONE,
  ML_ASK_CONTEXT,  /* server, at ClientHello: which context? (ml_tls_servername, ml_tls_hello) */
  ML_ASK_SESSION,  /* server, at ClientHello: the session behind this id? */
  ML_ASK_ALPN,     /* server, at ClientHello: which of these protocols? */
  ML_ASK_PSK,      /* server, at a TLS 1.3 ClientHello: the key behind this identity? */
  ML_ASK_STAPLE,   /* server, before its certificate, of a client that wants one: which OCSP
                      response? (ml_tls_served_certificate) */
  ML_ASK_IDENTITY, /* client, chain verified: is the server who it should be?
                      (ml_tls_peer_certificate) */
  ML_ASK_STORE,    /* server, handshake over: has the new session been stored? */
  ML_ASK_RENEGOTIATION, /* server, at the ClientHello of a client that begins one: may it? */
};
#define ML_ASKS(ask) (1u << (ask))

struct ml_tls_question {
  enum ml_tls_ask ask; /* ML_ASK_NONE when nothing is outstanding */
  uint32_t token;
  /* What it is about: ML_ASK_SESSION and ML_ASK_STORE the session id, ML_ASK_ALPN the client's list
   * in wire format, ML_ASK_PSK the identity. The engine's, until the question is answered. */
  const uint8_t *subject;
  size_t subject_len;
};

enum ml_tls_note_kind {
  ML_NOTE_SESSION,
  ML_NOTE_KEYLOG,
  ML_NOTE_STAPLE,
  ML_NOTE_TRACE,      /* messages in words, see tls_trace.h */
  ML_NOTE_KEY_UPDATE, /* the peer has new keys, after ml_tls_update_keys has asked it to */
};

/* Something that happened on the way. Owned by the receiver: ml_tls_note_free. */
struct ml_tls_note {
  struct ml_tls_note *next;
  enum ml_tls_note_kind kind;
  SSL_SESSION *session; /* ML_NOTE_SESSION: resumable, i2d_SSL_SESSION(3) makes it portable */
  /* ML_NOTE_KEYLOG: NSS key log format, no newline. ML_NOTE_STAPLE: the OCSP response, DER; of no
   * length when the server stapled none. ML_NOTE_TRACE: lines, each with its newline. */
  size_t line_len;
  char line[];
};

#define ML_PSK_KEY_MAX 256      /* bytes; what every OpenSSL since 1.1.0 takes */
#define ML_PSK_IDENTITY_MAX 128 /* bytes (RFC 4279, 5.3: at least that) */

/* A key that both ends had before. */
struct ml_tls_psk {
  const char *given; /* server: the client's identity. Client: the server's hint, NULL when there
                        is none, and always under TLS 1.3 */
  char identity[ML_PSK_IDENTITY_MAX + 1]; /* client: to be filled, NUL-terminated */
  uint8_t key[ML_PSK_KEY_MAX];            /* to be filled */
  size_t key_len;                         /* 0: none */
};

/* Finds a key. 0, or -1 with err filled, which ends the handshake with that error.
 *
 * This is the one place where the engine calls its owner, and it does so on OpenSSL's stack. A
 * server of TLS 1.2 learns the identity from the ClientKeyExchange, a client needs the key while
 * one of its messages is being made, and OpenSSL cannot suspend at either
 * (SSL_CTX_set_psk_server_callback(3), SSL_CTX_set_psk_client_callback(3)). Within the call the
 * engine may not be freed; ml_tls_input keeps what it is given, and calls that would take the
 * connection on return ML_TLS_WANT_INPUT and do nothing. */
typedef int ml_tls_psk_fn(void *user, struct ml_tls_psk *psk, struct ml_error *err);

struct ml_tls_options {
  bool server;
  uint32_t
      asks; /* ML_ASKS(…) of what the owner is to be asked; 0: the engine never suspends. A
               client's ML_ASK_IDENTITY comes after a resumption, too, before anything is sent */
  bool request_cert;        /* server: ask the client for a certificate */
  bool reject_unauthorized; /* fail the handshake when the peer does not verify; else
                               ml_tls_verify_result tells */
  bool renegotiable;        /* TLS 1.2: the peer may begin a renegotiation (a client's needs
                               ML_ASK_RENEGOTIATION's consent, where asked); else it is declined */
  int post_handshake_auth;  /* client: enum ml_tls_says, whether to offer that it shows its
                               certificate when asked for it later (TLS 1.3); where nothing is said:
                               when it has one */
  bool want_sessions;       /* client: note resumable sessions */
  bool request_staple; /* client: ask for an OCSP response (RFC 6066, 8), and note what comes of
                          it before the handshake is over; not when a session is resumed */
  bool want_keylog;    /* note key material; the context must have it enabled */
  int min_dh_bits; /* client: the least size of a finite-field key exchange; 0: OpenSSL's rules */
  const char *servername; /* client: SNI (RFC 6066, 3); NULL: none. Copied. */
  const uint8_t
      *alpn; /* RFC 7301 wire format: length-prefixed names in order of preference. Copied. */
  size_t alpn_len;
  const uint8_t *npn; /* the same for NPN, under TLS 1.2 and below. Copied. */
  size_t npn_len;
  ml_tls_psk_fn *psk; /* keys; NULL: none. Servers are asked by ML_ASK_PSK instead under TLS 1.3 */
  void *psk_user;
  const char *psk_hint;   /* server: for TLS 1.2 clients; NULL: none. Copied. */
  const uint8_t *session; /* client: an earlier session, DER; NULL: none */
  size_t session_len;
};

/* Creates an engine on `context` (referenced). A session that cannot be parsed is a failure. */
ML_MUST_CHECK int ml_tls_new(struct ml_tls **out, struct ml_tls_context *context,
                             const struct ml_tls_options *options, struct ml_error *err);
void ml_tls_free(struct ml_tls *tls); /* NULL is fine */

/* Lends ciphertext. The engine reads it in place during the calls that follow; ml_tls_input_end
 * takes a copy of what they left, after which the slice may go. Ciphertext kept from before comes
 * first. -1: no memory. */
ML_MUST_CHECK int ml_tls_input(struct ml_tls *tls, const uint8_t *data, size_t len);
ML_MUST_CHECK int ml_tls_input_end(struct ml_tls *tls);

/* Takes the handshake as far as it goes. ML_TLS_OK: established, or it was before. A client's first
 * call makes its ClientHello. A peer that says close_notify here is a failure, the one that
 * ml_tls_disconnected describes.
 *
 * Of an established connection: takes as far as it goes what tls_after.h is about, for an owner who
 * does not want to read. Application data on the way is kept for ml_tls_read, up to 64 KiB; with
 * more in front of what is waited for the result is ML_TLS_WANT_INPUT. */
enum ml_tls_result ml_tls_handshake(struct ml_tls *tls);

/* Decrypts at most `size` bytes into buffer. ML_TLS_OK: *done > 0. ML_TLS_ASK: a renegotiation is
 * suspended. */
enum ml_tls_result ml_tls_read(struct ml_tls *tls, uint8_t *buffer, size_t size, size_t *done);

/* Encrypts data into the output buffer; only when established and not closed. ML_TLS_OK: all of it.
 * ML_TLS_WANT_INPUT: the first *done bytes; a message of the peer (a ticket, a KeyUpdate) has come
 * in part, and OpenSSL writes nothing before it has read the rest, which this call does when
 * ciphertext is lent. Or a renegotiation is under way, which ml_tls_read and ml_tls_handshake take
 * further. */
enum ml_tls_result ml_tls_write(struct ml_tls *tls, const uint8_t *data, size_t len, size_t *done);

/* Puts close_notify into the output. Nothing can be written afterwards; reading goes on. Harmless
 * when repeated. ML_TLS_WANT_INPUT: not done, for the same reason as in ml_tls_write. */
enum ml_tls_result ml_tls_close(struct ml_tls *tls);

/* Describes the failure of a peer that went away before the handshake was over. */
void ml_tls_disconnected(const struct ml_tls *tls, struct ml_error *err);

/* Ciphertext for the peer. The caller takes it away with ml_buf_consume, or moves it out. Empty
 * while ML_ASK_STORE holds it back. */
struct ml_buf *ml_tls_output(struct ml_tls *tls);

/* Ciphertext that was kept because nothing asked for it yet. */
size_t ml_tls_input_kept(const struct ml_tls *tls);

/* Nothing has happened for a while: an established connection holds less (tls_rest.h) until it is
 * used again, in whichever way, which then takes a few microseconds more. */
void ml_tls_rest(struct ml_tls *tls);
bool ml_tls_rests(const struct ml_tls *tls);

struct ml_tls_question ml_tls_question(const struct ml_tls *tls);

/* Answers ML_ASK_CONTEXT: go on with `context` (referenced), NULL for the one it has. 0, or -1 for
 * a stale token. A context that cannot be applied fails the handshake with internal_error. */
int ml_tls_answer_context(struct ml_tls *tls, uint32_t token, struct ml_tls_context *context);

/* Answers any other question but ML_ASK_IDENTITY. `data` is copied; NULL says that there is none:
 *   SESSION  the session, DER; none, or one that does not fit: a full handshake
 *   ALPN     the protocol's name; none: no_application_protocol ends the handshake
 *   PSK      the key; none: the identity is unknown, and the handshake goes on without
 *   STAPLE   the OCSP response, DER; none: nothing is stapled
 *   STORE    nothing; the handshake's last flight leaves
 *   RENEGOTIATION  nothing; it goes on
 * 0, or -1 for a stale token. Without memory for the copy the handshake fails. */
int ml_tls_answer_data(struct ml_tls *tls, uint32_t token, const uint8_t *data, size_t len);

/* Shows the certificates of `context` instead of those the connection has, before the handshake has
 * come to them; nothing else of the context counts. A context chosen at ClientHello later on brings
 * its own. */
ML_MUST_CHECK int ml_tls_show_identity(struct ml_tls *tls, const struct ml_tls_context *context,
                                       struct ml_error *err);

/* Whether the client was to give a certificate (server), as the context chosen in the end has it.
 */
bool ml_tls_requests_certificate(const struct ml_tls *tls);

/* The owner is going and the engine stays: ml_tls_options.psk is not called any more, and finds no
 * keys. */
void ml_tls_psk_disown(struct ml_tls *tls);

/* Answers ML_ASK_IDENTITY. Not acceptable and reject_unauthorized: bad_certificate goes to the peer
 * and the error is HOSTNAME_MISMATCH. */
int ml_tls_answer_identity(struct ml_tls *tls, uint32_t token, bool acceptable);

/* Answers any question with the end of the handshake: `alert` (AlertDescription) goes to the peer,
 * after ML_ASK_STAPLE internal_error whatever it is; `reason` becomes the error. */
int ml_tls_answer_failure(struct ml_tls *tls, uint32_t token, int alert,
                          const struct ml_error *reason);

/* The oldest note, or NULL. */
struct ml_tls_note *ml_tls_next_note(struct ml_tls *tls);
void ml_tls_note_free(struct ml_tls_note *note);

/* The failure, once a call has returned ML_TLS_ERROR. */
const struct ml_error *ml_tls_error(const struct ml_tls *tls);

enum ml_tls_state ml_tls_state(const struct ml_tls *tls);
bool ml_tls_established(const struct ml_tls *tls); /* the handshake is over and has not failed */

/* Whether the peer may leave by now: nothing of the handshake that it needs is missing, or what it
 * has said besides shows that it thinks so. It may have sent data already while ML_ASK_STORE is
 * open, under TLS 1.3 always and under TLS 1.2 by False Start (RFC 7918), and while a client asks
 * ML_ASK_IDENTITY, of a session or a key always, of a certificate where the rest of the server's
 * flight is here as well (TLS 1.3): whether it is whole shows once the question is answered. */
bool ml_tls_peer_may_end(const struct ml_tls *tls);

/* The ClientHello message as it came, its header included, while a question is open that it raised
 * (tls_hello.h reads it); else NULL. */
const uint8_t *ml_tls_hello(const struct ml_tls *tls, size_t *len);

/* What ML_ASK_STAPLE is about: the certificate that will be shown, and who issued it, NULL when
 * that is not known or the certificate is self-signed. The engine's references. */
X509 *ml_tls_served_certificate(const struct ml_tls *tls);
X509 *ml_tls_served_issuer(const struct ml_tls *tls);

/* The session that ML_ASK_STORE is about; else NULL. The engine's reference. */
SSL_SESSION *ml_tls_new_session(const struct ml_tls *tls);

/* The name in the ClientHello (server) or the one asked for (client); NULL when there is none. */
const char *ml_tls_servername(const struct ml_tls *tls);

/* The protocol that NPN led to, once the handshake is over; NULL when there is none. On a client
 * whose server has none of its protocols, too, although it had to name one. */
const uint8_t *ml_tls_npn_protocol(const struct ml_tls *tls, size_t *len);

/* X509_V_OK or X509_V_ERR_*: the verdict on the peer's chain (SSL_get_verify_result(3)). On a
 * server whose client gave no certificate: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, Node's choice,
 * with *absent set. A peer that has proved itself by a pre-shared key has none either, and is
 * X509_V_OK. */
long ml_tls_verify_result(const struct ml_tls *tls, bool *absent);

/* The peer's certificate, during ML_ASK_IDENTITY too; NULL when there is none. The engine's
 * reference. */
X509 *ml_tls_peer_certificate(const struct ml_tls *tls);

/* The peer's chain: verified where verification succeeded, else as sent (leaf first). A new stack
 * with its own references (sk_X509_pop_free), or NULL. */
STACK_OF(X509) * ml_tls_peer_chain(const struct ml_tls *tls);

/* The OpenSSL object, for getters. The engine's, and of use until the next call on any engine of
 * this thread. */
SSL *ml_tls_ssl(const struct ml_tls *tls);

#endif

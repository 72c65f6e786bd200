/* The engine's struct, for the files that make up the engine: tls_engine.c (life, handshake, data),
 * tls_questions.c (what is asked and answered), tls_at_hello.c and the other callbacks. */
#ifndef ML_TLS_ENGINE_INTERNAL_H
#define ML_TLS_ENGINE_INTERNAL_H

#include "tls_bio.h"
#include "tls_engine.h"
#include "tls_rest.h"

enum ml_pause_phase {
  ML_PAUSE_IDLE,     /* nothing has been asked */
  ML_PAUSE_ASKED,    /* waiting for the owner */
  ML_PAUSE_ANSWERED, /* the answer waits for OpenSSL to come back for it */
};

/* A block of malloc's. */
struct ml_tls_bytes {
  uint8_t *at;
  size_t len;
};

/* One question at a time: a handshake is sequential. */
struct ml_pause {
  enum ml_pause_phase phase;
  enum ml_tls_ask ask;
  uint32_t token; /* of the current or last question */
  struct ml_tls_bytes subject;
  /* The answer. */
  bool accepted;
  bool refused; /* ml_tls_answer_failure */
  int alert;
  struct ml_tls_context *context;
  struct ml_tls_bytes data; /* ml_tls_answer_data; data.at NULL: none */
};

/* The versions in a ClientHello: those of supported_versions (RFC 8446, 4.2.1), GREASE left out;
 * or, of a client too old to list them, the highest one. */
struct ml_tls_offer {
  uint16_t versions[6];
  uint8_t count;
  bool at_most; /* versions[0] stands for everything up to it */
};

/* What there is to agree on about the protocol above: lists in wire format (tls_alpn.h). */
struct ml_tls_protocols {
  struct ml_tls_bytes alpn, npn; /* ours */
  struct ml_tls_bytes offered;   /* server: the client's ALPN list, when the owner was asked or
                                    nothing came of it */
  struct ml_tls_bytes chosen;    /* the owner's answer */
  bool asked;                    /* ML_ASK_ALPN */
  bool npn_agreed;               /* client: the server has the protocol that we chose */
};

/* What has become of a wish, ours or the peer's. */
enum ml_tls_wish {
  ML_WISH_NONE,
  ML_WISH_GRANTED,  /* the renegotiation may go on: it is ours, or the owner has said so */
  ML_WISH_DECLINED, /* the peer began a renegotiation and was told no_renegotiation */
  ML_WISH_PROVED,   /* server: the client has finished to say who it is */
};

/* A renegotiation that the peer begins is … */
enum ml_tls_peers_wish { ML_PEER_DECLINED, ML_PEER_PERMITTED, ML_PEER_FORBIDDEN /* the end */ };

/* Once the handshake is over: see tls_after.h. */
struct ml_tls_after {
  enum ml_tls_wish wish;
  enum ml_tls_peers_wish peer;
  bool renewed;                                                   /* ML_TLS_RENEWED is owed */
  bool update_awaited;                                            /* ML_NOTE_KEY_UPDATE is */
  enum { ML_UPDATE_NONE, ML_UPDATE_OURS, ML_UPDATE_BOTH } update; /* as soon as OpenSSL can */
  unsigned burst;      /* records without data since the input was lent */
  struct ml_buf early; /* cleartext read for an owner who did not want it yet */
};

/* The first part is what every record looks at, so that a thousand busy connections need few lines
 * of the cache each. */
struct ml_tls {
  SSL *ssl;                 /* by way of awake() only */
  struct ml_tls_rest *rest; /* while it rests */
  struct ml_tls_io io;
  struct ml_buf kept; /* input that outlived the caller's slice; io.in points into it while it is
                         being read */

  enum ml_tls_state state;
  bool server, request_cert, reject_unauthorized, want_sessions, want_keylog;
  bool reading_kept;
  bool name_used;       /* the name in the ClientHello chose the context */
  bool identity_judged; /* ML_ASK_IDENTITY was answered */
  bool understudy;      /* not a connection: tls_served.c */
  bool calling;         /* the owner is being asked for a key within a call of OpenSSL's */

  struct ml_tls_after after;
  struct ml_tls_offload *offload; /* tls_offload.c; NULL: the kernel is not to encrypt */
  struct ml_tls_note *notes, **notes_end;
  BIO *trace; /* NULL: nobody wants to see the messages */
  struct ml_pause pause;

  /* What a handshake needs. */
  uint32_t asks;
  enum ml_tls_says post_handshake_auth;
  int min_dh_bits;           /* client: refuse less */
  int small_dh_bits;         /* what was refused; 0: nothing */
  unsigned hello_step;       /* how many of the ClientHello's questions are behind us */
  struct ml_tls_offer offer; /* server; for the error message, should it come to it */

  struct ml_tls_context *context;         /* in use */
  struct ml_tls_context *initial_context; /* whose ticket keys are used (SSL_set_SSL_CTX(3)) */
  char *servername;                       /* NULL: none */
  struct ml_tls_bytes hello;              /* the ClientHello, while it is of use */
  struct ml_tls_protocols protocols;
  struct ml_tls_psk_state *psk; /* tls_psk.c; NULL: the owner has no keys */

  SSL_SESSION *earlier; /* what the client came with; on a server, the answer to ML_ASK_SESSION.
                           Until the handshake is over, as the next two. */
  STACK_OF(SSL_SESSION) * unstored; /* server: what ML_ASK_STORE is still to be asked about */
  struct ml_buf held;               /* the output that waits for that */

  X509 *served, *served_issuer;     /* server: what ML_ASK_STAPLE is about */
  struct ml_tls_bytes staple;       /* and its answer, until it has been sent */
  X509 *candidate;                  /* the peer's leaf while the identity is asked */
  STACK_OF(X509) * candidate_chain; /* the chain OpenSSL built for it */
  long verify_result;

  struct ml_tls_timeline *timeline; /* NULL before the handshake; tls_timeline.c */

  enum ml_alert_from alert_from;
  int alert;
  struct ml_error *error; /* made when something fails, or when a question is answered with failure:
                             the struct is large and most connections never need it */
};

/* The SSL, to be used now: until another engine's is, the BIO serves this one. What rests is no
 * different to whoever asks, so a constant engine will do. */
void ml_tls_awaken(struct ml_tls *tls);

static inline SSL *awake(const struct ml_tls *tls)
{
  struct ml_tls *self = (struct ml_tls *)(uintptr_t)tls;
  if (tls->rest) ml_tls_awaken(self);
  ml_tls_io_served = &self->io;
  return tls->ssl;
}

/* Which engine an SSL belongs to stands where the argument of a padding callback would, of which
 * there is none: unlike SSL_set_app_data(3) that takes no memory. */
static inline void ml_tls_own(SSL *ssl, struct ml_tls *tls)
{
  SSL_set_record_padding_callback_arg(ssl, tls);
}

static inline struct ml_tls *ml_tls_of(const SSL *ssl)
{
  return SSL_get_record_padding_callback_arg(ssl);
}

/* Keeps a copy of `err` as the engine's error. */
void ml_tls_set_error(struct ml_tls *tls, const struct ml_error *err);

/* ---- tls_questions.c ---- */

/* Whether the owner wants to be asked. */
static inline bool ml_tls_asks(const struct ml_tls *tls, enum ml_tls_ask ask)
{
  return (tls->asks & ML_ASKS(ask)) != 0;
}

/* Begins a question about `subject` (copied; NULL: about nothing in particular). Called on
 * OpenSSL's stack, which then suspends. -1: no memory. */
ML_MUST_CHECK int ml_tls_ask(struct ml_tls *tls, enum ml_tls_ask ask, const uint8_t *subject,
                             size_t len);

/* The answer has been used: gives back what belonged to the question. */
void ml_tls_pause_end(struct ml_tls *tls);

/* Copies `data`, over what was there. -1: no memory. */
ML_MUST_CHECK int ml_tls_bytes_set(struct ml_tls_bytes *bytes, const uint8_t *data, size_t len);
void ml_tls_bytes_free(struct ml_tls_bytes *bytes);

/* ---- Notes ---- */

/* Appends a note; takes `session`'s reference. Without memory the note is dropped (and the
 * reference freed). */
void ml_tls_note_session(struct ml_tls *tls, SSL_SESSION *session);
void ml_tls_note_keylog(struct ml_tls *tls, const char *line);
void ml_tls_note_key_update(struct ml_tls *tls);

/* This one is not dropped: -1 when there is no memory. */
ML_MUST_CHECK int ml_tls_note_staple(struct ml_tls *tls, const uint8_t *response, size_t len);

/* ---- tls_engine.c ---- */

/* Moves to `state`; asserts that the transition is legal. */
void ml_tls_set_state(struct ml_tls *tls, enum ml_tls_state state);

/* The one way into failure: with what OpenSSL left behind, or with `err`. ML_TLS_ERROR. */
enum ml_tls_result ml_tls_fail(struct ml_tls *tls);
enum ml_tls_result ml_tls_fail_with(struct ml_tls *tls, const struct ml_error *err);

/* ---- tls_after.c ---- */

/* The handshake is over. */
void ml_tls_after_open(struct ml_tls *tls);

/* OpenSSL begins a handshake on an established connection (SSL_CB_HANDSHAKE_START). */
void ml_tls_after_start(struct ml_tls *tls);

/* The peer's Finished, KeyUpdate has been read. */
void ml_tls_after_finished(struct ml_tls *tls);
void ml_tls_after_key_update(struct ml_tls *tls);

/* At the ClientHello of a renegotiation. SSL_CLIENT_HELLO_*. */
int ml_tls_after_hello(struct ml_tls *tls, int *alert);

/* Looks at what a call into OpenSSL has led to. ML_TLS_OK, or ML_TLS_ERROR. */
enum ml_tls_result ml_tls_after_settle(struct ml_tls *tls);

/* ml_tls_handshake of an established connection. */
enum ml_tls_result ml_tls_after_handshake(struct ml_tls *tls);

/* ---- tls_post_handshake.c ---- */

/* Writes the KeyUpdate that had to wait. ML_TLS_OK, or ML_TLS_ERROR. */
enum ml_tls_result ml_tls_update_now(struct ml_tls *tls);

/* Answers a KeyUpdate where OpenSSL puts it off until there is something to write: for a client.
 * ML_TLS_OK, or ML_TLS_ERROR. */
enum ml_tls_result ml_tls_answer_update(struct ml_tls *tls);

/* ---- tls_data.c ---- */

/* One SSL_read_ex(3), with everything that can come of it. The results of ml_tls_read. */
enum ml_tls_result ml_tls_receive(struct ml_tls *tls, uint8_t *buffer, size_t size, size_t *done);

#endif

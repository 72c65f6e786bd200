/* The engine's struct, shared by tls_engine.c and tls_callbacks.c only. */
#ifndef ML_TLS_ENGINE_INTERNAL_H
#define ML_TLS_ENGINE_INTERNAL_H

#include "tls_bio.h"
#include "tls_engine.h"

#define ML_SERVERNAME_MAX 255

enum ml_pause_phase {
  ML_PAUSE_IDLE,     /* nothing has been asked */
  ML_PAUSE_ASKED,    /* waiting for the owner */
  ML_PAUSE_ANSWERED, /* the answer waits for OpenSSL to come back for it */
};

/* One question at a time: a handshake is sequential. */
struct ml_pause {
  enum ml_pause_phase phase;
  enum ml_tls_ask ask;
  uint32_t token; /* of the current or last question */
  /* The answer. */
  bool accepted;
  bool refused; /* ml_tls_answer_failure */
  int alert;
  struct ml_tls_context *context;
};

/* The versions in a ClientHello: those of supported_versions (RFC 8446, 4.2.1), GREASE left out;
 * or, of a client too old to list them, the highest one. */
struct ml_tls_offer {
  uint16_t versions[6];
  uint8_t count;
  bool at_most; /* versions[0] stands for everything up to it */
};

struct ml_tls {
  SSL *ssl;
  struct ml_tls_io io;
  struct ml_buf kept; /* input that outlived the caller's slice; io.in points into it while it is
                         being read */
  bool reading_kept;

  enum ml_tls_state state;
  bool server;
  bool ask_context, ask_identity;
  bool request_cert, reject_unauthorized;
  bool want_sessions, want_keylog;
  int min_dh_bits;      /* client: refuse less */
  int small_dh_bits;    /* what was refused; 0: nothing */
  bool name_used;       /* the name in the ClientHello chose the context */
  bool context_chosen;  /* ML_ASK_CONTEXT was answered; a second ClientHello (RFC 8446, 4.1.4) does
                           not ask again */
  bool identity_judged; /* ML_ASK_IDENTITY was answered */

  struct ml_tls_context *context;         /* in use */
  struct ml_tls_context *initial_context; /* whose ticket keys are used (SSL_set_SSL_CTX(3)) */
  char *servername;                       /* NULL: none */
  struct ml_tls_offer offer;              /* server; for the error message, should it come to it */
  uint8_t *alpn;
  size_t alpn_len;

  struct ml_pause pause;
  X509 *candidate;                  /* the peer's leaf while the identity is asked */
  STACK_OF(X509) * candidate_chain; /* the chain OpenSSL built for it */
  long verify_result;

  struct ml_tls_note *notes, **notes_end;

  enum ml_alert_from alert_from;
  int alert;
  struct ml_error *error; /* made when something fails, or when a question is answered with failure:
                             the struct is large and most connections never need it */
};

static inline struct ml_tls *ml_tls_of(const SSL *ssl)
{
  return SSL_get_app_data(ssl);
}

/* Keeps a copy of `err` as the engine's error. */
void ml_tls_set_error(struct ml_tls *tls, const struct ml_error *err);

/* Begins a question. Called on OpenSSL's stack, which then suspends. */
void ml_tls_ask(struct ml_tls *tls, enum ml_tls_ask ask);

/* Appends a note; takes `session`'s reference. Without memory the note is dropped (and the
 * reference freed). */
void ml_tls_note_session(struct ml_tls *tls, SSL_SESSION *session);
void ml_tls_note_keylog(struct ml_tls *tls, const char *line);

/* Moves to `state`; asserts that the transition is legal. */
void ml_tls_set_state(struct ml_tls *tls, enum ml_tls_state state);

#endif

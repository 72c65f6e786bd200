/* bench-load: one run of one kind of load against one TLS server.
 *
 * A run is set up, warmed up, measured and reported; `main.c` drives those stages and prints,
 * `conn.c` is what one connection does. One thread, one epoll instance, closed loop: every
 * connection has at most one operation under way and starts the next as soon as that has ended.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"

enum mode {
  MODE_FULL,    /* connect, full handshake, close: one operation each */
  MODE_RESUMED, /* the same with a session from an earlier connection; only reused ones count */
  MODE_REQUEST, /* small HTTP request and its response, connections kept */
  MODE_ECHO,    /* a message and the same bytes back, connections kept */
  MODE_BULK,    /* GET /bulk again and again; one operation is one MiB of body */
  MODE_IDLE, /* connections that made one request each and then stay silent: memory of the server */
};

enum { MAX_PIDS = 16, ADDRESSES = 32, MATERIAL_WINDOWS = 1 << 20 };

struct options {
  enum mode mode;
  const char *mode_name;
  struct sockaddr_in server;
  unsigned conns;
  double seconds, warmup;
  uint64_t count; /* stop after so many operations instead of after `seconds`; 0 for no bound */
  size_t message_size;    /* of an echo */
  int version;            /* TLS1_2_VERSION or TLS1_3_VERSION */
  bool rsa;               /* ask for an RSA certificate instead of an ECDSA one */
  const char *servername; /* NULL: none is sent */
  bool status;            /* ask for an OCSP response */
  bool no_ticket;         /* TLS 1.2: take no tickets, so that sessions have ids */
  unsigned storm;         /* connections that make full handshakes besides */
  double wait;            /* seconds to go on trying while the server is not listening yet */
  pid_t pids[MAX_PIDS];
  unsigned pid_count;
};

/* Where a connection is, in the order it gets there. */
enum phase {
  PHASE_CLOSED,
  PHASE_CONNECTING,
  PHASE_HANDSHAKE,
  PHASE_READY,    /* established, nothing under way */
  PHASE_EXCHANGE, /* a message is being sent or its answer awaited */
  PHASE_CLOSING,  /* our end is closed; waiting for the server's */
};

struct load;

struct conn {
  enum phase phase;
  int fd;
  SSL *ssl;
  SSL_SESSION *session; /* resumed mode: what the next connection offers */
  bool offered;         /* this connection offered `session` */
  uint32_t interest;    /* events asked of epoll */
  uint64_t started;     /* when the operation under way began, ns */
  const char *message;  /* what is being sent; load.message_len bytes */
  size_t sent;          /* bytes of the message given to OpenSSL */
  uint64_t received;    /* bytes of the answer taken from it */
  uint64_t expected;    /* length of the answer; 0 while its header has not come */
  uint64_t credited;    /* bulk: bytes of this answer already counted as whole MiB */
  bool queued;          /* in load.again */
};

enum stage { STAGE_SETUP, STAGE_WARMUP, STAGE_MEASURE, STAGE_DONE };

struct load {
  struct options options;
  struct load *storm; /* NULL without */
  enum stage stage;
  int epoll;
  SSL_CTX *tls;
  SSL_CTX *first_tls; /* resumed mode: for connections made to get a session. One with a session
                       * cache forbids the second use of a TLS 1.3 session
                       * (SSL_CTX_set_session_cache_mode(3)), so `tls` has none. */
  struct conn *conns;
  unsigned next_conn;   /* setup: first connection not opened yet */
  unsigned opening;     /* connecting or in a handshake */
  unsigned ready;       /* modes with kept connections: how many are established */
  unsigned settled;     /* idle mode: how many had their request answered */
  unsigned next_source; /* source addresses take turns */

  struct conn **again; /* connections with decrypted bytes left, which epoll would not tell about */
  unsigned again_count;

  /* No two messages under way are equal: a server that keeps equal strings once would look better
   * than it is. An echo is a window of `material`, a request carries a serial number. */
  char *material;
  size_t message_len;
  unsigned serial;

  struct histogram latency; /* of operations that ended while measuring */
  uint64_t ops, bytes;
  uint64_t reused, not_reused; /* connections while measuring */
  uint64_t errors;             /* connections that failed, over the whole run */
  char first_error[256];
};

uint64_t now_ns(void);

/* Builds the load's contexts for its options. Exits with a message when OpenSSL refuses. */
void conn_contexts(struct load *load);

/* Opens connections that setup has left, as many at once as a server's backlog bears. */
void conn_open_more(struct load *load);

/* Starts the first exchange on an established connection. */
void conn_start(struct load *load, struct conn *conn);

/* Goes on with whatever the connection waits for. */
void conn_drive(struct load *load, struct conn *conn);

/* Frees what it holds. */
void conn_destroy(struct conn *conn);

/* One operation ended. Called by conn.c; main.c counts it when it falls into the measured time. */
void load_count(struct load *load, uint64_t started, uint64_t bytes);

/* A connection was established; `reused` tells whether by resumption. */
void load_established(struct load *load, bool reused);

/* Ends the program with a message. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif

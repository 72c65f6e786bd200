/* Listening sockets: TCP, unix, or one inherited from the process that started us.
 *
 * Accepts are bounded per wake-up, so that a flood of connections cannot starve those that are
 * open. When the process is out of descriptors, connections are taken with a spare one and closed
 * at once (on_drop): left in the backlog they would keep the loop spinning and their clients
 * waiting.
 */
#ifndef ML_LISTENER_H
#define ML_LISTENER_H

#include "addr.h"
#include "error.h"
#include "loop.h"
#include "sock.h"

enum { ML_LISTENER_BACKLOG = 511 };

struct ml_listener;

/* What a listener tells its owner, from the loop only. Inside any of them the listener may be
 * closed. Every entry must be set. */
struct ml_listener_events {
  /* A connection came. The sock is the owner's, who sets its events or closes it before returning.
   */
  void (*on_connection)(struct ml_listener *, struct ml_sock *);
  /* A connection from `peer` was closed since the process is out of descriptors. */
  void (*on_drop)(struct ml_listener *, const struct ml_addr *peer);
  /* accept(2) failed. The listener goes on after a pause where that can help, and is silent until
   * it has accepted again; otherwise it stops accepting. Closing is up to the owner. */
  void (*on_error)(struct ml_listener *, const struct ml_error *);
};

struct ml_listener_options {
  int backlog;       /* 0: ML_LISTENER_BACKLOG */
  bool ipv6_only;    /* no IPv4 on "::" */
  bool reuse_port;   /* SO_REUSEPORT, socket(7) */
  bool readable_all; /* unix: everybody may read the socket file */
  bool writable_all; /* unix: everybody may connect */
};

/* A listener without a descriptor; NULL when memory is short. Given back by ml_listener_close. */
ML_MUST_CHECK struct ml_listener *
ml_listener_new(struct ml_loop *loop, const struct ml_listener_events *events, void *user);

/* The owner's pointer. */
void *ml_listener_user(const struct ml_listener *listener);

/* Binds and listens. Fails with syscall "listen" and the reason in words, as Node has it: "listen
 * EADDRINUSE: address already in use 127.0.0.1:80"; the listener is unchanged then. Accepted TCP
 * sockets have TCP_NODELAY. The file of a unix socket is removed by the close if it is still the
 * one made here; one that exists already is EADDRINUSE. */
ML_MUST_CHECK int ml_listener_open(struct ml_listener *listener, const struct ml_addr *addr,
                                   const struct ml_listener_options *options, struct ml_error *err);

/* Takes over a bound stream socket, listening or not. On failure the descriptor stays the caller's.
 */
ML_MUST_CHECK int ml_listener_open_fd(struct ml_listener *listener, int fd, int backlog,
                                      struct ml_error *err);

/* Accepts nothing from now on: the socket goes on listening for the processes that share it. Its
 * connections wait for them. */
void ml_listener_hold(struct ml_listener *listener);

/* Whether the listener keeps the loop running. On by default. */
void ml_listener_ref(struct ml_listener *listener, bool on);

/* The bound address. */
ML_MUST_CHECK int ml_listener_address(const struct ml_listener *listener, struct ml_addr *out,
                                      struct ml_error *err);

/* The descriptor, or -1. */
int ml_listener_fd(const struct ml_listener *listener);

/* Stops listening and gives everything back, once no callback is on the stack. No callbacks follow.
 */
void ml_listener_close(struct ml_listener *listener);

#endif

/* Name look-ups on c-ares, driven by the loop.
 *
 * A resolver is one c-ares channel: it reads /etc/resolv.conf, /etc/nsswitch.conf and /etc/hosts,
 * never blocks on the network and starts no thread. It keeps the loop alive only while a query is
 * pending, and owns no socket otherwise.
 *
 * Every query calls back exactly once, from the loop and never from inside the function that
 * started it, unless it is cancelled or its resolver is freed first; then it does not call back at
 * all. Inside a callback anything is allowed, ml_resolver_free included.
 */
#ifndef ML_RESOLVER_H
#define ML_RESOLVER_H

#include <stddef.h>

#include "addr.h"
#include "error.h"
#include "loop.h"

struct ml_resolver;
struct ml_query;

/* How patient a resolver is. Zero in either field means what /etc/resolv.conf says (resolv.conf(5):
 * "timeout", "attempts"; 5 seconds and 2 attempts when it says nothing). */
struct ml_resolver_options {
  int timeout_ms; /* wait for the first attempt's answer; each round of attempts doubles it */
  int attempts;   /* how often each server is asked */
};

/* Restrictions on ml_resolver_lookup, as getaddrinfo(3) has them. */
enum {
  ML_LOOKUP_ADDRCONFIG = 1 << 0, /* only families of which this machine has a non-loopback address;
                                    any family, where it has none at all and none is asked for */
  ML_LOOKUP_V4MAPPED =
      1 << 1,             /* family 6: when there is no IPv6 address, IPv4 ones as ::ffff:a.b.c.d */
  ML_LOOKUP_ALL = 1 << 2, /* with V4MAPPED: both, IPv6 first */
};

/* One answer. The address' port is 0. */
struct ml_answer {
  struct ml_addr addr;
  int ttl; /* seconds; 0 when it did not come from the DNS */
};

/* The outcome of a query: `err` is NULL and `n` at least 1, or `err` says why and `n` is 0. Both
 * `err` and `answers` are valid during the call only. The query's handle is void from here on. */
typedef void (*ml_query_done)(void *user, const struct ml_error *err,
                              const struct ml_answer *answers, size_t n);

/* The same for ml_resolver_reverse: `n` names. */
typedef void (*ml_names_done)(void *user, const struct ml_error *err, const char *const *names,
                              size_t n);

/* A resolver on `loop`; `options` may be NULL. Fails with ML_ORIGIN_DNS. */
ML_MUST_CHECK int ml_resolver_new(struct ml_resolver **out, struct ml_loop *loop,
                                  const struct ml_resolver_options *options, struct ml_error *err);

/* Ends it, and every pending query without a callback. NULL is allowed. */
void ml_resolver_free(struct ml_resolver *resolver);

/* What a program wants when it is about to connect: numeric addresses as they are, then /etc/hosts,
 * then the DNS with the search list, in the order of RFC 6724. `family` is 4, 6 or 0 for both;
 * `hints` are ML_LOOKUP_*. `localhost` and names below it never leave this machine, and names below
 * `invalid` never exist (RFC 6761, 6.3 and 6.4).
 *
 * Failures carry getaddrinfo's names: ENOTFOUND (no such name, or it has no address of this
 * family), EAI_AGAIN (no answer from any server), EAI_MEMORY, EAI_FAIL; syscall is "getaddrinfo".
 * Returns NULL when memory is short. */
struct ml_query *ml_resolver_lookup(struct ml_resolver *resolver, const char *host, int family,
                                    unsigned hints, ml_query_done done, void *user);

/* Asks the DNS, and only it, for the A (family 4) or AAAA (family 6) records of exactly this name;
 * answers in the server's order with their TTLs. Failures carry c-ares' names (ENOTFOUND, ENODATA,
 * ESERVFAIL, ETIMEOUT, ECONNREFUSED, EBADNAME, …); syscall is "queryA" or "queryAaaa". */
struct ml_query *ml_resolver_resolve(struct ml_resolver *resolver, const char *name, int family,
                                     ml_query_done done, void *user);

/* The names of an address, from /etc/hosts or the DNS (PTR). syscall is "getHostByAddr". The port
 * is ignored. */
struct ml_query *ml_resolver_reverse(struct ml_resolver *resolver, const struct ml_addr *addr,
                                     ml_names_done done, void *user);

/* Gives a query up: no callback. When it was the last one pending, nothing is left that keeps the
 * loop alive. */
void ml_query_cancel(struct ml_query *query);

/* How many queries are pending. */
size_t ml_resolver_pending(const struct ml_resolver *resolver);

/* Whom the resolver asks, as text that ml_resolver_set_servers takes back: "127.0.0.1", "::1",
 * "127.0.0.1:5353",
 * "[::1]:5353". Returned in one malloc'ed block of comma-separated entries ("" when there is none),
 * which the caller frees; NULL when memory is short. */
char *ml_resolver_servers(const struct ml_resolver *resolver);

/* Asks these servers from now on, in this order: numeric addresses with a port each (0: 53). Fails
 * with "ESETSRVPENDING" while queries are pending, and leaves the servers as they were. */
ML_MUST_CHECK int ml_resolver_set_servers(struct ml_resolver *resolver,
                                          const struct ml_addr *servers, size_t n,
                                          struct ml_error *err);

/* c-ares' version, "1.18.1". Static storage. */
const char *ml_resolver_version(void);

#endif

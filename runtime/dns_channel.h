/* One c-ares channel on the loop: its sockets, its timer, its servers. Internal to resolver.c,
 * which holds the queries.
 */
#ifndef ML_DNS_CHANNEL_H
#define ML_DNS_CHANNEL_H

#include <ares.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "resolver.h"

struct dns_watch;

struct dns_channel {
  ares_channel ares;
  struct ml_loop *loop;
  struct ml_resolver_options options;
  ev_timer timer;
  struct dns_watch *watches; /* the sockets that c-ares has open */
  bool servers_set;          /* by dns_channel_set_servers: resolv.conf no longer counts */
  struct stat conf;          /* resolv.conf as it was read; zero when there was none */
};

/* "ENOTFOUND" for ARES_ENOTFOUND. Static storage. */
const char *dns_code(int status);

/* Describes ARES_* `status` under the name `code`: "<syscall> <code> <host>", or c-ares' own words
 * when host is NULL. */
void dns_error(struct ml_error *err, int status, const char *code, const char *syscall,
               const char *host);

/* Opens it in place; dns_channel_close must follow unless this failed. The struct must not move in
 * between. */
ML_MUST_CHECK int dns_channel_open(struct dns_channel *channel, struct ml_loop *loop,
                                   const struct ml_resolver_options *options, struct ml_error *err);

/* Closes it. c-ares calls every pending query back with ARES_EDESTRUCTION from inside. */
void dns_channel_close(struct dns_channel *channel);

/* To be called after anything that may have started or ended a query: waits for what c-ares now
 * waits for. */
void dns_channel_settle(struct dns_channel *channel);

/* Reads resolv.conf again when it has changed. Only for a channel without a query. */
void dns_channel_refresh(struct dns_channel *channel);

/* See ml_resolver_servers and ml_resolver_set_servers. */
char *dns_channel_servers(const struct dns_channel *channel);
ML_MUST_CHECK int dns_channel_set_servers(struct dns_channel *channel,
                                          const struct ml_addr *servers, size_t n,
                                          struct ml_error *err);

#endif

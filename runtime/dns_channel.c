#include "dns_channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define DNS_PORT 53

/* A socket that c-ares has open, which is never longer than a query is pending. */
struct dns_watch {
  ev_io io;
  struct dns_channel *channel;
  struct dns_watch *next;
};

const char *dns_code(int status)
{
#define NAME(name)                                                                                 \
  case ARES_##name:                                                                                \
    return #name
  switch (status) {
    NAME(ENODATA);
    NAME(EFORMERR);
    NAME(ESERVFAIL);
    NAME(ENOTFOUND);
    NAME(ENOTIMP);
    NAME(EREFUSED);
    NAME(EBADQUERY);
    NAME(EBADNAME);
    NAME(EBADFAMILY);
    NAME(EBADRESP);
    NAME(ECONNREFUSED);
    NAME(ETIMEOUT);
    NAME(EOF);
    NAME(EFILE);
    NAME(ENOMEM);
    NAME(EDESTRUCTION);
    NAME(EBADSTR);
    NAME(EBADFLAGS);
    NAME(ENONAME);
    NAME(EBADHINTS);
    NAME(ENOTINITIALIZED);
    NAME(ECANCELLED);
  default:
    return "EUNKNOWN";
  }
#undef NAME
}

void dns_error(struct ml_error *err, int status, const char *code, const char *syscall,
               const char *host)
{
  memset(err, 0, sizeof(*err));
  err->origin = ML_ORIGIN_DNS;
  err->number = status;
  snprintf(err->code, sizeof(err->code), "%s", code);
  snprintf(err->syscall, sizeof(err->syscall), "%s", syscall);
  if (host) {
    snprintf(err->address, sizeof(err->address), "%s", host);
    snprintf(err->message, sizeof(err->message), "%s %s %s", syscall, code, host);
  } else {
    snprintf(err->message, sizeof(err->message), "%s %s: %s", syscall, code, ares_strerror(status));
  }
}

/* Sockets and time */

void dns_channel_settle(struct dns_channel *channel)
{
  ml_loop_timer_stop(channel->loop, &channel->timer, true);
  struct timeval wait;
  if (!ares_timeout(channel->ares, NULL, &wait)) return;
  double seconds = (double)wait.tv_sec + (double)wait.tv_usec / 1e6;
  /* c-ares counts in milliseconds: an earlier wake-up would find nothing due. */
  ev_timer_set(&channel->timer, seconds < 0.001 ? 0.001 : seconds, 0.);
  ml_loop_timer_start(channel->loop, &channel->timer, true);
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
  (void)ev;
  (void)events;
  struct dns_channel *channel = timer->data;
  ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  dns_channel_settle(channel);
}

static void on_io(struct ev_loop *ev, ev_io *io, int events)
{
  (void)ev;
  struct dns_channel *channel = ((struct dns_watch *)io->data)->channel;
  int fd = io->fd; /* c-ares may close it, and with it free the watch */
  ares_process_fd(channel->ares, events & EV_READ ? fd : ARES_SOCKET_BAD,
                  events & EV_WRITE ? fd : ARES_SOCKET_BAD);
  dns_channel_settle(channel);
}

/* c-ares opened a socket, changed what it waits for, or is about to close it (neither readable nor
 * writable). */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
  struct dns_channel *channel = data;
  struct dns_watch **link = &channel->watches;
  while (*link && (*link)->io.fd != fd)
    link = &(*link)->next;
  struct dns_watch *watch = *link;
  if (watch) ml_loop_io_stop(channel->loop, &watch->io, true);
  if (!readable && !writable) {
    if (!watch) return;
    *link = watch->next;
    free(watch);
    return;
  }
  if (!watch) {
    watch = calloc(1, sizeof(*watch));
    if (!watch) abort();
    watch->channel = channel;
    ev_init(&watch->io, on_io);
    watch->io.data = watch;
    watch->next = channel->watches;
    channel->watches = watch;
  }
  ev_io_set(&watch->io, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
  ml_loop_io_start(channel->loop, &watch->io, true);
}

/* Opening, reading resolv.conf again */

/* Patience as the C library reads it from resolv.conf and RES_OPTIONS. c-ares' own defaults would
 * have a program wait well over a minute for a dead server. */
static void system_patience(struct ml_resolver_options *options)
{
  struct __res_state state;
  memset(&state, 0, sizeof(state));
  int seconds = RES_TIMEOUT, attempts = RES_DFLRETRY;
  if (res_ninit(&state) == 0) {
    seconds = state.retrans;
    attempts = state.retry;
    res_nclose(&state);
  }
  if (options->timeout_ms <= 0) options->timeout_ms = seconds * 1000;
  if (options->attempts <= 0) options->attempts = attempts;
}

static int init(struct dns_channel *channel, struct ml_error *err)
{
  struct ml_resolver_options patience = channel->options;
  system_patience(&patience);
  struct ares_options options = {
      .timeout = patience.timeout_ms,
      .tries = patience.attempts,
      .sock_state_cb = on_socket_state,
      .sock_state_cb_data = channel,
  };
  int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
  if (stat(RESOLV_CONF, &channel->conf) != 0) memset(&channel->conf, 0, sizeof(channel->conf));
  int status = ares_init_options(&channel->ares, &options, mask);
  if (status == ARES_SUCCESS) return 0;
  channel->ares = NULL;
  dns_error(err, status, dns_code(status), "ares_init", NULL);
  return -1;
}

int dns_channel_open(struct dns_channel *channel, struct ml_loop *loop,
                     const struct ml_resolver_options *options, struct ml_error *err)
{
  memset(channel, 0, sizeof(*channel));
  channel->loop = loop;
  if (options) channel->options = *options;
  ev_init(&channel->timer, on_timer);
  channel->timer.data = channel;
  int status = ares_library_init(ARES_LIB_INIT_ALL);
  if (status != ARES_SUCCESS) {
    dns_error(err, status, dns_code(status), "ares_init", NULL);
    return -1;
  }
  if (init(channel, err) == 0) return 0;
  ares_library_cleanup();
  return -1;
}

void dns_channel_close(struct dns_channel *channel)
{
  ml_loop_timer_stop(channel->loop, &channel->timer, true);
  ares_destroy(channel->ares);
  ares_library_cleanup();
}

void dns_channel_refresh(struct dns_channel *channel)
{
  if (channel->servers_set) return;
  struct stat now;
  if (stat(RESOLV_CONF, &now) != 0) return;
  const struct stat *then = &channel->conf;
  if (now.st_ino == then->st_ino && now.st_size == then->st_size &&
      now.st_mtim.tv_sec == then->st_mtim.tv_sec && now.st_mtim.tv_nsec == then->st_mtim.tv_nsec)
    return;
  ares_channel old = channel->ares;
  struct ml_error ignored;
  if (init(channel, &ignored) == 0) {
    ares_destroy(old);
  } else {
    channel->ares = old;
  }
}

/* Servers */

static int server_text(char *out, size_t size, const struct ares_addr_port_node *server)
{
  char ip[INET6_ADDRSTRLEN] = "";
  inet_ntop(server->family, &server->addr, ip, sizeof(ip));
  if (server->udp_port == 0 || server->udp_port == DNS_PORT) return snprintf(out, size, "%s", ip);
  const char *format = server->family == AF_INET6 ? "[%s]:%d" : "%s:%d";
  return snprintf(out, size, format, ip, server->udp_port);
}

char *dns_channel_servers(const struct dns_channel *channel)
{
  struct ares_addr_port_node *list = NULL;
  if (ares_get_servers_ports(channel->ares, &list) != ARES_SUCCESS) return NULL;
  size_t room = 1;
  for (struct ares_addr_port_node *server = list; server; server = server->next)
    room += INET6_ADDRSTRLEN + sizeof("[]:65535,");
  char *text = malloc(room);
  if (text) {
    char *end = text;
    *end = '\0';
    for (struct ares_addr_port_node *server = list; server; server = server->next) {
      if (end != text) *end++ = ',';
      end += server_text(end, room - (size_t)(end - text), server);
    }
  }
  if (list) ares_free_data(list);
  return text;
}

static void to_node(struct ares_addr_port_node *node, const struct ml_addr *addr)
{
  const void *storage = &addr->storage;
  node->family = addr->storage.ss_family;
  node->udp_port = node->tcp_port = ml_addr_port(addr);
  if (node->family == AF_INET6) {
    const struct sockaddr_in6 *sin6 = storage;
    memcpy(&node->addr.addr6, &sin6->sin6_addr, sizeof(sin6->sin6_addr));
  } else {
    const struct sockaddr_in *sin = storage;
    node->addr.addr4 = sin->sin_addr;
  }
}

int dns_channel_set_servers(struct dns_channel *channel, const struct ml_addr *servers, size_t n,
                            struct ml_error *err)
{
  int status = ARES_ENOMEM;
  struct ares_addr_port_node *nodes = calloc(n ? n : 1, sizeof(*nodes));
  if (!nodes) goto fail;
  for (size_t i = 0; i < n; i++) {
    to_node(&nodes[i], &servers[i]);
    if (i + 1 < n) nodes[i].next = &nodes[i + 1];
  }
  status = ares_set_servers_ports(channel->ares, n ? nodes : NULL);
  free(nodes);
  if (status != ARES_SUCCESS) goto fail;
  channel->servers_set = true;
  return 0;

fail:
  dns_error(err, status, dns_code(status), "ares_set_servers", NULL);
  return -1;
}

#include "resolver.h"

#include <assert.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dns_channel.h"
#include "hosts.h"

struct ml_resolver {
  struct dns_channel channel;
  struct ml_query *queries; /* all of them, abandoned ones too */
  size_t pending;           /* those that will call back */
};

enum query_phase {
  QUERY_ASKED,     /* c-ares holds the query and will call back */
  QUERY_ABANDONED, /* the same, but nobody listens: freed when c-ares lets go of it */
  QUERY_ANSWERED,  /* the outcome is in; the task that reports it is queued */
};

enum query_kind { QUERY_LOOKUP, QUERY_A, QUERY_AAAA, QUERY_NAMES };

struct ml_query {
  struct ml_task task;
  struct ml_resolver *resolver;
  struct ml_query *prev, *next;
  enum query_phase phase;
  enum query_kind kind;
  int family;     /* lookup: what the caller wants */
  unsigned hints; /* lookup */
  union {
    ml_query_done answers;
    ml_names_done names;
  } done;
  void *user;
  int status; /* ARES_* from QUERY_ANSWERED on */
  struct ml_answer *answers;
  char **names;
  size_t count; /* of answers or names */
  char host[];
};

/* Errors */

/* What getaddrinfo(3) would have said. */
static const char *lookup_code(int status)
{
  switch (status) {
  case ARES_ENOTFOUND:
  case ARES_ENODATA:
  case ARES_EBADNAME:
    return "ENOTFOUND";
  case ARES_ETIMEOUT:
  case ARES_ECONNREFUSED:
  case ARES_ESERVFAIL:
  case ARES_EREFUSED:
    return "EAI_AGAIN";
  case ARES_ENOMEM:
    return "EAI_MEMORY";
  default:
    return "EAI_FAIL";
  }
}

static void query_error(struct ml_error *err, const struct ml_query *query)
{
  static const char *const syscalls[] = {
      [QUERY_LOOKUP] = "getaddrinfo",
      [QUERY_A] = "queryA",
      [QUERY_AAAA] = "queryAaaa",
      [QUERY_NAMES] = "getHostByAddr",
  };
  const char *code =
      query->kind == QUERY_LOOKUP ? lookup_code(query->status) : dns_code(query->status);
  dns_error(err, query->status, code, syscalls[query->kind], query->host);
}

/* Queries */

static struct ml_query *query_new(struct ml_resolver *resolver, enum query_kind kind,
                                  const char *host)
{
  size_t size = strlen(host) + 1;
  struct ml_query *query = calloc(1, sizeof(*query) + size);
  if (!query) return NULL;
  memcpy(query->host, host, size);
  query->resolver = resolver;
  query->kind = kind;
  query->phase = QUERY_ASKED;
  query->next = resolver->queries;
  if (query->next) query->next->prev = query;
  resolver->queries = query;
  resolver->pending++;
  return query;
}

static void free_names(char **names, size_t n)
{
  for (size_t i = 0; i < n; i++)
    free(names[i]);
  free(names);
}

static void query_free(struct ml_query *query)
{
  if (query->prev) {
    query->prev->next = query->next;
  } else {
    query->resolver->queries = query->next;
  }
  if (query->next) query->next->prev = query->prev;
  if (query->names) free_names(query->names, query->count);
  free(query->answers);
  free(query);
}

/* With nobody left to call back, what was given up is dropped: c-ares cannot drop one query, only
 * all of them, and closes its sockets with them. */
static void drop_abandoned(struct ml_resolver *resolver)
{
  if (resolver->pending > 0) return;
  ares_cancel(resolver->channel.ares);
  dns_channel_settle(&resolver->channel);
}

/* Runs at the end of the tick. The query, and perhaps its resolver, are gone once the owner has
 * been called. */
static void report(struct ml_task *task)
{
  struct ml_query *query = ML_CONTAINER_OF(task, struct ml_query, task);
  struct ml_error err;
  bool failed = query->status != ARES_SUCCESS;
  if (failed) query_error(&err, query);

  /* The owner may free the resolver, so the query leaves it first; its results live on this stack
   * until then. */
  struct ml_query outcome = *query;
  query->answers = NULL;
  query->names = NULL;
  outcome.resolver->pending--;
  query_free(query);
  drop_abandoned(outcome.resolver);

  const struct ml_error *reason = failed ? &err : NULL;
  if (outcome.kind == QUERY_NAMES) {
    outcome.done.names(outcome.user, reason, (const char *const *)outcome.names, outcome.count);
    free_names(outcome.names, outcome.count);
  } else {
    outcome.done.answers(outcome.user, reason, outcome.answers, outcome.count);
    free(outcome.answers);
  }
}

/* The outcome is in, perhaps before the function that asked has returned: the owner hears of it
 * from the loop. */
static void answered(struct ml_query *query, int status)
{
  assert(query->phase == QUERY_ASKED);
  query->phase = QUERY_ANSWERED;
  query->status = status;
  query->task.run = report;
  ml_loop_defer(query->resolver->channel.loop, &query->task);
}

static bool reserve(struct ml_query *query, size_t n)
{
  query->answers = calloc(n, sizeof(*query->answers));
  return query->answers != NULL;
}

static void add_answer(struct ml_query *query, const struct sockaddr *sa, socklen_t len, int ttl)
{
  struct ml_answer *answer = &query->answers[query->count++];
  memcpy(&answer->addr.storage, sa, len);
  answer->addr.len = len;
  answer->ttl = ttl > 0 ? ttl : 0;
}

static void add_v4(struct ml_query *query, const struct in_addr *ip, int ttl)
{
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = *ip};
  add_answer(query, (struct sockaddr *)&sin, sizeof(sin), ttl);
}

static void add_v6(struct ml_query *query, const struct in6_addr *ip, int ttl)
{
  struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_addr = *ip};
  add_answer(query, (struct sockaddr *)&sin6, sizeof(sin6), ttl);
}

static void add_mapped(struct ml_query *query, const struct in_addr *ip, int ttl)
{
  struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
  memcpy(&mapped.s6_addr[12], ip, sizeof(*ip));
  add_v6(query, &mapped, ttl);
}

/* getaddrinfo */

/* Whether `name` is `domain` or lies below it; a dot at the end is no difference. */
static bool within(const char *name, const char *domain)
{
  size_t n = strlen(name), d = strlen(domain);
  if (n > 0 && name[n - 1] == '.') n--;
  if (n < d || strncasecmp(name + n - d, domain, d) != 0) return false;
  return n == d || name[n - d - 1] == '.';
}

/* Which families have an address here that is not a loopback one. */
static void configured_families(bool *v4, bool *v6)
{
  *v4 = *v6 = false;
  struct ifaddrs *list;
  if (getifaddrs(&list) != 0) {
    *v4 = *v6 = true;
    return;
  }
  for (struct ifaddrs *i = list; i; i = i->ifa_next) {
    if (!i->ifa_addr || (i->ifa_flags & IFF_LOOPBACK)) continue;
    if (i->ifa_addr->sa_family == AF_INET) *v4 = true;
    if (i->ifa_addr->sa_family == AF_INET6) *v6 = true;
  }
  freeifaddrs(list);
}

/* Which family to ask for, AF_UNSPEC for both; -1 when nothing could come of it. */
static int family_to_ask(const struct ml_query *query)
{
  bool mapped = query->family == 6 && (query->hints & ML_LOOKUP_V4MAPPED);
  bool want4 = query->family != 6 || mapped, want6 = query->family != 4;
  /* Loopback names need no configured address, so that they go on working on a machine without a
   * network. */
  if ((query->hints & ML_LOOKUP_ADDRCONFIG) && !within(query->host, "localhost")) {
    bool have4, have6;
    configured_families(&have4, &have6);
    /* Without any, names of the hosts file are still of use. getaddrinfo(3) thinks so too. */
    bool without_network = query->family == 0 && !have4 && !have6;
    want4 = want4 && (have4 || without_network);
    want6 = want6 && (have6 || without_network);
  }
  if (want4) return want6 ? AF_UNSPEC : AF_INET;
  return want6 ? AF_INET6 : -1;
}

static void take_addrinfo(struct ml_query *query, const struct ares_addrinfo *result)
{
  bool mapping = query->family == 6 && (query->hints & ML_LOOKUP_V4MAPPED);
  for (const struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next) {
    int family = node->ai_family == AF_INET6 ? 6 : 4;
    if (query->family != 0 && family != query->family) continue;
    add_answer(query, node->ai_addr, node->ai_addrlen, node->ai_ttl);
  }
  if (!mapping || (query->count > 0 && !(query->hints & ML_LOOKUP_ALL))) return;
  for (const struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next) {
    if (node->ai_family != AF_INET) continue;
    const struct sockaddr_in *sin = (const struct sockaddr_in *)(const void *)node->ai_addr;
    add_mapped(query, &sin->sin_addr, node->ai_ttl);
  }
}

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
  (void)timeouts;
  struct ml_query *query = arg;
  if (query->phase == QUERY_ABANDONED) {
    query_free(query);
  } else if (status != ARES_SUCCESS) {
    answered(query, status);
  } else {
    size_t n = 1; /* no list is made of nothing */
    for (const struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next)
      n++;
    if (!reserve(query, n)) {
      answered(query, ARES_ENOMEM);
    } else {
      take_addrinfo(query, result);
      answered(query, query->count > 0 ? ARES_SUCCESS : ARES_ENODATA);
    }
  }
  if (result) ares_freeaddrinfo(result);
}

/* c-ares 1.18 sends most spellings of loopback names to a server. */
static bool answer_loopback(struct ml_query *query)
{
  if (!within(query->host, "localhost")) return false;
  struct hosts_address found[HOSTS_MAX];
  if (!reserve(query, HOSTS_MAX)) {
    answered(query, ARES_ENOMEM);
    return true;
  }
  size_t n = hosts_loopback(query->host, query->family, found);
  for (size_t i = 0; i < n; i++) {
    if (found[i].family == AF_INET6) {
      add_v6(query, &found[i].ip.v6, 0);
    } else {
      add_v4(query, &found[i].ip.v4, 0);
    }
  }
  answered(query, ARES_SUCCESS);
  return true;
}

/* A literal is its own answer, whatever family was asked for. */
static bool answer_literal(struct ml_query *query)
{
  if (ml_addr_is_ip(query->host) == 0) return false;
  struct ml_error ignored;
  struct ml_addr addr;
  if (!reserve(query, 1)) {
    answered(query, ARES_ENOMEM);
  } else if (ml_addr_ip(&addr, query->host, 0, "getaddrinfo", &ignored) != 0) {
    answered(query, ARES_ENOTFOUND); /* a scope that names no interface */
  } else {
    add_answer(query, (const struct sockaddr *)&addr.storage, addr.len, 0);
    answered(query, ARES_SUCCESS);
  }
  return true;
}

struct ml_query *ml_resolver_lookup(struct ml_resolver *resolver, const char *host, int family,
                                    unsigned hints, ml_query_done done, void *user)
{
  if (!resolver->queries) dns_channel_refresh(&resolver->channel);
  struct ml_query *query = query_new(resolver, QUERY_LOOKUP, host);
  if (!query) return NULL;
  query->family = family;
  query->hints = hints;
  query->done.answers = done;
  query->user = user;
  if (answer_literal(query) || answer_loopback(query)) return query;
  int ask = family_to_ask(query);
  if (host[0] == '\0' || ask < 0 || within(host, "invalid")) {
    answered(query, ARES_ENOTFOUND);
    return query;
  }
  struct ares_addrinfo_hints how = {.ai_family = ask, .ai_socktype = SOCK_STREAM};
  ares_getaddrinfo(resolver->channel.ares, host, NULL, &how, on_addrinfo, query);
  dns_channel_settle(&resolver->channel);
  return query;
}

/* A and AAAA records */

static int take_a(struct ml_query *query, const unsigned char *packet, int len, size_t room)
{
  struct ares_addrttl *list = calloc(room, sizeof(*list));
  int n = (int)room;
  int status = list ? ares_parse_a_reply(packet, len, NULL, list, &n) : ARES_ENOMEM;
  for (int i = 0; status == ARES_SUCCESS && i < n; i++)
    add_v4(query, &list[i].ipaddr, list[i].ttl);
  free(list);
  return status;
}

static int take_aaaa(struct ml_query *query, const unsigned char *packet, int len, size_t room)
{
  struct ares_addr6ttl *list = calloc(room, sizeof(*list));
  int n = (int)room;
  int status = list ? ares_parse_aaaa_reply(packet, len, NULL, list, &n) : ARES_ENOMEM;
  for (int i = 0; status == ARES_SUCCESS && i < n; i++) {
    struct in6_addr ip;
    memcpy(&ip, &list[i].ip6addr, sizeof(ip));
    add_v6(query, &ip, list[i].ttl);
  }
  free(list);
  return status;
}

static void on_records(void *arg, int status, int timeouts, unsigned char *packet, int len)
{
  (void)timeouts;
  struct ml_query *query = arg;
  if (query->phase == QUERY_ABANDONED) {
    query_free(query);
    return;
  }
  if (status == ARES_SUCCESS) {
    /* A record with a compressed name and an IPv4 address takes 16 bytes (RFC 1035, 4.1.3
     * and 4.1.4). */
    size_t room = len > 0 ? (size_t)len / 16 + 1 : 1;
    if (!reserve(query, room)) {
      status = ARES_ENOMEM;
    } else if (query->kind == QUERY_A) {
      status = take_a(query, packet, len, room);
    } else {
      status = take_aaaa(query, packet, len, room);
    }
    if (status == ARES_SUCCESS && query->count == 0) status = ARES_ENODATA;
    if (status != ARES_SUCCESS) query->count = 0;
  }
  answered(query, status);
}

struct ml_query *ml_resolver_resolve(struct ml_resolver *resolver, const char *name, int family,
                                     ml_query_done done, void *user)
{
  if (!resolver->queries) dns_channel_refresh(&resolver->channel);
  struct ml_query *query = query_new(resolver, family == 6 ? QUERY_AAAA : QUERY_A, name);
  if (!query) return NULL;
  query->done.answers = done;
  query->user = user;
  if (within(name, "invalid")) {
    answered(query, ARES_ENOTFOUND);
    return query;
  }
  ares_query(resolver->channel.ares, name, ns_c_in, family == 6 ? ns_t_aaaa : ns_t_a, on_records,
             query);
  dns_channel_settle(&resolver->channel);
  return query;
}

/* Names of an address */

static bool add_name(struct ml_query *query, const char *name)
{
  char *copy = strdup(name);
  if (copy) query->names[query->count++] = copy;
  return copy != NULL;
}

static int take_names(struct ml_query *query, const struct hostent *host)
{
  size_t n = 1;
  for (char **alias = host->h_aliases; *alias; alias++)
    n++;
  query->names = calloc(n, sizeof(*query->names));
  if (!query->names || (host->h_name && !add_name(query, host->h_name))) return ARES_ENOMEM;
  for (char **alias = host->h_aliases; *alias; alias++) {
    /* c-ares repeats the official name among the aliases when the answer came from the DNS. */
    if (host->h_name && strcmp(*alias, host->h_name) == 0) continue;
    if (!add_name(query, *alias)) return ARES_ENOMEM;
  }
  return query->count ? ARES_SUCCESS : ARES_ENODATA;
}

static void on_host(void *arg, int status, int timeouts, struct hostent *host)
{
  (void)timeouts;
  struct ml_query *query = arg;
  if (query->phase == QUERY_ABANDONED) {
    query_free(query);
    return;
  }
  if (status == ARES_SUCCESS) status = take_names(query, host);
  if (status != ARES_SUCCESS) {
    free_names(query->names, query->count);
    query->names = NULL;
    query->count = 0;
  }
  answered(query, status);
}

struct ml_query *ml_resolver_reverse(struct ml_resolver *resolver, const struct ml_addr *addr,
                                     ml_names_done done, void *user)
{
  if (!resolver->queries) dns_channel_refresh(&resolver->channel);
  char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
  struct ml_query *query = query_new(resolver, QUERY_NAMES, ml_addr_text(addr, text, sizeof(text)));
  if (!query) return NULL;
  query->done.names = done;
  query->user = user;
  const void *storage = &addr->storage;
  if (addr->storage.ss_family == AF_INET6) {
    const struct sockaddr_in6 *sin6 = storage;
    ares_gethostbyaddr(resolver->channel.ares, &sin6->sin6_addr, sizeof(sin6->sin6_addr), AF_INET6,
                       on_host, query);
  } else {
    const struct sockaddr_in *sin = storage;
    ares_gethostbyaddr(resolver->channel.ares, &sin->sin_addr, sizeof(sin->sin_addr), AF_INET,
                       on_host, query);
  }
  dns_channel_settle(&resolver->channel);
  return query;
}

/* Giving up */

void ml_query_cancel(struct ml_query *query)
{
  struct ml_resolver *resolver = query->resolver;
  assert(query->phase != QUERY_ABANDONED);
  resolver->pending--;
  if (query->phase == QUERY_ANSWERED) {
    ml_task_cancel(&query->task);
    query_free(query);
  } else {
    query->phase = QUERY_ABANDONED;
  }
  drop_abandoned(resolver);
}

/* The resolver */

int ml_resolver_new(struct ml_resolver **out, struct ml_loop *loop,
                    const struct ml_resolver_options *options, struct ml_error *err)
{
  struct ml_resolver *resolver = calloc(1, sizeof(*resolver));
  if (!resolver) {
    dns_error(err, ARES_ENOMEM, "ENOMEM", "ares_init", NULL);
    return -1;
  }
  if (dns_channel_open(&resolver->channel, loop, options, err) != 0) {
    free(resolver);
    return -1;
  }
  *out = resolver;
  return 0;
}

void ml_resolver_free(struct ml_resolver *resolver)
{
  if (!resolver) return;
  for (struct ml_query *query = resolver->queries, *next; query; query = next) {
    next = query->next;
    if (query->phase == QUERY_ANSWERED) {
      ml_task_cancel(&query->task);
      query_free(query);
    } else {
      query->phase = QUERY_ABANDONED;
    }
  }
  dns_channel_close(&resolver->channel);
  assert(!resolver->queries && !resolver->channel.watches);
  free(resolver);
}

size_t ml_resolver_pending(const struct ml_resolver *resolver)
{
  return resolver->pending;
}

char *ml_resolver_servers(const struct ml_resolver *resolver)
{
  return dns_channel_servers(&resolver->channel);
}

int ml_resolver_set_servers(struct ml_resolver *resolver, const struct ml_addr *servers, size_t n,
                            struct ml_error *err)
{
  if (resolver->pending == 0) return dns_channel_set_servers(&resolver->channel, servers, n, err);
  ml_error_misuse(err, "ESETSRVPENDING", "There are pending queries.");
  return -1;
}

const char *ml_resolver_version(void)
{
  return ares_version(NULL);
}

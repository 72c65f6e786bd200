/* Loopback names, which must work on a machine without any server (RFC 6761, 6.3). Internal to
 * resolver.c. */
#ifndef ML_HOSTS_H
#define ML_HOSTS_H

#include <netinet/in.h>
#include <stddef.h>

/* As many addresses as one name gets. */
enum { HOSTS_MAX = 16 };

/* An address of either family. */
struct hosts_address {
  int family; /* AF_INET or AF_INET6 */
  union {
    struct in_addr v4;
    struct in6_addr v6;
  } ip;
};

/* The addresses of the loopback name `name` (localhost, or a name below it; a dot at the end is no
 * difference): what /etc/hosts has for it, else 127.0.0.1 and, on a machine that has it, ::1.
 * `family` is 4, 6 or 0 for both. IPv6 comes first, as RFC 6724 orders them. Reads files only.
 * Returns how many were written to `out`, at least 1. */
size_t hosts_loopback(const char *name, int family, struct hosts_address out[HOSTS_MAX]);

#endif

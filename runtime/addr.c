#include "addr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* An address with its scope ("fe80::1%eth0") is at most this long, NUL included. */
enum { IP_TEXT_SIZE = INET6_ADDRSTRLEN + 1 + IF_NAMESIZE };

/* Splits "address%zone" into `address` and returns the zone, or NULL when there is none. -1 in *ok
 * for text that is too long to be an address. */
static const char *split_zone(const char *text, char address[static INET6_ADDRSTRLEN], bool *ok)
{
  size_t len = strcspn(text, "%");
  *ok = len < INET6_ADDRSTRLEN;
  if (!*ok) return NULL;
  memcpy(address, text, len);
  address[len] = '\0';
  return text[len] == '%' ? text + len + 1 : NULL;
}

/* A zone is an interface's name or number (RFC 4007, 11.2). 0 when there is no such interface. */
static uint32_t zone_index(const char *zone)
{
  unsigned index = if_nametoindex(zone);
  if (index != 0) return index;
  char *end;
  unsigned long number = strtoul(zone, &end, 10);
  return isdigit((unsigned char)zone[0]) && *end == '\0' && number <= UINT32_MAX ? (uint32_t)number
                                                                                 : 0;
}

static bool parse_ip6(struct sockaddr_in6 *out, const char *text)
{
  char address[INET6_ADDRSTRLEN];
  bool ok;
  const char *zone = split_zone(text, address, &ok);
  if (!ok || inet_pton(AF_INET6, address, &out->sin6_addr) != 1) return false;
  if (zone == NULL) return true;
  out->sin6_scope_id = zone_index(zone);
  return out->sin6_scope_id != 0;
}

int ml_addr_ip(struct ml_addr *out, const char *address, int port, const char *call,
               struct ml_error *err)
{
  struct sockaddr_in ip4 = {.sin_family = AF_INET};
  struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6};
  if (port < 0 || port > 65535) {
    ml_error_system_at(err, EINVAL, call, address, port);
    return -1;
  }
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, address, &ip4.sin_addr) == 1) {
    ip4.sin_port = htons((uint16_t)port);
    memcpy(&out->storage, &ip4, sizeof ip4);
    out->len = sizeof ip4;
    return 0;
  }
  if (parse_ip6(&ip6, address)) {
    ip6.sin6_port = htons((uint16_t)port);
    memcpy(&out->storage, &ip6, sizeof ip6);
    out->len = sizeof ip6;
    return 0;
  }
  ml_error_system_at(err, EINVAL, call, address, port);
  return -1;
}

int ml_addr_unix(struct ml_addr *out, const char *path, size_t len, const char *call,
                 struct ml_error *err)
{
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  bool abstract = len > 0 && path[0] == '\0';
  char text[sizeof un.sun_path + 1];
  snprintf(text, sizeof text, "%.*s", (int)(len < sizeof text ? len : sizeof text - 1), path);

  /* A path keeps room for its NUL; an abstract name has none (unix(7)). */
  if (len > sizeof un.sun_path - (abstract ? 0 : 1)) {
    ml_error_system_at(err, ENAMETOOLONG, call, text, 0);
    return -1;
  }
  if (len == 0 || (!abstract && memchr(path, '\0', len) != NULL)) {
    ml_error_system_at(err, EINVAL, call, text, 0);
    return -1;
  }
  memset(out, 0, sizeof *out);
  memcpy(un.sun_path, path, len);
  memcpy(&out->storage, &un, sizeof un);
  out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (abstract ? 0 : 1));
  return 0;
}

const char *ml_addr_path(const struct ml_addr *addr, size_t *len)
{
  *len = 0;
  if (addr->storage.ss_family != AF_UNIX) return "";
  const struct sockaddr_un *un = (const void *)&addr->storage;
  size_t head = offsetof(struct sockaddr_un, sun_path);
  if (addr->len <= head) return "";
  *len = addr->len - head;
  if (un->sun_path[0] != '\0') *len = strnlen(un->sun_path, *len);
  return un->sun_path;
}

static void ip6_text(const struct sockaddr_in6 *ip6, char *buffer, size_t size)
{
  char text[IP_TEXT_SIZE];
  char name[IF_NAMESIZE];
  if (inet_ntop(AF_INET6, &ip6->sin6_addr, text, INET6_ADDRSTRLEN) == NULL) text[0] = '\0';
  /* Only a link-local address means nothing without its interface. */
  if (!IN6_IS_ADDR_LINKLOCAL(&ip6->sin6_addr) || ip6->sin6_scope_id == 0) {
    snprintf(buffer, size, "%s", text);
  } else if (if_indextoname(ip6->sin6_scope_id, name) != NULL) {
    snprintf(buffer, size, "%s%%%s", text, name);
  } else {
    snprintf(buffer, size, "%s%%%u", text, ip6->sin6_scope_id);
  }
}

const char *ml_addr_text(const struct ml_addr *addr, char *buffer, size_t size)
{
  if (size == 0) return buffer;
  buffer[0] = '\0';
  if (addr->storage.ss_family == AF_INET) {
    const struct sockaddr_in *ip4 = (const void *)&addr->storage;
    char text[INET_ADDRSTRLEN];
    if (inet_ntop(AF_INET, &ip4->sin_addr, text, sizeof text) != NULL)
      snprintf(buffer, size, "%s", text);
  } else if (addr->storage.ss_family == AF_INET6) {
    ip6_text((const void *)&addr->storage, buffer, size);
  } else if (addr->storage.ss_family == AF_UNIX) {
    size_t len;
    const char *path = ml_addr_path(addr, &len);
    bool abstract = len > 0 && path[0] == '\0';
    snprintf(buffer, size, "%s%.*s", abstract ? "@" : "", (int)(abstract ? len - 1 : len),
             path + abstract);
  }
  return buffer;
}

int ml_addr_port(const struct ml_addr *addr)
{
  if (addr->storage.ss_family == AF_INET)
    return ntohs(((const struct sockaddr_in *)&addr->storage)->sin_port);
  if (addr->storage.ss_family == AF_INET6)
    return ntohs(((const struct sockaddr_in6 *)&addr->storage)->sin6_port);
  return 0;
}

const char *ml_addr_family(const struct ml_addr *addr)
{
  switch (addr->len > 0 ? addr->storage.ss_family : AF_UNSPEC) {
  case AF_INET:
    return "IPv4";
  case AF_INET6:
    return "IPv6";
  case AF_UNIX:
    return "unix";
  default:
    return "";
  }
}

int ml_addr_is_ip(const char *text)
{
  struct in_addr ip4;
  struct in6_addr ip6;
  char address[INET6_ADDRSTRLEN];
  bool ok;
  if (inet_pton(AF_INET, text, &ip4) == 1) return 4;
  const char *zone = split_zone(text, address, &ok);
  if (!ok || inet_pton(AF_INET6, address, &ip6) != 1) return 0;
  if (zone == NULL) return 6;
  /* The interface need not exist here: this judges the spelling only. */
  size_t len = strspn(zone, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-.:_");
  return len > 0 && zone[len] == '\0' ? 6 : 0;
}

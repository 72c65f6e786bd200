#include "hosts.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOSTS_FILE "/etc/hosts"
#define BLANK " \t\r\n"

static bool parse_ip(struct hosts_address *out, const char *text)
{
  out->family = AF_INET;
  if (inet_pton(AF_INET, text, &out->ip) == 1) return true;
  out->family = AF_INET6;
  return inet_pton(AF_INET6, text, &out->ip) == 1;
}

/* Whether a line of hosts(5) names `name`, `len` bytes long; then its address is in *out. Cuts the
 * line up. */
static bool line_names(char *line, const char *name, size_t len, struct hosts_address *out)
{
  char *rest = NULL;
  line[strcspn(line, "#")] = '\0';
  const char *word = strtok_r(line, BLANK, &rest);
  if (!word || !parse_ip(out, word)) return false;
  while ((word = strtok_r(NULL, BLANK, &rest)) != NULL) {
    if (strlen(word) == len && strncasecmp(word, name, len) == 0) return true;
  }
  return false;
}

static size_t read_hosts(const char *name, struct hosts_address out[HOSTS_MAX])
{
  size_t len = strlen(name), n = 0, room = 0;
  if (len > 0 && name[len - 1] == '.') len--;
  FILE *file = fopen(HOSTS_FILE, "re");
  if (!file) return 0;
  char *line = NULL;
  while (n < HOSTS_MAX && getline(&line, &room, file) >= 0) {
    if (line_names(line, name, len, &out[n])) n++;
  }
  free(line);
  fclose(file);
  return n;
}

static bool has_v6_loopback(void)
{
  bool found = false;
  struct ifaddrs *list;
  if (getifaddrs(&list) != 0) return false;
  for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
    if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET6) continue;
    const struct sockaddr_in6 *sin6 = (const void *)i->ifa_addr;
    found = IN6_IS_ADDR_LOOPBACK(&sin6->sin6_addr);
  }
  freeifaddrs(list);
  return found;
}

size_t hosts_loopback(const char *name, int family, struct hosts_address out[HOSTS_MAX])
{
  struct hosts_address found[HOSTS_MAX];
  size_t total = read_hosts(name, found), n = 0;
  for (size_t i = 0; i < total && family != 4; i++) {
    if (found[i].family == AF_INET6) out[n++] = found[i];
  }
  for (size_t i = 0; i < total && family != 6; i++) {
    if (found[i].family == AF_INET) out[n++] = found[i];
  }
  if (n > 0) return n;

  if (family == 6 || (family == 0 && has_v6_loopback())) {
    out[n].family = AF_INET6;
    out[n++].ip.v6 = in6addr_loopback;
  }
  if (family != 6) {
    out[n].family = AF_INET;
    out[n++].ip.v4.s_addr = htonl(INADDR_LOOPBACK);
  }
  return n;
}

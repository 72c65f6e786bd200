/* A DNS server on a loopback UDP port, in the loop of the test that uses it. It does not keep the
 * loop alive.
 *
 * What it knows is a fixed zone, see fake_zone; a name that is not there does not exist. It answers
 * SERVFAIL for fail.test, REFUSED for refused.test, a packet cut in the middle for garbage.test and
 * nothing at all for silent.test.
 */
#ifndef FAKE_DNS_H
#define FAKE_DNS_H

#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addr.h"
#include "loop.h"

struct fake_record {
  const char *name;
  int type; /* 1 for A, 28 for AAAA, 12 for PTR */
  uint32_t ttl;
  const char *text;
};

static const struct fake_record fake_zone[] = {
    {"both.test", 1, 60, "127.0.0.2"}, {"both.test", 28, 61, "::1"},
    {"four.test", 1, 62, "127.0.0.3"}, {"four.test", 1, 63, "127.0.0.4"},
    {"six.test", 28, 64, "::1"},       {"9.0.0.127.in-addr.arpa", 12, 65, "nine.test"},
};

struct fake_dns {
  ev_io io;
  int port;
  unsigned questions; /* how many it was asked */
};

static size_t fake_put_name(uint8_t *out, const char *name)
{
  size_t n = 0;
  while (*name) {
    size_t label = strcspn(name, ".");
    out[n++] = (uint8_t)label;
    memcpy(out + n, name, label);
    n += label;
    name += label + (name[label] == '.');
  }
  out[n++] = 0;
  return n;
}

/* The question's name with dots; returns where the name ends in the packet. */
static size_t fake_get_name(const uint8_t *packet, size_t at, char *name, size_t size)
{
  size_t n = 0;
  while (packet[at] != 0) {
    size_t label = packet[at++];
    if (n > 0) name[n++] = '.';
    if (n + label >= size) abort();
    memcpy(name + n, packet + at, label);
    n += label;
    at += label;
  }
  name[n] = '\0';
  return at + 1;
}

static size_t fake_put_record(uint8_t *out, const struct fake_record *record)
{
  uint8_t data[256];
  size_t len = 0;
  if (record->type == 12) {
    len = fake_put_name(data, record->text);
  } else {
    len = record->type == 1 ? 4 : 16;
    inet_pton(record->type == 1 ? AF_INET : AF_INET6, record->text, data);
  }
  const uint8_t head[] = {0xc0,
                          12, /* the name: see the question */
                          0,
                          (uint8_t)record->type,
                          0,
                          1,
                          (uint8_t)(record->ttl >> 24),
                          (uint8_t)(record->ttl >> 16),
                          (uint8_t)(record->ttl >> 8),
                          (uint8_t)record->ttl,
                          (uint8_t)(len >> 8),
                          (uint8_t)len};
  memcpy(out, head, sizeof(head));
  memcpy(out + sizeof(head), data, len);
  return sizeof(head) + len;
}

static void fake_answer(struct ev_loop *ev, ev_io *io, int events)
{
  (void)ev;
  (void)events;
  struct fake_dns *fake = io->data;
  uint8_t packet[1024];
  char name[256];
  struct sockaddr_storage from;
  socklen_t from_len = sizeof(from);
  ssize_t got = recvfrom(io->fd, packet, 512, 0, (struct sockaddr *)&from, &from_len);
  if (got < 12) return;
  fake->questions++;
  size_t at = fake_get_name(packet, 12, name, sizeof(name));
  int type = packet[at + 1];
  at += 4;
  int rcode = 3, answers = 0; /* NXDOMAIN */
  for (size_t i = 0; i < sizeof(fake_zone) / sizeof(*fake_zone); i++) {
    if (strcasecmp(fake_zone[i].name, name) != 0) continue;
    rcode = 0;
    if (fake_zone[i].type != type) continue;
    at += fake_put_record(packet + at, &fake_zone[i]);
    answers++;
  }
  if (strcmp(name, "silent.test") == 0) return;
  if (strcmp(name, "fail.test") == 0) rcode = 2;
  if (strcmp(name, "refused.test") == 0) rcode = 5;
  if (strcmp(name, "garbage.test") == 0) {
    rcode = 0;
    answers = 7;
  }
  packet[2] = 0x81; /* a response, recursion desired */
  packet[3] = (uint8_t)(0x80 | rcode);
  packet[7] = (uint8_t)answers;
  memset(packet + 8, 0, 4); /* no authority, no additional records */
  sendto(io->fd, packet, at, 0, (struct sockaddr *)&from, from_len);
}

static void fake_dns_start(struct fake_dns *fake, struct ml_loop *loop)
{
  memset(fake, 0, sizeof(*fake));
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(sin);
  if (fd < 0 || bind(fd, (struct sockaddr *)&sin, len) != 0 ||
      getsockname(fd, (struct sockaddr *)&sin, &len) != 0) {
    perror("fake DNS server");
    abort();
  }
  fake->port = ntohs(sin.sin_port);
  ev_io_init(&fake->io, fake_answer, fd, EV_READ);
  fake->io.data = fake;
  ml_loop_io_start(loop, &fake->io, false);
}

static void fake_dns_stop(struct fake_dns *fake, struct ml_loop *loop)
{
  ml_loop_io_stop(loop, &fake->io, false);
  close(fake->io.fd);
}

#endif

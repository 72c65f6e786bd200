/* bench-backend: what a TLS-terminating proxy has behind it, in plain TCP and with little work.
 *
 * PORT answers every HTTP request as ceiling.c does, GET /bulk with BULK_MIB of zeros; PORT+2
 * echoes. A client has one request, or one message, under way at a time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, CHUNK = 1 << 18 };

static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nHello, world!\n";

struct peer {
  int fd;
  bool listens, echoes;
  uint64_t bulk_left;
  size_t held, sent;     /* bytes in `buffer`, and how many of them are sent */
  uint8_t buffer[CHUNK]; /* what is being sent, zeros of a bulk response aside */
};

static int epoll = -1;
static uint64_t bulk_size;
static const uint8_t zeros[CHUNK];

static void die(const char *what)
{
  fprintf(stderr, "bench-backend: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void watch(int op, struct peer *peer, uint32_t events)
{
  struct epoll_event event = {.events = events, .data.ptr = peer};
  if (epoll_ctl(epoll, op, peer->fd, &event)) die("epoll_ctl");
}

static struct peer *new_peer(int fd, bool listens, bool echoes)
{
  struct peer *peer = calloc(1, sizeof *peer);
  if (!peer) die("new peer");
  peer->fd = fd;
  peer->listens = listens;
  peer->echoes = echoes;
  watch(EPOLL_CTL_ADD, peer, EPOLLIN);
  return peer;
}

static void listen_on(int port, bool echoes)
{
  const int one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096))
    die("listen");
  new_peer(fd, true, echoes);
}

static void accept_one(const struct peer *listener)
{
  const int one = 1;
  int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  new_peer(fd, false, listener->echoes);
}

/* Sends what is there to send; false when the socket takes no more for now, or never again. */
static bool flush(struct peer *peer)
{
  while (peer->sent < peer->held || peer->bulk_left) {
    bool held = peer->sent < peer->held;
    size_t left = held ? peer->held - peer->sent : peer->bulk_left;
    ssize_t n = send(peer->fd, held ? peer->buffer + peer->sent : zeros,
                     left < CHUNK ? left : CHUNK, MSG_NOSIGNAL);
    if (n < 0) return false;
    if (held)
      peer->sent += (size_t)n;
    else
      peer->bulk_left -= (uint64_t)n;
  }
  return true;
}

/* Takes what came and puts the answer in its place. False at the end of the connection. */
static bool take(struct peer *peer)
{
  ssize_t n = recv(peer->fd, peer->buffer, sizeof peer->buffer, 0);
  if (n < 0) return errno == EAGAIN;
  if (n == 0) return false;
  peer->sent = 0;
  peer->held = (size_t)n;
  if (peer->echoes) return true;
  bool bulk = n > 6 && memcmp(peer->buffer, "GET /b", 6) == 0;
  peer->bulk_left = bulk ? bulk_size : 0;
  int length = snprintf((char *)peer->buffer, sizeof peer->buffer, "%s", reply);
  if (bulk)
    length =
        snprintf((char *)peer->buffer, sizeof peer->buffer,
                 "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)bulk_size);
  peer->held = (size_t)length;
  return true;
}

/* Reads only when everything has been sent, so that a proxy feels its client's slowness. */
static void drive(struct peer *peer)
{
  if (flush(peer) && !take(peer)) {
    close(peer->fd);
    free(peer);
    return;
  }
  watch(EPOLL_CTL_MOD, peer, flush(peer) ? EPOLLIN : EPOLLOUT);
}

int main(int argc, char **argv)
{
  if (argc != 3) {
    fputs("usage: bench-backend PORT BULK_MIB\n", stderr);
    return 2;
  }
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) die("epoll_create1");
  bulk_size = strtoull(argv[2], NULL, 10) << 20;
  listen_on(atoi(argv[1]), false);
  listen_on(atoi(argv[1]) + 2, true);
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      struct peer *peer = events[i].data.ptr;
      if (peer->listens)
        accept_one(peer);
      else
        drive(peer);
    }
  }
}

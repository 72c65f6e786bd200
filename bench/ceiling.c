/* bench-ceiling: what a C programmer gets from epoll and OpenSSL in one thread, with nothing in
 * between.
 *
 * Four listeners on loopback, PORT (ECDSA certificate), PORT+1 (RSA), PORT+2 (echo, ECDSA) and
 * PORT+3 (a chain of two, where the others have callbacks). All but the echo answer every HTTP
 * request with a fixed response, and GET /bulk with BULK_MIB of zeros.
 * What bench/servers/ do in Lua and JavaScript and by nginx's configuration is the same work.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  EVENTS = 256,
  ACCEPTS_PER_TURN = 64,
  READS_PER_TURN = 16,
  CHUNK = 65536,
  BULK_CHUNK = 1 << 20
};

static const char reply[] = "HTTP/1.1 200 OK\r\n"
                            "Content-Type: text/plain\r\n"
                            "Content-Length: 14\r\n"
                            "Connection: keep-alive\r\n"
                            "\r\n"
                            "Hello, world!\n";

/* First in both structs that epoll may point at. */
enum kind { KIND_LISTENER, KIND_CONN };

struct listener {
  enum kind kind;
  int fd;
  bool echo;
  SSL_CTX *tls;
};

struct conn {
  enum kind kind;
  int fd;
  SSL *ssl;
  bool echo, open; /* open: the handshake is over */
  uint8_t matched; /* bytes of "\r\n\r\n" seen at the end of what came */
  uint8_t head_len;
  char head[6]; /* start of the request under way: tells "GET /b" from the rest */
  uint32_t interest;
  const uint8_t *out; /* what a blocked write has left; ours to free when `copy` is set */
  size_t out_len;
  uint8_t *copy;
  uint64_t bulk_left;
};

static int epoll = -1;
static char bulk_header[128];
static uint64_t bulk_size;
static uint8_t chunk[CHUNK];
static uint8_t zeros[BULK_CHUNK];

static void die(const char *what)
{
  fprintf(stderr, "bench-ceiling: %s: %s\n", what, errno ? strerror(errno) : "failed");
  ERR_print_errors_fp(stderr);
  exit(1);
}

static void watch(int fd, uint32_t *old, uint32_t interest, void *data)
{
  if (*old == interest) return;
  struct epoll_event event = {.events = interest, .data.ptr = data};
  if (epoll_ctl(epoll, *old ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
  *old = interest;
}

static void conn_close(struct conn *conn)
{
  if (conn->open) {
    ERR_clear_error();
    SSL_shutdown(conn->ssl);
  }
  SSL_free(conn->ssl);
  close(conn->fd);
  free(conn->copy);
  free(conn);
}

enum outcome { GO_ON, WAIT, CLOSE };

/* What a call that returned `result` leaves to do. */
static enum outcome blocked(struct conn *conn, int result)
{
  switch (SSL_get_error(conn->ssl, result)) {
  case SSL_ERROR_WANT_READ:
    watch(conn->fd, &conn->interest, EPOLLIN, conn);
    return WAIT;
  case SSL_ERROR_WANT_WRITE:
    watch(conn->fd, &conn->interest, EPOLLOUT, conn);
    return WAIT;
  case SSL_ERROR_ZERO_RETURN:
    return CLOSE;
  default:
    conn->open = false; /* broken: no close_notify */
    return CLOSE;
  }
}

/* Writes until everything is taken or the socket is full. */
static enum outcome flush(struct conn *conn)
{
  while (conn->out_len || conn->bulk_left) {
    if (!conn->out_len) {
      conn->out = zeros;
      conn->out_len = conn->bulk_left < BULK_CHUNK ? conn->bulk_left : BULK_CHUNK;
      conn->bulk_left -= conn->out_len;
    }
    ERR_clear_error();
    int n = SSL_write(conn->ssl, conn->out, (int)conn->out_len);
    if (n <= 0) return blocked(conn, n);
    conn->out += n;
    conn->out_len -= (size_t)n;
  }
  free(conn->copy);
  conn->copy = NULL;
  watch(conn->fd, &conn->interest, EPOLLIN, conn);
  return GO_ON;
}

static enum outcome send_bytes(struct conn *conn, const void *data, size_t len)
{
  conn->out = data;
  conn->out_len = len;
  return flush(conn);
}

/* Echoes what is in `chunk`; what the socket does not take moves to a copy of its own. */
static enum outcome echo(struct conn *conn, size_t len)
{
  enum outcome outcome = send_bytes(conn, chunk, len);
  if (outcome != WAIT) return outcome;
  conn->copy = malloc(conn->out_len);
  if (!conn->copy) die("malloc");
  memcpy(conn->copy, conn->out, conn->out_len);
  conn->out = conn->copy;
  return WAIT;
}

/* Answers every request that ends within these bytes. */
static enum outcome answer(struct conn *conn, const uint8_t *data, size_t len)
{
  static const char blank[] = "\r\n\r\n";
  for (size_t i = 0; i < len; i++) {
    if (conn->head_len < sizeof conn->head) conn->head[conn->head_len++] = (char)data[i];
    conn->matched = data[i] == blank[conn->matched] ? conn->matched + 1 : data[i] == '\r';
    if (conn->matched < 4) continue;
    bool bulk = memcmp(conn->head, "GET /b", 6) == 0;
    conn->matched = conn->head_len = 0;
    if (bulk) conn->bulk_left = bulk_size;
    enum outcome outcome = bulk ? send_bytes(conn, bulk_header, strlen(bulk_header))
                                : send_bytes(conn, reply, sizeof reply - 1);
    /* A client here sends its next request when it has the answer to the last, so nothing is lost
     * by returning. */
    if (outcome != GO_ON) return outcome;
  }
  return GO_ON;
}

static enum outcome read_some(struct conn *conn)
{
  for (int turn = 0; turn < READS_PER_TURN || SSL_has_pending(conn->ssl); turn++) {
    ERR_clear_error();
    int n = SSL_read(conn->ssl, chunk, sizeof chunk);
    if (n <= 0) return blocked(conn, n);
    enum outcome outcome = conn->echo ? echo(conn, (size_t)n) : answer(conn, chunk, (size_t)n);
    if (outcome != GO_ON) return outcome;
  }
  return WAIT;
}

static enum outcome handshake(struct conn *conn)
{
  ERR_clear_error();
  int n = SSL_accept(conn->ssl);
  if (n != 1) return blocked(conn, n);
  conn->open = true;
  return GO_ON;
}

static void drive(struct conn *conn)
{
  enum outcome outcome = conn->open ? GO_ON : handshake(conn);
  if (outcome == GO_ON && (conn->out_len || conn->bulk_left)) outcome = flush(conn);
  if (outcome == GO_ON) outcome = read_some(conn);
  if (outcome == CLOSE) conn_close(conn);
}

static void accept_some(const struct listener *listener)
{
  const int one = 1;
  for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn || !(conn->ssl = SSL_new(listener->tls)) || !SSL_set_fd(conn->ssl, fd))
      die("new connection");
    conn->kind = KIND_CONN;
    conn->fd = fd;
    conn->echo = listener->echo;
    SSL_set_accept_state(conn->ssl);
    watch(fd, &conn->interest, EPOLLIN, conn);
    drive(conn);
  }
}

static SSL_CTX *context(const char *dir, const char *type)
{
  char cert[4096], key[4096];
  snprintf(cert, sizeof cert, "%s/%s.crt", dir, type);
  snprintf(key, sizeof key, "%s/%s.key", dir, type);
  SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
  if (!tls || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
      SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_set1_groups_list(tls, "X25519") != 1)
    die(cert);
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF); /* tickets carry the sessions */
  SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(tls, 1);
  return tls;
}

static void listen_on(struct listener *listener, SSL_CTX *tls, int port, bool is_echo)
{
  const int one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  *listener = (struct listener){.kind = KIND_LISTENER, .echo = is_echo, .tls = tls};
  listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, sizeof address) ||
      listen(listener->fd, 4096))
    die("listen");
  uint32_t none = 0;
  watch(listener->fd, &none, EPOLLIN, listener);
}

static void serve(void)
{
  struct epoll_event events[EVENTS];
  for (;;) {
    int n = epoll_wait(epoll, events, EVENTS, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      void *thing = events[i].data.ptr;
      if (*(enum kind *)thing == KIND_LISTENER)
        accept_some(thing);
      else
        drive(thing);
    }
  }
}

int main(int argc, char **argv)
{
  if (argc != 4) {
    fputs("usage: bench-ceiling PORT CERTIFICATE_DIR BULK_MIB\n", stderr);
    return 2;
  }
  struct listener listeners[4];
  int port = atoi(argv[1]);
  bulk_size = strtoull(argv[3], NULL, 10) << 20;
  snprintf(bulk_header, sizeof bulk_header, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
           (unsigned long long)bulk_size);
  signal(SIGPIPE, SIG_IGN);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) die("epoll_create1");
  SSL_CTX *ecdsa = context(argv[2], "ecdsa");
  listen_on(&listeners[0], ecdsa, port, false);
  listen_on(&listeners[1], context(argv[2], "rsa"), port + 1, false);
  listen_on(&listeners[2], ecdsa, port + 2, true);
  listen_on(&listeners[3], context(argv[2], "chain"), port + 3, false);
  serve();
}

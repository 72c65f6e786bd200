#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "provider.h"

enum {
  READ_CHUNK = 65536,
  READS_PER_TURN = 32,   /* SSL_reads before another connection gets its turn */
  OPENING_AT_ONCE = 64,  /* well under every server's listen backlog */
  ERRORS_ALLOWED = 1000, /* a run with more says nothing about speed */
  MIB = 1 << 20,
};

/* Read by all connections in turn; nothing is kept in it. */
static uint8_t scratch[READ_CHUNK];

/* Where an SSL keeps its struct conn. */
static int conn_index = -1;

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
  struct conn *conn = SSL_get_ex_data(ssl, conn_index);
  if (conn->session) return 0;
  conn->session = session;
  return 1;
}

/* The chain is not verified: that would be the client's work only, and the certificate is
 * self-signed. Leaving it to SSL_VERIFY_NONE would build and check the chain all the same. The
 * handshake's own signature is checked. */
static int accept_chain(X509_STORE_CTX *store, void *arg)
{
  (void)store;
  (void)arg;
  return 1;
}

static SSL_CTX *new_context(OSSL_LIB_CTX *library, const struct options *o)
{
  SSL_CTX *tls = SSL_CTX_new_ex(library, NULL, TLS_client_method());
  /* One cipher, one key share and one signature algorithm, so that every server does the same
   * arithmetic. P-256 stands second because TLS 1.2 wants the curve of an ECDSA certificate listed
   * (RFC 8422, 5.1.1); X25519 is the key share (checked below). */
  if (!tls || SSL_CTX_set_min_proto_version(tls, o->version) != 1 ||
      SSL_CTX_set_max_proto_version(tls, o->version) != 1 ||
      SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256") != 1 ||
      SSL_CTX_set_cipher_list(tls, o->rsa ? "ECDHE-RSA-AES128-GCM-SHA256"
                                          : "ECDHE-ECDSA-AES128-GCM-SHA256") != 1 ||
      SSL_CTX_set1_groups_list(tls, "X25519:P-256") != 1 ||
      SSL_CTX_set1_sigalgs_list(tls, o->rsa ? "RSA-PSS+SHA256" : "ECDSA+SHA256") != 1)
    die("OpenSSL refuses the client's settings: %s",
        ERR_reason_error_string(ERR_peek_last_error()));
  SSL_CTX_set_cert_verify_callback(tls, accept_chain, NULL);
  SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(tls, 1);
  if (o->mode == MODE_IDLE) SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
  if (o->no_ticket) SSL_CTX_set_options(tls, SSL_OP_NO_TICKET);
  if (o->status && SSL_CTX_set_tlsext_status_type(tls, TLSEXT_STATUSTYPE_ocsp) != 1)
    die("OpenSSL refuses to ask for an OCSP response");
  return tls;
}

void conn_contexts(struct load *load)
{
  conn_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
  OSSL_LIB_CTX *library = provider_context();
  if (!library)
    die("OpenSSL refuses a provider: %s", ERR_reason_error_string(ERR_peek_last_error()));
  load->tls = new_context(library, &load->options);
  if (load->options.mode != MODE_RESUMED) return;
  load->first_tls = new_context(library, &load->options);
  SSL_CTX_set_session_cache_mode(load->first_tls,
                                 SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(load->first_tls, on_new_session);
}

static void want(struct load *load, struct conn *conn, uint32_t interest)
{
  if (conn->interest == interest) return;
  struct epoll_event event = {.events = interest, .data.ptr = conn};
  int op = conn->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(load->epoll, op, conn->fd, &event)) die("epoll_ctl: %s", strerror(errno));
  conn->interest = interest;
}

static void conn_shut(struct load *load, struct conn *conn)
{
  if (conn->phase == PHASE_CONNECTING || conn->phase == PHASE_HANDSHAKE)
    load->opening--;
  else if (conn->phase == PHASE_READY || conn->phase == PHASE_EXCHANGE)
    load->ready--;
  conn->phase = PHASE_CLOSED;
  SSL_free(conn->ssl);
  close(conn->fd);
  conn->ssl = NULL;
  conn->fd = -1;
  conn->interest = 0;
}

static void conn_open(struct load *load, struct conn *conn);

/* Gives the connection up, notes why, and opens another in its place. */
static void fail(struct load *load, struct conn *conn, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(struct load *load, struct conn *conn, const char *format, ...)
{
  if (!load->errors++) {
    va_list args;
    va_start(args, format);
    vsnprintf(load->first_error, sizeof load->first_error, format, args);
    va_end(args);
  }
  conn_shut(load, conn);
  if (load->errors > ERRORS_ALLOWED || load->stage == STAGE_SETUP)
    die("%s (%llu connections failed)", load->first_error, (unsigned long long)load->errors);
  conn_open(load, conn);
}

static void fail_tls(struct load *load, struct conn *conn, const char *doing, int result)
{
  int error = SSL_get_error(conn->ssl, result);
  unsigned long code = ERR_peek_last_error();
  if (error == SSL_ERROR_ZERO_RETURN)
    fail(load, conn, "%s: the server closed the connection", doing);
  else if (error == SSL_ERROR_SSL)
    fail(load, conn, "%s: %s", doing, ERR_reason_error_string(code));
  else
    fail(load, conn, "%s: %s", doing, errno ? strerror(errno) : "the server went away");
}

/* An SSL call did not finish: waits for what it needs. False when it failed for good. */
static bool blocked(struct load *load, struct conn *conn, int result)
{
  switch (SSL_get_error(conn->ssl, result)) {
  case SSL_ERROR_WANT_READ:
    want(load, conn, EPOLLIN);
    return true;
  case SSL_ERROR_WANT_WRITE:
    want(load, conn, EPOLLIN | EPOLLOUT);
    return true;
  default:
    return false;
  }
}

static void prepare_tls(struct load *load, struct conn *conn)
{
  conn->offered = conn->session != NULL;
  bool first = load->options.mode == MODE_RESUMED && !conn->offered;
  conn->ssl = SSL_new(first ? load->first_tls : load->tls);
  if (!conn->ssl || !SSL_set_fd(conn->ssl, conn->fd)) die("out of memory");
  if (load->options.servername && !SSL_set_tlsext_host_name(conn->ssl, load->options.servername))
    die("OpenSSL refuses the name");
  SSL_set_ex_data(conn->ssl, conn_index, conn);
  if (conn->offered && !SSL_set_session(conn->ssl, conn->session)) die("OpenSSL refuses a session");
  SSL_set_connect_state(conn->ssl);
}

static void conn_open(struct load *load, struct conn *conn)
{
  const int one = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);

  /* One address has 28,000 ports, and each rests in TIME_WAIT after use: several addresses keep a
   * fast server from running out of peers. The port is chosen at connect, per pair of addresses
   * (ip(7)). */
  uint32_t source = INADDR_LOOPBACK + 1 + load->next_source++ % ADDRESSES;
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&local, sizeof local)) die("bind: %s", strerror(errno));

  conn->fd = fd;
  conn->started = now_ns();
  conn->phase = PHASE_CONNECTING;
  load->opening++;
  prepare_tls(load, conn);
  const struct sockaddr_in *server = &load->options.server;
  if (connect(fd, (const struct sockaddr *)server, sizeof *server) && errno != EINPROGRESS)
    die("connect: %s", strerror(errno));
  want(load, conn, EPOLLOUT);
}

void conn_open_more(struct load *load)
{
  while (load->next_conn < load->options.conns && load->opening < OPENING_AT_ONCE)
    conn_open(load, &load->conns[load->next_conn++]);
}

/* Sends close_notify and FIN together with the client's last flight and waits for the server's FIN:
 * the operation ends only when the server has finished the handshake too, and the client's port is
 * not lost to a reset. */
static void finish_handshake_op(struct load *load, struct conn *conn)
{
  load->opening--;
  conn->phase = PHASE_CLOSING;
  ERR_clear_error();
  if (SSL_shutdown(conn->ssl) < 0) {
    fail_tls(load, conn, "close_notify", -1);
    return;
  }
  shutdown(conn->fd, SHUT_WR);
  want(load, conn, EPOLLIN);
}

static void check_negotiated(const struct load *load, const struct conn *conn)
{
  const SSL_CIPHER *cipher = SSL_get_current_cipher(conn->ssl);
  if (SSL_version(conn->ssl) != load->options.version ||
      SSL_CIPHER_get_cipher_nid(cipher) != NID_aes_128_gcm)
    die("the server negotiated %s with %s", SSL_get_version(conn->ssl),
        SSL_CIPHER_get_name(cipher));
  EVP_PKEY *key;
  if (!SSL_get_peer_tmp_key(conn->ssl, &key)) return; /* TLS 1.2, resumed: there was no exchange */
  if (EVP_PKEY_get_id(key) != EVP_PKEY_X25519) die("the server's key share is not X25519");
  EVP_PKEY_free(key);
}

static void established(struct load *load, struct conn *conn)
{
  enum mode mode = load->options.mode;
  check_negotiated(load, conn);
  bool reused = SSL_session_reused(conn->ssl);
  load_established(load, reused);
  if (conn->offered && !reused) {
    /* Refused, perhaps expired: the next connection is for a new one. */
    SSL_SESSION_free(conn->session);
    conn->session = NULL;
  }
  if (mode == MODE_FULL || mode == MODE_RESUMED) {
    finish_handshake_op(load, conn);
    return;
  }
  load->opening--;
  load->ready++;
  conn->phase = PHASE_READY;
  conn->expected = 0;
  want(load, conn, EPOLLIN);
  /* A connection that replaces a failed one joins the others; in setup all start together. */
  if (load->stage != STAGE_SETUP || mode == MODE_IDLE) conn_start(load, conn);
  conn_open_more(load);
}

static void drive_handshake(struct load *load, struct conn *conn)
{
  ERR_clear_error();
  errno = 0;
  int result = SSL_do_handshake(conn->ssl);
  if (result == 1)
    established(load, conn);
  else if (!blocked(load, conn, result))
    fail_tls(load, conn, "handshake", result);
}

static void drive_connect(struct load *load, struct conn *conn)
{
  int error = 0;
  socklen_t len = sizeof error;
  getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
  if (error) {
    fail(load, conn, "connect: %s", strerror(error));
    return;
  }
  conn->phase = PHASE_HANDSHAKE;
  drive_handshake(load, conn);
}

/* Waits for the server's end of the connection. In resumed mode the tickets on the way are of
 * interest while there is no session; otherwise the kernel throws the bytes away, so that the
 * client keeps its time for handshakes. */
static void drive_closing(struct load *load, struct conn *conn)
{
  bool reused = SSL_session_reused(conn->ssl);
  if (load->options.mode == MODE_RESUMED && !conn->session) {
    ERR_clear_error();
    int result = SSL_read(conn->ssl, scratch, sizeof scratch);
    if (result <= 0 && blocked(load, conn, result)) return;
  } else {
    ssize_t got;
    while ((got = recv(conn->fd, scratch, sizeof scratch, MSG_TRUNC)) > 0)
      continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) {
      fail(load, conn, "closing: %s", strerror(errno));
      return;
    }
  }
  uint64_t started = conn->started;
  conn_shut(load, conn);
  if (load->options.mode == MODE_FULL || reused) load_count(load, started, 0);
  if (load->stage != STAGE_DONE) conn_open(load, conn);
}

/* Learns an answer's whole length from its header, which is expected to come in one piece: it is
 * small and leads. */
static bool parse_header(struct load *load, struct conn *conn, const uint8_t *data, size_t len)
{
  const char *end = memmem(data, len, "\r\n\r\n", 4);
  const char *field = memmem(data, len, "Content-Length: ", 16);
  if (!field) field = memmem(data, len, "content-length: ", 16); /* as haproxy has it */
  if (len < 12 || memcmp(data, "HTTP/1.1 200", 12) != 0 || !end || !field || field > end) {
    fail(load, conn, "the server's answer is not HTTP: %.20s", (const char *)data);
    return false;
  }
  conn->expected = (uint64_t)(end + 4 - (const char *)data) + strtoull(field + 16, NULL, 10);
  return true;
}

static bool exchange_over(const struct conn *conn)
{
  return conn->expected && conn->received >= conn->expected;
}

/* The next message. A request lies in the same place every time: it goes out in one record, which
 * OpenSSL has made by the time the next one is written over it. */
static const char *next_message(struct load *load)
{
  unsigned serial = load->serial++;
  if (load->options.mode == MODE_ECHO) return load->material + serial * 4099u % MATERIAL_WINDOWS;
  char *digits = strchr(load->material, '?') + 1;
  for (unsigned i = 0; i < 8; i++)
    digits[i] = "0123456789abcdef"[serial >> (28 - 4 * i) & 15];
  return load->material;
}

static void start_exchange(struct load *load, struct conn *conn)
{
  conn->phase = PHASE_EXCHANGE;
  conn->sent = 0;
  conn->received = 0;
  conn->credited = 0;
  conn->message = next_message(load);
  conn->started = now_ns();
  if (load->options.mode == MODE_ECHO)
    conn->expected = load->message_len;
  else if (load->options.mode == MODE_BULK)
    conn->expected = 0;
}

static void finish_exchange(struct load *load, struct conn *conn)
{
  if (conn->received > conn->expected) {
    fail(load, conn, "the server sent more than was asked for");
    return;
  }
  if (load->options.mode != MODE_BULK) load_count(load, conn->started, conn->received);
  if (load->options.mode != MODE_IDLE) {
    start_exchange(load, conn);
    return;
  }
  conn->phase = PHASE_READY;
  load->settled++;
}

/* Counts every whole MiB of a long answer when it is complete, with the time that MiB took. */
static void credit_bulk(struct load *load, struct conn *conn)
{
  while (conn->received - conn->credited >= MIB) {
    load_count(load, conn->started, MIB);
    conn->started = now_ns();
    conn->credited += MIB;
  }
}

/* Sends what the message has left. False when the connection failed. */
static bool send_message(struct load *load, struct conn *conn)
{
  while (conn->sent < load->message_len) {
    ERR_clear_error();
    errno = 0;
    int result =
        SSL_write(conn->ssl, conn->message + conn->sent, (int)(load->message_len - conn->sent));
    if (result <= 0) {
      if (blocked(load, conn, result)) return true;
      fail_tls(load, conn, "write", result);
      return false;
    }
    conn->sent += (size_t)result;
  }
  want(load, conn, EPOLLIN);
  return true;
}

/* Takes one piece of the answer; false when there is none or the connection failed. */
static bool take_piece(struct load *load, struct conn *conn)
{
  ERR_clear_error();
  errno = 0;
  int result = SSL_read(conn->ssl, scratch, sizeof scratch);
  if (result <= 0) {
    if (SSL_get_error(conn->ssl, result) == SSL_ERROR_WANT_READ) return false;
    fail_tls(load, conn, "read", result);
    return false;
  }
  size_t len = (size_t)result;
  if (load->options.mode == MODE_ECHO) {
    if (conn->received + len <= load->message_len &&
        memcmp(scratch, conn->message + conn->received, len) != 0)
      die("the echo differs from what was sent");
  } else if (!conn->expected && !parse_header(load, conn, scratch, len)) {
    return false;
  }
  conn->received += len;
  if (load->options.mode == MODE_BULK) credit_bulk(load, conn);
  return true;
}

static void drive_exchange(struct load *load, struct conn *conn)
{
  for (int turn = 0; turn < READS_PER_TURN; turn++) {
    if (conn->sent < load->message_len && !send_message(load, conn)) return;
    if (!take_piece(load, conn)) return;
    if (!exchange_over(conn)) continue;
    finish_exchange(load, conn);
    if (conn->phase != PHASE_EXCHANGE || load->stage == STAGE_DONE) return;
    if (load->options.mode == MODE_REQUEST) {
      /* The answer to a request just sent cannot be here yet: leave the read to epoll. */
      send_message(load, conn);
      return;
    }
  }
  if (!conn->queued) {
    conn->queued = true;
    load->again[load->again_count++] = conn;
  }
}

void conn_start(struct load *load, struct conn *conn)
{
  start_exchange(load, conn);
  send_message(load, conn);
}

void conn_drive(struct load *load, struct conn *conn)
{
  switch (conn->phase) {
  case PHASE_CLOSED:
    break;
  case PHASE_CONNECTING:
    drive_connect(load, conn);
    break;
  case PHASE_HANDSHAKE:
    drive_handshake(load, conn);
    break;
  case PHASE_READY:
    /* Only the end of the connection, or tickets, can come now. */
    if (take_piece(load, conn)) die("the server speaks unasked");
    break;
  case PHASE_EXCHANGE:
    drive_exchange(load, conn);
    break;
  case PHASE_CLOSING:
    drive_closing(load, conn);
    break;
  }
}

void conn_destroy(struct conn *conn)
{
  SSL_free(conn->ssl);
  SSL_SESSION_free(conn->session);
  if (conn->fd >= 0) close(conn->fd);
}

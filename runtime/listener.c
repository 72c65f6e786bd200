#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Connections accepted per wake-up. */
enum { ACCEPT_BATCH = 64 };

/* Seconds without accepting after a failure that only time can mend. */
#define PAUSE_SECONDS 0.1

struct ml_listener {
  struct ml_loop *loop;
  const struct ml_listener_events *events;
  void *user;
  ev_io io;
  ev_timer pause;
  int fd;
  int spare_fd;   /* given up to accept one connection when no other descriptor is free; -1 while
                     given up */
  unsigned depth; /* callbacks on the stack */
  bool ref;
  bool tcp;
  bool closed;
  bool failing;      /* an error has been reported and nothing was accepted since */
  char *path;        /* unix: the file to remove, else NULL */
  dev_t path_device; /* what the file was when it was made */
  ino_t path_inode;
};

static int open_spare(void)
{
  return open("/", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
}

static void release(struct ml_listener *l)
{
  if (l->depth > 0) return;
  free(l->path);
  free(l);
}

static bool leave(struct ml_listener *l)
{
  l->depth--;
  if (!l->closed) return true;
  release(l);
  return false;
}

/* ---- Accepting ---- */

static void on_pause_over(struct ev_loop *ev, ev_timer *timer, int revents)
{
  (void)ev;
  (void)revents;
  struct ml_listener *l = timer->data;
  ml_loop_timer_stop(l->loop, timer, l->ref);
  if (l->spare_fd < 0) l->spare_fd = open_spare();
  ml_loop_io_start(l->loop, &l->io, l->ref);
}

static void take_pause(struct ml_listener *l)
{
  ml_loop_io_stop(l->loop, &l->io, l->ref);
  ev_timer_set(&l->pause, PAUSE_SECONDS, 0.);
  ml_loop_timer_start(l->loop, &l->pause, l->ref);
}

static int accept_one(struct ml_listener *l, struct ml_addr *peer)
{
  if (peer == NULL) return accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  peer->len = sizeof peer->storage;
  return accept4(l->fd, (struct sockaddr *)&peer->storage, &peer->len, SOCK_CLOEXEC);
}

/* How accepting goes on. */
enum outcome {
  GO_ON,
  ENOUGH, /* nothing is waiting, or the listener has gone */
  WAIT,   /* short of something that only time brings */
};

static enum outcome after_callback(struct ml_listener *l)
{
  return leave(l) ? GO_ON : ENOUGH;
}

/* Out of descriptors: takes one connection with the spare one and closes it. */
static enum outcome drop_one(struct ml_listener *l)
{
  if (l->spare_fd < 0) return WAIT;
  close(l->spare_fd);
  struct ml_addr peer = {0};
  int fd = accept_one(l, &peer);
  int number = errno;
  if (fd >= 0) close(fd);
  l->spare_fd = open_spare();
  /* The system looks for a free descriptor before it looks for a connection: there may be none. */
  if (fd < 0) return number == EAGAIN ? ENOUGH : WAIT;
  l->depth++;
  l->events->on_drop(l, &peer);
  return after_callback(l);
}

/* Failures of one connection or of the network, which the listener itself survives (accept(2)). */
static bool is_transient(int number)
{
  switch (number) {
  case EINTR:
  case ECONNABORTED:
  case EPROTO:
  case EPERM:
  case ENETDOWN:
  case ENETUNREACH:
  case EHOSTDOWN:
  case EHOSTUNREACH:
  case ENONET:
  case ENOPROTOOPT:
  case EOPNOTSUPP:
    return true;
  default:
    return false;
  }
}

static bool is_shortage(int number)
{
  return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

static enum outcome accept_failed(struct ml_listener *l, int number)
{
  if (number == EAGAIN || number == EWOULDBLOCK) return ENOUGH;
  if (is_transient(number)) return GO_ON;
  if (number == EMFILE || number == ENFILE) {
    enum outcome outcome = drop_one(l);
    if (outcome != WAIT) return outcome;
  }
  if (is_shortage(number)) {
    take_pause(l);
  } else {
    ml_loop_io_stop(l->loop, &l->io, l->ref);
  }
  if (l->failing) return ENOUGH;
  l->failing = true;
  struct ml_error err;
  ml_error_system(&err, number, "accept");
  l->depth++;
  l->events->on_error(l, &err);
  (void)leave(l);
  return ENOUGH;
}

static enum outcome hand_over(struct ml_listener *l, int fd)
{
  struct ml_sock *sock = ml_sock_new(l->loop, NULL, NULL);
  if (sock == NULL) {
    close(fd);
    return accept_failed(l, ENOMEM);
  }
  l->failing = false;
  ml_sock_open_accepted(sock, fd, l->tcp);
  l->depth++;
  l->events->on_connection(l, sock);
  return after_callback(l);
}

static void on_acceptable(struct ev_loop *ev, ev_io *io, int revents)
{
  (void)ev;
  (void)revents;
  struct ml_listener *l = io->data;
  for (int i = 0; i < ACCEPT_BATCH; i++) {
    int fd = accept_one(l, NULL);
    enum outcome outcome = fd >= 0 ? hand_over(l, fd) : accept_failed(l, errno);
    if (outcome != GO_ON) return;
  }
}

/* ---- Opening and closing ---- */

/* libuv's words, which Node's messages carry. */
static const char *in_words(int number)
{
  switch (number) {
  case EADDRINUSE:
    return "address already in use";
  case EADDRNOTAVAIL:
    return "address not available";
  case EACCES:
    return "permission denied";
  case EINVAL:
    return "invalid argument";
  case EAFNOSUPPORT:
    return "address family not supported";
  case EMFILE:
    return "too many open files";
  case ENFILE:
    return "file table overflow";
  case ENOENT:
    return "no such file or directory";
  case ENOTSOCK:
    return "socket operation on non-socket";
  default:
    return strerror(number);
  }
}

static int listen_failure(struct ml_error *err, int number, const struct ml_addr *addr)
{
  char text[sizeof err->address] = "";
  int port = 0;
  if (addr != NULL) {
    (void)ml_addr_text(addr, text, sizeof text);
    port = ml_addr_port(addr);
  }
  ml_error_system_at(err, number, "listen", text, port);
  char *message = err->message;
  size_t room = sizeof err->message;
  int n = snprintf(message, room, "listen %s: %s", err->code, in_words(number));
  if (text[0] != '\0') n += snprintf(message + n, room - (size_t)n, " %s", text);
  if (port > 0) snprintf(message + n, room - (size_t)n, ":%d", port);
  return -1;
}

static int set_option(int fd, int level, int name, int value)
{
  return setsockopt(fd, level, name, &value, sizeof value);
}

static int prepare_tcp(int fd, int family, const struct ml_listener_options *options)
{
  if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0) return -1;
  if (options->reuse_port && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0) return -1;
  if (family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->ipv6_only) != 0)
    return -1;
  /* Linux hands TCP_NODELAY down to accepted sockets, which saves a call for each. */
  return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/* Notes which file the bind made, so that the close does not remove another one put in its place;
 * sets its mode. */
static int claim_path(struct ml_listener *l, const struct ml_addr *addr,
                      const struct ml_listener_options *options)
{
  size_t len;
  const char *path = ml_addr_path(addr, &len);
  if (len == 0 || path[0] == '\0') return 0;
  struct stat info;
  if (stat(path, &info) != 0) return -1;
  mode_t mode = info.st_mode & 07777;
  if (options->readable_all) mode |= S_IRUSR | S_IRGRP | S_IROTH;
  if (options->writable_all) mode |= S_IWUSR | S_IWGRP | S_IWOTH;
  if (mode != (info.st_mode & 07777) && chmod(path, mode) != 0) return -1;
  l->path = strndup(path, len);
  if (l->path == NULL) return -1;
  l->path_device = info.st_dev;
  l->path_inode = info.st_ino;
  return 0;
}

static void start(struct ml_listener *l, int fd, bool tcp)
{
  l->fd = fd;
  l->tcp = tcp;
  l->spare_fd = open_spare();
  ev_io_set(&l->io, fd, EV_READ);
  ml_loop_io_start(l->loop, &l->io, l->ref);
}

int ml_listener_open(struct ml_listener *l, const struct ml_addr *addr,
                     const struct ml_listener_options *options, struct ml_error *err)
{
  int family = addr->storage.ss_family;
  bool tcp = family != AF_UNIX;
  bool bound = false;
  if (l->fd >= 0) return listen_failure(err, EINVAL, addr);
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) goto fail;
  if (tcp && prepare_tcp(fd, family, options) != 0) goto fail;
  if (bind(fd, (const struct sockaddr *)&addr->storage, addr->len) != 0) goto fail;
  bound = true;
  if (!tcp && claim_path(l, addr, options) != 0) goto fail;
  if (listen(fd, options->backlog > 0 ? options->backlog : ML_LISTENER_BACKLOG) != 0) goto fail;
  start(l, fd, tcp);
  return 0;

fail:
  (void)listen_failure(err, errno, addr);
  if (bound && !tcp) {
    size_t len;
    const char *path = ml_addr_path(addr, &len);
    if (len > 0 && path[0] != '\0') (void)unlink(path);
    free(l->path);
    l->path = NULL;
  }
  if (fd >= 0) close(fd);
  return -1;
}

int ml_listener_open_fd(struct ml_listener *l, int fd, int backlog, struct ml_error *err)
{
  struct ml_addr addr = {.len = sizeof addr.storage};
  if (l->fd >= 0) return listen_failure(err, EINVAL, NULL);
  if (getsockname(fd, (struct sockaddr *)&addr.storage, &addr.len) != 0)
    return listen_failure(err, errno, NULL);
  int type = 0;
  int listening = 0;
  socklen_t len = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0)
    return listen_failure(err, errno, &addr);
  if (type != SOCK_STREAM) return listen_failure(err, EINVAL, &addr);
  len = sizeof listening;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0)
    return listen_failure(err, errno, &addr);
  if (!listening && listen(fd, backlog > 0 ? backlog : ML_LISTENER_BACKLOG) != 0) {
    return listen_failure(err, errno, &addr);
  }
  /* Another process may accept on it too, so a readable listener can turn out empty: it must not
   * block then. */
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return listen_failure(err, errno, &addr);
  bool tcp = addr.storage.ss_family != AF_UNIX;
  if (tcp) (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  start(l, fd, tcp);
  return 0;
}

struct ml_listener *ml_listener_new(struct ml_loop *loop, const struct ml_listener_events *events,
                                    void *user)
{
  struct ml_listener *l = calloc(1, sizeof *l);
  if (l == NULL) return NULL;
  l->loop = loop;
  l->events = events;
  l->user = user;
  l->fd = l->spare_fd = -1;
  l->ref = true;
  ev_init(&l->io, on_acceptable);
  /* Where client and server are one program the server hears of a connection first: a client that
   * closes the server as soon as it is connected does not reset itself. */
  ev_set_priority(&l->io, 1);
  ev_init(&l->pause, on_pause_over);
  l->io.data = l->pause.data = l;
  return l;
}

void *ml_listener_user(const struct ml_listener *l)
{
  return l->user;
}

int ml_listener_fd(const struct ml_listener *l)
{
  return l->fd;
}

void ml_listener_hold(struct ml_listener *l)
{
  ml_loop_io_stop(l->loop, &l->io, l->ref);
  ml_loop_timer_stop(l->loop, &l->pause, l->ref);
}

void ml_listener_ref(struct ml_listener *l, bool on)
{
  if (l->ref == on) return;
  bool accepting = ev_is_active(&l->io);
  bool pausing = ev_is_active(&l->pause);
  ml_loop_io_stop(l->loop, &l->io, l->ref);
  ml_loop_timer_stop(l->loop, &l->pause, l->ref);
  l->ref = on;
  if (accepting) ml_loop_io_start(l->loop, &l->io, on);
  if (pausing) take_pause(l);
}

int ml_listener_address(const struct ml_listener *l, struct ml_addr *out, struct ml_error *err)
{
  memset(out, 0, sizeof *out);
  out->len = sizeof out->storage;
  if (getsockname(l->fd, (struct sockaddr *)&out->storage, &out->len) == 0) return 0;
  ml_error_system(err, errno, "getsockname");
  return -1;
}

static void remove_path(const struct ml_listener *l)
{
  struct stat info;
  if (l->path == NULL || lstat(l->path, &info) != 0) return;
  if (info.st_dev == l->path_device && info.st_ino == l->path_inode) (void)unlink(l->path);
}

void ml_listener_close(struct ml_listener *l)
{
  ml_loop_io_stop(l->loop, &l->io, l->ref);
  ml_loop_timer_stop(l->loop, &l->pause, l->ref);
  if (l->fd >= 0) {
    remove_path(l);
    close(l->fd);
  }
  if (l->spare_fd >= 0) close(l->spare_fd);
  l->fd = l->spare_fd = -1;
  l->closed = true;
  release(l);
}

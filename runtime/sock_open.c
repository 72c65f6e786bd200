/* How a sock gets its descriptor, and the options that only sockets have. */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sock_internal.h"

/* Keep-alive probes after the first come every second, and ten unanswered ones end the connection:
 * what Node does. */
enum { KEEPALIVE_INTERVAL = 1, KEEPALIVE_PROBES = 10 };

static int system_failure(struct ml_error *err, const char *call)
{
  ml_error_system(err, errno, call);
  return -1;
}

static int set_option(int fd, int level, int name, int value)
{
  return setsockopt(fd, level, name, &value, sizeof value);
}

static bool is_tcp(int fd)
{
  int domain;
  socklen_t len = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0) return false;
  return domain == AF_INET || domain == AF_INET6;
}

static int open_socket(struct ml_sock *s, int fd, struct ml_error *err)
{
  int type;
  socklen_t len = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0) return system_failure(err, "open");
  if (type != SOCK_STREAM) {
    ml_error_system(err, EINVAL, "open");
    return -1;
  }
  s->is_socket = true;
  s->is_tcp = is_tcp(fd);
  return 0;
}

/* A non-blocking descriptor for the pipe or terminal behind *fd. O_NONBLOCK belongs to the open
 * file description, which a shell or a parent process shares: so open another one when the system
 * lets us. Files are left alone: reading them never waits for anybody. */
static int make_nonblocking(struct ml_sock *s, int *fd, struct ml_error *err)
{
  int flags = fcntl(*fd, F_GETFL);
  if (flags < 0) return system_failure(err, "open");
  if (flags & O_NONBLOCK) return 0;

  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
  int reopened = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (reopened >= 0) {
    if (*fd > STDERR_FILENO) close(*fd);
    *fd = reopened;
    return 0;
  }
  if (fcntl(*fd, F_SETFL, flags | O_NONBLOCK) != 0) return system_failure(err, "open");
  s->restore_flags = flags;
  return 0;
}

int ml_sock_open_fd(struct ml_sock *s, int fd, struct ml_error *err)
{
  struct stat info;
  if (s->phase != SOCK_IDLE) {
    ml_error_system(err, EISCONN, "open");
    return -1;
  }
  if (fstat(fd, &info) != 0) return system_failure(err, "open");
  if (S_ISSOCK(info.st_mode)) {
    if (open_socket(s, fd, err) != 0) return -1;
  } else if (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)) {
    if (make_nonblocking(s, &fd, err) != 0) return -1;
  }
  s->keep_fd = fd <= STDERR_FILENO;
  ml_sock_adopt(s, fd, SOCK_OPEN);
  return 0;
}

void ml_sock_open_accepted(struct ml_sock *s, int fd, bool tcp)
{
  s->is_socket = true;
  s->is_tcp = s->nodelay = tcp; /* the listener handed it down */
  ml_sock_adopt(s, fd, SOCK_OPEN);
}

static int bind_local(int fd, const struct ml_addr *local, struct ml_error *err)
{
  (void)set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  /* Leaves choosing the port to connect(2), which knows the destination: then a port serves many
   * destinations. */
  if (ml_addr_port(local) == 0) (void)set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  if (bind(fd, (const struct sockaddr *)&local->storage, local->len) == 0) return 0;
  char text[sizeof err->address];
  ml_error_system_at(err, errno, "bind", ml_addr_text(local, text, sizeof text),
                     ml_addr_port(local));
  return -1;
}

static void connect_failure(const struct ml_addr *addr, int number, struct ml_error *err)
{
  char text[sizeof err->address];
  ml_error_system_at(err, number, "connect", ml_addr_text(addr, text, sizeof text),
                     ml_addr_port(addr));
}

int ml_sock_connect(struct ml_sock *s, const struct ml_addr *addr, const struct ml_addr *local,
                    struct ml_error *err)
{
  int family = addr->storage.ss_family;
  bool tcp = family != AF_UNIX;
  if (s->phase != SOCK_IDLE) {
    connect_failure(addr, s->phase == SOCK_CONNECTING ? EALREADY : EISCONN, err);
    return -1;
  }
  struct ml_addr *target = malloc(sizeof *target);
  int fd = -1;
  if (target == NULL) {
    connect_failure(addr, ENOMEM, err);
    goto fail;
  }
  fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    connect_failure(addr, errno, err);
    goto fail;
  }
  if (tcp) (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (local != NULL && bind_local(fd, local, err) != 0) goto fail;

  int status = connect(fd, (const struct sockaddr *)&addr->storage, addr->len);
  if (status != 0 && errno != EINPROGRESS) {
    connect_failure(addr, errno, err);
    goto fail;
  }
  *target = *addr;
  s->target = target;
  s->is_socket = true;
  s->is_tcp = s->nodelay = tcp;
  ml_sock_adopt(s, fd, SOCK_CONNECTING);
  return 0;

fail:
  if (fd >= 0) close(fd);
  free(target);
  return -1;
}

void ml_sock_finish_connect(struct ml_sock *s)
{
  int number = 0;
  socklen_t len = sizeof number;
  if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &number, &len) != 0) number = errno;
  struct ml_error err;
  if (number != 0) connect_failure(s->target, number, &err);
  free(s->target);
  s->target = NULL;
  if (number != 0) {
    ml_sock_fail(s, &err);
    return;
  }
  s->phase = SOCK_OPEN;
  ml_sock_watch(s);
  /* What was written meanwhile, or only the end, goes out when this tick is over. */
  ml_loop_defer(s->stream.loop, &s->task);
  ml_sock_enter(s);
  s->stream.events->on_connect(&s->stream);
  ml_sock_leave(s);
}

int ml_sock_set_nodelay(struct ml_sock *s, bool on, struct ml_error *err)
{
  if (s->fd >= 0 && (!s->is_tcp || (on && s->nodelay))) return 0;
  if (set_option(s->fd, IPPROTO_TCP, TCP_NODELAY, on) != 0)
    return system_failure(err, "setsockopt");
  s->nodelay = on;
  return 0;
}

int ml_sock_set_keepalive(struct ml_sock *s, bool on, unsigned seconds, struct ml_error *err)
{
  if (s->fd >= 0 && !s->is_tcp) return 0;
  if (set_option(s->fd, SOL_SOCKET, SO_KEEPALIVE, on) != 0)
    return system_failure(err, "setsockopt");
  if (!on || seconds == 0) return 0;
  if (set_option(s->fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)seconds) != 0 ||
      set_option(s->fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL) != 0 ||
      set_option(s->fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES) != 0) {
    return system_failure(err, "setsockopt");
  }
  return 0;
}

int ml_sock_set_reset(struct ml_sock *s, struct ml_error *err)
{
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  s->reset = true;
  if (!s->is_socket) return 0;
  if (setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0) return 0;
  return system_failure(err, "setsockopt");
}

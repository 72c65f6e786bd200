#include "channel.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"

#define HEADER sizeof(uint32_t)
#define BRINGS_FD 0x80000000U
#define FDS_AT_ONCE 16 /* descriptors that one recvmsg may bring */

/* A message on its way out. */
struct outgoing {
  struct outgoing *next;
  int fd; /* goes with the first byte; -1: none, or gone already */
  size_t len, sent;
  uint8_t bytes[]; /* header included */
};

struct ml_channel {
  struct ml_loop *loop;
  const struct ml_channel_events *events;
  void *user;
  ev_io readable, writable;
  struct outgoing *first, **last;
  struct ml_buf in;
  int *fds; /* descriptors whose messages are not complete yet, in order */
  size_t fd_count, fd_room;
  unsigned busy; /* callbacks on the stack */
  bool ref, ended, closed;
};

/* ---- Life ---- */

int ml_channel_pair(int fds[2], struct ml_error *err)
{
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0) return 0;
  ml_error_system(err, errno, "socketpair");
  return -1;
}

static void drop_outgoing(struct ml_channel *channel)
{
  while (channel->first) {
    struct outgoing *message = channel->first;
    channel->first = message->next;
    if (message->fd >= 0) close(message->fd);
    free(message);
  }
  channel->last = &channel->first;
}

static void destroy(struct ml_channel *channel)
{
  drop_outgoing(channel);
  for (size_t i = 0; i < channel->fd_count; i++)
    close(channel->fds[i]);
  free(channel->fds);
  ml_buf_free(&channel->in);
  close(channel->readable.fd);
  free(channel);
}

static void stop(struct ml_channel *channel)
{
  ml_loop_io_stop(channel->loop, &channel->readable, channel->ref);
  ml_loop_io_stop(channel->loop, &channel->writable, channel->ref);
}

/* Around every callback. */
static void enter(struct ml_channel *channel)
{
  channel->busy++;
}

static void leave(struct ml_channel *channel)
{
  if (--channel->busy == 0 && channel->closed) destroy(channel);
}

static void end(struct ml_channel *channel, const struct ml_error *err)
{
  if (channel->ended || channel->closed) return;
  channel->ended = true;
  stop(channel);
  drop_outgoing(channel);
  channel->events->on_end(channel, err);
}

/* ---- Out ---- */

/* Sends from one message; what the kernel did not take is left. */
static ssize_t send_some(struct ml_channel *channel, struct outgoing *message)
{
  union {
    struct cmsghdr head;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec part = {message->bytes + message->sent, message->len - message->sent};
  struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
  if (message->fd >= 0) {
    packet.msg_control = control.space;
    packet.msg_controllen = sizeof(control.space);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &message->fd, sizeof(int));
  }
  ssize_t n;
  do {
    n = sendmsg(channel->readable.fd, &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n > 0 && message->fd >= 0) {
    close(message->fd);
    message->fd = -1;
  }
  return n;
}

/* 0, or an errno value that is the end. */
static int flush(struct ml_channel *channel)
{
  while (channel->first) {
    struct outgoing *message = channel->first;
    ssize_t n = send_some(channel, message);
    if (n < 0) return ml_would_block(errno) ? 0 : errno;
    message->sent += (size_t)n;
    if (message->sent < message->len) continue;
    channel->first = message->next;
    if (!channel->first) channel->last = &channel->first;
    free(message);
  }
  return 0;
}

static void watch_output(struct ml_channel *channel)
{
  if (channel->ended || channel->closed) return;
  if (channel->first)
    ml_loop_io_start(channel->loop, &channel->writable, channel->ref);
  else
    ml_loop_io_stop(channel->loop, &channel->writable, channel->ref);
}

static void on_writable(struct ev_loop *ev, ev_io *io, int events)
{
  (void)ev, (void)events;
  struct ml_channel *channel = io->data;
  int code = flush(channel);
  /* What the other side still said before it left is the reader's to find. */
  if (code) drop_outgoing(channel);
  watch_output(channel);
}

static struct outgoing *make_message(const uint8_t *data, size_t len, int fd)
{
  struct outgoing *message = malloc(sizeof(*message) + HEADER + len);
  if (!message) return NULL;
  uint32_t header = htonl((uint32_t)len | (fd >= 0 ? BRINGS_FD : 0));
  *message = (struct outgoing){.fd = -1, .len = HEADER + len};
  memcpy(message->bytes, &header, HEADER);
  if (len > 0) memcpy(message->bytes + HEADER, data, len);
  if (fd < 0) return message;
  message->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (message->fd >= 0) return message;
  int code = errno;
  free(message);
  errno = code;
  return NULL;
}

int ml_channel_send(struct ml_channel *channel, const uint8_t *data, size_t len, int fd,
                    struct ml_error *err)
{
  assert(!channel->closed);
  errno = channel->ended ? EPIPE : EMSGSIZE;
  struct outgoing *message =
      channel->ended || len > ML_CHANNEL_MESSAGE_MAX ? NULL : make_message(data, len, fd);
  if (!message) {
    ml_error_system(err, errno, "sendmsg");
    return -1;
  }
  *channel->last = message;
  channel->last = &message->next;
  int code = flush(channel);
  if (code) {
    drop_outgoing(channel);
    ml_error_system(err, code, "sendmsg");
    return -1;
  }
  watch_output(channel);
  return 0;
}

/* ---- In ---- */

static int keep_fds(struct ml_channel *channel, const int *fds, size_t n)
{
  if (channel->fd_count + n > channel->fd_room) {
    size_t room = channel->fd_room * 2 + n;
    int *grown = realloc(channel->fds, room * sizeof(*grown));
    if (!grown) return -1;
    channel->fds = grown;
    channel->fd_room = room;
  }
  memcpy(channel->fds + channel->fd_count, fds, n * sizeof(*fds));
  channel->fd_count += n;
  return 0;
}

static int take_control(struct ml_channel *channel, struct msghdr *packet)
{
  for (struct cmsghdr *c = CMSG_FIRSTHDR(packet); c; c = CMSG_NXTHDR(packet, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    int fds[FDS_AT_ONCE];
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(c), n * sizeof(int));
    if (keep_fds(channel, fds, n) == 0) continue;
    for (size_t i = 0; i < n; i++)
      close(fds[i]);
    return -1;
  }
  return 0;
}

/* One recvmsg. The number of bytes, 0 at the end, -1 with errno. */
static ssize_t receive(struct ml_channel *channel, int flags)
{
  union {
    struct cmsghdr head;
    char space[CMSG_SPACE(FDS_AT_ONCE * sizeof(int))];
  } control;
  uint8_t *buffer = ml_loop_borrow(channel->loop);
  struct iovec part = {buffer, ML_LOOP_BUFFER_SIZE};
  struct msghdr packet = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.space,
                          .msg_controllen = sizeof(control.space)};
  ssize_t n;
  do {
    n = recvmsg(channel->readable.fd, &packet, MSG_CMSG_CLOEXEC | flags);
  } while (n < 0 && errno == EINTR);
  if (n > 0 && (take_control(channel, &packet) != 0 ||
                ml_buf_append(&channel->in, buffer, (size_t)n) != 0)) {
    errno = ENOMEM;
    n = -1;
  }
  int code = errno;
  ml_loop_give_back(channel->loop, buffer);
  errno = code;
  return n;
}

static int next_fd(struct ml_channel *channel)
{
  if (channel->fd_count == 0) return -1;
  int fd = channel->fds[0];
  channel->fd_count--;
  memmove(channel->fds, channel->fds + 1, channel->fd_count * sizeof(*channel->fds));
  return fd;
}

/* Delivers the messages that are complete, at most `limit`. 1 after at least one, 0 after none, -1:
 * err says what is wrong with the stream. */
static int deliver(struct ml_channel *channel, size_t limit, struct ml_error *err)
{
  int any = 0;
  while (limit-- > 0 && !channel->closed && ml_buf_size(&channel->in) >= HEADER) {
    uint32_t header;
    memcpy(&header, ml_buf_data(&channel->in), HEADER);
    header = ntohl(header);
    size_t len = header & ~BRINGS_FD;
    if (len > ML_CHANNEL_MESSAGE_MAX) {
      ml_error_system(err, EBADMSG, "recvmsg");
      return -1;
    }
    if (ml_buf_size(&channel->in) < HEADER + len) break;
    /* The owner may run the loop, and so this function, in there. */
    struct ml_buf message = {0};
    if (ml_buf_append(&message, ml_buf_data(&channel->in) + HEADER, len) != 0) {
      ml_error_system(err, ENOMEM, "malloc");
      return -1;
    }
    ml_buf_consume(&channel->in, HEADER + len);
    any = 1;
    channel->events->on_message(channel, ml_buf_data(&message), len,
                                header & BRINGS_FD ? next_fd(channel) : -1);
    ml_buf_free(&message);
  }
  return any;
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events)
{
  (void)ev, (void)events;
  struct ml_channel *channel = io->data;
  struct ml_error err;
  enter(channel);
  ssize_t n = receive(channel, MSG_DONTWAIT);
  int code = errno;
  if (deliver(channel, SIZE_MAX, &err) < 0) {
    end(channel, &err);
  } else if (n == 0 || (n < 0 && code == ECONNRESET)) {
    end(channel, NULL);
  } else if (n < 0 && !ml_would_block(code)) {
    ml_error_system(&err, code, "recvmsg");
    end(channel, &err);
  }
  leave(channel);
}

int ml_channel_wait(struct ml_channel *channel, struct ml_error *err)
{
  int delivered;
  enter(channel);
  while ((delivered = deliver(channel, 1, err)) == 0 && !channel->closed) {
    ssize_t n = receive(channel, 0);
    if (n > 0) continue;
    ml_error_system(err, n == 0 ? EPIPE : errno, "recvmsg");
    delivered = -1;
    break;
  }
  /* What came behind it is for the loop, which no descriptor will wake for that. */
  if (delivered > 0 && !channel->closed)
    ev_feed_event(ml_loop_ev(channel->loop), &channel->readable, EV_READ);
  leave(channel);
  return delivered < 0 ? -1 : 0;
}

/* ---- The rest ---- */

int ml_channel_open(struct ml_channel **out, struct ml_loop *loop, int fd,
                    const struct ml_channel_events *events, void *user, struct ml_error *err)
{
  struct ml_channel *channel = calloc(1, sizeof(*channel));
  if (!channel || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1) {
    ml_error_system(err, channel ? errno : ENOMEM, channel ? "fcntl" : "malloc");
    free(channel);
    return -1;
  }
  channel->loop = loop;
  channel->events = events;
  channel->user = user;
  channel->last = &channel->first;
  channel->ref = true;
  ev_io_init(&channel->readable, on_readable, fd, EV_READ);
  ev_io_init(&channel->writable, on_writable, fd, EV_WRITE);
  channel->readable.data = channel->writable.data = channel;
  ml_loop_io_start(loop, &channel->readable, true);
  *out = channel;
  return 0;
}

void *ml_channel_user(const struct ml_channel *channel)
{
  return channel->user;
}

void ml_channel_ref(struct ml_channel *channel, bool on)
{
  if (channel->ref == on) return;
  bool live = !channel->ended && !channel->closed;
  if (live) stop(channel);
  channel->ref = on;
  if (live) ml_loop_io_start(channel->loop, &channel->readable, on);
  watch_output(channel);
}

size_t ml_channel_queued(const struct ml_channel *channel)
{
  size_t total = 0;
  for (const struct outgoing *message = channel->first; message; message = message->next)
    total += message->len - message->sent;
  return total;
}

void ml_channel_close(struct ml_channel *channel)
{
  if (channel->closed) return;
  if (!channel->ended) (void)flush(channel);
  stop(channel);
  channel->closed = true;
  if (channel->busy == 0) destroy(channel);
}

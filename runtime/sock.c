#include "sock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "linger.h"
#include "sock_internal.h"

/* Full buffers of input that a close reads at most. */
enum { DISCARD_READS = 4 };

static const struct ml_stream_ops sock_ops;

static struct ml_sock *sock_of(struct ml_stream *stream)
{
  return (struct ml_sock *)(void *)stream;
}

struct ml_sock *ml_sock_from(struct ml_stream *stream)
{
  return stream->ops == &sock_ops ? sock_of(stream) : NULL;
}

int ml_sock_fd(const struct ml_sock *sock)
{
  return sock->fd;
}

void ml_sock_enter(struct ml_sock *s)
{
  s->depth++;
}

bool ml_sock_leave(struct ml_sock *s)
{
  s->depth--;
  if (s->phase != SOCK_CLOSED) return true;
  if (s->depth == 0) free(s);
  return false;
}

static int wanted_events(const struct ml_sock *s)
{
  if (s->phase == SOCK_CONNECTING) return EV_WRITE;
  if (s->phase != SOCK_OPEN) return EV_NONE;
  return (s->reading ? EV_READ : EV_NONE) | (s->blocked ? EV_WRITE : EV_NONE);
}

void ml_sock_watch(struct ml_sock *s)
{
  int wanted = wanted_events(s);
  if (wanted == (ev_is_active(&s->io) ? s->io.events : EV_NONE)) return;
  ml_loop_io_stop(s->stream.loop, &s->io, s->ref);
  if (wanted == EV_NONE) return;
  ev_io_modify(&s->io, wanted);
  ml_loop_io_start(s->stream.loop, &s->io, s->ref);
}

/* ---- Failing ---- */

void ml_sock_fail(struct ml_sock *s, const struct ml_error *err)
{
  s->phase = SOCK_BROKEN;
  s->blocked = false;
  s->reading = false;
  s->write_pending = false;
  s->failed_call = NULL;
  ml_sock_drop_queue(s);
  ml_task_cancel(&s->task);
  ml_sock_watch(s);
  ml_sock_enter(s);
  s->stream.events->on_error(&s->stream, err);
  ml_sock_leave(s);
}

static ssize_t receive(const struct ml_sock *s, uint8_t *buffer)
{
  ssize_t n;
  do {
    n = s->is_socket ? recv(s->fd, buffer, ML_LOOP_BUFFER_SIZE, MSG_DONTWAIT)
                     : read(s->fd, buffer, ML_LOOP_BUFFER_SIZE);
  } while (n < 0 && errno == EINTR);
  return n;
}

/* Hands out what the peer had sent before writing failed. There is no more of it than one receive
 * buffer, since the peer is gone. Returns whether the sock is still there. */
static bool read_last_words(struct ml_sock *s)
{
  struct ml_loop *loop = s->stream.loop;
  bool alive = true;
  uint8_t *buffer = ml_loop_borrow(loop);
  while (alive && s->reading) {
    ssize_t n = receive(s, buffer);
    if (n <= 0) break;
    s->stream.bytes_read += (uint64_t)n;
    ml_sock_enter(s);
    s->stream.events->on_read(&s->stream, buffer, (size_t)n);
    alive = ml_sock_leave(s);
  }
  ml_loop_give_back(loop, buffer);
  return alive;
}

/* A write or shutdown failed; called from the loop only. */
static void report_failure(struct ml_sock *s, int number, const char *call)
{
  s->phase = SOCK_BROKEN;
  s->failed_call = call; /* while the last words are read, writes wait for the on_error to come */
  ml_sock_watch(s);
  bool peer_gone = number == EPIPE || number == ECONNRESET;
  if (peer_gone && s->reading && !read_last_words(s)) return;

  struct ml_error err;
  ml_error_system(&err, number, call);
  ml_sock_fail(s, &err);
}

/* The same for failures inside a call on the stream, which must not call back. */
static void report_failure_later(struct ml_sock *s, int number, const char *call)
{
  s->phase = SOCK_BROKEN;
  s->failed_errno = number;
  s->failed_call = call;
  ml_sock_watch(s);
  ml_loop_defer(s->stream.loop, &s->task);
}

/* ---- Writing ---- */

/* shutdown(2); 0 or -1 with errno. */
static int send_end(struct ml_sock *s)
{
  s->output = OUTPUT_FINISHED;
  if (!s->is_socket) return 0;
  /* A connection that is gone has nothing left to end; reading will tell why it went. */
  return shutdown(s->fd, SHUT_WR) == 0 || errno == ENOTCONN ? 0 : -1;
}

/* The queue became empty: tells whoever waited for that. */
static void queue_drained(struct ml_sock *s)
{
  s->blocked = false;
  ml_sock_watch(s);
  if (s->write_pending) {
    s->write_pending = false;
    ml_sock_enter(s);
    s->stream.events->on_written(&s->stream);
    if (!ml_sock_leave(s)) return;
  }
  if (s->output != OUTPUT_FINISHING || s->phase != SOCK_OPEN || ml_sock_queue_size(s) > 0) return;
  if (send_end(s) != 0) {
    report_failure(s, errno, "shutdown");
    return;
  }
  ml_sock_enter(s);
  s->stream.events->on_shutdown(&s->stream);
  ml_sock_leave(s);
}

static void flush(struct ml_sock *s)
{
  switch (ml_sock_send_queue(s)) {
  case ML_DONE:
    queue_drained(s);
    break;
  case ML_PENDING:
    s->blocked = true;
    ml_sock_watch(s);
    break;
  default:
    report_failure(s, errno, "write");
  }
}

static void on_task(struct ml_task *task)
{
  struct ml_sock *s = ML_CONTAINER_OF(task, struct ml_sock, task);
  if (s->failed_call != NULL) {
    report_failure(s, s->failed_errno, s->failed_call);
  } else if (s->phase == SOCK_OPEN && !s->blocked) {
    flush(s);
  }
}

static void on_writable(struct ml_sock *s)
{
  if (s->phase == SOCK_CONNECTING) {
    ml_sock_finish_connect(s);
    return;
  }
  ml_task_cancel(&s->task);
  flush(s);
}

/* Sends now, inside a call. What fails is reported from the loop. */
static int send_now(struct ml_sock *s, const char *call)
{
  int status = ml_sock_send_queue(s);
  if (status == ML_DONE) {
    ml_task_cancel(&s->task);
    return ML_DONE;
  }
  if (status == ML_PENDING) {
    s->blocked = true;
    ml_sock_watch(s);
  } else {
    report_failure_later(s, errno, call);
  }
  return ML_PENDING;
}

static int refuse(const struct ml_sock *s, const char *call, struct ml_error *err)
{
  bool open = s->phase == SOCK_OPEN || s->phase == SOCK_CONNECTING;
  if (open && s->output == OUTPUT_OPEN) return 0;
  ml_error_system(err, s->phase == SOCK_IDLE ? EBADF : EPIPE, call);
  return -1;
}

static int sock_write(struct ml_stream *stream, const struct ml_slice *slices, size_t n,
                      struct ml_error *err)
{
  struct ml_sock *s = sock_of(stream);
  if (s->failed_call != NULL) return ML_PENDING;
  if (refuse(s, "write", err) != 0) return ML_FAILED;
  size_t total = 0;
  for (size_t i = 0; i < n; i++)
    total += slices[i].len;
  if (total == 0) return ML_DONE;

  bool ready = s->phase == SOCK_OPEN && !s->blocked;
  bool small = total <= ML_SOCK_GATHER && ml_buf_size(&s->gathered) + total <= ML_SOCK_GATHER;
  if (ready && small && !stream->write_through && ml_sock_gather(s, slices, n, total) == 0) {
    stream->bytes_written += total;
    ml_loop_defer(stream->loop, &s->task);
    return ML_DONE;
  }
  if (ml_sock_hold(s, slices, n, total) != 0) {
    ml_error_system(err, ENOMEM, "write");
    s->phase = SOCK_BROKEN;
    ml_sock_watch(s);
    return ML_FAILED;
  }
  stream->bytes_written += total;
  int status = ready ? send_now(s, "write") : ML_PENDING;
  s->write_pending = status == ML_PENDING;
  return status;
}

static int sock_shutdown(struct ml_stream *stream, struct ml_error *err)
{
  struct ml_sock *s = sock_of(stream);
  if (s->failed_call != NULL) return ML_PENDING;
  if (refuse(s, "shutdown", err) != 0) return ML_FAILED;
  if (s->phase == SOCK_OPEN && stream->end_follows && ml_sock_queue_size(s) == 0) {
    if (send_end(s) == 0) return ML_DONE;
    report_failure_later(s, errno, "shutdown");
    return ML_PENDING;
  }
  s->output = OUTPUT_FINISHING;
  if (s->phase == SOCK_OPEN && !s->blocked) ml_loop_defer(stream->loop, &s->task);
  return ML_PENDING;
}

/* ---- Reading ---- */

static bool end_of_stream(struct ml_sock *s)
{
  s->ended = true;
  s->reading = false;
  ml_sock_watch(s);
  ml_sock_enter(s);
  s->stream.events->on_end(&s->stream);
  return ml_sock_leave(s);
}

/* Returns whether the sock is still there and in order. */
static bool on_readable(struct ml_sock *s)
{
  struct ml_loop *loop = s->stream.loop;
  bool alive = true;
  uint8_t *buffer = ml_loop_borrow(loop);
  ssize_t n = receive(s, buffer);
  int number = errno;
  if (n > 0) {
    s->stream.bytes_read += (uint64_t)n;
    ml_sock_enter(s);
    s->stream.events->on_read(&s->stream, buffer, (size_t)n);
    alive = ml_sock_leave(s);
  }
  ml_loop_give_back(loop, buffer);
  if (n == 0) return end_of_stream(s);
  if (n < 0 && !ml_would_block(number)) {
    struct ml_error err;
    ml_error_system(&err, number, "read");
    ml_sock_fail(s, &err);
    return false;
  }
  return alive;
}

static void on_ready(struct ev_loop *ev, ev_io *io, int events)
{
  (void)ev;
  struct ml_sock *s = io->data;
  if ((events & wanted_events(s) & EV_READ) && !on_readable(s)) return;
  if (events & wanted_events(s) & EV_WRITE) on_writable(s);
}

static void sock_read_start(struct ml_stream *stream)
{
  struct ml_sock *s = sock_of(stream);
  s->reading = !s->ended;
  ml_sock_watch(s);
}

static void sock_read_stop(struct ml_stream *stream)
{
  struct ml_sock *s = sock_of(stream);
  s->reading = false;
  ml_sock_watch(s);
}

/* ---- The rest ---- */

static void sock_ref(struct ml_stream *stream, bool on)
{
  struct ml_sock *s = sock_of(stream);
  if (s->ref == on) return;
  ml_loop_io_stop(stream->loop, &s->io, s->ref);
  s->ref = on;
  ml_sock_watch(s);
}

static void close_fd(struct ml_sock *s)
{
  if (s->fd < 0) return;
  if (s->restore_flags >= 0) (void)fcntl(s->fd, F_SETFL, s->restore_flags);
  if (!s->keep_fd) close(s->fd);
  s->fd = -1;
}

/* Unread input turns the close of a TCP socket into a reset, which takes with it what the peer has
 * not received yet (RFC 2525, 2.17). Once our end has been sent properly, session tickets or a late
 * answer are not to undo it. */
static void discard_input(struct ml_sock *s)
{
  uint8_t *buffer = ml_loop_borrow(s->stream.loop);
  for (int i = 0; i < DISCARD_READS; i++) {
    if (receive(s, buffer) <= 0) break;
  }
  ml_loop_give_back(s->stream.loop, buffer);
}

static bool may_linger(const struct ml_sock *s)
{
  bool open = s->phase == SOCK_OPEN && s->is_socket && !s->keep_fd && !s->ended && !s->reset;
  return s->linger && open;
}

static void sock_close(struct ml_stream *stream)
{
  struct ml_sock *s = sock_of(stream);
  bool lingers = may_linger(s);
  assert(s->phase != SOCK_CLOSED);
  /* What is held belongs to a caller who has not been told that it is done: only what was taken
   * over goes out. */
  ml_sock_drop_held(s);
  if (s->phase == SOCK_OPEN) (void)!ml_sock_send_queue(s);
  if (s->is_socket && s->output != OUTPUT_OPEN && !s->reset && !s->ended) discard_input(s);
  ml_task_cancel(&s->task);
  ml_loop_io_stop(stream->loop, &s->io, s->ref);
  if (lingers) {
    ml_linger(stream->loop, s->fd, &s->gathered);
    s->fd = -1;
  }
  close_fd(s);
  ml_sock_drop_queue(s);
  s->phase = SOCK_CLOSED;
  free(s->target);
  s->target = NULL;
  if (s->depth == 0) free(s);
}

static int sock_address(struct ml_sock *s, struct ml_addr *out, struct ml_error *err, bool peer)
{
  memset(out, 0, sizeof *out);
  out->len = sizeof out->storage;
  struct sockaddr *address = (void *)&out->storage;
  int status =
      peer ? getpeername(s->fd, address, &out->len) : getsockname(s->fd, address, &out->len);
  if (status == 0) return 0;
  ml_error_system(err, errno, peer ? "getpeername" : "getsockname");
  return -1;
}

static int sock_local(struct ml_stream *stream, struct ml_addr *out, struct ml_error *err)
{
  return sock_address(sock_of(stream), out, err, false);
}

static int sock_remote(struct ml_stream *stream, struct ml_addr *out, struct ml_error *err)
{
  return sock_address(sock_of(stream), out, err, true);
}

static size_t sock_queued(const struct ml_stream *stream)
{
  return ml_sock_queue_size((const struct ml_sock *)(const void *)stream);
}

static struct ml_stream *sock_transport(struct ml_stream *stream)
{
  return stream;
}

static void sock_moved(struct ml_stream *stream, const uint8_t *from, size_t len, const uint8_t *to)
{
  struct ml_sock *s = sock_of(stream);
  ml_slices_move(s->held, s->held_count, from, len, to);
}

static const struct ml_stream_ops sock_ops = {
    .read_start = sock_read_start,
    .read_stop = sock_read_stop,
    .write = sock_write,
    .shutdown = sock_shutdown,
    .close = sock_close,
    .ref = sock_ref,
    .local = sock_local,
    .remote = sock_remote,
    .queued = sock_queued,
    .transport = sock_transport,
    .moved = sock_moved,
};

struct ml_sock *ml_sock_new(struct ml_loop *loop, const struct ml_stream_events *events, void *user)
{
  struct ml_sock *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->stream = (struct ml_stream){.ops = &sock_ops, .events = events, .user = user, .loop = loop};
  s->task.run = on_task;
  s->fd = -1;
  s->restore_flags = -1;
  s->ref = true;
  ev_init(&s->io, on_ready);
  s->io.data = s;
  return s;
}

void ml_sock_adopt(struct ml_sock *s, int fd, enum sock_phase phase)
{
  assert(s->phase == SOCK_IDLE);
  s->fd = fd;
  s->phase = phase;
  ev_io_set(&s->io, fd, EV_NONE);
  ml_sock_watch(s);
}

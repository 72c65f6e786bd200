/* The output queue of a sock: first the copied bytes, then the slices of the write that is pending.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "sock_internal.h"

/* Kernel TLS, where the headers know of it. glibc may lag behind. */
#if defined(__linux__) && __has_include(<linux/tls.h>)
#include <linux/tls.h>
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#endif

/* Slices offered to the kernel in one call. */
enum { VECTOR_SIZE = 64 };

/* Bytes sent in one go before other streams get their turn: a fast reader on loopback would take
 * them for ever. */
enum { SEND_BUDGET = 1024 * 1024, SEALED_BUDGET = 256 * 1024 };

size_t ml_sock_queue_size(const struct ml_sock *s)
{
  return ml_buf_size(&s->gathered) + s->held_bytes + s->record_len;
}

void ml_sock_drop_held(struct ml_sock *s)
{
  if (s->held_memory != s->held_inline) free(s->held_memory);
  s->held = s->held_memory = NULL;
  s->held_count = 0;
  s->held_bytes = 0;
}

void ml_sock_drop_queue(struct ml_sock *s)
{
  ml_buf_free(&s->gathered);
  s->record_len = 0;
  ml_sock_drop_held(s);
}

int ml_sock_hold(struct ml_sock *s, const struct ml_slice *slices, size_t n, size_t total)
{
  assert(s->held_count == 0 && !s->write_pending);
  struct ml_slice *memory = s->held_inline;
  if (n > SOCK_HELD_INLINE) memory = malloc(n * sizeof *memory);
  if (memory == NULL) return -1;
  s->held = s->held_memory = memory;
  for (size_t i = 0; i < n; i++) {
    if (slices[i].len > 0) memory[s->held_count++] = slices[i];
  }
  s->held_bytes = total;
  return 0;
}

int ml_sock_gather(struct ml_sock *s, const struct ml_slice *slices, size_t n, size_t total)
{
  uint8_t *room = ml_buf_reserve(&s->gathered, total);
  if (room == NULL) return -1;
  for (size_t i = 0; i < n; i++) {
    if (slices[i].len == 0) continue;
    memcpy(room, slices[i].data, slices[i].len);
    room += slices[i].len;
  }
  ml_buf_commit(&s->gathered, total);
  return 0;
}

/* Fills `vector` from the head of the queue, at most `limit` bytes; returns the number of entries.
 */
static size_t fill_vector(const struct ml_sock *s, struct iovec *vector, size_t limit,
                          size_t *offered)
{
  size_t n = 0;
  *offered = 0;
  size_t copied = ml_buf_size(&s->gathered);
  if (copied > 0) {
    vector[n++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)ml_buf_data(&s->gathered), .iov_len = copied};
    *offered = copied;
  }
  for (size_t i = 0; i < s->held_count && n < VECTOR_SIZE && *offered < limit; i++) {
    size_t len = s->held[i].len;
    if (len > limit - *offered) len = limit - *offered;
    vector[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)s->held[i].data, .iov_len = len};
    *offered += len;
  }
  return n;
}

static void consume(struct ml_sock *s, size_t sent)
{
  size_t copied = ml_buf_size(&s->gathered);
  if (copied > 0) {
    size_t part = sent < copied ? sent : copied;
    ml_buf_consume(&s->gathered, part);
    sent -= part;
  }
  s->held_bytes -= sent;
  while (sent > 0) {
    assert(s->held != NULL); /* the kernel takes no more than it was offered */
    if (sent < s->held->len) {
      s->held->data += sent;
      s->held->len -= sent;
      return;
    }
    sent -= s->held->len;
    s->held++;
    s->held_count--;
  }
  if (s->held_count == 0) ml_sock_drop_held(s);
}

/* The FIN goes along with the last of the data: without MSG_MORE each is a packet that wakes the
 * peer. The shutdown that follows at once sends what was held back (tcp(7), TCP_CORK). A reset
 * would drop it. */
static int send_flags(const struct ml_sock *s)
{
  bool last = (s->stream.end_follows || s->output == OUTPUT_FINISHING) && !s->reset;
  return MSG_DONTWAIT | MSG_NOSIGNAL | (last && s->is_tcp && !s->sealed ? MSG_MORE : 0);
}

static ssize_t send_vector(const struct ml_sock *s, struct iovec *vector, size_t n)
{
  struct msghdr message = {.msg_iov = vector, .msg_iovlen = n};
  ssize_t sent;
  do {
    sent = s->is_socket ? sendmsg(s->fd, &message, send_flags(s)) : writev(s->fd, vector, (int)n);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

/* 0, or -1 with errno. */
static int send_record(struct ml_sock *s)
{
#ifdef TLS_SET_RECORD_TYPE
  struct iovec part = {.iov_base = s->record, .iov_len = s->record_len};
  union {
    struct cmsghdr head;
    char room[CMSG_SPACE(1)];
  } control = {
      .head = {.cmsg_len = CMSG_LEN(1), .cmsg_level = SOL_TLS, .cmsg_type = TLS_SET_RECORD_TYPE}};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
  *CMSG_DATA(&control.head) = s->record_type;
  ssize_t sent;
  do {
    sent = sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return -1;
#endif
  s->record_len = 0;
  return 0;
}

static size_t data_queued(const struct ml_sock *s)
{
  return ml_sock_queue_size(s) - s->record_len;
}

int ml_sock_send_queue(struct ml_sock *s)
{
  size_t budget = s->sealed ? SEALED_BUDGET : SEND_BUDGET;
  while (data_queued(s) > 0 && budget > 0) {
    struct iovec vector[VECTOR_SIZE];
    size_t offered;
    size_t n = fill_vector(s, vector, budget, &offered);
    ssize_t sent = send_vector(s, vector, n);
    if (sent < 0) return ml_would_block(errno) ? ML_PENDING : ML_FAILED;
    consume(s, (size_t)sent);
    if ((size_t)sent < offered) return ML_PENDING;
    budget -= offered < budget ? offered : budget;
  }
  if (data_queued(s) > 0) return ML_PENDING;
  if (s->record_len > 0 && send_record(s) != 0)
    return ml_would_block(errno) ? ML_PENDING : ML_FAILED;
  return ML_DONE;
}

void ml_sock_linger(struct ml_sock *s, const struct ml_buf *words)
{
  int result = 0;
  for (size_t i = 0; i < s->held_count && result == 0; i++)
    result = ml_buf_append(&s->gathered, s->held[i].data, s->held[i].len);
  ml_sock_drop_held(s);
  if (result == 0) result = ml_buf_append(&s->gathered, ml_buf_data(words), ml_buf_size(words));
  s->linger = result == 0;
}

/* ---- Kernel TLS ---- */

int ml_sock_seal(struct ml_sock *s, const void *info, size_t len)
{
#ifdef TLS_SET_RECORD_TYPE
  if (s->phase != SOCK_OPEN || !s->is_tcp || ml_sock_queue_size(s) > 0) return -1;
  if (setsockopt(s->fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") != 0 ||
      setsockopt(s->fd, SOL_TLS, TLS_TX, info, (socklen_t)len) != 0)
    return -1;
  s->sealed = true;
  return 0;
#else
  (void)s, (void)info, (void)len;
  return -1;
#endif
}

void ml_sock_record(struct ml_sock *s, uint8_t type, const uint8_t *data, size_t len)
{
  assert(s->sealed && len > 0 && len <= ML_SOCK_RECORD_MAX);
  if (s->phase != SOCK_OPEN || s->output != OUTPUT_OPEN) return;
  s->record_type = type;
  s->record_len = (uint8_t)len;
  memcpy(s->record, data, len);
  if (!s->blocked) ml_loop_defer(s->stream.loop, &s->task);
}

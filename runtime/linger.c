#include "linger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct linger_on {
  struct ml_task end; /* closes */
  struct ml_loop *loop;
  ev_io reader, writer;
  ev_timer timer;
  struct ml_buf words;
  size_t discarded;
};

static void on_end(struct ml_task *task)
{
  struct linger_on *l = ML_CONTAINER_OF(task, struct linger_on, end);
  ml_task_cancel(&l->end);
  ml_loop_io_stop(l->loop, &l->reader, false);
  ml_loop_io_stop(l->loop, &l->writer, false);
  ml_loop_timer_stop(l->loop, &l->timer, false);
  close(l->reader.fd);
  ml_buf_free(&l->words);
  free(l);
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int revents)
{
  (void)ev;
  (void)revents;
  struct linger_on *l = timer->data;
  on_end(&l->end);
}

/* Whether the peer may still send something. */
static bool discard(struct linger_on *l)
{
  uint8_t *buffer = ml_loop_borrow(l->loop);
  ssize_t n = recv(l->reader.fd, buffer, ML_LOOP_BUFFER_SIZE, MSG_DONTWAIT);
  bool more = n > 0 || (n < 0 && ml_would_block(errno));
  ml_loop_give_back(l->loop, buffer);
  if (n > 0) l->discarded += (size_t)n;
  return more && l->discarded < ML_LINGER_BYTES;
}

static void on_readable(struct ev_loop *ev, ev_io *io, int revents)
{
  (void)ev;
  (void)revents;
  struct linger_on *l = io->data;
  if (discard(l)) return;
  ml_loop_io_stop(l->loop, &l->reader, false);
  if (ml_buf_size(&l->words) == 0) on_end(&l->end); /* else as soon as those have gone */
}

/* Sends what the kernel takes, and our end behind the last of it. -1: nothing more can be sent. */
static int speak(struct linger_on *l)
{
  while (ml_buf_size(&l->words) > 0) {
    ssize_t n = send(l->writer.fd, ml_buf_data(&l->words), ml_buf_size(&l->words),
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) return ml_would_block(errno) ? 0 : -1;
    ml_buf_consume(&l->words, (size_t)n);
  }
  return shutdown(l->writer.fd, SHUT_WR);
}

static void on_writable(struct ev_loop *ev, ev_io *io, int revents)
{
  (void)ev;
  (void)revents;
  struct linger_on *l = io->data;
  bool failed = speak(l) != 0;
  if (!failed && ml_buf_size(&l->words) > 0) return;
  ml_loop_io_stop(l->loop, &l->writer, false);
  if (failed || !ev_is_active(&l->reader)) on_end(&l->end);
}

void ml_linger(struct ml_loop *loop, int fd, struct ml_buf *words)
{
  struct linger_on *l = calloc(1, sizeof *l);
  if (l == NULL) {
    ml_buf_free(words);
    close(fd);
    return;
  }
  l->loop = loop;
  l->words = *words;
  *words = (struct ml_buf){0};
  l->end.run = on_end;
  ev_io_init(&l->reader, on_readable, fd, EV_READ);
  ev_io_init(&l->writer, on_writable, fd, EV_WRITE);
  ev_timer_init(&l->timer, on_timer, ML_LINGER_SECONDS, 0);
  l->reader.data = l->writer.data = l->timer.data = l;
  if (speak(l) != 0) {
    on_end(&l->end);
    return;
  }
  ml_loop_io_start(loop, &l->reader, false);
  if (ml_buf_size(&l->words) > 0) ml_loop_io_start(loop, &l->writer, false);
  ml_loop_timer_start(loop, &l->timer, false);
  ml_loop_at_end(loop, &l->end, ML_LINGER_COUNT);
}

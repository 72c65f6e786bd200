#include "linger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct linger_on {
  struct ml_task end; /* closes */
  struct ml_loop *loop;
  ev_io reader;
  ev_timer timer;
  size_t discarded;
};

static void on_end(struct ml_task *task)
{
  struct linger_on *l =
      (struct linger_on *)(void *)((char *)task - offsetof(struct linger_on, end));
  ml_task_cancel(&l->end);
  close(l->reader.fd);
  ml_loop_io_stop(l->loop, &l->reader, false);
  ml_loop_timer_stop(l->loop, &l->timer, false);
  free(l);
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int revents)
{
  (void)ev;
  (void)revents;
  struct linger_on *l = timer->data;
  on_end(&l->end);
}

static void on_readable(struct ev_loop *ev, ev_io *io, int revents)
{
  (void)ev;
  (void)revents;
  struct linger_on *l = io->data;
  uint8_t *buffer = ml_loop_borrow(l->loop);
  ssize_t n = recv(io->fd, buffer, ML_LOOP_BUFFER_SIZE, MSG_DONTWAIT);
  bool again = n < 0 && (errno == EAGAIN || errno == EINTR);
  ml_loop_give_back(l->loop, buffer);
  if (n > 0) l->discarded += (size_t)n;
  if (again || (n > 0 && l->discarded < ML_LINGER_BYTES)) return;
  on_end(&l->end);
}

void ml_linger(struct ml_loop *loop, int fd)
{
  struct linger_on *l = calloc(1, sizeof *l);
  if (l == NULL) {
    close(fd);
    return;
  }
  l->loop = loop;
  l->end.run = on_end;
  ev_io_init(&l->reader, on_readable, fd, EV_READ);
  ev_timer_init(&l->timer, on_timer, ML_LINGER_SECONDS, 0);
  l->reader.data = l->timer.data = l;
  ml_loop_io_start(loop, &l->reader, false);
  ml_loop_timer_start(loop, &l->timer, false);
  ml_loop_at_end(loop, &l->end, ML_LINGER_COUNT);
}

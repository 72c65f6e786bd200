#include "fswatch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define CONTENT (IN_ATTRIB | IN_MODIFY)
#define ENTRIES                                                                                    \
  (IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_MOVED_FROM | IN_MOVED_TO)

struct ml_fswatch {
  struct ml_loop *loop;
  ev_io io;
  ml_fswatch_cb *callback;
  void *user;
  bool ref;
  bool in_callback;
  bool closed; /* by its own callback: freed when that has returned */
  char name[NAME_MAX + 1];
};

static void deliver(struct ml_fswatch *watch, const struct inotify_event *event)
{
  const char *name = event->len > 0 ? event->name : watch->name;

  if (event->mask & CONTENT) watch->callback(watch, watch->user, ML_FS_CHANGED, name);
  if (!watch->closed && (event->mask & ENTRIES))
    watch->callback(watch, watch->user, ML_FS_RENAMED, name);
}

static void on_readable(struct ev_loop *ev, ev_io *io, int revents)
{
  struct ml_fswatch *watch = io->data;
  _Alignas(struct inotify_event) char buffer[4096];
  ssize_t len = read(io->fd, buffer, sizeof buffer);

  (void)ev;
  (void)revents;
  watch->in_callback = true;
  for (ssize_t at = 0; at < len && !watch->closed;) {
    const struct inotify_event *event = (const struct inotify_event *)(const void *)(buffer + at);

    at += (ssize_t)(sizeof *event + event->len);
    deliver(watch, event);
  }
  watch->in_callback = false;
  if (watch->closed) free(watch);
}

static void set_name(struct ml_fswatch *watch, const char *path)
{
  size_t len = strlen(path);
  const char *start;

  while (len > 1 && path[len - 1] == '/')
    len--;
  start = path + len;
  while (start > path && start[-1] != '/')
    start--;
  len = (size_t)(path + len - start);
  if (len > NAME_MAX) len = NAME_MAX;
  memcpy(watch->name, start, len);
  watch->name[len] = '\0';
}

int ml_fswatch_open(struct ml_fswatch **out, struct ml_loop *loop, const char *path,
                    ml_fswatch_cb *callback, void *user, struct ml_error *err)
{
  struct ml_fswatch *watch = NULL;
  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

  if (fd < 0 || inotify_add_watch(fd, path, CONTENT | ENTRIES) < 0) goto fail;
  watch = calloc(1, sizeof *watch);
  if (!watch) goto fail;
  watch->loop = loop;
  watch->callback = callback;
  watch->user = user;
  watch->ref = true;
  set_name(watch, path);
  ev_io_init(&watch->io, on_readable, fd, EV_READ);
  watch->io.data = watch;
  ml_loop_io_start(loop, &watch->io, true);
  *out = watch;
  return 0;

fail:
  ml_error_system_at(err, errno, "watch", path, 0);
  if (fd >= 0) close(fd);
  return -1;
}

void ml_fswatch_ref(struct ml_fswatch *watch, bool ref)
{
  if (watch->ref == ref) return;
  ml_loop_io_stop(watch->loop, &watch->io, watch->ref);
  watch->ref = ref;
  ml_loop_io_start(watch->loop, &watch->io, watch->ref);
}

void ml_fswatch_close(struct ml_fswatch *watch)
{
  ml_loop_io_stop(watch->loop, &watch->io, watch->ref);
  close(watch->io.fd);
  watch->closed = true;
  if (!watch->in_callback) free(watch);
}

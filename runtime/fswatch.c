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

/* A loop's inotify instance, there while anything is watched. One for all watches, because a user
 * may have 128 only (/proc/sys/fs/inotify/max_user_instances). */
struct instance {
  struct instance *next;
  struct ml_loop *loop;
  ev_io io;
  struct ml_fswatch *watches; /* newest first, so that one made in a callback misses its event */
  unsigned depth;             /* callbacks on the stack */
  bool ref;                   /* how `io` was started */
};

struct ml_fswatch {
  struct ml_fswatch *next;
  struct instance *instance;
  int descriptor; /* inotify's; watches of one place share it */
  ml_fswatch_cb *callback;
  void *user;
  bool ref;
  bool closed; /* freed when no callback is on the stack */
  char name[NAME_MAX + 1];
};

static _Thread_local struct instance *instances;

/* ---- The instance ---- */

/* It holds the loop open while a watch does. */
static void update_ref(struct instance *instance)
{
  bool ref = false;
  for (struct ml_fswatch *w = instance->watches; w != NULL; w = w->next)
    ref = ref || (w->ref && !w->closed);
  if (ref == instance->ref) return;
  ml_loop_io_stop(instance->loop, &instance->io, instance->ref);
  instance->ref = ref;
  ml_loop_io_start(instance->loop, &instance->io, ref);
}

static void dispose(struct instance *instance)
{
  struct instance **at = &instances;
  while (*at != instance)
    at = &(*at)->next;
  *at = instance->next;
  ml_loop_io_stop(instance->loop, &instance->io, instance->ref);
  close(instance->io.fd);
  free(instance);
}

/* Frees what was closed, and the instance with the last watch. */
static void sweep(struct instance *instance)
{
  if (instance->depth > 0) return;
  struct ml_fswatch **at = &instance->watches;
  while (*at != NULL) {
    struct ml_fswatch *watch = *at;
    if (watch->closed) {
      *at = watch->next;
      free(watch);
    } else {
      at = &watch->next;
    }
  }
  if (instance->watches == NULL) dispose(instance);
}

/* The kernel's queue was full, and nobody knows what was lost (inotify(7)). */
static void deliver_overflow(struct instance *instance)
{
  for (struct ml_fswatch *w = instance->watches; w != NULL; w = w->next)
    if (!w->closed) w->callback(w, w->user, ML_FS_CHANGED, w->name);
}

static void deliver(struct instance *instance, const struct inotify_event *event)
{
  if (event->mask & IN_Q_OVERFLOW) deliver_overflow(instance);
  for (struct ml_fswatch *w = instance->watches; w != NULL; w = w->next) {
    if (w->descriptor != event->wd) continue;
    const char *name = event->len > 0 ? event->name : w->name;
    if (!w->closed && (event->mask & CONTENT)) w->callback(w, w->user, ML_FS_CHANGED, name);
    if (!w->closed && (event->mask & ENTRIES)) w->callback(w, w->user, ML_FS_RENAMED, name);
  }
}

static void on_readable(struct ev_loop *ev, ev_io *io, int revents)
{
  struct instance *instance = io->data;
  _Alignas(struct inotify_event) char buffer[4096];
  ssize_t len = read(io->fd, buffer, sizeof buffer);

  (void)ev;
  (void)revents;
  instance->depth++;
  for (ssize_t at = 0; at < len;) {
    const struct inotify_event *event = (const struct inotify_event *)(const void *)(buffer + at);

    at += (ssize_t)(sizeof *event + event->len);
    deliver(instance, event);
  }
  instance->depth--;
  sweep(instance);
}

/* The loop's, made if there is none. NULL with errno. */
static struct instance *instance_of(struct ml_loop *loop)
{
  struct instance *instance = instances;
  while (instance != NULL && instance->loop != loop)
    instance = instance->next;
  if (instance != NULL) return instance;

  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return NULL;
  instance = calloc(1, sizeof *instance);
  if (instance == NULL) {
    close(fd);
    errno = ENOMEM;
    return NULL;
  }
  instance->loop = loop;
  ev_io_init(&instance->io, on_readable, fd, EV_READ);
  instance->io.data = instance;
  instance->next = instances;
  instances = instance;
  ml_loop_io_start(loop, &instance->io, false);
  return instance;
}

/* ---- Watches ---- */

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
  struct instance *instance = NULL;
  struct ml_fswatch *watch = calloc(1, sizeof *watch);

  if (watch == NULL) goto fail;
  instance = instance_of(loop);
  if (instance == NULL) goto fail;
  watch->descriptor = inotify_add_watch(instance->io.fd, path, CONTENT | ENTRIES);
  if (watch->descriptor < 0) goto fail;
  watch->instance = instance;
  watch->callback = callback;
  watch->user = user;
  watch->ref = true;
  set_name(watch, path);
  watch->next = instance->watches;
  instance->watches = watch;
  update_ref(instance);
  *out = watch;
  return 0;

fail:
  ml_error_system_at(err, errno, "watch", path, 0);
  free(watch);
  if (instance != NULL) sweep(instance);
  return -1;
}

void ml_fswatch_ref(struct ml_fswatch *watch, bool ref)
{
  watch->ref = ref;
  update_ref(watch->instance);
}

void ml_fswatch_close(struct ml_fswatch *watch)
{
  struct instance *instance = watch->instance;
  bool shared = false;

  watch->closed = true;
  for (struct ml_fswatch *w = instance->watches; w != NULL; w = w->next)
    shared = shared || (!w->closed && w->descriptor == watch->descriptor);
  /* Fails for a place that is gone, of which inotify has let go by itself. */
  if (!shared) (void)inotify_rm_watch(instance->io.fd, watch->descriptor);
  update_ref(instance);
  sweep(instance);
}

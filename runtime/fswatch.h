/* Changes of a file or a directory's entries, by inotify(7). */
#ifndef ML_FSWATCH_H
#define ML_FSWATCH_H

#include "loop.h"

enum ml_fs_change {
  ML_FS_CHANGED, /* contents or attributes */
  ML_FS_RENAMED, /* appeared, disappeared or moved */
};

struct ml_fswatch;

/* `name` is the entry that changed inside a watched directory, else the last part of the watched
 * path; so it is, with ML_FS_CHANGED, when more happened than the kernel remembers, for every
 * watch. Valid during the call only. The callback may close the watch. */
typedef void ml_fswatch_cb(struct ml_fswatch *watch, void *user, enum ml_fs_change change,
                           const char *name);

/* Starts watching; the watch holds the loop open. Fails with what inotify_init1(2) and
 * inotify_add_watch(2) fail. */
ML_MUST_CHECK int ml_fswatch_open(struct ml_fswatch **out, struct ml_loop *loop, const char *path,
                                  ml_fswatch_cb *callback, void *user, struct ml_error *err);

/* Whether it holds the loop open. */
void ml_fswatch_ref(struct ml_fswatch *watch, bool ref);

/* Ends it; no call follows, the pointer is gone. */
void ml_fswatch_close(struct ml_fswatch *watch);

#endif

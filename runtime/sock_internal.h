/* What sock.c (the stream: reading, writing, closing), sock_output.c (the output queue) and
 * sock_open.c (getting a descriptor, options) share. */
#ifndef ML_SOCK_INTERNAL_H
#define ML_SOCK_INTERNAL_H

#include "buf.h"
#include "sock.h"

enum sock_phase {
  SOCK_IDLE,       /* no descriptor yet */
  SOCK_CONNECTING, /* connect(2) under way */
  SOCK_OPEN,
  SOCK_BROKEN, /* failed; only close is left */
  SOCK_CLOSED, /* memory waits for the callbacks on the stack */
};

enum sock_output {
  OUTPUT_OPEN,
  OUTPUT_FINISHING, /* shutdown once the queue is empty */
  OUTPUT_FINISHED,
};

enum { SOCK_HELD_INLINE = 1 };

/* What every wake-up looks at comes first. */
struct ml_sock {
  struct ml_stream stream; /* must stay first */
  int fd;
  unsigned depth; /* callbacks on the stack */
  ev_io io;

  enum sock_phase phase : 4;
  enum sock_output output : 4;

  bool ref : 1;
  bool reading : 1; /* the owner wants on_read */
  bool ended : 1;   /* the peer's end has been read */
  bool blocked : 1; /* the kernel refused; wait for it to take more */
  bool write_pending : 1;
  bool is_socket : 1;
  bool is_tcp : 1;
  bool nodelay : 1; /* TCP_NODELAY is known to be on */
  bool reset : 1;   /* the close resets the connection */
  bool linger : 1;  /* the close waits for the peer */
  bool sealed : 1;  /* the kernel encrypts */
  bool keep_fd : 1; /* do not close the descriptor */

  /* Of a sealed sock: the record behind the queue; none when it has no length. */
  uint8_t record_type, record_len;
  uint8_t record[ML_SOCK_RECORD_MAX];

  const char *failed_call; /* set with failed_errno: a failure to report from the task */

  /* The output queue: first the copied bytes, then the slices of the write that is pending. */
  struct ml_buf gathered;
  struct ml_slice *held; /* slices not sent yet; points into held_memory */
  size_t held_count;
  size_t held_bytes;
  struct ml_slice *held_memory; /* held_inline, or from malloc */
  struct ml_slice held_inline[SOCK_HELD_INLINE];

  struct ml_task task; /* sends what was gathered; reports a failure that happened inside a call */
  int failed_errno;
  int restore_flags;      /* F_SETFL value to put back at the close, or -1 */
  struct ml_addr *target; /* while connecting, for the error's text; else NULL */
};

/* Makes the watcher agree with the state. */
void ml_sock_watch(struct ml_sock *s);

/* Sets the descriptor and the phase that follows from it; prepares the watcher. */
void ml_sock_adopt(struct ml_sock *s, int fd, enum sock_phase phase);

/* Called when the descriptor of a connecting sock is writable: reports on_connect or on_error. */
void ml_sock_finish_connect(struct ml_sock *s);

/* Around every callback: enter before, leave after. leave returns whether the sock is still there
 * and not closed. */
void ml_sock_enter(struct ml_sock *s);
bool ml_sock_leave(struct ml_sock *s);

/* ---- sock_output.c ---- */

/* Bytes that the kernel has not taken. */
size_t ml_sock_queue_size(const struct ml_sock *s);

/* Keeps the slices, `total` bytes, not what they point to. -1: no memory. */
ML_MUST_CHECK int ml_sock_hold(struct ml_sock *s, const struct ml_slice *slices, size_t n,
                               size_t total);

/* Appends a copy of them. -1: no memory. */
ML_MUST_CHECK int ml_sock_gather(struct ml_sock *s, const struct ml_slice *slices, size_t n,
                                 size_t total);

/* Offers the queue to the kernel. ML_DONE when it is empty now, ML_PENDING when some is left,
 * ML_FAILED with errno. */
ML_MUST_CHECK int ml_sock_send_queue(struct ml_sock *s);

/* Forgets what is held, or everything. */
void ml_sock_drop_held(struct ml_sock *s);
void ml_sock_drop_queue(struct ml_sock *s);

/* ---- sock.c ---- */

/* Breaks the sock and calls on_error. The sock may be gone afterwards. */
void ml_sock_fail(struct ml_sock *s, const struct ml_error *err);

#endif

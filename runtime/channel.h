/* Messages between two processes over a pair of unix sockets. Each arrives whole and in order, and
 * may bring a descriptor along (unix(7), SCM_RIGHTS): that is how processes share a listening port.
 *
 * On the wire a message is its length, four bytes in network order whose highest bit says that a
 * descriptor comes with it, and then its bytes. Both ends are ours; a peer that breaks the format
 * ends the channel.
 */
#ifndef ML_CHANNEL_H
#define ML_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "loop.h"

/* The longest message, in bytes. */
#define ML_CHANNEL_MESSAGE_MAX ((size_t)64 << 20)

struct ml_channel;

/* What a channel tells its owner, from the loop only. Inside either of them the channel may be
 * closed. */
struct ml_channel_events {
  /* `data` is valid during the call; `fd` is the owner's, -1 when none came along (or when this
   * process had no room for it). */
  void (*on_message)(struct ml_channel *, const uint8_t *data, size_t len, int fd);
  /* The other side is gone; err is NULL when it just closed. Called once. Closing is the owner's
   * duty. */
  void (*on_end)(struct ml_channel *, const struct ml_error *err);
};

/* Makes two connected descriptors, both close-on-exec. */
ML_MUST_CHECK int ml_channel_pair(int fds[2], struct ml_error *err);

/* Takes over `fd`, one end of a pair; on failure it stays the caller's. */
ML_MUST_CHECK int ml_channel_open(struct ml_channel **out, struct ml_loop *loop, int fd,
                                  const struct ml_channel_events *events, void *user,
                                  struct ml_error *err);

void *ml_channel_user(const struct ml_channel *channel);

/* Queues a copy of the message, with a duplicate of `fd` (-1: none). It leaves at once as far as
 * the other side has room. Fails with EMSGSIZE, with what dup(2) said, with EPIPE once the channel
 * has ended. */
ML_MUST_CHECK int ml_channel_send(struct ml_channel *channel, const uint8_t *data, size_t len,
                                  int fd, struct ml_error *err);

/* Waits for the next message, the loop aside, and delivers that one through on_message. For what a
 * new process has to know before anything else. Fails when the other side has gone. */
ML_MUST_CHECK int ml_channel_wait(struct ml_channel *channel, struct ml_error *err);

/* Whether an open channel keeps the loop running. On by default. */
void ml_channel_ref(struct ml_channel *channel, bool on);

/* Bytes that wait for the other side to make room. */
size_t ml_channel_queued(const struct ml_channel *channel);

/* One last try to send what is queued, then the end. No callbacks follow. */
void ml_channel_close(struct ml_channel *channel);

#endif

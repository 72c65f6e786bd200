/* A pipe: what one stream reads goes into another, at the pace of the second, with nobody in
 * between.
 *
 * Both streams keep their owners, who go on being told everything. They hand on what is the pipe's:
 * bytes that `from` reads, and that the write of `to` is done. Ends, errors and closing are the
 * owners' affair. While `to` is at work on a write of the pipe's, `from` does not read, and nobody
 * else may write to `to`.
 *
 * A pipe calls nobody. It owns memory only while a write is pending: the rest of one buffer.
 */
#ifndef ML_PIPE_H
#define ML_PIPE_H

#include "stream.h"

struct ml_pipe;

/* `from` may be `to`. No write of `to` may be pending. NULL when memory is short. */
ML_MUST_CHECK struct ml_pipe *ml_pipe_new(struct ml_stream *from, struct ml_stream *to);

struct ml_stream *ml_pipe_from(const struct ml_pipe *pipe);
struct ml_stream *ml_pipe_to(const struct ml_pipe *pipe);

/* Bytes that `from` has read, inside its on_read. Results as of ml_stream_write on `to`; `data` is
 * not needed afterwards in any case. ML_PENDING: `from` has been stopped. ML_FAILED: `to` is dead.
 */
ML_MUST_CHECK int ml_pipe_read(struct ml_pipe *pipe, const uint8_t *data, size_t len,
                               struct ml_error *err);

/* Size of the write that `to` is at work on, or 0. */
size_t ml_pipe_pending(const struct ml_pipe *pipe);

/* The pending write is done, or `to` is broken, and so it is never going to be. Starts `from` again
 * unless the pipe was stopped. */
void ml_pipe_written(struct ml_pipe *pipe);

/* Ends the pipe: `from` is not used any more, and may be closed. The pending write, if there is
 * one, goes on. */
void ml_pipe_stop(struct ml_pipe *pipe);

/* Once no write is pending, or `to` is broken or closed. Does not use the streams. */
void ml_pipe_free(struct ml_pipe *pipe);

#endif

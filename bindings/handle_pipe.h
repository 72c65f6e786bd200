/* Pipes between handles (pipe.h): where handle.c meets handle_pipe.c. A handle is the source of one
 * pipe at most (`out`), and the destination of one (`in`). */
#ifndef ML_HANDLE_PIPE_H
#define ML_HANDLE_PIPE_H

#include "handle.h"

/* Bytes that a handle with an `out` has read. */
void ml_handle_forward(struct ml_handle *source, const uint8_t *data, size_t len);

/* The write of a handle with an `in` is done. Returns whether that concerns the pipe alone: Lua
 * need not hear of it. */
bool ml_handle_forwarded(struct ml_handle *destination);

/* Ends the pipe that a handle is the source of. Returns the size of the write that its destination
 * is still at work on. */
size_t ml_handle_stop_out(struct ml_handle *source);

/* Ends the pipe that a handle is the destination of, and forgets its write: the stream is broken or
 * closed. */
void ml_handle_drop_in(struct ml_handle *destination);

#endif

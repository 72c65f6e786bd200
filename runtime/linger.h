/* The last moments of a connection that we have ended while its peer may still be sending.
 *
 * A descriptor that is closed with input unread, or that input arrives for afterwards, resets the
 * connection, and a reset takes with it what the peer has not read yet (RFC 2525, 2.17; RFC 1122,
 * 4.2.2.13): the alert that says why we are going. So the descriptor stays a little longer, nobody
 * reads what comes, and it is closed when the peer has ended, too.
 */
#ifndef ML_LINGER_H
#define ML_LINGER_H

#include "buf.h"
#include "loop.h"

#define ML_LINGER_SECONDS 2.0
#define ML_LINGER_BYTES ((size_t)16 << 20) /* input that is thrown away at most */
#define ML_LINGER_COUNT 256                /* on one loop; the oldest goes for the next one */

/* Takes over `fd`, a non-blocking socket or one that is used without blocking, and the memory of
 * `words`, which are sent before our side is ended. The loop is not held open by it, and closes it
 * at the latest when it goes. */
void ml_linger(struct ml_loop *loop, int fd, struct ml_buf *words);

#endif

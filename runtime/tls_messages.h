/* The one callback that sees every message of a connection (SSL_set_msg_callback(3)). */
#ifndef ML_TLS_MESSAGES_H
#define ML_TLS_MESSAGES_H

#include "tls_engine_internal.h"

/* From now on the messages are seen. They are from the start. */
void ml_tls_watch_messages(struct ml_tls *tls);

/* The handshake is over: messages are of no more interest, but for the ClientHello of a
 * renegotiation, unless somebody traces or counts them. */
void ml_tls_unwatch_messages(struct ml_tls *tls);

#endif

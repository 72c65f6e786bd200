/* OpenSSL for a client that has to be quicker than the servers it measures. */
#ifndef BENCH_PROVIDER_H
#define BENCH_PROVIDER_H

#include <openssl/crypto.h>

/* A library context with the default provider's algorithms, and three savings that no server can
 * tell from the wire: of the decoders only those for the keys of certificates are left (OpenSSL 3.0
 * goes through all of them for every certificate, a third of a client's handshake), all connections
 * use one X25519 key, and the server's ECDSA signature is checked in one handshake of sixteen, the
 * first included. Lives as long as the program; NULL when OpenSSL refuses. */
OSSL_LIB_CTX *provider_context(void);

#endif

/* JA4, a fingerprint of TLS clients: github.com/FoxIO-LLC/ja4, technical_details/JA4.md. */
#ifndef ML_TLS_JA4_H
#define ML_TLS_JA4_H

#include "error.h"
#include "tls_hello.h"

/* "t13d1516h2_8daaf6152771_e5627efa2ab1", NUL-terminated. */
#define ML_JA4_SIZE (10 + 1 + 12 + 1 + 12 + 1)

/* Writes the fingerprint of a hello that came over TCP. -1: no memory, or no SHA-256. */
ML_MUST_CHECK int ml_tls_ja4(const struct ml_tls_hello *hello, char out[ML_JA4_SIZE]);

#endif

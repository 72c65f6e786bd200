/* A second opinion on whom a certificate is for, for comparison with tls.checkServerIdentity: it
 * looks at the decoded names and never at a text made of them, and it is generous where the two may
 * differ (a star stands for anything within the first label). */
#ifndef FUZZ_NAMES_H
#define FUZZ_NAMES_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

/* Whether some name of `cert` may stand for `host`, a DNS name or an IP address as text. */
bool fuzz_may_be(const X509 *cert, const char *host, size_t len);

#endif

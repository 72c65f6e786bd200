/* Certificates read from the places where a system keeps those it trusts: PEM text, files, hashed
 * directories.
 *
 * Every function appends to a stack of the caller's, which keeps what had been appended when it
 * fails. A certificate that is there already is left out.
 */
#ifndef ML_TLS_ROOTS_H
#define ML_TLS_ROOTS_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/* Every certificate of a PEM text, "TRUSTED CERTIFICATE" and "X509 CERTIFICATE" too; anything else
 * in it is passed over. A block that cannot be read is a failure, a text without any is none. */
ML_MUST_CHECK int ml_tls_roots_add_text(STACK_OF(X509) * roots, const char *text, size_t len,
                                        struct ml_error *err);

/* Those of a file. One that is missing or has no certificate in it is a failure. */
ML_MUST_CHECK int ml_tls_roots_add_file(STACK_OF(X509) * roots, const char *path,
                                        struct ml_error *err);

/* Those of a directory prepared by openssl-rehash(1), in the order of their names; files in it that
 * cannot be read are passed over, as a look-up does. */
ML_MUST_CHECK int ml_tls_roots_add_dir(STACK_OF(X509) * roots, const char *path,
                                       struct ml_error *err);

/* Whether `path` is such a directory: it has names like "2e5ac55d.0". */
bool ml_tls_roots_is_hashed(const char *path);

/* Whether `cert` is among them. */
bool ml_tls_roots_contain(const STACK_OF(X509) * roots, const X509 *cert);

#endif

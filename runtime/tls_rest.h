/* What a connection holds while nothing happens. More than half of it is OpenSSL's SSL object,
 * which is mostly zeros: room for pipelines that are not used. The object cannot be moved or made
 * smaller, but whole pages inside it can be given back to the kernel while nobody looks at them. */
#ifndef ML_TLS_REST_H
#define ML_TLS_REST_H

#include <stdint.h>

/* The pages of an object that were given back, and what was in them. */
struct ml_tls_rest;

/* Gives back the whole pages inside the block of malloc's at `object`. Until ml_tls_rest_end nobody
 * may touch the object. NULL, with nothing changed, where that is impossible or not worth while. */
struct ml_tls_rest *ml_tls_rest_begin(void *object);

/* Restores what was in the pages. */
void ml_tls_rest_end(struct ml_tls_rest *rest);

#endif

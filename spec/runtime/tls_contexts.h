/* A context for either end, made anew for each version of TLS. */
#ifndef TLS_CONTEXTS_H
#define TLS_CONTEXTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tls_pair.h"

static struct ml_tls_context *server_context, *client_context; /* of the version at hand */

static inline void free_contexts(void)
{
  ml_tls_context_unref(server_context);
  ml_tls_context_unref(client_context);
  server_context = client_context = NULL;
}

/* The server is alpha, whom the client trusts. */
static inline void make_contexts(int version)
{
  free_contexts();
  server_context = make_context(&alpha, NULL, version);
  client_context = make_context(NULL, &alpha, version);
}

/* make_contexts, and what else a file's tests begin with: whoever includes this has it. */
static void set_version(int version);

static inline void each_version(void (*check)(void))
{
  set_version(TLS1_2_VERSION);
  check();
  set_version(TLS1_3_VERSION);
  check();
}

#endif

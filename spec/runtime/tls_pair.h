/* Two engines joined by two buffers: what one puts out, the other takes in. No sockets, no time. */
#ifndef ML_TLS_PAIR_H
#define ML_TLS_PAIR_H

#include <malloc.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "certmaker.h"
#include "tls_engine.h"

struct identity {
  char *cert, *key;
};

static inline char *bio_text(BIO *bio)
{
  char *data;
  long len = BIO_get_mem_data(bio, &data);
  char *text = malloc((size_t)len + 1);
  memcpy(text, data, (size_t)len);
  text[len] = '\0';
  BIO_free(bio);
  return text;
}

static inline struct identity make_identity(const char *name)
{
  struct ml_error err;
  X509 *cert = NULL;
  EVP_PKEY *key = EVP_EC_gen("P-256");
  struct ml_name_attribute subject = {.type = "CN", .value = name, .len = strlen(name)};
  struct ml_alt_name alt = {.kind = ML_ALT_DNS, .value = name, .len = strlen(name)};
  int64_t now = (int64_t)time(NULL);
  struct ml_cert_plan plan = {.key = key,
                              .not_before = now - 3600,
                              .not_after = now + 86400,
                              .version = 3,
                              .subject = &subject,
                              .subject_count = 1,
                              .names = &alt,
                              .name_count = 1};
  assert_int_equal(ml_cert_make(&cert, &plan, &err), 0);
  BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());
  assert_int_equal(PEM_write_bio_X509(cert_bio, cert), 1);
  assert_int_equal(PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL), 1);
  X509_free(cert);
  EVP_PKEY_free(key);
  return (struct identity){bio_text(cert_bio), bio_text(key_bio)};
}

static inline void free_identity(struct identity *identity)
{
  free(identity->cert);
  free(identity->key);
}

/* Whom most tests are about: group fixtures. */
static struct identity alpha, beta;

static inline int make_identities(void **state)
{
  (void)state;
  alpha = make_identity("alpha.test");
  beta = make_identity("beta.test");
  return 0;
}

static inline int free_identities(void **state)
{
  (void)state;
  free_identity(&alpha);
  free_identity(&beta);
  return 0;
}

/* A context with `own` as its identity and `trusted` as its only trust anchor; either may be NULL.
 */
static inline struct ml_tls_context *make_context(const struct identity *own,
                                                  const struct identity *trusted, int version)
{
  struct ml_error err;
  struct ml_tls_context *context;
  struct ml_tls_blob cert = {0}, key = {0}, ca = {0};
  struct ml_tls_context_options options = {
      .own_trust = true, .min_version = version, .max_version = version};
  if (own) {
    cert = (struct ml_tls_blob){own->cert, strlen(own->cert), NULL};
    key = (struct ml_tls_blob){own->key, strlen(own->key), NULL};
    options.cert = (struct ml_tls_blobs){&cert, 1};
    options.key = (struct ml_tls_blobs){&key, 1};
  }
  if (trusted) {
    ca = (struct ml_tls_blob){trusted->cert, strlen(trusted->cert), NULL};
    options.ca = (struct ml_tls_blobs){&ca, 1};
  }
  if (ml_tls_context_new(&context, &options, &err) != 0) fail_msg("%s", err.message);
  return context;
}

/* Whether there is a whole page inside the SSL, which is the allocator's business. */
static inline bool can_rest(struct ml_tls *tls)
{
  SSL *ssl = ml_tls_ssl(tls);
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)ssl;
  return (start + page - 1) / page < (start + malloc_usable_size(ssl)) / page;
}

struct pair {
  struct ml_tls *client, *server;
  enum ml_tls_result client_result, server_result;
  size_t chunk; /* at most so many bytes cross at a time; 0: all */
};

static inline struct ml_tls *make_engine(struct ml_tls_context *context,
                                         const struct ml_tls_options *options)
{
  struct ml_error err;
  struct ml_tls *tls;
  if (ml_tls_new(&tls, context, options, &err) != 0) fail_msg("%s", err.message);
  return tls;
}

/* Carries output of one engine to the other and lets that one's handshake go on. Returns bytes
 * carried. */
static inline size_t carry(struct ml_tls *from, struct ml_tls *to, size_t chunk,
                           enum ml_tls_result *result)
{
  struct ml_buf *out = ml_tls_output(from);
  size_t n = ml_buf_size(out);
  if (chunk && n > chunk) n = chunk;
  assert_int_equal(ml_tls_input(to, n ? ml_buf_data(out) : NULL, n), 0);
  if (!ml_tls_established(to)) *result = ml_tls_handshake(to);
  assert_int_equal(ml_tls_input_end(to), 0);
  if (n) ml_buf_consume(out, n);
  return n;
}

/* Runs both handshakes until neither has anything to say. */
static inline void shake(struct pair *pair)
{
  for (int i = 0; i < 100000; i++) {
    size_t moved = carry(pair->server, pair->client, pair->chunk, &pair->client_result);
    moved += carry(pair->client, pair->server, pair->chunk, &pair->server_result);
    if (moved == 0) return;
  }
  fail_msg("the handshake does not end");
}

static inline void expect_both_open(const struct pair *pair)
{
  if (pair->server_result == ML_TLS_ERROR) fail_msg("%s", ml_tls_error(pair->server)->message);
  if (pair->client_result == ML_TLS_ERROR) fail_msg("%s", ml_tls_error(pair->client)->message);
  assert_int_equal(pair->client_result, ML_TLS_OK);
  assert_int_equal(pair->server_result, ML_TLS_OK);
}

static inline void free_pair(struct pair *pair)
{
  ml_tls_free(pair->client);
  ml_tls_free(pair->server);
}

/* The client of an open connection reads what the server has sent since. Its last session, to be
 * freed, or NULL; `count`, unless it is NULL, is how many there were. */
static inline SSL_SESSION *last_session(struct pair *pair, int *count)
{
  uint8_t buffer[16];
  size_t n;
  SSL_SESSION *session = NULL;
  struct ml_tls_note *note;
  struct ml_buf *out = ml_tls_output(pair->server);
  const uint8_t *data = ml_buf_size(out) ? ml_buf_data(out) : NULL;
  assert_int_equal(ml_tls_input(pair->client, data, ml_buf_size(out)), 0);
  assert_int_equal(ml_tls_read(pair->client, buffer, sizeof(buffer), &n), ML_TLS_WANT_INPUT);
  assert_int_equal(ml_tls_input_end(pair->client), 0);
  ml_buf_free(out);
  if (count) *count = 0;
  while ((note = ml_tls_next_note(pair->client))) {
    if (note->kind == ML_NOTE_SESSION) {
      SSL_SESSION_free(session);
      session = note->session;
      SSL_SESSION_up_ref(session);
      if (count) ++*count;
    }
    ml_tls_note_free(note);
  }
  return session;
}

static inline void for_each_version(void (*check)(int version))
{
  check(TLS1_2_VERSION);
  check(TLS1_3_VERSION);
}

#endif

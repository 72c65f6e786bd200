#include "tls_bio.h"

#include <string.h>

#define HEADER_SIZE 5

/* ---- Records ---- */

void ml_tls_io_follow(struct ml_tls_io *io)
{
  io->following = true;
  io->head = 0;
  io->body = 0;
}

/* How many of `n` bytes the portion allows. */
static size_t allowed(const struct ml_tls_io *io, size_t n)
{
  if (io->portion == ML_IO_ALL) return n;
  if (io->head == 0 && io->portion == ML_IO_SPENT) return 0;
  size_t rest = io->head < HEADER_SIZE ? (size_t)(HEADER_SIZE - io->head) : io->body;
  return n < rest ? n : rest;
}

static void follow(struct ml_tls_io *io, const uint8_t *data, size_t n)
{
  if (io->portion == ML_IO_RECORD && n > 0 && io->head == 0) io->portion = ML_IO_SPENT;
  for (size_t step; n > 0; data += step, n -= step) {
    step = io->head < HEADER_SIZE ? 1 : n < io->body ? n : io->body;
    if (io->head == 3) io->body = (uint16_t)(*data << 8);
    if (io->head == 4) io->body |= *data;
    if (io->head < HEADER_SIZE)
      io->head++;
    else
      io->body = (uint16_t)(io->body - step);
    if (io->head == HEADER_SIZE && io->body == 0) io->head = 0;
  }
}

/* ---- The BIO ---- */

_Thread_local struct ml_tls_io *ml_tls_io_served;

static int io_read(BIO *bio, char *out, size_t size, size_t *done)
{
  struct ml_tls_io *io = ml_tls_io_served;
  BIO_clear_retry_flags(bio);
  size_t n = allowed(io, size < io->in_len ? size : io->in_len);
  if (n == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  if (io->following) follow(io, io->in, n);
  io->exhausted = io->answered = false;
  memcpy(out, io->in, n);
  io->in += n;
  io->in_len -= n;
  *done = n;
  return 1;
}

static int io_write(BIO *bio, const char *data, size_t len, size_t *done)
{
  struct ml_tls_io *io = ml_tls_io_served;
  BIO_clear_retry_flags(bio);
  if (!io->mute && ml_buf_append(&io->out, data, len) != 0) return 0;
  *done = len;
  return 1;
}

static long io_ctrl(BIO *bio, int command, long number, void *pointer)
{
  (void)bio;
  (void)number;
  (void)pointer;
  struct ml_tls_io *io = ml_tls_io_served;
  switch (command) {
  case BIO_CTRL_FLUSH:
    return 1;
  case BIO_CTRL_PENDING:
    return (long)io->in_len;
  case BIO_CTRL_WPENDING:
    return (long)ml_buf_size(&io->out);
  default:
    return 0;
  }
}

/* One method table for the process; OpenSSL wants it made at run time. */
static BIO_METHOD *method(void)
{
  static BIO_METHOD *shared;
  if (shared) return shared;
  BIO_METHOD *fresh = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "moonlatch engine");
  if (!fresh) return NULL;
  BIO_meth_set_read_ex(fresh, io_read);
  BIO_meth_set_write_ex(fresh, io_write);
  BIO_meth_set_ctrl(fresh, io_ctrl);
  return shared = fresh;
}

BIO *ml_tls_bio(void)
{
  static _Thread_local BIO *shared;
  BIO_METHOD *table = shared ? NULL : method();
  if (table) shared = BIO_new(table);
  if (!shared) return NULL;
  BIO_set_init(shared, 1);
  BIO_up_ref(shared);
  return shared;
}

/* Kernel TLS for what is sent, with a kernel of our own: setsockopt(2) and sendmsg(2) are replaced
 * by ones that do with the key what Linux does, so that it shows whether key, nonce and number are
 * right. What they cannot show is what a real kernel says to it. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tls_after.h"
#include "tls_ends.h"
#include "tls_offload.h"

#define LARGE ((size_t)8 * 1024 * 1024)
#define RECORD_SIZE ((size_t)16384)

/* ---- The kernel ---- */

static struct kernel {
  bool absent;   /* has no TLS */
  int no_cipher; /* does not know this one */
  /* One connection: */
  int fd;
  bool on;
  uint8_t key[32], nonce[12], number[8];
  const EVP_CIPHER *cipher;
  struct ml_buf pending; /* of a record that it has begun to send */
  int calls;
} kernel;

static int fail_with(int number)
{
  errno = number;
  return -1;
}

static void learn(const void *info)
{
  const struct tls_crypto_info *head = info;
  const struct tls12_crypto_info_aes_gcm_128 *small = info;
  const struct tls12_crypto_info_aes_gcm_256 *great = info;
  const struct tls12_crypto_info_chacha20_poly1305 *other = info;
  assert_int_equal(head->version, TLS_1_3_VERSION);
  switch (head->cipher_type) {
  case TLS_CIPHER_AES_GCM_128:
    kernel.cipher = EVP_aes_128_gcm();
    memcpy(kernel.key, small->key, 16);
    memcpy(kernel.nonce, small->salt, 4);
    memcpy(kernel.nonce + 4, small->iv, 8);
    memcpy(kernel.number, small->rec_seq, 8);
    break;
  case TLS_CIPHER_AES_GCM_256:
    kernel.cipher = EVP_aes_256_gcm();
    memcpy(kernel.key, great->key, 32);
    memcpy(kernel.nonce, great->salt, 4);
    memcpy(kernel.nonce + 4, great->iv, 8);
    memcpy(kernel.number, great->rec_seq, 8);
    break;
  default:
    assert_int_equal(head->cipher_type, TLS_CIPHER_CHACHA20_POLY1305);
    kernel.cipher = EVP_chacha20_poly1305();
    memcpy(kernel.key, other->key, 32);
    memcpy(kernel.nonce, other->iv, 12);
    memcpy(kernel.number, other->rec_seq, 8);
  }
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
  if (level == IPPROTO_TCP && name == TCP_ULP) {
    assert_string_equal(value, "tls");
    return kernel.absent ? fail_with(ENOENT) : 0;
  }
  if (level == SOL_TLS) {
    const struct tls_crypto_info *head = value;
    assert_int_equal(name, TLS_TX);
    if (head->cipher_type == kernel.no_cipher) return fail_with(EINVAL);
    assert_false(kernel.on);
    learn(value);
    kernel.on = true;
    kernel.fd = fd;
    return 0;
  }
  return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

/* RFC 8446, 5.2. */
static void seal_record(uint8_t type, const uint8_t *data, size_t len)
{
  uint8_t header[] = {23, 3, 3, (uint8_t)((len + 17) >> 8), (uint8_t)(len + 17)}, nonce[12];
  memcpy(nonce, kernel.nonce, sizeof(nonce));
  for (int i = 0; i < 8; i++)
    nonce[4 + i] ^= kernel.number[i];
  for (int i = 7; i >= 0 && ++kernel.number[i] == 0; i--)
    ;
  uint8_t *out = ml_buf_reserve(&kernel.pending, 5 + len + 17);
  assert_non_null(out);
  memcpy(out, header, 5);
  int n;
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  assert_int_equal(EVP_EncryptInit_ex(ctx, kernel.cipher, NULL, kernel.key, nonce), 1);
  assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, header, 5), 1);
  assert_int_equal(EVP_EncryptUpdate(ctx, out + 5, &n, data, (int)len), 1);
  assert_int_equal(EVP_EncryptUpdate(ctx, out + 5 + len, &n, &type, 1), 1);
  assert_int_equal(EVP_EncryptFinal_ex(ctx, out + 5 + len + 1, &n), 1);
  assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, out + 5 + len + 1), 1);
  EVP_CIPHER_CTX_free(ctx);
  ml_buf_commit(&kernel.pending, 5 + len + 17);
}

/* Whether all that was begun has been sent. */
static bool push(void)
{
  while (ml_buf_size(&kernel.pending) > 0) {
    ssize_t n = send(kernel.fd, ml_buf_data(&kernel.pending), ml_buf_size(&kernel.pending),
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) return false;
    ml_buf_consume(&kernel.pending, (size_t)n);
  }
  return true;
}

/* One record per call of data, or the head of it: as few as Linux may take. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
  if (!kernel.on || fd != kernel.fd) return syscall(SYS_sendmsg, fd, message, flags);
  uint8_t data[RECORD_SIZE], type = SSL3_RT_APPLICATION_DATA;
  size_t len = 0;
  const struct cmsghdr *control = CMSG_FIRSTHDR(message);
  if (control) {
    assert_int_equal(control->cmsg_level, SOL_TLS);
    assert_int_equal(control->cmsg_type, TLS_SET_RECORD_TYPE);
    type = *CMSG_DATA(control);
  }
  kernel.calls++;
  if (!push()) return fail_with(EAGAIN);
  for (size_t i = 0; i < message->msg_iovlen && len < sizeof(data); i++) {
    size_t part = message->msg_iov[i].iov_len;
    if (part > sizeof(data) - len) part = sizeof(data) - len;
    memcpy(data + len, message->msg_iov[i].iov_base, part);
    len += part;
  }
  seal_record(type, data, len);
  (void)push();
  return (ssize_t)len;
}

/* ---- Connections over TCP ---- */

static void make_tcp(int fds[2])
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(address);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
  fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fds[1], (struct sockaddr *)&address, len), 0);
  fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  assert_true(fds[0] >= 0);
  close(listener);
}

static void wish(struct ml_tls_context *context)
{
  SSL_CTX_set_options(ml_tls_context_ssl(context), SSL_OP_ENABLE_KTLS);
  ml_tls_context_enable_keylog(context);
}

static const struct ml_tls_options trusting_client = {.servername = "alpha.test",
                                                      .reject_unauthorized = true,
                                                      .want_sessions = true,
                                                      .renegotiable = true};

static void prepare(int version, const char *suite, bool server_wishes)
{
  set_version(version);
  ml_buf_free(&kernel.pending);
  kernel.on = false;
  kernel.calls = 0;
  if (suite) {
    assert_int_equal(SSL_CTX_set_ciphersuites(ml_tls_context_ssl(server_context), suite), 1);
    assert_int_equal(SSL_CTX_set_ciphersuites(ml_tls_context_ssl(client_context), suite), 1);
  }
  wish(server_wishes ? server_context : client_context);
}

static void open_tcp(struct ends *ends, int version, const char *suite, bool server_wishes)
{
  int fds[2];
  prepare(version, suite, server_wishes);
  make_tcp(fds);
  owner_open(&ends->server, adopt(fds[0]), make_engine(server_context, &plain_server));
  owner_open(&ends->client, adopt(fds[1]), make_engine(client_context, &trusting_client));
  turn_until(&ends->client.handshakes, 1);
  turn_until(&ends->server.handshakes, 1);
  turn_until_quiet();
}

static void check_echo(struct ends *ends)
{
  assert_int_equal(write_text(&ends->client, "ping"), ML_DONE);
  turn_until_length(&ends->server.r, 4);
  assert_int_equal(write_text(&ends->server, "po"), ML_DONE);
  assert_int_equal(write_text(&ends->server, "ng"), ML_DONE);
  turn_until_length(&ends->client.r, 4);
  expect_text(&ends->server, "ping");
  expect_text(&ends->client, "pong");
}

static void check_suite(const char *suite)
{
  struct ends ends;
  for (int server_wishes = 0; server_wishes < 2; server_wishes++) {
    open_tcp(&ends, TLS1_3_VERSION, suite, server_wishes);
    assert_true(kernel.on);
    struct owner *wisher = server_wishes ? &ends.server : &ends.client;
    assert_true(ml_tls_offloaded(ml_tls_stream_engine(wisher->tls)));
    check_echo(&ends);
    assert_int_equal(kernel.calls, 1); /* what one tick writes leaves together */
    ends_close(&ends);
  }
}

static void test_each_cipher_from_either_end(void **state)
{
  (void)state;
  check_suite("TLS_AES_128_GCM_SHA256");
  check_suite("TLS_AES_256_GCM_SHA384");
  check_suite("TLS_CHACHA20_POLY1305_SHA256");
}

static void expect_user_space(int version, const char *suite)
{
  struct ends ends;
  open_tcp(&ends, version, suite, true);
  assert_false(kernel.on);
  assert_false(ml_tls_offloaded(ml_tls_stream_engine(ends.server.tls)));
  assert_false(ml_tls_offload_wanted(ml_tls_stream_engine(ends.server.tls)));
  check_echo(&ends);
  ends_close(&ends);
}

static void test_what_the_kernel_cannot_do_is_done_without_it(void **state)
{
  (void)state;
  expect_user_space(TLS1_2_VERSION, NULL);
  expect_user_space(TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256");
  kernel.absent = true;
  expect_user_space(TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
  kernel.absent = false;
  kernel.no_cipher = TLS_CIPHER_CHACHA20_POLY1305;
  expect_user_space(TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256");
  kernel.no_cipher = 0;
}

static void test_a_large_write_in_pieces_and_its_end(void **state)
{
  (void)state;
  struct ends ends;
  uint8_t *data = malloc(LARGE);
  assert_non_null(data);
  for (size_t i = 0; i < LARGE; i++)
    data[i] = (uint8_t)(i * 7 + i / 1000);
  open_tcp(&ends, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", true);
  assert_int_equal(write_bytes(&ends.server, data, LARGE), ML_PENDING);
  assert_int_equal(ends.server.r.count[WRITTEN], 0);
  assert_true(ml_stream_queued(ends.server.r.stream) > 0);
  shut(&ends.server); /* behind it */
  assert_int_equal(write_text(&ends.client, "meanwhile"), ML_DONE);
  turn_until_length(&ends.client.r, LARGE);
  turn_until(&ends.server.r.count[WRITTEN], 1);
  turn_until(&ends.server.r.count[SHUTDOWN], 1);
  turn_until(&ends.client.r.count[END], 1);
  turn_until_length(&ends.server.r, 9);
  assert_int_equal(ends.client.r.len, LARGE);
  assert_memory_equal(ends.client.r.bytes, data, LARGE);
  assert_int_equal(ends.client.r.count[ERROR], 0);
  /* close_notify came, not just the end of the connection */
  assert_int_equal(ml_tls_state(ml_tls_stream_engine(ends.client.tls)), ML_TLS_PEER_CLOSED);
  ends_close(&ends);
  free(data);
}

static void test_an_alert_goes_through_the_kernel(void **state)
{
  (void)state;
  struct ends ends;
  const uint8_t nonsense[] = {23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8,
                              9,  0, 1, 2, 3,  4, 5, 6, 7, 8, 9, 0};
  open_tcp(&ends, TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", true);
  struct ml_sock *sock = ml_sock_from(ml_stream_transport(ends.client.r.stream));
  assert_int_equal(send(ml_sock_fd(sock), nonsense, sizeof(nonsense), 0), sizeof(nonsense));
  turn_until(&ends.server.r.count[ERROR], 1);
  assert_string_equal(ends.server.r.error.code, "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC");
  owner_close(&ends.server);
  turn_until(&ends.client.r.count[ERROR], 1);
  assert_int_equal(ends.client.r.error.alert, SSL_AD_BAD_RECORD_MAC);
  assert_int_equal(ends.client.r.error.alert_from, ML_ALERT_PEER);
  ends_close(&ends);
}

static void test_new_keys_end_the_connection_when_the_peer_asks(void **state)
{
  (void)state;
  struct ends ends;
  struct ml_error err;
  for (int server_wishes = 0; server_wishes < 2; server_wishes++) {
    open_tcp(&ends, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", server_wishes);
    struct owner *wisher = server_wishes ? &ends.server : &ends.client;
    struct owner *other = server_wishes ? &ends.client : &ends.server;
    /* The peer's own alone are no trouble. */
    assert_int_equal(ml_tls_update_keys(ml_tls_stream_engine(other->tls), false, &err), 0);
    check_echo(&ends);
    assert_int_equal(ml_tls_update_keys(ml_tls_stream_engine(wisher->tls), false, &err), -1);
    assert_string_equal(err.code, "ERR_TLS_KTLS_ACTIVE");
    assert_int_equal(ml_tls_update_keys(ml_tls_stream_engine(other->tls), true, &err), 0);
    ml_tls_stream_resume(other->tls);
    turn_until(&wisher->r.count[ERROR], 1);
    assert_string_equal(wisher->r.error.code, "ERR_TLS_KTLS_ACTIVE");
    owner_close(wisher);
    turn_until(&other->r.count[ERROR], 1);
    assert_int_equal(other->r.error.alert, SSL_AD_INTERNAL_ERROR);
    ends_close(&ends);
  }
}

static void exchange_keys(struct owner *owner, enum told what)
{
  struct ml_error err;
  if (what == TOLD_HANDSHAKE)
    assert_int_equal(ml_tls_update_keys(ml_tls_stream_engine(owner->tls), false, &err), 0);
}

static void test_keys_exchanged_before_keep_the_kernel_out(void **state)
{
  (void)state;
  struct ends ends;
  int fds[2];
  prepare(TLS1_3_VERSION, NULL, true);
  make_tcp(fds);
  owner_open(&ends.server, adopt(fds[0]), make_engine(server_context, &plain_server));
  owner_open(&ends.client, adopt(fds[1]), make_engine(client_context, &trusting_client));
  ends.server.told = exchange_keys;
  turn_until(&ends.client.handshakes, 1);
  turn_until(&ends.server.handshakes, 1);
  check_echo(&ends);
  assert_false(kernel.on);
  ends_close(&ends);
}

static int leave(void **state)
{
  ml_buf_free(&kernel.pending);
  return tear_down(state);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_cipher_from_either_end),
      cmocka_unit_test(test_what_the_kernel_cannot_do_is_done_without_it),
      cmocka_unit_test(test_a_large_write_in_pieces_and_its_end),
      cmocka_unit_test(test_an_alert_goes_through_the_kernel),
      cmocka_unit_test(test_new_keys_end_the_connection_when_the_peer_asks),
      cmocka_unit_test(test_keys_exchanged_before_keep_the_kernel_out),
  };
  return cmocka_run_group_tests(tests, set_up, leave);
}

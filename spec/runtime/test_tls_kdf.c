/* The program's TLS13-KDF and TLS1-PRF against OpenSSL's own. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls_kdf.h"

#define OURS "provider=moonlatch"
#define THEIRS "provider=default"

struct input {
  int mode;
  const char *digest;
  const unsigned char *key, *salt, *data;
  size_t key_len, salt_len, data_len, label_len;
};

static int make(OSSL_PARAM *p, struct input *in)
{
  static char label[256] = "a label that is longer than any of those in RFC 8446";
  int n = 0;
  p[n++] = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &in->mode);
  if (in->digest)
    p[n++] =
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)in->digest, 0);
  if (in->key)
    p[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)in->key,
                                               in->key_len);
  if (in->salt)
    p[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)in->salt,
                                               in->salt_len);
  p[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6);
  p[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, label, in->label_len);
  if (in->data)
    p[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_DATA, (void *)(uintptr_t)in->data,
                                               in->data_len);
  p[n] = OSSL_PARAM_construct_end();
  return n;
}

static int derive(const char *provider, struct input *in, unsigned char *out, size_t len, int set)
{
  OSSL_PARAM params[8];
  make(params, in);
  EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", provider);
  assert_non_null(kdf);
  EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
  assert_non_null(ctx);
  if (set) assert_int_equal(EVP_KDF_CTX_set_params(ctx, params), 1);
  int ok = EVP_KDF_derive(ctx, out, len, set ? NULL : params);
  EVP_KDF_CTX_free(ctx);
  EVP_KDF_free(kdf);
  return ok;
}

/* Both agree: on the bytes, or on there being none. */
static void compare(struct input *in, size_t len)
{
  unsigned char ours[512] = {0}, theirs[512] = {0};
  int expected = derive(THEIRS, in, theirs, len, 0);
  assert_int_equal(derive(OURS, in, ours, len, 0) > 0, expected > 0);
  if (expected > 0) assert_memory_equal(ours, theirs, len);
}

static void it_derives_what_openssl_derives(void **state)
{
  (void)state;
  static const char *const digests[] = {"SHA256", "SHA384", "SHA2-256", "SHA2-384"};
  static const size_t sizes[] = {32, 48, 32, 48};
  unsigned char bytes[256];
  for (int round = 0; round < 2000; round++) {
    int which = round % 4;
    assert_int_equal(RAND_bytes(bytes, sizeof(bytes)), 1);
    struct input in = {.digest = digests[which], .label_len = bytes[0] % 53};
    in.mode = bytes[1] % 2 ? EVP_KDF_HKDF_MODE_EXPAND_ONLY : EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
    in.key = bytes[2] % 4 || in.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY ? bytes + 16 : NULL;
    in.key_len = sizes[which];
    in.salt = bytes[3] % 2 ? bytes + 80 : NULL;
    in.salt_len = sizes[which];
    in.data = bytes[4] % 4 ? bytes + 140 : NULL;
    in.data_len = bytes[5] % 65;
    compare(&in,
            in.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY ? bytes[6] % sizes[which] + 1 : sizes[which]);
  }
}

static void what_tls_never_asks_for_is_openssls_own_business(void **state)
{
  (void)state;
  unsigned char key[200] = {7}, ours[512], theirs[512];
  struct input in = {.mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
                     .digest = "SHA256",
                     .key = key,
                     .key_len = 32,
                     .label_len = 10,
                     .data = key,
                     .data_len = 32};
  compare(&in, 33);
  compare(&in, 400);
  in.key_len = 200;
  compare(&in, 32);
  in.key_len = 0;
  compare(&in, 32);
  in.digest = "SHA512";
  compare(&in, 64);
  in.digest = NULL;
  compare(&in, 32);
  in.digest = "SHA256";
  in.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
  in.key_len = 64;
  compare(&in, 31);
  in.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
  compare(&in, 32);
  /* Set first, derived afterwards. */
  in.mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  in.key_len = 32;
  assert_int_equal(derive(THEIRS, &in, theirs, 32, 1), 1);
  assert_int_equal(derive(OURS, &in, ours, 32, 1), 1);
  assert_memory_equal(ours, theirs, 32);
}

/* RFC 8448, 3: "derive secret for handshake", and the server's handshake traffic key from it. */
static void it_agrees_with_the_rfc(void **state)
{
  (void)state;
  static const unsigned char secret[] = {0xb6, 0x7b, 0x7d, 0x69, 0x0c, 0xc1, 0x6c, 0x4e,
                                         0x75, 0xe5, 0x42, 0x13, 0xcb, 0x2d, 0x37, 0xb4,
                                         0xe9, 0xc9, 0x12, 0xbc, 0xde, 0xd9, 0x10, 0x5d,
                                         0x42, 0xbe, 0xfd, 0x59, 0xd3, 0x91, 0xad, 0x38};
  static const unsigned char expected[] = {0x3f, 0xce, 0x51, 0x60, 0x09, 0xc2, 0x17, 0x27,
                                           0xd0, 0xf2, 0xe4, 0xe8, 0x6e, 0xe4, 0x03, 0xbc};
  unsigned char out[16];
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret, 32),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, "key", 3),
      OSSL_PARAM_construct_end(),
  };
  EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", OURS);
  EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
  assert_int_equal(EVP_KDF_derive(ctx, out, sizeof(out), params), 1);
  assert_memory_equal(out, expected, sizeof(out));
  EVP_KDF_CTX_free(ctx);
  EVP_KDF_free(kdf);
}

/* ---- TLS 1.2 ---- */

struct prf_input {
  const char *digest;
  const unsigned char *secret, *seed;
  size_t secret_len, seed_len[3]; /* parts of the seed, one behind the other */
};

static int derive_prf(const char *provider, const struct prf_input *in, unsigned char *out,
                      size_t len)
{
  OSSL_PARAM params[8];
  int n = 0;
  const unsigned char *seed = in->seed;
  params[n++] =
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)in->digest, 0);
  if (in->secret)
    params[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET,
                                                    (void *)(uintptr_t)in->secret, in->secret_len);
  for (int i = 0; i < 3; seed += in->seed_len[i++])
    params[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)(uintptr_t)seed,
                                                    in->seed_len[i]);
  params[n] = OSSL_PARAM_construct_end();
  EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", provider);
  assert_non_null(kdf);
  EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
  assert_non_null(ctx);
  int ok = EVP_KDF_derive(ctx, out, len, params);
  EVP_KDF_CTX_free(ctx);
  EVP_KDF_free(kdf);
  return ok;
}

static void compare_prf(const struct prf_input *in, size_t len)
{
  unsigned char ours[512] = {0}, theirs[512] = {0};
  int expected = derive_prf(THEIRS, in, theirs, len);
  assert_int_equal(derive_prf(OURS, in, ours, len) > 0, expected > 0);
  if (expected > 0) assert_memory_equal(ours, theirs, len);
}

static void it_is_the_prf_of_tls_1_2_too(void **state)
{
  (void)state;
  static const char *const digests[] = {"SHA256", "SHA384", "SHA2-256", "SHA2-384"};
  unsigned char bytes[512];
  for (int round = 0; round < 2000; round++) {
    assert_int_equal(RAND_bytes(bytes, sizeof(bytes)), 1);
    struct prf_input in = {.digest = digests[round % 4],
                           .secret = bytes + 16,
                           .seed = bytes + 200,
                           .secret_len = bytes[0] % 130 + 1u,
                           .seed_len = {bytes[1] % 20 + 1u, bytes[2] % 64, bytes[3] % 64}};
    compare_prf(&in, bytes[4] + 1u);
  }
}

static void older_prfs_and_odd_requests_are_openssls_own_business(void **state)
{
  (void)state;
  unsigned char bytes[512] = {1, 2, 3};
  struct prf_input in = {.digest = "MD5-SHA1",
                         .secret = bytes,
                         .seed = bytes,
                         .secret_len = 48,
                         .seed_len = {13, 32, 32}};
  compare_prf(&in, 104);
  in.digest = "SHA512";
  compare_prf(&in, 104);
  in.digest = "SHA256";
  in.seed_len[1] = in.seed_len[2] = 200;
  compare_prf(&in, 104);
  in.seed_len[0] = in.seed_len[1] = in.seed_len[2] = 0;
  compare_prf(&in, 32);
  in.seed_len[0] = 10;
  in.secret = NULL;
  compare_prf(&in, 32);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_derives_what_openssl_derives),
      cmocka_unit_test(what_tls_never_asks_for_is_openssls_own_business),
      cmocka_unit_test(it_agrees_with_the_rfc),
      cmocka_unit_test(it_is_the_prf_of_tls_1_2_too),
      cmocka_unit_test(older_prfs_and_odd_requests_are_openssls_own_business),
  };
  const char *properties = ml_tls_kdf_properties();
  if (!properties || strcmp(properties, "?provider=moonlatch") != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tls_offload.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <stdlib.h>
#include <string.h>

#include "tls_derive.h"
#include "tls_engine_internal.h"

/* Headers older than this have no TLS 1.3. */
#if defined(__linux__) && __has_include(<linux/tls.h>)
#include <linux/tls.h>
#endif

#ifdef SSL_OP_ENABLE_KTLS
#define WISH SSL_OP_ENABLE_KTLS
#else
#define WISH 0
#endif

#define NONCE 12 /* of all ciphers of TLS 1.3 */

struct ml_tls_offload {
  enum { OFFLOAD_COUNTING, OFFLOAD_TAKEN } phase;
  uint64_t records; /* written with the secret */
  uint8_t secret[EVP_MAX_MD_SIZE];
  size_t secret_len;
  uint8_t alert[2];
  bool alert_due;
  bool broken; /* OpenSSL has written a handshake message that cannot be sent */
};

/* ---- The secret ---- */

void ml_tls_offload_free(struct ml_tls *tls)
{
  if (!tls->offload) return;
  OPENSSL_cleanse(tls->offload, sizeof(*tls->offload));
  free(tls->offload);
  tls->offload = NULL;
}

void ml_tls_offload_forget(struct ml_tls *tls)
{
  if (ml_tls_offloaded(tls)) return;
  ml_tls_offload_free(tls);
  SSL_clear_options(awake(tls), WISH); /* the secret may be still to come */
}

void ml_tls_offload_secret(struct ml_tls *tls, const char *line)
{
  const char *label = tls->server ? "SERVER_TRAFFIC_SECRET_0 " : "CLIENT_TRAFFIC_SECRET_0 ";
  if (!(SSL_get_options(awake(tls)) & WISH) || strncmp(line, label, strlen(label)) != 0) return;
  const char *hex = strchr(line + strlen(label), ' '); /* behind the client's random */
  if (!tls->offload) tls->offload = calloc(1, sizeof(*tls->offload));
  if (!tls->offload || !hex) return;
  struct ml_tls_offload *offload = tls->offload;
  offload->records = 0;
  if (OPENSSL_hexstr2buf_ex(offload->secret, sizeof(offload->secret), &offload->secret_len, hex + 1,
                            '\0') != 1)
    ml_tls_offload_free(tls);
}

void ml_tls_offload_message(struct ml_tls *tls, int content_type, const uint8_t *message,
                            size_t len)
{
  struct ml_tls_offload *offload = tls->offload;
  if (!offload) return;
  if (content_type == SSL3_RT_HEADER) {
    offload->records++;
  } else if (offload->phase == OFFLOAD_TAKEN) {
    if (content_type == SSL3_RT_HANDSHAKE) offload->broken = true;
    if (content_type != SSL3_RT_ALERT || len != sizeof(offload->alert)) return;
    memcpy(offload->alert, message, len);
    offload->alert_due = true;
  } else if (content_type == SSL3_RT_HANDSHAKE && len > 0 && *message == SSL3_MT_KEY_UPDATE) {
    ml_tls_offload_free(tls); /* the secret is another one from here on */
  }
}

/* ---- The key ---- */

static OSSL_PARAM octets(const char *key, const void *data, size_t len)
{
  return OSSL_PARAM_construct_octet_string(key, (void *)(uintptr_t)data, len);
}

/* HKDF-Expand-Label (RFC 8446, 7.1) without a context. */
static int expand(const struct ml_tls_offload *offload, const EVP_MD *md, const char *label,
                  uint8_t *out, size_t len)
{
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                       (char *)(uintptr_t)EVP_MD_get0_name(md), 0),
      octets(OSSL_KDF_PARAM_KEY, offload->secret, offload->secret_len),
      octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
      octets(OSSL_KDF_PARAM_LABEL, label, strlen(label)),
      OSSL_PARAM_construct_end(),
  };
  return ml_tls_derive_hkdf(out, len, params) == 1 ? 0 : -1;
}

/* What the kernel has of TLS 1.3's suites. All its structs are alike but for the sizes: version and
 * cipher, then the nonce's end, the key, the nonce's beginning, the number of the next record. */
static const struct suite {
  uint32_t id; /* OpenSSL's */
  uint16_t cipher;
  uint8_t iv, key, salt;
} suites[] = {
#ifdef TLS_1_3_VERSION
    {TLS1_3_CK_AES_128_GCM_SHA256, TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_128_IV_SIZE,
     TLS_CIPHER_AES_GCM_128_KEY_SIZE, TLS_CIPHER_AES_GCM_128_SALT_SIZE},
#ifdef TLS_CIPHER_AES_GCM_256
    {TLS1_3_CK_AES_256_GCM_SHA384, TLS_CIPHER_AES_GCM_256, TLS_CIPHER_AES_GCM_256_IV_SIZE,
     TLS_CIPHER_AES_GCM_256_KEY_SIZE, TLS_CIPHER_AES_GCM_256_SALT_SIZE},
#endif
#ifdef TLS_CIPHER_CHACHA20_POLY1305
    {TLS1_3_CK_CHACHA20_POLY1305_SHA256, TLS_CIPHER_CHACHA20_POLY1305,
     TLS_CIPHER_CHACHA20_POLY1305_IV_SIZE, TLS_CIPHER_CHACHA20_POLY1305_KEY_SIZE,
     TLS_CIPHER_CHACHA20_POLY1305_SALT_SIZE},
#endif
#endif
    {0, 0, 0, 0, 0},
};

static const struct suite *find_suite(uint32_t id)
{
  for (const struct suite *suite = suites; suite->id; suite++)
    if (suite->id == id) return suite;
  return NULL;
}

static int derive(const struct ml_tls_offload *offload, const SSL_CIPHER *cipher,
                  struct ml_tls_seal *seal)
{
  uint8_t nonce[NONCE];
  const struct suite *suite = find_suite(SSL_CIPHER_get_id(cipher));
  const EVP_MD *md = SSL_CIPHER_get_handshake_digest(cipher);
  if (!suite || !md || expand(offload, md, "iv", nonce, sizeof(nonce)) != 0) return -1;
  uint16_t head[] = {TLS1_3_VERSION, suite->cipher};
  uint8_t *at = seal->info;
  memcpy(at, head, sizeof(head));
  at += sizeof(head);
  memcpy(at, nonce + suite->salt, suite->iv);
  at += suite->iv;
  if (expand(offload, md, "key", at, suite->key) != 0) return -1;
  at += suite->key;
  memcpy(at, nonce, suite->salt);
  at += suite->salt;
  for (int i = 0; i < 8; i++)
    *at++ = (uint8_t)(offload->records >> (56 - 8 * i));
  seal->len = (size_t)(at - seal->info);
  return 0;
}

/* Records that may be full ones: the kernel writes no others. */
static bool sized_as_usual(const struct ml_tls *tls)
{
  const SSL_SESSION *session = SSL_get0_session(awake(tls));
  return !session ||
         SSL_SESSION_get_max_fragment_length(session) == TLSEXT_max_fragment_length_DISABLED;
}

bool ml_tls_offload_wanted(const struct ml_tls *tls)
{
  return tls->offload && tls->offload->phase == OFFLOAD_COUNTING;
}

bool ml_tls_offload_key(struct ml_tls *tls, struct ml_tls_seal *seal)
{
  if (!ml_tls_offload_wanted(tls)) return false;
  bool idle = tls->state == ML_TLS_OPEN && !SSL_in_init(awake(tls)) &&
              ml_buf_size(&tls->io.out) == 0 && tls->after.update == ML_UPDATE_NONE &&
              SSL_get_key_update_type(awake(tls)) == SSL_KEY_UPDATE_NONE;
  if (!idle) return false;
  ml_error_clear_openssl();
  if (sized_as_usual(tls) && derive(tls->offload, SSL_get_current_cipher(awake(tls)), seal) == 0)
    return true;
  ml_error_clear_openssl();
  ml_tls_offload_free(tls);
  return false;
}

/* ---- Afterwards ---- */

void ml_tls_offload_settle(struct ml_tls *tls, bool taken)
{
  if (!taken) {
    ml_tls_offload_free(tls);
    return;
  }
  OPENSSL_cleanse(tls->offload->secret, sizeof(tls->offload->secret));
  tls->offload->phase = OFFLOAD_TAKEN;
  tls->io.mute = true;
}

bool ml_tls_offloaded(const struct ml_tls *tls)
{
  return tls->offload && tls->offload->phase == OFFLOAD_TAKEN;
}

bool ml_tls_offload_alert(struct ml_tls *tls, uint8_t alert[2])
{
  struct ml_tls_offload *offload = tls->offload;
  if (!offload || !offload->alert_due) return false;
  offload->alert_due = false;
  memcpy(alert, offload->alert, sizeof(offload->alert));
  return true;
}

static void active_error(struct ml_error *err)
{
  ml_error_misuse(
      err, "ERR_TLS_KTLS_ACTIVE",
      "The kernel encrypts what this connection sends, and writes no handshake messages");
}

int ml_tls_offload_refuse(const struct ml_tls *tls, struct ml_error *err)
{
  if (!ml_tls_offloaded(tls)) return 0;
  active_error(err);
  return -1;
}

enum ml_tls_result ml_tls_offload_check(struct ml_tls *tls)
{
  struct ml_error err;
  if (!tls->offload || !tls->offload->broken) return ML_TLS_OK;
  if (!tls->offload->alert_due) {
    tls->offload->alert[0] = SSL3_AL_FATAL;
    tls->offload->alert[1] = SSL_AD_INTERNAL_ERROR;
    tls->offload->alert_due = true;
  }
  active_error(&err);
  return ml_tls_fail_with(tls, &err);
}

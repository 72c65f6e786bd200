#include "tls_tickets.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

/* What ml_tls_tickets_init returns, as OpenSSL wants it. */
enum { FAILED = -1, UNKNOWN = 0, READY = 1, READY_TO_RENEW = 2 };

/* ---- The ring ---- */

int ml_ticket_ring_set(struct ml_ticket_ring *ring, const uint8_t *keys, size_t len,
                       struct ml_error *err)
{
  if (keys && (len == 0 || len % ML_TICKET_KEYS_SIZE != 0)) {
    ml_error_misuse(err, "ERR_INVALID_ARG_VALUE", "Ticket keys are %d bytes each",
                    ML_TICKET_KEYS_SIZE);
    return -1;
  }
  if (!keys) len = ML_TICKET_KEYS_SIZE;
  struct ml_ticket_ring made = {malloc(len), len / ML_TICKET_KEYS_SIZE};
  if (!made.keys) {
    ml_error_system(err, ENOMEM, "malloc");
    return -1;
  }
  if (keys) {
    memcpy(made.keys, keys, len);
  } else if (RAND_bytes((uint8_t *)made.keys, (int)len) != 1) {
    ml_error_openssl(err, "no random ticket keys");
    free(made.keys);
    return -1;
  }
  ml_ticket_ring_free(ring);
  *ring = made;
  return 0;
}

void ml_ticket_ring_free(struct ml_ticket_ring *ring)
{
  if (!ring->keys) return;
  OPENSSL_cleanse(ring->keys, ring->count * sizeof(*ring->keys));
  free(ring->keys);
  *ring = (struct ml_ticket_ring){0};
}

bool ml_ticket_ring_opens(const struct ml_ticket_ring *ring, const uint8_t *ticket, size_t len)
{
  for (size_t i = 0; i < ring->count && len >= sizeof(ring->keys->name); i++)
    if (memcmp(ticket, ring->keys[i].name, sizeof(ring->keys[i].name)) == 0) return true;
  return false;
}

/* ---- Sealing and opening ---- */

/* Looked up once: with EVP_aes_128_cbc() OpenSSL would look it up for every ticket. */
static const EVP_CIPHER *aes_128_cbc(void)
{
  static EVP_CIPHER *cipher;
  if (!cipher) cipher = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
  return cipher;
}

static int init_mac(EVP_MAC_CTX *mac, const struct ml_tls_ticket_keys *keys)
{
  char digest[] = "SHA256";
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)keys->hmac,
                                        sizeof(keys->hmac)),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end(),
  };
  return EVP_MAC_CTX_set_params(mac, params);
}

static int init_seal(const struct ml_tls_ticket_keys *keys, uint8_t name[16], uint8_t *iv,
                     EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
  memcpy(name, keys->name, sizeof(keys->name));
  if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return FAILED;
  if (EVP_EncryptInit_ex(cipher, aes_128_cbc(), NULL, keys->aes, iv) != 1) return FAILED;
  return init_mac(mac, keys) == 1 ? READY : FAILED;
}

int ml_tls_tickets_init(const struct ml_ticket_ring *ring, uint8_t name[16], uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
  if (sealing) return init_seal(&ring->keys[0], name, iv, cipher, mac);
  for (size_t i = 0; i < ring->count; i++) {
    const struct ml_tls_ticket_keys *keys = &ring->keys[i];
    if (CRYPTO_memcmp(name, keys->name, sizeof(keys->name)) != 0) continue;
    if (EVP_DecryptInit_ex(cipher, aes_128_cbc(), NULL, keys->aes, iv) != 1) return FAILED;
    if (init_mac(mac, keys) != 1) return FAILED;
    return i == 0 ? READY : READY_TO_RENEW;
  }
  /* A ticket under other keys is not a failure: the handshake goes on in full. */
  return UNKNOWN;
}

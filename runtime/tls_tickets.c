#include "tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

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

int ml_tls_tickets_init(const struct ml_tls_ticket_keys *keys, uint8_t name[16], uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
  if (sealing) {
    memcpy(name, keys->name, sizeof(keys->name));
    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return -1;
    if (EVP_EncryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, keys->aes, iv) != 1) return -1;
    return init_mac(mac, keys) == 1 ? 1 : -1;
  }
  /* A ticket under other keys is not a failure: the handshake goes on in full. */
  if (CRYPTO_memcmp(name, keys->name, sizeof(keys->name)) != 0) return 0;
  if (EVP_DecryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, keys->aes, iv) != 1) return -1;
  return init_mac(mac, keys) == 1 ? 1 : -1;
}

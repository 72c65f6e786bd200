/* bench-openssl-init: OpenSSL's own initialisation and nothing else, to set beside moonlatch's
 * start-up.
 */
#include <openssl/ssl.h>

int main(void)
{
  return OPENSSL_init_ssl(0, NULL) != 1;
}

/* Certificates that are needed as DER again and again: a server's own, and their issuers. */
#ifndef ML_CERT_DER_H
#define ML_CERT_DER_H

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

/* The DER form of `cert`, made at the first call and kept with the certificate, to which it belongs
 * and with which it goes. The certificate must not be changed afterwards. NULL: no memory, or it
 * cannot be written. */
const uint8_t *ml_cert_der(X509 *cert, size_t *len);

#endif

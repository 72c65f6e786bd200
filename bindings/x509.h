/* Certificates and keys for Lua. Everything here creates Lua values, so it is called inside a body
 * run by ml_enter or a C function that Lua called. */
#ifndef ML_X509_H
#define ML_X509_H

#include <lua.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* Pushes the certificate as the plain table that getPeerCertificate() gives (api.md, "Certificate
 * object"). */
void ml_push_certificate(lua_State *L, X509 *cert);

/* The same with `issuerCertificate` links: through `chain` (what the peer sent, in any order, the
 * certificate itself may be in it), then through `store`; either may be NULL. A self-signed
 * certificate's link is itself. */
void ml_push_certificate_chain(lua_State *L, X509 *cert, STACK_OF(X509) * chain, X509_STORE *store);

/* Pushes a handle on the certificate, what crypto.X509Certificate stands on. Takes references of
 * its own. `chain`, in which issuerCertificate is looked for, may be NULL. */
void ml_push_x509(lua_State *L, X509 *cert, STACK_OF(X509) * chain);

/* The certificate of the handle at `index`, else raises. The handle keeps its reference. */
X509 *ml_check_x509(lua_State *L, int index);

/* Pushes a handle on a key and takes a reference of its own. `is_private` says which half it stands
 * for. */
void ml_push_key(lua_State *L, EVP_PKEY *key, int is_private);

/* The key of the handle at `index`, else raises. The handle keeps its reference. */
EVP_PKEY *ml_check_key(lua_State *L, int index);

/* The handle's own place for a reference, empty: push it first and fill it then, so that no error
 * between the two loses what was made. */
X509 **ml_new_x509(lua_State *L);

/* The place for the chain of the certificate's handle on top, for what is to live as long as it. */
STACK_OF(X509) * *ml_x509_chain(lua_State *L);

void ml_open_key(lua_State *L);

#endif

#include "context.h"

#include <string.h>

#include "bindings.h"
#include "options.h"
#include "scratch.h"
#include "x509.h"

#define CLASS_NAME "moonlatch.context"

struct context_object {
  struct ml_object object;
  struct ml_tls_context *context;
};

#define FIELD(name) offsetof(struct ml_tls_context_options, name)

/* The one list of what a context can be made from on this side of the border. The Lua side is
 * lua/moonlatch/tls/options.lua. */
static const struct ml_option options[] = {
    {"cert", ML_OPTION_BLOBS, FIELD(cert), 0},
    {"key", ML_OPTION_BLOBS, FIELD(key), 0},
    {"pfx", ML_OPTION_BLOBS, FIELD(pfx), 0},
    {"ca", ML_OPTION_BLOBS, FIELD(ca), 0},
    {"crl", ML_OPTION_BLOBS, FIELD(crl), 0},
    {"ownTrust", ML_OPTION_BOOL, FIELD(own_trust), 0},
    {"partialChain", ML_OPTION_BOOL, FIELD(partial_chain), 0},
    {"passphrase", ML_OPTION_STRING, FIELD(passphrase), 0},
    {"requestCert", ML_OPTION_INT, FIELD(request_cert), 0},
    {"rejectUnauthorized", ML_OPTION_INT, FIELD(reject_unauthorized), 0},
    {"keyEngine", ML_OPTION_STRING, FIELD(key_engine), 0},
    {"keyIdentifier", ML_OPTION_STRING, FIELD(key_identifier), 0},
    {"clientCertEngine", ML_OPTION_STRING, FIELD(client_cert_engine), 0},
    {"ciphers", ML_OPTION_STRING, FIELD(ciphers), 0},
    {"cipherSuites", ML_OPTION_STRING, FIELD(cipher_suites), 0},
    {"groups", ML_OPTION_STRING, FIELD(groups), 0},
    {"sigalgs", ML_OPTION_STRING, FIELD(sigalgs), 0},
    {"dhparam", ML_OPTION_BLOB, FIELD(dhparam), 0},
    {"dhAuto", ML_OPTION_BOOL, FIELD(dh_auto), 0},
    {"minVersion", ML_OPTION_INT, FIELD(min_version), 0},
    {"maxVersion", ML_OPTION_INT, FIELD(max_version), 0},
    {"setOptions", ML_OPTION_U64, FIELD(set_options), 0},
    {"clearOptions", ML_OPTION_U64, FIELD(clear_options), 0},
    {"leftOptions", ML_OPTION_U64, FIELD(left_options), 0},
    {"sessionIdContext", ML_OPTION_BYTES, FIELD(session_id_context), FIELD(session_id_context_len)},
    {"application", ML_OPTION_STRING, FIELD(application), 0},
    {"sessionTimeout", ML_OPTION_LONG, FIELD(session_timeout), 0},
    {"ticketKeys", ML_OPTION_BYTES, FIELD(ticket_keys), FIELD(ticket_keys_len)},
    {NULL, ML_OPTION_BOOL, 0, 0},
};

/* context(options) → handle, or raises what OpenSSL says. */
static int context_new(lua_State *L)
{
  struct ml_tls_context_options wanted;
  struct ml_error err;
  memset(&wanted, 0, sizeof(wanted));
  struct context_object *self = ml_object_new(L, sizeof(*self));
  int handle = lua_gettop(L);
  ml_options_read(L, 1, options, &wanted);
  if (ml_tls_context_new(&self->context, &wanted, &err) != 0) return ml_raise(L, &err);
  lua_pushvalue(L, handle);
  return 1;
}

static int context_gc(lua_State *L)
{
  struct context_object *self = ml_object_self(L);
  ml_tls_context_unref(self->context);
  self->context = NULL;
  return 0;
}

/* A finaliser of the script's own can still reach a context that was collected before it. */
static struct ml_tls_context *living(lua_State *L, const struct context_object *self)
{
  if (!self->context) luaL_error(L, "the context has been collected");
  return self->context;
}

struct ml_tls_context *ml_check_context(lua_State *L, int index)
{
  return living(L, ml_object_check(L, index, CLASS_NAME));
}

static struct ml_tls_context *self_context(lua_State *L)
{
  return living(L, ml_object_self(L));
}

/* getTicketKeys() → all of them, one after the other */
static int context_get_ticket_keys(lua_State *L)
{
  size_t len;
  const uint8_t *keys = ml_tls_context_ticket_keys(self_context(L), &len);
  lua_pushlstring(L, (const char *)keys, len);
  return 1;
}

/* setTicketKeys(keys), one after the other */
static int context_set_ticket_keys(lua_State *L)
{
  size_t len;
  struct ml_error err;
  const char *keys = luaL_checklstring(L, 2, &len);
  if (ml_tls_context_set_ticket_keys(self_context(L), (const uint8_t *)keys, len, &err) != 0)
    return ml_raise(L, &err);
  return 0;
}

/* addCACert(pem): authorities that are trusted as well from now on. A method that scripts know. */
static int context_add_ca(lua_State *L)
{
  struct ml_tls_blob pem;
  struct ml_error err;
  struct ml_tls_context *context = self_context(L);
  if (lua_type(L, 2) != LUA_TSTRING) {
    ml_error_misuse(&err, "ERR_INVALID_ARG_TYPE", "The \"cert\" argument must be of type string");
    return ml_raise(L, &err);
  }
  pem.data = lua_tolstring(L, 2, &pem.len);
  if (ml_tls_context_add_ca(context, &pem, &err) != 0) return ml_raise(L, &err);
  return 0;
}

/* dhBits() → bits of the DH parameters given, or nil */
static int context_dh_bits(lua_State *L)
{
  int bits = ml_tls_context_dh_bits(self_context(L));
  if (bits == 0) return 0;
  lua_pushinteger(L, bits);
  return 1;
}

static int context_enable_keylog(lua_State *L)
{
  ml_tls_context_enable_keylog(self_context(L));
  return 0;
}

/* certificate() → the leaf's DER, or nil. */
static int context_certificate(lua_State *L)
{
  X509 *cert = SSL_CTX_get0_certificate(ml_tls_context_ssl(self_context(L)));
  if (!cert) return 0;
  ml_push_certificate(L, cert);
  lua_getfield(L, -1, "raw");
  return 1;
}

static const luaL_Reg methods[] = {
    {"getTicketKeys", context_get_ticket_keys},
    {"setTicketKeys", context_set_ticket_keys},
    {"addCACert", context_add_ca},
    {"dhBits", context_dh_bits},
    {"enableKeylog", context_enable_keylog},
    {"certificate", context_certificate},
    {NULL, NULL},
};

/* tlsCiphers() → names of every cipher this OpenSSL has for TLS, in its order */
static int tls_ciphers(lua_State *L)
{
  BIO *scratch = ml_scratch(L);
  SSL_CTX *ctx = SSL_CTX_new(TLS_method());
  SSL *ssl = NULL;
  if (ctx && SSL_CTX_set_cipher_list(ctx, "ALL:COMPLEMENTOFALL:@SECLEVEL=0") == 1)
    ssl = SSL_new(ctx);
  const STACK_OF(SSL_CIPHER) *ciphers = ssl ? SSL_get_ciphers(ssl) : NULL;
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++)
    BIO_printf(scratch, "%s\n", SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i)));
  SSL_free(ssl);
  SSL_CTX_free(ctx);
  ml_push_lines(L, scratch);
  return 1;
}

void ml_open_context(lua_State *L)
{
  ml_class_register(L, CLASS_NAME, methods, context_gc);
  ml_class_constructor(L, lua_gettop(L), context_new);
  lua_setfield(L, 1, "context");
  lua_pop(L, 1);
  lua_pushcfunction(L, tls_ciphers);
  lua_setfield(L, 1, "tlsCiphers");
}

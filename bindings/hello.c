/* The ClientHello as scripts see it: the table tls.ClientHello, whose fields
 * lua/moonlatch/tls/hello.lua describes. */
#include <openssl/ssl.h>
#include <stdio.h>

#include "tls.h"
#include "tls_explain.h"
#include "tls_hello.h"
#include "tls_ja4.h"

/* ---- Names of numbers ---- */

typedef const char *(*name_of)(SSL *ssl, uint16_t number);

static const char *version_name(SSL *ssl, uint16_t version)
{
  (void)ssl;
  return ml_tls_version_name(version);
}

static const char *cipher_name(SSL *ssl, uint16_t number)
{
  const unsigned char id[] = {(unsigned char)(number >> 8), (unsigned char)number};
  const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, id);
  return cipher ? SSL_CIPHER_get_name(cipher) : NULL;
}

static const char *group_name(SSL *ssl, uint16_t group)
{
  return SSL_group_to_name(ssl, TLSEXT_nid_unknown | group);
}

static const char *scheme_name(SSL *ssl, uint16_t scheme)
{
  (void)ssl;
  return ml_tls_scheme_name(scheme);
}

/* "GREASE(0x0a0a)" for GREASE, "0x1234" for what has no name. */
static void push_name(lua_State *L, SSL *ssl, uint16_t number, name_of name)
{
  char text[16];
  const char *found = NULL;
  bool grease = ml_tls_is_grease(number);
  if (!grease) found = name(ssl, number);
  snprintf(text, sizeof(text), grease ? "GREASE(0x%04x)" : "0x%04x", number);
  lua_pushstring(L, found ? found : text);
}

/* ---- Fields of the table on top ---- */

static void set_bytes(lua_State *L, const char *field, struct ml_slice bytes)
{
  lua_pushlstring(L, bytes.data ? (const char *)bytes.data : "", bytes.len);
  lua_setfield(L, -2, field);
}

static void set_flag(lua_State *L, const char *field, bool flag)
{
  lua_pushboolean(L, flag);
  lua_setfield(L, -2, field);
}

/* A list that is being made twice, by name for the hello and by number for its `codes`. These two
 * tables are on top of the stack, `codes` above, when it begins and when it has ended. */
struct named {
  lua_State *L;
  SSL *ssl;
  name_of name;
  int codes; /* stack index of the table; the hello is below it, the two lists are above */
  int count;
};

static struct named begin_named(lua_State *L, SSL *ssl, name_of name)
{
  struct named list = {L, ssl, name, lua_gettop(L), 0};
  lua_newtable(L);
  lua_newtable(L);
  return list;
}

static void add_named(struct named *list, uint16_t number)
{
  list->count++;
  push_name(list->L, list->ssl, number, list->name);
  lua_rawseti(list->L, list->codes + 1, list->count);
  lua_pushnumber(list->L, number);
  lua_rawseti(list->L, list->codes + 2, list->count);
}

static void end_named(struct named *list, const char *field)
{
  lua_setfield(list->L, list->codes, field);
  lua_setfield(list->L, list->codes - 1, field);
}

static void set_numbers(lua_State *L, SSL *ssl, const char *field, struct ml_slice rest,
                        name_of name)
{
  uint16_t number;
  struct named list = begin_named(L, ssl, name);
  while (ml_tls_hello_next_number(&rest, &number))
    add_named(&list, number);
  end_named(&list, field);
}

/* A client without the list speaks everything up to the version it names, but says no more. */
static void set_versions(lua_State *L, SSL *ssl, const struct ml_tls_hello *hello)
{
  const uint8_t only[] = {(uint8_t)(hello->legacy_version >> 8), (uint8_t)hello->legacy_version};
  struct ml_slice one = {only, sizeof(only)};
  set_numbers(L, ssl, "versions", hello->versions.data ? hello->versions : one, version_name);
}

static void set_ciphers(lua_State *L, SSL *ssl, const struct ml_tls_hello *hello)
{
  struct ml_slice rest = hello->ciphers;
  uint16_t number;
  struct named list = begin_named(L, ssl, cipher_name);
  while (ml_tls_hello_next_cipher(hello, &rest, &number))
    add_named(&list, number);
  end_named(&list, "ciphers");
}

static void set_key_shares(lua_State *L, SSL *ssl, const struct ml_tls_hello *hello)
{
  struct ml_slice rest = hello->key_shares, key;
  uint16_t group;
  struct named list = begin_named(L, ssl, group_name);
  while (ml_tls_hello_next_key_share(&rest, &group, &key))
    add_named(&list, group);
  end_named(&list, "keyShares");
}

static void set_extensions(lua_State *L, const struct ml_tls_hello *hello)
{
  struct ml_slice rest = hello->extensions, body;
  uint16_t type;
  int count = 0;
  lua_newtable(L);
  while (ml_tls_hello_next_extension(&rest, &type, &body)) {
    lua_pushnumber(L, type);
    lua_rawseti(L, -2, ++count);
  }
  lua_setfield(L, -2, "extensions");
}

static void set_compression(lua_State *L, const struct ml_tls_hello *hello)
{
  lua_newtable(L);
  for (size_t i = 0; i < hello->compression.len; i++) {
    lua_pushnumber(L, hello->compression.data[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "compressionMethods");
}

static void set_protocols(lua_State *L, const struct ml_tls_hello *hello)
{
  struct ml_slice rest = hello->protocols, name;
  int count = 0;
  lua_newtable(L);
  while (ml_tls_hello_next_protocol(&rest, &name)) {
    lua_pushlstring(L, (const char *)name.data, name.len);
    lua_rawseti(L, -2, ++count);
  }
  lua_setfield(L, -2, "alpnProtocols");
}

static void set_identities(lua_State *L, const struct ml_tls_hello *hello)
{
  struct ml_slice rest = hello->psk_identities, identity;
  uint32_t age;
  int count = 0;
  lua_newtable(L);
  while (ml_tls_hello_next_identity(&rest, &identity, &age)) {
    lua_pushlstring(L, (const char *)identity.data, identity.len);
    lua_rawseti(L, -2, ++count);
  }
  lua_setfield(L, -2, "pskIdentities");
}

static void set_ja4(lua_State *L, const struct ml_tls_hello *hello)
{
  char ja4[ML_JA4_SIZE];
  if (ml_tls_ja4(hello, ja4) != 0) luaL_error(L, "no memory for a fingerprint");
  lua_pushstring(L, ja4);
  lua_setfield(L, -2, "ja4");
}

/* ---- The whole ---- */

static void set_named_lists(lua_State *L, SSL *ssl, const struct ml_tls_hello *hello)
{
  lua_newtable(L);
  set_versions(L, ssl, hello);
  set_ciphers(L, ssl, hello);
  set_numbers(L, ssl, "groups", hello->groups, group_name);
  set_numbers(L, ssl, "signatureAlgorithms", hello->sigalgs, scheme_name);
  set_key_shares(L, ssl, hello);
  lua_setfield(L, -2, "codes");
}

static void push_hello(lua_State *L, SSL *ssl, const struct ml_tls_hello *hello)
{
  lua_createtable(L, 0, 18);
  if (hello->servername.data) set_bytes(L, "servername", hello->servername);
  push_name(L, ssl, hello->legacy_version, version_name);
  lua_setfield(L, -2, "legacyVersion");
  set_bytes(L, "random", hello->random);
  set_bytes(L, "sessionId", hello->session_id);
  set_bytes(L, "raw", hello->message);
  set_flag(L, "hasTicket", hello->ticket.len > 0);
  set_flag(L, "requestOCSP", hello->status_request.data != NULL);
  set_named_lists(L, ssl, hello);
  set_extensions(L, hello);
  set_compression(L, hello);
  set_protocols(L, hello);
  set_identities(L, hello);
  set_ja4(L, hello);
}

int ml_tls_client_hello(lua_State *L)
{
  struct ml_tls_hello hello;
  size_t len;
  int alert;
  struct ml_tls *tls = ml_tls_self(L);
  const uint8_t *message = tls ? ml_tls_hello(tls, &len) : NULL;
  if (!message || ml_tls_hello_parse(&hello, message, len, &alert) != 0) return 0;
  push_hello(L, ml_tls_ssl(tls), &hello);
  return 1;
}

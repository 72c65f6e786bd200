/* Certificates of all kinds, as scripts see them: the text that certinfo writes, the table of
 * getPeerCertificate with its chain, crypto.X509Certificate, and what tls.checkServerIdentity says.
 *
 * The input is a row of certificates: how each is made, its length (two bytes), its bytes; see
 * read_certificate. The last one is looked at, the others are its chain. What has to hold of the
 * Lua side is in certificate.lua.
 */
#include <lauxlib.h>
#include <lualib.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <string.h>

#include "certinfo.h"
#include "certmaker.h"
#include "embed.h"
#include "expect.h"
#include "keys.h"
#include "materials.h"
#include "names.h"
#include "ocsp.h"
#include "random.h"
#include "x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { MAX_CERTS = 4, MAX_ROWS = 24, CHECK = 1 };

static lua_State *L; /* the function of certificate.lua at CHECK */
static EVP_PKEY *key;
static const struct fuzz_material *materials;

/* ---- Certificates made as the input says ---- */

struct wish {
  struct ml_name_attribute subject[MAX_ROWS];
  struct ml_alt_name names[MAX_ROWS];
  struct ml_info_access access[MAX_ROWS];
  struct ml_cert_extension extensions[MAX_ROWS];
  struct ml_cert_plan plan;
  char *texts[MAX_ROWS];
  size_t rows;
};

static void wish_name(struct wish *wish, enum ml_alt_kind kind, const char *text, size_t len)
{
  static const char *const oids[] = {"1.3.6.1.4.1.311.20.2.3", "1.3.6.1.5.5.7.8.9",
                                     "1.3.6.1.5.5.7.8.7", "1.2.3"};
  static const int tags[] = {V_ASN1_UTF8STRING, V_ASN1_IA5STRING, V_ASN1_OCTET_STRING,
                             V_ASN1_BMPSTRING};
  struct ml_alt_name *name = &wish->names[wish->plan.name_count++];
  *name = (struct ml_alt_name){.kind = kind, .value = text, .len = len};
  if (kind != ML_ALT_OTHER) return;
  unsigned how = len > 0 ? (unsigned char)text[0] : 0;
  name->oid = oids[how & 3];
  name->tag = tags[how >> 2 & 3];
}

static void wish_attribute(struct wish *wish, const char *type, const char *text, size_t len)
{
  static const int tags[] = {
      V_ASN1_UTF8STRING,      V_ASN1_PRINTABLESTRING, V_ASN1_T61STRING,  V_ASN1_BMPSTRING,
      V_ASN1_UNIVERSALSTRING, V_ASN1_IA5STRING,       V_ASN1_UTF8STRING, 0};
  unsigned how = len > 0 ? (unsigned char)text[0] : 0;
  size_t skip = len > 0;
  wish->subject[wish->plan.subject_count++] =
      (struct ml_name_attribute){.type = type,
                                 .value = text + skip,
                                 .len = len - skip,
                                 .tag = tags[how & 7],
                                 .joined = how >> 3 & 1 && wish->plan.subject_count > 0};
}

static void wish_access(struct wish *wish, const char *text, size_t len)
{
  static const char *const methods[] = {"OCSP", "caIssuers", "1.2.3"};
  unsigned how = len > 0 ? (unsigned char)text[0] : 0;
  size_t skip = len > 0;
  struct ml_info_access *access = &wish->access[wish->plan.access_count++];
  access->method = methods[how % 3];
  access->location = (struct ml_alt_name){
      .kind = how & 4 ? ML_ALT_DNS : ML_ALT_URI, .value = text + skip, .len = len - skip};
}

static void wish_extension(struct wish *wish, const char *text, size_t len)
{
  static const char *const names[] = {"subjectAltName", "authorityInfoAccess", "extendedKeyUsage",
                                      "basicConstraints"};
  unsigned how = len > 0 ? (unsigned char)text[0] : 0;
  size_t skip = len > 0;
  wish->extensions[wish->plan.extension_count++] = (struct ml_cert_extension){
      .name = names[how & 3], .value = text + skip, .len = len - skip, .der = true};
}

static void wish_row(struct wish *wish, unsigned kind, const char *text, size_t len)
{
  kind %= 13;
  if (kind <= ML_ALT_OTHER)
    wish_name(wish, (enum ml_alt_kind)kind, text, len);
  else if (kind == ML_ALT_OTHER + 1)
    wish_attribute(wish, "CN", text, len);
  else if (kind == ML_ALT_OTHER + 2)
    wish_attribute(wish, len & 1 ? "OU" : "1.2.3.4", text, len);
  else if (kind == ML_ALT_OTHER + 3)
    wish_access(wish, text, len);
  else if (kind == ML_ALT_OTHER + 4)
    wish_extension(wish, text, len);
  else
    wish->plan.serial = text;
}

/* Rows of kind, length, bytes. The result may be NULL: not every wish can be granted. */
static X509 *make_certificate(const uint8_t *data, size_t size, X509 *issuer)
{
  struct wish wish = {.rows = 0};
  struct ml_error err;
  X509 *cert = NULL;
  wish.plan = (struct ml_cert_plan){.key = key,
                                    .issuer = issuer,
                                    .issuer_key = key,
                                    .not_before = 1577836800,
                                    .not_after = 4102444800,
                                    .version = 3,
                                    .subject = wish.subject,
                                    .names = wish.names,
                                    .access = wish.access,
                                    .extensions = wish.extensions};
  while (size >= 2 && wish.rows < MAX_ROWS) {
    size_t len = data[1] < size - 2 ? data[1] : size - 2;
    char *text = malloc(len + 1);
    EXPECT(text);
    memcpy(text, data + 2, len);
    text[len] = '\0';
    wish.texts[wish.rows++] = text;
    wish_row(&wish, data[0], text, len);
    data += 2 + len;
    size -= 2 + len;
  }
  if (ml_cert_make(&cert, &wish.plan, &err) != 0) EXPECT(err.code[0] && err.message[0]);
  for (size_t i = 0; i < wish.rows; i++)
    free(wish.texts[i]);
  return cert;
}

/* Any bytes, in a block of exactly their size. */
static X509 *read_bytes(const uint8_t *data, size_t size)
{
  struct ml_error err;
  X509 *cert = NULL;
  uint8_t *copy = malloc(size ? size : 1);
  EXPECT(copy);
  if (size > 0) memcpy(copy, data, size);
  if (ml_cert_read(&cert, copy, size, &err) != 0) EXPECT(!cert && err.code[0] && err.message[0]);
  EXPECT(ERR_peek_error() == 0);
  free(copy);
  return cert;
}

/* One of the materials with some of its bytes changed: rows of place (two bytes) and change. */
static X509 *read_damaged(size_t which, const uint8_t *data, size_t size)
{
  uint8_t bytes[4096];
  const struct fuzz_material *material = &materials[which % FUZZ_MATERIALS];
  size_t len = material->der ? material->der_len : material->text_len;
  EXPECT(len <= sizeof(bytes));
  memcpy(bytes, material->der ? (const void *)material->der : material->text, len);
  for (; size >= 3; data += 3, size -= 3)
    bytes[((size_t)data[0] << 8 | data[1]) % len] ^= data[2];
  return read_bytes(bytes, len);
}

static X509 *read_certificate(uint8_t how, const uint8_t *data, size_t size, X509 *issuer)
{
  switch (how & 3) {
  case 0:
    return read_bytes(data, size);
  case 1:
    return read_damaged(how >> 2, data, size);
  default:
    return make_certificate(data, size, how & 1 ? issuer : NULL);
  }
}

/* ---- What certinfo writes ---- */

/* What a writer says is what is there; the text holds nothing that ends a line by itself. */
static void check_text(BIO *out, int written, bool lines)
{
  char *text;
  size_t len = (size_t)BIO_get_mem_data(out, &text);
  EXPECT(written >= -1 && written <= 1);
  if (written == 0) EXPECT(len == 0);
  for (size_t i = 0; written > 0 && i < len; i++)
    EXPECT((unsigned char)text[i] >= ' ' ? text[i] != 0x7f : lines && text[i] == '\n');
  (void)BIO_reset(out);
}

static void check_writers(X509 *cert)
{
  int64_t seconds;
  const char *nist;
  BIO *out = BIO_new(BIO_s_mem());
  EXPECT(out);
  check_text(out, ml_cert_write_alt_names(out, cert), false);
  check_text(out, ml_cert_write_info_access(out, cert), true);
  check_text(out, ml_cert_write_purposes(out, cert), true);
  check_text(out, ml_ocsp_write_url(out, cert), false);
  check_text(out, ml_cert_write_serial(out, cert), false);
  check_text(out, ml_cert_write_fingerprint(out, cert, "SHA256"), false);
  check_text(out, ml_cert_write_time(out, X509_get0_notAfter(cert)), false);
  check_text(out, ml_cert_write_name(out, X509_get_subject_name(cert)), true);
  EXPECT(ml_cert_write_fingerprint(out, cert, "no digest") == -1);
  (void)ml_cert_seconds(X509_get0_notBefore(cert), &seconds);
  EVP_PKEY *public = X509_get0_pubkey(cert);
  if (public && !ml_cert_curve(public, &nist)) EXPECT(!nist);
  BIO_free(out);
}

/* ---- What a script sees ---- */

static const X509 *current; /* the certificate that mayBe is asked about */

static int may_be(lua_State *state)
{
  size_t len;
  const char *host = luaL_checklstring(state, 1, &len);
  lua_pushboolean(state, fuzz_may_be(current, host, len));
  return 1;
}

static int traceback(lua_State *state)
{
  if (luaL_callmeta(state, 1, "__tostring")) lua_replace(state, 1);
  luaL_traceback(state, state, lua_tostring(state, 1), 1);
  return 1;
}

static int show(lua_State *state)
{
  X509 *cert = lua_touserdata(state, 1);
  STACK_OF(X509) *chain = lua_touserdata(state, 2);
  uint8_t *der = NULL;
  int len = i2d_X509(cert, &der);
  lua_pushvalue(state, lua_upvalueindex(1));
  ml_push_certificate(state, cert);
  ml_push_certificate_chain(state, cert, chain, NULL);
  ml_push_x509(state, cert, chain);
  lua_pushlstring(state, (const char *)der, len > 0 ? (size_t)len : 0);
  OPENSSL_free(der);
  lua_call(state, 4, 0);
  return 0;
}

static void check_script(X509 *cert, STACK_OF(X509) * chain)
{
  current = cert;
  lua_pushcfunction(L, traceback);
  lua_pushvalue(L, CHECK);
  lua_pushcclosure(L, show, 1);
  lua_pushlightuserdata(L, cert);
  lua_pushlightuserdata(L, chain);
  if (lua_pcall(L, 2, 0, -4) != 0) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
  }
  lua_settop(L, CHECK);
}

/* malloc's memory instead of LuaJIT's own: then the sanitizers see Lua's objects. The leak checker
 * takes them as they are (LuaJIT hides some pointers), and looks into them for what they hold. */
static void *allocate(void *unused, void *block, size_t old_size, size_t size)
{
  (void)unused, (void)old_size;
  if (size == 0) {
    free(block);
    return NULL;
  }
  block = realloc(block, size);
  __lsan_ignore_object(block);
  return block;
}

static void close_state(void)
{
  lua_close(L);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc, (void)argv;
  struct ml_error err;
  fuzz_random_install();
  materials = fuzz_materials();
  EXPECT(ml_key_make(&key, "ec:P-256", &err) == 0);
  L = lua_newstate(allocate, NULL);
  EXPECT(L);
  atexit(close_state);
  luaL_openlibs(L);
  ml_embed_install(L);
  lua_pushcfunction(L, may_be);
  lua_setglobal(L, "mayBe");
  if (luaL_dofile(L, FUZZ_SCRIPT) != 0) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
  }
  EXPECT(lua_gettop(L) == CHECK && lua_isfunction(L, CHECK));
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  STACK_OF(X509) *chain = sk_X509_new_null();
  X509 *cert = NULL;
  EXPECT(chain);
  fuzz_random_start();
  for (int i = 0; i < MAX_CERTS && size >= 3; i++) {
    size_t len = (size_t)data[1] << 8 | data[2];
    if (len > size - 3) len = size - 3;
    X509 *next = read_certificate(data[0], data + 3, len, cert);
    data += 3 + len;
    size -= 3 + len;
    if (!next) continue;
    cert = next;
    EXPECT(sk_X509_push(chain, cert) > 0);
  }
  if (cert) {
    check_writers(cert);
    check_script(cert, chain);
  }
  sk_X509_pop_free(chain, X509_free);
  return 0;
}

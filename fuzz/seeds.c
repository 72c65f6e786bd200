/* Writes what the fuzzers begin with: fuzz_seeds <directory>. Certificates, keys and the rest are
 * made here, each time, and are the same each time.
 *
 *   <directory>/context      every material alone, pairs that belong together, one of everything
 *   <directory>/certificate  certificates as they are, and rows of names to make some of
 *   <directory>/hello        ClientHello messages, and extensions of one
 *   <directory>/ocsp         responses as they are and by their number, under every expectation
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "expect.h"
#include "materials.h"
#include "random.h"
#include "responses.h"
#include "tls_engine.h"

static const char *directory;
static const struct fuzz_material *materials;

/* ---- Inputs ---- */

struct input {
  uint8_t data[16384];
  size_t len;
};

static void put(struct input *input, const void *data, size_t len)
{
  EXPECT(input->len + len <= sizeof(input->data));
  if (len > 0) memcpy(input->data + input->len, data, len);
  input->len += len;
}

static void put_byte(struct input *input, unsigned value)
{
  uint8_t byte = (uint8_t)value;
  put(input, &byte, 1);
}

static void put_counted(struct input *input, const void *data, size_t len)
{
  put_byte(input, (unsigned)(len >> 8));
  put_byte(input, (unsigned)len & 255);
  put(input, data, len);
}

static void save(const char *kind, const char *name, const struct input *input)
{
  char path[4096];
  snprintf(path, sizeof(path), "%s/%s", directory, kind);
  mkdir(path, 0777);
  snprintf(path, sizeof(path), "%s/%s/%s", directory, kind, name);
  FILE *file = fopen(path, "wb");
  EXPECT(file && fwrite(input->data, 1, input->len, file) == input->len && fclose(file) == 0);
}

static size_t find(const char *name)
{
  for (size_t i = 0; i < FUZZ_MATERIALS; i++)
    if (strcmp(materials[i].name, name) == 0) return i;
  EXPECT(!"no such material");
  return 0;
}

/* ---- Contexts (records of context.c) ---- */

enum { CERT, KEY, PFX, CA, CRL, DHPARAM, PASSPHRASE, CIPHERS, SUITES, GROUPS, SIGALGS };
enum { RAW = 0, TEXT = 2, INSIDE = 3, HANDSHAKE = 8 };

static void begin(struct input *input, unsigned flags)
{
  input->len = 0;
  put_byte(input, flags);
  put_byte(input, 0); /* any version */
  put_byte(input, 0); /* nothing about clients */
}

/* Material `name`, undamaged, as record `kind`. */
static void put_material(struct input *input, unsigned kind, unsigned how, const char *name)
{
  put_byte(input, kind);
  put_byte(input, how | (unsigned)find(name) << 2);
  put_counted(input, NULL, 0);
}

static void put_text(struct input *input, unsigned kind, const char *text)
{
  put_byte(input, kind);
  put_byte(input, 1);
  put_counted(input, text, strlen(text));
}

static void save_materials(void)
{
  static const unsigned records[] = {[FUZZ_CERT] = CERT,
                                     [FUZZ_KEY] = KEY,
                                     [FUZZ_CRL] = CRL,
                                     [FUZZ_PFX] = PFX,
                                     [FUZZ_DH] = DHPARAM};
  struct input input;
  char name[64];
  for (size_t i = 0; i < FUZZ_MATERIALS; i++) {
    const struct fuzz_material *material = &materials[i];
    begin(&input, 1 + HANDSHAKE);
    put_text(&input, PASSPHRASE, FUZZ_PASSPHRASE);
    put_byte(&input, records[material->kind]);
    put_byte(&input, RAW);
    put_counted(&input, material->text, material->text_len);
    snprintf(name, sizeof(name), "raw-%zu", i);
    save("context", name, &input);
    if (material->kind != FUZZ_CERT) continue;
    begin(&input, 1 + HANDSHAKE);
    put_material(&input, CA, INSIDE, material->name);
    snprintf(name, sizeof(name), "ca-%zu", i);
    save("context", name, &input);
  }
}

static void save_pair(const char *file, const char *cert, const char *key)
{
  struct input input;
  begin(&input, 1 + HANDSHAKE);
  put_text(&input, PASSPHRASE, "");
  put_material(&input, CERT, INSIDE, cert);
  put_material(&input, CERT, TEXT | 128, "authority"); /* in the same file */
  put_material(&input, KEY, INSIDE, key);
  put_material(&input, CA, TEXT, "authority");
  save("context", file, &input);
}

static void save_everything(void)
{
  struct input input;
  begin(&input, HANDSHAKE);
  put_material(&input, CERT, TEXT, "RSA certificate");
  put_material(&input, CERT, TEXT, "EC certificate");
  put_material(&input, KEY, TEXT, "RSA key");
  put_material(&input, KEY, TEXT, "locked key");
  put_text(&input, PASSPHRASE, FUZZ_PASSPHRASE);
  put_material(&input, CA, TEXT, "authority");
  put_material(&input, CA, TEXT | 128, "trusted authority");
  put_material(&input, CRL, INSIDE, "revocation list");
  put_material(&input, DHPARAM, INSIDE, "DH parameters");
  put_text(&input, CIPHERS, "ECDHE+AESGCM:DHE:!aNULL:@SECLEVEL=1");
  put_text(&input, SUITES, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
  put_text(&input, GROUPS, "X25519:P-256:ffdhe2048");
  put_text(&input, SIGALGS, "ECDSA+SHA256:rsa_pss_rsae_sha256:ed25519");
  save("context", "everything", &input);
}

/* ---- Certificates (rows of certificate.c) ---- */

static void save_certificates(void)
{
  struct input input;
  char name[64];
  for (size_t i = 0; i < FUZZ_MATERIALS; i++) {
    if (materials[i].kind != FUZZ_CERT) continue;
    input.len = 0;
    put_byte(&input, 0);
    put_counted(&input, materials[i].der, materials[i].der_len);
    snprintf(name, sizeof(name), "der-%zu", i);
    save("certificate", name, &input);
    input.len = 0;
    put_byte(&input, 0);
    put_counted(&input, materials[i].text, materials[i].text_len);
    snprintf(name, sizeof(name), "pem-%zu", i);
    save("certificate", name, &input);
  }
}

/* A certificate with these names: rows of kind, length, text, as wish_row has them. */
static void put_names(struct input *input, unsigned how, const char *const *rows)
{
  struct input names = {.len = 0};
  for (; rows[0]; rows += 2) {
    put_byte(&names, (unsigned)(rows[0][0] - 'a'));
    put_byte(&names, (unsigned)strlen(rows[1]));
    put(&names, rows[1], strlen(rows[1]));
  }
  put_byte(input, how);
  put_counted(input, names.data, names.len);
}

static void save_names(void)
{
  /* a DNS, b email, c URI, d IP, e bytes of an IP, f RID, g directory, h other, i CN, j other
   * attribute, k access, l extension, m serial. */
  static const char *const usual[] = {"a", "a.test",     "a", "*.b.test", "d", "127.0.0.1",
                                      "d", "::1",        "i", "@a.test",  "c", "http://a.test/",
                                      "k", "@http://o/", "m", "0a1b",     "j", "@O, Inc",
                                      "b", "me@a.test",  NULL};
  static const char *const hostile[] = {"a",
                                        "x, DNS:a.test",
                                        "a",
                                        "x\", DNS:\"a.test",
                                        "c",
                                        "http://x, DNS:a.test",
                                        "g",
                                        "x, DNS:a.test",
                                        "h",
                                        "\x02"
                                        "x, DNS:a.test",
                                        "e",
                                        "\x7f\x01",
                                        "i",
                                        "@a.test\nCN=b.test",
                                        "b",
                                        "x\\\", DNS:a.test",
                                        "k",
                                        "@http://x\nOCSP - URI:y",
                                        NULL};
  static const char *const odd[] = {"i",
                                    "\x03"
                                    "ab",
                                    "i",
                                    "\x02"
                                    "\xe9",
                                    "i",
                                    "\x0a\xe9",
                                    "a",
                                    "xn--a-test",
                                    "a",
                                    "a.test.",
                                    "f",
                                    "1.2.3.4",
                                    "l",
                                    "\x60"
                                    "0\x03\x82\x01"
                                    "a",
                                    NULL};
  struct input input = {.len = 0};
  put_names(&input, 2, usual);
  save("certificate", "usual", &input);
  input.len = 0;
  put_names(&input, 2, hostile);
  save("certificate", "hostile", &input);
  input.len = 0;
  put_names(&input, 2, odd);
  save("certificate", "odd", &input);
  input.len = 0;
  put_names(&input, 2, odd);
  put_names(&input, 3, hostile);
  put_names(&input, 3, usual);
  save("certificate", "chain", &input);
}

/* ---- ClientHellos ---- */

/* The extensions that a hello of our own has not got, and some that are wrong. */
static void save_extensions(void)
{
  static const uint8_t resumption[] = "\x6a\x6a\0\0"
                                      "\0\x23\0\6ticket"
                                      "\0\x05\0\5\1\0\0\0\0"
                                      "\0\x2d\0\2\1\1"
                                      "\0\x29\0\x32\0\xb\0\5ident\1\2\3\4\0\x21\x20"
                                      "0123456789abcdefghijklmnopqrstuv1234";
  static const uint8_t names[] = "\0\0\0\x0a\0\x08\0\0\5a.bcd"
                                 "\0\x10\0\5\0\3\2h2"
                                 "\0\x0a\0\6\0\4\x1a\x1a\0\x1d"
                                 "\0\x33\0\x0c\0\x0a\x1a\x1a\0\0\0\x1d\0\2xx";
  struct input input = {.len = 0};
  put(&input, resumption, sizeof(resumption) - 1);
  save("hello", "resumption", &input);
  input.len = 0;
  put(&input, names, sizeof(names) - 1);
  save("hello", "names", &input);
}

/* What our own client says, for each version. */
static void save_hellos(void)
{
  static const uint8_t alpn[] = "\2h2\x08http/1.1";
  static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++) {
    struct ml_error err;
    struct ml_tls_context *context;
    struct ml_tls *client;
    struct input input = {.len = 0};
    struct ml_tls_context_options made = {.own_trust = true, .max_version = versions[i]};
    struct ml_tls_options options = {
        .servername = "fuzz.test", .alpn = alpn, .alpn_len = sizeof(alpn) - 1};
    EXPECT(ml_tls_context_new(&context, &made, &err) == 0);
    EXPECT(ml_tls_new(&client, context, &options, &err) == 0);
    EXPECT(ml_tls_handshake(client) == ML_TLS_WANT_INPUT);
    struct ml_buf *flight = ml_tls_output(client);
    put(&input, ml_buf_data(flight) + SSL3_RT_HEADER_LENGTH,
        ml_buf_size(flight) - SSL3_RT_HEADER_LENGTH);
    save("hello", i == 0 ? "tls12" : "tls13", &input);
    ml_tls_free(client);
    ml_tls_context_unref(context);
  }
}

/* ---- Responses (ocsp.c) ---- */

enum { BY_NUMBER = 32, EXPECTATIONS = 32 };

static void save_responses(void)
{
  const struct fuzz_responses *responses = fuzz_responses();
  struct input input;
  char name[64];
  for (unsigned i = 0; i < FUZZ_RESPONSES; i++) {
    input.len = 0;
    put_byte(&input, 0);
    put(&input, responses->list[i].der, responses->list[i].len);
    snprintf(name, sizeof(name), "der-%u", i);
    save("ocsp", name, &input);
    for (unsigned how = 0; how < EXPECTATIONS; how++) {
      input.len = 0;
      put_byte(&input, BY_NUMBER + how);
      put_byte(&input, i);
      snprintf(name, sizeof(name), "%u-%u", i, how);
      save("ocsp", name, &input);
    }
  }
}

int main(int argc, char **argv)
{
  if (argc != 2) {
    fprintf(stderr, "usage: %s <directory>\n", argv[0]);
    return 1;
  }
  directory = argv[1];
  fuzz_random_install();
  materials = fuzz_materials();
  save_materials();
  save_pair("rsa", "RSA certificate", "RSA key in its own form");
  save_pair("ec", "EC certificate", "EC key in its own form");
  save_pair("ed25519", "Ed25519 certificate", "Ed25519 key");
  save_pair("locked", "EC certificate", "locked key");
  save_pair("mismatch", "EC certificate", "RSA key");
  save_everything();
  save_certificates();
  save_names();
  save_hellos();
  save_extensions();
  save_responses();
  return 0;
}

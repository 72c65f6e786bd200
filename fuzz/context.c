/* Contexts from anything: whole, damaged and made-up keys, certificates, revocation lists and
 * PKCS#12 files, any passphrases and names of algorithms, in any combination. One that can be built
 * is then used: for a handshake, and as the context that a server switches to.
 *
 * The input is a byte of flags, one that chooses versions, one what the context says of clients,
 * and records: what it is, how it is made, its length, its bytes. See read_record. Hardware is left
 * out: a PKCS#11 URI may name any library to load.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "expect.h"
#include "materials.h"
#include "random.h"
#include "tls_context.h"
#include "tls_engine.h"
#include "tls_hardware.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { MAX_BLOBS = 8, LISTS = 5, MAX_PARTS = 64 };

/* Everything that one input becomes. */
struct request {
  struct ml_tls_context_options options;
  struct ml_tls_blob blobs[LISTS][MAX_BLOBS];
  size_t counts[LISTS];
  void *parts[MAX_PARTS]; /* memory that the options point into */
  size_t part_count;
  bool unwanted; /* takes forever, or leads out of the process */
};

static const struct fuzz_material *materials;
static struct ml_tls_context *plain; /* trusts anybody, has no certificate */

/* ---- Reading the input ---- */

struct reader {
  const uint8_t *data;
  size_t left;
};

static uint8_t take_byte(struct reader *in)
{
  if (in->left == 0) return 0;
  in->left--;
  return *in->data++;
}

static struct reader take(struct reader *in, size_t len)
{
  struct reader piece = {in->data, len < in->left ? len : in->left};
  in->data += piece.left;
  in->left -= piece.left;
  return piece;
}

/* A copy of exactly that length, so that reading past it is seen; `terminated` adds a NUL. */
static char *keep(struct request *request, const void *data, size_t len, bool terminated)
{
  EXPECT(request->part_count < MAX_PARTS);
  char *copy = malloc(len + (terminated || len == 0));
  EXPECT(copy);
  if (len > 0) memcpy(copy, data, len);
  if (terminated) copy[len] = '\0';
  request->parts[request->part_count++] = copy;
  return copy;
}

/* ---- Blobs ---- */

/* Whoever makes a PKCS#12 file or locks a key says how many rounds it takes to open it, and two
 * thousand million are allowed. That is the maker's business and the user's time, not the fuzzer's:
 * a count is an INTEGER after the OCTET STRING of the salt, and long ones are left out. */
static bool is_costly(const uint8_t *der, size_t len)
{
  for (size_t i = 0; i + 4 < len; i++) {
    if (der[i] != 0x04) continue;
    size_t header = der[i + 1] == 0x81 ? 3 : 2;
    size_t next = i + header + der[i + header - 1];
    if (next + 2 < len && der[next] == 0x02 && der[next + 1] > 2) return true;
  }
  return false;
}

/* Changes `size` bytes as the patch says: rows of place (two bytes) and what to change there;
 * nothing to change means that it ends there. What is left over is appended. */
static size_t patch(uint8_t *bytes, size_t size, size_t room, struct reader *how)
{
  while (how->left >= 3) {
    size_t place = (size_t)take_byte(how) << 8;
    place |= take_byte(how);
    uint8_t change = take_byte(how);
    if (place >= size) continue;
    if (change == 0)
      size = place;
    else
      bytes[place] ^= change;
  }
  while (how->left > 0 && size < room)
    bytes[size++] = take_byte(how);
  return size;
}

static const char *const labels[] = {
    "CERTIFICATE",     "X509 CERTIFICATE",    "TRUSTED CERTIFICATE", "PRIVATE KEY",
    "RSA PRIVATE KEY", "EC PRIVATE KEY",      "DSA PRIVATE KEY",     "ENCRYPTED PRIVATE KEY",
    "X509 CRL",        "DH PARAMETERS",       "X9.42 DH PARAMETERS", "EC PARAMETERS",
    "PKCS7",           "CERTIFICATE REQUEST", "PUBLIC KEY",          "",
};

static struct ml_tls_blob armoured(struct request *request, const char *label, const uint8_t *der,
                                   size_t len)
{
  char *text;
  if (is_costly(der, len)) request->unwanted = true;
  size_t n = fuzz_armour(&text, label, der, len);
  struct ml_tls_blob blob = {keep(request, text, n, false), n, NULL};
  free(text);
  return blob;
}

/* One of the materials, damaged as the piece says, before (`inside`) or after it was armoured. */
static struct ml_tls_blob damaged(struct request *request, size_t which, bool inside,
                                  struct reader *piece)
{
  uint8_t bytes[8192];
  const struct fuzz_material *material = &materials[which % FUZZ_MATERIALS];
  inside = inside && material->label;
  const void *from = inside ? (const void *)material->der : material->text;
  size_t len = inside ? material->der_len : material->text_len;
  EXPECT(len < sizeof(bytes));
  memcpy(bytes, from, len);
  len = patch(bytes, len, sizeof(bytes), piece);
  if (inside) return armoured(request, material->label, bytes, len);
  if (!material->label && is_costly(bytes, len)) request->unwanted = true;
  struct ml_tls_blob blob = {keep(request, bytes, len, false), len, NULL};
  return blob;
}

static struct ml_tls_blob make_blob(struct request *request, uint8_t how, struct reader *piece)
{
  size_t which = how >> 2 & 31;
  switch (how & 3) {
  case 0:
    if (is_costly(piece->data, piece->left)) request->unwanted = true;
    return (struct ml_tls_blob){keep(request, piece->data, piece->left, false), piece->left, NULL};
  case 1:
    return armoured(request, labels[which % 16], piece->data, piece->left);
  default:
    return damaged(request, which, how & 1, piece);
  }
}

/* Appends to the last blob of the list, as files of several PEM blocks are. */
static void append_blob(struct request *request, struct ml_tls_blob *last,
                        const struct ml_tls_blob *more)
{
  char *both = keep(request, NULL, 0, false);
  both = realloc(both, last->len + more->len + 1);
  EXPECT(both);
  request->parts[request->part_count - 1] = both;
  memcpy(both, last->data, last->len);
  memcpy(both + last->len, more->data, more->len);
  last->data = both;
  last->len += more->len;
}

static void read_blob(struct request *request, size_t list, uint8_t how, struct reader *piece)
{
  struct ml_tls_blob blob = make_blob(request, how, piece);
  size_t count = request->counts[list];
  if (ml_hardware_is_uri(blob.data, blob.len)) request->unwanted = true;
  if (how & 128 && count > 0)
    append_blob(request, &request->blobs[list][count - 1], &blob);
  else if (count < MAX_BLOBS)
    request->blobs[list][request->counts[list]++] = blob;
}

/* ---- Records ---- */

static void read_text(struct request *request, const char **field, const struct reader *piece)
{
  *field = keep(request, piece->data, piece->left, true);
}

static uint64_t number(struct reader *piece)
{
  uint64_t value = 0;
  while (piece->left > 0)
    value = value << 8 | take_byte(piece);
  return value;
}

/* A passphrase for the blob before, or with an odd `how` for all; the right one when it is empty.
 */
static void read_passphrase(struct request *request, uint8_t how, struct reader *piece)
{
  const char *passphrase = FUZZ_PASSPHRASE;
  size_t list = how >> 1 & 1 ? 1 : 2;
  if (piece->left > 0) read_text(request, &passphrase, piece);
  if (how & 1)
    request->options.passphrase = passphrase;
  else if (request->counts[list] > 0)
    request->blobs[list][request->counts[list] - 1].passphrase = passphrase;
}

static void read_choice(struct request *request, uint8_t kind, struct reader *piece)
{
  struct ml_tls_context_options *options = &request->options;
  switch (kind) {
  case 0:
    read_text(request, &options->ciphers, piece);
    break;
  case 1:
    read_text(request, &options->cipher_suites, piece);
    break;
  case 2:
    read_text(request, &options->groups, piece);
    break;
  case 3:
    read_text(request, &options->sigalgs, piece);
    break;
  case 4:
    read_text(request, &options->application, piece);
    break;
  case 5:
    options->set_options = number(piece);
    break;
  case 6:
    options->clear_options = number(piece);
    break;
  case 7:
    options->session_timeout = (long)number(piece);
    break;
  case 8:
    options->session_id_context = (uint8_t *)keep(request, piece->data, piece->left, false);
    options->session_id_context_len = piece->left;
    break;
  default:
    options->ticket_keys = (uint8_t *)keep(request, piece->data, piece->left, false);
    options->ticket_keys_len = piece->left;
  }
}

/* Kind, how, length (two bytes), bytes. Kinds: the lists of blobs, the DH parameters, passphrases,
 * then everything else. */
static void read_record(struct request *request, struct reader *in)
{
  uint8_t kind = take_byte(in) % 17, how = take_byte(in);
  size_t len = (size_t)take_byte(in) << 8;
  len |= take_byte(in);
  struct reader piece = take(in, len);
  if (kind < LISTS)
    read_blob(request, kind, how, &piece);
  else if (kind == LISTS)
    request->options.dhparam = make_blob(request, how, &piece);
  else if (kind == LISTS + 1)
    read_passphrase(request, how, &piece);
  else
    read_choice(request, kind - LISTS - 2, &piece);
}

static void read_request(struct request *request, struct reader *in, uint8_t flags)
{
  static const int versions[] = {0,
                                 TLS1_2_VERSION,
                                 TLS1_3_VERSION,
                                 TLS1_VERSION,
                                 TLS1_1_VERSION,
                                 SSL3_VERSION,
                                 DTLS1_2_VERSION,
                                 -1};
  struct ml_tls_context_options *options = &request->options;
  uint8_t range = take_byte(in), says = take_byte(in);
  options->own_trust = flags & 1;
  options->dh_auto = flags & 2;
  options->partial_chain = flags & 64;
  options->request_cert = (says & 15) % 3;
  options->reject_unauthorized = (says >> 4) % 3;
  options->min_version = versions[range & 7];
  options->max_version = versions[range >> 3 & 7];
  while (in->left > 0 && request->part_count + 4 < MAX_PARTS)
    read_record(request, in);
  struct ml_tls_blobs *lists[LISTS] = {&options->cert, &options->key, &options->pfx, &options->ca,
                                       &options->crl};
  for (size_t i = 0; i < LISTS; i++)
    *lists[i] = (struct ml_tls_blobs){request->blobs[i], request->counts[i]};
}

/* ---- Using what was built ---- */

static bool carry(struct ml_tls *from, struct ml_tls *to)
{
  struct ml_buf *out = ml_tls_output(from);
  size_t n = ml_buf_size(out);
  if (n == 0) return false;
  EXPECT(ml_tls_input(to, ml_buf_data(out), n) == 0);
  if (!ml_tls_established(to)) (void)ml_tls_handshake(to);
  EXPECT(ml_tls_input_end(to) == 0);
  ml_buf_consume(out, n);
  return true;
}

static struct ml_tls *open_end(struct ml_tls_context *context, bool server)
{
  struct ml_error err;
  struct ml_tls_options options = {
      .server = server, .request_cert = server, .servername = server ? NULL : "fuzz.test"};
  struct ml_tls *tls;
  return ml_tls_new(&tls, context, &options, &err) == 0 ? tls : NULL;
}

static void shake_hands(struct ml_tls_context *server, struct ml_tls_context *client)
{
  struct ml_tls *ends[2] = {open_end(server, true), open_end(client, false)};
  if (ends[0] && ends[1]) {
    (void)ml_tls_handshake(ends[1]);
    for (int i = 0; i < 12 && (carry(ends[1], ends[0]) || carry(ends[0], ends[1])); i++)
      continue;
    for (int i = 0; i < 2; i++)
      if (ml_tls_state(ends[i]) == ML_TLS_FAILED) EXPECT(ml_tls_error(ends[i])->code[0]);
  }
  ml_tls_free(ends[0]);
  ml_tls_free(ends[1]);
}

/* Signing with a huge key is slow, and slow for the certificate's owner alone. */
static bool is_quick(const SSL_CTX *ssl)
{
  EVP_PKEY *key = SSL_CTX_get0_privatekey(ssl);
  return !key || EVP_PKEY_get_bits(key) <= 4096;
}

static void use(struct ml_tls_context *context, uint8_t flags)
{
  uint8_t keys[ML_TICKET_KEYS_SIZE];
  size_t len;
  struct ml_error err;
  memcpy(keys, ml_tls_context_ticket_keys(context, &len), sizeof(keys));
  EXPECT(len > 0 && len % ML_TICKET_KEYS_SIZE == 0);
  EXPECT(ml_tls_context_set_ticket_keys(context, keys, sizeof(keys), &err) == 0);
  EXPECT(memcmp(ml_tls_context_ticket_keys(context, &len), keys, sizeof(keys)) == 0);
  EXPECT(len == sizeof(keys));
  if (flags & 4) ml_tls_context_enable_keylog(context);
  SSL *ssl = SSL_new(ml_tls_context_ssl(plain));
  EXPECT(ssl);
  if (ml_tls_context_apply(context, plain, ssl, flags, &err) == 0)
    (void)!ml_tls_context_show_identity(context, ssl, &err);
  SSL_free(ssl);
  if (!is_quick(ml_tls_context_ssl(context))) return;
  if (flags & 8) shake_hands(context, plain);
  if (flags & 16) shake_hands(plain, context);
  if (flags & 32) shake_hands(context, context);
}

/* Every certificate stands with its own key, and weak DH parameters do not pass. */
static void check(struct ml_tls_context *context)
{
  SSL_CTX *ssl = ml_tls_context_ssl(context);
  int dh_bits = ml_tls_context_dh_bits(context);
  EXPECT(dh_bits == 0 || dh_bits >= 1024);
  for (int more = SSL_CTX_set_current_cert(ssl, SSL_CERT_SET_FIRST); more == 1;
       more = SSL_CTX_set_current_cert(ssl, SSL_CERT_SET_NEXT)) {
    X509 *cert = SSL_CTX_get0_certificate(ssl);
    EVP_PKEY *key = SSL_CTX_get0_privatekey(ssl);
    EXPECT(cert && key && X509_check_private_key(cert, key) == 1);
  }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  struct ml_error err;
  struct ml_tls_context_options options = {.own_trust = true, .dh_auto = true};
  fuzz_random_install();
  materials = fuzz_materials();
  EXPECT(ml_tls_context_new(&plain, &options, &err) == 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct reader in = {data, size};
  struct request request = {.part_count = 0};
  struct ml_tls_context *context = NULL;
  struct ml_error err = {.origin = ML_ORIGIN_NONE};
  uint8_t flags = take_byte(&in);
  fuzz_random_start();
  read_request(&request, &in, flags);
  if (request.unwanted) goto done;
  if (ml_tls_context_new(&context, &request.options, &err) == 0) {
    EXPECT(context && err.origin == ML_ORIGIN_NONE);
    check(context);
    use(context, flags);
    ml_tls_context_unref(context);
  } else {
    EXPECT(!context && err.origin != ML_ORIGIN_NONE && err.code[0] && err.message[0]);
    EXPECT(memchr(err.message, '\0', sizeof(err.message)));
  }
done:
  for (size_t i = 0; i < request.part_count; i++)
    free(request.parts[i]);
  return 0;
}

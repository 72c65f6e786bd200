#include "names.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <string.h>

static unsigned char lower(unsigned char c)
{
  return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : c;
}

static bool same(const unsigned char *a, const unsigned char *b, size_t len)
{
  for (size_t i = 0; i < len; i++)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

static size_t without_dot(const unsigned char *name, size_t len)
{
  return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

static bool fits(const unsigned char *name, size_t len, const unsigned char *host, size_t host_len)
{
  len = without_dot(name, len);
  host_len = without_dot(host, host_len);
  if (len == 0 || memchr(name, '\0', len)) return false;
  if (len == host_len && same(name, host, len)) return true;
  const unsigned char *star = memchr(name, '*', len), *dot = memchr(name, '.', len);
  if (!star || !dot || star > dot) return false;
  size_t head = (size_t)(star - name), tail = len - head - 1;
  if (head + tail > host_len) return false;
  return same(name, host, head) && same(star + 1, host + host_len - tail, tail) &&
         !memchr(host + head, '.', host_len - head - tail);
}

/* The first subjectAltName, as certinfo reads it. */
static GENERAL_NAMES *alt_names(const X509 *cert)
{
  int at = X509_get_ext_by_NID(cert, NID_subject_alt_name, -1);
  return at < 0 ? NULL : X509V3_EXT_d2i(X509_get_ext(cert, at));
}

static bool common_name_fits(const X509 *cert, const unsigned char *host, size_t len)
{
  const X509_NAME *subject = X509_get_subject_name(cert);
  bool found = false;
  for (int at = -1;
       !found && (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;) {
    unsigned char *text = NULL;
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    int n = ASN1_STRING_to_UTF8(&text, value);
    found = n > 0 && fits(text, (size_t)n, host, len);
    OPENSSL_free(text);
  }
  return found;
}

/* 4, 16 or 0 bytes of the address that `host` is. A zone does not count. */
static size_t address_of(const char *host, size_t len, unsigned char out[16])
{
  char text[64];
  const char *zone = memchr(host, '%', len);
  if (zone) len = (size_t)(zone - host);
  if (len >= sizeof(text)) return 0;
  memcpy(text, host, len);
  text[len] = '\0';
  if (strlen(text) != len) return 0;
  if (inet_pton(AF_INET, text, out) == 1) return 4;
  return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static bool string_is(const ASN1_STRING *string, const unsigned char *bytes, size_t len)
{
  return (size_t)ASN1_STRING_length(string) == len &&
         memcmp(ASN1_STRING_get0_data(string), bytes, len) == 0;
}

bool fuzz_may_be(const X509 *cert, const char *host, size_t len)
{
  unsigned char ip[16];
  const unsigned char *name = (const unsigned char *)host;
  size_t ip_len = address_of(host, len, ip);
  GENERAL_NAMES *names = alt_names(cert);
  bool found = false, any_dns = false;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    int type;
    ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
    any_dns = any_dns || type == GEN_DNS;
    if (ip_len > 0)
      found = found || (type == GEN_IPADD && string_is(value, ip, ip_len));
    else
      found = found || (type == GEN_DNS && fits(ASN1_STRING_get0_data(value),
                                                (size_t)ASN1_STRING_length(value), name, len));
  }
  GENERAL_NAMES_free(names);
  return found || (ip_len == 0 && !any_dns && common_name_fits(cert, name, len));
}

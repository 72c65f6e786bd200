#include "tls_roots.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_DIGITS 8

bool ml_tls_roots_contain(const STACK_OF(X509) * roots, const X509 *cert)
{
  for (int i = 0; i < sk_X509_num(roots); i++)
    if (X509_cmp(sk_X509_value(roots, i), cert) == 0) return true;
  return false;
}

/* Takes the reference. */
static int add(STACK_OF(X509) * roots, X509 *cert)
{
  if (ml_tls_roots_contain(roots, cert)) {
    X509_free(cert);
    return 0;
  }
  if (sk_X509_push(roots, cert) > 0) return 0;
  X509_free(cert);
  return -1;
}

/* Without this OpenSSL asks for the passphrase of an encrypted block on the terminal. */
static int no_passphrase(char *buffer, int size, int rwflag, void *user)
{
  (void)buffer, (void)size, (void)rwflag, (void)user;
  return 0;
}

/* -1 leaves the reason in OpenSSL's queue; the end of the blocks, "no start line", is none. */
static int add_all(STACK_OF(X509) * roots, BIO *bio)
{
  X509 *cert;
  ERR_clear_error();
  while ((cert = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL)))
    if (add(roots, cert) != 0) return -1;
  unsigned long why = ERR_peek_last_error();
  if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE) return -1;
  ERR_clear_error();
  return 0;
}

int ml_tls_roots_add_text(STACK_OF(X509) * roots, const char *text, size_t len,
                          struct ml_error *err)
{
  BIO *bio = len > INT_MAX ? NULL : BIO_new_mem_buf(text, (int)len);
  int result = bio ? add_all(roots, bio) : -1;
  BIO_free(bio);
  if (result == 0) return 0;
  /* As in Node, what the PEM reader says last and not what the decoder found first. */
  while (ERR_peek_error() != ERR_peek_last_error())
    (void)ERR_get_error();
  ml_error_openssl(err, "a trusted certificate cannot be read");
  return -1;
}

int ml_tls_roots_add_file(STACK_OF(X509) * roots, const char *path, struct ml_error *err)
{
  int before = sk_X509_num(roots);
  ERR_clear_error();
  BIO *bio = BIO_new_file(path, "r");
  int result = bio ? add_all(roots, bio) : -1;
  BIO_free(bio);
  if (result == 0 && sk_X509_num(roots) == before) {
    ERR_raise(ERR_LIB_X509, X509_R_NO_CERTIFICATE_FOUND);
    result = -1;
  }
  if (result != 0) ml_error_openssl(err, "a file of trusted certificates cannot be read");
  return result;
}

/* "2e5ac55d.0"; revocation lists have an "r" before the number. */
static bool is_hash_name(const char *name)
{
  if (strspn(name, "0123456789abcdef") != HASH_DIGITS || name[HASH_DIGITS] != '.') return false;
  const char *number = name + HASH_DIGITS + 1;
  return *number != '\0' && strspn(number, "0123456789") == strlen(number);
}

static int wanted(const struct dirent *entry)
{
  return is_hash_name(entry->d_name);
}

bool ml_tls_roots_is_hashed(const char *path)
{
  DIR *entries = opendir(path);
  struct dirent *entry;
  bool found = false;
  if (!entries) return false;
  while (!found && (entry = readdir(entries)) != NULL)
    found = is_hash_name(entry->d_name);
  closedir(entries);
  return found;
}

int ml_tls_roots_add_dir(STACK_OF(X509) * roots, const char *path, struct ml_error *err)
{
  struct dirent **entries;
  int count = scandir(path, &entries, wanted, alphasort);
  if (count < 0) {
    ml_error_system_at(err, errno, "scandir", path, 0);
    return -1;
  }
  for (int i = 0; i < count; i++) {
    char file[PATH_MAX];
    snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
    BIO *bio = BIO_new_file(file, "r");
    if (bio) (void)!add_all(roots, bio);
    BIO_free(bio);
    free(entries[i]);
  }
  free((void *)entries);
  ERR_clear_error();
  return 0;
}

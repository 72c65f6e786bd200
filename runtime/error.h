/* One failure, described completely enough for a script to act on it.
 *
 * A function of the runtime that can fail returns 0 or -1 and takes a `struct ml_error *` (never
 * NULL); on -1 the struct is filled, on 0 it is left alone. The struct is a plain value without
 * pointers: copy it freely, free nothing. No function here calls back.
 */
#ifndef ML_ERROR_H
#define ML_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#define ML_MUST_CHECK __attribute__((warn_unused_result))

/* Where a failure came from, which decides what `number` means. */
enum ml_origin {
  ML_ORIGIN_NONE = 0, /* no failure */
  ML_ORIGIN_SYSTEM,   /* a system call; number is errno */
  ML_ORIGIN_DNS,      /* a look-up; number is an ARES_* status (ares_strerror(3)) */
  ML_ORIGIN_TLS,      /* OpenSSL; number is the packed error code (ERR_get_error(3)) */
  ML_ORIGIN_VERIFY,   /* certificate verification; number is X509_V_ERR_*
                         (X509_STORE_CTX_get_error(3)) */
  ML_ORIGIN_MISUSE,   /* the caller asked for something impossible; number is 0 */
};

/* Which end sent the alert in `alert`. */
enum ml_alert_from { ML_ALERT_NONE = 0, ML_ALERT_LOCAL, ML_ALERT_PEER };

/* Entries of OpenSSL's queue that are kept behind the first. */
#define ML_ERROR_BEHIND 8

struct ml_error {
  enum ml_origin origin;
  long number;
  char code[96]; /* "ECONNREFUSED", "ENOTFOUND", "ERR_SSL_WRONG_VERSION_NUMBER", "CERT_HAS_EXPIRED"
                  */
  char message[1024]; /* one line, without the code for TLS and verify, "connect ECONNREFUSED
                         127.0.0.1:1" for system */
  char syscall[24];   /* "connect", "bind", "getaddrinfo"; "" when none */
  char address[112];  /* the peer or local address it concerns (a unix path too); "" when none */
  int port;           /* 0 when none */
  char library[48];   /* OpenSSL's library name, "SSL routines"; "" when none */
  char reason[256];   /* OpenSSL's reason, "wrong version number"; "" when none */
  char offered[448];  /* when two ends could not agree: what the peer had to offer, "ciphers A, B";
                         "" when unknown or beside the point */
  char configured[448]; /* the same of our end */
  enum ml_alert_from alert_from;
  int alert; /* TLS AlertDescription (RFC 8446, 6); meaningful when alert_from is set */
  unsigned behind_count;
  unsigned long behind[ML_ERROR_BEHIND]; /* what OpenSSL's queue held behind `number`, in order */
  const char *state;                     /* static string: handshake state in which it happened
                                            (SSL_state_string_long(3)), or NULL */
};

/* Describes a failed system call. `number` is an errno value. message becomes "<syscall> <CODE>".
 */
void ml_error_system(struct ml_error *err, int number, const char *syscall);

/* The same with the address it concerned: message becomes "<syscall> <CODE> <address>:<port>"
 * (":port" only when port > 0). */
void ml_error_system_at(struct ml_error *err, int number, const char *syscall, const char *address,
                        int port);

/* Drains OpenSSL's error queue of this thread and describes its earliest entry, the cause of the
 * others. `fallback` is the message used when the queue is empty. code is ERR_SSL_<REASON> for the
 * SSL library, ERR_OSSL_[<LIB>_]<REASON> otherwise, as Node forms them. */
void ml_error_openssl(struct ml_error *err, const char *fallback);

/* The text of an entry of `behind`, as in `message`. */
void ml_error_text_behind(const struct ml_error *err, unsigned index, char *text, size_t size);

/* Describes a certificate verification failure: code is the X509_V_ERR_ name without the prefix. */
void ml_error_verify(struct ml_error *err, long number);

/* A failure with a code and text of our own, printf style. Origin is ML_ORIGIN_MISUSE. */
void ml_error_misuse(struct ml_error *err, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds to the message what the caller knows, printf style. What does not fit is cut off. */
void ml_error_append(struct ml_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "ECONNREFUSED" for ECONNREFUSED; "E<number>" for one libc does not name. Static or thread-local
 * storage. */
const char *ml_errno_name(int number);

/* "CERT_HAS_EXPIRED" for X509_V_ERR_CERT_HAS_EXPIRED (x509_vfy.h); "UNSPECIFIED" for one we do not
 * know. */
const char *ml_verify_name(long number);

/* "unknown_ca" for 48 (RFC 8446, 6); "unknown" otherwise. */
const char *ml_alert_name(int alert);

/* One of the error alerts of RFC 8446, 6.2: it ends a handshake, and its number is still in use. */
bool ml_alert_is_error(int alert);

/* ERR_clear_error(3), as is due before each call whose failure is to be told. It goes through all
 * the queue's places, which costs more than to see that they are empty, as they nearly always are.
 */
void ml_error_clear_openssl(void);

#endif

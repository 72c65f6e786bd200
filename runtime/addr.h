/* Socket addresses as values: IPv4, IPv6 (with scope), unix paths (abstract ones too). */
#ifndef ML_ADDR_H
#define ML_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "error.h"

struct ml_addr {
  struct sockaddr_storage storage;
  socklen_t len;
};

/* From a numeric address, "127.0.0.1", "::1", "fe80::1%eth0", and a port in host byte order
 * (0..65535). Fails with EINVAL when the text is not an IP address; `call` is what the error says
 * the address was for. */
ML_MUST_CHECK int ml_addr_ip(struct ml_addr *out, const char *address, int port, const char *call,
                             struct ml_error *err);

/* From a path; a leading NUL byte makes it abstract (unix(7)). Fails with ENAMETOOLONG, or EINVAL
 * for an empty path or one with a NUL byte in it. */
ML_MUST_CHECK int ml_addr_unix(struct ml_addr *out, const char *path, size_t len, const char *call,
                               struct ml_error *err);

/* Text of the address alone ("127.0.0.1", "::1", a path, "@name" for an abstract one). Writes at
 * most `size` bytes with the NUL; returns buffer. */
const char *ml_addr_text(const struct ml_addr *addr, char *buffer, size_t size);

/* Bytes of a unix address's path, an abstract one's leading NUL included, and their number; "" and
 * 0 for an unnamed socket or another family. Not NUL-terminated when abstract. Belongs to `addr`.
 */
const char *ml_addr_path(const struct ml_addr *addr, size_t *len);

/* Port in host byte order; 0 for unix. */
int ml_addr_port(const struct ml_addr *addr);

/* "IPv4", "IPv6" or "unix"; "" for an empty address. */
const char *ml_addr_family(const struct ml_addr *addr);

/* 4, 6 or 0, as Node's net.isIP. */
int ml_addr_is_ip(const char *text);

#endif

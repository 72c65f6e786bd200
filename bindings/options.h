/* Reads a Lua table into a C struct from one declarative list. The Lua layer has checked and copied
 * the script's options by then; what is wrong here is a defect of ours and raises. */
#ifndef ML_OPTIONS_H
#define ML_OPTIONS_H

#include <lua.h>
#include <stddef.h>

enum ml_option_kind {
  ML_OPTION_BOOL,   /* bool */
  ML_OPTION_INT,    /* int */
  ML_OPTION_LONG,   /* long */
  ML_OPTION_U64,    /* uint64_t, from a number (exact to 2^53) */
  ML_OPTION_STRING, /* const char *, NUL-terminated */
  ML_OPTION_BYTES,  /* const uint8_t * at offset, size_t at len_offset */
  ML_OPTION_BLOB,   /* struct ml_tls_blob, from a string */
  ML_OPTION_BLOBS,  /* struct ml_tls_blobs, from a sequence of strings or of { data, passphrase } */
};

struct ml_option {
  const char *name;
  enum ml_option_kind kind;
  size_t offset, len_offset;
};

/* Fills `out` from the table at `index`; fields whose key is nil stay as they are. Strings stay
 * Lua's: `out` is good while the table is. Arrays are left on the stack as userdata, so the caller
 * must not pop them before it is done. `list` ends with a NULL name. */
void ml_options_read(lua_State *L, int index, const struct ml_option *list, void *out);

#endif

/* Numbers that scripts know by name: errno values, signals, flags of open(2), OpenSSL's options. */
#ifndef ML_CONSTANTS_H
#define ML_CONSTANTS_H

struct ml_constant {
  const char *name;
  double value; /* every one of them fits exactly */
};

/* Lists that end with a NULL name: errno, signals, files, OpenSSL. */
extern const struct ml_constant *const ml_constants[];

#endif

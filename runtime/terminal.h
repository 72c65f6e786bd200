/* Terminals: their size, and whether keys come as they are pressed (termios(3), ioctl_tty(2)). */
#ifndef ML_TERMINAL_H
#define ML_TERMINAL_H

#include <stdbool.h>

#include "error.h"

/* The size of the window, in characters; 0 where the terminal does not know. */
ML_MUST_CHECK int ml_terminal_size(int fd, int *columns, int *rows, struct ml_error *err);

/* Raw: every byte is given as it comes, nothing is echoed, and no key raises a signal. Else the
 * terminal is as it was before it was first made raw. The process puts it back by itself when it
 * exits, and when SIGINT or SIGTERM end it by their default action. One terminal at a time: a
 * second one fails with EBUSY while the first is raw. */
ML_MUST_CHECK int ml_terminal_raw(int fd, bool raw, struct ml_error *err);

#endif

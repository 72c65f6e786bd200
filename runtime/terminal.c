#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>

/* The terminal that is raw. Of the process, as terminals are; a signal handler reads it. */
static volatile sig_atomic_t raw_fd = -1;
static struct termios before;

static void put_back(void)
{
  if (raw_fd >= 0) (void)tcsetattr(raw_fd, TCSANOW, &before);
  raw_fd = -1;
}

static void on_deadly_signal(int number)
{
  put_back();
  (void)raise(number); /* SA_RESETHAND has given it its default action back */
}

/* A script that listens to the signal has taken it already, or takes it later: libev's handler
 * replaces this one. */
static void put_back_on(int number)
{
  struct sigaction action;

  if (sigaction(number, NULL, &action) != 0 || action.sa_handler != SIG_DFL) return;
  action = (struct sigaction){.sa_handler = on_deadly_signal, .sa_flags = (int)SA_RESETHAND};
  (void)sigaction(number, &action, NULL);
}

static void put_back_at_the_end(void)
{
  static bool registered;

  if (!registered) atexit(put_back);
  registered = true;
  put_back_on(SIGINT);
  put_back_on(SIGTERM);
}

static int make_raw(int fd)
{
  struct termios mode;

  if (tcgetattr(fd, &mode) != 0) return -1;
  before = mode;
  mode.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  mode.c_oflag |= ONLCR;
  mode.c_cflag |= CS8;
  mode.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  put_back_at_the_end();
  if (tcsetattr(fd, TCSADRAIN, &mode) != 0) return -1;
  raw_fd = fd;
  return 0;
}

int ml_terminal_raw(int fd, bool raw, struct ml_error *err)
{
  int result = 0;

  if (raw_fd >= 0 && raw_fd != fd) {
    errno = EBUSY;
    result = raw ? -1 : 0;
  } else if (raw && raw_fd < 0) {
    result = make_raw(fd);
  } else if (!raw && raw_fd >= 0) {
    result = tcsetattr(fd, TCSADRAIN, &before);
    if (result == 0) raw_fd = -1;
  }
  if (result != 0) ml_error_system(err, errno, "setRawMode");
  return result;
}

int ml_terminal_size(int fd, int *columns, int *rows, struct ml_error *err)
{
  struct winsize size;

  if (ioctl(fd, TIOCGWINSZ, &size) != 0) {
    ml_error_system(err, errno, "uv_tty_get_winsize");
    return -1;
  }
  *columns = size.ws_col;
  *rows = size.ws_row;
  return 0;
}

/* Listeners on loopback and on unix paths. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listener.h"
#include "recorder.h"
#include "timer.h"

enum { CLIENTS = 100 };

static struct ml_loop *loop;
static struct ml_listener *listener;
static struct ml_sock *accepted[CLIENTS];
static int clients[CLIENTS];
static int accepted_count, dropped_count, error_count, expected;
static bool close_on_connection, close_on_drop, close_on_error;
static char directory[] = "/tmp/moonlatch-XXXXXX";
static char path[64];
static const struct ml_listener_options defaults;

static void shut(void)
{
  if (listener) ml_listener_close(listener);
  listener = NULL;
}

static void done(void)
{
  if (accepted_count + dropped_count >= expected) ml_loop_stop(loop);
}

static void on_connection(struct ml_listener *l, struct ml_sock *sock)
{
  assert_ptr_equal(l, listener);
  assert_ptr_equal(ml_listener_user(l), &accepted);
  accepted[accepted_count++] = sock;
  if (close_on_connection) shut();
  done();
}

static void on_drop(struct ml_listener *l, const struct ml_addr *peer)
{
  assert_ptr_equal(l, listener);
  assert_string_equal(ml_addr_family(peer), "IPv4");
  dropped_count++;
  if (close_on_drop) shut();
  done();
}

static void on_error(struct ml_listener *l, const struct ml_error *err)
{
  assert_ptr_equal(l, listener);
  assert_string_equal(err->syscall, "accept");
  error_count++;
  if (close_on_error) shut();
  ml_loop_stop(loop);
}

static const struct ml_listener_events events = {on_connection, on_drop, on_error};

static int setup(void **state)
{
  (void)state;
  struct ml_error err;
  accepted_count = dropped_count = error_count = 0;
  close_on_connection = close_on_drop = close_on_error = false;
  memset(clients, -1, sizeof clients);
  snprintf(path, sizeof path, "%s/socket", directory);
  if (ml_loop_new(&loop, &err) != 0) return -1;
  listener = ml_listener_new(loop, &events, &accepted);
  return listener ? 0 : -1;
}

static int teardown(void **state)
{
  (void)state;
  shut();
  for (int i = 0; i < accepted_count; i++)
    ml_stream_close(ml_sock_stream(accepted[i]));
  for (int i = 0; i < CLIENTS; i++)
    if (clients[i] >= 0) close(clients[i]);
  ml_loop_free(loop);
  return 0;
}

static void listen_on(const char *ip, struct ml_addr *bound)
{
  struct ml_addr addr;
  struct ml_error err;
  assert_int_equal(ml_addr_ip(&addr, ip, 0, "listen", &err), 0);
  assert_int_equal(ml_listener_open(listener, &addr, &defaults, &err), 0);
  assert_int_equal(ml_listener_address(listener, bound, &err), 0);
  assert_true(ml_addr_port(bound) > 0);
}

static void connect_clients(const struct ml_addr *addr, int n)
{
  for (int i = 0; i < n; i++) {
    clients[i] = socket(addr->storage.ss_family, SOCK_STREAM, 0);
    assert_true(clients[i] >= 0);
    assert_int_equal(connect(clients[i], (const struct sockaddr *)&addr->storage, addr->len), 0);
  }
}

static void connections_come_in_batches(void **state)
{
  (void)state;
  struct ml_addr addr;
  listen_on("127.0.0.1", &addr);
  connect_clients(&addr, CLIENTS);
  expected = CLIENTS;
  (void)ml_loop_step(loop, true);
  assert_int_equal(accepted_count, 64);
  ml_loop_run(loop);
  assert_int_equal(accepted_count, CLIENTS);
}

static void accepted_sockets_are_nonblocking_and_undelayed(void **state)
{
  (void)state;
  struct ml_addr addr;
  listen_on("::", &addr);
  struct ml_addr ip4;
  struct ml_error err;
  assert_int_equal(ml_addr_ip(&ip4, "127.0.0.1", ml_addr_port(&addr), "listen", &err), 0);
  connect_clients(&ip4, 1); /* "::" takes IPv4 as well */
  expected = 1;
  ml_loop_run(loop);
  int fd = ml_sock_fd(accepted[0]);
  int nodelay = 0;
  socklen_t len = sizeof nodelay;
  assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
  assert_true(nodelay);
  assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void an_address_in_use_is_said_in_words(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  char message[96];
  listen_on("127.0.0.1", &addr);
  struct ml_listener *second = ml_listener_new(loop, &events, NULL);
  assert_int_equal(ml_listener_open(second, &addr, &defaults, &err), -1);
  snprintf(message, sizeof message, "listen EADDRINUSE: address already in use 127.0.0.1:%d",
           ml_addr_port(&addr));
  assert_string_equal(err.message, message);
  assert_string_equal(err.syscall, "listen");
  assert_int_equal(err.number, EADDRINUSE);

  /* It is unharmed and can listen elsewhere. */
  assert_int_equal(ml_addr_ip(&addr, "127.0.0.1", 0, "listen", &err), 0);
  assert_int_equal(ml_listener_open(second, &addr, &defaults, &err), 0);
  ml_listener_close(second);
}

static void reuse_port_lets_two_listen(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  struct ml_listener_options options = {.reuse_port = true};
  struct ml_listener *second = ml_listener_new(loop, &events, NULL);
  assert_int_equal(ml_addr_ip(&addr, "127.0.0.1", 0, "listen", &err), 0);
  assert_int_equal(ml_listener_open(listener, &addr, &options, &err), 0);
  assert_int_equal(ml_listener_address(listener, &addr, &err), 0);
  assert_int_equal(ml_listener_open(second, &addr, &options, &err), 0);
  ml_listener_close(second);
}

static void a_unix_path_is_made_and_removed(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  struct stat info;
  struct ml_listener_options options = {.readable_all = true, .writable_all = true};
  assert_int_equal(ml_addr_unix(&addr, path, strlen(path), "listen", &err), 0);
  assert_int_equal(ml_listener_open(listener, &addr, &options, &err), 0);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0666, 0666);
  connect_clients(&addr, 1);
  expected = 1;
  ml_loop_run(loop);
  assert_int_equal(accepted_count, 1);
  shut();
  assert_int_equal(stat(path, &info), -1);
}

static void a_path_that_exists_is_in_use_and_stays(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  struct stat info;
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fclose(file);
  assert_int_equal(ml_addr_unix(&addr, path, strlen(path), "listen", &err), 0);
  assert_int_equal(ml_listener_open(listener, &addr, &defaults, &err), -1);
  assert_string_equal(err.code, "EADDRINUSE");
  shut();
  assert_int_equal(stat(path, &info), 0);
  unlink(path);
}

static void a_file_put_in_the_sockets_place_is_not_removed(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  struct stat info;
  assert_int_equal(ml_addr_unix(&addr, path, strlen(path), "listen", &err), 0);
  assert_int_equal(ml_listener_open(listener, &addr, &defaults, &err), 0);
  /* Renaming one over it gives another inode whatever the file system. */
  char other[80];
  snprintf(other, sizeof other, "%s/other", directory);
  FILE *file = fopen(other, "w");
  assert_non_null(file);
  fclose(file);
  assert_int_equal(rename(other, path), 0);
  shut();
  assert_int_equal(stat(path, &info), 0);
  unlink(path);
}

static void an_inherited_socket_listens(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(ml_addr_ip(&addr, "127.0.0.1", 0, "listen", &err), 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&addr.storage, addr.len), 0);
  assert_int_equal(ml_listener_open_fd(listener, fd, 0, &err), 0);
  assert_int_equal(ml_listener_address(listener, &addr, &err), 0);
  connect_clients(&addr, 1);
  expected = 1;
  ml_loop_run(loop);
  assert_int_equal(accepted_count, 1);
}

static void a_descriptor_that_cannot_listen_stays_the_callers(void **state)
{
  (void)state;
  struct ml_error err;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(ml_listener_open_fd(listener, ends[0], 0, &err), -1);
  assert_string_equal(err.code, "ENOTSOCK");
  assert_int_equal(close(ends[0]), 0);
  assert_int_equal(close(ends[1]), 0);
}

static void it_can_be_closed_inside_a_connection(void **state)
{
  (void)state;
  struct ml_addr addr;
  listen_on("127.0.0.1", &addr);
  connect_clients(&addr, 3);
  close_on_connection = true;
  expected = CLIENTS;
  ml_loop_run(loop);
  assert_int_equal(accepted_count, 1);
}

/* ---- Shortage of descriptors ---- */

/* What exhaust() starts: takes the free descriptors of `pid`, says so, and gives them back when the
 * other end of `fd` is closed. */
_Noreturn static void hold_limit(pid_t pid, int fd)
{
  rlim_t count = 0;
  struct rlimit before = {0};
  bool held = read(fd, &count, sizeof count) == sizeof count &&
              prlimit(pid, RLIMIT_NOFILE, NULL, &before) == 0;
  struct rlimit limit = {.rlim_cur = count, .rlim_max = before.rlim_max};
  held = held && prlimit(pid, RLIMIT_NOFILE, &limit, NULL) == 0;
  if (write(fd, &held, sizeof held) != sizeof held || !held) _exit(1);
  while (read(fd, &count, sizeof count) > 0)
    continue;
  _exit(prlimit(pid, RLIMIT_NOFILE, &before, NULL) == 0 ? 0 : 1);
}

struct shortage {
  pid_t holder;
  int fd;
};

/* Leaves the process without descriptors from `count` on until relieve(). Another process sets the
 * limit, because what a process sets for itself valgrind only imitates: by closing what accept(2)
 * has already taken. */
static struct shortage limit_to(rlim_t count)
{
  int ends[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  pid_t parent = getpid();
  pid_t holder = fork();
  assert_true(holder >= 0);
  if (holder == 0) {
    close(ends[0]);
    hold_limit(parent, ends[1]);
  }
  close(ends[1]);
  assert_int_equal(write(ends[0], &count, sizeof count), sizeof count);
  bool held = false;
  assert_int_equal(read(ends[0], &held, sizeof held), sizeof held);
  assert_true(held);
  assert_int_equal(dup(0), -1);
  return (struct shortage){.holder = holder, .fd = ends[0]};
}

static struct shortage exhaust(void)
{
  int lowest_free = dup(0);
  assert_true(lowest_free >= 0);
  close(lowest_free);
  return limit_to((rlim_t)lowest_free + 1); /* what the holder is reached by is open by then */
}

static void relieve(const struct shortage *shortage)
{
  int status = -1;
  close(shortage->fd);
  assert_int_equal(waitpid(shortage->holder, &status, 0), shortage->holder);
  assert_int_equal(status, 0);
}

static void without_descriptors_connections_are_dropped(void **state)
{
  (void)state;
  struct ml_addr addr;
  char byte;
  listen_on("127.0.0.1", &addr);
  connect_clients(&addr, 3);
  expected = 3;
  struct shortage shortage = exhaust();
  ml_loop_run(loop);
  relieve(&shortage);
  assert_int_equal(dropped_count, 3);
  assert_int_equal(accepted_count, 0);
  assert_int_equal(error_count, 0);
  assert_int_equal(recv(clients[0], &byte, 1, 0), 0);
}

static void count_turn(struct ml_timer *timer)
{
  (void)timer;
  ml_loop_stop(loop);
}

/* Not even the descriptor that is kept for this can be had: the listener can but look again from
 * time to time. */
static void a_shortage_that_lasts_is_told_once_and_waited_for(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_timer timer;
  int turns = 0;
  listen_on("127.0.0.1", &addr);
  connect_clients(&addr, 3);
  expected = 3;
  ml_timer_init(&timer, loop, count_turn);
  struct shortage shortage = limit_to(3);
  ml_loop_run(loop);
  assert_int_equal(error_count, 1);
  ml_timer_start(&timer, 450, 0);
  while (ml_timer_active(&timer)) {
    ml_loop_step(loop, true);
    turns++;
  }
  relieve(&shortage);
  assert_in_range(turns, 1, 40);
  assert_int_equal(error_count, 1);
  assert_int_equal(accepted_count + dropped_count, 0);
  ml_loop_run(loop);
  assert_int_equal(accepted_count, 3);
}

static void it_can_be_closed_when_it_tells_of_a_shortage_and_while_it_waits(void **state)
{
  (void)state;
  struct ml_addr addr;
  listen_on("127.0.0.1", &addr);
  connect_clients(&addr, 1);
  for (int round = 0; round < 2; round++) {
    close_on_error = round == 1;
    struct shortage shortage = limit_to(3);
    ml_loop_run(loop);
    relieve(&shortage);
    assert_int_equal(error_count, round + 1);
    shut();
    assert_false(ml_loop_alive(loop));
    if (round == 1) return;
    listener = ml_listener_new(loop, &events, &accepted);
    assert_non_null(listener);
    listen_on("127.0.0.1", &addr);
    close(clients[0]);
    connect_clients(&addr, 1);
  }
}

static void it_can_be_closed_inside_a_drop(void **state)
{
  (void)state;
  struct ml_addr addr;
  listen_on("127.0.0.1", &addr);
  connect_clients(&addr, 3);
  expected = CLIENTS;
  close_on_drop = true;
  struct shortage shortage = exhaust();
  ml_loop_run(loop);
  relieve(&shortage);
  assert_int_equal(dropped_count, 1);
}

static void an_unreferenced_listener_does_not_hold_the_loop(void **state)
{
  (void)state;
  struct ml_addr addr;
  listen_on("127.0.0.1", &addr);
  ml_listener_ref(listener, false);
  ml_loop_run(loop);
  ml_listener_ref(listener, true);
  assert_true(ml_loop_alive(loop));
}

static int make_directory(void **state)
{
  (void)state;
  return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
  (void)state;
  return rmdir(directory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(connections_come_in_batches),
      TEST(accepted_sockets_are_nonblocking_and_undelayed),
      TEST(an_address_in_use_is_said_in_words),
      TEST(reuse_port_lets_two_listen),
      TEST(a_unix_path_is_made_and_removed),
      TEST(a_path_that_exists_is_in_use_and_stays),
      TEST(a_file_put_in_the_sockets_place_is_not_removed),
      TEST(an_inherited_socket_listens),
      TEST(a_descriptor_that_cannot_listen_stays_the_callers),
      TEST(it_can_be_closed_inside_a_connection),
      TEST(without_descriptors_connections_are_dropped),
      TEST(a_shortage_that_lasts_is_told_once_and_waited_for),
      TEST(it_can_be_closed_when_it_tells_of_a_shortage_and_while_it_waits),
      TEST(it_can_be_closed_inside_a_drop),
      TEST(an_unreferenced_listener_does_not_hold_the_loop),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

/* bench-load: see load.h, and `bench-load --help`. Prints one line of key=value pairs. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "pool.h"
#include "process.h"

enum { EVENTS = 256, SETUP_SECONDS = 60, STALL_SECONDS = 20, SETTLE_MS = 500 };

static const char usage[] =
    "usage: bench-load --mode=full|resumed|request|echo|bulk|idle --port=N [options]\n"
    "  --host=IPv4      where the server listens (127.0.0.1)\n"
    "  --conns=N        connections at once (16)\n"
    "  --seconds=S      measure for so long (2)\n"
    "  --warmup=S       after running so long (0.3)\n"
    "  --count=N        stop after N operations instead, measured from the first\n"
    "  --size=BYTES     message of an echo (16384)\n"
    "  --tls=1.2|1.3    protocol (1.3)\n"
    "  --cert=ecdsa|rsa the certificate to ask for (ecdsa)\n"
    "  --servername=N   name a host (SNI)\n"
    "  --status         ask for an OCSP response\n"
    "  --no-ticket      TLS 1.2: have sessions with ids instead of tickets\n"
    "  --storm=N        besides, full handshakes on N connections as fast as they go (0)\n"
    "  --wait=S         go on trying so long until the server listens (0)\n"
    "  --pid=N          a process of the server, whose CPU time and memory to report; may be "
    "repeated\n";

struct usage_sample {
  uint64_t wall, client, server;
};

static struct usage_sample started_at, ended_at;
static uint64_t stage_end;

void die(const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fputs("bench-load: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void)
{
  return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t in_ns(double seconds)
{
  return (uint64_t)(seconds * 1e9);
}

static struct usage_sample sample(const struct load *load)
{
  struct usage_sample s = {.wall = now_ns(), .client = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
  for (unsigned i = 0; i < load->options.pid_count; i++)
    s.server += process_cpu_ns(load->options.pids[i]);
  return s;
}

/* Options. */

static double number(const char *name, const char *text, double low, double high)
{
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || value < low || value > high)
    die("--%s must be between %g and %g", name, low, high);
  return value;
}

static enum mode mode_named(const char *name)
{
  static const char *const names[] = {"full", "resumed", "request", "echo", "bulk", "idle"};
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return (enum mode)i;
  die("unknown mode %s", name);
}

static const struct option long_options[] = {
    {"mode", required_argument, NULL, 'm'},
    {"host", required_argument, NULL, 'H'},
    {"port", required_argument, NULL, 'p'},
    {"conns", required_argument, NULL, 'c'},
    {"seconds", required_argument, NULL, 's'},
    {"warmup", required_argument, NULL, 'w'},
    {"count", required_argument, NULL, 'n'},
    {"size", required_argument, NULL, 'z'},
    {"tls", required_argument, NULL, 't'},
    {"cert", required_argument, NULL, 'a'},
    {"wait", required_argument, NULL, 'W'},
    {"pid", required_argument, NULL, 'P'},
    {"servername", required_argument, NULL, 'N'},
    {"status", no_argument, NULL, 'o'},
    {"no-ticket", no_argument, NULL, 'T'},
    {"storm", required_argument, NULL, 'S'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void set_option(struct options *o, int option)
{
  switch (option) {
  case 'm':
    o->mode = mode_named(optarg);
    o->mode_name = optarg;
    break;
  case 'H':
    if (inet_pton(AF_INET, optarg, &o->server.sin_addr) != 1) die("--host must be an IPv4 address");
    break;
  case 'p':
    o->server.sin_port = htons((uint16_t)number("port", optarg, 1, 65535));
    break;
  case 'c':
    o->conns = (unsigned)number("conns", optarg, 1, 100000);
    break;
  case 's':
    o->seconds = number("seconds", optarg, 0.01, 3600);
    break;
  case 'w':
    o->warmup = number("warmup", optarg, 0, 3600);
    break;
  case 'n':
    o->count = (uint64_t)number("count", optarg, 1, 1e12);
    break;
  case 'z':
    o->message_size = (size_t)number("size", optarg, 1, 1 << 26);
    break;
  case 't':
    o->version = number("tls", optarg, 1.2, 1.3) < 1.25 ? TLS1_2_VERSION : TLS1_3_VERSION;
    break;
  case 'a':
    if (strcmp(optarg, "rsa") != 0 && strcmp(optarg, "ecdsa") != 0)
      die("--cert must be ecdsa or rsa");
    o->rsa = optarg[0] == 'r';
    break;
  case 'N':
    o->servername = optarg;
    break;
  case 'o':
    o->status = true;
    break;
  case 'T':
    o->no_ticket = true;
    break;
  case 'S':
    o->storm = (unsigned)number("storm", optarg, 0, 100000);
    break;
  case 'W':
    o->wait = number("wait", optarg, 0, 3600);
    break;
  case 'P':
    if (o->pid_count == MAX_PIDS) die("too many --pid");
    o->pids[o->pid_count++] = (pid_t)number("pid", optarg, 1, 1 << 30);
    break;
  case 'h':
    fputs(usage, stdout);
    exit(0);
  default:
    fputs(usage, stderr);
    exit(2);
  }
}

static void read_options(struct options *o, int argc, char **argv)
{
  *o = (struct options){
      .conns = 16, .seconds = 2, .warmup = 0.3, .message_size = 16384, .version = TLS1_3_VERSION};
  o->server.sin_family = AF_INET;
  o->server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
    set_option(o, option);
  if (!o->mode_name || !o->server.sin_port || optind != argc) {
    fputs(usage, stderr);
    exit(2);
  }
}

/* Stages. */

static bool keeps_connections(const struct load *load)
{
  return load->options.mode >= MODE_REQUEST;
}

static void enter_measure(struct load *load)
{
  load->stage = STAGE_MEASURE;
  started_at = sample(load);
  stage_end =
      started_at.wall + in_ns(load->options.count ? SETUP_SECONDS * 60.0 : load->options.seconds);
}

static void begin_storm(struct load *load)
{
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = load->storm};
  if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->storm->epoll, &event))
    die("epoll_ctl: %s", strerror(errno));
  load->storm->stage = STAGE_WARMUP;
  conn_open_more(load->storm);
}

static void enter_warmup(struct load *load)
{
  load->stage = STAGE_WARMUP;
  if (load->storm) begin_storm(load);
  stage_end = now_ns() + in_ns(load->options.warmup);
  if (load->options.count) enter_measure(load);
  if (!keeps_connections(load)) return;
  for (unsigned i = 0; i < load->options.conns; i++)
    conn_start(load, &load->conns[i]);
}

static void enter_done(struct load *load)
{
  ended_at = sample(load);
  load->stage = STAGE_DONE;
}

static void end_setup(struct load *load)
{
  if (load->options.mode == MODE_IDLE) {
    if (load->settled == load->options.conns) enter_done(load);
  } else if (load->ready == load->options.conns) {
    enter_warmup(load);
  }
  if (load->stage == STAGE_SETUP && now_ns() > stage_end)
    die("%u of %u connections established in %d s", load->ready, load->options.conns,
        SETUP_SECONDS);
}

static void advance(struct load *load)
{
  switch (load->stage) {
  case STAGE_SETUP:
    end_setup(load);
    break;
  case STAGE_WARMUP:
    if (now_ns() >= stage_end) enter_measure(load);
    break;
  case STAGE_MEASURE:
    if (now_ns() >= stage_end) enter_done(load);
    break;
  case STAGE_DONE:
    break;
  }
}

void load_count(struct load *load, uint64_t started, uint64_t bytes)
{
  if (load->stage != STAGE_MEASURE) return;
  load->ops++;
  load->bytes += bytes;
  histogram_add(&load->latency, now_ns() - started);
  if (load->options.count && load->ops == load->options.count) enter_done(load);
}

void load_established(struct load *load, bool reused)
{
  if (load->stage != STAGE_MEASURE) return;
  if (reused)
    load->reused++;
  else
    load->not_reused++;
}

/* Connections whose TLS layer still holds bytes. They may queue themselves again. */
static void drive_again(struct load *load)
{
  unsigned n = load->again_count;
  for (unsigned i = 0; i < n && load->stage != STAGE_DONE; i++) {
    load->again[i]->queued = false;
    conn_drive(load, load->again[i]);
  }
  load->again_count -= n;
  memmove(load->again, load->again + n, load->again_count * sizeof *load->again);
}

/* One step of one handshake of the storm, after which the other connections are looked at again: in
 * a process of its own the storm would have the core for milliseconds while answers wait to be
 * read, and the latency would be that of the kernel's scheduler. */
static void drive_storm(struct load *storm, enum stage stage)
{
  struct epoll_event event;
  storm->stage = stage;
  int n = epoll_wait(storm->epoll, &event, 1, 0);
  if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
  if (n > 0) conn_drive(storm, event.data.ptr);
}

static void run(struct load *load)
{
  struct epoll_event events[EVENTS];
  uint64_t last_event = now_ns();
  stage_end = last_event + in_ns(SETUP_SECONDS);
  if (!keeps_connections(load)) enter_warmup(load);
  conn_open_more(load);
  while (load->stage != STAGE_DONE) {
    int n = epoll_wait(load->epoll, events, EVENTS, load->again_count ? 0 : 20);
    if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
    bool stormy = false;
    for (int i = 0; i < n && load->stage != STAGE_DONE; i++) {
      if (load->storm && events[i].data.ptr == load->storm)
        stormy = true;
      else
        conn_drive(load, events[i].data.ptr);
    }
    drive_again(load);
    if (stormy && load->stage != STAGE_DONE) drive_storm(load->storm, load->stage);
    advance(load);
    uint64_t now = now_ns();
    if (n > 0 || load->again_count)
      last_event = now;
    else if (now - last_event > in_ns(STALL_SECONDS))
      die("the server has been silent for %d s", STALL_SECONDS);
  }
}

/* Preparation and report. */

/* Connects and closes until the server accepts. */
static void wait_for_server(const struct options *o)
{
  uint64_t deadline = now_ns() + in_ns(o->wait);
  for (;;) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int refused = connect(fd, (const struct sockaddr *)&o->server, sizeof o->server);
    int error = errno;
    close(fd);
    if (!refused) return;
    if (now_ns() >= deadline)
      die("connect to port %d: %s", ntohs(o->server.sin_port), strerror(error));
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  }
}

static void raise_descriptor_limit(unsigned conns)
{
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < conns + 16)
    die("%u connections need a higher limit on open files (ulimit -n)", conns);
}

static char *make_material(const struct options *o, size_t *len)
{
  if (o->mode != MODE_ECHO) {
    const char *path = o->mode == MODE_BULK ? "/bulk" : "/";
    char *text = NULL;
    int n = asprintf(&text, "GET %s?00000000 HTTP/1.1\r\nHost: x\r\n\r\n", path);
    if (n < 0) die("out of memory");
    *len = (size_t)n;
    return text;
  }
  size_t size = o->message_size + MATERIAL_WINDOWS;
  char *bytes = malloc(size);
  if (!bytes) die("out of memory");
  uint32_t state = 1;
  for (size_t i = 0; i < size; i++) {
    state = state * 1664525 + 1013904223;
    bytes[i] = (char)(state >> 24);
  }
  *len = o->message_size;
  return bytes;
}

static void make_connections(struct load *load)
{
  const struct options *o = &load->options;
  conn_contexts(load);
  load->epoll = epoll_create1(EPOLL_CLOEXEC);
  load->conns = calloc(o->conns, sizeof *load->conns);
  load->again = calloc(2 * (size_t)o->conns, sizeof(struct conn *));
  if (load->epoll < 0 || !load->conns || !load->again) die("out of memory");
  for (unsigned i = 0; i < o->conns; i++)
    load->conns[i].fd = -1;
  load->material = make_material(o, &load->message_len);
}

static void prepare(struct load *load)
{
  const struct options *o = &load->options;
  signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit(o->conns + o->storm);
  wait_for_server(o);
  make_connections(load);
  if (!o->storm) return;
  load->storm = calloc(1, sizeof *load->storm);
  if (!load->storm) die("out of memory");
  load->storm->options = *o;
  load->storm->options.mode = MODE_FULL;
  load->storm->options.conns = o->storm;
  load->storm->options.count = 0;
  make_connections(load->storm);
}

static double ms(const struct load *load, double percent)
{
  return (double)histogram_percentile(&load->latency, percent) / 1e6;
}

static void report(const struct load *load)
{
  double seconds = (double)(ended_at.wall - started_at.wall) / 1e9;
  double client = (double)(ended_at.client - started_at.client) / 1e9;
  double server = (double)(ended_at.server - started_at.server) / 1e9;
  double ops = load->ops ? (double)load->ops : 1;
  printf("mode=%s conns=%u ops=%" PRIu64 " seconds=%.3f rate=%.1f mb_per_s=%.2f",
         load->options.mode_name, load->options.conns, load->ops, seconds,
         (double)load->ops / seconds, (double)load->bytes / seconds / 1e6);
  printf(" p50_ms=%.3f p90_ms=%.3f p99_ms=%.3f p999_ms=%.3f max_ms=%.3f", ms(load, 50),
         ms(load, 90), ms(load, 99), ms(load, 99.9), (double)load->latency.max / 1e6);
  printf(" client_cpu=%.3f server_cpu=%.3f client_us=%.2f server_us=%.2f", client / seconds,
         server / seconds, client / ops * 1e6, server / ops * 1e6);
  if (load->storm) printf(" handshakes_per_s=%.1f", (double)load->storm->ops / seconds);
  printf(" reused=%" PRIu64 " not_reused=%" PRIu64 " errors=%" PRIu64 "\n", load->reused,
         load->not_reused, load->errors + (load->storm ? load->storm->errors : 0));
  if (load->storm && load->storm->errors)
    fprintf(stderr, "bench-load: %" PRIu64 " of the storm failed, first: %s\n", load->storm->errors,
            load->storm->first_error);
  if (load->errors)
    fprintf(stderr, "bench-load: %" PRIu64 " failed, first: %s\n", load->errors, load->first_error);
}

static struct process_memory memory_of_server(const struct load *load)
{
  struct process_memory sum = {0}, one;
  /* Time for the server to go quiet: there is no event for having nothing left to do. */
  nanosleep(&(struct timespec){.tv_nsec = SETTLE_MS * 1000000L}, NULL);
  for (unsigned i = 0; i < load->options.pid_count; i++) {
    if (process_memory(load->options.pids[i], &one))
      die("memory of process %d: %s", load->options.pids[i], strerror(errno));
    sum.rss += one.rss;
    sum.pss += one.pss;
    sum.private_ += one.private_;
  }
  return sum;
}

static void run_idle(struct load *load)
{
  struct process_memory before = memory_of_server(load);
  run(load);
  struct process_memory after = memory_of_server(load);
  double per_conn = 1024.0 / load->options.conns;
  printf("mode=idle conns=%u rss_per_conn=%.0f pss_per_conn=%.0f private_per_conn=%.0f rss_kib=%ld "
         "errors=%" PRIu64 "\n",
         load->options.conns, (double)(after.rss - before.rss) * per_conn,
         (double)(after.pss - before.pss) * per_conn,
         (double)(after.private_ - before.private_) * per_conn, after.rss, load->errors);
}

static void destroy(struct load *load)
{
  for (unsigned i = 0; i < load->options.conns; i++)
    conn_destroy(&load->conns[i]);
  SSL_CTX_free(load->tls);
  SSL_CTX_free(load->first_tls);
  free(load->material);
  free(load->again);
  free(load->conns);
  close(load->epoll);
}

int main(int argc, char **argv)
{
  static struct load load;
  if (pool_install()) die("OpenSSL has allocated before main");
  read_options(&load.options, argc, argv);
  prepare(&load);
  if (load.options.mode == MODE_IDLE) {
    run_idle(&load);
  } else {
    run(&load);
    report(&load);
  }
  if (load.storm) destroy(load.storm);
  free(load.storm);
  destroy(&load);
  return 0;
}

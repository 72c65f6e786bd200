/* The resolver against the hosts file and a DNS server of its own on loopback; nothing here leaves
 * the machine. */
#include <ifaddrs.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake_dns.h"
#include "resolver.h"

struct outcome {
  struct ml_resolver *resolver; /* freed inside the callback when `free_inside` */
  bool free_inside;
  int calls;
  size_t n;
  char text[4][64]; /* the answers or names */
  int ttl[4];
  struct ml_error err;
};

struct fixture {
  struct ml_loop *loop;
  struct ml_resolver *resolver;
  struct fake_dns fake;
  struct outcome out;
};

static void note_error(struct outcome *out, const struct ml_error *err, size_t n)
{
  out->calls++;
  out->n = n;
  if (err) {
    assert_int_equal(n, 0);
    out->err = *err;
  } else {
    assert_true(n > 0);
  }
}

static void on_answers(void *user, const struct ml_error *err, const struct ml_answer *answers,
                       size_t n)
{
  struct outcome *out = user;
  note_error(out, err, n);
  for (size_t i = 0; i < n && i < 4; i++) {
    ml_addr_text(&answers[i].addr, out->text[i], sizeof(out->text[i]));
    assert_int_equal(ml_addr_port(&answers[i].addr), 0);
    out->ttl[i] = answers[i].ttl;
  }
  if (out->free_inside) ml_resolver_free(out->resolver);
}

static void on_names(void *user, const struct ml_error *err, const char *const *names, size_t n)
{
  struct outcome *out = user;
  note_error(out, err, n);
  for (size_t i = 0; i < n && i < 4; i++)
    snprintf(out->text[i], sizeof(out->text[i]), "%s", names[i]);
}

static void ask_port(struct fixture *f, int port)
{
  struct ml_error err;
  struct ml_addr server;
  assert_int_equal(ml_addr_ip(&server, "127.0.0.1", port, "connect", &err), 0);
  assert_int_equal(ml_resolver_set_servers(f->resolver, &server, 1, &err), 0);
}

static void open_resolver(struct fixture *f, int timeout_ms)
{
  struct ml_error err;
  const struct ml_resolver_options options = {.timeout_ms = timeout_ms, .attempts = 1};
  assert_int_equal(ml_resolver_new(&f->resolver, f->loop, &options, &err), 0);
  ask_port(f, f->fake.port);
}

/* For servers that never answer: to those that do, a busy machine gives no such time. */
static void be_impatient(struct fixture *f)
{
  ml_resolver_free(f->resolver);
  open_resolver(f, 50);
}

/* Interfaces, in place of libc's: a test says which the machine has. */
static struct sockaddr_in6 own_v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
static struct ifaddrs loopback = {.ifa_addr = (void *)&own_v6, .ifa_flags = IFF_LOOPBACK};
static struct ifaddrs *interfaces = &loopback;

int getifaddrs(struct ifaddrs **list)
{
  *list = interfaces;
  return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
  (void)list;
}

static int setup(void **state)
{
  struct fixture *f = calloc(1, sizeof(*f));
  struct ml_error err;
  assert_int_equal(ml_loop_new(&f->loop, &err), 0);
  fake_dns_start(&f->fake, f->loop);
  open_resolver(f, 30000);
  *state = f;
  return 0;
}

static int teardown(void **state)
{
  struct fixture *f = *state;
  ml_resolver_free(f->resolver);
  fake_dns_stop(&f->fake, f->loop);
  assert_false(ml_loop_alive(f->loop));
  ml_loop_free(f->loop);
  free(f);
  return 0;
}

/* Looks up, and runs the loop until nothing keeps it alive: the resolver must be at rest by then.
 */
static void lookup(struct fixture *f, const char *host, int family, unsigned hints)
{
  memset(&f->out, 0, sizeof(f->out));
  assert_non_null(ml_resolver_lookup(f->resolver, host, family, hints, on_answers, &f->out));
  assert_int_equal(f->out.calls, 0);
  ml_loop_run(f->loop);
  assert_int_equal(f->out.calls, 1);
  assert_int_equal(ml_resolver_pending(f->resolver), 0);
}

static void resolve(struct fixture *f, const char *name, int family)
{
  memset(&f->out, 0, sizeof(f->out));
  assert_non_null(ml_resolver_resolve(f->resolver, name, family, on_answers, &f->out));
  assert_int_equal(f->out.calls, 0);
  ml_loop_run(f->loop);
  assert_int_equal(f->out.calls, 1);
}

static void expect_answers(const struct fixture *f, size_t n, const char *first, const char *second)
{
  assert_string_equal(f->out.err.message, "");
  assert_int_equal(f->out.n, n);
  if (first) assert_string_equal(f->out.text[0], first);
  if (second) assert_string_equal(f->out.text[1], second);
}

static void expect_failure(const struct fixture *f, const char *code, const char *message)
{
  assert_int_equal(f->out.n, 0);
  assert_int_equal(f->out.err.origin, ML_ORIGIN_DNS);
  assert_string_equal(f->out.err.code, code);
  assert_string_equal(f->out.err.message, message);
}

static void localhost_needs_no_server(void **state)
{
  struct fixture *f = *state;
  lookup(f, "localhost", 4, 0);
  expect_answers(f, 1, "127.0.0.1", NULL);
  lookup(f, "LocalHost.", 0, ML_LOOKUP_ADDRCONFIG);
  assert_true(f->out.n >= 1);
  lookup(f, "LOCALHOST", 6, 0);
  expect_answers(f, 1, "::1", NULL);
  lookup(f, "any.thing.localhost.", 0, 0);
  expect_answers(f, 2, "::1", "127.0.0.1");
  lookup(f, "anything.localhost", 6, 0);
  expect_answers(f, 1, "::1", NULL);
  assert_int_equal(f->fake.questions, 0);
}

static void a_literal_is_its_own_answer(void **state)
{
  struct fixture *f = *state;
  lookup(f, "127.0.0.9", 0, 0);
  expect_answers(f, 1, "127.0.0.9", NULL);
  lookup(f, "::1", 4, 0);
  expect_answers(f, 1, "::1", NULL);
  assert_int_equal(f->fake.questions, 0);
}

static void names_below_invalid_and_no_name_at_all_are_not_asked_for(void **state)
{
  struct fixture *f = *state;
  lookup(f, "nope.invalid", 0, 0);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND nope.invalid");
  assert_string_equal(f->out.err.syscall, "getaddrinfo");
  lookup(f, "Nope.Invalid.", 4, 0);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND Nope.Invalid.");
  lookup(f, "", 0, 0);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND ");
  resolve(f, "nope.invalid", 4);
  expect_failure(f, "ENOTFOUND", "queryA ENOTFOUND nope.invalid");
  assert_int_equal(f->fake.questions, 0);
}

static void lookup_asks_for_the_families_wanted(void **state)
{
  struct fixture *f = *state;
  lookup(f, "both.test", 0, 0);
  assert_int_equal(f->out.n, 2);
  assert_int_equal(f->fake.questions, 2);
  lookup(f, "both.test", 4, 0);
  expect_answers(f, 1, "127.0.0.2", NULL);
  assert_int_equal(f->out.ttl[0], 60);
  assert_int_equal(f->fake.questions, 3);
  lookup(f, "both.test", 6, 0);
  expect_answers(f, 1, "::1", NULL);
  assert_int_equal(f->out.ttl[0], 61);
}

static void addrconfig_asks_for_families_that_are_configured(void **state)
{
  struct fixture *f = *state;
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct ifaddrs loopback4 = {
      .ifa_next = &loopback, .ifa_addr = (void *)&v4, .ifa_flags = IFF_LOOPBACK};
  struct ifaddrs bare = {.ifa_next = &loopback4};
  struct ifaddrs net4 = {.ifa_next = &bare, .ifa_addr = (void *)&v4};
  struct ifaddrs net6 = {.ifa_next = &bare, .ifa_addr = (void *)&own_v6};
  interfaces = &net4;
  lookup(f, "both.test", 0, ML_LOOKUP_ADDRCONFIG);
  expect_answers(f, 1, "127.0.0.2", NULL);
  lookup(f, "both.test", 6, ML_LOOKUP_ADDRCONFIG);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND both.test");
  interfaces = &net6;
  lookup(f, "both.test", 0, ML_LOOKUP_ADDRCONFIG);
  expect_answers(f, 1, "::1", NULL);
  lookup(f, "both.test", 4, ML_LOOKUP_ADDRCONFIG);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND both.test");
  /* A machine without a network still has names, in its hosts file. */
  interfaces = &bare;
  lookup(f, "both.test", 0, ML_LOOKUP_ADDRCONFIG);
  assert_int_equal(f->out.n, 2);
  lookup(f, "both.test", 4, ML_LOOKUP_ADDRCONFIG);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND both.test");
  interfaces = &loopback;
}

static void v4mapped_stands_in_for_missing_ipv6(void **state)
{
  struct fixture *f = *state;
  lookup(f, "four.test", 6, 0);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND four.test");
  lookup(f, "four.test", 6, ML_LOOKUP_V4MAPPED);
  assert_int_equal(f->out.n, 2);
  assert_memory_equal(f->out.text[0], "::ffff:127.0.0.", 15);
  lookup(f, "both.test", 6, ML_LOOKUP_V4MAPPED);
  expect_answers(f, 1, "::1", NULL);
  lookup(f, "both.test", 6, ML_LOOKUP_V4MAPPED | ML_LOOKUP_ALL);
  expect_answers(f, 2, "::1", "::ffff:127.0.0.2");
}

static void failures_of_the_dns_have_getaddrinfos_names(void **state)
{
  struct fixture *f = *state;
  lookup(f, "none.test", 0, 0);
  expect_failure(f, "ENOTFOUND", "getaddrinfo ENOTFOUND none.test");
  lookup(f, "fail.test", 0, 0);
  expect_failure(f, "EAI_AGAIN", "getaddrinfo EAI_AGAIN fail.test");
  lookup(f, "refused.test", 4, 0);
  expect_failure(f, "EAI_AGAIN", "getaddrinfo EAI_AGAIN refused.test");
  be_impatient(f);
  lookup(f, "silent.test", 4, 0);
  expect_failure(f, "EAI_AGAIN", "getaddrinfo EAI_AGAIN silent.test");
}

static void resolve_gives_records_in_order_with_their_ttl(void **state)
{
  struct fixture *f = *state;
  resolve(f, "four.test", 4);
  expect_answers(f, 2, "127.0.0.3", "127.0.0.4");
  assert_int_equal(f->out.ttl[0], 62);
  assert_int_equal(f->out.ttl[1], 63);
  resolve(f, "six.test", 6);
  expect_answers(f, 1, "::1", NULL);
  assert_int_equal(f->out.ttl[0], 64);
}

static void failures_of_resolve_keep_the_dns_own_names(void **state)
{
  struct fixture *f = *state;
  resolve(f, "none.test", 4);
  expect_failure(f, "ENOTFOUND", "queryA ENOTFOUND none.test");
  resolve(f, "four.test", 6);
  expect_failure(f, "ENODATA", "queryAaaa ENODATA four.test");
  assert_string_equal(f->out.err.syscall, "queryAaaa");
  resolve(f, "garbage.test", 4);
  expect_failure(f, "EBADRESP", "queryA EBADRESP garbage.test");
  be_impatient(f);
  resolve(f, "silent.test", 4);
  expect_failure(f, "ETIMEOUT", "queryA ETIMEOUT silent.test");
}

static void a_server_that_is_not_there_fails_at_once(void **state)
{
  struct fixture *f = *state;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(sin);
  assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
  close(fd);
  ask_port(f, ntohs(sin.sin_port));
  resolve(f, "four.test", 4);
  expect_failure(f, "ECONNREFUSED", "queryA ECONNREFUSED four.test");
}

static void reverse_reads_the_hosts_file_and_asks_for_ptr(void **state)
{
  struct fixture *f = *state;
  struct ml_error err;
  struct ml_addr addr;
  assert_int_equal(ml_addr_ip(&addr, "127.0.0.1", 0, "connect", &err), 0);
  assert_non_null(ml_resolver_reverse(f->resolver, &addr, on_names, &f->out));
  ml_loop_run(f->loop);
  assert_int_equal(f->out.calls, 1);
  assert_true(f->out.n >= 1);
  assert_int_equal(f->fake.questions, 0);

  memset(&f->out, 0, sizeof(f->out));
  assert_int_equal(ml_addr_ip(&addr, "127.0.0.9", 0, "connect", &err), 0);
  assert_non_null(ml_resolver_reverse(f->resolver, &addr, on_names, &f->out));
  ml_loop_run(f->loop);
  expect_answers(f, 1, "nine.test", NULL);

  memset(&f->out, 0, sizeof(f->out));
  assert_int_equal(ml_addr_ip(&addr, "127.0.0.10", 0, "connect", &err), 0);
  assert_non_null(ml_resolver_reverse(f->resolver, &addr, on_names, &f->out));
  ml_loop_run(f->loop);
  expect_failure(f, "ENOTFOUND", "getHostByAddr ENOTFOUND 127.0.0.10");
}

static void a_cancelled_query_never_calls_back(void **state)
{
  struct fixture *f = *state;
  struct outcome cancelled = {0}, answered = {0};
  struct ml_query *query =
      ml_resolver_lookup(f->resolver, "silent.test", 4, 0, on_answers, &cancelled);
  assert_non_null(ml_resolver_lookup(f->resolver, "both.test", 4, 0, on_answers, &answered));
  ml_query_cancel(query);
  for (int i = 0; i < 1000 && answered.calls == 0; i++)
    ml_loop_step(f->loop, true);
  assert_int_equal(answered.calls, 1);
  assert_int_equal(cancelled.calls, 0);
  /* Nor does the server that owes it an answer hold the loop. */
  assert_false(ml_loop_alive(f->loop));
}

static void cancelling_the_last_query_frees_the_loop(void **state)
{
  struct fixture *f = *state;
  struct ml_query *asked = ml_resolver_resolve(f->resolver, "silent.test", 4, on_answers, &f->out);
  ml_loop_step(f->loop, false);
  assert_true(ml_loop_alive(f->loop));
  ml_query_cancel(asked);
  assert_false(ml_loop_alive(f->loop));

  struct ml_query *known = ml_resolver_lookup(f->resolver, "127.0.0.1", 0, 0, on_answers, &f->out);
  assert_true(ml_loop_alive(f->loop));
  ml_query_cancel(known);
  assert_false(ml_loop_alive(f->loop));
  assert_int_equal(f->out.calls, 0);
}

static void a_resolver_may_go_with_queries_pending(void **state)
{
  struct fixture *f = *state;
  assert_non_null(ml_resolver_lookup(f->resolver, "silent.test", 0, 0, on_answers, &f->out));
  assert_non_null(ml_resolver_resolve(f->resolver, "both.test", 4, on_answers, &f->out));
  assert_non_null(ml_resolver_lookup(f->resolver, "127.0.0.1", 0, 0, on_answers, &f->out));
  ml_query_cancel(ml_resolver_lookup(f->resolver, "silent.test", 0, 0, on_answers, &f->out));
  ml_resolver_free(f->resolver);
  f->resolver = NULL;
  ml_loop_run(f->loop);
  assert_int_equal(f->out.calls, 0);
}

static void a_callback_may_free_its_resolver(void **state)
{
  struct fixture *f = *state;
  struct outcome never = {0};
  f->out.resolver = f->resolver;
  f->out.free_inside = true;
  assert_non_null(ml_resolver_lookup(f->resolver, "both.test", 0, 0, on_answers, &f->out));
  assert_non_null(ml_resolver_lookup(f->resolver, "silent.test", 4, 0, on_answers, &never));
  ml_loop_run(f->loop);
  assert_int_equal(f->out.calls, 1);
  assert_int_equal(never.calls, 0);
  f->resolver = NULL;
}

static void many_queries_run_at_once(void **state)
{
  struct fixture *f = *state;
  struct outcome out = {0};
  for (int i = 0; i < 200; i++)
    assert_non_null(ml_resolver_resolve(f->resolver, "four.test", 4, on_answers, &out));
  ml_loop_run(f->loop);
  assert_int_equal(out.calls, 200);
  assert_string_equal(out.err.message, "");
}

static void servers_are_told_and_changed_only_at_rest(void **state)
{
  struct fixture *f = *state;
  struct ml_error err;
  struct ml_addr servers[3];
  assert_int_equal(ml_addr_ip(&servers[0], "127.0.0.1", f->fake.port, "connect", &err), 0);
  assert_int_equal(ml_addr_ip(&servers[1], "127.0.0.2", 0, "connect", &err), 0);
  assert_int_equal(ml_addr_ip(&servers[2], "::1", 5353, "connect", &err), 0);
  struct ml_query *query = ml_resolver_resolve(f->resolver, "silent.test", 4, on_answers, &f->out);
  assert_int_equal(ml_resolver_set_servers(f->resolver, servers, 3, &err), -1);
  assert_string_equal(err.code, "ESETSRVPENDING");
  ml_query_cancel(query);
  assert_int_equal(ml_resolver_set_servers(f->resolver, servers, 3, &err), 0);
  char expected[128];
  snprintf(expected, sizeof(expected), "127.0.0.1:%d,127.0.0.2,[::1]:5353", f->fake.port);
  char *text = ml_resolver_servers(f->resolver);
  assert_string_equal(text, expected);
  free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(localhost_needs_no_server),
      TEST(a_literal_is_its_own_answer),
      TEST(names_below_invalid_and_no_name_at_all_are_not_asked_for),
      TEST(lookup_asks_for_the_families_wanted),
      TEST(addrconfig_asks_for_families_that_are_configured),
      TEST(v4mapped_stands_in_for_missing_ipv6),
      TEST(failures_of_the_dns_have_getaddrinfos_names),
      TEST(resolve_gives_records_in_order_with_their_ttl),
      TEST(failures_of_resolve_keep_the_dns_own_names),
      TEST(a_server_that_is_not_there_fails_at_once),
      TEST(reverse_reads_the_hosts_file_and_asks_for_ptr),
      TEST(a_cancelled_query_never_calls_back),
      TEST(cancelling_the_last_query_frees_the_loop),
      TEST(a_resolver_may_go_with_queries_pending),
      TEST(a_callback_may_free_its_resolver),
      TEST(many_queries_run_at_once),
      TEST(servers_are_told_and_changed_only_at_rest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

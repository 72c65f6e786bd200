/* Addresses: text to value and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "addr.h"

static void ip_addresses_survive_the_round_trip(void **state)
{
  static const char *const texts[] = {"127.0.0.1", "0.0.0.0", "255.255.255.255",
                                      "::",        "::1",     "2001:db8::7"};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct ml_addr addr;
    struct ml_error err;
    char text[64];
    assert_int_equal(ml_addr_ip(&addr, texts[i], 65535, "connect", &err), 0);
    assert_string_equal(ml_addr_text(&addr, text, sizeof text), texts[i]);
    assert_int_equal(ml_addr_port(&addr), 65535);
    assert_string_equal(ml_addr_family(&addr), strchr(texts[i], ':') ? "IPv6" : "IPv4");
  }
}

static void a_link_local_address_keeps_its_interface(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  char text[64];
  assert_int_equal(ml_addr_ip(&addr, "fe80::1%lo", 1, "connect", &err), 0);
  assert_string_equal(ml_addr_text(&addr, text, sizeof text), "fe80::1%lo");
  assert_int_equal(ml_addr_ip(&addr, "fe80::1%1", 1, "connect", &err), 0);
  assert_string_equal(ml_addr_text(&addr, text, sizeof text), "fe80::1%lo");
  assert_int_equal(ml_addr_ip(&addr, "fe80::1%nosuchif", 1, "connect", &err), -1);
}

static void what_is_not_an_address_is_refused(void **state)
{
  static const char *const texts[] = {
      "",         "localhost",
      "1.2.3",    "1.2.3.4.5",
      "01.2.3.4", "::g",
      "1.2.3.4 ", "%lo",
      "::1%",     "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct ml_addr addr;
    struct ml_error err;
    assert_int_equal(ml_addr_ip(&addr, texts[i], 1, "connect", &err), -1);
    assert_string_equal(err.code, "EINVAL");
    assert_int_equal(ml_addr_is_ip(texts[i]), 0);
  }
}

static void a_port_out_of_range_is_refused(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  assert_int_equal(ml_addr_ip(&addr, "::1", -1, "connect", &err), -1);
  assert_int_equal(ml_addr_ip(&addr, "::1", 65536, "connect", &err), -1);
}

static void is_ip_judges_the_spelling(void **state)
{
  (void)state;
  assert_int_equal(ml_addr_is_ip("8.8.8.8"), 4);
  assert_int_equal(ml_addr_is_ip("::ffff:8.8.8.8"), 6);
  assert_int_equal(ml_addr_is_ip("fe80::1%nosuchif0"), 6);
  assert_int_equal(ml_addr_is_ip("fe80::1%no such"), 0);
}

static void unix_paths_fit_or_are_refused(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  char path[128];
  char text[128];
  size_t len;
  memset(path, 'x', sizeof path);
  assert_int_equal(ml_addr_unix(&addr, path, 107, "connect", &err), 0);
  assert_memory_equal(ml_addr_path(&addr, &len), path, 107);
  assert_int_equal(len, 107);
  assert_int_equal(ml_addr_unix(&addr, path, 108, "connect", &err), -1);
  assert_string_equal(err.code, "ENAMETOOLONG");
  assert_int_equal(ml_addr_unix(&addr, "", 0, "connect", &err), -1);
  assert_int_equal(ml_addr_unix(&addr, "a\0b", 3, "connect", &err), -1);

  path[0] = '\0';
  assert_int_equal(ml_addr_unix(&addr, path, 108, "connect", &err), 0);
  assert_memory_equal(ml_addr_path(&addr, &len), path, 108);
  assert_int_equal(len, 108);
  assert_int_equal(ml_addr_text(&addr, text, sizeof text)[0], '@');
  assert_int_equal(strlen(text), 108);
  assert_string_equal(ml_addr_family(&addr), "unix");
}

static void text_is_cut_to_the_buffer(void **state)
{
  (void)state;
  struct ml_addr addr;
  struct ml_error err;
  char text[5];
  assert_int_equal(ml_addr_ip(&addr, "127.0.0.1", 1, "connect", &err), 0);
  assert_string_equal(ml_addr_text(&addr, text, sizeof text), "127.");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ip_addresses_survive_the_round_trip),
      cmocka_unit_test(a_link_local_address_keeps_its_interface),
      cmocka_unit_test(what_is_not_an_address_is_refused),
      cmocka_unit_test(a_port_out_of_range_is_refused),
      cmocka_unit_test(is_ip_judges_the_spelling),
      cmocka_unit_test(unix_paths_fit_or_are_refused),
      cmocka_unit_test(text_is_cut_to_the_buffer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Rest: what is given back and what comes of it. */
#include <sys/mman.h>
#include <unistd.h>

#include "tls_rest.h"
#include "tls_sides.h"

static const struct ml_tls_options plain_server = {.server = true};
static const struct ml_tls_options plain_client = {.servername = "alpha.test"};

enum { PAGES = 4 };

static size_t page_size(void)
{
  return (size_t)sysconf(_SC_PAGESIZE);
}

static uint8_t *second_page(uint8_t *block)
{
  uintptr_t size = page_size();
  return (uint8_t *)(((uintptr_t)block + size - 1) / size * size); // NOLINT
}

static bool is_resident(uint8_t *page)
{
  unsigned char resident;
  assert_int_equal(mincore(page, page_size(), &resident), 0);
  return resident & 1;
}

static void test_pages_go_and_their_contents_come_back(void **state)
{
  (void)state;
  size_t size = PAGES * page_size();
  uint8_t *block = calloc(1, size), *expected = calloc(1, size);
  for (size_t i = 0; i < size; i += 97)
    block[i] = expected[i] = (uint8_t)(i | 1);
  memset(block + size / 2, 0, size / 4);
  memset(expected + size / 2, 0, size / 4);
  struct ml_tls_rest *rest = ml_tls_rest_begin(block);
  assert_non_null(rest);
  assert_false(is_resident(second_page(block)));
  ml_tls_rest_end(rest);
  assert_memory_equal(block, expected, size);
  free(block);
  free(expected);
}

static void test_what_is_small_or_full_stays(void **state)
{
  (void)state;
  uint8_t *small = calloc(1, 64), *full = malloc(PAGES * page_size());
  memset(full, 0xff, PAGES * page_size());
  assert_null(ml_tls_rest_begin(small));
  assert_null(ml_tls_rest_begin(full));
  assert_true(is_resident(second_page(full)));
  free(small);
  free(full);
}

/* Of several, so that some can rest. */
static void each_at_rest(int version, void (*check)(struct sides *))
{
  enum { PAIRS = 16 };
  struct sides sides[PAIRS];
  for (int i = 0; i < PAIRS; i++) {
    sides[i] = sides_open(version, &plain_server, &plain_client);
    bool expected = can_rest(sides[i].server.tls);
    ml_tls_rest(sides[i].server.tls);
    ml_tls_rest(sides[i].client.tls);
    assert_int_equal(ml_tls_rests(sides[i].server.tls), expected);
  }
  for (int i = 0; i < PAIRS; i++) {
    check(&sides[i]);
    sides_free(&sides[i]);
  }
}

static void check_use(struct sides *sides)
{
  ml_tls_ssl(sides->server.tls);
  assert_false(ml_tls_rests(sides->server.tls));
  ml_tls_rest(sides->server.tls);
  side_write(&sides->server, "from the server");
  side_write(&sides->client, "from the client");
  sides_work(sides);
  expect_log(&sides->server, "from the client");
  expect_log(&sides->client, "from the server");
  ml_tls_rest(sides->server.tls);
  assert_int_equal(ml_tls_close(sides->server.tls), ML_TLS_OK);
  sides_work(sides);
  expect_log(&sides->client, ".");
}

static void test_who_rests_is_awake_when_used(void **state)
{
  (void)state;
  each_at_rest(TLS1_2_VERSION, check_use);
  each_at_rest(TLS1_3_VERSION, check_use);
}

static void check_nothing(struct sides *sides)
{
  (void)sides;
}

static void test_who_rests_can_go(void **state)
{
  (void)state;
  each_at_rest(TLS1_3_VERSION, check_nothing);
}

static void test_a_handshake_does_not_rest(void **state)
{
  (void)state;
  struct ml_tls_context *context = make_context(&alpha, NULL, TLS1_3_VERSION);
  for (int i = 0; i < 16; i++) {
    struct ml_tls *tls = make_engine(context, &plain_server);
    ml_tls_rest(tls);
    assert_false(ml_tls_rests(tls));
    ml_tls_free(tls);
  }
  ml_tls_context_unref(context);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pages_go_and_their_contents_come_back),
      cmocka_unit_test(test_what_is_small_or_full_stays),
      cmocka_unit_test(test_who_rests_is_awake_when_used),
      cmocka_unit_test(test_who_rests_can_go),
      cmocka_unit_test(test_a_handshake_does_not_rest),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

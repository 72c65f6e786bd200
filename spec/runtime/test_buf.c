/* The byte queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "buf.h"

static void bytes_come_out_in_the_order_they_went_in(void **state)
{
  (void)state;
  struct ml_buf buf = {0};
  uint8_t in = 0;
  uint8_t out = 0;
  /* Uneven steps, so that it grows, moves and wraps at every kind of place. */
  for (int round = 0; round < 2000; round++) {
    uint8_t chunk[97];
    size_t n = (size_t)(round * 31 % 97);
    for (size_t i = 0; i < n; i++)
      chunk[i] = in++;
    assert_int_equal(ml_buf_append(&buf, chunk, n), 0);
    size_t take = (size_t)(round * 17 % 89);
    if (take > ml_buf_size(&buf)) take = ml_buf_size(&buf);
    for (size_t i = 0; i < take; i++)
      assert_int_equal(ml_buf_data(&buf)[i], out++);
    ml_buf_consume(&buf, take);
  }
  while (ml_buf_size(&buf) > 0) {
    assert_int_equal(ml_buf_data(&buf)[0], out++);
    ml_buf_consume(&buf, 1);
  }
  assert_int_equal(in, out);
}

static void an_empty_queue_owns_no_memory(void **state)
{
  (void)state;
  struct ml_buf buf = {0};
  assert_int_equal(ml_buf_append(&buf, "abc", 3), 0);
  ml_buf_consume(&buf, 2);
  assert_non_null(buf.memory);
  ml_buf_consume(&buf, 1);
  assert_null(buf.memory);
}

static void reserved_room_counts_only_when_committed(void **state)
{
  (void)state;
  struct ml_buf buf = {0};
  uint8_t *room = ml_buf_reserve(&buf, 5000);
  assert_non_null(room);
  memset(room, 'x', 5000);
  assert_int_equal(ml_buf_size(&buf), 0);
  ml_buf_commit(&buf, 4000);
  assert_int_equal(ml_buf_size(&buf), 4000);
  ml_buf_free(&buf);
  assert_int_equal(ml_buf_size(&buf), 0);
}

static void room_that_cannot_be_is_an_error(void **state)
{
  (void)state;
  struct ml_buf buf = {0};
  assert_int_equal(ml_buf_append(&buf, "abc", 3), 0);
  assert_null(ml_buf_reserve(&buf, SIZE_MAX));
  assert_int_equal(ml_buf_size(&buf), 3);
  ml_buf_free(&buf);
}

static void a_steady_flow_does_not_grow_the_queue(void **state)
{
  (void)state;
  struct ml_buf buf = {0};
  uint8_t chunk[700] = {0};
  assert_int_equal(ml_buf_append(&buf, chunk, 1), 0);
  for (int i = 0; i < 10000; i++) {
    assert_int_equal(ml_buf_append(&buf, chunk, sizeof chunk), 0);
    ml_buf_consume(&buf, sizeof chunk);
  }
  assert_in_range(buf.memory->capacity, 701, 4096);
  ml_buf_free(&buf);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_come_out_in_the_order_they_went_in),
      cmocka_unit_test(an_empty_queue_owns_no_memory),
      cmocka_unit_test(reserved_room_counts_only_when_committed),
      cmocka_unit_test(room_that_cannot_be_is_an_error),
      cmocka_unit_test(a_steady_flow_does_not_grow_the_queue),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

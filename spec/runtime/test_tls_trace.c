/* A connection's messages in words. */
#include "tls_sides.h"
#include "tls_trace.h"

static const struct ml_tls_options server_options = {
    .server = true, .reject_unauthorized = true, .renegotiable = true};
static const struct ml_tls_options client_options = {
    .servername = "alpha.test", .reject_unauthorized = true, .renegotiable = true};

static void trace(struct side *side)
{
  struct ml_error err;
  if (ml_tls_trace(side->tls, &err) != 0) fail_msg("%s", err.message);
  if (ml_tls_trace(side->tls, &err) != 0) fail_msg("%s", err.message);
}

/* All that was traced since the last call. */
static const char *take_trace(struct side *side)
{
  static char text[1 << 18];
  struct ml_tls_note *note;
  size_t len = 0;
  while ((note = ml_tls_next_note(side->tls))) {
    if (note->kind == ML_NOTE_TRACE) {
      assert_true(len + note->line_len < sizeof(text));
      memcpy(text + len, note->line, note->line_len);
      len += note->line_len;
    }
    ml_tls_note_free(note);
  }
  text[len] = '\0';
  return text;
}

static void expect_trace(struct side *side, const char *const *parts)
{
  const char *at = take_trace(side);
  for (; *parts; parts++) {
    const char *found = strstr(at, *parts);
    if (!found) break;
    at = found + 1;
  }
  if (*parts) fail_msg("no \"%s\" in:\n%s", *parts, at);
}
#define EXPECT_TRACE(side, ...) expect_trace(side, (const char *const[]){__VA_ARGS__, NULL})

static struct sides begin(int version, const struct identity *trusted)
{
  struct ml_tls_context *server = make_context(&alpha, NULL, version);
  struct ml_tls_context *client = make_context(NULL, trusted, version);
  struct sides sides = {.server = {.tls = make_engine(server, &server_options)},
                        .client = {.tls = make_engine(client, &client_options)}};
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
  trace(&sides.client);
  trace(&sides.server);
  side_work(&sides.client);
  sides_work(&sides);
  return sides;
}

static void test_a_handshake_and_an_end(void **state)
{
  (void)state;
  static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  for (int i = 0; i < 2; i++) {
    struct sides sides = begin(versions[i], &alpha);
    EXPECT_TRACE(&sides.client, "Sent", "ClientHello", "server_name", "Received", "ServerHello",
                 "Certificate", "Finished");
    EXPECT_TRACE(&sides.server, "Received", "ClientHello", "Sent", "ServerHello", "Received",
                 "Finished");
    side_write(&sides.client, "not for other eyes");
    sides_work(&sides);
    expect_log(&sides.server, "not for other eyes");
    const char *text = take_trace(&sides.server);
    assert_non_null(strstr(text, "ApplicationData"));
    assert_null(strstr(text, "other eyes"));
    assert_int_equal(ml_tls_close(sides.client.tls), ML_TLS_OK);
    EXPECT_TRACE(&sides.client, "Sent", "close notify");
    sides_work(&sides);
    EXPECT_TRACE(&sides.server, "Received", "close notify");
    sides_free(&sides);
  }
}

static void test_a_failure_ends_with_its_alert(void **state)
{
  (void)state;
  struct sides sides = begin(TLS1_3_VERSION, &beta);
  expect_failure(&sides.client, "DEPTH_ZERO_SELF_SIGNED_CERT");
  EXPECT_TRACE(&sides.client, "Certificate", "Sent", "Level=fatal(2)", "unknown CA");
  EXPECT_TRACE(&sides.server, "Received", "Level=fatal(2)", "unknown CA");
  sides_free(&sides);
}

static void test_from_the_middle_on(void **state)
{
  (void)state;
  struct ml_error err;
  struct sides sides = sides_open(TLS1_2_VERSION, &server_options, &client_options);
  trace(&sides.client);
  const char *text = take_trace(&sides.client);
  assert_string_equal(text, "");
  assert_int_equal(ml_tls_renegotiate(sides.client.tls, ML_SAYS_NOTHING, ML_SAYS_NOTHING, &err), 0);
  sides_work(&sides);
  EXPECT_TRACE(&sides.client, "ClientHello", "Finished");
  sides_free(&sides);
}

/* What a peer sends is put in words before OpenSSL has looked at it. */
static void test_a_message_that_is_none(void **state)
{
  (void)state;
  static const uint8_t hellos[][16] = {
      {22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3},
      {22, 3, 1, 0, 10, 1, 0, 0, 6, 3, 3, 255, 255, 255, 255},
      {22, 3, 1, 0, 4, 1, 0, 0, 0},
      {22, 3, 1, 0, 5, 200, 0, 0, 1, 0},
      {21, 3, 1, 0, 2, 9, 9},
  };
  struct ml_tls_context *server = make_context(&alpha, NULL, 0);
  for (size_t i = 0; i < sizeof(hellos) / sizeof(*hellos); i++) {
    struct side side = {.tls = make_engine(server, &server_options)};
    trace(&side);
    assert_int_equal(ml_tls_input(side.tls, hellos[i], 5 + (size_t)hellos[i][4]), 0);
    side_work(&side);
    assert_int_equal(ml_tls_input_end(side.tls), 0);
    assert_int_equal(ml_tls_state(side.tls), ML_TLS_FAILED);
    EXPECT_TRACE(&side, "Received Record");
    ml_tls_free(side.tls);
  }
  ml_tls_context_unref(server);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_handshake_and_an_end),
      cmocka_unit_test(test_a_failure_ends_with_its_alert),
      cmocka_unit_test(test_from_the_middle_on),
      cmocka_unit_test(test_a_message_that_is_none),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

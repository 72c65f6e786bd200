/* Where the time of a handshake goes: the phases, and that their times add up. */
#include "tls_sides.h"
#include "tls_timeline.h"

static const struct ml_tls_options server_options = {.server = true, .reject_unauthorized = true};
static const struct ml_tls_options client_options = {
    .servername = "alpha.test", .reject_unauthorized = true, .asks = ML_ASKS(ML_ASK_IDENTITY)};

static struct sides prepare(int version, const struct ml_tls_options *options)
{
  struct ml_tls_context *server = make_context(&alpha, NULL, version);
  struct ml_tls_context *client = make_context(NULL, &alpha, version);
  struct sides sides = {.server = {.tls = make_engine(server, options)},
                        .client = {.tls = make_engine(client, &client_options)}};
  ml_tls_context_unref(server);
  ml_tls_context_unref(client);
  return sides;
}

/* The phases as one text: "ClientHello~ " waited for the network, "ClientHello! " was work,
 * "<number>? " a question. */
static const char *describe(struct side *side, bool expect_over)
{
  static char text[2000];
  struct ml_tls_phase phases[ML_TLS_PHASES_MAX];
  bool over;
  size_t len = 0, count = ml_tls_timeline(side->tls, phases, &over);
  double at = 0;
  text[0] = '\0';
  assert_int_equal(over, expect_over);
  for (size_t i = 0; i < count; i++) {
    assert_true(phases[i].ms >= 0);
    assert_true(phases[i].at > at - 0.001 && phases[i].at < at + 0.001);
    at = phases[i].at + phases[i].ms;
    int n = phases[i].waiting == ML_WAIT_SCRIPT
                ? snprintf(text + len, sizeof(text) - len, "%d? ", (int)phases[i].ask)
                : snprintf(text + len, sizeof(text) - len, "%s%c ", phases[i].message,
                           phases[i].waiting == ML_WAIT_NETWORK ? '~' : '!');
    len += (size_t)n;
    assert_true(len < sizeof(text));
  }
  return text;
}

static void test_phases_of_tls13(void **state)
{
  (void)state;
  /* Byte by byte every message is waited for, and only those. */
  static const char in_pieces[] =
      "ClientHello! ServerHello~ ServerHello! EncryptedExtensions~ EncryptedExtensions! "
      "Certificate~ Certificate! 6? Certificate! CertificateVerify~ CertificateVerify! "
      "Finished~ Finished! ";
  for (size_t chunk = 0; chunk < 2; chunk++) {
    struct sides sides = prepare(TLS1_3_VERSION, &server_options);
    sides.chunk = chunk;
    assert_string_equal(describe(&sides.client, false), "");
    side_work(&sides.client);
    assert_string_equal(describe(&sides.client, false), "ClientHello! ServerHello~ ");
    side_work(&sides.server);
    assert_string_equal(describe(&sides.server, false), "ClientHello~ ");
    sides_work(&sides);
    assert_string_equal(describe(&sides.client, true),
                        chunk == 0 ? "ClientHello! ServerHello~ ServerHello! 6? Finished! "
                                   : in_pieces);
    assert_string_equal(describe(&sides.server, true),
                        "ClientHello~ ServerHello! Finished~ NewSessionTicket! ");
    sides_free(&sides);
  }
}

static void test_phases_of_tls12(void **state)
{
  (void)state;
  struct sides sides = prepare(TLS1_2_VERSION, &server_options);
  side_work(&sides.client);
  sides_work(&sides);
  assert_string_equal(describe(&sides.client, true),
                      "ClientHello! ServerHello~ ServerHello! 6? ClientKeyExchange! "
                      "NewSessionTicket~ NewSessionTicket! ");
  assert_string_equal(describe(&sides.server, true),
                      "ClientHello~ ServerHello! ClientKeyExchange~ NewSessionTicket! ");
  sides_free(&sides);
}

static void test_an_answer_that_is_waited_for(void **state)
{
  (void)state;
  struct ml_tls_options asking = server_options;
  struct ml_tls_phase phases[ML_TLS_PHASES_MAX];
  bool over;
  asking.asks = ML_ASKS(ML_ASK_CONTEXT);
  struct sides sides = prepare(TLS1_3_VERSION, &asking);
  sides.server.asks = asking.asks;
  side_work(&sides.client);
  sides_work(&sides);
  for (int i = 0; i < 3; i++)
    assert_string_equal(describe(&sides.server, false), "ClientHello~ ClientHello! 1? ");
  assert_int_equal(ml_tls_timeline(sides.server.tls, phases, &over), 3);
  double before = phases[2].ms;
  struct timespec pause = {.tv_nsec = 2000000};
  assert_int_equal(nanosleep(&pause, NULL), 0);
  assert_int_equal(ml_tls_timeline(sides.server.tls, phases, &over), 3);
  assert_true(phases[2].ms >= before + 2);
  uint32_t token = ml_tls_question(sides.server.tls).token;
  assert_int_equal(ml_tls_answer_context(sides.server.tls, token, NULL), 0);
  side_work(&sides.server);
  sides_work(&sides);
  assert_string_equal(describe(&sides.server, true),
                      "ClientHello~ ClientHello! 1? ServerHello! Finished~ NewSessionTicket! ");
  sides_free(&sides);
}

static void test_a_failure_is_an_end(void **state)
{
  (void)state;
  struct sides sides = prepare(TLS1_3_VERSION, &server_options);
  static const uint8_t junk[] = "GET / HTTP/1.1\r\n\r\n";
  assert_int_equal(ml_tls_input(sides.server.tls, junk, sizeof(junk) - 1), 0);
  side_work(&sides.server);
  assert_int_equal(ml_tls_input_end(sides.server.tls), 0);
  assert_string_equal(describe(&sides.server, true), "ClientHello~ ");
  sides_free(&sides);
}

/* A renegotiation has no part in it. */
static void test_it_stays_as_it_was(void **state)
{
  (void)state;
  struct ml_error err;
  struct ml_tls_options server = server_options;
  server.renegotiable = true;
  struct sides sides = prepare(TLS1_2_VERSION, &server);
  side_work(&sides.client);
  sides_work(&sides);
  char before[2000];
  snprintf(before, sizeof(before), "%s", describe(&sides.server, true));
  if (ml_tls_renegotiate(sides.server.tls, ML_SAYS_NOTHING, ML_SAYS_NOTHING, &err) != 0)
    fail_msg("%s", err.message);
  assert_string_equal(describe(&sides.server, true), before);
  sides_free(&sides);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_phases_of_tls13),
      cmocka_unit_test(test_phases_of_tls12),
      cmocka_unit_test(test_an_answer_that_is_waited_for),
      cmocka_unit_test(test_a_failure_is_an_end),
      cmocka_unit_test(test_it_stays_as_it_was),
  };
  return cmocka_run_group_tests(tests, make_identities, free_identities);
}

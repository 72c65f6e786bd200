/* JA4 against fingerprints that its authors have published (github.com/FoxIO-LLC/ja4). Hellos are
 * made of the lists that stand beside each: ciphers, extensions and signature algorithms in the
 * order in which they came (JA4_ro there). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ssl.h>

#include "hello_maker.h"
#include "tls_ja4.h"

struct client {
  unsigned legacy_version;
  const char *versions; /* of the extension 002b, should it be among them */
  const char *ciphers;
  const char *extensions;
  const char *protocol; /* the first */
  const char *sigalgs;
};

static void put_protocols(struct made *made, const char *first)
{
  size_t len = strlen(first);
  begin_extension(made, 0x10);
  put_number(made, 2, len + 1 + 2 + (len ? 9 : 0));
  put_number(made, 2, len + 1 + (len ? 9 : 0));
  put_vector(made, 1, first, len);
  if (len > 0) put_vector(made, 1, "http/1.1", 8);
}

static void make(struct made *made, const struct client *client)
{
  begin_hello(made, client->legacy_version, "", client->ciphers);
  const char *text = client->extensions;
  while (*text) {
    char *end;
    unsigned type = (unsigned)strtoul(text, &end, 16);
    text = *end ? end + 1 : end;
    if (type == TLSEXT_TYPE_server_name)
      put_servername(made, "example.com", 11);
    else if (type == TLSEXT_TYPE_application_layer_protocol_negotiation)
      put_protocols(made, client->protocol);
    else if (type == TLSEXT_TYPE_supported_versions)
      put_numbers_extension(made, type, 1, client->versions);
    else if (type == TLSEXT_TYPE_signature_algorithms)
      put_numbers_extension(made, type, 2, client->sigalgs);
    else
      put_extension(made, type, NULL, 0);
  }
  end_hello(made);
}

static void expect_of(const uint8_t *message, size_t len, const char *expected)
{
  struct ml_tls_hello hello;
  char ja4[ML_JA4_SIZE];
  int alert;
  assert_int_equal(ml_tls_hello_parse(&hello, message, len, &alert), 0);
  assert_int_equal(ml_tls_ja4(&hello, ja4), 0);
  assert_string_equal(ja4, expected);
}

static void expect(const struct client *client, const char *expected)
{
  static struct made made;
  make(&made, client);
  expect_of(made.at, made.len, expected);
}

#define CHROME_CIPHERS "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
#define CHROME_SIGALGS "0403,0804,0401,0503,0805,0501,0806,0601"
#define TLS13_TLS12 "0304,0303"

/* technical_details/JA4.md, "Example". */
static void test_the_example_of_the_specification(void **state)
{
  (void)state;
  expect(&(struct client){TLS1_2_VERSION, TLS13_TLS12, CHROME_CIPHERS,
                          "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,"
                          "000a,0015",
                          "h2", CHROME_SIGALGS},
         "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

/* python/test/testdata/<name>.json, stream by stream. */
static void test_clients_from_captures(void **state)
{
  (void)state;
  static const struct {
    struct client client;
    const char *expected;
  } published[] = {
      /* tls12.pcap: Firefox */
      {{TLS1_2_VERSION, TLS13_TLS12,
        "1301,1303,1302,c02b,c02f,cca9,cca8,c02c,c030,c00a,c009,c013,c014,009c,009d,002f,0035",
        "0000,0017,ff01,000a,000b,0023,0010,0005,0022,0033,002b,000d,002d,001c,0015", "h2",
        "0403,0503,0603,0804,0805,0806,0401,0501,0601,0203,0201"},
       "t13d1715h2_5b57614c22b0_3d5424432f57"},
      /* badcurveball.pcap */
      {{TLS1_2_VERSION, TLS13_TLS12, CHROME_CIPHERS ",000a",
        "0000,0017,ff01,000a,000b,0023,0010,0005,000d,0012,0033,002d,002b,001b,0015", "h2",
        CHROME_SIGALGS ",0201"},
       "t13d1615h2_46e7e9700bed_45f260be83e2"},
      /* latest.pcapng, stream 3: TLS 1.2, no ALPN */
      {{TLS1_2_VERSION, NULL,
        "c02c,c02b,c030,c02f,c024,c023,c028,c027,c00a,c009,c014,c013,009d,009c,003d,003c,0035,"
        "002f,000a",
        "0000,0005,000a,000b,000d,0023,0017,ff01", NULL,
        "0804,0805,0806,0401,0501,0201,0403,0503,0203,0202,0601,0603"},
       "t12d190800_d83cc789557e_7af1ed941c26"},
      /* latest.pcapng, stream 5: with a pre-shared key */
      {{TLS1_2_VERSION, TLS13_TLS12, CHROME_CIPHERS,
        "000d,0010,0000,000b,0023,4469,ff01,0033,000a,002d,002b,0005,0017,0012,001b,0029", "h2",
        CHROME_SIGALGS},
       "t13d1516h2_8daaf6152771_9b887d9acb53"},
      /* https3-301-get.pcap: TLS 1.0, nothing but a server name */
      {{TLS1_VERSION, NULL,
        "0039,0038,0035,0016,0013,000a,0033,0032,002f,009a,0099,0096,0005,0004,0015,0012,0009,"
        "0014,0011,0008,0006,0003,00ff",
        "0000", NULL, NULL},
       "t10d230100_6a57a6f57151_000000000000"},
      /* sigalg-grease.pcapng: GREASE among the signature algorithms too */
      {{TLS1_2_VERSION, "3a3a," TLS13_TLS12, "fafa," CHROME_CIPHERS,
        "8a8a,fe0d,0010,0017,0033,44cd,ff01,000a,000d,0023,002b,000b,ca34,002d,0000,0005,001b,"
        "0012,dada",
        "h2", "4a4a,0904,0905,0906," CHROME_SIGALGS},
       "t13d1517h2_8daaf6152771_cb7bf5808d99"},
      /* browsers-x509.pcapng, stream 0, with its GREASE */
      {{TLS1_2_VERSION, "7a7a," TLS13_TLS12, "aaaa," CHROME_CIPHERS,
        "6a6a,000d,0000,000a,0005,000b,002b,001b,ff01,0033,4469,002d,0023,0017,0012,0010,0a0a,"
        "0015",
        "h2", CHROME_SIGALGS},
       "t13d1516h2_8daaf6152771_e5627efa2ab1"},
      /* tls-alpn-h2.pcap: 46 ciphers, and signature algorithms that only look like GREASE */
      {{TLS1_2_VERSION, NULL,
        "c030,c02c,c028,c024,c014,c00a,009f,006b,0039,cca9,cca8,ccaa,ff85,00c4,0088,0081,009d,"
        "003d,0035,00c0,0084,c02f,c02b,c027,c023,c013,c009,009e,0067,0033,00be,0045,009c,003c,"
        "002f,00ba,0041,c011,c007,0005,0004,c012,c008,0016,000a,00ff",
        "0000,000b,000a,000d,0010", "h2",
        "0601,0603,efef,0501,0503,0401,0403,eeee,eded,0301,0303,0201,0203"},
       "t12d4605h2_85626a9a5f7f_aaf95bb78ec9"},
  };
  for (size_t i = 0; i < sizeof(published) / sizeof(*published); i++)
    expect(&published[i].client, published[i].expected);
}

/* technical_details/JA4.md, "Extension hash": no underscore without signature algorithms. */
static void test_without_signature_algorithms(void **state)
{
  (void)state;
  expect(&(struct client){TLS1_2_VERSION, TLS13_TLS12, CHROME_CIPHERS,
                          "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,"
                          "000a,0015",
                          "h2", ""},
         "t13d1516h2_8daaf6152771_6d807ffa2a79");
}

/* technical_details/JA4.md, "ALPN Extension Value", with its examples. */
static void test_protocols(void **state)
{
  (void)state;
  static const char *const cases[][2] = {
      {"h2", "h2"},
      {"http/1.1", "h1"},
      {"x", "xx"},
      {"", "00"},
      {"\xab", "ab"},
      {"\xab\xcd", "ad"},
      {"0\xab", "3b"},
      {"01\xab\xcd", "3d"},
      {"0\xab\xcd"
       "1",
       "01"},
      {"\xba\xba", "ba"},
      {"h2 ", "60"},
  };
  char expected[ML_JA4_SIZE];
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    snprintf(expected, sizeof(expected), "t12i0001%s_000000000000_000000000000", cases[i][1]);
    expect(&(struct client){TLS1_2_VERSION, NULL, "", "0010", cases[i][0], NULL}, expected);
  }
}

static void test_versions(void **state)
{
  (void)state;
  static const struct {
    unsigned legacy_version;
    const char *versions, *expected;
  } cases[] = {
      {0x0303, "0303,0304,0302", "13"}, /* the highest, wherever it stands */
      {0x0304, "0303", "12"},           /* the list counts */
      {0x0303, "fafa,0302", "11"},
      {0x0303, "fafa", "00"}, /* a list of nothing */
      {0x0303, "7f1c", "00"}, /* a draft */
      {0x0302, NULL, "11"},
      {0x0301, NULL, "10"},
      {0x0300, NULL, "s3"},
      {0x0002, NULL, "s2"},
      {0x0399, NULL, "00"},
  };
  char expected[3];
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    static struct made made;
    struct ml_tls_hello hello;
    char ja4[ML_JA4_SIZE];
    int alert;
    make(&made, &(struct client){cases[i].legacy_version, cases[i].versions, "1301",
                                 cases[i].versions ? "002b" : "", NULL, NULL});
    assert_int_equal(ml_tls_hello_parse(&hello, made.at, made.len, &alert), 0);
    assert_int_equal(ml_tls_ja4(&hello, ja4), 0);
    snprintf(expected, sizeof(expected), "%.2s", ja4 + 1);
    assert_string_equal(expected, cases[i].expected);
  }
}

/* Counts stop at 99, hashes do not. */
static void test_counts(void **state)
{
  (void)state;
  static struct made made;
  struct ml_tls_hello hello;
  char few[ML_JA4_SIZE], many[ML_JA4_SIZE], *out[] = {few, many};
  int alert;
  for (unsigned more = 0; more < 2; more++) {
    char ciphers[101 * 5 + 1] = "";
    for (unsigned i = 0; i < 99 + more; i++)
      snprintf(ciphers + 5 * i, 6, "%04x,", 0xd000 + i);
    begin_hello(&made, TLS1_2_VERSION, "", ciphers);
    for (unsigned i = 0; i < 99 + more; i++)
      put_extension(&made, 0x5000 + i, NULL, 0);
    end_hello(&made);
    assert_int_equal(ml_tls_hello_parse(&hello, made.at, made.len, &alert), 0);
    assert_int_equal(ml_tls_ja4(&hello, out[more]), 0);
    assert_memory_equal(out[more], "t12i999900_", 11);
  }
  assert_string_not_equal(few, many);
}

/* Nothing to hash is not a hash of nothing. */
static void test_nothing_but_grease(void **state)
{
  (void)state;
  expect(&(struct client){TLS1_2_VERSION, NULL, "1a1a", "2a2a,3a3a", NULL, NULL},
         "t12i000000_000000000000_000000000000");
  expect(&(struct client){TLS1_2_VERSION, NULL, "", "", NULL, NULL},
         "t12i000000_000000000000_000000000000");
}

/* RFC 5246, E.2: the ciphers of TLS among the others. */
static void test_a_hello_like_sslv2(void **state)
{
  (void)state;
  static const uint8_t message[] = "\1\3\1\0\x09\0\0\0\x10\1\0\x80\0\0\x05\0\0\x04"
                                   "0123456789abcdef";
  expect_of(message, sizeof(message) - 1, "t10i020000_6e254592683c_000000000000");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_example_of_the_specification),
      cmocka_unit_test(test_clients_from_captures),
      cmocka_unit_test(test_without_signature_algorithms),
      cmocka_unit_test(test_protocols),
      cmocka_unit_test(test_versions),
      cmocka_unit_test(test_counts),
      cmocka_unit_test(test_nothing_but_grease),
      cmocka_unit_test(test_a_hello_like_sslv2),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

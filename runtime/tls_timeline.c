#include "tls_timeline.h"

#include <stdlib.h>

#include "clock.h"
#include "tls_engine_internal.h"

struct phase {
  uint32_t at;     /* microseconds since the start */
  uint8_t waiting; /* enum ml_tls_waiting */
  uint8_t name;    /* ML_WAIT_SCRIPT: enum ml_tls_ask; else HandshakeType */
  bool written;    /* a message that we wrote gave it its name */
};

struct ml_tls_timeline {
  uint64_t start, entered; /* nanoseconds */
  uint32_t end;            /* microseconds, once it is over */
  bool over, heard;        /* … a message of the peer's */
  uint8_t latest;          /* the message that came or went last */
  uint8_t count;
  struct phase phases[ML_TLS_PHASES_MAX]; /* given back but for `count` when it is over */
};

static const char *message_name(uint8_t type)
{
  static const char *const names[] = {
      [SSL3_MT_HELLO_REQUEST] = "HelloRequest",
      [SSL3_MT_CLIENT_HELLO] = "ClientHello",
      [SSL3_MT_SERVER_HELLO] = "ServerHello",
      [SSL3_MT_NEWSESSION_TICKET] = "NewSessionTicket",
      [SSL3_MT_ENCRYPTED_EXTENSIONS] = "EncryptedExtensions",
      [SSL3_MT_CERTIFICATE] = "Certificate",
      [SSL3_MT_SERVER_KEY_EXCHANGE] = "ServerKeyExchange",
      [SSL3_MT_CERTIFICATE_REQUEST] = "CertificateRequest",
      [SSL3_MT_SERVER_DONE] = "ServerHelloDone",
      [SSL3_MT_CERTIFICATE_VERIFY] = "CertificateVerify",
      [SSL3_MT_CLIENT_KEY_EXCHANGE] = "ClientKeyExchange",
      [SSL3_MT_FINISHED] = "Finished",
      [SSL3_MT_CERTIFICATE_STATUS] = "CertificateStatus",
      [SSL3_MT_KEY_UPDATE] = "KeyUpdate",
      [SSL3_MT_NEXT_PROTO] = "NextProtocol",
  };
  const char *name = type < sizeof(names) / sizeof(*names) ? names[type] : NULL;
  return name ? name : "another message";
}

/* ---- Recording ---- */

static uint32_t since(const struct ml_tls_timeline *line, uint64_t now)
{
  uint64_t us = (now - line->start) / 1000;
  return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static struct phase *last(struct ml_tls_timeline *line)
{
  return &line->phases[line->count - 1];
}

static void begin(struct ml_tls_timeline *line, uint64_t now, enum ml_tls_waiting waiting,
                  uint8_t name)
{
  if (line->count == ML_TLS_PHASES_MAX) return;
  line->phases[line->count++] = (struct phase){since(line, now), (uint8_t)waiting, name, false};
}

/* What the peer is to say next. Its answer may begin with another message. */
static uint8_t due(const struct ml_tls *tls)
{
  if (tls->timeline->heard) return SSL3_MT_FINISHED;
  return tls->server ? SSL3_MT_CLIENT_HELLO : SSL3_MT_SERVER_HELLO;
}

static struct ml_tls_timeline *current(const struct ml_tls *tls)
{
  return tls->timeline && !tls->timeline->over ? tls->timeline : NULL;
}

void ml_tls_timeline_enter(struct ml_tls *tls)
{
  bool first = !tls->timeline;
  if (first) tls->timeline = calloc(1, sizeof(*tls->timeline));
  struct ml_tls_timeline *line = current(tls);
  if (!line) return;
  line->entered = ml_now_ns();
  if (first) {
    line->start = line->entered;
    if (tls->server)
      begin(line, line->start, ML_WAIT_NETWORK, due(tls));
    else
      begin(line, line->start, ML_WAIT_CRYPTO, SSL3_MT_CLIENT_HELLO);
  } else if (last(line)->waiting == ML_WAIT_SCRIPT) {
    begin(line, line->entered, ML_WAIT_CRYPTO, line->latest);
  }
}

static void end(struct ml_tls *tls, uint64_t now)
{
  struct ml_tls_timeline *line = tls->timeline;
  line->over = true;
  line->end = since(line, now);
  size_t used = offsetof(struct ml_tls_timeline, phases) + line->count * sizeof(struct phase);
  line = realloc(line, used);
  if (line) tls->timeline = line;
}

void ml_tls_timeline_leave(struct ml_tls *tls, enum ml_tls_result result)
{
  struct ml_tls_timeline *line = current(tls);
  if (!line) return;
  if (result == ML_TLS_OK || result == ML_TLS_ERROR) {
    end(tls, ml_now_ns());
  } else if (last(line)->waiting == ML_WAIT_CRYPTO) {
    if (result == ML_TLS_ASK)
      begin(line, ml_now_ns(), ML_WAIT_SCRIPT, (uint8_t)tls->pause.ask);
    else
      begin(line, ml_now_ns(), ML_WAIT_NETWORK, due(tls));
  }
}

/* The wait for the network was over when the call that brings the message began. A call that brings
 * none, because half of one has come, changes nothing. */
void ml_tls_timeline_message(struct ml_tls *tls, bool written, uint8_t type)
{
  struct ml_tls_timeline *line = current(tls);
  if (!line) return;
  struct phase *phase = last(line);
  line->heard |= !written;
  line->latest = type;
  if (phase->waiting == ML_WAIT_NETWORK) {
    phase->name = type;
    begin(line, line->entered, ML_WAIT_CRYPTO, type);
  } else if (phase->waiting == ML_WAIT_CRYPTO) {
    if (written && !phase->written) phase->name = type;
    phase->written |= written;
  }
}

void ml_tls_timeline_ask(struct ml_tls *tls, enum ml_tls_ask ask)
{
  struct ml_tls_timeline *line = current(tls);
  if (line) begin(line, ml_now_ns(), ML_WAIT_SCRIPT, (uint8_t)ask);
}

void ml_tls_timeline_answered(struct ml_tls *tls)
{
  struct ml_tls_timeline *line = current(tls);
  if (line) begin(line, ml_now_ns(), ML_WAIT_CRYPTO, line->latest);
}

void ml_tls_timeline_free(struct ml_tls *tls)
{
  free(tls->timeline);
  tls->timeline = NULL;
}

/* ---- Telling ---- */

static void tell(const struct phase *phase, uint32_t until, struct ml_tls_phase *out)
{
  out->at = phase->at / 1e3;
  out->ms = (until - phase->at) / 1e3;
  out->waiting = (enum ml_tls_waiting)phase->waiting;
  out->message = NULL;
  out->ask = ML_ASK_NONE;
  if (out->waiting == ML_WAIT_SCRIPT)
    out->ask = (enum ml_tls_ask)phase->name;
  else
    out->message = message_name(phase->name);
}

size_t ml_tls_timeline(const struct ml_tls *tls, struct ml_tls_phase *phases, bool *over)
{
  const struct ml_tls_timeline *line = tls->timeline;
  *over = line && line->over;
  if (!line) return 0;
  uint32_t until = line->over ? line->end : since(line, ml_now_ns());
  for (size_t i = line->count; i-- > 0; until = line->phases[i].at)
    tell(&line->phases[i], until, &phases[i]);
  return line->count;
}

/* native.tls: TLS over another handle's stream. */
#include "tls.h"

#include <errno.h>
#include <string.h>

#include "bindings.h"
#include "context.h"
#include "options.h"

#define CLASS_NAME "moonlatch.tls"

#define FIELD(name) offsetof(struct ml_tls_options, name)

static const struct ml_option options[] = {
    {"isServer", ML_OPTION_BOOL, FIELD(server), 0},
    {"requestCert", ML_OPTION_BOOL, FIELD(request_cert), 0},
    {"rejectUnauthorized", ML_OPTION_BOOL, FIELD(reject_unauthorized), 0},
    {"requestStaple", ML_OPTION_BOOL, FIELD(request_staple), 0},
    {"renegotiable", ML_OPTION_BOOL, FIELD(renegotiable), 0},
    {"postHandshakeAuth", ML_OPTION_INT, FIELD(post_handshake_auth), 0},
    {"wantSessions", ML_OPTION_BOOL, FIELD(want_sessions), 0},
    {"minDhBits", ML_OPTION_INT, FIELD(min_dh_bits), 0},
    {"servername", ML_OPTION_STRING, FIELD(servername), 0},
    {"alpn", ML_OPTION_BYTES, FIELD(alpn), FIELD(alpn_len)},
    {"npn", ML_OPTION_BYTES, FIELD(npn), FIELD(npn_len)},
    {"pskHint", ML_OPTION_STRING, FIELD(psk_hint), 0},
    {"session", ML_OPTION_BYTES, FIELD(session), FIELD(session_len)},
    {NULL, ML_OPTION_BOOL, 0, 0},
};

/* ---- Events ---- */

struct asked {
  struct ml_handle *handle;
  struct ml_tls *tls;
  struct ml_tls_question question;
};

/* The questions by the names that scripts' callbacks are found under. */
static const char *const ask_names[] = {
    [ML_ASK_CONTEXT] = "context", [ML_ASK_SESSION] = "session",
    [ML_ASK_ALPN] = "alpn",       [ML_ASK_PSK] = "psk",
    [ML_ASK_STAPLE] = "staple",   [ML_ASK_IDENTITY] = "identity",
    [ML_ASK_STORE] = "store",     [ML_ASK_RENEGOTIATION] = "renegotiation",
};
#define ASK_NAMES (sizeof(ask_names) / sizeof(*ask_names))

const char *ml_tls_ask_name(enum ml_tls_ask ask)
{
  return ask_names[ask];
}

/* The DER form, written straight into Lua's memory. */
static void push_session(lua_State *L, SSL_SESSION *session)
{
  int len = i2d_SSL_SESSION(session, NULL);
  unsigned char *out = lua_newuserdata(L, len > 0 ? (size_t)len : 1);
  unsigned char *start = out;
  len = i2d_SSL_SESSION(session, &out);
  lua_pushlstring(L, (const char *)start, len > 0 ? (size_t)len : 0);
  lua_remove(L, -2);
}

/* ask(owner, name, token, subject | nil, session | nil): the subject is what struct ml_tls_question
 * says, and the server name where the context is asked for; the session (DER) is the one to be
 * stored. */
static void emit_ask(lua_State *L, void *arg)
{
  const struct asked *asked = arg;
  struct ml_handle *h = asked->handle;
  if (!ml_push_handler(L, h->object.vm, ML_CLASS_TLS, ML_ON_ASK)) return;
  ml_object_push_owner(L, &h->object);
  lua_pushstring(L, ask_names[asked->question.ask]);
  lua_pushnumber(L, asked->question.token);
  if (asked->question.subject)
    lua_pushlstring(L, (const char *)asked->question.subject, asked->question.subject_len);
  else
    lua_pushstring(L, ml_tls_servername(asked->tls));
  SSL_SESSION *session = ml_tls_new_session(asked->tls);
  if (session)
    push_session(L, session);
  else
    lua_pushnil(L);
  lua_call(L, 5, 0);
}

static void on_ask(struct ml_tls_stream *stream, struct ml_tls_question question)
{
  struct ml_handle *h = ml_tls_stream_base(stream)->user;
  struct asked asked = {h, ml_tls_stream_engine(stream), question};
  ml_enter(h->object.vm, emit_ask, &asked);
}

static void on_handshake(struct ml_tls_stream *stream)
{
  struct ml_handle *h = ml_tls_stream_base(stream)->user;
  ml_object_emit(&h->object, ML_CLASS_TLS, ML_ON_HANDSHAKE);
}

static void on_renewed(struct ml_tls_stream *stream)
{
  struct ml_handle *h = ml_tls_stream_base(stream)->user;
  ml_object_emit(&h->object, ML_CLASS_TLS, ML_ON_RENEWED);
}

struct noted {
  struct ml_handle *handle;
  const struct ml_tls_note *note;
};

/* Pushes what a handler is told; returns how many values that is. */
static int push_note(lua_State *L, const struct ml_tls_note *note)
{
  unsigned id_len;
  const unsigned char *id;
  switch (note->kind) {
  case ML_NOTE_SESSION:
    id = SSL_SESSION_get_id(note->session, &id_len);
    push_session(L, note->session);
    lua_pushlstring(L, (const char *)id, id_len);
    return 2;
  case ML_NOTE_KEYLOG:
    lua_pushlstring(L, note->line, note->line_len);
    lua_pushliteral(L, "\n");
    lua_concat(L, 2);
    return 1;
  case ML_NOTE_STAPLE:
    if (note->line_len > 0)
      lua_pushlstring(L, note->line, note->line_len);
    else
      lua_pushnil(L);
    return 1;
  case ML_NOTE_TRACE:
    lua_pushlstring(L, note->line, note->line_len);
    return 1;
  case ML_NOTE_KEY_UPDATE:
    break;
  }
  return 0;
}

/* session(owner, session, id) | keylog(owner, line) | staple(owner, response | nil) |
 * keyUpdate(owner) | trace(owner, text) */
static void emit_note(lua_State *L, void *arg)
{
  static const enum ml_event note_events[] = {[ML_NOTE_SESSION] = ML_ON_SESSION,
                                              [ML_NOTE_KEYLOG] = ML_ON_KEYLOG,
                                              [ML_NOTE_STAPLE] = ML_ON_STAPLE,
                                              [ML_NOTE_TRACE] = ML_ON_TRACE,
                                              [ML_NOTE_KEY_UPDATE] = ML_ON_KEY_UPDATE};
  const struct noted *noted = arg;
  struct ml_handle *h = noted->handle;
  if (!ml_push_handler(L, h->object.vm, ML_CLASS_TLS, note_events[noted->note->kind])) return;
  ml_object_push_owner(L, &h->object);
  int count = push_note(L, noted->note);
  lua_call(L, 1 + count, 0);
}

static void on_note(struct ml_tls_stream *stream, const struct ml_tls_note *note)
{
  struct ml_handle *h = ml_tls_stream_base(stream)->user;
  struct noted noted = {h, note};
  ml_enter(h->object.vm, emit_note, &noted);
}

static const struct ml_tls_stream_events events = {
    .on_handshake = on_handshake,
    .on_renewed = on_renewed,
    .on_ask = on_ask,
    .on_note = on_note,
};

/* ---- Life ---- */

struct ml_tls_stream *ml_tls_self_stream(lua_State *L)
{
  struct ml_handle *h = ml_object_self(L);
  return (struct ml_tls_stream *)(void *)h->stream;
}

static const char above_key =
    0; /* its address: in the environment of a handle that was taken over */

/* The stream of the handle at `index`, also where another handle's stream stands on it by now. */
static struct ml_tls_stream *stream_at(lua_State *L, int index)
{
  const struct ml_handle *h = lua_touserdata(L, index);
  struct ml_tls_stream *found = (struct ml_tls_stream *)(void *)h->stream;
  int top = lua_gettop(L);
  if (found) return found;
  lua_getfenv(L, index);
  lua_pushlightuserdata(L, (void *)&above_key);
  lua_rawget(L, -2);
  if (lua_isuserdata(L, -1)) found = stream_at(L, lua_gettop(L));
  lua_settop(L, top);
  return found ? ml_tls_stream_below(found) : NULL;
}

struct ml_tls *ml_tls_self(lua_State *L)
{
  ml_object_self(L);
  struct ml_tls_stream *stream = stream_at(L, 1);
  return stream ? ml_tls_stream_engine(stream) : NULL;
}

/* A lower handle that speaks TLS itself can tell still of its connection, by way of the upper one,
 * which is on top. */
static void remember_above(lua_State *L, const struct ml_handle *lower, int index)
{
  if (lower->class_id != ML_CLASS_TLS) return;
  lua_createtable(L, 0, 1);
  lua_pushlightuserdata(L, (void *)&above_key);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_setfenv(L, index);
}

/* Joins engine and lower stream; both are given back to nobody on failure. */
static int join(struct ml_handle *h, struct ml_handle *lower, struct ml_tls *tls,
                struct ml_error *err)
{
  struct ml_stream *below = ml_handle_detach(lower, err);
  if (!below) {
    ml_tls_free(tls);
    return -1;
  }
  struct ml_tls_stream *stream = ml_tls_stream_new(below, tls, &ml_handle_events, &events, h);
  if (!stream) {
    ml_error_system(err, ENOMEM, "malloc");
    ml_tls_free(tls);
    ml_stream_close(below);
    return -1;
  }
  ml_handle_attach(h, ml_tls_stream_base(stream));
  return 0;
}

static const char read_key = 0; /* its address: in a table of options, what has been read from it */

/* Reads options from the table at `index`; from one that has `lasting`, for many connections, once.
 */
static void read_options(lua_State *L, int index, struct ml_tls_options *wanted)
{
  luaL_checktype(L, index, LUA_TTABLE);
  lua_pushlightuserdata(L, (void *)&read_key);
  lua_rawget(L, index);
  const struct ml_tls_options *known = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (known) {
    *wanted = *known;
    return;
  }
  memset(wanted, 0, sizeof(*wanted));
  ml_options_read(L, index, options, wanted);
  lua_getfield(L, index, "lasting");
  if (lua_toboolean(L, -1)) {
    lua_pushlightuserdata(L, (void *)&read_key);
    memcpy(lua_newuserdata(L, sizeof(*wanted)), wanted, sizeof(*wanted));
    lua_rawset(L, index);
  }
  lua_pop(L, 1);
}

/* tls(lower, context, options, asks, wantKeylog) → handle | nil, Error. Options with `lasting` must
 * not change any more. With options.psk the handler `psk` finds pre-shared keys. The lower handle
 * is closed by it, its connection lives on below the new one; a lower handle of TLS still answers
 * what only looks. Nothing is sent until start(). */
static int tls_new(lua_State *L)
{
  struct ml_tls_options wanted;
  struct ml_error err;
  struct ml_tls *tls;
  struct ml_handle *lower = ml_check_handle(L, 1);
  struct ml_tls_context *context = ml_check_context(L, 2);
  read_options(L, 3, &wanted);
  wanted.asks = (uint32_t)luaL_checkinteger(L, 4);
  wanted.want_keylog = lua_toboolean(L, 5);
  struct ml_handle *h = ml_handle_new(L, CLASS_NAME, ML_CLASS_TLS, sizeof(*h));
  lua_getfield(L, 3, "psk");
  if (lua_toboolean(L, -1)) ml_tls_find_psk(&wanted, h);
  lua_pop(L, 1);
  if (ml_tls_new(&tls, context, &wanted, &err) != 0) return ml_fail(L, &err);
  if (join(h, lower, tls, &err) != 0) return ml_fail(L, &err);
  remember_above(L, lower, 1);
  return 1;
}

/* start(): the handshake begins at the end of this tick */
static int tls_start(lua_State *L)
{
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  if (stream) ml_tls_stream_start(stream);
  return 0;
}

/* feed(ciphertext): what was read from the lower handle before, first in line */
static int tls_feed(lua_State *L)
{
  size_t len;
  struct ml_error err;
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  const char *data = luaL_checklstring(L, 2, &len);
  if (stream && ml_tls_stream_feed(stream, (const uint8_t *)data, len) != 0) {
    ml_error_system(&err, ENOMEM, "malloc");
    return ml_raise(L, &err);
  }
  return 0;
}

/* unsent() → bytes of cleartext written that have not been handed down */
static int tls_unsent(lua_State *L)
{
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  lua_pushnumber(L, stream ? (lua_Number)ml_tls_stream_unsent(stream) : 0);
  return 1;
}

/* carried() → bytes read from below, bytes written there */
static int tls_carried(lua_State *L)
{
  struct ml_tls_stream *stream = stream_at(L, 1);
  uint64_t read = 0, written = 0;
  if (stream) ml_tls_stream_carried(stream, &read, &written);
  lua_pushnumber(L, (lua_Number)read);
  lua_pushnumber(L, (lua_Number)written);
  return 2;
}

/* inject(bytes) → true | nil, Error: sends them below TLS */
static int tls_inject(lua_State *L)
{
  size_t len;
  struct ml_error err;
  struct ml_tls_stream *stream = stream_at(L, 1);
  const char *data = luaL_checklstring(L, 2, &len);
  if (!stream) {
    ml_error_system(&err, EBADF, "write");
    return ml_fail(L, &err);
  }
  if (ml_tls_stream_inject(stream, (const uint8_t *)data, len, &err) != 0) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* setDeadline(ms): the event `error` with ERR_TLS_HANDSHAKE_TIMEOUT unless the handshake is over by
 * then; 0: none */
static int tls_set_deadline(lua_State *L)
{
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  double ms = luaL_checknumber(L, 2);
  if (stream) ml_tls_stream_deadline(stream, ms / 1000);
  return 0;
}

/* showIdentity(context): true, or nil and an Error (ml_tls_show_identity) */
static int tls_show_identity(lua_State *L)
{
  struct ml_error err;
  struct ml_tls *tls = ml_tls_self(L);
  const struct ml_tls_context *context = ml_check_context(L, 2);
  if (!tls) return 0;
  if (ml_tls_show_identity(tls, context, &err) != 0) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- Answers. Each returns whether the question was still open. ---- */

static int answered(lua_State *L, struct ml_tls_stream *stream, int result)
{
  if (result == 0) ml_tls_stream_resume(stream);
  lua_pushboolean(L, result == 0);
  return 1;
}

/* answerContext(token, context | nil) */
static int tls_answer_context(lua_State *L)
{
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  uint32_t token = (uint32_t)luaL_checknumber(L, 2);
  struct ml_tls_context *context = lua_isnoneornil(L, 3) ? NULL : ml_check_context(L, 3);
  if (!stream) return 0;
  return answered(L, stream, ml_tls_answer_context(ml_tls_stream_engine(stream), token, context));
}

/* answerIdentity(token, acceptable) */
static int tls_answer_identity(lua_State *L)
{
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  uint32_t token = (uint32_t)luaL_checknumber(L, 2);
  if (!stream) return 0;
  return answered(L, stream,
                  ml_tls_answer_identity(ml_tls_stream_engine(stream), token, lua_toboolean(L, 3)));
}

/* answerData(token, data | nil) */
static int tls_answer_data(lua_State *L)
{
  size_t len;
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  uint32_t token = (uint32_t)luaL_checknumber(L, 2);
  const char *data = luaL_optlstring(L, 3, NULL, &len);
  if (!stream) return 0;
  return answered(L, stream,
                  ml_tls_answer_data(ml_tls_stream_engine(stream), token, (const uint8_t *)data,
                                     data ? len : 0));
}

/* answerFailure(token, alert, message): ends the handshake. The event `error` follows with the code
 * ERR_TLS_CALLBACK_FAILED; the script's own error is the Lua side's to keep. */
static int tls_answer_failure(lua_State *L)
{
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  uint32_t token = (uint32_t)luaL_checknumber(L, 2);
  int alert = (int)luaL_checkinteger(L, 3);
  struct ml_error reason;
  ml_error_misuse(&reason, "ERR_TLS_CALLBACK_FAILED", "%s", luaL_checkstring(L, 4));
  if (!stream) return 0;
  return answered(L, stream,
                  ml_tls_answer_failure(ml_tls_stream_engine(stream), token, alert, &reason));
}

static const luaL_Reg methods[] = {
    ML_HANDLE_METHODS,
    {"start", tls_start},
    {"feed", tls_feed},
    {"unsent", tls_unsent},
    {"carried", tls_carried},
    {"inject", tls_inject},
    {"setDeadline", tls_set_deadline},
    {"showIdentity", tls_show_identity},
    {"clientHello", ml_tls_client_hello},
    {"answerContext", tls_answer_context},
    {"answerIdentity", tls_answer_identity},
    {"answerData", tls_answer_data},
    {"answerFailure", tls_answer_failure},
    {NULL, NULL},
};

/* native.tlsAsks: the bits of `asks`, by name */
static void push_asks(lua_State *L)
{
  lua_createtable(L, 0, ASK_NAMES);
  for (size_t i = ML_ASK_CONTEXT; i < ASK_NAMES; i++) {
    lua_pushnumber(L, ML_ASKS(i));
    lua_setfield(L, -2, ask_names[i]);
  }
}

/* native.tlsAlerts: the numbers of the alerts that a script may end a handshake with, by name */
static void push_alerts(lua_State *L)
{
  lua_newtable(L);
  for (int alert = 0; alert <= UINT8_MAX; alert++) {
    if (!ml_alert_is_error(alert)) continue;
    lua_pushnumber(L, alert);
    lua_setfield(L, -2, ml_alert_name(alert));
  }
}

/* Adds to the method table on top. */
static void add_methods(lua_State *L, int metatable, const luaL_Reg *more)
{
  for (; more->name; more++) {
    ml_class_constructor(L, metatable, more->func);
    lua_setfield(L, -2, more->name);
  }
}

void ml_open_tls(lua_State *L)
{
  ml_class_register(L, CLASS_NAME, methods, ml_handle_gc);
  ml_handle_class(L);
  int metatable = lua_gettop(L);
  lua_getfield(L, metatable, "__index");
  add_methods(L, metatable, ml_tls_facts);
  add_methods(L, metatable, ml_tls_after_methods);
  lua_pop(L, 1);
  ml_class_constructor(L, metatable, tls_new);
  lua_setfield(L, 1, "tls");
  push_asks(L);
  lua_setfield(L, 1, "tlsAsks");
  push_alerts(L);
  lua_setfield(L, 1, "tlsAlerts");
  lua_pop(L, 1);
}

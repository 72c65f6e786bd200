/* What a TLS handle does besides a handshake. On a closed handle every method does nothing
 * and returns nothing. */
#include "tls_after.h"

#include "bindings.h"
#include "tls.h"
#include "tls_trace.h"

/* A boolean argument that may be left out. */
static enum ml_tls_says check_says(lua_State *L, int index)
{
  if (lua_isnoneornil(L, index)) return ML_SAYS_NOTHING;
  return lua_toboolean(L, index) ? ML_SAYS_YES : ML_SAYS_NO;
}

/* renegotiate(requestCert | nil, rejectUnauthorized | nil) → true; false while another wish is
 * open; nil, Error. The event `renewed` follows. */
static int after_renegotiate(lua_State *L)
{
  struct ml_error err;
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  if (!stream) return 0;
  struct ml_tls *tls = ml_tls_stream_engine(stream);
  bool busy = ml_tls_unsettled(tls);
  if (!busy) {
    int begun = ml_tls_renegotiate(tls, check_says(L, 2), check_says(L, 3), &err);
    ml_tls_stream_resume(stream);
    if (begun != 0) return ml_fail(L, &err);
  }
  lua_pushboolean(L, !busy);
  return 1;
}

/* forbidRenegotiation(): one that the peer begins ends the connection */
static int after_forbid(lua_State *L)
{
  struct ml_tls *tls = ml_tls_self(L);
  if (tls) ml_tls_forbid_renegotiation(tls);
  return 0;
}

/* updateKeys(peers) → true | nil, Error. With `peers` the event `keyUpdate` follows. */
static int after_update_keys(lua_State *L)
{
  struct ml_error err;
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  if (!stream) return 0;
  int done = ml_tls_update_keys(ml_tls_stream_engine(stream), lua_toboolean(L, 2), &err);
  ml_tls_stream_resume(stream);
  if (done != 0) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* requestCertificate(rejectUnauthorized | nil) → as renegotiate() */
static int after_request_certificate(lua_State *L)
{
  struct ml_error err;
  struct ml_tls_stream *stream = ml_tls_self_stream(L);
  if (!stream) return 0;
  struct ml_tls *tls = ml_tls_stream_engine(stream);
  bool busy = ml_tls_unsettled(tls);
  if (!busy) {
    int begun = ml_tls_request_certificate(tls, check_says(L, 2), &err);
    ml_tls_stream_resume(stream);
    if (begun != 0) return ml_fail(L, &err);
  }
  lua_pushboolean(L, !busy);
  return 1;
}

/* trace() → true | nil, Error. From now on the event `trace` tells of messages. */
static int after_trace(lua_State *L)
{
  struct ml_error err;
  struct ml_tls *tls = ml_tls_self(L);
  if (!tls) return 0;
  if (ml_tls_trace(tls, &err) != 0) return ml_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

const luaL_Reg ml_tls_after_methods[] = {
    {"renegotiate", after_renegotiate},
    {"forbidRenegotiation", after_forbid},
    {"updateKeys", after_update_keys},
    {"trace", after_trace},
    {"requestCertificate", after_request_certificate},
    {NULL, NULL},
};

/* native.ocspRequest and native.ocspRead: what crypto.ocsp stands on. */
#include "ocsp.h"

#include <string.h>

#include "bindings.h"
#include "certinfo.h"
#include "scratch.h"
#include "x509.h"

#define RESPONSE_CLASS "moonlatch.ocsp"

static int response_gc(lua_State *L)
{
  ml_ocsp_release(lua_touserdata(L, 1));
  return 0;
}

static X509 *optional_x509(lua_State *L, int index)
{
  return lua_isnoneornil(L, index) ? NULL : ml_check_x509(L, index);
}

/* ocspRequest(cert, issuer [, nonce]) → request, id (both DER), URL or nil | nil, Error */
static int native_request(lua_State *L)
{
  struct ml_error err;
  struct ml_ocsp_question question = {.cert = ml_check_x509(L, 1), .issuer = ml_check_x509(L, 2)};
  question.nonce = luaL_optlstring(L, 3, NULL, &question.nonce_len);
  BIO *scratch = ml_scratch(L);
  if (ml_ocsp_write_request(scratch, &question, &err)) return ml_fail(L, &err);
  ml_push_scratch(L, scratch);
  scratch = ml_scratch(L);
  if (ml_ocsp_write_id(scratch, &question, &err)) return ml_fail(L, &err);
  ml_push_scratch(L, scratch);
  scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_ocsp_write_url(scratch, question.cert));
  return 3;
}

static void set_text(lua_State *L, const char *name, const char *text)
{
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

/* A time as text, and in seconds since 1970 as `seconds_name`. */
static void set_time(lua_State *L, const char *name, const char *seconds_name,
                     const ASN1_GENERALIZEDTIME *time)
{
  int64_t seconds;
  if (!time || !ml_cert_seconds(time, &seconds)) return;
  BIO *scratch = ml_scratch(L);
  ml_push_written(L, scratch, ml_cert_write_time(scratch, time));
  lua_setfield(L, -2, name);
  lua_pushnumber(L, (lua_Number)seconds);
  lua_setfield(L, -2, seconds_name);
}

static void push_response(lua_State *L, const struct ml_ocsp_response *response)
{
  lua_createtable(L, 0, 16);
  set_text(L, "responseStatus", response->response_status);
  set_text(L, "status", response->status);
  set_text(L, "revocationReason", response->reason);
  set_time(L, "thisUpdate", "thisUpdateDate", response->this_update);
  set_time(L, "nextUpdate", "nextUpdateDate", response->next_update);
  set_time(L, "revocationTime", "revocationTimeDate", response->revoked_at);
  if (response->basic)
    set_time(L, "producedAt", "producedAtDate", OCSP_resp_get0_produced_at(response->basic));
  if (response->id) {
    BIO *scratch = ml_scratch(L);
    ml_push_written(L, scratch, ml_ocsp_write_serial(scratch, response->id));
    lua_setfield(L, -2, "serialNumber");
  }
  lua_pushboolean(L, response->verified);
  lua_setfield(L, -2, "verified");
  if (response->verified) return;
  ml_push_error(L, &response->verify_error);
  lua_setfield(L, -2, "verifyError");
}

/* ocspRead(response, issuer or nil, cert or nil, nonce or nil) → table | nil, Error */
static int native_read(lua_State *L)
{
  struct ml_error err;
  size_t len;
  const char *data = luaL_checklstring(L, 1, &len);
  struct ml_ocsp_expected expected = {.issuer = optional_x509(L, 2), .cert = optional_x509(L, 3)};
  expected.nonce = luaL_optlstring(L, 4, NULL, &expected.nonce_len);
  struct ml_ocsp_response *response = lua_newuserdata(L, sizeof(*response));
  memset(response, 0, sizeof(*response));
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, -2);
  if (ml_ocsp_read(response, data, len, &expected, &err)) return ml_fail(L, &err);
  push_response(L, response);
  ml_ocsp_release(response);
  return 1;
}

static const luaL_Reg methods[] = {
    {NULL, NULL},
};

void ml_open_ocsp(lua_State *L)
{
  ml_class_register(L, RESPONSE_CLASS, methods, response_gc);
  ml_class_constructor(L, lua_gettop(L), native_read);
  lua_setfield(L, 1, "ocspRead");
  lua_pop(L, 1);
  lua_pushcfunction(L, native_request);
  lua_setfield(L, 1, "ocspRequest");
}

--- Pre-shared keys: pskCallback and pskIdentityHint.
---
--- A server of TLS 1.3 asks at the ClientHello and can wait for the answer. A server of TLS 1.2 and all clients need it
--- at once: OpenSSL calls for the key in the middle of a message, and `find` below runs on its stack.
local errors = require 'moonlatch.errors'
local bothForms = require 'moonlatch.tls.both_forms'
local given = require 'moonlatch.tls.given'
local questions = require 'moonlatch.tls.questions'

local codes = errors.codes
local type, xpcall = type, xpcall

-- What every OpenSSL since 1.1.0 takes.
local KEY_MAX, IDENTITY_MAX = 256, 128

local M = {}

--- Checks these options and copies them into `target` under their names.
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_INVALID_ARG_VALUE for a hint with a null byte in it.
---@param options table
---@param target table
---@return table target
function M.read(options, target)
  if given(options.pskCallback) then
    target.pskCallback = errors.validate.func(options.pskCallback, 'options.pskCallback')
  end
  local hint = options.pskIdentityHint
  if given(hint) and hint ~= '' then
    target.pskIdentityHint = errors.validate.cString(hint, 'options.pskIdentityHint')
  end
  return target
end

-- ---- What the script gives ----

-- Errors never show the key.
local function checkKey(key)
  if type(key) ~= 'string' then
    error(errors.argType('psk', 'string', key), 0)
  elseif key == '' then
    error(errors.argValue('psk', key, 'must not be empty'), 0)
  elseif #key > KEY_MAX then
    error(errors.argValue('psk', #key, ('Pre-shared key exceeds %d bytes'):format(KEY_MAX)), 0)
  end
  return key
end

-- A server's answer: the key, or a table with it as clients give one.
local function serverKey(answer)
  if type(answer) == 'string' then
    return checkKey(answer)
  elseif type(answer) ~= 'table' then
    error(errors.argType('ret', { 'Object', 'string' }, answer), 0)
  end
  return checkKey(answer.psk)
end

local function clientKey(answer)
  if not given(answer) then
    return nil
  end
  errors.validate.table(answer, 'ret')
  local key = checkKey(answer.psk)
  local identity = errors.validate.cString(answer.identity, 'identity')
  if #identity > IDENTITY_MAX then
    error(errors.argValue('identity', identity, ('PSK identity exceeds %d bytes'):format(IDENTITY_MAX)), 0)
  end
  return key, identity
end

-- ---- Asked at the ClientHello ----

--- The key behind this identity?
function questions.ask.psk(socket, token, identity)
  bothForms.call(socket._tls.pskCallback, questions.answering(socket, token, serverKey), socket, identity)
end

-- ---- Asked within a call of OpenSSL's ----

-- Either form of an answer, as long as it comes before the function returns.
local function serverNow(socket, identity)
  local done, failure, found = false, nil, nil
  local answered = bothForms.call(socket._tls.pskCallback, function(err, value)
    if not done then
      done, failure, found = true, given(err) and err or nil, value
    end
  end, socket, identity)
  done = true
  if failure ~= nil then
    error(failure, 0)
  elseif not answered then
    error(codes.ERR_TLS_PSK_ANSWER_TOO_LATE(socket:getProtocol()), 0)
  end
  return given(found) and serverKey(found) or nil
end

local function clientNow(socket, hint)
  return clientKey(socket._tls.pskCallback(hint))
end

--- Answers the native side: true, the key and a client's identity, or nil for "none"; false and a message ends the
--- handshake.
---@param socket tls.TLSSocket
---@param asked string?  a client's identity, a server's hint
---@return boolean answered, string? key, string? identity
function M.find(socket, asked)
  local ok, key, identity = xpcall(socket._tls.isServer and serverNow or clientNow, errors.from, socket, asked)
  if not socket._handle then
    return false, 'the socket was destroyed'
  elseif not ok then
    -- The alert is OpenSSL's to choose here.
    local _, err = questions.judge(key)
    socket._scriptError = err
    return false, errors.text(err)
  end
  return true, key, identity
end

return M

--- What a handshake asks of the script, and how the script's answers get back to it.
---
--- Every question arrives as (socket, token, subject) from the loop; an answer names the token. The native side drops
--- an answer that comes late, twice or after the end, so nothing here needs to remember what has been answered.
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local context = require 'moonlatch.tls.context'
local given = require 'moonlatch.tls.given'
local hello = require 'moonlatch.tls.hello'
local tls = require 'moonlatch.tls.namespace'

local type, xpcall = type, xpcall
local asks, alerts = native.tlsAsks, native.tlsAlerts

-- AlertDescription (RFC 8446, 6.2) for a handshake that the script ends.
local ALERT_INTERNAL_ERROR = 80

---@class moonlatch.tls.questions
---@field ask table<string, fun(socket: tls.TLSSocket, token: integer, subject: string?, session: string?)>
local M = { ask = {} }
local ask = M.ask

local function fieldsOf(err)
  return err.alert, err.alertFrom, err.message
end

--- The alert that an error of the script's calls for, by the name in its field `alert`, and the error itself. What the
--- library has reported elsewhere has a number there, and calls for nothing. Of one that raises when it is looked into,
--- that is the error.
---@param err any
---@return integer alert, Error err
function M.judge(err)
  err = errors.from(err)
  local ok, name, from, message = xpcall(fieldsOf, errors.from, err)
  if not ok then
    return ALERT_INTERNAL_ERROR, name
  elseif name == nil or type(name) == 'number' and from ~= nil then
    return ALERT_INTERNAL_ERROR, err
  end
  local alert = alerts[name]
  if not alert then
    local wrong = errors.argValue('err.alert', name, 'is not the name of an error alert')
    wrong.cause = err
    return ALERT_INTERNAL_ERROR, wrong
  end
  if message == nil then
    err = errors.coded(errors.Error, 'ERR_TLS_HANDSHAKE_REFUSED', 'The handshake was refused: ' .. name, err)
  end
  return alert, err
end

--- Ends the handshake with the script's own error. The peer gets the alert that the error names in its field `alert`
--- (RFC 8446, 6.2), else internal_error. Whether the handshake was waiting for an answer still.
---@param socket tls.TLSSocket
---@param token integer
---@param err any
---@return boolean
function M.refuse(socket, token, err)
  local handle = socket._handle
  if not handle then
    return false
  end
  local alert
  alert, err = M.judge(err)
  if not handle:answerFailure(token, alert, errors.text(err)) then
    return false
  end
  socket._scriptError = err
  return true
end
local refuse = M.refuse

--- Calls a function of the script's. What it raises ends the handshake, or the connection when the function has
--- answered already.
---@param socket tls.TLSSocket
---@param token integer
---@param callback function
---@return boolean ok, any result
function M.call(socket, token, callback, ...)
  local ok, result = xpcall(callback, errors.from, ...)
  if not ok and not refuse(socket, token, result) then
    socket:destroy(result)
  end
  return ok, result
end
local call = M.call

--- What a script answers a question with that is answered with bytes: a function that may be called at any time.
---@param socket tls.TLSSocket
---@param token integer
---@param check fun(value: any): string?  raises for a value that is no answer; not called without one
---@return fun(err: any, value: any)
function M.answering(socket, token, check)
  return function(err, value)
    local handle = socket._handle
    if not handle then
      return
    elseif given(err) then
      refuse(socket, token, err)
      return
    elseif not given(value) then
      handle:answerData(token)
      return
    end
    local ok, bytes = xpcall(check, errors.from, value)
    if ok then
      handle:answerData(token, bytes)
    else
      refuse(socket, token, bytes)
    end
  end
end

--- Emits an event of the server's whose last argument answers the question. Without a listener, who may have left,
--- there is no answer to wait for.
---@param socket tls.TLSSocket
---@param token integer
---@param answer fun(err: any, value: any)
---@param name string
---@param ... any  the event's arguments
function M.emit(socket, token, answer, name, ...)
  local server = socket._tls.server
  local ok, heard = call(socket, token, server.emit, server, name, ...)
  if ok and not heard then
    answer()
  end
end

-- What is asked because a server listens for an event whose last argument is the answer.
local function wantedByListeners(server)
  return (server:listenerCount('OCSPRequest') > 0 and asks.staple or 0)
    + (server:listenerCount('resumeSession') > 0 and asks.session or 0)
    + (server:listenerCount('newSession') > 0 and asks.store or 0)
end

--- Which questions the native side is to ask for this connection, as the bits of its option `asks`.
---@param socket tls.TLSSocket
---@return integer
function M.wanted(socket)
  local o = socket._tls
  if not o.isServer then
    return asks.identity
  end
  local wanted = asks.renegotiation
  if o.SNICallback ~= nil or o.server ~= nil and o.server:listenerCount('clientHello') > 0 then
    wanted = wanted + asks.context
  end
  if o.ALPNCallback then
    wanted = wanted + asks.alpn
  end
  if o.pskCallback then
    wanted = wanted + asks.psk
  end
  local server = o.server
  return server and wanted + wantedByListeners(server) or wanted
end

-- ---- Which context? ----

local function answerContext(socket, token, err, chosen)
  local handle = socket._handle
  if not handle then
    return
  end
  if given(err) then
    refuse(socket, token, err)
  elseif not given(chosen) then
    handle:answerContext(token)
  else
    local ok, found = xpcall(context.from, errors.from, chosen)
    if ok and found then
      handle:answerContext(token, found.context)
    else
      refuse(socket, token,
        found or errors.coded(errors.TypeError, 'ERR_TLS_INVALID_CONTEXT', 'Invalid SNI context'))
    end
  end
end

-- The oldest form of SNICallback returns the context; later ones call back. One that does neither has yet to answer.
local function askByName(socket, token, servername, seen)
  local callback = socket._tls.SNICallback
  if not servername or not callback then
    answerContext(socket, token)
    return
  end
  if not seen and hello.isTakenBy(callback) then
    seen = socket._handle:clientHello()
  end
  local ok, result = call(socket, token, callback, servername, function(err, chosen)
    answerContext(socket, token, err, chosen)
  end, seen)
  if ok and result ~= nil then
    answerContext(socket, token, nil, result)
  end
end

-- The listeners of 'clientHello' share one callback: the first answer counts. Without an error and a context it passes
-- the question on.
local function announce(socket, token, servername, server)
  local seen, answered = socket._handle:clientHello(), false
  call(socket, token, server.emit, server, 'clientHello', seen, socket, function(err, chosen)
    if answered or not socket._handle then
      return
    end
    answered = true
    if not err and not chosen then
      askByName(socket, token, servername, seen)
    else
      answerContext(socket, token, err, chosen)
    end
  end)
end

function ask.context(socket, token, servername)
  local server = socket._tls.server
  if server and server:listenerCount('clientHello') > 0 then
    announce(socket, token, servername, server)
  else
    askByName(socket, token, servername)
  end
end

-- ---- Which OCSP response? ----

local STAPLE_MAX = 16777215 -- bytes (RFC 6066, 8)

-- An empty response cannot be sent; as in Node it is none.
local function checkStaple(response)
  if type(response) ~= 'string' then
    error(errors.argType('response', 'string', response), 0)
  elseif #response > STAPLE_MAX then
    error(errors.range('response', ('a string of up to %d bytes'):format(STAPLE_MAX), #response), 0)
  end
  return response ~= '' and response or nil
end

--- Several listeners are all asked; the first answer counts.
function ask.staple(socket, token)
  local certificate, issuer = socket._handle:servedCertificate()
  local answer = M.answering(socket, token, checkStaple)
  M.emit(socket, token, answer, 'OCSPRequest', certificate, issuer, answer)
end

-- ---- Is this the server I meant? ----

--- The name is compared inside the handshake, once the chain is known to be good. A server that has proved itself by a
--- pre-shared key under TLS 1.2 has no certificate: an empty table, as in Node.
function ask.identity(socket, token)
  local o = socket._tls
  local hostname = o.servername or o.host or 'localhost'
  local check = o.checkServerIdentity or tls.checkServerIdentity
  local ok, result = call(socket, token, check, hostname, socket._handle:peerCertificate(true) or {})
  if ok and socket._handle then
    socket._identityError = result
    socket._handle:answerIdentity(token, result == nil)
  end
end

return M

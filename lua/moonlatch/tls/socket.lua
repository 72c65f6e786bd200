--- tls.TLSSocket: a net.Socket whose handle speaks TLS.
---
--- The handle decrypts and encrypts in C; this file is what the handshake asks of the script and what it tells it.
local class = require 'moonlatch.class'
local alpn = require 'moonlatch.tls.alpn'
local errors = require 'moonlatch.errors'
local handlers = require 'moonlatch.net.handlers'
local keylog = require 'moonlatch.tls.keylog'
local native = require 'moonlatch.native'
local net = require 'net'
local context = require 'moonlatch.tls.context'
local contextOptions = require 'moonlatch.tls.options'
local destroy = require 'moonlatch.stream.destroy'
local direct = require 'moonlatch.stream.direct'
local psk = require 'moonlatch.tls.psk'
local questions = require 'moonlatch.tls.questions'
local trace = require 'moonlatch.tls.trace'
local wishes = require 'moonlatch.tls.wishes'
local wrap = require 'moonlatch.tls.wrap'
local tls = require 'moonlatch.tls.namespace'

local codes = errors.codes
local nextTick = require('moonlatch.tick').nextTick
local type, tostring = type, tostring

local ask = questions.ask
local announce = require('moonlatch.tls.sessions').announce

---@class tls.TLSSocket: net.Socket
---@field encrypted true
---@field authorized boolean            the peer's certificate was verified
---@field authorizationError? string    why not: an X509_V_ERR_* name or ERR_TLS_CERT_ALTNAME_INVALID
---@field alpnProtocol string|false|nil nil before the handshake is over
---@field npnProtocol string|false|nil  the same by NPN, of TLS 1.2 and below
---@field servername string|false|nil   the name in the ClientHello
---@field secureConnecting boolean
---@field ssl? { verifyError: fun(): Error?, fd: integer }  as scripts of old used it; nil once it is destroyed
local TLSSocket = class('TLSSocket', net.Socket)

-- The options that concern one connection, checked and copied. Kept in self._tls.
local function connectionOptions(options)
  contextOptions.checkPolicy(options)
  local o = {
    isServer = options.isServer == true,
    server = options.server,
    accepted = options.accepted == true,
    requestCert = options.requestCert == true,
    rejectUnauthorized = options.rejectUnauthorized ~= false,
    servername = options.servername,
    host = options.host,
    session = options.session,
    SNICallback = options.SNICallback,
    checkServerIdentity = options.checkServerIdentity,
    minDHSize = options.minDHSize,
    handshakeTimeout = options.handshakeTimeout,
    pair = options.pair,
  }
  alpn.read(options, o, o.isServer)
  for _, name in ipairs { 'postHandshakeAuth', 'enableTrace' } do
    if options[name] ~= nil then
      o[name] = errors.validate.boolean(options[name], 'options.' .. name)
    end
  end
  if options.requestOCSP ~= nil then
    o.requestOCSP = errors.validate.boolean(options.requestOCSP, 'options.requestOCSP')
  end
  psk.read(options, o)
  for _, name in ipairs { 'SNICallback', 'checkServerIdentity' } do
    if o[name] ~= nil then
      errors.validate.func(o[name], 'options.' .. name)
    end
  end
  for _, name in ipairs { 'servername', 'session' } do
    if o[name] ~= nil and o[name] ~= false and type(o[name]) ~= 'string' then
      error(errors.argType('options.' .. name, 'string', o[name]), 0)
    end
  end
  return o
end

--- Runs over `socket` (a net.Socket, connected or not yet, another TLSSocket, or any Duplex), or stands alone until
--- connect() when it is nil.
---
--- Raises ERR_INVALID_ARG_TYPE with the name of what has the wrong type, ERR_INVALID_ARG_VALUE for a stream that
--- carries another TLS connection, ERR_TLS_INVALID_CONTEXT, and what tls.createSecureContext raises.
---@param socket? Duplex
---@param options? tls.TLSSocketOptions
---@source Node.js tls.TLSSocket
function TLSSocket:init(socket, options)
  options = options or {}
  if type(options) ~= 'table' then
    error(errors.argType('options', 'Object', options), 0)
  end
  if socket ~= nil then
    wrap.check(socket)
  end
  local o = connectionOptions(options)
  o.context = context.given(options) or tls.createSecureContext(options)
  self:_initTls(o) -- first: a signal that is aborted already destroys the socket in there
  net.Socket.init(self, {
    allowHalfOpen = (socket or options).allowHalfOpen, -- the two end together
    highWaterMark = options.highWaterMark,
    pauseOnCreate = options.pauseOnConnect,
    signal = options.signal,
    onread = options.onread,
  })
  if socket then
    wrap.start(self, socket)
  end
end

TLSSocket.encrypted = true
TLSSocket.authorized = false
TLSSocket._established = false   -- the handshake is over
TLSSocket._released = false      -- the script has been given the socket: its errors are 'error' events
TLSSocket._reported = false      -- the server has been told of the failure
TLSSocket._keyCert = false       -- the context of setKeyCert
TLSSocket._renegotiationForbidden = false
TLSSocket._traced = false
TLSSocket._told = false          -- the session that 'session' is being emitted with
TLSSocket._verified = false      -- 'secureConnect' has been emitted; sessions that come earlier wait in _sessions

class.getter(TLSSocket, 'secureConnecting', function(self)
  return not self._established
end)

-- Fields of sockets for which there is something to tell; of the others it is known when the handshake is over.
for _, field in ipairs { 'alpnProtocol', 'npnProtocol', 'servername' } do
  class.getter(TLSSocket, field, function(self)
    if self._established then
      return false
    end
    return nil
  end)
end

--- What init and the server's quick way share.
---@package
function TLSSocket:_initTls(o)
  self._tls = o
end

-- ---- Getting a handle ----

-- RFC 6066, 3: an address is no host name. Whoever was asked for by address is judged by it all the same.
local function sentName(o)
  local name = o.servername
  return not o.isServer and name and net.isIP(name) == 0 and name or nil
end

--- What the native side is told of a connection, but for what depends on who is listening. A server has it made once.
---@package
---@param o table  checked options
---@return table
function TLSSocket._describe(o)
  return {
    isServer = o.isServer,
    requestCert = o.requestCert,
    rejectUnauthorized = o.rejectUnauthorized,
    requestStaple = o.requestOCSP,
    renegotiable = true,
    postHandshakeAuth = contextOptions.says(o.postHandshakeAuth),
    wantSessions = not o.isServer,
    servername = sentName(o),
    alpn = o.alpn,
    npn = o.npn,
    psk = o.pskCallback ~= nil,
    pskHint = o.isServer and o.pskIdentityHint or nil,
    session = o.session or nil,
    minDhBits = o.minDHSize and math.min(math.ceil(o.minDHSize), 2 ^ 31 - 1) or nil,
  }
end

-- What native.tls wants to know: options, of which one table serves any number of connections, and what depends on who
-- is listening.
local function nativeOptions(self)
  local o = self._tls
  local server = o.server
  local wanted = keylog.enabled or self:listenerCount('keylog') > 0
    or (server ~= nil and server:listenerCount('keylog') > 0)
  if wanted then
    o.context.context:enableKeylog()
  end
  return o.described or TLSSocket._describe(o), questions.wanted(self), wanted
end

--- Puts TLS on top of `lower`, an open native handle, and begins the handshake.
---@package
function TLSSocket:_secure(lower, leftover)
  local handle, err = native.tls(lower, self._tls.context.context, nativeOptions(self))
  if not handle then
    lower:close()
    self:destroy(err)
    return
  end
  if self._keyCert then
    local ok, why = handle:showIdentity(self._keyCert.context)
    if not ok then
      handle:close()
      self:destroy(why)
      return
    end
  end
  if leftover then
    handle:feed(leftover)
  end
  local timeout = self._tls.handshakeTimeout
  if timeout then
    handle:setDeadline(timeout)
  end
  if self._renegotiationForbidden then
    handle:forbidRenegotiation()
  end
  self:_attach(handle)
  if self._traced or self._tls.enableTrace or trace.enabled and self._tls.enableTrace == nil then
    trace.attach(handle)
  end
  handle:start()
end

--- Reading begins with the handshake, on a paused socket too: it fills its buffer, and hears of the end.
---@package
function TLSSocket:_begin()
  if not self._readableState.ended then
    self:read(0)
  end
end

--- A connection of our own is made, or the server has accepted one: TLS goes on top before anyone hears of it.
---@package
function TLSSocket:_onConnected(lower)
  if self._handle == lower then
    self:_release()
  end
  self:_secure(lower)
end

-- What one connection has shown is not to be believed of the next. Without these fields the class's stand.
local PER_CONNECTION = {
  'authorized', 'authorizationError', 'alpnProtocol', 'npnProtocol', 'servername', 'secureConnecting',
  '_established', '_released', '_reported', '_verified', '_sessions', '_identityError', '_scriptError',
  '_parent', '_carrier', '_renegotiations', '_renegotiated', '_tracePrefix', '_failure',
}

--- The socket is to connect again.
---@package
function TLSSocket:_undestroy()
  for _, name in ipairs(PER_CONNECTION) do
    self[name] = nil
  end
  net.Socket._undestroy(self)
end

-- ---- What the handshake tells ----

local function judge(self)
  local code = self._handle:verifyError()
  if not code then
    self.authorized = true
    return
  end
  local identity = self._identityError
  self.authorizationError = identity and (identity.code or identity.message or tostring(identity)) or code
end

local function secureServer(self)
  self._released = true
  if self._tls.accepted then
    self._tls.server:emit('secureConnection', self)
  end
end

-- Of several that have come meanwhile, getSession() in a listener is the one that it is told of.
local function tellSession(self, session)
  self._told = session
  self:emit('session', session)
  self._told = false
end

local function secureClient(self)
  self._released = true
  self:emit('secureConnect')
  local sessions = self._sessions
  self._verified, self._sessions = true, nil
  for i = 1, sessions and #sessions or 0 do
    if self.destroyed then
      return
    end
    tellSession(self, sessions[i])
  end
end

local function note(self, field, value)
  if value then
    self[field] = value
  end
end

---@package
function TLSSocket:_onHandshake()
  local handle = self._handle
  note(self, 'alpnProtocol', handle:alpnProtocol())
  note(self, 'npnProtocol', handle:npnProtocol())
  note(self, 'servername', handle:servername())
  self._established = true
  -- The context that SNI chose may have rules of its own.
  if not self._tls.isServer or handle:requestsCertificate() then
    judge(self)
  end
  self:emit('secure')
  if self.destroyed then
    return
  end
  if self._tls.isServer then
    secureServer(self)
  else
    secureClient(self)
  end
end

--- A renegotiation is over, or the client's certificate has come: what the peer is known to be may have changed.
---@package
function TLSSocket:_onRenewed()
  self.authorized, self.authorizationError = nil, nil
  if not self._tls.isServer or self._handle:requestsCertificate() then
    judge(self)
  end
  self:emit('secure')
  if not self.destroyed and not self._tls.isServer then
    self:emit('secureConnect')
  end
  if not self.destroyed then
    wishes.renewed(self)
  end
end

---@package
function TLSSocket:_onSession(session, id)
  if self._tls.isServer then
    announce(self, id, session)
  elseif self._verified then
    tellSession(self, session)
  else
    self._sessions = self._sessions or {}
    table.insert(self._sessions, session)
  end
end

---@package
function TLSSocket:_onKeylog(line)
  if keylog.enabled then
    keylog.write(line)
  end
  local server = self._tls.server
  if server then
    server:emit('keylog', line, self)
  end
  self:emit('keylog', line)
end

-- The script's own error, where one of its callbacks ended the handshake, tells more than the alert it became.
local function betterError(self, err)
  if self._scriptError and err.code == 'ERR_TLS_CALLBACK_FAILED' then
    return self._scriptError
  elseif self._identityError and err.code == 'HOSTNAME_MISMATCH' then
    return errors.isError(self._identityError) and self._identityError or errors.new(tostring(self._identityError))
  end
  return err
end

-- Which server it was that hung up: the system does not know that the connection was not what we wanted it for.
local function nameTarget(self, err)
  local target = self._target
  if target and err.code == 'ECONNRESET' and not err.syscall and not self._established then
    err.path, err.host, err.port, err.localAddress = target.path, target.host, target.port, target.localAddress
  end
end

local function emitClientError(server, err, socket)
  server:emit('tlsClientError', err, socket)
  server:emit('clientError', err, socket)
end

--- Until a server has given the socket to the script there is nobody to hear its 'error' events: what goes wrong is
--- the server's 'tlsClientError'.
---@package
function TLSSocket:_reportToServer(err, later)
  local server = self._tls.server
  if not self._tls.accepted or self._released or self._reported then
    return false
  end
  self._reported = true
  if later then
    nextTick(emitClientError, server, err, self)
  else
    emitClientError(server, err, self)
  end
  return true
end

-- A server that puts TLS on a connection itself is not to end because a client spoke nonsense, whether or not it
-- listens for 'error': there is a listener then, which tells of it by another name.
local function outliveClient(self)
  local o = self._tls
  if o.isServer and not o.accepted and not o.pair and not self._established then
    self:once('error', function(err)
      self:emit('_tlsError', err)
    end)
  end
end

---@package
function TLSSocket:_onHandleError(err)
  if self.connecting then
    net.Socket._onHandleError(self, err)
    return
  end
  local cause = wrap.cause(self, err)
  if cause ~= err then
    self._failure = 'told'
    self:destroy(cause)
    return
  end
  local code = err.code
  err = betterError(self, err)
  if not self._established and code == self._handle:verifyError() then
    self.authorizationError = err.code or err.message
  end
  nameTarget(self, err)
  nextTick(self.destroy, self) -- should a listener of the server raise
  if not self._established then
    self.servername = self._handle:servername() or false
  end
  if self:_reportToServer(err) then
    self._failure = 'handshake'
    self:destroy()
  else
    if self._established and not err.syscall then
      self._failure = 'told'
    end
    outliveClient(self)
    self:destroy(err)
  end
end

local destroyPlain = direct[net.Socket._destroy]

-- A server's socket that the script has not been given has no 'error' event: nobody could be listening for it.
local function destroyDirectly(self, done, err, callback)
  if self._tls.accepted and not self._released then
    local _ = self.remoteAddress -- so that listeners can ask for it still
    self:_reportToServer(err or errors.new('socket hang up', { code = 'ECONNRESET' }), true)
    if err and not self._failure then
      self._failure = 'handshake'
    end
    err = nil
  end
  wishes.drop(self, err)
  if self._updates then
    self:_onKeyUpdate(err or codes.ERR_SOCKET_CLOSED())
  end
  wrap.settle(self)
  destroyPlain(self, done, err, callback)
  wrap.finish(self, err)
end

TLSSocket._destroy = destroy.method(destroyDirectly)

-- What was written leaves at the end of the tick, in as few records as possible. Until then it is not out.
class.getter(TLSSocket, 'writableLength', function(self)
  local ws, handle = self._writableState, self._handle
  local unsent = handle and handle.unsent and handle:unsent() or 0
  -- Of a write under way the stream knows itself.
  return ws.length + math.max(0, unsent - (ws.writing and not self._pendingCallback and ws.writelen or 0))
end)

require 'moonlatch.tls.socket_facts'(TLSSocket)
require 'moonlatch.tls.renegotiation'(TLSSocket)
require 'moonlatch.tls.post_handshake'(TLSSocket)

-- ---- Changing what the handshake will say ----

--- Shows the certificate of `given` (with its key and chain) on this connection instead of the context's own. Of use
--- before the handshake has come to certificates; a context that SNI chooses later brings its own.
---
--- What is wrong with the options raises as createSecureContext does.
---@param given table|tls.SecureContext  at least `key` and `cert`
---@source Node.js tlsSocket.setKeyCert()
function TLSSocket:setKeyCert(given)
  if type(given) ~= 'table' then
    error(errors.argType('context', { 'Object', 'SecureContext' }, given), 0)
  end
  self._keyCert = context.coerce(given)
  if self._handle and self._handle.showIdentity then
    local ok, err = self._handle:showIdentity(self._keyCert.context)
    if not ok then
      error(err, 0)
    end
  end
end

--- Prints the messages of this connection to stderr from now on: records, handshake messages and alerts in words, never
--- application data.
---@source Node.js tlsSocket.enableTrace()
function TLSSocket:enableTrace()
  self._traced = true
  local handle = self._handle
  if handle and handle.trace then
    trace.attach(handle)
  end
end

--- Sets the name a client asks for, before the handshake begins.
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_TLS_SNI_FROM_SERVER on a server.
---@param name string
---@source Node.js tlsSocket.setServername()
function TLSSocket:setServername(name)
  errors.validate.cString(name, 'name')
  if self._tls.isServer then
    error(codes.ERR_TLS_SNI_FROM_SERVER(), 0)
  end
  self._tls.servername = name
end

--- Sets the session a client resumes, before the handshake begins.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param session string
---@source Node.js tlsSocket.setSession()
function TLSSocket:setSession(session)
  errors.validate.string(session, 'session')
  if not self._tls.isServer then -- whose options are those of all its connections
    self._tls.session = session
  end
end

handlers.register('tls', {
  handshake = function(owner)
    owner:_onHandshake()
  end,
  renewed = function(owner)
    owner:_onRenewed()
  end,
  trace = trace.write,
  keyUpdate = function(owner)
    owner:_onKeyUpdate()
  end,
  ask = function(owner, what, token, subject, session)
    ask[what](owner, token, subject, session)
  end,
  session = function(owner, session, id)
    owner:_onSession(session, id)
  end,
  psk = psk.find,
  keylog = function(owner, line)
    owner:_onKeylog(line)
  end,
  staple = function(owner, response)
    owner:emit('OCSPResponse', response)
  end,
})

return TLSSocket

--- tls.Server: a net.Server whose connections are TLSSockets.
local class = require 'moonlatch.class'
local alpn = require 'moonlatch.tls.alpn'
local errors = require 'moonlatch.errors'
local net = require 'net'
local context = require 'moonlatch.tls.context'
local Names = require 'moonlatch.tls.names'
local checkPolicy = require('moonlatch.tls.options').checkPolicy
local shared = require 'moonlatch.cluster.tickets'
local ticketKeys = require 'moonlatch.tls.ticket_keys'
local psk = require 'moonlatch.tls.psk'
local TLSSocket = require 'moonlatch.tls.socket'
local checkStream = require('moonlatch.tls.wrap').check
local tls = require 'moonlatch.tls.namespace'

local codes = errors.codes
local nextTick = require('moonlatch.tick').nextTick
local type, pairs, ipairs = type, pairs, ipairs

local HANDSHAKE_TIMEOUT = 120000 -- ms

---@class tls.Server: net.Server
local Server = class('Server', net.Server)

local function copy(options)
  local result = {}
  for key, value in pairs(options) do
    result[key] = value
  end
  return result
end

-- A server's context differs from others in what is on by default.
local function serverContext(options)
  local wanted = copy(options)
  if wanted.honorCipherOrder == nil then
    wanted.honorCipherOrder = true
  end
  return tls.createSecureContext(wanted)
end

-- What every connection of the server is told; made again when one of these changes, so that an accept makes nothing.
local function renew(self)
  local options = {
    isServer = true,
    server = self,
    accepted = true, -- by the server: it announces the socket, and hears of failures before that
    requestCert = self.requestCert,
    rejectUnauthorized = self.rejectUnauthorized,
    context = self._context,
    alpn = self._protocols.alpn,
    npn = self._protocols.npn,
    ALPNCallback = self._protocols.ALPNCallback,
    pskCallback = self._keys.pskCallback,
    pskIdentityHint = self._keys.pskIdentityHint,
    SNICallback = self._sniCallback,
    handshakeTimeout = self._handshakeTimeout,
    enableTrace = self._enableTrace,
  }
  options.described = TLSSocket._describe(options)
  options.described.lasting = true
  self._connectionOptions = options
end

local function checkOptions(options)
  checkPolicy(options)
  if options.SNICallback ~= nil then
    errors.validate.func(options.SNICallback, 'options.SNICallback')
  end
  if options.handshakeTimeout ~= nil then
    errors.validate.number(options.handshakeTimeout, 'options.handshakeTimeout')
  end
  if options.enableTrace ~= nil then
    errors.validate.boolean(options.enableTrace, 'options.enableTrace')
  end
end

--- The class of what tls.createServer gives.
---
--- Raises ERR_INVALID_ARG_TYPE for an option of the wrong type, ERR_TLS_INVALID_CONTEXT for a secureContext that is
--- none, and what tls.createSecureContext raises.
---@param options? tls.ServerOptions
---@param listener? function  for 'secureConnection'
---@source Node.js tls.Server
function Server:init(options, listener)
  if type(options) == 'function' then
    options, listener = {}, options
  elseif options == nil then
    options = {}
  elseif type(options) ~= 'table' then
    error(errors.argType('options', 'Object', options), 0)
  end
  checkOptions(options)
  self.requestCert = options.requestCert == true
  self.rejectUnauthorized = options.rejectUnauthorized ~= false
  self._names = Names()
  self._context = context.given(options) or serverContext(options)
  if not self._context.ownTicketKeys then
    shared.join(self) -- the keys that all workers of a cluster have, should this be one
  end
  self._protocols = alpn.read(options, {}, true)
  self._keys = psk.read(options, {})
  self._enableTrace = options.enableTrace
  self._handshakeTimeout = options.handshakeTimeout or HANDSHAKE_TIMEOUT
  self._sniCallback = options.SNICallback
  net.Server.init(self, options)
  renew(self)
  if listener ~= nil then
    self:on('secureConnection', listener)
  end
end

-- An accepted connection becomes a TLSSocket at once. Only when the script listens for 'connection' is there a plain
-- socket to be seen first, as in Node.
---@package
function Server:_createSocket(handle)
  if self:listenerCount('connection') > 0 then
    return net.Server._createSocket(self, handle)
  end
  local socket = self:_newSocket(TLSSocket)
  socket:_initTls(self._connectionOptions)
  return socket, handle
end

-- TLS on top of a connection that has been announced as a plain socket.
local function serve(self, plain)
  if plain.destroyed then
    return
  end
  local options = copy(self._connectionOptions)
  options.secureContext = options.context
  options.ALPNProtocols, options.NPNProtocols = options.alpn, options.npn
  options.pauseOnConnect = self.pauseOnConnect
  local socket = TLSSocket(plain, options)
  socket.server = self
  if plain._server == self and not socket.destroyed then
    -- The two are one connection of ours, counted once.
    plain._server, socket._server = false, self
  end
end

local function emitConnection(self, plain, ...)
  local seen = false
  checkStream(plain)
  nextTick(function()
    if not seen then
      plain:destroy() -- a listener raised: nobody is going to look after the socket
    end
  end)
  net.Server.emit(self, 'connection', plain, ...)
  seen = true
  serve(self, plain)
  return true
end

--- Whoever emits 'connection', this server for what it accepted or a script for a socket that it got another way: TLS
--- is served on the socket when the listeners have seen it.
---@param name any
---@return boolean
---@source Node.js EventEmitter.emit()
function Server:emit(name, ...)
  if name == 'connection' then
    return emitConnection(self, ...)
  end
  return net.Server.emit(self, name, ...)
end

--- Adds a context for clients that ask for `hostname` (`*` stands for one label's characters). The one added last
--- wins. Not asked when the server has an SNICallback of its own.
---
--- Raises ERR_TLS_REQUIRED_SERVER_NAME without a name, and what tls.createSecureContext raises.
---@param hostname string
---@param options table|tls.SecureContext
---@source Node.js server.addContext()
function Server:addContext(hostname, options)
  if type(hostname) ~= 'string' or hostname == '' then
    error(codes.ERR_TLS_REQUIRED_SERVER_NAME(), 0)
  end
  local names = self._names
  names:add(hostname, context.coerce(options))
  if not self._sniCallback then
    self._sniCallback = function(servername, callback)
      callback(nil, names:find(servername))
    end
    renew(self)
  end
end

--- Replaces the server's context. Connections that exist keep theirs. Options without `ticketKeys` leave the server
--- those that it has. In a cluster, so does a context that was given none, as long as the keys are the cluster's.
---
--- Raises ERR_INVALID_ARG_TYPE and what tls.createSecureContext raises; the server then keeps what it has.
---@param options table
---@source Node.js server.setSecureContext()
function Server:setSecureContext(options)
  if type(options) ~= 'table' then
    error(errors.argType('options', 'Object', options), 0)
  end
  local ready = context.from(options)
  local own = ready and ready.ownTicketKeys or not ready and options.ticketKeys
  if not ready then
    options = copy(options)
    options.ticketKeys = options.ticketKeys or self:getTicketKeys(true)
    ready = serverContext(options)
  end
  self._context = ready
  if own then
    shared.leave(self)
  else
    shared.renew(self)
  end
  renew(self)
end

-- What setOptions notes down as fields of the server, as Node does.
local NOTED = {
  'pfx', 'key', 'passphrase', 'cert', 'clientCertEngine', 'ca', 'minVersion', 'maxVersion', 'secureProtocol', 'crl',
  'ciphers', 'ecdhCurve', 'dhparam', 'sessionTimeout', 'ticketKeys', 'honorCipherOrder', 'secureOptions',
  'sessionIdContext', 'sigalgs', 'privateKeyIdentifier', 'privateKeyEngine',
}

local warned = false

--- The forerunner of setSecureContext: whom to ask for a certificate, the protocols and the pre-shared keys count for
--- connections from now on. Of the context the fields of the server alone change, not what is spoken.
---
--- Raises ERR_INVALID_ARG_TYPE. Warns once (DEP0122).
---@deprecated
---@param options table
---@source Node.js tls.Server.prototype.setOptions()
function Server:setOptions(options)
  if type(options) ~= 'table' then
    error(errors.argType('options', 'Object', options), 0)
  end
  if not warned then
    warned = true
    errors.emitWarning('Server.prototype.setOptions() is deprecated', 'DeprecationWarning', 'DEP0122')
  end
  checkPolicy(options)
  self.requestCert = options.requestCert == true
  self.rejectUnauthorized = options.rejectUnauthorized ~= false
  for _, name in ipairs(NOTED) do
    if options[name] then
      self[name] = options[name]
    end
  end
  if options.ALPNProtocols or options.NPNProtocols or options.ALPNCallback then
    self._protocols = alpn.read(options, {}, true)
  end
  if options.pskCallback or options.pskIdentityHint then
    self._keys = psk.read(options, {})
  end
  renew(self)
end

--- The 48 bytes that session tickets are sealed with: 16 of name, 16 of HMAC key, 16 of AES key.
---@param all? boolean  a list of them and of those behind them, which only open tickets
---@return string|string[]
---@source Node.js server.getTicketKeys()
function Server:getTicketKeys(all)
  local keys = ticketKeys.split(self._context.context:getTicketKeys())
  return all and keys or keys[1]
end

--- Sets what session tickets are sealed with, for handshakes from now on. Of a list the first seal, and all open: who
--- puts new keys in front, and keeps the old ones behind them for as long as a session lives, drops nobody. A ticket
--- under old keys is replaced when it is used.
---
--- Raises ERR_INVALID_ARG_TYPE for anything but a string or a list of strings, ERR_INVALID_ARG_VALUE for another length
--- than 48.
---@param keys string|string[]  48 bytes each
---@source Node.js server.setTicketKeys()
function Server:setTicketKeys(keys)
  local ring = ticketKeys.join(keys, 'buffer', ticketKeys.wrongArgument)
  shared.leave(self)
  self._context.context:setTicketKeys(ring)
end

--- Uses the keys that the workers of a cluster share.
---@package
function Server:_useTicketKeys(ring)
  self._context.context:setTicketKeys(table.concat(ring))
end

return Server

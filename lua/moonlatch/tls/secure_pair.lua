--- The oldest way to TLS over a stream that exists already: two streams, one for each side of the protocol. Deprecated
--- in favour of tls.TLSSocket, which it is made of.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local context = require 'moonlatch.tls.context'
local EventEmitter = require('moonlatch.emitter').EventEmitter
local Duplex = require 'moonlatch.stream.duplex'
local duplexPair = require 'moonlatch.stream.duplex_pair'
local TLSSocket = require 'moonlatch.tls.socket'
local tls = require 'moonlatch.tls.namespace'

local nextTick = require('moonlatch.tick').nextTick
local type, select, pairs = type, select, pairs

--- The encrypted side of a SecurePair: ciphertext is read from it and written to it.
---@class tls.CryptoStream : Duplex
---@field bytesWritten integer  ciphertext given out so far: application data and what the protocol adds
local CryptoStream = class('CryptoStream', duplexPair.DuplexSide)

CryptoStream._given = 0

class.getter(CryptoStream, 'bytesWritten', function(self)
  return self._given
end)

-- What a socket brings when the connection is over nobody waits for.
function CryptoStream:_write(chunk, name, callback)
  if self._other.destroyed then
    callback()
  else
    duplexPair.DuplexSide._write(self, chunk, name, callback)
  end
end

CryptoStream._destination = false -- what it is piped to

--- As Readable's.
---@param destination Writable
---@param options? table
---@return Writable
---@source Node.js readable.pipe()
function CryptoStream:pipe(destination, options)
  self._destination = destination
  return Duplex.pipe(self, destination, options)
end

--- As Writable's: the peer will send no more. A socket that ends by itself then cannot carry what TLS says after that.
---@param chunk? string
---@param name? string
---@param callback? fun(err: any)
---@return self
---@source Node.js writable.end()
function CryptoStream:finish(chunk, name, callback)
  local destination = self._destination
  if destination and destination.allowHalfOpen == false then
    self._destination = false
    self:unpipe(destination)
    self:resume()
  end
  return Duplex.finish(self, chunk, name, callback)
end

CryptoStream['end'] = CryptoStream.finish

-- What the TLSSocket of a pair stands on.
local Wire = class('Wire', duplexPair.DuplexSide)

function Wire:_write(chunk, name, callback)
  local other = self._other
  if not other.destroyed then
    other._given = other._given + #chunk
  end
  duplexPair.DuplexSide._write(self, chunk, name, callback)
end

-- A write of the other side's that nobody is going to read is done.
function Wire:_destroy(err, callback)
  local taken = self._taken
  if taken then
    self._taken = false
    nextTick(taken)
  end
  duplexPair.DuplexSide._destroy(self, err, callback)
end

-- The arguments, of which each may be left out: a context in front, then up to three booleans, then options.
local function readArguments(...)
  local flags, options, given, n = {}, nil, nil, 0
  for i = 1, select('#', ...) do
    local value = select(i, ...)
    if i == 1 and (value == nil or type(value) == 'table') then
      given = value
    elseif type(value) == 'table' then
      options = value
    else
      n = n + 1
      flags[n] = value
    end
  end
  for i, name in ipairs { 'isServer', 'requestCert', 'rejectUnauthorized' } do
    if flags[i] ~= nil then
      errors.validate.boolean(flags[i], name)
    end
  end
  return given, flags, options or {}
end

-- A server insists on good certificates unless told otherwise. A client did not judge in those days, it left that to
-- the script: it does so when asked to.
local function connectionOptions(given, flags, options)
  local isServer = flags[1] == true
  local merged = { pair = true, isServer = isServer, requestCert = flags[2] == true, rejectUnauthorized = flags[3] }
  for key, value in pairs(options) do
    merged[key] = value
  end
  isServer = merged.isServer == true
  if merged.rejectUnauthorized == nil then
    merged.rejectUnauthorized = isServer
  end
  if not isServer and not (merged.servername or merged.host or merged.checkServerIdentity) then
    -- Nobody has said which name to expect: the script compares names.
    merged.checkServerIdentity = function() end
  end
  if given ~= nil then
    merged.secureContext = context.from(given) or error(errors.codes.ERR_TLS_INVALID_CONTEXT('context'), 0)
  elseif merged.secureContext == nil then
    merged.secureContext = tls.createSecureContext(merged)
  end
  return merged
end

--- What tls.createSecurePair gives. Emits 'secure' when the handshake is over.
---@class tls.SecurePair : EventEmitter
---@field cleartext tls.TLSSocket
---@field encrypted tls.CryptoStream
---@field credentials tls.SecureContext
---@field ssl { verifyError: fun(self: table): Error? }
local SecurePair = class('SecurePair', EventEmitter)

-- Errors belong to the cleartext side; who listens on the pair alone, as was the custom, hears of them there.
local function forwardError(self, err)
  if self:listenerCount('error') > 0 or self.cleartext:listenerCount('error') == 1 then
    self:emit('error', err)
  end
end

---@param ... any  context, isServer, requestCert, rejectUnauthorized, options: see tls.createSecurePair
---@source Node.js tls.SecurePair
function SecurePair:init(...)
  local options = connectionOptions(readArguments(...))
  EventEmitter.init(self)
  local wire = Wire()
  self.encrypted = CryptoStream()
  duplexPair.join(self.encrypted, wire)
  self.credentials, self.server = options.secureContext, options.server
  self.cleartext = TLSSocket(wire, options)
  self.ssl = self.cleartext.ssl
  self._ssl = self.ssl
  self.cleartext:once('secure', function()
    self:emit('secure')
  end)
  self.cleartext:on('error', function(err)
    forwardError(self, err)
  end)
end

--- Destroys both streams.
---@source Node.js securePair.destroy()
function SecurePair:destroy()
  self.cleartext:destroy()
  self.encrypted:destroy()
end

local M = { SecurePair = SecurePair, CryptoStream = CryptoStream }

local warned = false

--- A pair of streams: `encrypted`, to be piped to and from a connection, and `cleartext`, a TLSSocket. Arguments in
--- this order, each of which may be left out: a context (tls.createSecureContext, crypto.createCredentials), isServer,
--- requestCert, rejectUnauthorized (booleans), and a table of options of tls.TLSSocket.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_TLS_INVALID_CONTEXT, and what tls.TLSSocket raises.
---@param ... any
---@return tls.SecurePair
---@deprecated
---@source Node.js tls.createSecurePair()
function M.createSecurePair(...)
  if not warned then
    warned = true
    errors.emitWarning('tls.createSecurePair() is deprecated. Please use tls.TLSSocket instead.', 'DeprecationWarning',
      'DEP0064')
  end
  return SecurePair(...)
end

return M

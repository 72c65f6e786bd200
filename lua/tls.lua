--- Node's tls for Lua: TLS servers and clients on top of net.
---
--- require 'tls' gives this table; the functions are called with a dot, objects with a colon.
local native = require 'moonlatch.native'
local errors = require 'moonlatch.errors'
local tls = require 'moonlatch.tls.namespace'

-- Defaults that a script may change; they are read each time they are used.
tls.DEFAULT_CIPHERS = table.concat({
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'DHE-RSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-SHA256',
  'DHE-RSA-AES128-SHA256',
  'ECDHE-RSA-AES256-SHA384',
  'DHE-RSA-AES256-SHA384',
  'ECDHE-RSA-AES256-SHA256',
  'DHE-RSA-AES256-SHA256',
  'HIGH',
  '!aNULL',
  '!eNULL',
  '!EXPORT',
  '!DES',
  '!RC4',
  '!MD5',
  '!PSK',
  '!SRP',
  '!CAMELLIA',
}, ':')
tls.DEFAULT_MIN_VERSION = 'TLSv1.2'
tls.DEFAULT_MAX_VERSION = 'TLSv1.3'
tls.DEFAULT_ECDH_CURVE = 'auto'
tls.CLIENT_RENEG_LIMIT = 3
tls.CLIENT_RENEG_WINDOW = 600

local context = require 'moonlatch.tls.context'
tls.SecureContext = context.SecureContext
tls.createSecureContext = context.createSecureContext
tls.checkServerIdentity = require('moonlatch.tls.identity').checkServerIdentity

local protocols = require 'moonlatch.tls.protocols'
tls.convertALPNProtocols = protocols.convertALPNProtocols
tls.convertNPNProtocols = protocols.convertNPNProtocols

tls.TLSSocket = require 'moonlatch.tls.socket'
tls.Server = require 'moonlatch.tls.server'
tls.connect = require('moonlatch.tls.connect').connect

local securePair = require 'moonlatch.tls.secure_pair'
tls.SecurePair = securePair.SecurePair
tls.CryptoStream = securePair.CryptoStream
tls.createSecurePair = securePair.createSecurePair
-- What connections were in the oldest documents, and still are.
tls.CleartextStream = tls.TLSSocket

--- A server whose connections are TLS. `listener` is added for 'secureConnection'.
---
--- Raises what tls.Server raises.
---@param options? tls.ServerOptions
---@param listener? function
---@return tls.Server
---@source Node.js tls.createServer()
function tls.createServer(options, listener)
  return tls.Server(options, listener)
end

local ciphers

--- Names of the ciphers that can be asked for, in lower case.
---@return string[]
---@source Node.js tls.getCiphers()
function tls.getCiphers()
  if not ciphers then
    ciphers = {}
    for i, name in ipairs(native.tlsCiphers()) do
      ciphers[i] = name:lower()
    end
    table.sort(ciphers)
  end
  local copy = {}
  for i, name in ipairs(ciphers) do
    copy[i] = name
  end
  return copy
end

require 'moonlatch.tls.environment'(tls, errors)
require('moonlatch.tls.trust').install(tls)

return tls

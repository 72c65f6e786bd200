--- Node's `crypto`, as far as TLS and its users need it.

local errors = require 'moonlatch.errors'
local hash = require 'moonlatch.crypto.hash'
local keys = require 'moonlatch.crypto.keys'
local native = require 'moonlatch.native'
local ocsp = require 'moonlatch.crypto.ocsp'
local random = require 'moonlatch.crypto.random'
local x509 = require 'moonlatch.crypto.x509'

---@class crypto
local crypto = {
  Hash = hash.Hash,
  Hmac = hash.Hmac,
  KeyObject = keys.KeyObject,
  X509Certificate = x509.X509Certificate,
  createPrivateKey = keys.createPrivateKey,
  createPublicKey = keys.createPublicKey,
  createSecretKey = keys.createSecretKey,
  hash = hash.hash,
  ocsp = ocsp,
  randomBytes = random.randomBytes,
  randomInt = random.randomInt,
  randomUUID = random.randomUUID,
  timingSafeEqual = random.timingSafeEqual,
}

-- The cipher lists are tls', which is loaded when somebody asks.
local CIPHER_LISTS = { defaultCoreCipherList = true, defaultCipherList = true }

--- OpenSSL's numbers: SSL_OP_*, TLS1_2_VERSION, RSA_PKCS1_PADDING, …
---@type table<string, integer|string>
crypto.constants = setmetatable(native.constants('openssl'), {
  __index = function(_, name)
    return CIPHER_LISTS[name] and require('tls').DEFAULT_CIPHERS or nil
  end,
})

--- A hash: `crypto.createHash('sha256'):update(data):digest('hex')`. It is also a stream.
---
--- Raises an Error 'Digest method not supported' for a name that getHashes does not have, ERR_INVALID_ARG_TYPE, and
--- ERR_OUT_OF_RANGE for an outputLength of more than 32 bits.
---@param algorithm string
---@param options? { outputLength?: integer }  for shake128 and its kin
---@return crypto.Hash
---@source Node.js crypto.createHash()
function crypto.createHash(algorithm, options)
  return hash.Hash(algorithm, options)
end

--- A keyed hash.
---
--- Raises ERR_CRYPTO_INVALID_DIGEST for an unknown name, ERR_INVALID_ARG_TYPE, and
--- ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE for a key that is no secret.
---@param algorithm string
---@param key string|crypto.KeyObject
---@param options? table  of stream.Transform
---@return crypto.Hmac
---@source Node.js crypto.createHmac()
function crypto.createHmac(algorithm, key, options)
  return hash.Hmac(algorithm, key, options)
end

-- Of a name in capitals and the same in small letters the latter stays; the rest is sorted by bytes.
local function tidy(names)
  local chosen, out = {}, {}
  for _, name in ipairs(names) do
    local key = name:lower()
    if not chosen[key] or name == key then
      chosen[key] = name
    end
  end
  for _, name in pairs(chosen) do
    out[#out + 1] = name
  end
  table.sort(out)
  return out
end

-- A function that gives a new copy of a list made at the first call.
local function listOf(make)
  local list
  return function()
    list = list or tidy(make())
    return { unpack(list) }
  end
end

--- Names that createHash knows.
---@type fun(): string[]
crypto.getHashes = listOf(native.hashes)

--- Names of symmetric ciphers. Those of TLS are tls.getCiphers'.
---@type fun(): string[]
crypto.getCiphers = listOf(native.ciphers)

--- Names of elliptic curves.
---@type fun(): string[]
crypto.getCurves = listOf(native.curves)

local warned = false

--- The oldest form of tls.createSecureContext.
---
--- Raises what tls.createSecureContext raises.
---@param details? table  options of tls.createSecureContext
---@return { context: tls.SecureContext }
---@deprecated
---@source Node.js crypto.createCredentials(), 0.x
function crypto.createCredentials(details)
  if not warned then
    warned = true
    errors.emitWarning('crypto.createCredentials is deprecated. Use tls.createSecureContext instead.',
      'DeprecationWarning', 'DEP0010')
  end
  return { context = require('tls').createSecureContext(details) }
end

return crypto

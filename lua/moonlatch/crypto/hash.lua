--- crypto.createHash and createHmac: objects to update and digest, and streams to write to.

local class = require 'moonlatch.class'
local encoding = require 'moonlatch.stream.encoding'
local errors = require 'moonlatch.errors'
local keys = require 'moonlatch.crypto.keys'
local native = require 'moonlatch.native'
local Transform = require('stream').Transform

local codes, validate = errors.codes, errors.validate

local hash = {}

-- The longest output that may be asked for: 32 bits.
local MAX_OUTPUT = 2 ^ 32 - 1

local function check(value, err)
  if value == nil then
    error(err, 0)
  end
  return value
end

-- Text in a known encoding becomes bytes; under any other name it is bytes already.
local function toBytes(data, name)
  if type(data) ~= 'string' then
    error(errors.argType('data', 'string', data), 0)
  end
  local known = encoding.normalize(name)
  if not known then
    return data
  elseif known == 'hex' and #data % 2 == 1 then
    error(errors.argValue('encoding', name, 'is invalid for data of length ' .. #data), 0)
  end
  return encoding.decode(data, known)
end

local function toText(bytes, name)
  local known = name ~= nil and name ~= 'buffer' and encoding.normalize(name)
  return known and encoding.encode(bytes, known) or bytes
end

local function update(self, data, inputEncoding)
  if self._finished then
    error(codes.ERR_CRYPTO_HASH_FINALIZED(), 0)
  end
  check(self._handle:update(toBytes(data, inputEncoding)))
  return self
end

local function finish(self, outputEncoding, length)
  self._finished = true
  return toText(check(self._handle:digest(length)), outputEncoding)
end

-- As a stream: what is written is hashed, and the digest is the one chunk to read.
local function asStream(cls)
  function cls:_transform(chunk, chunkEncoding, callback)
    if self._finished then
      callback(codes.ERR_CRYPTO_HASH_FINALIZED())
      return
    end
    local ok, err = self._handle:update(toBytes(chunk, chunkEncoding))
    callback(not ok and err or nil)
  end

  function cls:_flush(callback)
    self:push(self:digest())
    callback()
  end
end

---@class crypto.Hash : Transform
local Hash = class('Hash', Transform)

local function outputLength(options)
  if options == nil then
    return nil
  end
  validate.table(options, 'options')
  if options.outputLength ~= nil then
    validate.integer(options.outputLength, 'options.outputLength', 0, MAX_OUTPUT)
  end
  return options.outputLength
end

local function newHandle(algorithm, length)
  local handle, err = native.hash(algorithm, length)
  if not handle then
    -- Node says this of an unknown name, and has no code for it.
    error(err.code == 'ERR_CRYPTO_INVALID_DIGEST' and errors.new('Digest method not supported') or err, 0)
  end
  return handle
end

--- A hash over what is written to it: see crypto.createHash.
---
--- Raises as crypto.createHash does.
---@param algorithm string
---@param options? { outputLength?: integer }
---@source Node.js crypto.Hash
function Hash:init(algorithm, options)
  validate.string(algorithm, 'algorithm')
  self._outputLength = outputLength(options)
  self._handle = newHandle(algorithm, self._outputLength)
  Transform.init(self, options)
end

--- Adds data. May be called as often as needed before digest.
---
--- Raises ERR_CRYPTO_HASH_FINALIZED after digest, ERR_INVALID_ARG_TYPE for data that is no string.
---@param data string
---@param inputEncoding? string  'hex', 'base64' and so on; bytes as they are when left out
---@return crypto.Hash self
---@source Node.js hash.update()
function Hash:update(data, inputEncoding)
  return update(self, data, inputEncoding)
end

--- Ends the hash and gives the digest, as bytes or in an encoding.
---
--- Raises ERR_CRYPTO_HASH_FINALIZED the second time.
---@param outputEncoding? string
---@return string
---@source Node.js hash.digest()
function Hash:digest(outputEncoding)
  if self._finished then
    error(codes.ERR_CRYPTO_HASH_FINALIZED(), 0)
  end
  return finish(self, outputEncoding, self._outputLength)
end

--- A second hash that goes on from the same state.
---
--- Raises ERR_CRYPTO_HASH_FINALIZED after digest.
---@param options? { outputLength?: integer }
---@return crypto.Hash
---@source Node.js hash.copy()
function Hash:copy(options)
  if self._finished then
    error(codes.ERR_CRYPTO_HASH_FINALIZED(), 0)
  end
  local copy = setmetatable({ _outputLength = outputLength(options) }, Hash.metatable)
  copy._handle = check(self._handle:copy(copy._outputLength))
  Transform.init(copy, options)
  return copy
end

asStream(Hash)

---@class crypto.Hmac : Transform
local Hmac = class('Hmac', Transform)

--- A keyed hash over what is written to it: see crypto.createHmac.
---
--- Raises as crypto.createHmac does.
---@param algorithm string
---@param key string|crypto.KeyObject
---@param options? table  of stream.Transform
---@source Node.js crypto.Hmac
function Hmac:init(algorithm, key, options)
  validate.string(algorithm, 'hmac')
  local bytes = keys.secretBytes(key)
  local handle, err = native.hmac(algorithm, bytes)
  if not handle then
    if err.code == 'ERR_CRYPTO_INVALID_DIGEST' then
      err = codes.ERR_CRYPTO_INVALID_DIGEST(algorithm)
    end
    error(err, 0)
  end
  Transform.init(self, options)
  self._handle = handle
end

--- Adds data.
---
--- Raises ERR_CRYPTO_HASH_FINALIZED after digest, ERR_INVALID_ARG_TYPE for data that is no string.
---@param data string
---@param inputEncoding? string
---@return crypto.Hmac self
---@source Node.js hmac.update()
function Hmac:update(data, inputEncoding)
  return update(self, data, inputEncoding)
end

--- Ends it and gives the code, as bytes or in an encoding. A second call gives an empty string, as in Node.
---@param outputEncoding? string
---@return string
---@source Node.js hmac.digest()
function Hmac:digest(outputEncoding)
  if self._finished then
    return ''
  end
  return finish(self, outputEncoding)
end

asStream(Hmac)

hash.Hash, hash.Hmac = Hash, Hmac

--- Hashes in one call.
---
--- Raises as crypto.createHash does.
---@param algorithm string
---@param data string
---@param outputEncoding? string  'hex' when left out; 'buffer' for bytes
---@return string
---@source Node.js crypto.hash()
function hash.hash(algorithm, data, outputEncoding)
  validate.string(algorithm, 'algorithm')
  if type(data) ~= 'string' then
    error(errors.argType('input', 'string', data), 0)
  end
  local handle = newHandle(algorithm)
  check(handle:update(data))
  return toText(check(handle:digest()), outputEncoding or 'hex')
end

return hash

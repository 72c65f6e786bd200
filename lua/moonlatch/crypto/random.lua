--- Random bytes and what is made of them.

local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'

local floor = math.floor
local validate = errors.validate

local random = {}

local MAX_SIZE = 2 ^ 31 - 1
local MAX_RANGE = 2 ^ 48 - 1
local MAX_SAFE = 2 ^ 53 - 1

local function bytes(size)
  local value, err = native.random(size)
  if not value then
    error(err, 0)
  end
  return value
end

-- Calls back later with what `make` gives, or gives it at once.
local function deliver(callback, make)
  if callback == nil then
    return make()
  end
  local value = make()
  tick.nextTick(callback, nil, value)
end

local function checkCallback(callback)
  if callback ~= nil then
    validate.func(callback, 'callback')
  end
end

--- Random bytes, `size` of them, returned or given to `callback(nil, bytes)`.
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_OUT_OF_RANGE for a size that is negative or over 2^31 - 1.
---@param size integer
---@param callback? fun(err: nil, bytes: string)
---@return string?
---@source Node.js crypto.randomBytes()
function random.randomBytes(size, callback)
  validate.number(size, 'size', 0, MAX_SIZE)
  checkCallback(callback)
  return deliver(callback, function()
    return bytes(floor(size))
  end)
end

-- A number below 2^48 out of six bytes.
local function draw()
  local value = 0
  for _, byte in ipairs { bytes(6):byte(1, 6) } do
    value = value * 256 + byte
  end
  return value
end

-- Draws until the number falls below the largest multiple of `range`: every result is equally likely.
local function below(range)
  local limit = (MAX_RANGE + 1) - (MAX_RANGE + 1) % range
  local value = draw()
  while value >= limit do
    value = draw()
  end
  return value % range
end

local function checkSafe(value, name)
  if type(value) ~= 'number' or value ~= floor(value) or math.abs(value) > MAX_SAFE then
    error(errors.argType(name, 'a safe integer', value), 0)
  end
end

--- A random integer n with min <= n < max.
---
--- Raises ERR_INVALID_ARG_TYPE for what is no safe integer, ERR_OUT_OF_RANGE when max is not above min or more than
--- 2^48 - 1 above it.
---@param min integer  0 when only one number is given
---@param max? integer
---@param callback? fun(err: nil, n: integer)
---@return integer?
---@overload fun(max: integer, callback?: fun(err: nil, n: integer)): integer?
---@source Node.js crypto.randomInt()
function random.randomInt(min, max, callback)
  local hasMin = max ~= nil and not validate.isCallable(max)
  if not hasMin then
    min, max, callback = 0, min, max
  end
  checkCallback(callback)
  if hasMin then
    checkSafe(min, 'min')
  end
  checkSafe(max, 'max')
  if max <= min then
    error(errors.range('max', ('greater than the value of "min" (%.16g)'):format(min), max), 0)
  elseif max - min > MAX_RANGE then
    local name = hasMin and 'max - min' or 'max'
    error(errors.range(name, ('<= %.16g'):format(MAX_RANGE), max - min), 0)
  end
  return deliver(callback, function()
    return min + below(max - min)
  end)
end

--- A random UUID (RFC 9562, version 4).
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param options? { disableEntropyCache?: boolean }  for Node's sake: there is no cache
---@return string
---@source Node.js crypto.randomUUID()
function random.randomUUID(options)
  if options ~= nil then
    validate.table(options, 'options')
    if options.disableEntropyCache ~= nil then
      validate.boolean(options.disableEntropyCache, 'options.disableEntropyCache')
    end
  end
  local b = { bytes(16):byte(1, 16) }
  b[7] = b[7] % 16 + 0x40
  b[9] = b[9] % 64 + 0x80
  return ('%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x'):format(unpack(b))
end

--- Compares without telling by the time it takes where two strings differ.
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH for strings of different lengths.
---@param a string
---@param b string
---@return boolean
---@source Node.js crypto.timingSafeEqual()
function random.timingSafeEqual(a, b)
  if type(a) ~= 'string' then
    error(errors.argType('buf1', 'string', a), 0)
  elseif type(b) ~= 'string' then
    error(errors.argType('buf2', 'string', b), 0)
  elseif #a ~= #b then
    error(errors.codes.ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH(), 0)
  end
  return native.constantTimeEqual(a, b)
end

return random

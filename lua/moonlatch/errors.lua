--- Error tables: what the library raises, passes to callbacks and emits.
---
--- An Error has `name`, `message`, `stack`, mostly `code`, and whatever the case adds. `tostring` gives
--- Node's first line. Raise one with `error(err, 0)`.

local class = require 'moonlatch.class'
local received = require 'moonlatch.errors.received'

local type, pairs, ipairs, pcall, tostring, setmetatable = type, pairs, ipairs, pcall, tostring, setmetatable
local format, concat = string.format, table.concat
local traceback = debug.traceback

---@class Error
---@field name string
---@field message string
---@field stack string
---@field code? string|integer
---@field cause? any
---@overload fun(message?: any, options?: { cause: any }): Error
local Error = class('Error')
Error.name = 'Error'
Error.message = ''

local function firstLine(err)
  local name, message = tostring(err.name), tostring(err.message)
  if message == '' then
    return name
  end
  return name .. ': ' .. message
end

-- Sets err.stack: the first line and below it the traceback from `level` on (2 is whoever calls the
-- caller). Its callers must not tail-call it, or the levels shift.
local function setStack(err, level)
  err.stack = tostring(err) .. traceback('', level + 1):gsub('^\n?stack traceback:', '')
end

function Error:init(message, options)
  if message ~= nil then
    self.message = tostring(message)
  end
  if type(options) == 'table' and options.cause ~= nil then
    self.cause = options.cause
  end
  setStack(self, 3)
end

Error.metatable.__tostring = firstLine
Error.metatable.__concat = function(left, right)
  return tostring(left) .. tostring(right)
end

local TypeError = Error:extend('TypeError')
TypeError.name = 'TypeError'
local RangeError = Error:extend('RangeError')
RangeError.name = 'RangeError'
local SyntaxError = Error:extend('SyntaxError')
SyntaxError.name = 'SyntaxError'

---@class AbortError : Error
local AbortError = Error:extend('AbortError')
AbortError.name = 'AbortError'
AbortError.code = 'ABORT_ERR'

function AbortError:init(message, options)
  self.code = 'ABORT_ERR'
  Error.init(self, message or 'The operation was aborted', options)
end

local errors = {
  Error = Error, TypeError = TypeError, RangeError = RangeError, SyntaxError = SyntaxError,
  AbortError = AbortError,
}

-- Errors made by the library itself say their code in the first line; they share a second metatable per
-- class.
local codedMetatables = {}

local function codedToString(err)
  return format('%s [%s]: %s', tostring(err.name), tostring(err.code), tostring(err.message))
end

local function codedMetatable(cls)
  local metatable = codedMetatables[cls]
  if not metatable then
    metatable = {}
    for key, value in pairs(cls.metatable) do
      metatable[key] = value
    end
    metatable.__tostring = codedToString
    codedMetatables[cls] = metatable
  end
  return metatable
end

local function merge(err, fields)
  for key, value in pairs(fields or {}) do
    err[key] = value
  end
  return err
end

--- A plain Error with extra fields.
---@param message string
---@param fields? table
---@return Error
function errors.new(message, fields)
  local err = merge(setmetatable({ message = message }, Error.metatable), fields)
  setStack(err, 2)
  return err
end

--- An error of the library: `tostring` gives "TypeError [ERR_X]: message".
---@param cls moonlatch.Class
---@param code string
---@param message string
---@param fields? table
---@return Error
function errors.coded(cls, code, message, fields)
  local err = merge(setmetatable({ code = code, message = message }, codedMetatable(cls)), fields)
  setStack(err, 2)
  return err
end

--- Is `value` an Error table?
---@param value any
---@return boolean
function errors.isError(value)
  return class.isInstance(value, Error)
end

--- An Error for what was raised: a string gets an Error table with the traceback of now, a table is
--- passed as it is. Fit to be the message handler of xpcall.
---@param value any
---@return any
function errors.from(value)
  if type(value) == 'table' then
    return value
  end
  local err = setmetatable({ message = tostring(value) }, Error.metatable)
  setStack(err, 1)
  return err
end

--- What tostring() makes of an error, even of one whose own __tostring raises.
---@param err any
---@return string
function errors.text(err)
  local ok, text = pcall(tostring, err)
  return ok and text or ('an error of type %s, whose __tostring raises'):format(type(err))
end

-- "a", "a or b", "a, b, or c"
local function alternatives(list)
  local count = #list
  if count <= 2 then
    return concat(list, ' or ')
  end
  return concat(list, ', ', 1, count - 1) .. ', or ' .. list[count]
end

local TYPES = { string = true, ['function'] = true, number = true, object = true, boolean = true, table = true,
  ['nil'] = true, userdata = true, thread = true }

-- Classes that stand for types.
local TYPE_OF_CLASS = { Object = 'object', Function = 'function' }

local function sortExpected(expected)
  local types, instances, others = {}, {}, {}
  for _, what in ipairs(type(expected) == 'table' and expected or { expected }) do
    what = TYPE_OF_CLASS[what] or what
    if TYPES[what] then
      types[#types + 1] = what
    elseif what:find('^%u%w*$') then
      instances[#instances + 1] = what
    else
      others[#others + 1] = what
    end
  end
  if #instances > 0 then
    for i, what in ipairs(types) do
      if what == 'object' then
        table.remove(types, i)
        instances[#instances + 1] = 'Object'
        break
      end
    end
  end
  return types, instances, others
end

local function expectation(expected)
  local types, instances, others = sortExpected(expected)
  local parts = {}
  if #types > 0 then
    parts[#parts + 1] = (#types > 1 and 'one of type ' or 'of type ') .. alternatives(types)
  end
  if #instances > 0 then
    parts[#parts + 1] = 'an instance of ' .. alternatives(instances)
  end
  if #others == 1 then
    parts[#parts + 1] = (others[1]:find('%u') and 'an ' or '') .. others[1]
  elseif #others > 1 then
    parts[#parts + 1] = 'one of ' .. alternatives(others)
  end
  return concat(parts, ' or ')
end

--- ERR_INVALID_ARG_TYPE, built but not raised.
---@param name string       the argument, or a property when it has a dot ("options.host")
---@param expected string|string[]
---@param actual any
---@return Error
function errors.argType(name, expected, actual)
  local subject
  if name:find(' argument$') then
    subject = 'The ' .. name
  else
    subject = format('The "%s" %s', name, name:find('.', 1, true) and 'property' or 'argument')
  end
  local message = format('%s must be %s. Received %s', subject, expectation(expected),
    received.describe(actual))
  return errors.coded(TypeError, 'ERR_INVALID_ARG_TYPE', message)
end

local function inspect(value)
  return require('moonlatch.inspect').inspect(value)
end

--- ERR_INVALID_ARG_VALUE, built but not raised.
---@param name string
---@param value any
---@param reason? string  default "is invalid"
---@return Error
function errors.argValue(name, value, reason)
  local shown = inspect(value)
  if #shown > 128 then
    shown = shown:sub(1, 128) .. '...'
  end
  local kind = name:find('.', 1, true) and 'property' or 'argument'
  return errors.coded(TypeError, 'ERR_INVALID_ARG_VALUE',
    format("The %s '%s' %s. Received %s", kind, name, reason or 'is invalid', shown))
end

-- 4294967297 → "4_294_967_297"
local function grouped(text)
  local sign, digits = text:match('^(-?)(%d+)$')
  if not digits then
    return text
  end
  return sign .. digits:reverse():gsub('%d%d%d', '%0_'):reverse():gsub('^_', '')
end

--- ERR_OUT_OF_RANGE, built but not raised.
---@param name string
---@param rangeText string  what follows "It must be"
---@param value any
---@return Error
function errors.range(name, rangeText, value)
  local shown = inspect(value)
  if type(value) == 'number' and math.abs(value) > 2 ^ 32 then
    shown = grouped(shown)
  end
  return errors.coded(RangeError, 'ERR_OUT_OF_RANGE',
    format('The value of "%s" is out of range. It must be %s. Received %s', name, rangeText, shown))
end

local NATIVE_TEXT = { 'code', 'syscall', 'address', 'library', 'reason', 'state', 'alertFrom', 'hostname',
  'offered', 'configured' }

--- The Error for a failure described by the runtime (struct ml_error). Empty strings and a port of 0 are
--- left out.
---@param fields table
---@return Error
function errors.fromNative(fields)
  local err = { message = fields.message }
  for _, key in ipairs(NATIVE_TEXT) do
    local value = fields[key]
    if value ~= nil and value ~= '' then
      err[key] = value
    end
  end
  err.opensslErrorStack = fields.opensslErrorStack
  if fields.origin == 'system' then
    err.errno = fields.errno
  elseif fields.origin == 'dns' then
    err.hostname, err.address = err.hostname or err.address, nil
  end
  if fields.port and fields.port ~= 0 then
    err.port = fields.port
  end
  if err.alertFrom then
    err.alert = fields.alert
  end
  if not err.message or err.message == '' then
    err.message = err.reason or err.code or 'unknown failure'
  end
  local metatable = fields.origin == 'misuse' and codedMetatable(Error) or Error.metatable
  setmetatable(err, metatable)
  setStack(err, 2)
  return err
end

--- Called with each process warning ({ name, code, message, … }); the process module replaces it.
---@param warning Error
function errors.warn(warning)
  io.stderr:write('(moonlatch) ', tostring(warning), '\n')
end

--- Emits a process warning.
---@param message string
---@param name? string    default "Warning"
---@param code? string    such as "DEP0123"
---@param fields? table
function errors.emitWarning(message, name, code, fields)
  local warning = errors.new(message, fields)
  warning.name, warning.code = name or 'Warning', code
  errors.warn(warning)
end

errors.describe = received.describe

-- Made with the first of them that is needed: a program that runs well needs none.
errors.codes = setmetatable({}, { __index = function(codes, code)
  setmetatable(codes, nil)
  require('moonlatch.errors.codes')(errors, codes)
  return codes[code]
end })
errors.validate = require('moonlatch.errors.validate')(errors)

return errors

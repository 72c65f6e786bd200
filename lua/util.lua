--- Utilities: showing, formatting and telling values apart.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local inspect = require 'moonlatch.inspect'
local format = require 'moonlatch.format'
local abort = require 'moonlatch.abort'

local type, pairs, rawequal, getmetatable, setmetatable = type, pairs, rawequal, getmetatable, setmetatable

---@class util
local util = {
  format = format.format,
  formatWithOptions = format.formatWithOptions,
  --- Is `object` an instance of the class, or of one derived from it?
  isInstance = class.isInstance,
}

-- util.inspect(value) and util.inspect.custom.
util.inspect = setmetatable({ custom = inspect.custom, defaultOptions = inspect.defaultOptions }, {
  __call = function(_, value, options)
    return inspect.inspect(value, options)
  end,
})

local function sameTables(a, b, seen)
  if getmetatable(a) ~= getmetatable(b) then
    return false
  elseif seen[a] == b then
    return true
  end
  seen[a] = b
  for key, value in pairs(a) do
    if not util.isDeepStrictEqual(value, b[key], seen) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

--- Are the values equal, tables member by member?
---@param a any
---@param b any
---@param seen? table  pairs of tables that are being compared
---@return boolean
---@source Node.js util.isDeepStrictEqual()
function util.isDeepStrictEqual(a, b, seen)
  if rawequal(a, b) or a ~= a and b ~= b then
    return true
  elseif type(a) ~= 'table' or type(b) ~= 'table' then
    return false
  end
  return sameTables(a, b, seen or {})
end

local warned = {}

--- Gives `fn`, which then emits a DeprecationWarning with `message` when it is first called; once for each code.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param fn function
---@param message string
---@param code? string
---@return function
---@source Node.js util.deprecate()
function util.deprecate(fn, message, code)
  errors.validate.func(fn, 'fn')
  local done = false
  return function(...)
    if not done and not (code and warned[code]) then
      done = true
      if code then
        warned[code] = true
      end
      errors.emitWarning(message, 'DeprecationWarning', code)
    end
    return fn(...)
  end
end

-- Is the section named in NODE_DEBUG (or MOONLATCH_DEBUG), a list with commas in which * stands for
-- anything?
local function isDebugged(section)
  local list = os.getenv('MOONLATCH_DEBUG') or os.getenv('NODE_DEBUG') or ''
  for name in list:gmatch('[^,%s]+') do
    local pattern = '^' .. name:lower():gsub('[%^%$%(%)%%%.%[%]%+%-%?]', '%%%0'):gsub('%*', '.*') .. '$'
    if section:lower():find(pattern) then
      return true
    end
  end
  return false
end

--- A function that formats to stderr when the section is named in MOONLATCH_DEBUG or NODE_DEBUG.
---@param section string
---@return table  callable; `enabled` tells whether it prints
---@source Node.js util.debuglog()
function util.debuglog(section)
  local enabled = isDebugged(section)
  return setmetatable({ enabled = enabled }, { __call = function(_, ...)
    if enabled then
      io.stderr:write(section:upper(), ': ', format.format(...), '\n')
    end
  end })
end

util.debug = util.debuglog

--- The text without a terminal's escape sequences.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param text string
---@return string
---@source Node.js util.stripVTControlCharacters()
function util.stripVTControlCharacters(text)
  errors.validate.string(text, 'str')
  return (text:gsub('\27%[[%d;?]*[%a@]', ''):gsub('\27%].-\7', ''))
end

--- A string of valid UTF-8: what is not becomes U+FFFD.
---@param text string
---@return string
---@source Node.js util.toUSVString()
function util.toUSVString(text)
  return require('moonlatch.stream.encoding').toValidUtf8(tostring(text))
end

--- Calls back when the signal is aborted; returns what undoes it.
util.aborted = abort.addAbortListener

--- What kind of value is it?
util.types = {}

---@param value any
---@return boolean
function util.types.isNativeError(value)
  return errors.isError(value)
end

---@param value any
---@return boolean
function util.types.isCoroutine(value)
  return type(value) == 'thread'
end

---@param value any
---@return boolean
function util.types.isExternal(value)
  return type(value) == 'userdata'
end

---@param value any
---@return boolean
function util.types.isClass(value)
  return class.isClass(value)
end

--- A sequence: a table without a class whose keys are 1 … n.
---@param value any
---@return boolean
function util.isArray(value)
  if type(value) ~= 'table' or class.of(value) or class.isClass(value) then
    return false
  end
  local count = 0
  for _ in pairs(value) do
    count = count + 1
  end
  return count == #value
end

util.types.isArray = util.isArray

return util

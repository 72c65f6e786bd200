--- How an error message names the value that came instead of the expected one, in Node's wording.

local class = require 'moonlatch.class'

local type, tostring, getmetatable = type, tostring, getmetatable
local format = string.format

local received = {}

local ESCAPES = { ['\n'] = '\\n', ['\t'] = '\\t', ['\r'] = '\\r', ['\b'] = '\\b', ['\f'] = '\\f',
  ['\v'] = '\\v', ['\\'] = '\\\\' }

local function escapeByte(char)
  return ESCAPES[char] or format('\\x%02X', char:byte())
end

--- A string as source text: single quotes, unless it holds some and another kind of quote does not.
---@param text string
---@return string
function received.quote(text)
  local quote = "'"
  if text:find("'", 1, true) then
    if not text:find('"', 1, true) then
      quote = '"'
    elseif not text:find('`', 1, true) then
      quote = '`'
    end
  end
  local body = text:gsub('[%c\\]', escapeByte)
  if quote == "'" then
    body = body:gsub("'", "\\'")
  end
  return quote .. body .. quote
end

--- A number as Node prints it: as few digits as tell it from its neighbours.
---@param value number
---@return string
function received.number(value)
  if value ~= value then
    return 'NaN'
  elseif value == math.huge then
    return 'Infinity'
  elseif value == -math.huge then
    return '-Infinity'
  elseif value == 0 then
    return 1 / value < 0 and '-0' or '0'
  elseif value == math.floor(value) and value > -1e15 and value < 1e15 then
    return format('%d', value)
  end
  for digits = 15, 17 do
    local text = format('%.' .. digits .. 'g', value)
    if tonumber(text) == value then
      return (text:gsub('e([+-])0+', 'e%1'))
    end
  end
end

local function describeString(value)
  if #value > 28 then
    value = value:sub(1, 25) .. '...'
  end
  if value:find("'", 1, true) then
    return format('type string ("%s")', (value:gsub('[%c\\"]', function(char)
      return char == '"' and '\\"' or escapeByte(char)
    end)))
  end
  return format("type string ('%s')", value)
end

local function describeTable(value)
  local cls = class.of(value)
  if cls then
    return 'an instance of ' .. cls.__name
  elseif class.isClass(value) then
    return 'function ' .. value.__name
  end
  return 'an instance of Object'
end

local function describeUserdata(value)
  local meta = getmetatable(value)
  return 'an instance of ' .. tostring(type(meta) == 'table' and meta.__name or 'userdata')
end

--- What follows "Received " in a message.
---@param value any
---@return string
function received.describe(value)
  local kind = type(value)
  if kind == 'nil' then
    return 'nil'
  elseif kind == 'string' then
    return describeString(value)
  elseif kind == 'number' then
    return format('type number (%s)', received.number(value))
  elseif kind == 'boolean' then
    return format('type boolean (%s)', tostring(value))
  elseif kind == 'function' then
    return 'function '
  elseif kind == 'table' then
    return describeTable(value)
  elseif kind == 'userdata' then
    return describeUserdata(value)
  end
  return format('type %s (%s)', kind, tostring(value))
end

return received

--- util.format: text from a template with %s, %d, %i, %f, %j, %o, %O, %c and %%, in Node's way.

local class = require 'moonlatch.class'
local inspect = require 'moonlatch.inspect'
local received = require 'moonlatch.errors.received'

local type, tostring, tonumber, select, getmetatable = type, tostring, tonumber, select, getmetatable
local concat, floor = table.concat, math.floor

local format = {}

local JSON_ESCAPES = { ['"'] = '\\"', ['\\'] = '\\\\', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n',
  ['\r'] = '\\r', ['\t'] = '\\t' }

local function jsonString(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return JSON_ESCAPES[char] or ('\\u%04x'):format(char:byte())
  end) .. '"'
end

local toJson

local function jsonTable(value, path)
  if path[value] then
    error('circular', 0)
  end
  path[value] = true
  local parts = {}
  local length = #value
  if length > 0 then
    for i = 1, length do
      parts[i] = toJson(value[i], path) or 'null'
    end
  else
    local keys = {}
    for key in pairs(value) do
      if type(key) == 'string' then
        keys[#keys + 1] = key
      end
    end
    table.sort(keys)
    for _, key in ipairs(keys) do
      local text = toJson(value[key], path)
      if text then
        parts[#parts + 1] = jsonString(key) .. ':' .. text
      end
    end
  end
  path[value] = nil
  return (length > 0 and '[' or '{') .. concat(parts, ',') .. (length > 0 and ']' or '}')
end

-- JSON text, nil for what JSON has no word for.
function toJson(value, path)
  local kind = type(value)
  if kind == 'string' then
    return jsonString(value)
  elseif kind == 'number' then
    local finite = value == value and value ~= math.huge and value ~= -math.huge
    return finite and received.number(value) or 'null'
  elseif kind == 'boolean' then
    return tostring(value)
  elseif kind == 'table' then
    return jsonTable(value, path)
  end
  return nil
end

local function json(value)
  local ok, text = pcall(toJson, value, {})
  if not ok then
    return '[Circular]'
  end
  return text or 'undefined'
end

local function number(value)
  if type(value) == 'table' or tonumber(value) == nil then
    return nil
  end
  return tonumber(value)
end

local function integer(value)
  local n = number(value)
  if not n and type(value) == 'string' then
    n = tonumber(value:match('^%s*[+-]?%d+'))
  end
  if not n or n ~= n then
    return 'NaN'
  end
  return received.number(n < 0 and -floor(-n) or floor(n))
end

local function float(value)
  local n = number(value)
  if not n and type(value) == 'string' then
    n = tonumber(value:match('^%s*[+-]?%d*%.?%d*'))
  end
  return n and received.number(n) or 'NaN'
end

local function text(value, options)
  local kind = type(value)
  if kind == 'string' then
    return value
  elseif kind == 'number' then
    return received.number(value)
  elseif kind == 'table' then
    local meta = getmetatable(value)
    if class.isClass(value) or type(meta) == 'table' and meta.__tostring and not class.of(value)
      or class.isInstance(value, require('moonlatch.errors').Error) then
      return tostring(value)
    end
    local shallow = { depth = 0, compact = 3, colors = false }
    return inspect.inspect(value, setmetatable(shallow, { __index = options }))
  end
  return kind == 'function' and inspect.inspect(value) or tostring(value)
end

-- What each letter makes of its argument.
local conversions = {
  s = text,
  d = function(value)
    local n = number(value)
    return n and received.number(n) or 'NaN'
  end,
  i = integer,
  f = float,
  j = json,
  o = function(value, options)
    local full = { showHidden = true, depth = 4 }
    return inspect.inspect(value, setmetatable(full, { __index = options }))
  end,
  O = function(value, options)
    return inspect.inspect(value, options)
  end,
  c = function()
    return ''
  end,
}

local function rest(parts, options, from, count, arguments)
  for i = from, count do
    local value = arguments[i]
    parts[#parts + 1] = type(value) == 'string' and value or inspect.inspect(value, options)
  end
  return concat(parts, ' ')
end

--- As format, with options for inspect.
---@param options table?
---@param ... any
---@return string
---@source Node.js util.formatWithOptions()
function format.formatWithOptions(options, ...)
  local count, arguments = select('#', ...), { ... }
  local template = arguments[1]
  if type(template) ~= 'string' then
    return rest({}, options, 1, count, arguments)
  elseif count == 1 then
    return template
  end
  local used = 1
  local filled = template:gsub('%%([%a%%])', function(letter)
    if letter == '%' then
      return '%'
    end
    local convert = conversions[letter]
    if not convert or used >= count then
      return nil
    end
    used = used + 1
    return convert(arguments[used], options)
  end)
  return rest({ filled }, options, used + 1, count, arguments)
end

--- Fills the template, appends what is left of the arguments; values that are not strings are inspected.
---@param ... any
---@return string
---@source Node.js util.format()
function format.format(...)
  return format.formatWithOptions(nil, ...)
end

return format

--- util.inspect: any value as text for people, in Node's style.
---
--- A sequence shows as [ 1, 2 ], another table as { key: value } with its keys sorted, an instance under
--- its class's name without the fields that begin with an underscore (unless showHidden is set).

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local received = require 'moonlatch.errors.received'

local type, tostring, pairs, ipairs, getmetatable, rawget = type, tostring, pairs, ipairs, getmetatable, rawget
local concat, sort, format, rep = table.concat, table.sort, string.format, string.rep

local module = {}

--- A table with a function under this key is shown as what that returns: f(self, depth, options, inspect).
local custom = setmetatable({}, { __tostring = function()
  return 'Symbol(util.inspect.custom)'
end })

local DEFAULTS = {
  depth = 2, colors = false, showHidden = false, maxArrayLength = 100, maxStringLength = 10000,
  breakLength = 80, compact = 3, sorted = true, customInspect = true,
}

-- The terminal's codes by kind of value, as Node has them.
local STYLES = {
  number = { 33, 39 }, boolean = { 33, 39 }, string = { 32, 39 }, ['nil'] = { 90, 39 },
  special = { 36, 39 }, name = { 39, 39 },
}

local formatValue

local function styled(context, text, style)
  local codes = context.colors and STYLES[style]
  if codes then
    return format('\27[%dm%s\27[%dm', codes[1], text, codes[2])
  end
  return text
end

local function formatString(context, value)
  local more = ''
  if #value > context.maxStringLength then
    local left = #value - context.maxStringLength
    value = value:sub(1, context.maxStringLength)
    more = format('... %d more character%s', left, left > 1 and 's' or '')
  end
  return styled(context, received.quote(value), 'string') .. more
end

local function formatKey(context, key)
  if type(key) == 'string' then
    if key:find('^[%a_][%w_]*$') then
      return key
    end
    return styled(context, received.quote(key), 'string')
  elseif type(key) == 'number' then
    return received.number(key)
  end
  return '[' .. tostring(key) .. ']'
end

local RANK = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local rankA, rankB = RANK[type(a)] or 4, RANK[type(b)] or 4
  if rankA ~= rankB then
    return rankA < rankB
  elseif rankA <= 2 then
    return a < b
  end
  return tostring(a) < tostring(b)
end

-- The keys that are not part of the sequence 1 … length.
local function otherKeys(context, value, length, isInstance)
  local keys = {}
  for key in pairs(value) do
    local inSequence = type(key) == 'number' and key >= 1 and key <= length and key % 1 == 0
    local hidden = isInstance and not context.showHidden and type(key) == 'string' and key:sub(1, 1) == '_'
    if not inSequence and not hidden and key ~= custom then
      keys[#keys + 1] = key
    end
  end
  sort(keys, before)
  return keys
end

local function describeClass(value)
  local super = value.super and ' extends ' .. value.super.__name or ''
  return format('[class %s%s]', value.__name, super)
end

-- What stands before the brace: the class, if any.
local function nameOf(value)
  local cls = class.of(value)
  if cls then
    return cls.__name
  end
  local meta = getmetatable(value)
  local name = type(meta) == 'table' and rawget(meta, '__name')
  return type(name) == 'string' and name or nil
end

local function entriesOf(context, value, depth, length, keys)
  local out = {}
  local shown = length < context.maxArrayLength and length or context.maxArrayLength
  context.indent = context.indent + 2
  for i = 1, shown do
    out[i] = formatValue(context, rawget(value, i), depth + 1)
  end
  if shown < length then
    out[#out + 1] = format('... %d more item%s', length - shown, length - shown > 1 and 's' or '')
  end
  for _, key in ipairs(keys) do
    out[#out + 1] = formatKey(context, key) .. ': ' .. formatValue(context, rawget(value, key), depth + 1)
  end
  context.indent = context.indent - 2
  return out
end

-- One line if it is short and not too deeply nested, else one entry a line.
local function join(context, out, opening, closing, depth)
  local start = #out + context.indent + #opening + 10
  local total = #out + start
  local multiline = false
  for _, entry in ipairs(out) do
    total = total + #entry
    multiline = multiline or entry:find('\n', 1, true) ~= nil
  end
  if not multiline and total <= context.breakLength and context.deepest - depth < context.compact then
    return opening .. ' ' .. concat(out, ', ') .. ' ' .. closing
  end
  local margin = '\n' .. rep(' ', context.indent)
  return opening .. margin .. '  ' .. concat(out, ',' .. margin .. '  ') .. margin .. closing
end

local function formatEntries(context, value, depth)
  local name = nameOf(value)
  local length = #value
  local keys = otherKeys(context, value, length, class.of(value) ~= nil)
  local isSequence = length > 0
  local opening, closing = '{', '}'
  if isSequence then
    opening, closing = '[', ']'
  end
  if name then
    opening = name .. (isSequence and format('(%d)', length) or '') .. ' ' .. opening
  end
  if depth > context.depth then
    return styled(context, format('[%s]', name or isSequence and 'Array' or 'Object'), 'special')
  end
  context.deepest = depth
  context.path[value] = true
  local out = entriesOf(context, value, depth, length, keys)
  context.path[value] = nil
  if context.circular[value] then
    opening = styled(context, format('<ref *%d>', context.circular[value]), 'special') .. ' ' .. opening
  end
  if #out == 0 then
    return opening .. closing
  end
  return join(context, out, opening, closing, depth)
end

local HIDDEN_IN_ERRORS = { message = true, stack = true, name = true }

local function formatError(context, value, depth)
  local text = tostring(rawget(value, 'stack') or value)
  if depth > 0 then
    text = text:gsub('\n', '\n' .. rep(' ', context.indent))
  end
  local fields = {}
  for key, field in pairs(value) do
    if not HIDDEN_IN_ERRORS[key] then
      fields[key] = field
    end
  end
  if next(fields) == nil or depth > context.depth then
    return depth > context.depth and format('[%s]', tostring(value)) or text
  end
  context.deepest = depth
  context.path[value] = true
  local out = entriesOf(context, fields, depth, 0, otherKeys(context, fields, 0, false))
  context.path[value] = nil
  local margin = '\n' .. rep(' ', context.indent)
  return text .. ' {' .. margin .. '  ' .. concat(out, ',' .. margin .. '  ') .. margin .. '}'
end

local function formatCustom(context, value, depth, inspector)
  local options = {}
  for key in pairs(DEFAULTS) do
    options[key] = context[key]
  end
  options.depth = context.depth - depth
  local shown = inspector(value, options.depth, options, module.inspect)
  if type(shown) == 'string' then
    return (shown:gsub('\n', '\n' .. rep(' ', context.indent)))
  end
  return formatValue(context, shown, depth)
end

local function formatTable(context, value, depth)
  if class.isClass(value) then
    return styled(context, describeClass(value), 'special')
  end
  local inspector = context.customInspect and value[custom]
  if type(inspector) == 'function' then
    return formatCustom(context, value, depth, inspector)
  end
  if context.path[value] then
    local index = context.circular[value]
    if not index then
      context.circles = context.circles + 1
      index = context.circles
      context.circular[value] = index
    end
    return styled(context, format('[Circular *%d]', index), 'special')
  end
  if class.isInstance(value, errors.Error) then
    return formatError(context, value, depth)
  end
  return formatEntries(context, value, depth)
end

local function formatUserdata(value)
  local meta = getmetatable(value)
  if type(meta) == 'table' and meta.__tostring then
    return tostring(value)
  end
  return format('[%s]', type(meta) == 'table' and meta.__name or 'userdata')
end

function formatValue(context, value, depth)
  local kind = type(value)
  if kind == 'string' then
    return formatString(context, value)
  elseif kind == 'number' then
    return styled(context, received.number(value), 'number')
  elseif kind == 'table' then
    return formatTable(context, value, depth)
  elseif kind == 'function' then
    return styled(context, '[Function (anonymous)]', 'special')
  elseif kind == 'userdata' then
    return styled(context, formatUserdata(value), 'special')
  elseif kind == 'thread' then
    return styled(context, format('[coroutine %s]', coroutine.status(value)), 'special')
  end
  return styled(context, tostring(value), kind)
end

---@class util.InspectOptions
---@field depth? number|false            2 when left out; false or math.huge for all
---@field colors? boolean
---@field showHidden? boolean
---@field maxArrayLength? number|false   100 when left out
---@field maxStringLength? number|false  10000 when left out
---@field breakLength? number            80 when left out
---@field compact? integer|boolean       3 when left out
---@field sorted? boolean                keys are always sorted
---@field customInspect? boolean         true when left out

--- Any value as text.
---@param value any
---@param options? util.InspectOptions
---@return string
---@source Node.js util.inspect()
function module.inspect(value, options)
  local context = { path = {}, circular = {}, circles = 0, indent = 0, deepest = 0 }
  for key, default in pairs(DEFAULTS) do
    local given
    if type(options) == 'table' then
      given = options[key]
    end
    if given == nil then
      given = default
    end
    context[key] = given
  end
  for _, limit in ipairs { 'depth', 'maxArrayLength', 'maxStringLength' } do
    context[limit] = context[limit] or math.huge
  end
  context.compact = context.compact == true and 3 or context.compact or 0
  return formatValue(context, value, 0)
end

module.custom = custom
module.defaultOptions = DEFAULTS

return module

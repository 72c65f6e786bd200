--- console: formatted output for people.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local format = require 'moonlatch.format'
local inspect = require 'moonlatch.inspect'

local ipairs, pairs, type, tostring, select = ipairs, pairs, type, tostring, select
local rep, concat = string.rep, table.concat

---@class console.Options
---@field stdout table|userdata    where log writes: what has a method write
---@field stderr? table|userdata   where error writes; stdout when left out
---@field groupIndentation? integer  2 when left out
---@field inspectOptions? util.InspectOptions

---@class Console
---@field log fun(...: any)
---@field info fun(...: any)
---@field debug fun(...: any)
---@field dirxml fun(...: any)
---@field error fun(...: any)
---@field warn fun(...: any)
---@field trace fun(...: any)
---@field assert fun(value: any, ...: any)
---@field dir fun(value: any, options?: util.InspectOptions)
---@field table fun(data: any, columns?: string[])
---@field group fun(...: any)
---@field groupCollapsed fun(...: any)
---@field groupEnd fun()
---@field count fun(label?: string)
---@field countReset fun(label?: string)
---@field time fun(label?: string)
---@field timeLog fun(label?: string, ...: any)
---@field timeEnd fun(label?: string)
---@field Console moonlatch.Class
---@overload fun(options: console.Options): Console
local Console = class('Console')

local function isSink(value)
  return (type(value) == 'table' or type(value) == 'userdata') and value.write ~= nil
end

local function checkSink(sink, name)
  if not isSink(sink) then
    error(errors.codes.ERR_CONSOLE_WRITABLE_STREAM(name), 0)
  end
  return sink
end

local function setUp(self, options)
  errors.validate.table(options, 'options')
  self._stdout = checkSink(options.stdout, 'stdout')
  self._stderr = options.stderr and checkSink(options.stderr, 'stderr') or self._stdout
  self._step = options.groupIndentation or 2
  self._inspectOptions = options.inspectOptions
  self._indent, self._timers, self._counts = '', {}, {}
end

local function writeLine(self, sink, text)
  if self._indent ~= '' then
    text = self._indent .. text:gsub('\n', '\n' .. self._indent)
  end
  sink:write(text .. '\n')
  if sink.flush then
    sink:flush()
  end
end

local function formatted(self, ...)
  return format.formatWithOptions(self._inspectOptions, ...)
end

-- Methods work with a dot, as in Node, on the console they are taken from: each console has its own bound
-- copies.
local methods = {}

function methods.log(self, ...)
  writeLine(self, self._stdout, formatted(self, ...))
end

function methods.error(self, ...)
  writeLine(self, self._stderr, formatted(self, ...))
end

methods.info, methods.debug, methods.warn = methods.log, methods.log, methods.error

--- The message and where we are.
function methods.trace(self, ...)
  local text = select('#', ...) > 0 and 'Trace: ' .. formatted(self, ...) or 'Trace'
  -- Reached by a tail call: level 2 is the script.
  local trace = debug.traceback('', 2):gsub('^\n?stack traceback:', '')
  writeLine(self, self._stderr, text .. trace)
end

--- Says so on stderr when `value` is false or nil.
function methods.assert(self, value, ...)
  if value then
    return
  end
  if select('#', ...) == 0 then
    methods.warn(self, 'Assertion failed')
  elseif type((...)) == 'string' then
    methods.warn(self, 'Assertion failed: ' .. (...), select(2, ...))
  else
    methods.warn(self, 'Assertion failed:', ...)
  end
end

--- One value, inspected with options.
function methods.dir(self, value, options)
  writeLine(self, self._stdout, inspect.inspect(value, options))
end

-- Seconds on a clock that only goes forward, or, without the runtime, the processor's time.
local function now()
  local ok, native = pcall(require, 'moonlatch.native')
  if ok and type(native) == 'table' and native.hrtime then
    return native.hrtime()
  end
  return os.clock()
end

local function duration(seconds)
  if seconds >= 60 then
    return ('%d:%06.3f (m:ss.mmm)'):format(math.floor(seconds / 60), seconds % 60)
  elseif seconds >= 1 then
    return ('%.3fs'):format(seconds)
  end
  return (('%.3f'):format(seconds * 1000):gsub('%.?0+$', '')) .. 'ms'
end

--- Starts a timer under a name.
function methods.time(self, label)
  label = tostring(label == nil and 'default' or label)
  if self._timers[label] then
    errors.emitWarning(("Label '%s' already exists for console.time()"):format(label))
    return
  end
  self._timers[label] = now()
end

local function showTimer(self, name, label, ...)
  label = tostring(label == nil and 'default' or label)
  local start = self._timers[label]
  if not start then
    errors.emitWarning(("No such label '%s' for console.%s()"):format(label, name))
    return label
  end
  methods.log(self, '%s: %s', label, duration(now() - start), ...)
  return label
end

--- Prints how long ago the timer was started.
function methods.timeLog(self, label, ...)
  showTimer(self, 'timeLog', label, ...)
end

--- Prints it and ends the timer.
function methods.timeEnd(self, label)
  self._timers[showTimer(self, 'timeEnd', label)] = nil
end

--- Prints how often it has been called with this label.
function methods.count(self, label)
  label = tostring(label == nil and 'default' or label)
  self._counts[label] = (self._counts[label] or 0) + 1
  methods.log(self, label .. ': ' .. self._counts[label])
end

function methods.countReset(self, label)
  label = tostring(label == nil and 'default' or label)
  if not self._counts[label] then
    errors.emitWarning(("Count for '%s' does not exist"):format(label))
  end
  self._counts[label] = nil
end

--- Prints and indents what follows.
function methods.group(self, ...)
  if select('#', ...) > 0 then
    methods.log(self, ...)
  end
  self._indent = self._indent .. rep(' ', self._step)
end

function methods.groupEnd(self)
  self._indent = self._indent:sub(1, #self._indent - self._step)
end

-- The width of text on a terminal, taking each character as one column.
local function width(text)
  local _, continuations = text:gsub('[\128-\191]', '')
  return #text - continuations
end

local function drawTable(head, rows)
  local widths = {}
  for column, title in ipairs(head) do
    widths[column] = width(title) + 2
    for _, row in ipairs(rows) do
      widths[column] = math.max(widths[column], width(row[column]) + 2)
    end
  end
  local function rule(left, middle, right)
    local parts = {}
    for column, size in ipairs(widths) do
      parts[column] = rep('─', size)
    end
    return left .. concat(parts, middle) .. right
  end
  local function line(cells)
    local parts = {}
    for column, cell in ipairs(cells) do
      parts[column] = ' ' .. cell .. rep(' ', widths[column] - width(cell) - 1)
    end
    return '│' .. concat(parts, '│') .. '│'
  end
  local lines = { rule('┌', '┬', '┐'), line(head), rule('├', '┼', '┤') }
  for _, row in ipairs(rows) do
    lines[#lines + 1] = line(row)
  end
  lines[#lines + 1] = rule('└', '┴', '┘')
  return concat(lines, '\n')
end

local function sortedKeys(data)
  local keys = {}
  for key in pairs(data) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == 'number' or type(a) == 'string') then
      return a < b
    end
    return type(a) == 'number' or type(b) ~= 'number' and tostring(a) < tostring(b)
  end)
  return keys
end

local function columnsOf(data, keys)
  local columns, seen, hasValues = {}, {}, false
  for _, key in ipairs(keys) do
    if type(data[key]) == 'table' then
      for _, column in ipairs(sortedKeys(data[key])) do
        if not seen[column] then
          seen[column] = true
          columns[#columns + 1] = column
        end
      end
    else
      hasValues = true
    end
  end
  return columns, hasValues
end

--- A table of tables (or values) as rows and columns.
function methods.table(self, data, only)
  if type(data) ~= 'table' then
    methods.log(self, data)
    return
  end
  local keys = sortedKeys(data)
  local columns, hasValues = columnsOf(data, keys)
  columns = only or columns
  local head = { '(index)' }
  for _, column in ipairs(columns) do
    head[#head + 1] = tostring(column)
  end
  if hasValues then
    head[#head + 1] = 'Values'
  end
  local rows = {}
  for _, key in ipairs(keys) do
    local row, value = { tostring(key) }, data[key]
    for _, column in ipairs(columns) do
      local cell = type(value) == 'table' and value[column]
      row[#row + 1] = type(value) == 'table' and cell ~= nil and inspect.inspect(cell, { depth = 0 }) or ''
    end
    if hasValues then
      row[#row + 1] = type(value) ~= 'table' and inspect.inspect(value) or ''
    end
    rows[#rows + 1] = row
  end
  writeLine(self, self._stdout, drawTable(head, rows))
end

methods.groupCollapsed, methods.dirxml = methods.group, methods.log

-- A console's methods may be called with a dot or, in Lua's way, with a colon.
local function bind(self)
  for name, method in pairs(methods) do
    self[name] = function(...)
      if rawequal((...), self) then
        return method(...)
      end
      return method(self, ...)
    end
  end
  return self
end

---@param options console.Options|table|userdata  or where log writes
---@param stderr? table|userdata                   where error writes, in the latter case
---@source Node.js console.Console
function Console:init(options, stderr)
  if isSink(options) then
    options = { stdout = options, stderr = stderr }
  end
  setUp(self, options)
  bind(self)
end

local console = Console { stdout = io.stdout, stderr = io.stderr }
console.Console = Console

return console

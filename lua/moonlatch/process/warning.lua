--- process.emitWarning: from the library's own warnings and a script's to the 'warning' event or stderr.

local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'

local type, tostring = type, tostring
local options = native.options

local function text(value)
  return type(value) == 'string'
end

-- emitWarning(warning[, options]), or (warning[, type[, code]]), as fields.
local function fieldsOf(kind, code)
  local detail
  if type(kind) == 'table' then
    kind, code, detail = kind.type, kind.code, kind.detail
    if not text(detail) then
      detail = nil
    end
  end
  if type(kind) == 'function' then
    kind, code = nil, nil
  elseif type(code) == 'function' then
    code = nil
  end
  if kind ~= nil then
    errors.validate.string(kind, 'type')
  end
  if code ~= nil then
    errors.validate.string(code, 'code')
  end
  return kind, code, detail
end

--- What stderr gets for a warning: "(moonlatch:123) [DEP0123] DeprecationWarning: …".
---@param pid integer
---@param warning Error
---@return string
local function describe(pid, warning)
  local name, code = warning.name or 'Warning', warning.code
  local deprecation = name == 'DeprecationWarning'
  local line = ('(moonlatch:%d) '):format(pid)
  if code ~= nil then
    line = line .. '[' .. tostring(code) .. '] '
  end
  local traced = options['trace-warnings'] or deprecation and options['trace-deprecation']
  if traced and text(warning.stack) then
    line = line .. warning.stack
  else
    line = line .. tostring(name) .. ': ' .. tostring(warning.message)
  end
  if text(warning.detail) then
    line = line .. '\n' .. warning.detail
  end
  return line .. '\n'
end

---@param process moonlatch.Process
return function(process)
  local function deliver(warning)
    if process:emit('warning', warning) or options['no-warnings'] then
      return
    end
    native.process.writeSync(2, describe(process.pid, warning))
  end

  local function warn(warning)
    if warning.name == 'DeprecationWarning' then
      if process.noDeprecation then
        return
      end
      if process.throwDeprecation then
        error(warning, 0)
      end
    end
    tick.nextTick(deliver, warning)
  end

  --- Emits a warning: a message with a type and a code, or an Error. It reaches 'warning' listeners
  --- in the next tick, and stderr when there are none.
  ---
  --- Raises ERR_INVALID_ARG_TYPE, and the warning itself where deprecations are to be raised.
  ---@param warning string|Error
  ---@param kind? string|{ type?: string, code?: string, detail?: string }
  ---@param code? string
  ---@source Node.js process.emitWarning()
  function process.emitWarning(warning, kind, code)
    local detail
    kind, code, detail = fieldsOf(kind, code)
    if text(warning) then
      warning = errors.new(warning, { name = kind or 'Warning', code = code, detail = detail })
    elseif not errors.isError(warning) then
      error(errors.argType('warning', { 'string', 'Error' }, warning), 0)
    end
    warn(warning)
  end

  errors.warn = warn
end

--- Argument checks that raise the right Error, named like the types they ask for.

local class = require 'moonlatch.class'

local type, pairs, ipairs, floor, huge = type, pairs, ipairs, math.floor, math.huge

return function(errors)
  ---@class moonlatch.validate
  local validate = {}

  local function raise(err)
    error(err, 0)
  end

  for name, luaType in pairs { string = 'string', boolean = 'boolean' } do
    validate[name] = function(value, argument)
      if type(value) ~= luaType then
        raise(errors.argType(argument, luaType, value))
      end
      return value
    end
  end

  --- A string that C can be given: without null bytes, behind which it would see nothing.
  function validate.cString(value, argument)
    validate.string(value, argument)
    if value:find('\0', 1, true) then
      raise(errors.argValue(argument, value, 'must be a string without null bytes'))
    end
    return value
  end

  local function rangeText(min, max)
    if min and max then
      return ('>= %s && <= %s'):format(tostring(min), tostring(max))
    elseif min then
      return '>= ' .. tostring(min)
    end
    return '<= ' .. tostring(max)
  end

  --- A number; NaN is one unless limits are given.
  function validate.number(value, argument, min, max)
    if type(value) ~= 'number' then
      raise(errors.argType(argument, 'number', value))
    end
    if min and value < min or max and value > max or (min or max) and value ~= value then
      raise(errors.range(argument, rangeText(min, max), value))
    end
    return value
  end

  --- A number without fraction, by default one that a double holds exactly.
  function validate.integer(value, argument, min, max)
    if type(value) ~= 'number' then
      raise(errors.argType(argument, 'number', value))
    end
    if value ~= floor(value) or value == huge or value == -huge then
      raise(errors.range(argument, 'an integer', value))
    end
    min, max = min or -9007199254740991, max or 9007199254740991
    if value < min or value > max then
      raise(errors.range(argument, ('>= %.14g && <= %.16g'):format(min, max), value))
    end
    return value
  end

  --- Is `value` something that can be called?
  function validate.isCallable(value)
    if type(value) == 'function' then
      return true
    end
    local meta = getmetatable(value)
    return type(meta) == 'table' and meta.__call ~= nil
  end

  --- A function, or a table or userdata that can be called like one.
  function validate.func(value, argument)
    if not validate.isCallable(value) then
      raise(errors.argType(argument, 'function', value))
    end
    return value
  end

  --- A table (Node says "object").
  function validate.table(value, argument)
    if type(value) ~= 'table' then
      raise(errors.argType(argument, 'object', value))
    end
    return value
  end

  --- A table of options, or nothing.
  function validate.options(value, argument)
    if value ~= nil and type(value) ~= 'table' then
      raise(errors.argType(argument or 'options', 'object', value))
    end
    return value
  end

  --- A TCP port, a number or a string of digits; returned as a number.
  function validate.port(value, argument, allowZero)
    local port = value
    if type(value) == 'string' and value:find('^%s*%d+%s*$') or
      type(value) == 'string' and value:find('^%s*0[xX]%x+%s*$') then
      port = tonumber(value)
    end
    local lowest = allowZero == false and 1 or 0
    if type(port) ~= 'number' or port ~= floor(port) or port < lowest or port > 65535 then
      raise(errors.codes.ERR_SOCKET_BAD_PORT(argument or 'Port', value, allowZero ~= false))
    end
    return port
  end

  --- An AbortSignal, or nothing.
  function validate.abortSignal(value, argument)
    if value == nil then
      return nil
    end
    if not class.isInstance(value, require('moonlatch.abort').AbortSignal) then
      raise(errors.argType(argument, 'AbortSignal', value))
    end
    return value
  end

  --- One of a list of values.
  function validate.oneOf(value, argument, allowed)
    local names = {}
    for i, candidate in ipairs(allowed) do
      if candidate == value then
        return value
      end
      names[i] = type(candidate) == 'string' and ("'%s'"):format(candidate) or tostring(candidate)
    end
    raise(errors.argValue(argument, value, 'must be one of: ' .. table.concat(names, ', ')))
  end

  return validate
end

--- The call forms that net and tls share, and the process-wide defaults of connecting.

local errors = require 'moonlatch.errors'

local type, select, tonumber = type, select, tonumber
local isCallable = errors.validate.isCallable

local arguments = {}

-- What net.setDefaultAutoSelectFamily and its kin change.
arguments.autoSelectFamily = true
arguments.autoSelectFamilyAttemptTimeout = 250

-- A shorter attempt would give up on connections that merely cross the world.
local SHORTEST_ATTEMPT = 10

--- A number, or a string that is one: not below 0. Node's test for what is a port and what a path.
---@param value any
---@return number|false
function arguments.toNumber(value)
  local kind = type(value)
  local number = (kind == 'number' or kind == 'string') and tonumber(value)
  return number and number >= 0 and number or false
end

local function isOptions(value)
  return type(value) == 'table' and not isCallable(value)
end

--- Sorts (port [, host] …), (path …) or (options …), each with an optional callback at the end, into a new
--- table of options, the callback, and the table the caller gave, if any.
---@param ... any
---@return table options
---@return function? callback
---@return table? given
function arguments.normalize(...)
  local count = select('#', ...)
  local first, second = ...
  local options, given = {}, nil
  if isOptions(first) then
    given = first
    for key, value in pairs(first) do
      options[key] = value
    end
  elseif type(first) == 'string' and not arguments.toNumber(first) then
    options.path = first
  elseif count > 0 and not (first ~= nil and isCallable(first)) then
    options.port = first
    if type(second) == 'string' then
      options.host = second
    end
  end
  local callback = count > 0 and select(count, ...) or nil
  if callback == nil or callback == given or not isCallable(callback) then
    callback = nil
  end
  return options, callback, given
end

--- Checks an attempt timeout; one that makes no sense is raised to 10 ms.
---@param value any
---@param name string
---@return integer
function arguments.attemptTimeout(value, name)
  errors.validate.integer(value, name, 1, 2147483647)
  return value < SHORTEST_ATTEMPT and SHORTEST_ATTEMPT or value
end

--- Seconds for TCP_KEEPIDLE from milliseconds; below zero counts as none.
---@param ms any
---@param name string
---@return integer
function arguments.keepAliveDelay(ms, name)
  if ms == nil then
    return 0
  end
  errors.validate.number(ms, name)
  return ms > 0 and math.floor(ms / 1000) or 0
end

return arguments

--- Callbacks of the script's that answer in either of two forms: by what they return, as Node's do, or through a
--- function that they get behind their arguments, now or later.
local errors = require 'moonlatch.errors'
local parameters = require 'moonlatch.tls.parameters'

local select, xpcall = select, xpcall

local M = {}

-- Returning nil means "none" in the first form and nothing at all in the second. A function that declares the
-- parameter for the answer is of the second; one with `...` is when it returns no value, rather than nil.
local function answersLater(callback, position, returned)
  local count, vararg = parameters(callback)
  return count >= position or vararg and returned == 0
end

--- Calls `callback` with the arguments and a function behind them. `answer(err, value)` gets each answer that comes;
--- what the callback raises is one with an error.
---@param callback function
---@param answer fun(err: any, value: any)
---@param ... any  the callback's arguments
---@return boolean answered  false: the answer may yet come
function M.call(callback, answer, ...)
  local position = select('#', ...) + 1
  local arguments = { ... }
  local called = false
  arguments[position] = function(err, value)
    called = true
    answer(err, value)
  end
  local function conclude(ok, ...)
    local value = ...
    if not ok then
      answer(value)
    elseif called then
      return true
    elseif value == nil and answersLater(callback, position, select('#', ...)) then
      return false
    else
      answer(nil, value)
    end
    return true
  end
  return conclude(xpcall(callback, errors.from, unpack(arguments, 1, position)))
end

return M

--- Signals by name and by number.
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'

local type, pairs, tostring, floor = type, pairs, tostring, math.floor

local signals = {}

---@type table<string, integer>
signals.numbers = native.constants 'signals'

-- Second names that a number has for reasons of history.
local ALIASES = { SIGIOT = true, SIGPOLL = true }

local names

--- The name that Node has for a number; nil for what is no signal.
---@param number integer
---@return string?
function signals.name(number)
  if not names then
    names = {}
    for name, value in pairs(signals.numbers) do
      if not ALIASES[name] then
        names[value] = name
      end
    end
  end
  return names[number]
end

--- Is `value` a number that the system takes as it is? Cut off at 32 bits another would mean something else.
---@param value any
---@return boolean
function signals.isInt32(value)
  return type(value) == 'number' and value == floor(value) and value >= -2 ^ 31 and value < 2 ^ 31
end

--- The number of what a script calls a signal: a name, or a number, which may be 0.
---
--- Raises ERR_UNKNOWN_SIGNAL.
---@param signal? string|integer  SIGTERM when left out
---@return integer
function signals.number(signal)
  if signals.isInt32(signal) then
    return signal
  end
  local number = signals.numbers[signal == nil and 'SIGTERM' or signal]
  if not number then
    error(errors.codes.ERR_UNKNOWN_SIGNAL(tostring(signal)), 0)
  end
  return number
end

return signals

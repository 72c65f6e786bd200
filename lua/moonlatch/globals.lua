--- The globals that the program has and a host of the module may ask for.

local tick = require 'moonlatch.tick'

local globals = {}

--- Calls `callback` as soon as the code running now has returned to the loop.
---@param callback fun()
local function queueMicrotask(callback)
  require('moonlatch.errors').validate.func(callback, 'callback')
  tick.nextTick(callback)
end

-- ipairs of Lua 5.2: what is no table may have a metamethod __ipairs. LuaJIT can be built with it, and mostly is not.
local function honouring(ipairs)
  local probe = newproxy(true)
  getmetatable(probe).__ipairs = function() end
  if pcall(ipairs, probe) then
    return ipairs
  end
  return function(list)
    local metatable = type(list) == 'userdata' and debug.getmetatable(list)
    if metatable and metatable.__ipairs then
      return metatable.__ipairs(list)
    end
    return ipairs(list)
  end
end

--- Sets the globals in `target`.
---@param target? table  _G when left out
function globals.install(target)
  target = target or _G
  local timers = require 'timers'
  for _, name in ipairs { 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate',
    'clearImmediate' } do
    target[name] = timers[name]
  end
  local errors = require 'moonlatch.errors'
  target.Error, target.TypeError, target.RangeError = errors.Error, errors.TypeError, errors.RangeError
  local abort = require 'moonlatch.abort'
  target.AbortController, target.AbortSignal = abort.AbortController, abort.AbortSignal
  target.queueMicrotask = queueMicrotask
  target.ipairs = honouring(ipairs)
  target.process = require 'process'
  target.console = require 'console'
end

return globals

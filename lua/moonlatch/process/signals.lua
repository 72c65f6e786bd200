--- Signals as events of process. A listener for 'SIGINT' takes the signal's default action away;
--- when the last one goes, the default is back. Waiting for signals does not keep the loop open.

local native = require 'moonlatch.native'

local numbers = require('moonlatch.signals').numbers

native.handlers('signal', {
  signal = function(owner)
    owner.process:emit(owner.name, owner.name, owner.number)
  end,
})

---@param process moonlatch.Process
return function(process)
  local watching = {} -- name → { handle, … }

  local function watch(name)
    if not numbers[name] or watching[name] then
      return
    end
    local owner = { process = process, name = name, number = numbers[name], handle = native.signal() }
    local ok, err = owner.handle:start(owner, owner.number)
    if not ok then
      error(err, 0)
    end
    watching[name] = owner
  end

  local function unwatch(name)
    local owner = watching[name]
    if owner and process:listenerCount(name) == 0 then
      watching[name] = nil
      owner.handle:stop()
    end
  end

  process:on('newListener', watch)
  process:on('removeListener', unwatch)
end

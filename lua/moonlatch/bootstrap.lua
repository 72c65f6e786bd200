--- Joins the Lua side to the loop: ticks, uncaught errors. Loaded before any script, by the program
--- and the module.

local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'

tick.wake = native.tickPending
native.setDrain(tick.drain)
if tick.pending() then
  native.tickPending()
end

require 'process'
require 'timers'

return true

--- Joins the Lua side to the loop: ticks, uncaught errors. Loaded before any script, by the program
--- and the module.

local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'

native.setDrain(tick.drain, tick.waiting)

require 'process'
require 'timers'

return true

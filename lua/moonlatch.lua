--- moonlatch as a module: `require 'moonlatch'` from a stock luajit makes `tls`, `net` and the rest
--- available to `require`; `run` is what the program does after a script's last line.

require 'moonlatch.bootstrap'

local native = require 'moonlatch.native'

---@class moonlatch
---@field version string
local moonlatch = { version = native.version }

--- Runs the event loop until nothing that keeps it open is left, or `stop` is called.
function moonlatch.run()
  native.run()
end

--- Makes the innermost `run` return after the callback that is running.
function moonlatch.stop()
  native.stop()
end

--- Sets the globals that the moonlatch program has: process, console, setTimeout, Error and so on.
---@param target? table  _G when left out
function moonlatch.install(target)
  require('moonlatch.globals').install(target)
end

return moonlatch

--- Programs that this process has started: native.spawn(owner, …) tells owner:_onResult(status, signal) when one ends.
local native = require 'moonlatch.native'

native.handlers('child', {
  result = function(owner, status, signal)
    owner:_onResult(status, signal)
  end,
})

return native.spawn

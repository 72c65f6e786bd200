--- Destroys a stream when a signal is aborted.

local errors = require 'moonlatch.errors'
local abort = require 'moonlatch.abort'

local abortSignal = {}

--- Destroys `stream` with an AbortError when `signal` is aborted.
---@param signal AbortSignal
---@param stream table
function abortSignal.attach(signal, stream)
  errors.validate.abortSignal(signal, 'signal')
  local function onAbort()
    stream:destroy(errors.AbortError(nil, { cause = signal.reason }))
  end
  if signal.aborted then
    onAbort()
    return
  end
  local remove = abort.addAbortListener(signal, onAbort)
  require('moonlatch.stream.finished').finished(stream, remove)
end

return abortSignal

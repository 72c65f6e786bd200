--- Stream: what all streams are, an EventEmitter with the plainest of pipes.

local class = require 'moonlatch.class'
local EventEmitter = require('moonlatch.emitter').EventEmitter

---@class Stream : EventEmitter
---@overload fun(): Stream
local Stream = class('Stream', EventEmitter)

--- Passes 'data' to dest:write and obeys its backpressure, through the events of the oldest streams.
--- Readable has a pipe of its own.
---@param dest table
---@param options? { end: boolean }
---@return table dest
---@source Node.js stream.pipe()
function Stream:pipe(dest, options)
  local function onData(chunk)
    if dest.writable and dest:write(chunk) == false and self.pause then
      self:pause()
    end
  end
  local function onDrain()
    if self.readable and self.resume then
      self:resume()
    end
  end
  local ended = false
  local function onEnd()
    if not ended then
      ended = true
      dest:finish()
    end
  end
  local function onClose()
    if not ended then
      ended = true
      if type(dest.destroy) == 'function' then
        dest:destroy()
      end
    end
  end
  local onErrorOfSource, onErrorOfDest
  local function cleanup()
    self:removeListener('data', onData)
    dest:removeListener('drain', onDrain)
    self:removeListener('end', onEnd)
    self:removeListener('close', onClose)
    self:removeListener('error', onErrorOfSource)
    dest:removeListener('error', onErrorOfDest)
    self:removeListener('end', cleanup)
    self:removeListener('close', cleanup)
    dest:removeListener('close', cleanup)
  end
  local function errorListener(emitter)
    return function(err)
      cleanup()
      if emitter:listenerCount('error') == 0 then
        emitter:emit('error', err)
      end
    end
  end
  onErrorOfSource, onErrorOfDest = errorListener(self), errorListener(dest)

  self:on('data', onData)
  dest:on('drain', onDrain)
  if not dest._isStdio and not (options and options['end'] == false) then
    self:on('end', onEnd)
    self:on('close', onClose)
  end
  self:prependListener('error', onErrorOfSource)
  dest:prependListener('error', onErrorOfDest)
  self:on('end', cleanup)
  self:on('close', cleanup)
  dest:on('close', cleanup)
  dest:emit('pipe', self)
  return dest
end

return Stream

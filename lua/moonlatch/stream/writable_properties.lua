--- The properties of Writable.

local class = require 'moonlatch.class'

---@param Writable moonlatch.Class
return function(Writable)
  class.getter(Writable, 'writable', function(self)
    local ws = self._writableState
    return ws ~= nil and ws.writable ~= false and not ws.destroyed and not ws.errored and not ws.ending
      and not ws.ended
  end)

  -- Properties that read one field of the state.
  for property, field in pairs {
    destroyed = 'destroyed', closed = 'closed', errored = 'errored', writableEnded = 'ending',
    writableFinished = 'finished', writableLength = 'length', writableHighWaterMark = 'highWaterMark',
    writableObjectMode = 'objectMode', writableCorked = 'corked',
  } do
    class.getter(Writable, property, function(self)
      local ws = self._writableState
      return ws and ws[field]
    end)
  end

  class.getter(Writable, 'writableNeedDrain', function(self)
    local ws = self._writableState
    return ws ~= nil and not ws.destroyed and not ws.ending and ws.needDrain
  end)

  class.getter(Writable, 'writableAborted', function(self)
    local ws = self._writableState
    return ws.writable ~= false and (ws.destroyed or ws.errored ~= nil) and not ws.finished
  end)

  class.getter(Writable, 'writableBuffer', function(self)
    local ws = self._writableState
    local list = {}
    for i = 1, ws.bufferedRequestCount do
      local place = ws.firstBuffered + i - 1
      list[i] = { chunk = ws.chunks[place], encoding = ws.encodings[place], callback = ws.callbacks[place] }
    end
    return list
  end)
end

--- The properties of Readable.

local class = require 'moonlatch.class'

---@param Readable moonlatch.Class
return function(Readable)
  class.getter(Readable, 'readable', function(self)
    local rs = self._readableState
    return rs ~= nil and rs.readable ~= false and not rs.destroyed and not rs.errorEmitted and not rs.endEmitted
  end)

  -- Properties that read one field of the state.
  for property, field in pairs {
    destroyed = 'destroyed', closed = 'closed', errored = 'errored', readableEnded = 'endEmitted',
    readableFlowing = 'flowing', readableLength = 'length', readableHighWaterMark = 'highWaterMark',
    readableEncoding = 'encoding', readableObjectMode = 'objectMode', readableDidRead = 'dataEmitted',
  } do
    class.getter(Readable, property, function(self)
      local rs = self._readableState
      return rs and rs[field]
    end)
  end

  class.getter(Readable, 'readableAborted', function(self)
    local rs = self._readableState
    return rs.readable ~= false and (rs.destroyed or rs.errored ~= nil) and not rs.endEmitted
  end)

  class.getter(Readable, 'readableBuffer', function(self)
    local buffer = self._readableState.buffer
    return buffer and buffer:list() or {}
  end)
end

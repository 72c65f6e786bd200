--- socket:peek: what a peer says first, without taking it out of the stream.

local errors = require 'moonlatch.errors'

local codes, validate = errors.codes, errors.validate
local nextTick = require('moonlatch.tick').nextTick

-- What is read at most before anybody takes it.
local LIMIT = 65536

---@param Socket moonlatch.Class
return function(Socket)
  local function look(rs, size)
    if rs.length == 0 then
      return ''
    end
    return rs.buffer:peek(size)
  end

  --- Calls `callback(err, bytes)` with the first `size` bytes that are to be read next, as soon as they are there; with
  --- fewer when the peer ends before. They stay in the stream: whoever reads it afterwards, TLS too, gets them. Until
  --- then the socket does not flow.
  ---
  --- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE, and ERR_INVALID_STATE on a socket made with `onread`. The callback
  --- gets the error of a socket that fails, ERR_STREAM_PREMATURE_CLOSE when it is closed.
  ---@param size integer  1 to 65536
  ---@param callback fun(err: any, bytes?: string)
  ---@return self
  function Socket:peek(size, callback)
    validate.integer(size, 'size', 1, LIMIT)
    validate.func(callback, 'callback')
    if self._onread then
      error(codes.ERR_INVALID_STATE('a socket made with onread buffers nothing'), 0)
    end
    local rs = self._readableState
    local over = false
    local onReadable, onError, onClose
    local function answer(err, bytes)
      over = true
      local paused = rs.paused
      self:removeListener('readable', onReadable)
      self:removeListener('error', onError)
      self:removeListener('close', onClose)
      -- In a tick the stream finds that out by itself: too late for a 'readable' listener of the callback's.
      rs.readableListening = self:listenerCount('readable') > 0
      callback(err, bytes)
      if paused and rs.paused then
        nextTick(self.pause, self) -- it was, and is not set flowing by our going
      end
    end
    function onReadable()
      if not over and (rs.length >= size or rs.ended) then
        answer(nil, look(rs, size))
      end
    end
    function onError(err)
      answer(err)
    end
    function onClose()
      answer(self.errored or codes.ERR_STREAM_PREMATURE_CLOSE())
    end
    if rs.highWaterMark < size then
      rs.highWaterMark = size
    end
    self:on('readable', onReadable)
    self:on('error', onError)
    self:on('close', onClose)
    nextTick(function()
      if self.destroyed and not over then
        onClose()
      else
        onReadable()
      end
    end)
    return self
  end
end

--- What sets a Readable flowing and what stops it: listeners, resume and pause.

local tick = require 'moonlatch.tick'
local Stream = require 'moonlatch.stream.legacy'

local nextTick = tick.nextTick

---@param Readable moonlatch.Class
---@param emitReadable fun(stream: table)  announces what is in the buffer in the next tick
---@param flow fun(stream: table)  gives out what is in the buffer
return function(Readable, emitReadable, flow)
  local function readNothing(self)
    self:read(0)
  end

  local function updateReadableListening(self)
    local rs = self._readableState
    rs.readableListening = self:listenerCount('readable') > 0
    if rs.resumeScheduled and rs.paused == false then
      -- Flowing is wanted; it begins when the scheduled resume runs.
      rs.flowing = true
    elseif self:listenerCount('data') > 0 then
      self:resume()
    elseif not rs.readableListening then
      rs.flowing = nil
    end
  end

  local function onReadableListener(self, rs)
    if rs.endEmitted or rs.readableListening then
      return
    end
    rs.readableListening, rs.needReadable = true, true
    rs.flowing, rs.emittedReadable = false, false
    if rs.length > 0 then
      emitReadable(self)
    elseif not rs.reading then
      nextTick(readNothing, self)
    end
  end

  --- As EventEmitter's; a 'data' listener sets the stream flowing unless it was paused, a 'readable'
  --- listener takes the flow over.
  ---@param name any
  ---@param listener function
  ---@return self
  ---@source Node.js readable.on()
  function Readable:on(name, listener)
    Stream.on(self, name, listener)
    if name == 'data' then
      local rs = self._readableState
      local listening = self:listenerCount('readable') > 0
      if listening then
        rs.readableListening = true
      end
      if rs.flowing ~= false then
        self:resume()
      end
    elseif name == 'readable' then
      onReadableListener(self, self._readableState)
    end
    return self
  end

  Readable.addListener = Readable.on

  --- As EventEmitter's; when the last 'readable' listener goes, the stream flows if there is one for 'data'.
  ---@param name any
  ---@param listener function
  ---@return self
  ---@source Node.js readable.removeListener()
  function Readable:removeListener(name, listener)
    Stream.removeListener(self, name, listener)
    if name == 'readable' then
      -- In a tick, so that a listener may be replaced by another without the stream starting to flow in
      -- between.
      nextTick(updateReadableListening, self)
    end
    return self
  end

  Readable.off = Readable.removeListener

  --- As EventEmitter's, with the same consequence.
  ---@param name? any
  ---@return self
  ---@source Node.js readable.removeAllListeners()
  function Readable:removeAllListeners(name)
    Stream.removeAllListeners(self, name)
    if name == 'readable' or name == nil then
      nextTick(updateReadableListening, self)
    end
    return self
  end

  local function resumeNow(self, rs)
    if not rs.reading then
      self:read(0)
    end
    rs.resumeScheduled = false
    self:emit('resume')
    flow(self)
    if rs.flowing and not rs.reading then
      self:read(0)
    end
  end

  --- Lets the data flow, from the next tick on. A 'readable' listener keeps precedence.
  ---@return self
  ---@source Node.js readable.resume()
  function Readable:resume()
    local rs = self._readableState
    if not rs.flowing then
      rs.flowing = not rs.readableListening
      if not rs.resumeScheduled then
        rs.resumeScheduled = true
        nextTick(resumeNow, self, rs)
      end
    end
    rs.paused = false
    return self
  end

  --- Stops 'data' until resume().
  ---@return self
  ---@source Node.js readable.pause()
  function Readable:pause()
    local rs = self._readableState
    if rs.flowing ~= false then
      rs.flowing = false
      self:emit('pause')
    end
    rs.paused = true
    return self
  end

  --- Is the stream paused, by pause() or because something else does the reading?
  ---@return boolean
  ---@source Node.js readable.isPaused()
  function Readable:isPaused()
    local rs = self._readableState
    return rs.paused == true or rs.flowing == false
  end
end

--- How a socket ends: shutdown, destruction, and what either does to writes that are under way.

local errors = require 'moonlatch.errors'
local connecting = require 'moonlatch.net.connecting'
local defer = require('moonlatch.immediate').defer
local destroy = require 'moonlatch.stream.destroy'
local direct = require 'moonlatch.stream.direct'
local earlyWrite = require 'moonlatch.net.early_write'
local nextTick = require('moonlatch.tick').nextTick
local nop = require('moonlatch.stream.write_buffer').nop

local codes = errors.codes

local function final(self, done)
  if self.connecting then
    self._pendingFinal = done
    return
  elseif not self._handle then
    local above = self._above
    if not self._lent then
      self._pendingFinal = nop -- over for the script; the peer hears of it should there be one
    elseif above and not above.writableEnded then
      above:finish()
    end
    done(self)
    return
  end
  local shut, err = self._handle:shutdown()
  if shut then
    done(self)
  elseif shut == false then
    self._finalDone = done
  else
    done(self, err)
  end
end

local function emitClose(self, hadError)
  self:emit('close', hadError)
  earlyWrite.fail(self) -- if somebody has removed the listener
end

-- The script ended the socket itself, which is no failure of the stream's, but it is this write's.
local function failOwnWrite(ws)
  local own = ws.writecb
  ws.writecb = function()
    own(codes.ERR_STREAM_DESTROYED('write'))
  end
end

-- A write that the handle had not finished: its callback hears of it before 'error' comes. One that it had not been
-- given hears of it with 'close'.
local function failWrites(self, err)
  local callback = self._writeCallback
  earlyWrite.lose(self)
  if self._finalDone or self._pendingFinal then
    self._finalDone, self._pendingFinal = false, false
  end
  if not callback then
    return
  end
  self._writeCallback = false
  if not err then
    failOwnWrite(self._writableState)
  end
  nextTick(callback, err)
end

local function closeHandle(self)
  local handle = self._handle
  if not handle then
    return
  end
  self._bytesRead, self._bytesWritten = handle:bytesRead(), handle:bytesWritten()
  self._handle, self._sockname, self._reading = nil, nil, false
  if self._resetAndClosing then
    handle:reset()
  else
    handle:close()
  end
end

-- What 'close' says, which is Node's. A failure of the stream below TLS, or of TLS on a connection that was there, is
-- 'told' by an 'error' event alone; one of a 'handshake', which a server tells and no such event, counts.
local function hadError(self, err)
  local failure = self._failure
  if failure then
    return failure == 'handshake'
  end
  return err and true or false
end

local function destroyDirectly(self, done, err, callback)
  self.connecting = false
  if self._wantsRead or self._leftover then -- a field that is set takes a place in the table, whatever it is set to
    self._wantsRead, self._leftover = false, false
  end
  connecting.stop(self)
  local hadHandle = self._handle ~= nil
  closeHandle(self)
  if self._waiting then
    self:_timeWithoutHandle(0)
  end
  failWrites(self, err)
  done(self, err, callback)
  if hadHandle then
    -- With the descriptors that this turn of the loop has closed: whoever waits for the last connection of a server,
    -- or for an immediate, is told before.
    defer(emitClose, self, hadError(self, err))
  elseif self._lent or self.encrypted then
    nextTick(emitClose, self, hadError(self, err))
  else
    nextTick(emitClose, self) -- as in Node, where it says nothing of a socket that never had a connection to lose
  end
  local server = self._server
  if server then
    self._server = false
    server:_connectionClosed()
  end
end

-- Not by destroySoon: an end sent first would hide the reset from the peer.
local function reset(self)
  self._resetAndClosing = true
  self:destroy()
end

-- What had been written when the reset was asked for goes first.
local function resetWhenConnected(self)
  local writeFirst = self._pendingCallback
  self:once('connect', function()
    if writeFirst then
      self:_sendPending()
    end
    reset(self)
  end)
end

---@param Socket moonlatch.Class
return function(Socket)
  function Socket:_final(callback)
    final(self, function(_, err)
      callback(err)
    end)
  end

  direct[Socket._final] = final

  function Socket:_onHandleShutdown()
    local done = self._finalDone
    self._finalDone = false
    if done then
      done(self)
    end
  end

  function Socket:_onHandleError(err)
    if self.connecting then
      connecting.failed(self, err)
    else
      self:destroy(err)
    end
  end

  Socket._destroy = destroy.method(destroyDirectly)

  --- Destroys the socket once what was written is out.
  ---@source Node.js socket.destroySoon()
  function Socket:destroySoon()
    if self.writable then
      self:finish()
    end
    if self.writableFinished then
      self:destroy()
    else
      self:once('finish', function()
        self:destroy()
      end)
    end
  end

  --- Closes the connection with RST, behind what was written as far as the system takes it at once. A socket that is
  --- connecting does so when it is connected, one without a connection fails with ERR_SOCKET_CLOSED.
  ---@return self
  ---@source Node.js socket.resetAndDestroy()
  function Socket:resetAndDestroy()
    if not self._handle then
      self:destroy(codes.ERR_SOCKET_CLOSED())
    elseif self.connecting then
      resetWhenConnected(self)
    else
      reset(self)
    end
    return self
  end
end

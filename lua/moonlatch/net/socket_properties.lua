--- What can be set on a net.Socket and read from it.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local arguments = require 'moonlatch.net.arguments'

local pairs, huge = pairs, math.huge
local validate = errors.validate

local NO_ADDRESS = {}

local function endpoint(address, family, port)
  if not address or family == 'unix' then
    return NO_ADDRESS
  end
  return { address = address, family = family, port = port }
end

-- Whether the time was idle is seen at its end, so that 'timeout' comes up to as much late. It comes once for each time
-- that something has moved.
local function watchCarried(socket)
  local told = false
  local function sum()
    local read, written = socket:_carried()
    return read + written
  end
  local before = sum()
  local function look()
    local now = sum()
    local tell = now == before and not told
    told = now == before
    before = now
    socket._waiting:refresh()
    if tell then
      socket:_onHandleTimeout()
    end
  end
  return look
end

---@param Socket moonlatch.Class
return function(Socket)
  --- Has 'timeout' emitted after `ms` milliseconds in which nothing was read or written; 0 ends that.
  ---
  --- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE.
  ---@param ms number
  ---@param callback? fun()  added to (or with 0 taken from) the listeners of 'timeout'
  ---@return self
  ---@source Node.js socket.setTimeout()
  function Socket:setTimeout(ms, callback)
    if self.destroyed then
      return self
    end
    validate.number(ms, 'msecs')
    if ms < 0 or ms ~= ms or ms == huge then
      error(errors.range('msecs', 'a non-negative finite number', ms), 0)
    end
    if callback ~= nil then
      validate.func(callback, 'callback')
    end
    self.timeout = ms
    if self._handle then
      self._handle:setTimeout(ms)
    else
      self:_timeWithoutHandle(ms)
    end
    if callback and ms == 0 then
      self:removeListener('timeout', callback)
    elseif callback then
      self:once('timeout', callback)
    end
    return self
  end

  --- Without a handle nothing can happen before the time is over but that one is attached, which takes over. Where TLS
  --- stands on the handle, what that carries is looked at each time.
  ---@package
  ---@param ms number  0: no longer
  function Socket:_timeWithoutHandle(ms)
    if self._waiting then
      self._waiting:close()
      self._waiting = false
    end
    if ms > 0 then
      local wait = self._above and watchCarried(self) or self._onHandleTimeout
      self._waiting = require('timers').setTimeout(wait, ms, self):unref()
    end
  end

  --- The handle of the TLSSocket that stands on this one, which may carry another in turn.
  ---@package
  ---@return userdata?
  function Socket:_handleAbove()
    local above = self._above
    return above and (above._handle or above._view)
  end

  --- Bytes that the socket's own transport has brought and taken.
  ---@package
  ---@return integer read
  ---@return integer written
  function Socket:_carried()
    local handle = self._handle
    if handle then
      return handle:bytesRead(), handle:bytesWritten()
    end
    local above = self:_handleAbove()
    if above then
      return above:carried()
    end
    return self._bytesRead or 0, self._bytesWritten or 0
  end

  function Socket:_onHandleTimeout()
    self:emit('timeout')
  end

  --- Whether small writes are sent without waiting for more. What is written in one tick leaves together in any case.
  ---@param enable? boolean  default true
  ---@return self
  ---@source Node.js socket.setNoDelay()
  function Socket:setNoDelay(enable)
    self._noDelay = enable == nil or enable and true or false
    if self._handle and not self.connecting then
      self._handle:setNoDelay(self._noDelay)
    end
    return self
  end

  --- Probes an idle connection.
  ---@param enable? boolean  default false
  ---@param initialDelay? number  milliseconds before the first probe
  ---@return self
  ---@source Node.js socket.setKeepAlive()
  function Socket:setKeepAlive(enable, initialDelay)
    self._keepAlive = enable and true or false
    self._keepAliveDelay = arguments.keepAliveDelay(initialDelay, 'initialDelay')
    if self._handle and not self.connecting then
      self._handle:setKeepAlive(self._keepAlive, self._keepAliveDelay)
    end
    return self
  end

  require 'moonlatch.referenced'(Socket)

  function Socket:_getSockname()
    if not self._handle then
      return self._lent and self._sockname or NO_ADDRESS
    elseif not self._sockname then
      self._sockname = endpoint(self._handle:localAddress())
    end
    return self._sockname
  end

  function Socket:_getPeername()
    if not self._handle or self.connecting then
      return self._peername or NO_ADDRESS
    elseif not self._peername then
      self._peername = endpoint(self._handle:remoteAddress())
    end
    return self._peername
  end

  --- The local end: address, family and port; an empty table when there is none.
  ---@return { address?: string, family?: string, port?: integer }
  ---@source Node.js socket.address()
  function Socket:address()
    local name = self:_getSockname()
    return { address = name.address, family = name.family, port = name.port }
  end

  for property, field in pairs { Address = 'address', Port = 'port', Family = 'family' } do
    class.getter(Socket, 'local' .. property, function(self)
      return self:_getSockname()[field]
    end)
    class.getter(Socket, 'remote' .. property, function(self)
      return self:_getPeername()[field]
    end)
  end

  class.getter(Socket, 'bytesRead', function(self)
    return (self:_carried())
  end)

  class.getter(Socket, 'bytesWritten', function(self)
    local ws = self._writableState
    local _, bytes = self:_carried()
    -- What the handle has been given counts there already, finished or not.
    local given = ws.writing and not self._pendingCallback and ws.writelen or 0
    return bytes + ws.length - given
  end)

  class.getter(Socket, 'bufferSize', function(self)
    return self._handle and self.writableLength or nil
  end)

  class.getter(Socket, 'pending', function(self)
    return not self._handle and not self._lent or self.connecting
  end)

  class.getter(Socket, 'readyState', function(self)
    if self.connecting then
      return 'opening'
    elseif self.readable then
      return self.writable and 'open' or 'readOnly'
    end
    return self.writable and 'writeOnly' or 'closed'
  end)
end

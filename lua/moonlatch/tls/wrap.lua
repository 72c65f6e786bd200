--- TLS on top of a stream that exists already. The native handle of a net.Socket or another TLSSocket is taken over;
--- any other Duplex gets a relay (moonlatch.tls.carrier). Either way TLS stands on a handle.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local net = require 'net'
local Carrier = require 'moonlatch.tls.carrier'
local Duplex = require 'moonlatch.stream.duplex'

local codes = errors.codes
local isInstance = class.isInstance
local nextTick = require('moonlatch.tick').nextTick

local wrap = {}

-- Streams that carry TLS: one connection each.
local taken = setmetatable({}, { __mode = 'k' })

--- Raises ERR_INVALID_ARG_TYPE for what TLS cannot run over, ERR_INVALID_ARG_VALUE for a stream that carries another
--- TLS connection.
---@param socket any
function wrap.check(socket)
  if not isInstance(socket, Duplex) then
    error(errors.argType('socket', { 'net.Socket', 'stream.Duplex' }, socket), 0)
  elseif taken[socket] then
    error(errors.argValue('socket', socket, 'carries another TLS connection'), 0)
  end
end

-- ---- A socket with a handle ----

-- What the socket was connected with can still be asked for.
local function keepFacts(socket)
  local _, _ = socket:_getSockname(), socket:_getPeername()
  socket._view = socket._handle
end

-- From now on the socket counts, writes and notices idleness by way of what stands on it.
local function lend(self, socket)
  local lower = socket:_release()
  socket._above = self
  if socket.timeout and socket.timeout > 0 then
    socket:_timeWithoutHandle(socket.timeout)
  end
  return lower
end

-- What the script has not read of the plain socket yet belongs to the handshake. Nil when it is no longer as it came.
local function takeLeftover(socket)
  local rs = socket._readableState
  local leftover = socket._leftover or ''
  socket._leftover = false
  if rs.length > 0 then
    leftover = leftover .. rs.buffer:takeAll()
    rs.length = 0
  end
  return (leftover == '' or not rs.decoder) and leftover or nil
end

local function disconnected(self)
  local message = self._tls.isServer and 'socket hang up'
    or 'Client network socket disconnected before secure TLS connection was established'
  return errors.new(message, { code = 'ECONNRESET' })
end

local function takeOver(self, socket)
  if self.destroyed then
    return
  end
  self.connecting = false
  if socket.destroyed or not socket._handle then
    self:destroy(socket.errored or codes.ERR_SOCKET_CLOSED())
    return
  end
  local leftover = takeLeftover(socket)
  if not leftover then
    self:destroy(codes.ERR_STREAM_WRAP())
  elseif socket._readableState.ended then
    self:destroy(disconnected(self))
  else
    keepFacts(socket)
    self:_secure(lend(self, socket), leftover)
    self:_begin()
  end
end

-- Calls `go` once the socket is connected, has written what it was given, and, where it is a TLSSocket, has shaken
-- hands. Returns whether that is now.
local function whenReady(socket, go)
  local function again(err)
    if err == nil and whenReady(socket, go) then
      go()
    end
  end
  if socket.destroyed then
    return true
  elseif socket.pending then
    socket:once('connect', again)
  elseif socket.secureConnecting then
    socket:once('secure', function()
      nextTick(again) -- it is still being told
    end)
  elseif socket._writeCallback or socket._writableState.length > 0 then
    socket:write('', again)
  else
    return true
  end
  return false
end

local function startOnSocket(self, socket)
  socket:once('close', function()
    self:destroy()
  end)
  socket:once('error', function(err)
    self._failure = 'told'
    self:destroy(err)
  end)
  local ready = whenReady(socket, function()
    takeOver(self, socket)
    if not self.destroyed then
      self:_announceConnect()
    end
  end)
  if ready then
    takeOver(self, socket)
  else
    self.connecting = true
    socket:pause() -- what comes meanwhile is ours
  end
end

-- ---- Any other stream ----

local function startOnStream(self, stream)
  if stream.destroyed then
    self:destroy(stream.errored or codes.ERR_STREAM_DESTROYED('write'))
    return
  end
  self._carrier = Carrier.new(self, stream)
  self:_secure(self._carrier.relay)
  self:_begin()
end

-- ---- What TLSSocket calls ----

--- Makes `socket` the lower end of `self`, a new tls.TLSSocket, as soon as it is ready for that. From now on the two
--- end together.
---@param self tls.TLSSocket
---@param socket Duplex  checked
function wrap.start(self, socket)
  if self.destroyed then -- by a signal
    socket:destroy()
    return
  end
  self._parent = socket
  taken[socket] = true
  if isInstance(socket, net.Socket) then
    startOnSocket(self, socket)
  else
    startOnStream(self, socket)
  end
end

--- What the script is to be told where TLS has failed with `err`: the error of the stream below, if one was the cause.
--- Nil when it has merely gone.
---@param self tls.TLSSocket
---@param err Error
---@return any
function wrap.cause(self, err)
  local bottom = self
  while bottom and not bottom._carrier do
    bottom = bottom._parent
  end
  if not bottom then
    return err
  end
  return bottom._carrier:cause(err)
end

--- `self` is about to close its handle: what it stands on keeps what that has carried.
---@param self tls.TLSSocket
function wrap.settle(self)
  local parent = self._parent
  if parent and parent._above == self then
    parent._bytesRead, parent._bytesWritten = parent:_carried()
    parent._above = nil
  end
end

--- `self` has been destroyed and its handle closed: so is what it stood on.
---@param self tls.TLSSocket
---@param err any
function wrap.finish(self, err)
  local parent = self._parent
  if not parent then
    return
  end
  taken[parent], parent._view = nil, nil
  if self._carrier then
    self._carrier:close(err)
  else
    parent:destroy()
  end
end

return wrap

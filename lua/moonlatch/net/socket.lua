--- net.Socket: a Duplex over a native handle. The handle is a `sock`, or a `tls` one in tls.TLSSocket, which inherits
--- all of this.
---
--- Methods that subclasses and the native side use begin with an underscore: _attach(handle), _replaceHandle(handle),
--- _release(), and the _onHandle… ones, which handlers.lua calls.

local stream = require 'stream'
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local native = require 'moonlatch.native'
local arguments = require 'moonlatch.net.arguments'
local connecting = require 'moonlatch.net.connecting'
local earlyWrite = require 'moonlatch.net.early_write'
local nativePipe = require 'moonlatch.net.native_pipe'
local direct = require 'moonlatch.stream.direct'
local final = require('moonlatch.stream.finishing').final
local nop = require('moonlatch.stream.write_buffer').nop
require 'moonlatch.net.handlers'

local type = type
local nextTick = tick.nextTick
local codes, validate = errors.codes, errors.validate
local Duplex = stream.Duplex

---@class net.Socket : Duplex
---@field connecting boolean
---@field pending boolean         not connected yet
---@field readyState 'opening'|'open'|'readOnly'|'writeOnly'|'closed'
---@field timeout? integer        milliseconds, as given to setTimeout
---@field bytesRead integer
---@field bytesWritten integer    what is still buffered included
---@field bufferSize? integer
---@field localAddress? string
---@field localPort? integer
---@field localFamily? string
---@field remoteAddress? string
---@field remotePort? integer
---@field remoteFamily? string
---@field server? net.Server
---@field autoSelectFamilyAttemptedAddresses? string[]
---@overload fun(options?: net.SocketOptions|integer): net.Socket
local Socket = class('Socket', Duplex)

-- Reading a handle goes on by itself until it is stopped (see moonlatch.stream.readable).
Socket._readsContinuously = true

-- Fields that most sockets never set. Those of every chunk are set by init, which makes reading them cheaper. A table
-- of up to 16 fields takes half of what one of 17 does, and a script has some of its own to add.
Socket.allowHalfOpen = false
Socket._onread = false          -- see arguments.onread
Socket._wantsRead = false       -- _read was called before there was something to read from
Socket._leftover = false        -- what the `onread` callback did not take
Socket._writeCallback = false   -- of the write that is pending
Socket._finalDone = false       -- of the shutdown that is pending
Socket._pendingData = false     -- written before the connection was there, with its callback
Socket._pendingCallback = false
Socket._pendingClose = false    -- the listener of 'close' that fails it
Socket._lostCallback = false    -- the same callback once there will be no connection, until 'close'
Socket._pendingFinal = false    -- ended before the connection was there
Socket._waiting = false         -- the timer of setTimeout while there is no handle
Socket._lent = false            -- TLS stands on the handle
Socket._above = false           -- the TLSSocket that does
Socket._attempts = false
Socket._pendingStart = false
Socket._server = false
Socket._resetAndClosing = false
Socket._failure = false         -- see hadError in ending.lua

local function openDescriptor(fd)
  local handle, err = native.sock(fd)
  if not handle then
    error(err, 0)
  end
  return handle
end

-- When the peer has ended and the socket has ended with it, writing is a broken pipe, not a write after end. In the
-- listeners of 'end' themselves there is still time for a last word.
local function writeAfterFin(self, chunk, encoding, callback)
  if not self.writableEnded then
    return Duplex.write(self, chunk, encoding, callback)
  end
  if type(encoding) == 'function' then
    callback = encoding
  end
  local err = errors.new('This socket has been ended by the other party', { code = 'EPIPE' })
  if type(callback) == 'function' then
    nextTick(callback, err)
  end
  self:destroy(err)
  return false
end

---@param options? net.SocketOptions|integer  or a descriptor
---@source Node.js net.Socket
function Socket:init(options)
  options = arguments.socketOptions(options)
  local keepAliveDelay = arguments.keepAliveDelay(options.keepAliveInitialDelay, 'options.keepAliveInitialDelay')
  self._onread = arguments.onread(options.onread, false)
  self:_setUp(Socket._streamOptions(options))
  if options.noDelay then
    self._noDelay = true
  end
  if options.keepAlive then
    self._keepAlive, self._keepAliveDelay = true, keepAliveDelay
  end
  local handle = options.handle or options.fd ~= nil and openDescriptor(options.fd)
  if handle then
    self:_attach(handle)
    if not options.manualStart then
      self:_begin()
    end
  end
end

--- Fills in what every socket wants of its stream. A server does so once for all its connections.
---@package
---@param options table  allowHalfOpen, pauseOnCreate and those of a stream; changed
---@return table
function Socket._streamOptions(options)
  options.allowHalfOpen = options.allowHalfOpen and true or false
  -- 'close' is ours to emit: it says whether there was an error.
  options.emitClose, options.autoDestroy, options.decodeStrings = false, true, true
  return options
end

--- What becomes a socket in the constructor, and in a server that has accepted a connection.
---@package
---@param options table  from _streamOptions; only read
function Socket:_setUp(options)
  self.connecting, self._reading = false, false
  Duplex.init(self, options)
  if options.pauseOnCreate then
    self._readableState.flowing = false
  end
end

--- The peer has ended, and the listeners of 'end' are about to hear of it.
---@package
function Socket:_beforeEnd()
  if not self.allowHalfOpen then
    self.write = writeAfterFin
  end
end

--- Starts filling the buffer, as Node does from the start, unless the socket is paused or not to be read.
function Socket:_begin()
  local rs = self._readableState
  if rs.flowing ~= false and not rs.ended then
    self:read(0)
  end
end

--- Makes `handle` the one that the socket stands on, with the settings made before.
---@param handle userdata
function Socket:_attach(handle)
  self._handle = handle
  if self._lent or self._sockname or self._peername then -- nil takes a place in the table as well
    self._lent, self._sockname, self._peername = false, nil, nil
  end
  self._reading = false
  handle:open(self)
  if self._unrefed then
    handle:unref()
  end
  if self.timeout and self.timeout > 0 then
    self:_timeWithoutHandle(0)
    handle:setTimeout(self.timeout)
  end
  if self._wantsRead and not self.connecting then
    self:_read()
  end
end

--- The next attempt to connect uses another handle.
---@param handle userdata
function Socket:_replaceHandle(handle)
  if self._handle then
    self._handle:close()
  end
  self:_attach(handle)
end

--- Takes the handle away without closing it, for something else to stand on (tls.TLSSocket). The socket is not read
--- afterwards.
---@return userdata? handle
function Socket:_release()
  local handle = self._handle
  if handle then
    self:_stopReading()
    self._handle, self._lent = nil, true
  end
  return handle
end

-- ---- Connecting ----

local function checkTarget(options)
  if options.path ~= nil then
    validate.string(options.path, 'options.path')
  elseif options.port == nil then
    error(codes.ERR_MISSING_ARGS({ 'options', 'port', 'path' }), 0)
  else
    connecting.check(options)
  end
end

--- Connects: connect(port [, host] [, callback]), connect(path [, callback]) or connect(options [, callback]). The
--- callback becomes a listener of 'connect'.
---
--- Raises ERR_MISSING_ARGS, ERR_SOCKET_BAD_PORT, ERR_INVALID_ARG_TYPE, ERR_INVALID_IP_ADDRESS for a localAddress.
---@param ... any
---@return self
---@source Node.js socket.connect()
function Socket:connect(...)
  local options, callback = arguments.normalize(...)
  checkTarget(options)
  if options.onread ~= nil then
    self._onread = arguments.onread(options.onread, self._onread)
  end
  if options.noDelay then
    self:setNoDelay(true)
  end
  if options.keepAlive then
    self:setKeepAlive(true, options.keepAliveInitialDelay)
  end
  if self.destroyed then
    earlyWrite.fail(self) -- now: 'close' may find the new connection
    self:_undestroy()
    self.write, self._resetAndClosing = nil, nil
  end
  self.connecting = true
  if not self._handle then
    self:_attach(native.sock())
  end
  if callback then
    self:once('connect', callback)
  end
  connecting.start(self, options)
  return self
end

local function applySettings(self, handle)
  if self._noDelay ~= nil then
    handle:setNoDelay(self._noDelay)
  end
  if self._keepAlive then
    handle:setKeepAlive(true, self._keepAliveDelay)
  end
end

--- What waited for the connection: data, then the end.
---@package
function Socket:_sendPending()
  local data, callback = earlyWrite.take(self)
  local done = self._pendingFinal
  self._pendingFinal = false
  if callback then
    self:_send(data, callback)
  elseif done then
    final(self, done) -- anew, as in Node: who has replaced _final is asked again
  end
end

function Socket:_onHandleConnect()
  connecting.stop(self)
  self.connecting = false
  self._sockname = nil
  applySettings(self, self._handle)
  self:_onConnected(self._handle)
  if not self.destroyed then
    self:_announceConnect()
  end
end

--- The connection is there: a subclass may put another handle on top of this one.
---@param handle userdata
function Socket:_onConnected(handle) -- luacheck: ignore handle
end

--- Tells the script that the socket is connected, and lets what waited for that go on.
function Socket:_announceConnect()
  if self._wantsRead then
    self:_read()
  end
  self:emit('connect')
  self:_sendPending()
  self:emit('ready')
  if not self.destroyed then
    self:_begin()
  end
end

-- ---- Reading ----

--- Stops the handle until the next _read.
function Socket:_stopReading()
  if self._reading then
    self._reading = false
    self._readableState.reading = false
    self._handle:readStop()
  end
end

-- Gives the onread callback its pieces; false from it stops the flow, and what is left waits for the next _read.
local function deliver(self, onread, chunk)
  local from = 1
  while from <= #chunk do
    local piece = from == 1 and #chunk <= onread.size and chunk or chunk:sub(from, from + onread.size - 1)
    from = from + #piece
    if onread.callback(#piece, piece) == false then
      self:_stopReading()
    elseif onread.more then
      onread.more()
    end
    if not self._reading then
      self._leftover = from <= #chunk and not self.destroyed and chunk:sub(from) or false
      return
    end
  end
end

function Socket:_onHandleRead(chunk)
  if self._onread then
    deliver(self, self._onread, chunk)
  elseif not self:push(chunk) then
    if self._reading then
      self._reading = false
      self._handle:readStop()
    end
  elseif self._readableState.pipes then
    nativePipe.enter(self, Socket)
  end
end

function Socket:_onHandleEnd()
  self:push(nil)
  self:read(0)
end

function Socket:_read()
  if self.connecting or not self._handle then
    self._wantsRead = true
    return
  elseif self._reading then
    return
  end
  self._reading = true
  if self._wantsRead then
    self._wantsRead = false
  end
  local leftover = self._leftover
  if leftover then
    self._leftover = false
    deliver(self, self._onread, leftover)
  end
  if self._reading then
    self._handle:readStart()
  end
end

--- With `onread` there is no buffer to fill: pausing stops the handle at once.
---@return self
---@source Node.js socket.pause()
function Socket:pause()
  if self._onread then
    self:_stopReading()
  end
  return Duplex.pause(self)
end

--- Lets the data flow, to 'data' or to the `onread` callback.
---@return self
---@source Node.js socket.resume()
function Socket:resume()
  if self._onread and not self._reading then
    nextTick(self._read, self)
  end
  Duplex.resume(self)
  if self._reading then
    self._handle:readStart() -- something else may have stopped it
  end
  return self
end

-- ---- Writing ----

-- Past the TLS that stands on the socket. Returns why not, or nil.
local function sendBelow(self, data)
  local handle = self:_handleAbove()
  if not handle then
    return codes.ERR_SOCKET_CLOSED()
  end
  local _, err = handle:inject(type(data) == 'table' and table.concat(data) or data)
  return err
end

-- Hands a string or a list of strings to the handle.
function Socket:_send(data, callback)
  local handle = self._handle
  if self.connecting then
    earlyWrite.wait(self, data, callback)
    return
  elseif not handle then
    callback(sendBelow(self, data))
    return
  end
  -- TLS keeps what it is given until the tick ends: a write's callback, if it has one, is to come after that.
  local done, err = handle:write(data, self._writableState.writecb ~= nop)
  if done then
    callback()
  elseif done == false then
    self._writeCallback = callback
  else
    callback(err)
  end
end

function Socket:_write(chunk, _, callback)
  self:_send(chunk, callback)
end

direct[Socket._write] = function(self, chunk)
  local handle = self._handle
  if self.connecting or not handle then
    return nil
  end
  local done, err = handle:write(chunk, false)
  if done == false then
    local more
    self._writeCallback, more = self:_adoptWrite(#chunk)
    return false, more
  end
  return done, err
end

function Socket:_writeStrings(list, callback)
  self:_send(list, callback)
end

function Socket:_onHandleWritten()
  local callback = self._writeCallback
  self._writeCallback = false
  if callback then
    callback()
  end
end

require('moonlatch.net.ending')(Socket)
require('moonlatch.net.socket_properties')(Socket)
require('moonlatch.net.peek')(Socket)
nativePipe.learn(Socket)

return Socket

--- net.Server: listens, and makes a socket of each connection.
---
--- tls.Server inherits it and replaces _createSocket(handle), which returns the socket for a new handle; with a second
--- value, the handle itself, the socket has not been given it yet and gets it through _onConnected.

local EventEmitter = require('events').EventEmitter
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'
local arguments = require 'moonlatch.net.arguments'
local listening = require 'moonlatch.net.listening'
local Socket = require 'moonlatch.net.socket'
require 'moonlatch.net.handlers'

local newTable = require 'table.new'
local type, setmetatable = type, setmetatable
local nextTick = tick.nextTick
local codes, validate = errors.codes, errors.validate
local toNumber = arguments.toNumber

---@class net.Server : EventEmitter
---@field listening boolean
---@field connections integer      sockets that are open (getConnections is the newer way)
---@field maxConnections? integer  further ones are closed at once, with the event 'drop'
---@field allowHalfOpen boolean
---@field pauseOnConnect boolean
---@field noDelay boolean
---@field keepAlive boolean
---@field highWaterMark? integer
---@overload fun(options?: net.ServerOptions, listener?: fun(socket: net.Socket)): net.Server
local Server = class('Server', EventEmitter)

local function isCallable(value)
  return value ~= nil and validate.isCallable(value)
end

--- Raises ERR_INVALID_ARG_TYPE.
---@param options? net.ServerOptions
---@param listener? fun(socket: net.Socket)  for 'connection'
---@source Node.js net.Server
function Server:init(options, listener)
  EventEmitter.init(self)
  if isCallable(options) then
    options, listener = {}, options
  elseif options ~= nil and type(options) ~= 'table' then
    error(errors.argType('options', 'Object', options), 0)
  end
  options = options or {}
  if isCallable(listener) then
    self:on('connection', listener)
  end
  if options.highWaterMark ~= nil then
    validate.number(options.highWaterMark, 'options.highWaterMark')
    self.highWaterMark = options.highWaterMark >= 0 and options.highWaterMark or nil
  end
  self.allowHalfOpen = options.allowHalfOpen and true or false
  self.pauseOnConnect = options.pauseOnConnect and true or false
  self.noDelay = options.noDelay and true or false
  self.keepAlive = options.keepAlive and true or false
  self.keepAliveInitialDelay = arguments.keepAliveDelay(options.keepAliveInitialDelay,
    'options.keepAliveInitialDelay')
  self._connections = 0
  self._listeningId = 0
end

-- ---- Listening ----

local function emitListening(self, handle)
  if self._handle == handle then
    self:emit('listening')
  end
end

-- Errors of listening come in a tick of their own: nobody can be listening for them yet.
local function fail(self, err)
  nextTick(self.emit, self, 'error', err)
end

local function started(self, listener)
  self._handle = listener
  if self._unrefed then
    listener:unref()
  end
  nextTick(emitListening, self, listener)
end

local function listenWith(self, request)
  local id = self._listeningId
  listening.acquire(self, request, function(listener, err)
    if self._listeningId ~= id then
      if listener then
        listening.release(listener)
      end
    elseif listener then
      started(self, listener)
    else
      fail(self, err)
    end
  end)
end

local function listenOn(self, host, port, options)
  if native.isIP(host) ~= 0 then
    listenWith(self, { address = host, port = port, options = options })
    return
  end
  local id = self._listeningId
  require('dns').lookup(host, function(err, address)
    if self._listeningId ~= id then
      return -- closed meanwhile, or told to listen elsewhere
    elseif err then
      self:emit('error', err)
    else
      listenWith(self, { address = address, port = port, options = options })
    end
  end)
end

-- options.signal closes the server.
local function obeySignal(self, signal)
  if signal == nil then
    return
  end
  validate.abortSignal(signal, 'options.signal')
  local function close()
    self:close()
  end
  if signal.aborted then
    nextTick(close)
    return
  end
  self:once('close', require('moonlatch.abort').addAbortListener(signal, close))
end

local function listenPort(self, options, backlog)
  local port = validate.port(options.port, 'options.port')
  local settings = {
    backlog = backlog, ipv6Only = options.ipv6Only, reusePort = options.reusePort, exclusive = options.exclusive,
  }
  if options.host ~= nil and options.host ~= '' then
    validate.string(options.host, 'options.host')
    listenOn(self, options.host, port, settings)
  else
    listenWith(self, { port = port, options = settings })
  end
end

local function listenPath(self, options, backlog)
  self._pipeName = options.path
  listenWith(self, { path = options.path, options = {
    backlog = backlog, readableAll = options.readableAll, writableAll = options.writableAll,
    exclusive = options.exclusive,
  } })
end

local LISTENER = 'moonlatch.listener' -- what getmetatable gives of one

-- The listener of a server, or a native one, given as it is or as options.handle: both listen on it from then on.
local function sharedDescriptor(given)
  local handle = given
  if type(given) == 'table' then
    handle = given._handle or given.handle
    if type(handle) == 'table' then
      handle = handle._handle
    end
  end
  if type(handle) ~= 'userdata' or getmetatable(handle) ~= LISTENER then
    return nil
  end
  local fd, err = handle:duplicate()
  if not fd then
    error(err, 0)
  end
  return fd
end

-- Among listen's arguments a number after the first is the backlog.
local function backlogArgument(...)
  local _, second, third = ...
  return toNumber(second) or toNumber(third) or nil
end

--- Starts listening: listen([port [, host]] [, backlog] [, callback]), listen(path [, backlog] [, callback]) or
--- listen(options [, callback]) with net.ListenOptions. The callback becomes a listener of 'listening'; failures are
--- 'error' events.
---
--- Raises ERR_SERVER_ALREADY_LISTEN, ERR_SOCKET_BAD_PORT, ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE.
---@param ... any
---@return self
---@source Node.js server.listen()
function Server:listen(...)
  local options, callback, given = arguments.normalize(...)
  if self._handle then
    error(codes.ERR_SERVER_ALREADY_LISTEN(), 0)
  end
  if callback then
    self:once('listening', callback)
  end
  local backlog = toNumber(options.backlog) or backlogArgument(...)
  self._listeningId, self._pipeName = self._listeningId + 1, nil
  obeySignal(self, options.signal)
  local own = not options.fd and sharedDescriptor(given or (...))
  local fd = options.fd or own
  if type(fd) == 'number' and fd >= 0 then
    -- In a worker of a cluster the number of a descriptor is the primary's, but this one is ours.
    listenWith(self, { fd = fd, options = { backlog = backlog, exclusive = own and true or options.exclusive } })
  elseif options.port ~= nil then
    if type(options.port) ~= 'number' and type(options.port) ~= 'string' then
      error(errors.argValue('options', given or options), 0)
    end
    listenPort(self, options, backlog)
  elseif options.path ~= nil then
    if type(options.path) ~= 'string' or toNumber(options.path) then
      error(errors.argValue('options', given or options), 0)
    end
    listenPath(self, options, backlog)
  elseif given then
    error(errors.argValue('options', given, 'must have the property "port" or "path"'), 0)
  else
    options.port = 0
    listenPort(self, options, backlog)
  end
  return self
end

-- ---- Connections ----

-- Where a connection that is not accepted came from and went to.
local function endpoints(handle)
  local info = {}
  local address, family, port = handle:localAddress()
  if address and family ~= 'unix' then
    info.localAddress, info.localFamily, info.localPort = address, family, port
  end
  address, family, port = handle:remoteAddress()
  if address and family ~= 'unix' then
    info.remoteAddress, info.remoteFamily, info.remotePort = address, family, port
  end
  return info
end

--- Options for the socket of a connection.
---
--- They are the same table for one connection after the other, as long as the server's own properties stay.
---@return table
function Server:_socketOptions()
  local options = self._acceptOptions
  if not options or options.allowHalfOpen ~= self.allowHalfOpen or options.pauseOnCreate ~= self.pauseOnConnect
    or options.highWaterMark ~= self.highWaterMark then
    options = Socket._streamOptions {
      allowHalfOpen = self.allowHalfOpen, pauseOnCreate = self.pauseOnConnect, highWaterMark = self.highWaterMark,
    }
    self._acceptOptions = options
  end
  return options
end

-- As many fields as a socket has, and a few for the script: growing step by step would cost more than all of them.
local SOCKET_FIELDS = 16

--- A socket without a handle yet.
---@param Class moonlatch.Class  net.Socket or a subclass
---@return net.Socket
function Server:_newSocket(Class)
  local socket = setmetatable(newTable(0, SOCKET_FIELDS), Class.metatable)
  socket:_setUp(self:_socketOptions())
  return socket
end

--- Makes the socket of a connection.
---@param handle userdata
---@return net.Socket? socket  nil: the connection has been dealt with
---@return userdata? handle
function Server:_createSocket(handle)
  local socket = self:_newSocket(Socket)
  socket:_attach(handle)
  socket:_begin()
  return socket
end

function Server:_onConnection(handle)
  local limit = self.maxConnections
  if limit and self._connections >= limit then
    local info = endpoints(handle)
    handle:close()
    self:emit('drop', info)
    return
  end
  if self.noDelay then
    handle:setNoDelay(true)
  end
  if self.keepAlive then
    handle:setKeepAlive(true, self.keepAliveInitialDelay)
  end
  local socket, lower = self:_createSocket(handle)
  if not socket then
    return
  end
  self._connections = self._connections + 1
  socket.server, socket._server = self, self
  if lower then
    socket:_onConnected(lower)
    socket:_begin()
  elseif not socket.encrypted then
    self:emit('connection', socket)
  end
end

--- A socket of ours is destroyed.
function Server:_connectionClosed()
  self._connections = self._connections - 1
  self:_emitCloseIfDrained()
end

--- Accepting failed.
function Server:_onListenerError(err)
  self:emit('error', err)
end

--- The process is out of descriptors, so a connection was closed at once.
function Server:_onListenerDrop(address, family, port)
  self:emit('drop', { remoteAddress = address, remoteFamily = family, remotePort = port })
end

-- ---- Closing ----

local function emitClose(self)
  self:emit('close')
end

function Server:_emitCloseIfDrained()
  if not self._handle and self._connections == 0 then
    nextTick(emitClose, self)
  end
end

--- Stops listening. 'close' follows when the last connection has ended.
---@param callback? fun(err?: Error)  for 'close'; gets ERR_SERVER_NOT_RUNNING when the server was not listening
---@return self
---@source Node.js server.close()
function Server:close(callback)
  local handle = self._handle
  if isCallable(callback) then
    if handle then
      self:once('close', callback)
    else
      self:once('close', function()
        callback(codes.ERR_SERVER_NOT_RUNNING())
      end)
    end
  end
  self._listeningId = self._listeningId + 1
  if handle then
    self._handle = nil
    listening.release(handle)
  end
  self:_emitCloseIfDrained()
  return self
end

-- ---- Properties ----

--- Where the server listens: address, family and port, or the path of a unix socket; nil when it does not.
---@return { address: string, family: string, port: integer }|string|nil
---@source Node.js server.address()
function Server:address()
  if not self._handle then
    return nil
  end
  local address, family, port = self._handle:address()
  if family == 'unix' then
    return self._pipeName or address
  end
  return { address = address, family = family, port = port }
end

--- Tells the callback how many connections are open.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param callback fun(err: nil, count: integer)
---@return self
---@source Node.js server.getConnections()
function Server:getConnections(callback)
  validate.func(callback, 'callback')
  nextTick(callback, nil, self._connections)
  return self
end

require 'moonlatch.referenced'(Server)

class.getter(Server, 'listening', function(self)
  return self._handle ~= nil
end)

class.getter(Server, 'connections', function(self)
  return self._connections
end)

return Server

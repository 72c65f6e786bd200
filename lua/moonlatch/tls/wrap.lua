--- TLS on top of a stream that exists already: how a TLSSocket takes a net.Socket over.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local net = require 'net'

local wrap = {}

--- Raises ERR_INVALID_ARG_TYPE for what TLS cannot run over.
---@param socket any
function wrap.check(socket)
  if not class.isInstance(socket, net.Socket) then
    error(errors.argType('socket', { 'net.Socket' }, socket), 0)
  end
end

-- What the script has not read of the plain socket yet belongs to the handshake.
local function takeLeftover(socket)
  local leftover = {}
  local chunk = socket:read()
  while chunk do
    leftover[#leftover + 1] = chunk
    chunk = socket:read()
  end
  return leftover
end

local function takeOver(self, socket)
  if self.destroyed then
    return
  end
  local leftover = takeLeftover(socket)
  local lower = socket:_release()
  self.connecting = false
  if lower then
    self:_secure(lower, leftover)
    self:_begin()
  else
    self:destroy(errors.codes.ERR_SOCKET_CLOSED())
  end
end

--- Makes `socket` the lower end of `self`, a new tls.TLSSocket, as soon as it is connected and has written what it was
--- given. From now on the two end together.
---@param self tls.TLSSocket
---@param socket net.Socket  checked
function wrap.start(self, socket)
  self._parent = socket
  self:once('close', function()
    socket:destroy()
  end)
  socket:once('close', function()
    self:destroy()
  end)
  socket:once('error', function(err)
    self:destroy(err)
  end)
  local function go()
    takeOver(self, socket)
    if not self.destroyed then
      self:_announceConnect()
    end
  end
  if socket.pending and not socket.destroyed then
    self.connecting = true
    socket:once('connect', go)
  elseif socket._writeCallback then
    -- Its handle is at work on a write of the script's still: after that.
    self.connecting = true
    socket:write('', go)
  else
    takeOver(self, socket)
  end
end

return wrap

--- TCP and unix sockets: Node's net.
---
--- Functions of the module are called with a dot, methods of its objects with a colon.

local arguments = require 'moonlatch.net.arguments'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'

---@class net
local net = {
  Socket = require 'moonlatch.net.socket',
  Server = require 'moonlatch.net.server',
}

--- The oldest name of Socket.
net.Stream = net.Socket

--- A server; `listener` is added for 'connection'.
---@param options? net.ServerOptions
---@param listener? fun(socket: net.Socket)
---@return net.Server
---@overload fun(listener: fun(socket: net.Socket)): net.Server
function net.createServer(options, listener)
  return net.Server(options, listener)
end

--- A socket that is connecting: connect(port [, host] [, callback]), connect(path [, callback]) or
--- connect(options [, callback]). The callback becomes a listener of 'connect'.
---@param ... any
---@return net.Socket
---@overload fun(options: net.ConnectOptions, callback?: fun()): net.Socket
---@overload fun(port: integer, host?: string, callback?: fun()): net.Socket
---@overload fun(path: string, callback?: fun()): net.Socket
function net.connect(...)
  local options, callback = arguments.normalize(...)
  local socket = net.Socket(options)
  if options.timeout then
    socket:setTimeout(options.timeout)
  end
  if socket.destroyed then -- by a signal
    return socket
  end
  return socket:connect(options, callback)
end

net.createConnection = net.connect

--- Which version of IP the text is an address of: 4, 6, or 0 for none.
---@param text any
---@return 0|4|6
net.isIP = native.isIP

---@param text any
---@return boolean
function net.isIPv4(text)
  return native.isIP(text) == 4
end

---@param text any
---@return boolean
function net.isIPv6(text)
  return native.isIP(text) == 6
end

--- Whether connect tries the addresses of both families in turn when it is not told (RFC 8305).
---@return boolean
function net.getDefaultAutoSelectFamily()
  return arguments.autoSelectFamily
end

---@param value boolean
function net.setDefaultAutoSelectFamily(value)
  arguments.autoSelectFamily = errors.validate.boolean(value, 'value')
end

--- Milliseconds that one address has before the next is tried.
---@return integer
function net.getDefaultAutoSelectFamilyAttemptTimeout()
  return arguments.autoSelectFamilyAttemptTimeout
end

---@param value integer  at least 10 count
function net.setDefaultAutoSelectFamilyAttemptTimeout(value)
  arguments.autoSelectFamilyAttemptTimeout = arguments.attemptTimeout(value, 'value')
end

return net

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
---@source Node.js net.createServer()
function net.createServer(options, listener)
  return net.Server(options, listener)
end

--- A socket that is connecting: connect(port [, host] [, callback]), connect(path [, callback]) or
--- connect(options [, callback]). The callback becomes a listener of 'connect'.
---
--- Raises ERR_MISSING_ARGS, ERR_SOCKET_BAD_PORT, ERR_INVALID_ARG_TYPE, ERR_INVALID_IP_ADDRESS for a localAddress.
---@param ... any
---@return net.Socket
---@overload fun(options: net.ConnectOptions, callback?: fun()): net.Socket
---@overload fun(port: integer, host?: string, callback?: fun()): net.Socket
---@overload fun(path: string, callback?: fun()): net.Socket
---@source Node.js net.connect()
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

--- Whether the text is an IPv4 address.
---@param text any
---@return boolean
---@source Node.js net.isIPv4()
function net.isIPv4(text)
  return native.isIP(text) == 4
end

--- Whether the text is an IPv6 address.
---@param text any
---@return boolean
---@source Node.js net.isIPv6()
function net.isIPv6(text)
  return native.isIP(text) == 6
end

--- Whether connect tries the addresses of both families in turn when it is not told (RFC 8305).
---@return boolean
---@source Node.js net.getDefaultAutoSelectFamily()
function net.getDefaultAutoSelectFamily()
  return arguments.autoSelectFamily
end

--- Sets what connect does when it is not told.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param value boolean
---@source Node.js net.setDefaultAutoSelectFamily()
function net.setDefaultAutoSelectFamily(value)
  arguments.autoSelectFamily = errors.validate.boolean(value, 'value')
end

--- Milliseconds that one address has before the next is tried.
---@return integer
---@source Node.js net.getDefaultAutoSelectFamilyAttemptTimeout()
function net.getDefaultAutoSelectFamilyAttemptTimeout()
  return arguments.autoSelectFamilyAttemptTimeout
end

--- Sets how long an address has when connect is not told.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE.
---@param value integer  at least 10 count
---@source Node.js net.setDefaultAutoSelectFamilyAttemptTimeout()
function net.setDefaultAutoSelectFamilyAttemptTimeout(value)
  arguments.autoSelectFamilyAttemptTimeout = arguments.attemptTimeout(value, 'value')
end

return net

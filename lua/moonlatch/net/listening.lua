--- How a server comes by its listening socket: opened here, or by the primary of a cluster for all its workers.
local native = require 'moonlatch.native'

local listening = {}

---@class moonlatch.net.ListenRequest
---@field address? string  of an IP socket; nil with a port: every address there is
---@field port? integer
---@field path? string     of a unix socket
---@field fd? integer      a socket that is bound already
---@field options table    backlog, ipv6Only, reusePort, readableAll, writableAll, exclusive

local function try(owner, method, ...)
  local listener = native.listener()
  listener:open(owner)
  local ok, err = listener[method](listener, ...)
  if not ok then
    listener:close()
    return nil, err
  end
  return listener
end

--- Opens a listening socket.
---@param owner table  whose _onConnection, _onListenerError and _onListenerDrop the listener calls
---@param request moonlatch.net.ListenRequest
---@return userdata? listener
---@return Error? err
function listening.open(owner, request)
  local port, options = request.port, request.options
  if request.fd then
    return try(owner, 'listenFd', request.fd, options.backlog)
  elseif request.path then
    return try(owner, 'listenUnix', request.path, options)
  elseif request.address then
    return try(owner, 'listen', request.address, port, options)
  end
  -- IPv6 and IPv4 with one socket where the system has IPv6.
  local listener, err = try(owner, 'listen', '::', port, options)
  if not listener and err.code ~= 'EADDRINUSE' then
    listener, err = try(owner, 'listen', '0.0.0.0', port, options)
  end
  return listener, err
end

--- Gives `done` a listener for the server, or nil and an Error, now or later. A worker of a cluster replaces it.
---@param server net.Server
---@param request moonlatch.net.ListenRequest
---@param done fun(listener?: userdata, err?: Error)
function listening.acquire(server, request, done)
  done(listening.open(server, request))
end

--- Closes what acquire gave.
---@param listener userdata
function listening.release(listener)
  listener:close()
end

return listening

--- The call forms that net and tls share, and the process-wide defaults of connecting.

local errors = require 'moonlatch.errors'

local type, select, tonumber, pairs, ipairs = type, select, tonumber, pairs, ipairs
local isCallable = errors.validate.isCallable

local arguments = {}

---@class net.SocketOptions
---@field fd? integer                   an open descriptor to stand on
---@field handle? userdata              a native handle to stand on
---@field allowHalfOpen? boolean        false when left out
---@field readable? boolean             false: without this half
---@field writable? boolean
---@field highWaterMark? integer
---@field onread? { buffer: integer|string|function, callback: fun(nread: integer, chunk: string): boolean? }
---@field noDelay? boolean
---@field keepAlive? boolean
---@field keepAliveInitialDelay? number  milliseconds
---@field signal? AbortSignal           destroys the socket

---@class net.ConnectOptions : net.SocketOptions
---@field port? integer|string
---@field host? string                  'localhost' when left out
---@field path? string                  of a unix socket, in place of host and port
---@field localAddress? string
---@field localPort? integer
---@field family? 0|4|6|'IPv4'|'IPv6'
---@field hints? integer                of dns.lookup
---@field lookup? function              in place of dns.lookup
---@field autoSelectFamily? boolean
---@field autoSelectFamilyAttemptTimeout? integer  milliseconds
---@field timeout? number               as setTimeout

---@class net.ServerOptions
---@field allowHalfOpen? boolean        of the connections; false when left out
---@field pauseOnConnect? boolean       they are not read before resume()
---@field highWaterMark? integer
---@field noDelay? boolean
---@field keepAlive? boolean
---@field keepAliveInitialDelay? number  milliseconds

---@class net.ListenOptions
---@field port? integer|string          0: any that is free
---@field host? string                  every address there is when left out
---@field path? string                  of a unix socket, in place of host and port
---@field backlog? integer              511 when left out
---@field exclusive? boolean            in a worker: not the primary's socket
---@field ipv6Only? boolean
---@field reusePort? boolean
---@field readableAll? boolean          of a unix socket: everybody may connect
---@field writableAll? boolean
---@field fd? integer                   a descriptor that is bound already
---@field handle? net.Server            one that listens already: both do from then on
---@field signal? AbortSignal           closes the server

local function checkSocketOptions(options)
  for _, name in ipairs { 'objectMode', 'readableObjectMode', 'writableObjectMode' } do
    if options[name] then
      error(errors.argValue('options.' .. name, options[name], 'is not supported'), 0)
    end
  end
  if options.handle ~= nil and type(options.handle) ~= 'userdata' then
    error(errors.argType('options.handle', 'Handle', options.handle), 0)
  end
  if options.fd ~= nil then
    errors.validate.integer(options.fd, 'options.fd', 0, 2147483647)
  end
end

--- The options of a socket, or a descriptor, checked and copied, so that what is set in them does not show.
---@param options any
---@return net.SocketOptions
function arguments.socketOptions(options)
  if type(options) == 'number' then
    options = { fd = options }
  elseif options ~= nil then
    errors.validate.table(options, 'options')
  end
  local copy = {}
  for key, value in pairs(options or {}) do
    copy[key] = value
  end
  checkSocketOptions(copy)
  return copy
end

local function pieceSize(buffer)
  local size = type(buffer) == 'string' and #buffer or tonumber(buffer)
  return size and size >= 1 and size or 65536
end

--- Where the bytes of `onread` go: the callback, and the most it takes at a time. A function in the place of a buffer
--- is asked anew for each piece (`more`). False when it is none.
---@param onread any
---@param before table|false  what this has returned already, maybe for the same
---@return { given: table, callback: function, size: integer, more?: fun() }|false
function arguments.onread(onread, before)
  if before and before.given == onread then
    return before
  elseif type(onread) ~= 'table' or type(onread.callback) ~= 'function' then
    return false
  end
  local buffer = onread.buffer
  local read = { given = onread, callback = onread.callback }
  if type(buffer) == 'function' then
    function read.more()
      read.size = pieceSize(buffer())
    end
    read.more()
  else
    read.size = pieceSize(buffer)
  end
  return read
end

-- What net.setDefaultAutoSelectFamily and its kin change.
arguments.autoSelectFamily = true
arguments.autoSelectFamilyAttemptTimeout = 250

-- A shorter attempt would give up on connections that merely cross the world.
local SHORTEST_ATTEMPT = 10

--- A number, or a string that is one: not below 0. Node's test for what is a port and what a path. Blanks count as 0:
--- what was meant to be a port is no path.
---@param value any
---@return number|false
function arguments.toNumber(value)
  local kind = type(value)
  if kind == 'string' and not value:find '%S' then
    return 0
  end
  local number = (kind == 'number' or kind == 'string') and tonumber(value)
  return number and number >= 0 and number or false
end

local function isOptions(value)
  return type(value) == 'table' and not isCallable(value)
end

--- Sorts (port [, host] …), (path …) or (options …), each with an optional callback at the end, into a new
--- table of options, the callback, and the table the caller gave, if any.
---@param ... any
---@return table options
---@return function? callback
---@return table? given
function arguments.normalize(...)
  local count = select('#', ...)
  local first, second = ...
  local options, given = {}, nil
  if isOptions(first) then
    given = first
    for key, value in pairs(first) do
      options[key] = value
    end
  elseif type(first) == 'string' and not arguments.toNumber(first) then
    options.path = first
  elseif count > 0 and not (first ~= nil and isCallable(first)) then
    options.port = first
    if type(second) == 'string' then
      options.host = second
    end
  end
  local callback = count > 0 and select(count, ...) or nil
  if callback == nil or callback == given or not isCallable(callback) then
    callback = nil
  end
  return options, callback, given
end

--- Checks an attempt timeout; one that makes no sense is raised to 10 ms.
---@param value any
---@param name string
---@return integer
function arguments.attemptTimeout(value, name)
  errors.validate.integer(value, name, 1, 2147483647)
  return value < SHORTEST_ATTEMPT and SHORTEST_ATTEMPT or value
end

--- Seconds for TCP_KEEPIDLE from milliseconds; below zero counts as none.
---@param ms any
---@param name string
---@return integer
function arguments.keepAliveDelay(ms, name)
  if ms == nil then
    return 0
  end
  errors.validate.number(ms, name)
  return ms > 0 and math.floor(ms / 1000) or 0
end

return arguments

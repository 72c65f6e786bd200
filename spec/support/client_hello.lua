--- ClientHellos: those a server was shown, and raw ones to send to it.
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'

local M = {}

-- ---- Raw ones ----

--- A number in `width` bytes.
---@return string
function M.number(value, width)
  local bytes = {}
  for i = width, 1, -1 do
    bytes[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  return table.concat(bytes)
end

--- `bytes` behind their length, which takes `width` bytes.
---@return string
function M.vector(bytes, width)
  return M.number(#bytes, width) .. bytes
end

--- Numbers of two bytes each behind their length.
---@param numbers integer[]
---@return string
function M.numbers(numbers, width)
  local bytes = {}
  for i, value in ipairs(numbers) do
    bytes[i] = M.number(value, 2)
  end
  return M.vector(table.concat(bytes), width)
end

--- A record of the handshake protocol with a message of `kind`.
---@return string
function M.record(kind, body)
  return '\22\3\1' .. M.vector(string.char(kind) .. M.vector(body, 3), 2)
end

--- A ClientHello in its record. Extensions are pairs: { number, body }.
---@param hello { ciphers: integer[], extensions: table[], sessionId?: string }
---@return string
function M.raw(hello)
  local extensions = {}
  for i, each in ipairs(hello.extensions) do
    extensions[i] = M.number(each[1], 2) .. M.vector(each[2] or '', 2)
  end
  return M.record(1, '\3\3' .. ('r'):rep(32) .. M.vector(hello.sessionId or '', 1) .. M.numbers(hello.ciphers, 2)
    .. '\1\0' .. M.vector(table.concat(extensions), 2))
end

--- The server_name extension.
---@return table
function M.servername(name)
  return { 0, M.vector('\0' .. M.vector(name, 2), 2) }
end

-- ---- Shown ones ----

---@class spec.Watched: spec.Guarded
---@field hellos tls.ClientHello[]

--- An echo server that keeps the hellos it is shown and lets them pass.
---@return spec.Watched
function M.watch(await, options)
  local watched = H.guard(await, options)
  watched.hellos = {}
  watched.server:on('clientHello', function(hello, _, callback)
    table.insert(watched.hellos, hello)
    callback()
  end)
  return watched
end

--- The one hello that a server with `options` is shown while `visit(port)` runs.
---@return tls.ClientHello
function M.seen(await, options, visit)
  local watched = M.watch(await, options)
  visit(watched.port)
  P.close(await, watched.server)
  assert(#watched.hellos == 1, ('%d hellos'):format(#watched.hellos))
  return watched.hellos[1]
end

--- What `openssl s_client` says first when it is called with `argv`.
---@return tls.ClientHello
function M.ofOpenssl(await, options, argv)
  return M.seen(await, options, function(port)
    P.sClientEcho(await, port, argv)
  end)
end

--- What a server makes of raw bytes; the connection is then given up.
---@return tls.ClientHello
function M.ofBytes(await, options, bytes)
  local shown
  local guarded = H.guard(await, options)
  guarded.server:on('clientHello', function(hello, socket)
    shown = hello
    socket:destroy()
  end)
  H.raw(await, guarded.port, function(socket)
    socket:write(bytes)
  end)
  P.close(await, guarded.server)
  return shown
end

return M

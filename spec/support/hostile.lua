--- Peers that do not play by the rules, for specs: raw bytes to a TLS server, and a man in the middle.
local net = require 'net'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local M = {}

--- The first flight of a client, as it goes over the wire.
---@param options? table  for tls.connect
---@return string
function M.clientHello(await, options)
  local bytes = ''
  local server = net.createServer()
  await(function(listening)
    server:listen(0, '127.0.0.1', listening)
  end)
  await(function(done)
    server:on('connection', function(socket)
      socket:on('data', function(chunk)
        bytes = bytes .. chunk
        -- A record's length is in its fourth and fifth byte.
        if #bytes >= 5 and #bytes >= 5 + bytes:byte(4) * 256 + bytes:byte(5) then
          socket:destroy()
        end
      end)
    end)
    local client = T.connect(server:address().port, options)
    client:on('error', function() end)
    client:on('close', function()
      done()
    end)
  end)
  P.close(await, server)
  return bytes
end

--- Opens a plain connection to `port`, does `act(socket)` once connected, and waits until it is closed.
---@return string received  all that the other end said
function M.raw(await, port, act)
  local received = ''
  local socket = net.connect(port, '127.0.0.1')
  socket:on('data', function(chunk)
    received = received .. chunk
  end)
  socket:on('error', function() end)
  socket:on('connect', function()
    act(socket)
  end)
  return await(function(closed)
    socket:on('close', function()
      closed(nil, received)
    end)
  end)
end

---@class spec.Guarded
---@field server tls.Server
---@field port integer
---@field errors Error[]  those of 'tlsClientError'
---@field sockets tls.TLSSocket[]  that came with them

--- An echo server that remembers its 'tlsClientError's.
---@return spec.Guarded
function M.guard(await, options)
  local guarded = { errors = {}, sockets = {} }
  guarded.server, guarded.port = P.serve(await, options, function(socket)
    socket:on('error', function(err)
      guarded.socketError = err
    end)
    socket:pipe(socket)
  end)
  guarded.server:on('tlsClientError', function(err, socket)
    table.insert(guarded.errors, err)
    table.insert(guarded.sockets, socket)
  end)
  guarded.server:on('error', function(err)
    error(err, 0)
  end)
  return guarded
end

-- The number of connections that are open, asked as a script would.
local function openConnections(await, server)
  return await(function(answer)
    server:getConnections(answer)
  end)
end

--- Shows that the server is well: exactly one error came, its connection is gone, a good client is served; then
--- closes it.
---@return Error
function M.onlyError(await, guarded, options)
  if #guarded.errors == 0 then
    await(guarded.server, 'tlsClientError')
  end
  P.ownClientEcho(await, guarded.port, options or {}, 'still there?')
  assert(#guarded.errors == 1, ('%d errors: %s'):format(#guarded.errors, tostring(guarded.errors[2])))
  local socket = guarded.sockets[1]
  assert(socket.destroyed, 'the socket of the failed connection was not destroyed')
  if openConnections(await, guarded.server) > 0 then
    await(function(gone)
      guarded.server:once('close', gone)
      guarded.server:close()
    end)
  else
    P.close(await, guarded.server)
  end
  return guarded.errors[1]
end

--- What a client made of a connection that had to fail.
---@class spec.Failure
---@field error Error
---@field connected boolean   'secureConnect' came
---@field hadError boolean    the argument of 'close'

--- Connects and waits for the end of it; exactly one 'error' must come.
---@return spec.Failure
function M.clientFailure(await, port, options)
  local failure = { connected = false }
  local count = 0
  local socket = tls.connect(T.merged({ port = port, host = '127.0.0.1', servername = 'localhost', ca = T.ca.cert },
    options))
  socket:resume()
  socket:on('secureConnect', function()
    failure.connected = true
  end)
  socket:on('error', function(err)
    count = count + 1
    failure.error = err
  end)
  await(function(closed)
    socket:on('close', function(hadError)
      failure.hadError = hadError
      closed()
    end)
  end)
  assert(count == 1, ('%d errors instead of one'):format(count))
  assert(socket.destroyed, 'the socket was not destroyed')
  return failure
end

--- A plain server on a free port. `act(socket)` is done with each connection.
---@param options? table  of net.createServer
---@return net.Server server
---@return integer port
function M.plainServer(await, act, options)
  local server = net.createServer(options or {}, function(socket)
    socket:on('error', function() end)
    act(socket)
  end)
  await(function(listening)
    server:listen(0, '127.0.0.1', listening)
  end)
  return server, server:address().port
end

--- Reads `source` to its end once `target`, where it was piped to, has closed: nobody else would.
function M.drainAfter(target, source)
  target:on('close', function()
    source:resume()
  end)
end

--- A man in the middle between a client and `port`: passes everything on, each direction to its own end, and hands out
--- both ends.
---@param onPair fun(client: net.Socket, server: net.Socket)
function M.proxy(await, port, onPair)
  return M.plainServer(await, function(client)
    local upstream = net.connect { port = port, host = '127.0.0.1', allowHalfOpen = true }
    upstream:on('error', function() end)
    client:pipe(upstream)
    upstream:pipe(client)
    M.drainAfter(client, upstream)
    M.drainAfter(upstream, client)
    onPair(client, upstream)
  end, { allowHalfOpen = true })
end

--- The same, passing on what comes in small pieces, of which each reaches the other end alone.
function M.slicer(await, port)
  local function feed(from, to)
    local pieces, first = {}, 1
    local function nextPiece()
      if to.destroyed or first > #pieces then
        return
      end
      to:write(pieces[first])
      first = first + 1
      setImmediate(nextPiece)
    end
    from:on('data', function(chunk)
      local idle = first > #pieces
      for at = 1, #chunk, 100 do
        table.insert(pieces, chunk:sub(at, at + 99))
      end
      if idle then
        nextPiece()
      end
    end)
    from:on('close', function()
      setImmediate(function()
        to:destroy()
      end)
    end)
  end
  return M.plainServer(await, function(client)
    local upstream = net.connect(port, '127.0.0.1')
    upstream:on('error', function() end)
    feed(client, upstream)
    feed(upstream, client)
  end)
end

return M

--- What the specs of Node's documented behaviour share: servers, connected pairs, and orders of events.

local net = require 'net'
local spec = require 'moonlatch.spec'
local T = require 'spec.support.tls'

local M = {}

--- Calls `fn` with the arguments; it must raise an Error with this code.
---@return Error
function M.raises(code, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then
    error(('%s should have been raised'):format(code), 2)
  elseif type(err) ~= 'table' or err.code ~= code then
    error(('%s should have been raised instead of %s'):format(code, tostring(err)), 2)
  end
  return err
end

--- A plain server; connections are ended and read to the end unless `onSocket` deals with them.
function M.listening(onSocket, ready)
  local server = net.createServer(onSocket or function(socket)
    socket:on('error', function() end)
    socket:resume()
  end)
  server:listen(0, '127.0.0.1', function()
    ready(server, server:address().port)
  end)
  return server
end

--- A TLS server that ends each connection after `text`: ready(server, port).
function M.greeting(text, ready, options)
  local server
  server = T.serve(options, function(socket)
    socket:on('error', function() end)
    socket:finish(text)
    socket:resume()
  end, function(port)
    ready(server, port)
  end)
  return server
end

--- A port that nobody listens on.
function M.unusedPort(fn)
  M.listening(nil, function(server, port)
    server:close(function()
      fn(port)
    end)
  end)
end

-- Waits for both ends, then hands them over with a function that closes the server.
local function join(server, client, ready, connected)
  local peer, here
  local function go()
    if peer and here then
      ready(client, peer, function(done)
        server:close(done)
      end)
    end
  end
  client:on(connected, function()
    here = true
    go()
  end)
  return function(socket)
    peer = socket
    go()
  end
end

--- Both ends of a plain connection: ready(client, peer, close).
---@param ready fun(client: net.Socket, peer: net.Socket, close: fun(done: function))
---@param options? { server?: table, client?: table }
function M.pair(ready, options)
  options = options or {}
  local server = net.createServer(options.server or {})
  server:listen(0, '127.0.0.1', function()
    local client = net.connect(T.merged({ port = server:address().port, host = '127.0.0.1' }, options.client))
    server:on('connection', join(server, client, ready, 'connect'))
  end)
end

--- Both ends of a TLS connection, the handshake over.
---@param ready fun(client: tls.TLSSocket, peer: tls.TLSSocket, close: fun(done: function))
---@param options? { server?: table, client?: table }
function M.securePair(ready, options)
  options = options or {}
  local server
  server = T.serve(options.server, nil, function(port)
    local client = T.connect(port, options.client)
    server:on('secureConnection', join(server, client, ready, 'secureConnect'))
  end)
  return server
end

--- As securePair, for a coroutine.
---@return tls.TLSSocket client
---@return tls.TLSSocket peer
---@return fun(done: function) close
function M.awaitSecurePair(await, options)
  return await(function(met)
    M.securePair(function(client, peer, close)
      met(nil, client, peer, close)
    end, options)
  end)
end

--- A test with a pair of ends, `check(await, client, peer, expect)`; both are closed afterwards.
function M.withSecurePair(options, check)
  return spec.coroutine(function(await, expect)
    local client, peer, close = M.awaitSecurePair(await, options)
    check(await, client, peer, expect)
    client:destroy()
    peer:destroy()
    await(close)
  end)
end

--- Waits for a socket's 'error' event.
---@return Error
function M.failureOf(await, socket)
  return await(function(failed)
    socket:once('error', function(err)
      failed(nil, err)
    end)
  end)
end

--- Appends to `list` the names of these events as `emitter` emits them, with `prefix` before each.
function M.record(list, emitter, names, prefix)
  for _, name in ipairs(names) do
    emitter:on(name, function()
      list[#list + 1] = (prefix or '') .. name
    end)
  end
end

return M

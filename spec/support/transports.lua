--- Streams of every kind, as pairs of ends for one body of tests: what is written to the first end comes out of the
--- second.
local net = require 'net'
local process = require 'process'
local stream = require 'stream'
local timers = require 'timers'
local tls = require 'tls'
local T = require 'spec.support.tls'

local M = {}

---@class spec.Transport
---@field name string
---@field open fun(await: function, options: table): Duplex, Duplex  the options are for both ends
---@field into? fun(await: function, options: table): Duplex, Duplex  behind a pipe, where that is another kind
---@field ends 1|2        one: what is written to a stream comes out of itself
---@field native boolean  sockets, with handles in C
---@field secure boolean  TLS

local merged = T.merged

-- Waits for a server's socket and its client, whichever comes first.
local function joined(await, server, accepted, client, connected)
  local peer
  await(function(done)
    local waiting = 2
    local function arrived(socket)
      peer = peer or socket
      waiting = waiting - 1
      if waiting == 0 then
        -- Not from inside an event of either.
        timers.setImmediate(done)
      end
    end
    server:once(accepted, arrived)
    client:once(connected, function()
      arrived()
    end)
    client:once('error', done)
  end)
  client:removeAllListeners('error')
  server:close()
  return client, peer
end

local function listening(await, server, place)
  await(function(done)
    server:once('error', done)
    server:listen(place, function()
      done()
    end)
  end)
  return server
end

local function openNet(await, options)
  local server = listening(await, net.createServer(options), { port = 0, host = '127.0.0.1' })
  local client = net.connect(merged({ port = server:address().port, host = '127.0.0.1' }, options))
  return joined(await, server, 'connection', client, 'connect')
end

-- Their buffers in the kernel are small, so that writers soon have to wait.
local paths = 0
local function unixPath()
  paths = paths + 1
  return ('\0moonlatch-spec-%d-%d'):format(process.pid, paths)
end

local function openUnix(await, options)
  local path = unixPath()
  local server = listening(await, net.createServer(options), { path = path })
  local client = net.connect(merged({ path = path }, options))
  return joined(await, server, 'connection', client, 'connect')
end

local function openTlsOverUnix(await, options)
  local path = unixPath()
  local identity = T.identity()
  local server = listening(await, tls.createServer(merged(identity, options)), { path = path })
  local client = tls.connect(merged({ path = path, servername = 'localhost', ca = T.ca.cert }, options))
  return joined(await, server, 'secureConnection', client, 'secureConnect')
end

local function openTls(version)
  return function(await, options)
    options = merged({ minVersion = version, maxVersion = version }, options)
    local server = T.serve(options, nil, function() end)
    await(server, 'listening')
    local client = T.connect(server:address().port, options)
    return joined(await, server, 'secureConnection', client, 'secureConnect')
  end
end

-- The same with the ends exchanged: the server's socket is written to.
local function reversed(open)
  return function(await, options)
    local one, other = open(await, options)
    return other, one
  end
end

local function openPassThrough(_, options)
  local through = stream.PassThrough(options)
  return through, through
end

-- Like a socket it ends when the other end does, unless told otherwise.
local function openPair(_, options)
  local pair = stream.duplexPair(merged({ allowHalfOpen = false }, options))
  return pair[1], pair[2]
end

-- TLS over streams that are no sockets.
local function openOverDuplex(await, options)
  -- What TLS stands on lends it its allowHalfOpen.
  local pair = stream.duplexPair { allowHalfOpen = options.allowHalfOpen or false }
  local server = tls.TLSSocket(pair[1], merged({
    isServer = true, secureContext = tls.createSecureContext(T.identity()),
  }, options))
  local client = tls.connect(merged({ socket = pair[2], servername = 'localhost', ca = T.ca.cert }, options))
  await(client, 'secureConnect')
  await(function(done)
    timers.setImmediate(done)
  end)
  return client, server
end

---@return spec.Transport
local function sockets(name, secure, open, into)
  return { name = name, ends = 2, native = true, secure = secure, open = open, into = into }
end

local through = { name = 'a PassThrough', ends = 1, native = false, secure = false, open = openPassThrough }
local pair = { name = 'a pair of Duplex streams', ends = 2, native = false, secure = false, open = openPair }

---@type spec.Transport[]
M.all = {
  through,
  pair,
  sockets('net sockets', false, openNet),
  sockets('unix sockets', false, openUnix),
  sockets('TLS 1.3', true, openTls 'TLSv1.3'),
  sockets('TLS 1.3 from the server', true, reversed(openTls 'TLSv1.3')),
  sockets('TLS 1.2', true, openTls 'TLSv1.2'),
  sockets('TLS over Duplex streams', true, openOverDuplex),
}

--- What to pipe from, and into.
---@type spec.Transport[]
M.pipes = {
  through,
  pair,
  sockets('net sockets', false, openNet),
  sockets('unix sockets', false, openUnix),
  sockets('TLS 1.3', true, openTls 'TLSv1.3'),
  sockets('TLS 1.2 and net sockets', true, openTls 'TLSv1.2', openNet),
  sockets('net sockets and TLS 1.3', true, openNet, reversed(openTls 'TLSv1.3')),
  sockets('TLS over unix sockets', true, openTlsOverUnix),
  sockets('TLS over unix sockets and unix sockets', true, openTlsOverUnix, openUnix),
  sockets('TLS over Duplex streams and TLS', true, openOverDuplex, openTls 'TLSv1.3'),
}

return M

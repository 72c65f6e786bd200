--- Everything that TLS can run over, for specs and soak tests: each kind gives a client and a server that are TLS over
--- it, and `M.flood` sends data through such a pair.
local crypto = require 'crypto'
local net = require 'net'
local stream = require 'stream'
local tls = require 'tls'
local T = require 'spec.support.tls'

local M = {}

-- ---- Lower ends: `M.lower[kind](materials, ready)` calls ready(clientEnd, serverEnd) ----

M.lower = {}

local function sockets(options, ready)
  local server = net.createServer(options)
  local client
  local function accepted(socket)
    server:close()
    if client.connecting then
      client:once('connect', function()
        ready(client, socket)
      end)
    else
      ready(client, socket)
    end
  end
  server:on('connection', accepted)
  server:listen(0, '127.0.0.1', function()
    client = net.connect { port = server:address().port, host = '127.0.0.1', allowHalfOpen = options.allowHalfOpen }
  end)
end

M.lower['native socket'] = function(_, ready)
  sockets({}, ready)
end

M.lower['socket that carried text'] = function(materials, ready)
  M.lower['native socket'](materials, function(client, server)
    client:once('data', function(reply)
      assert(reply == '220 go ahead\r\n')
      ready(client, server)
    end)
    server:once('data', function(line)
      assert(line == 'STARTTLS\r\n')
      server:write('220 go ahead\r\n')
    end)
    client:write('STARTTLS\r\n')
  end)
end

M.lower['Duplex'] = function(_, ready)
  local ends = stream.duplexPair()
  ready(ends[1], ends[2])
end

M.lower['PassThrough pair'] = function(_, ready)
  local there, back = stream.PassThrough(), stream.PassThrough()
  ready(stream.Duplex.from { readable = back, writable = there },
    stream.Duplex.from { readable = there, writable = back })
end

local function secure(materials, client, server)
  return tls.connect { socket = client, ca = materials.ca, servername = 'localhost' },
    tls.TLSSocket(server, { isServer = true, key = materials.key, cert = materials.cert })
end

local function layered(below)
  return function(materials, ready)
    M.lower[below](materials, function(client, server)
      ready(secure(materials, client, server))
    end)
  end
end

M.lower['TLS'] = layered 'native socket'
M.lower['TLS over a Duplex'] = layered 'Duplex'
M.lower['TLS over TLS'] = layered 'TLS'

-- ---- Connections ----

-- The oldest recipe: two pairs, the encrypted sides joined by a connection. Its ends come one after the other.
local function securePairs(materials, ready)
  sockets({ allowHalfOpen = true }, function(clientEnd, serverEnd)
    local client = tls.SecurePair(tls.createSecureContext { ca = materials.ca })
    local server = tls.SecurePair(tls.createSecureContext { key = materials.key, cert = materials.cert }, true)
    for pair, socket in pairs { [client] = clientEnd, [server] = serverEnd } do
      pair.encrypted:pipe(socket)
      socket:pipe(pair.encrypted)
    end
    ready(client.cleartext, server.cleartext)
  end)
end

M.kinds = {
  'native socket', 'socket that carried text', 'Duplex', 'PassThrough pair', 'TLS', 'TLS over a Duplex', 'TLS over TLS',
  'secure pair',
}

--- Two TLSSockets over a transport of this kind, their handshake not over yet.
---@param kind string
---@param materials { key: string, cert: string, ca: string }  an identity called localhost, and its authority
---@param ready fun(client: tls.TLSSocket, server: tls.TLSSocket)
function M.open(kind, materials, ready)
  if kind == 'secure pair' then
    securePairs(materials, ready)
  else
    M.lower[kind](materials, function(client, server)
      ready(secure(materials, client, server))
    end)
  end
end

-- ---- Data ----

-- A generator of its own, so that a seed means the same everywhere (Park and Miller's).
local function generator(seed)
  local state = seed % 2147483646 + 1
  return function(low, high)
    state = state * 16807 % 2147483647
    return low + state % (high - low + 1)
  end
end

-- Stops a readable now and then, for a few turns of the loop.
local function hesitate(socket, random)
  local function onData()
    if random(1, 8) == 1 then
      socket:pause()
      local turns = random(1, 4)
      local function wait()
        turns = turns - 1
        if turns == 0 then
          socket:resume()
        else
          setImmediate(wait)
        end
      end
      setImmediate(wait)
    end
  end
  socket:on('data', onData)
end

--- Sends `total` bytes from the client to the server, which sends them back, in chunks of random sizes and with random
--- pauses at either end. Calls done(err, facts): facts.same, facts.bytes, and the most bytes that waited anywhere.
---@param client tls.TLSSocket
---@param server tls.TLSSocket
---@param options { total: integer, seed: integer, largest?: integer }
---@param done fun(err?: any, facts?: { same: boolean, bytes: integer, waiting: integer })
function M.flood(client, server, options, done)
  local random = generator(options.seed)
  local largest = options.largest or 200000
  local noise = crypto.randomBytes(largest)
  local sent, received, waiting = 0, 0, 0
  local sentHash, receivedHash = crypto.createHash('sha256'), crypto.createHash('sha256')

  local function measure()
    for _, socket in ipairs { client, server } do
      waiting = math.max(waiting, socket.readableLength, socket.writableLength)
    end
  end

  local function pump()
    while sent < options.total do
      local size = math.min(random(1, random(1, 4) == 1 and largest or 3000), options.total - sent)
      local from = random(1, largest - size + 1)
      local chunk = noise:sub(from, from + size - 1)
      sent = sent + size
      sentHash:update(chunk)
      local more = client:write(chunk)
      measure()
      if not more then
        client:once('drain', pump)
        return
      end
    end
    client:finish()
  end

  for _, socket in ipairs { client, server } do
    socket:on('error', done)
  end
  -- By hand rather than with pipe, which knows better than to pause at random.
  server:on('data', function(chunk)
    if not server:write(chunk) then
      server:pause()
      server:once('drain', function()
        server:resume()
      end)
    end
  end)
  server:on('end', function()
    server:finish()
  end)
  hesitate(client, random)
  client:on('data', function(chunk)
    received = received + #chunk
    receivedHash:update(chunk)
    measure()
  end)
  client:on('end', function()
    local same = sentHash:digest('hex') == receivedHash:digest('hex')
    done(nil, { same = same and received == sent, bytes = received, waiting = waiting })
  end)
  pump()
end

-- ---- Both ends over a pair of Duplexes ----

--- Options of either end.
function M.serverOptions(options)
  return T.identity(T.merged({ isServer = true }, options))
end

function M.clientOptions(socket, options)
  return T.merged({ socket = socket, ca = T.ca.cert, servername = 'localhost' }, options)
end

--- Both ends over two joined streams, and those.
function M.overPair(options)
  local ends = stream.duplexPair(options)
  return tls.connect(M.clientOptions(ends[1])), tls.TLSSocket(ends[2], M.serverOptions()), ends[1], ends[2]
end

--- Both ends, with their handshake over. Whatever goes wrong later is the caller's.
function M.secured(await, options)
  local client, server, below, above = M.overPair(options)
  await(function(done)
    local left = 2
    local function one()
      left = left - 1
      if left == 0 then
        done()
      end
    end
    client:once('secureConnect', one)
    server:once('secure', one)
    client:resume()
    server:resume()
  end)
  return client, server, below, above
end

--- The names of a stream's last events, in order, as `log` grows.
function M.record(log, name, socket)
  for _, event in ipairs { 'end', 'error', 'finish', 'close' } do
    socket:on(event, function(value)
      local detail = event == 'error' and ' ' .. tostring(value.code or value.message) or ''
      log[#log + 1] = ('%s %s%s'):format(name, event, detail)
    end)
  end
  return socket
end

--- How often it stands there.
function M.count(log, entry)
  local n = 0
  for _, each in ipairs(log) do
    n = n + (each == entry and 1 or 0)
  end
  return n
end

return M

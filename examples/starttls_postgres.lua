-- TLS as PostgreSQL begins it: the client sends an SSLRequest, the server answers with one byte, S or N, and after an S
-- comes the handshake (https://www.postgresql.org/docs/current/protocol-flow.html, "SSL Session Encryption").
--
--   moonlatch examples/starttls_postgres.lua door PORT TARGET_PORT [key.pem cert.pem]
--
-- A door in front of a PostgreSQL server that speaks plain text on this machine: whoever comes must use TLS, in
-- either of the two ways that PostgreSQL has had. Without files it makes a certificate and leaves its authority's in
-- postgres-ca.pem:
--   psql "host=localhost port=PORT sslmode=verify-full sslrootcert=postgres-ca.pem user=…"
--
--   moonlatch examples/starttls_postgres.lua query HOST PORT USER CA.PEM SQL
--
-- A client: asks the server one thing over TLS and prints the rows. PGPASSWORD has the password, if one is wanted.
local fs = require 'fs'
local net = require 'net'
local tls = require 'tls'

local SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
local PROTOCOL_3 = 196608
local HANDSHAKE = '\22' -- the first byte of a TLS connection

local function int32(n)
  return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256, math.floor(n / 2 ^ 8) % 256, n % 256)
end

local function toInt32(bytes, at)
  local a, b, c, d = bytes:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- ---- The door ----

local function identity(keyFile, certFile)
  if certFile then
    return { key = fs.readFileSync(keyFile), cert = fs.readFileSync(certFile) }
  end
  local spec = require 'moonlatch.spec'
  local ca = spec.ca { name = 'PostgreSQL example authority' }
  local leaf = ca:issue { names = { 'localhost', '127.0.0.1', '::1' } }
  fs.writeFileSync('postgres-ca.pem', ca.cert)
  return { key = leaf.key, cert = leaf.cert }
end

-- FATAL, in words that clients show.
local function refusal(text)
  local body = 'SFATAL\0VFATAL\0C28000\0M' .. text .. '\0\0'
  return 'E' .. int32(#body + 4) .. body
end

-- What a client says first. Its request, unlike what is to follow it, is taken out of the socket.
local function admit(socket, secure)
  socket:peek(1, function(err, first)
    if err then
      return
    elseif first == HANDSHAKE then
      secure:emit('connection', socket) -- PostgreSQL 17 and later: no request at all
      return
    end
    socket:peek(8, function(why, request)
      if why or #request < 8 then
        socket:destroy()
        return
      end
      local code = toInt32(request, 5)
      if code == SSL_REQUEST then
        socket:read(8)
        socket:write 'S'
        secure:emit('connection', socket)
      elseif code == GSS_REQUEST then
        socket:read(8)
        socket:write 'N'
        admit(socket, secure)
      else
        socket:resume()
        socket:finish(code == CANCEL_REQUEST and '' or refusal 'this door asks for TLS (sslmode=require)')
      end
    end)
  end)
end

local function openDoor(port, target, keyFile, certFile)
  local options = identity(keyFile, certFile)
  options.ALPNProtocols = { 'postgresql' }
  local secure = tls.createServer(options, function(client)
    print(('secure: %s, %s'):format(client:getProtocol(), client:getCipher().name))
    local backend = net.connect(target, '127.0.0.1')
    client:pipe(backend)
    backend:pipe(client)
    for one, other in pairs { [client] = backend, [backend] = client } do
      one:on('error', function(err)
        print('connection failed: ' .. tostring(err))
      end)
      one:on('close', function()
        other:destroySoon()
      end)
    end
  end)
  secure:on('tlsClientError', function(err)
    print('handshake failed: ' .. tostring(err))
  end)
  local server = net.createServer(function(socket)
    socket:on('error', function(err)
      print('connection failed: ' .. tostring(err))
    end)
    admit(socket, secure)
  end)
  server:listen(port, function()
    print('listening on port ' .. server:address().port)
  end)
end

-- ---- The client ----

local function fail(err)
  io.stderr:write(tostring(err), '\n')
  process.exitCode = 1
end

-- Calls onMessage(kind, body) for every message of the server.
local function eachMessage(socket, onMessage)
  local rest = ''
  socket:on('data', function(chunk)
    rest = rest .. chunk
    while #rest >= 5 and #rest >= 1 + toInt32(rest, 2) do
      local length = toInt32(rest, 2)
      local kind, body = rest:sub(1, 1), rest:sub(6, 1 + length)
      rest = rest:sub(2 + length)
      onMessage(kind, body)
    end
  end)
end

-- The columns of a row, NULL as an empty text.
local function columns(body)
  local fields, at = {}, 3
  for _ = 1, body:byte(1) * 256 + body:byte(2) do
    local length = toInt32(body, at)
    at = at + 4
    if length == 2 ^ 32 - 1 then
      length = 0
    end
    fields[#fields + 1] = body:sub(at, at + length - 1)
    at = at + length
  end
  return fields
end

-- Over `secure`: says who it is, asks, prints, goes.
local function converse(secure, user, sql)
  local function say(kind, body)
    secure:write(kind .. int32(#body + 4) .. body)
  end
  say('', int32(PROTOCOL_3) .. 'user\0' .. user .. '\0database\0postgres\0\0')
  local asked = false
  local answers = {
    R = function(body)
      local wanted = toInt32(body, 1)
      if wanted == 3 then
        say('p', (os.getenv 'PGPASSWORD' or '') .. '\0') -- in plain text, but nobody sees it here
      elseif wanted ~= 0 then
        secure:destroy(('authentication of kind %d is more than an example knows'):format(wanted))
      end
    end,
    D = function(body)
      print(table.concat(columns(body), '\t'))
    end,
    E = function(body)
      secure:destroy((body:match 'M(%Z*)'))
    end,
    Z = function()
      if asked then
        say('X', '')
        secure:finish()
      else
        asked = true
        say('Q', sql .. '\0')
      end
    end,
  }
  eachMessage(secure, function(kind, body)
    if answers[kind] then
      answers[kind](body)
    end
  end)
end

local function query(host, port, user, caFile, sql)
  local plain = net.connect(port, host)
  plain:on('error', fail)
  plain:write(int32(8) .. int32(SSL_REQUEST))
  plain:once('readable', function()
    -- One byte and no more: what came behind it in plain text anybody could have written, and TLS chokes on it.
    local answer = plain:read(1)
    if answer ~= 'S' then
      plain:destroy 'the server does not speak TLS'
      return
    end
    local secure = tls.connect { socket = plain, host = host, ca = fs.readFileSync(caFile) }
    secure:on('error', fail)
    secure:on('secureConnect', function()
      converse(secure, user, sql)
    end)
  end)
end

local role = process.argv[3]
if role == 'door' and process.argv[5] then
  openDoor(tonumber(process.argv[4]), tonumber(process.argv[5]), process.argv[6], process.argv[7])
elseif role == 'query' and process.argv[8] then
  query(process.argv[4], tonumber(process.argv[5]), process.argv[6], process.argv[7], process.argv[8])
else
  io.stderr:write('usage: moonlatch starttls_postgres.lua door PORT TARGET_PORT [key.pem cert.pem] | ' ..
    'query HOST PORT USER CA.PEM SQL\n')
  process.exit(2)
end

process:on('SIGTERM', function()
  process.exit(0)
end)

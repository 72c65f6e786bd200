-- Many servers, one memory: TLS sessions in Redis, so that a client may resume on another server than the one that it
-- met first.
--
--   moonlatch examples/redis_sessions.lua [port [redis [key.pem cert.pem]]]
--
-- `redis` is a port on this machine or the path of a unix socket, 6379 when left out. Without files the server makes a
-- certificate. Start it twice, and let a client of the one resume on the other:
--   openssl s_client -connect localhost:8000 -sess_out session.pem </dev/null
--   openssl s_client -connect localhost:8001 -sess_in session.pem </dev/null
--
-- What is in Redis lets its reader impersonate clients and, under TLS 1.2, read what they say: guard it like a key.
local tls = require 'tls'
local net = require 'net'
local fs = require 'fs'
local constants = require 'constants'

local port = tonumber(process.argv[3]) or 8000
local redisAt = process.argv[4] or '6379'

local LIFE = 300 -- seconds that a session can be resumed
local PATIENCE = 1000 -- milliseconds that a handshake waits for Redis
local PREFIX = 'tls:session:'

-- ---- Redis: its protocol (RESP2), as much of it as is needed ----

local redis = { waiting = {}, received = '' }

-- Takes a reply off the front of what has been received: ok, error, value. Nothing while it is incomplete.
local function takeReply()
  local text = redis.received
  local kind, line, rest = text:match('^([+$-])([^\r\n]*)\r\n()')
  if not kind then
    return false
  elseif kind == '-' then
    redis.received = text:sub(rest)
    return true, line
  elseif kind == '+' or line == '-1' then -- a status; no such key
    redis.received = text:sub(rest)
    return true, nil, nil
  end
  local last = rest + tonumber(line) - 1
  if #text < last + 2 then
    return false
  end
  redis.received = text:sub(last + 3)
  return true, nil, text:sub(rest, last)
end

-- Everybody who waits is told; the next command connects again.
local function hangUp(socket, why)
  if redis.socket ~= socket then
    return
  end
  local waiting = redis.waiting
  redis.socket, redis.waiting, redis.received = nil, {}, ''
  socket:destroy()
  for _, request in ipairs(waiting) do
    clearTimeout(request.timer)
    request.callback(why)
  end
end

local function connectToRedis()
  local isPort = tonumber(redisAt)
  local socket = net.connect(isPort and { port = isPort, host = '127.0.0.1' } or { path = redisAt })
  redis.socket = socket
  socket:on('data', function(data)
    redis.received = redis.received .. data
    local complete, err, value = takeReply()
    while complete do
      local request = table.remove(redis.waiting, 1)
      clearTimeout(request.timer)
      request.callback(err, value)
      complete, err, value = takeReply()
    end
  end)
  socket:on('error', function(err)
    hangUp(socket, err.message)
  end)
  socket:on('close', function()
    hangUp(socket, 'Redis has closed the connection')
  end)
  return socket
end

-- command(callback, 'GET', key): callback(err, value)
local function command(callback, ...)
  local parts = { ('*%d\r\n'):format(select('#', ...)) }
  for _, word in ipairs { ... } do
    parts[#parts + 1] = ('$%d\r\n%s\r\n'):format(#word, word)
  end
  local socket = redis.socket or connectToRedis()
  local timer = setTimeout(hangUp, PATIENCE, socket, 'Redis does not answer')
  table.insert(redis.waiting, { callback = callback, timer = timer })
  socket:write(table.concat(parts))
end

-- ---- The server ----

local function identity()
  if process.argv[6] then
    return { key = fs.readFileSync(process.argv[5]), cert = fs.readFileSync(process.argv[6]) }
  end
  return require('moonlatch.spec').ca():issue { names = { 'localhost', '127.0.0.1', '::1' } }
end

local own = identity()
local server = tls.createServer({
  key = own.key,
  cert = own.cert,
  sessionTimeout = LIFE,
  -- Servers resume each other's sessions where this is the same. Left out it would depend on the certificate, and on
  -- how the program was called.
  sessionIdContext = 'redis_sessions',
  secureOptions = constants.SSL_OP_NO_TICKET, -- ids for TLS 1.2 as well
}, function(socket)
  socket:on('error', function() end)
  socket:write(('%s, %s\n'):format(socket:getProtocol(), socket:isSessionReused() and 'resumed' or 'new'))
  socket:pipe(socket)
end)

-- A Redis that is down costs a full handshake, and nothing else.
server:on('newSession', function(id, data, callback)
  command(function(err)
    if err then
      print('not stored: ' .. err)
    end
    callback()
  end, 'SET', PREFIX .. id, data, 'EX', tostring(LIFE))
end)

server:on('resumeSession', function(id, callback)
  command(function(err, data)
    if err then
      print('not found: ' .. err)
    end
    callback(nil, data)
  end, 'GET', PREFIX .. id)
end)

server:on('tlsClientError', function(err)
  print('handshake failed: ' .. tostring(err))
end)

server:listen(port, function()
  print('listening on port ' .. server:address().port)
end)

process:on('SIGTERM', function()
  process.exit(0)
end)

-- usage: moonlatch moonlatch.lua PORT CERTIFICATE_DIR BULK_MIB [CALLBACKS]: the work of ../ceiling.c on moonlatch's
-- tls. On the fourth port CALLBACKS take part in the handshake: sni, sessions, ocsp, or all of them.
local fs = require 'fs'
local tls = require 'tls'

local port, dir = tonumber(arg[1]), arg[2]
local bulkSize = tonumber(arg[3]) * 1024 * 1024

local reply = 'HTTP/1.1 200 OK\r\n' ..
  'Content-Type: text/plain\r\n' ..
  'Content-Length: 14\r\n' ..
  'Connection: keep-alive\r\n' ..
  '\r\n' ..
  'Hello, world!\n'
local bulkHeader = ('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n'):format(bulkSize)
local zeros = ('\0'):rep(256 * 1024)

local function ignore() end

local function sendBulk(socket)
  local left = bulkSize
  socket:write(bulkHeader)
  local function more()
    while left > 0 do
      local size = math.min(left, #zeros)
      left = left - size
      if not socket:write(size == #zeros and zeros or zeros:sub(1, size)) and left > 0 then
        socket:once('drain', more)
        return
      end
    end
  end
  more()
end

-- The load has one request of one packet under way per connection, so a chunk is a request.
local function answer(socket)
  socket:setNoDelay(true)
  socket:on('error', ignore)
  socket:on('data', function(chunk)
    if chunk:byte(6) == 0x62 then sendBulk(socket) else socket:write(reply) end -- "GET /b"
  end)
end

local function echo(socket)
  socket:setNoDelay(true)
  socket:on('error', ignore)
  socket:pipe(socket)
end

-- ---- Callbacks in the handshake ----

local GENERATION = 4096 -- sessions

local function identity(kind)
  return {
    key = fs.readFileSync(('%s/%s.key'):format(dir, kind)),
    cert = fs.readFileSync(('%s/%s.crt'):format(dir, kind)),
  }
end

local function chooseByName(options)
  local contexts = { localhost = tls.createSecureContext(identity 'chain') }
  function options.SNICallback(servername, callback)
    callback(nil, contexts[servername])
  end
end

-- A generation goes as a whole. Taken out one by one, sessions would leave a table that is full for ever, and
-- arranged anew with each that is put in.
local function keepSessions(server)
  local young, old, count = {}, {}, 0
  server:on('newSession', function(id, data, callback)
    if count == GENERATION then
      young, old, count = {}, young, 0
    end
    young[id], count = data, count + 1
    callback()
  end)
  server:on('resumeSession', function(id, callback)
    callback(nil, young[id] or old[id])
  end)
end

local function staple(server)
  local response = fs.readFileSync(dir .. '/chain.ocsp')
  server:on('OCSPRequest', function(_, _, callback)
    callback(nil, response)
  end)
end

-- ---- Listening ----

local function listen(options, offset, listener)
  local server = tls.createServer(options, listener)
  server:listen(port + offset, '127.0.0.1', 4096)
  return server
end

local function listenWith(callbacks, offset, listener)
  local all, options = callbacks == 'all', identity 'chain'
  if all or callbacks == 'sni' then chooseByName(options) end
  local server = listen(options, offset, listener)
  if all or callbacks == 'sessions' then keepSessions(server) end
  if all or callbacks == 'ocsp' then staple(server) end
end

listen(identity 'ecdsa', 0, answer)
listen(identity 'rsa', 1, answer)
listen(identity 'ecdsa', 2, echo)
listenWith(arg[4], 3, answer)

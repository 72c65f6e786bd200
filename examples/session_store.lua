-- A server that keeps its clients' sessions in a table. Who comes back with one skips the certificates and the
-- signature, under TLS 1.2 and under TLS 1.3.
--
--   moonlatch examples/session_store.lua [port]
--
-- Without a port it shows itself: a client of each version connects twice.
local tls = require 'tls'
local constants = require 'constants'
local spec = require 'moonlatch.spec'

local LIFE = 300 -- seconds that a session can be resumed
local ROOM = 10000 -- sessions to keep, of each generation

local ca = spec.ca { name = 'Session example authority' }
local leaf = ca:issue { names = { 'localhost' } }

-- Sessions by id. A generation that is full becomes the old one, and what was the old one is dropped as a whole: there
-- is nothing to sort out, and a table from which entries go one by one can come to be arranged anew with each that is
-- put in.
local young, old, count = {}, {}, 0

local function store(id, data)
  if count == ROOM then
    young, old, count = {}, young, 0
  end
  young[id] = { data = data, expires = os.time() + LIFE }
  count = count + 1
end

local function fetch(id)
  local session = young[id] or old[id]
  return session and session.expires > os.time() and session.data or nil
end

local server = tls.createServer({
  key = leaf.key,
  cert = leaf.cert,
  sessionTimeout = LIFE,
  -- Clients of TLS 1.2 get ids, too. Without this, those that know tickets get tickets.
  secureOptions = constants.SSL_OP_NO_TICKET,
}, function(socket)
  socket:on('error', function() end)
  socket:finish(('%s, %s\n'):format(socket:getProtocol(), socket:isSessionReused() and 'resumed' or 'new'))
end)

server:on('newSession', function(id, data, callback)
  store(id, data)
  callback()
end)

server:on('resumeSession', function(id, callback)
  callback(nil, fetch(id))
end)

server:on('tlsClientError', function(err)
  print('handshake failed: ' .. tostring(err))
end)

local function visit(version, session, done)
  local latest
  local socket = tls.connect { port = server:address().port, servername = 'localhost', ca = { ca.cert },
    maxVersion = version, session = session }
  socket:on('session', function(given)
    latest = given
  end)
  socket:on('data', function(data)
    io.stdout:write(data)
  end)
  socket:on('close', function()
    done(latest)
  end)
end

local function visitTwice(version, done)
  visit(version, nil, function(session)
    visit(version, session, done)
  end)
end

local port = tonumber(process.argv[3])
server:listen(port or 0, function()
  print('listening on port ' .. server:address().port)
  if port then
    return
  end
  visitTwice('TLSv1.2', function()
    visitTwice('TLSv1.3', function()
      server:close()
    end)
  end)
end)

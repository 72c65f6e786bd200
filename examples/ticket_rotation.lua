-- Session tickets with keys that are exchanged while the server runs, and nobody is dropped: new keys seal, those
-- before them still open for as long as a session lives.
--
--   moonlatch examples/ticket_rotation.lua [port [seconds]]
--
-- Keys are exchanged every so many whole seconds, hourly when that is left out. Without a port it shows itself: a
-- client comes back after each of several exchanges, and once more with a ticket that is too old.
local tls = require 'tls'
local crypto = require 'crypto'
local spec = require 'moonlatch.spec'

local port, seconds = tonumber(process.argv[3]), tonumber(process.argv[4]) or 3600
local OLD_KEYS = 2 -- sets of keys that only open

local ca = spec.ca { name = 'Ticket example authority' }
local leaf = ca:issue { names = { 'localhost' } }

local server = tls.createServer({
  key = leaf.key,
  cert = leaf.cert,
  -- A ticket should not outlast the keys that open it.
  sessionTimeout = OLD_KEYS * seconds,
}, function(socket)
  socket:on('error', function() end)
  socket:finish(socket:isSessionReused() and 'resumed\n' or 'new\n')
end)

local function rotate()
  local keys = server:getTicketKeys(true)
  server:setTicketKeys { crypto.randomBytes(48), unpack(keys, 1, OLD_KEYS) }
end

local function visit(session, done)
  local latest
  local socket = tls.connect { port = server:address().port, servername = 'localhost', ca = { ca.cert },
    session = session }
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

local function show()
  visit(nil, function(first)
    local function again(session, times)
      rotate()
      io.stdout:write('keys exchanged: ')
      if times > 0 then
        visit(session, function(renewed)
          again(renewed, times - 1)
        end)
      else
        io.stdout:write('with the first ticket: ')
        visit(first, function()
          server:close()
        end)
      end
    end
    again(first, 3)
  end)
end

server:listen(port or 0, function()
  print('listening on port ' .. server:address().port)
  if port then
    setInterval(function()
      rotate()
      print 'keys exchanged'
    end, seconds * 1000)
  else
    show()
  end
end)

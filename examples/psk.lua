-- Keys that both ends have had before, instead of certificates, as small devices use them. A server that finds the
-- keys as one would in a database, and three clients: one that it knows, one that says so but has another key, and one
-- that nobody knows.
--
--   moonlatch examples/psk.lua [port]
--
-- Without a port it shows itself. With one it says how openssl can be the lamp.
local tls = require 'tls'
local crypto = require 'crypto'

-- Random, of 16 bytes or more. A word that somebody can remember is a word that somebody can guess.
local keys = { lamp = crypto.randomBytes(32), door = crypto.randomBytes(32) }

local function hex(bytes)
  return (bytes:gsub('.', function(byte)
    return ('%02x'):format(byte:byte())
  end))
end

local server = tls.createServer({
  -- The answer may come later under TLS 1.3; under TLS 1.2 the handshake cannot wait for it.
  minVersion = 'TLSv1.3',
  pskCallback = function(_, identity, callback)
    print('server: who is ' .. identity .. '?')
    setTimeout(callback, 10, nil, keys[identity])
  end,
}, function(socket)
  socket:finish('welcome\n')
end)

server:on('tlsClientError', function(err)
  print('server: turned away: ' .. err.code)
end)

local function connect(identity, key, done)
  local socket = tls.connect {
    port = server:address().port,
    host = 'localhost',
    minVersion = 'TLSv1.3',
    pskCallback = function()
      return { psk = key, identity = identity }
    end,
  }
  socket:on('secureConnect', function()
    print(identity .. ': authorized: ' .. tostring(socket.authorized))
  end)
  socket:on('data', function(data)
    io.stdout:write(identity, ': ', data)
  end)
  socket:on('error', function(err)
    print(identity .. ': ' .. err.code)
  end)
  socket:on('close', done)
end

local port = tonumber(process.argv[3])
server:listen(port or 0, function()
  print('listening on port ' .. server:address().port)
  if port then
    print(('openssl s_client -connect localhost:%d -psk %s -psk_identity lamp'):format(
      server:address().port, hex(keys.lamp)))
    return
  end
  connect('lamp', keys.lamp, function()
    connect('door', keys.lamp, function()
      connect('stranger', crypto.randomBytes(32), function()
        server:close()
      end)
    end)
  end)
end)

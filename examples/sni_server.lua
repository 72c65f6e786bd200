-- One port, two names: the certificate is chosen while the handshake waits. The choice is made by a callback that
-- answers later, as one would that asks a database.
--
--   moonlatch examples/sni_server.lua [port]
--
-- Without a port it shows itself: it connects under both names, and under one that nobody serves.
local tls = require 'tls'
local spec = require 'moonlatch.spec'

local ca = spec.ca { name = 'SNI example authority' }

local function contextFor(name)
  local leaf = ca:issue { names = { name } }
  return tls.createSecureContext { key = leaf.key, cert = leaf.cert }
end

local contexts = {
  ['alpha.example'] = contextFor('alpha.example'),
  ['beta.example'] = contextFor('beta.example'),
}
local default = ca:issue { names = { 'localhost' } }

local server = tls.createServer({
  key = default.key,
  cert = default.cert,
  SNICallback = function(servername, callback)
    setTimeout(function()
      callback(nil, contexts[servername])
    end, 10)
  end,
}, function(socket)
  socket:finish('served as ' .. tostring(socket.servername) .. '\n')
end)

server:on('tlsClientError', function(err)
  print('handshake failed: ' .. tostring(err))
end)

local function visit(servername, done)
  local socket
  socket = tls.connect({
    port = server:address().port,
    servername = servername,
    ca = { ca.cert },
  }, function()
    print(servername .. ': certificate for ' .. socket:getPeerCertificate().subjectaltname)
  end)
  socket:on('data', function(data)
    io.stdout:write(servername, ': ', data)
  end)
  socket:on('error', function(err)
    print(servername .. ': ' .. err.code)
  end)
  socket:on('close', done)
end

local port = tonumber(process.argv[3])
server:listen(port or 0, function()
  print('listening on port ' .. server:address().port)
  if port then
    return
  end
  visit('alpha.example', function()
    visit('beta.example', function()
      visit('gamma.example', function()
        server:close()
      end)
    end)
  end)
end)

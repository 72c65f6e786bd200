-- Mutual TLS: the server asks for a certificate of its own authority and greets clients by name. One client has
-- such a certificate, one has none; the second is turned away inside the handshake.
--
--   moonlatch examples/mutual_tls.lua
local tls = require 'tls'
local spec = require 'moonlatch.spec'

local ca = spec.ca { name = 'Mutual example authority' }
local serverIdentity = ca:issue { names = { 'localhost' } }
local clientIdentity = ca:issue { cn = 'ada', purpose = 'client' }

local server = tls.createServer({
  key = serverIdentity.key,
  cert = serverIdentity.cert,
  ca = { ca.cert },
  requestCert = true,
}, function(socket)
  socket:finish('hello ' .. socket:getPeerCertificate().subject.CN .. '\n')
end)

server:on('tlsClientError', function(err)
  print('server: turned away: ' .. err.code)
end)

local function connect(name, identity, done)
  local options = { port = server:address().port, host = 'localhost', ca = { ca.cert } }
  if identity then
    options.key, options.cert = identity.key, identity.cert
  end
  local socket = tls.connect(options)
  socket:on('data', function(data)
    io.stdout:write(name, ': ', data)
  end)
  -- Under TLS 1.3 a client is done before the server has judged it: the refusal arrives as an alert afterwards.
  socket:on('error', function(err)
    print(name .. ': ' .. err.code)
  end)
  socket:on('close', done)
end

server:listen(0, function()
  connect('with a certificate', clientIdentity, function()
    connect('without one', nil, function()
      server:close()
    end)
  end)
end)

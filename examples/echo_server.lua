-- A TLS echo server: what a client writes comes back.
--
--   moonlatch examples/echo_server.lua [port] [key.pem cert.pem]
--
-- Without files it makes a certificate for localhost and leaves its authority's in echo-ca.pem, for
--   openssl s_client -connect localhost:8000 -CAfile echo-ca.pem
local tls = require 'tls'
local fs = require 'fs'

local port = tonumber(process.argv[3]) or 8000
local options = {}

if process.argv[5] then
  options.key = fs.readFileSync(process.argv[4])
  options.cert = fs.readFileSync(process.argv[5])
else
  local spec = require 'moonlatch.spec'
  local ca = spec.ca { name = 'Echo example authority' }
  local leaf = ca:issue { names = { 'localhost', '127.0.0.1', '::1' } }
  options.key, options.cert = leaf.key, leaf.cert
  fs.writeFileSync('echo-ca.pem', ca.cert)
end

local server = tls.createServer(options, function(socket)
  print(('connected: %s, %s, %s'):format(socket.remoteAddress, socket:getProtocol(), socket:getCipher().name))
  socket:write('welcome!\n')
  socket:setEncoding('utf8')
  socket:pipe(socket)
  -- A client that breaks off is its own business; the server goes on.
  socket:on('error', function(err)
    print('connection failed: ' .. tostring(err))
  end)
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

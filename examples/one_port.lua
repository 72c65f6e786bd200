-- One port for TLS and plain text: whoever speaks TLS is answered in secret, a browser or curl that came with http://
-- is sent to https://.
--
--   moonlatch examples/one_port.lua [port] [key.pem cert.pem]
--
-- Without files it makes a certificate for localhost and leaves its authority's in one-port-ca.pem, for
--   curl --cacert one-port-ca.pem https://localhost:8443/
--   curl -v http://localhost:8443/
local fs = require 'fs'
local net = require 'net'
local tls = require 'tls'

local port = tonumber(process.argv[3]) or 8443
local HANDSHAKE = '\22' -- the first byte of every TLS connection (RFC 8446, 5.1: ContentType)
local identity = {}

if process.argv[5] then
  identity.key, identity.cert = fs.readFileSync(process.argv[4]), fs.readFileSync(process.argv[5])
else
  local spec = require 'moonlatch.spec'
  local ca = spec.ca { name = 'One port example authority' }
  local leaf = ca:issue { names = { 'localhost', '127.0.0.1', '::1' } }
  identity.key, identity.cert = leaf.key, leaf.cert
  fs.writeFileSync('one-port-ca.pem', ca.cert)
end

local function respond(socket, status, headers, body)
  socket:finish(('HTTP/1.1 %s\r\n%sConnection: close\r\nContent-Length: %d\r\n\r\n%s'):format(status, headers, #body,
    body))
end

-- Calls back with the head of a request: all there is to know for an example.
local function readHead(socket, callback)
  local head = ''
  socket:on('data', function(chunk)
    head = head .. chunk
    if head:find('\r\n\r\n', 1, true) then
      callback(head)
    end
  end)
  -- Clients that break off are their own business.
  socket:on('error', function(err)
    print('connection failed: ' .. tostring(err))
  end)
end

-- Never listens: it is given its connections.
local secure = tls.createServer(identity, function(socket)
  readHead(socket, function()
    print('served over ' .. socket:getProtocol())
    respond(socket, '200 OK', '', 'hello in secret\n')
  end)
end)

secure:on('tlsClientError', function(err)
  print('handshake failed: ' .. tostring(err))
end)

local server = net.createServer(function(socket)
  socket:setTimeout(10000, function()
    socket:destroy() -- it never said anything
  end)
  socket:peek(1, function(err, first)
    socket:setTimeout(0)
    if err then
      print('connection failed: ' .. tostring(err))
    elseif first == HANDSHAKE then
      secure:emit('connection', socket)
    else
      readHead(socket, function(head)
        local host = head:match('\r\n[Hh]ost: *([^\r\n]*)') or 'localhost'
        local path = head:match('^%u+ (/[^ ]*)') or '/'
        print('sent to https')
        respond(socket, '308 Permanent Redirect', ('Location: https://%s%s\r\n'):format(host, path), '')
      end)
    end
  end)
end)

server:listen(port, function()
  print('listening on port ' .. server:address().port)
end)

process:on('SIGTERM', function()
  process.exit(0)
end)

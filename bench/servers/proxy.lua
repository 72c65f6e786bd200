-- usage: moonlatch proxy.lua PORT CERTIFICATE_DIR BACKEND_PORT: takes TLS and passes on plain TCP, PORT to BACKEND_PORT
-- and PORT + 2 to BACKEND_PORT + 2.
local fs = require 'fs'
local net = require 'net'
local tls = require 'tls'

local port, dir, backendPort = tonumber(arg[1]), arg[2], tonumber(arg[3])
local identity = { key = fs.readFileSync(dir .. '/ecdsa.key'), cert = fs.readFileSync(dir .. '/ecdsa.crt') }

-- What ends one end ends the other.
local function bind(socket, other)
  socket:setNoDelay(true)
  socket:on('error', function() end)
  socket:on('close', function()
    other:destroy()
  end)
end

local function proxy(offset)
  local server = tls.createServer(identity, function(client)
    local backend = net.connect(backendPort + offset, '127.0.0.1')
    bind(client, backend)
    bind(backend, client)
    client:pipe(backend):pipe(client)
  end)
  server:listen(port + offset, '127.0.0.1', 4096)
end

proxy(0)
proxy(2)

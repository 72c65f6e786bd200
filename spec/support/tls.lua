--- What the TLS specs share: an authority, a server identity, and a server with a client in one call.
local spec = require 'moonlatch.spec'
local tls = require 'tls'

local M = {}

M.ca = spec.ca { name = 'Spec authority' }
M.localhost = M.ca:issue { names = { 'localhost', '127.0.0.1', '::1' } }

--- A handshakeTimeout that ends soon enough to be waited for, and never before what one end does at once is done.
M.handshakeTimeout = 200 * spec.slowness

local function merged(defaults, options)
  local result = {}
  for key, value in pairs(defaults) do
    result[key] = value
  end
  for key, value in pairs(options or {}) do
    result[key] = value
  end
  return result
end

--- Options of a server, or of a context for one: the localhost identity, and these.
function M.identity(options)
  return merged({ key = M.localhost.key, cert = M.localhost.cert }, options)
end

--- A listening server with the localhost identity. `ready(port)` is called when it listens.
function M.serve(options, onSocket, ready)
  local server = tls.createServer(M.identity(options), onSocket)
  server:listen(0, '127.0.0.1', function()
    ready(server:address().port)
  end)
  return server
end

--- The sockets that a server accepts from now on, in their handshakes too.
---@return tls.TLSSocket[]
function M.accepted(server)
  local list = {}
  local create = server._createSocket
  function server:_createSocket(handle)
    local socket, rest = create(self, handle)
    list[#list + 1] = socket
    return socket, rest
  end
  return list
end

--- A client that trusts the authority and calls the server localhost.
function M.connect(port, options, onSecure)
  return tls.connect(merged({ port = port, host = '127.0.0.1', servername = 'localhost', ca = M.ca.cert }, options),
    onSecure)
end

--- Runs `check` for TLS 1.2 and for TLS 1.3, as two tests.
function M.eachVersion(it, name, check)
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it(name .. ' (' .. version .. ')', spec.async(function(done, expect)
      check(version, done, expect)
    end))
  end
end

M.merged = merged

return M

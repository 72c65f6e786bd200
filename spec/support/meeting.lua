--- One connection from beginning to end, with what either end learnt from it.
local T = require 'spec.support.tls'

local M = {}

---@class spec.End  what one end learnt: facts when the handshake came to its end, or the error
---@field alpn? string|false
---@field npn? string|false
---@field protocol? string
---@field cipher? string
---@field authorized? boolean
---@field authorizationError? string
---@field reused? boolean
---@field error? Error
---@field session? string  a client's last

local function learn(into, socket)
  into.alpn, into.npn = socket.alpnProtocol, socket.npnProtocol
  into.protocol, into.cipher = socket:getProtocol(), socket:getCipher().name
  into.authorized, into.authorizationError = socket.authorized, socket.authorizationError
  into.reused, into.servername = socket:isSessionReused(), socket.servername
end

-- Records into the two tables; `over` is called when the client's socket has closed.
local function record(server, client, ofServer, ofClient, over)
  local function onSecure(socket)
    learn(ofServer, socket)
    socket:on('error', function(err)
      ofServer.error = err
    end)
    socket:finish('well met')
  end
  local function onClientError(err)
    ofServer.error = err
  end
  server:on('secureConnection', onSecure)
  server:on('tlsClientError', onClientError)
  client:on('secureConnect', function()
    learn(ofClient, client)
  end)
  client:on('data', function(data)
    ofClient.data = (ofClient.data or '') .. data
  end)
  client:on('session', function(session)
    ofClient.session = session
  end)
  client:on('error', function(err)
    ofClient.error = err
  end)
  client:on('close', function()
    over(function()
      server:removeListener('secureConnection', onSecure)
      server:removeListener('tlsClientError', onClientError)
    end)
  end)
end

--- Connects to a server that is listening, which says a word and ends the connection.
---@param connected? fun(client: tls.TLSSocket)  gets the socket while it connects
---@return spec.End server
---@return spec.End client
function M.visit(await, server, clientOptions, connected)
  local ofServer, ofClient = {}, {}
  await(function(done)
    local client = T.connect(server:address().port, clientOptions)
    record(server, client, ofServer, ofClient, function(forget)
      -- The server's own end of it may come later.
      local function look()
        server:getConnections(function(_, count)
          if count > 0 then
            setImmediate(look)
            return
          end
          forget()
          done()
        end)
      end
      look()
    end)
    if connected then
      connected(client)
    end
  end)
  return ofServer, ofClient
end

--- A server for one visit.
---@return spec.End server
---@return spec.End client
function M.meet(await, serverOptions, clientOptions, connected)
  local server
  await(function(listening)
    server = T.serve(serverOptions, nil, function()
      listening()
    end)
  end)
  local ofServer, ofClient = M.visit(await, server, clientOptions, connected)
  await(function(closed)
    server:close(closed)
  end)
  return ofServer, ofClient
end

--- One test for TLS 1.2 and one for TLS 1.3, each `check(await, options, expect)` with the options for that version.
function M.eachVersion(it, name, check)
  local spec = require 'moonlatch.spec'
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it(('%s (%s)'):format(name, version), spec.coroutine(function(await, expect)
      check(await, { minVersion = version, maxVersion = version }, expect)
    end))
  end
end

return M

--- What the specs of sessions and tickets share: a server that greets, and visits with a session.
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local M = {}

--- A server that greets each client and ends the connection. Its failures are for the test to listen to.
---@param options? table
---@param onSocket? fun(socket: tls.TLSSocket)
---@return tls.Server server
---@return integer port
function M.serve(await, options, onSocket)
  return P.serve(await, options, function(socket)
    socket:on('error', function() end)
    if onSocket then
      onSocket(socket)
    end
    socket:finish('hello')
    socket:resume()
  end)
end

--- What a visit came to.
---@class spec.Visit
---@field reused? boolean     nil: the handshake was not over
---@field protocol? string
---@field cn? string          whose certificate it was
---@field text string         what the server said
---@field sessions string[]   one for each 'session' event
---@field session? string     the last of them
---@field ticket? string      the ticket in it
---@field key? string         the name of the key that sealed it
---@field error? table

--- Connects once and waits for the end.
---@param options? table  as for tls.connect
---@return spec.Visit
function M.visit(await, port, options)
  local seen = { sessions = {}, text = '' }
  local socket = T.connect(port, options)
  socket:on('secureConnect', function()
    seen.reused = socket:isSessionReused()
    seen.protocol = socket:getProtocol()
    seen.cn = socket:getPeerCertificate().subject.CN
  end)
  socket:on('session', function(session)
    table.insert(seen.sessions, session)
    seen.session = session
    seen.ticket = socket:getTLSTicket()
    seen.key = seen.ticket and seen.ticket:sub(1, 16)
  end)
  socket:on('data', function(chunk)
    seen.text = seen.text .. chunk
  end)
  socket:on('error', function(err)
    seen.error = err
  end)
  await(function(closed)
    socket:on('close', function()
      closed()
    end)
  end)
  return seen
end

--- Runs `check(await, version, files, expect)` for TLS 1.2 and for TLS 1.3, as two tests.
---@param it function  busted's
function M.eachVersion(it, name, check)
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it(('%s (%s)'):format(name, version), P.test({}, function(await, files, expect)
      check(await, version, files, expect)
    end))
  end
end

return M

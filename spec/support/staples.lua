--- What the specs of OCSP in the handshake share.
local crypto = require 'crypto'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local T = require 'spec.support.tls'

local M = {}

function M.der(identity)
  return crypto.X509Certificate(identity.cert).raw
end

function M.hex(bytes)
  return (bytes:gsub('.', function(byte)
    return ('%02x'):format(byte:byte())
  end))
end

function M.only(version, options)
  return T.merged({ minVersion = version, maxVersion = version }, options)
end

--- Runs `check(await, version, expect)` for TLS 1.2 and for TLS 1.3, as two tests.
function M.eachVersion(it, name, check)
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it(('%s (%s)'):format(name, version), spec.coroutine(function(await, expect)
      check(await, version, expect)
    end))
  end
end

--- A server that asks `listener` for its staple, and greets.
function M.serve(await, options, listener)
  local server, port = P.serve(await, options, function(socket)
    socket:on('error', function() end)
    socket:finish('hello')
    socket:resume()
  end)
  if listener then
    server:on('OCSPRequest', listener)
  end
  server.failures = {}
  server:on('tlsClientError', function(err)
    table.insert(server.failures, err)
  end)
  return server, port
end

--- Connects, asking for a staple unless told otherwise, and waits for the end.
---@return spec.Visit seen  with events and staple
function M.visit(await, port, options)
  return S.visit(await, port, T.merged({ requestOCSP = true }, options), function(socket, seen)
    seen.events = {}
    for _, name in ipairs { 'OCSPResponse', 'secureConnect' } do
      socket:on(name, function()
        table.insert(seen.events, name)
      end)
    end
    socket:on('OCSPResponse', function(response, ...)
      assert(select('#', ...) == 0)
      seen.staple = response
    end)
  end)
end

return M

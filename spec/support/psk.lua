--- What the specs of pre-shared keys share: alice, her key, and two ends that have nothing else.
local meeting = require 'spec.support.meeting'
local T = require 'spec.support.tls'
local assert = require 'luassert'

local M = {}

M.KEY = 'a key of 24 random bytes'
M.V12, M.V13 = { minVersion = 'TLSv1.2', maxVersion = 'TLSv1.2' }, { minVersion = 'TLSv1.3' }

local function nobody() end

--- The pskCallback of a server.
function M.knowsAlice(_, identity)
  return identity == 'alice' and M.KEY or nil
end

--- The pskCallback of a client.
function M.asAlice()
  return { psk = M.KEY, identity = 'alice' }
end

--- A server without certificate, a client that has only its key.
function M.server(version, options)
  return T.merged(T.merged({ key = false, cert = false, ciphers = 'PSK+HIGH', pskCallback = M.knowsAlice }, version),
    options)
end

function M.client(version, options)
  return T.merged(T.merged({ ciphers = 'PSK+HIGH', pskCallback = M.asAlice, checkServerIdentity = nobody }, version),
    options)
end

--- What became of both ends, as spec.support.meeting has it.
function M.meet(await, version, serverOptions, clientOptions, connected)
  return meeting.meet(await, M.server(version, serverOptions), M.client(version, clientOptions), connected)
end

--- It was the key that did it, and nobody complained.
function M.assertByKey(ofServer, ofClient)
  assert.same({ nil, nil }, { ofServer.error, ofClient.error })
  assert.is_true(ofClient.authorized)
  assert.is_nil(ofClient.authorizationError)
  assert.equal('well met', ofClient.data)
end

return M

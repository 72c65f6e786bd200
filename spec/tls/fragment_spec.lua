-- socket:setMaxSendFragment, as it shows on the wire.
local H = require 'spec.support.hostile'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local T = require 'spec.support.tls'

local OVERHEAD = 64   -- what encryption adds to a record, at most
local APPLICATION_DATA = 23

-- The longest record of application data in these bytes.
local function longestRecord(bytes)
  local at, longest = 1, 0
  while at + 5 <= #bytes do
    local kind, length = bytes:byte(at), bytes:byte(at + 3) * 256 + bytes:byte(at + 4)
    longest = kind == APPLICATION_DATA and math.max(longest, length) or longest
    at = at + 5 + length
  end
  return longest
end

-- What the longest record is that a client sends after `prepare(client)`.
local function sent(await, version, prepare)
  local bytes = {}
  local server, port = P.serve(await, { maxVersion = version }, function(socket)
    socket:on('error', function() end)
    socket:resume()
  end)
  local proxy, between = H.proxy(await, port, function(downstream)
    downstream:on('data', function(chunk)
      bytes[#bytes + 1] = chunk
    end)
  end)
  local client = T.connect(between)
  await(client, 'secureConnect')
  prepare(client)
  client:finish(('x'):rep(100000))
  client:resume()
  await(client, 'close')
  P.close(await, proxy)
  P.close(await, server)
  return longestRecord(table.concat(bytes))
end

describe('socket:setMaxSendFragment', function()
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it('limits the records that are sent from then on (' .. version .. ')', spec.coroutine(function(await)
      for _, size in ipairs { 512, 5000, 16384 } do
        local longest = sent(await, version, function(client)
          assert.is_true(client:setMaxSendFragment(size))
        end)
        assert.is_true(longest > size - OVERHEAD and longest <= size + OVERHEAD, longest)
      end
    end))
  end

  it('is false for what no record can be, and changes nothing then', spec.coroutine(function(await)
    local longest = sent(await, 'TLSv1.3', function(client)
      assert.is_true(client:setMaxSendFragment(1000))
      for _, size in ipairs { 0, -1, 511, 16385, 2 ^ 31 - 1, -2 ^ 31 } do
        assert.is_false(client:setMaxSendFragment(size))
      end
      for _, size in ipairs { 600.5, 1e10, -1e300, 0 / 0, math.huge } do
        N.raises('ERR_OUT_OF_RANGE', client.setMaxSendFragment, client, size)
      end
      for _, size in ipairs { 'x', false, {} } do
        N.raises('ERR_INVALID_ARG_TYPE', client.setMaxSendFragment, client, size)
      end
      N.raises('ERR_INVALID_ARG_TYPE', client.setMaxSendFragment, client)
    end)
    assert.is_true(longest <= 1000 + OVERHEAD)
  end))

  it('is false on a socket that has no connection', function()
    local socket = tls.TLSSocket()
    assert.is_false(socket:setMaxSendFragment(1000))
    socket:destroy()
    assert.is_false(socket:setMaxSendFragment(1000))
  end)
end)

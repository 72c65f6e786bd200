-- What 'close' says of how a socket ended.
local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'

-- The argument of 'close' once `act` has ended the socket; 'nothing' for none.
local function said(await, socket, act)
  socket:on('error', function() end)
  return await(function(closed)
    socket:on('close', function(hadError)
      closed(nil, hadError == nil and 'nothing' or hadError)
    end)
    act(socket)
  end)
end

local function destroyWith(err)
  return function(socket) socket:destroy(err) end
end

describe('the argument of close', function()
  it('is no error when a connected socket is destroyed with false', spec.async(function(done, expect)
    N.pair(function(client, peer, over)
      peer:resume()
      client:on('error', expect(0))
      client:on('close', expect(function(hadError)
        assert.is_false(hadError)
        over(done)
      end))
      client:destroy(false)
    end)
  end))

  it('is no error when a TLS connection is destroyed with false', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      peer:resume()
      client:on('error', expect(0))
      client:on('close', expect(function(hadError)
        assert.is_false(hadError)
        over(done)
      end))
      client:destroy(false)
    end)
  end))

  it('is no error when a socket that connects is destroyed with false', spec.coroutine(function(await)
    assert.is_false(said(await, net.connect(1, '127.0.0.1'), destroyWith(false)))
    assert.is_false(said(await, tls.connect(1, '127.0.0.1'), destroyWith(false)))
  end))

  it('is nothing for a socket that never began to connect', spec.coroutine(function(await)
    for _, act in ipairs {
      destroyWith(nil), destroyWith(false), destroyWith(Error 'mine'), net.Socket.prototype.resetAndDestroy,
      function(socket) socket:write('to nobody') end,
    } do
      assert.equal('nothing', said(await, net.Socket(), act))
    end
  end))

  it('is nothing when a signal was aborted before there was a socket', spec.coroutine(function(await)
    local aborted = require('moonlatch.abort').AbortSignal.abort()
    assert.equal('nothing', said(await, net.Socket { signal = aborted }, function() end))
  end))

  it('tells of a TLS socket in any case', spec.coroutine(function(await)
    assert.is_false(said(await, tls.TLSSocket(), destroyWith(nil)))
    assert.is_true(said(await, tls.TLSSocket(), destroyWith(Error 'mine')))
  end))

  it('tells of a socket that carries TLS', spec.async(function(done, expect)
    local server
    server = T.serve({}, function(peer) peer:resume() end, function(port)
      local below = net.connect(port, '127.0.0.1')
      local client = T.connect(nil, { socket = below }, expect(function()
        below:destroy()
      end))
      client:on('error', expect(0))
      client:on('close', expect(function(hadError) assert.is_false(hadError) end))
      below:on('close', expect(function(hadError)
        assert.is_false(hadError)
        server:close(done)
      end))
    end)
  end))

  it('tells of each connection that a socket had', spec.coroutine(function(await)
    local port = await(function(found)
      N.unusedPort(function(nobody) found(nil, nobody) end)
    end)
    local socket = net.Socket()
    assert.equal('nothing', said(await, socket, destroyWith(nil)))
    socket:removeAllListeners('close')
    assert.is_true(said(await, socket, function() socket:connect(port, '127.0.0.1') end))
  end))
end)

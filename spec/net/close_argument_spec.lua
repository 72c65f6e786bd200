-- What 'close' says of how a socket ended.
local net = require 'net'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'
local H = require 'spec.support.hostile'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
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

-- A Duplex that passes everything on to a socket.
local function throughDuplex(socket)
  local duplex = stream.Duplex {
    read = function() socket:resume() end,
    write = function(_, chunk, _, callback) socket:write(chunk, callback) end,
    final = function(_, callback) socket:finish(callback) end,
    destroy = function(_, err, callback)
      socket:destroy()
      callback(err)
    end,
  }
  socket:on('data', function(chunk) duplex:push(chunk) end)
  socket:on('end', function() duplex:push(nil) end)
  return duplex
end

local function destroyWith(err)
  return function(socket) socket:destroy(err) end
end

describe('the argument of close', function()
  for _, case in ipairs { { 'connected socket', N.pair }, { 'TLS connection', N.securePair } } do
    local what, pair = case[1], case[2]
    it('is no error when a ' .. what .. ' is destroyed with false', spec.async(function(done, expect)
      pair(function(client, peer, over)
        peer:resume()
        client:on('error', expect(0))
        client:on('close', expect(function(hadError)
          assert.is_false(hadError)
          over(done)
        end))
        client:destroy(false)
      end)
    end))
  end

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

  -- Over a socket that was there, and over a Duplex.
  local function carried(options, act, check)
    return spec.coroutine(function(await)
      for _, carry in ipairs { function(socket) return socket end, throughDuplex } do
        local server, port = P.serve(await, {}, function(peer)
          peer:on('error', function() end)
          peer:resume()
        end)
        local below = carry(net.connect(port, '127.0.0.1'))
        below:on('error', function() end)
        local client, failure = T.connect(nil, T.merged({ socket = below }, options)), nil
        client:on('error', function(err) failure = err end)
        local hadError = await(function(closed)
          client:on('close', function(value) closed(nil, value) end)
          act(client, below)
        end)
        check(hadError, failure)
        P.close(await, server)
      end
    end)
  end

  it('is no error when the stream below fails, which is an error event', carried({}, function(client, below)
    client:on('secureConnect', function()
      below:destroy(Error 'below')
    end)
  end, function(hadError, failure)
    assert.equal('below', failure.message)
    assert.is_false(hadError)
  end))

  it('is one when the handshake fails', carried({ checkServerIdentity = function()
    return Error 'not the one'
  end }, function() end, function(hadError, failure)
    assert.equal('not the one', failure.message)
    assert.is_true(hadError)
  end))

  it('is one for the socket of a tlsClientError', spec.coroutine(function(await)
    local server, port = P.serve(await, { ALPNProtocols = { 'a' } })
    server:on('tlsClientError', function(_, socket)
      socket:on('close', function(hadError) server.told = hadError end)
    end)
    assert.truthy(H.clientFailure(await, port, { ALPNProtocols = { 'b' } }).hadError)
    P.close(await, server)
    assert.is_true(server.told)
  end))

  it('is no error when TLS fails after the handshake, which is an error event', spec.coroutine(function(await)
    local server, port = P.serve(await, { requestCert = true, ca = T.ca.cert, minVersion = 'TLSv1.3' })
    local failure = H.clientFailure(await, port)
    assert.is_true(failure.connected)
    assert.equal('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', failure.error.code)
    assert.is_false(failure.hadError)
    P.close(await, server)
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

-- What a script can still do with the socket that TLS has been put on.
local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local X = require 'spec.support.carriers'

-- A client on a plain socket, whose server's end is a TLSSocket on one: test(await, client, plain, peer, plainPeer).
local function between(test)
  return spec.coroutine(function(await, expect)
    local plainPeer
    local server = tls.createServer(X.serverOptions())
    server:on('connection', function(socket)
      plainPeer = socket
    end)
    server:listen(0, '127.0.0.1')
    await(server, 'listening')
    local plain = net.connect(server:address().port, '127.0.0.1')
    local client = tls.connect(X.clientOptions(plain))
    local peer = await(server, 'secureConnection')
    if client.secureConnecting then
      await(client, 'secureConnect')
    end
    test(await, client, plain, peer, plainPeer, expect)
    client:destroy()
    peer:destroy()
    await(function(done)
      server:close(done)
    end)
  end)
end

local function shortTime(done)
  setTimeout(done, 2)
end

describe('The socket below TLS', function()
  it('counts the bytes of the records', between(function(await, client, plain, peer, plainPeer)
    local before = plain.bytesWritten
    assert.is_true(before > 0)
    client:write(('x'):rep(1000))
    local chunk = await(peer, 'data')
    assert.equal(1000, #chunk)
    assert.is_true(plain.bytesWritten >= before + 1000)
    assert.equal(plain.bytesWritten, plainPeer.bytesRead)
    assert.equal(1000, client.bytesWritten)
    assert.equal(1000, peer.bytesRead)
  end))

  it('keeps its counts when it is over', between(function(await, client, plain, peer, plainPeer)
    peer:resume()
    client:resume()
    client:finish('last words')
    P.closed(await, client, peer)
    assert.is_true(plain.bytesWritten > 100)
    assert.equal(plain.bytesWritten, plainPeer.bytesRead)
    assert.equal(plain.bytesRead, plainPeer.bytesWritten)
  end))

  it('counts the cleartext when it is a TLSSocket itself', spec.async(function(done)
    X.open('TLS over TLS', T.identity { ca = T.ca.cert }, function(client, server)
      local middle = client._parent
      server:once('data', function(chunk)
        assert.equal('through both', chunk)
        assert.is_true(middle.bytesWritten > #chunk)
        assert.is_true(middle._parent.bytesWritten > middle.bytesWritten)
        client:destroy()
        server:destroy()
      end)
      client:write('through both')
      server:on('close', function()
        done()
      end)
    end)
  end))

  it('has a timeout of its own', between(function(await, client, plain, _, _, expect)
    client:on('timeout', function()
      error('nobody has set one there')
    end)
    plain:setTimeout(5, expect())
    await(plain, 'timeout')
    assert.is_nil(client.timeout)
  end))

  it('takes along the timeout that was set before', spec.coroutine(function(await, expect)
    local server = net.createServer(function(socket)
      tls.TLSSocket(socket, X.serverOptions()):on('error', function() end)
    end)
    server:listen(0, '127.0.0.1')
    await(server, 'listening')
    local plain = net.connect(server:address().port, '127.0.0.1')
    plain:setTimeout(30)
    plain:on('timeout', expect(function()
      plain:destroy()
    end))
    local client = tls.connect(X.clientOptions(plain))
    P.closed(await, client)
    await(function(done)
      server:close(done)
    end)
  end))

  it('tells of idleness once for each time that something has moved', between(function(await, client, plain, peer)
    local told = 0
    peer:write('behind the tickets')
    await(client, 'data')
    plain:on('timeout', function()
      told = told + 1
    end)
    plain:setTimeout(2)
    await(plain, 'timeout')
    for _ = 1, 3 do
      await(shortTime)
    end
    assert.equal(1, told)
    client:write('something')
    await(peer, 'data')
    if told == 1 then
      await(plain, 'timeout')
    end
    assert.equal(2, told)
  end))

  it('needs no timeout any more', between(function(await, _, plain)
    plain:setTimeout(2, function()
      error('it was taken back')
    end)
    plain:setTimeout(0)
    for _ = 1, 5 do
      await(shortTime)
    end
  end))

  it('sends what is no TLS to a peer that will not have it', between(function(await, client, plain, peer)
    local failures = {}
    for name, socket in pairs { client = client, peer = peer } do
      socket:on('error', function(err)
        failures[name] = err.code
      end)
    end
    client:write('before')
    plain:cork()
    plain:write(('\255'):rep(3))
    plain:finish(('\255'):rep(3))
    assert.equal('before', await(peer, 'data'))
    P.closed(await, client, peer)
    assert.same({ client = 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', peer = 'ERR_SSL_WRONG_VERSION_NUMBER' }, failures)
  end))

  it('ends TLS when it is ended', between(function(await, client, plain, peer)
    local ended = false
    peer:on('end', function()
      ended = true
    end)
    client:write('last words')
    plain:finish()
    assert.equal('last words', await(peer, 'data'))
    client:resume()
    P.closed(await, client, peer)
    assert.is_true(ended)
    assert.is_nil(client.errored)
  end))

  it('sends nothing when TLS has shut it down', between(function(await, client, plain, peer)
    plain:on('error', function() end)
    client:on('error', function() end)
    peer:resume()
    client:finish()
    await(client, 'finish')
    local err
    plain:write('late', function(why)
      err = why
    end)
    P.closed(await, plain)
    assert.equal('EPIPE', err.code)
  end))
end)

-- Renegotiation beside everything else there is: timeouts, callbacks, other streams, other implementations.
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'
local H = require 'spec.support.hostile'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
local R = require 'spec.support.renegotiation'
local T = require 'spec.support.tls'

local ada = T.ca:issue { cn = 'ada', purpose = 'client' }

local TLS12 = { maxVersion = 'TLSv1.2' }
local between, failureOf, renegotiate = R.between, N.failureOf, R.renegotiate

describe('a renegotiation that does not come to an end', function()
  local limited = { handshakeTimeout = T.handshakeTimeout }

  -- Both ends with somebody between them, who begins to keep things to himself.
  local function withProxy(options, check)
    return spec.coroutine(function(await)
      local peer, downstream, upstream
      local server, port = P.serve(await, T.merged(TLS12, options.server), function(socket)
        peer = socket
      end)
      local proxy, between_ = H.proxy(await, port, function(...)
        downstream, upstream = ...
      end)
      local client = T.connect(between_, options.client)
      await(client, 'secureConnect')
      if not peer then
        await(server, 'secureConnection')
      end
      -- From now on nothing of what the client says arrives.
      downstream:unpipe(upstream)
      check(await, client, peer)
      client:destroy()
      peer:destroy()
      downstream:destroy()
      upstream:destroy()
      P.close(await, proxy)
      P.close(await, server)
    end)
  end

  it('ends with handshakeTimeout when the client does not answer', withProxy({ server = limited },
    function(await, _, peer)
      local told
      peer:renegotiate({}, function(err)
        told = err
      end)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', failureOf(await, peer).code)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', told.code)
    end))

  it('ends with handshakeTimeout when the server does not', withProxy({ client = limited },
    function(await, client)
      client:renegotiate {}
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', failureOf(await, client).code)
    end))

  it('leaves the timeout behind when it has come to an end', between({ server = limited },
    function(await, client, peer)
      renegotiate(await, peer)
      await(1.5 * T.handshakeTimeout)
      client:write('still here')
      assert.equal('still here', (await(peer, 'data')))
    end))
end)

describe('a renegotiation', function()
  -- Both ends do it, and can talk afterwards.
  local function both(await, client, peer)
    for _, socket in ipairs { client, peer } do
      renegotiate(await, socket)
    end
    client:write('well?')
    assert.equal('well?', (await(peer, 'data')))
  end

  it('asks neither for a context nor for a protocol again', spec.coroutine(function(await)
    local asked = {}
    local context = tls.createSecureContext(T.identity { maxVersion = 'TLSv1.2' })
    local client, peer, close = N.awaitSecurePair(await, {
      server = {
        SNICallback = function(name, callback)
          asked[#asked + 1] = name
          callback(nil, context)
        end,
        ALPNCallback = function(offer)
          asked[#asked + 1] = offer.protocols[2]
          return 'h2'
        end,
      },
      client = { ALPNProtocols = { 'http/1.1', 'h2' } },
    })
    both(await, client, peer)
    assert.same({ 'localhost', 'h2' }, asked)
    assert.equal('h2', client.alpnProtocol)
    assert.equal('localhost', peer.servername)
    client:destroy()
    peer:destroy()
    await(close)
  end))

  it('asks for the key again where there is one instead of certificates', spec.coroutine(function(await)
    local asked, key = 0, ('k'):rep(32)
    local client, peer, close = N.awaitSecurePair(await, {
      server = {
        maxVersion = 'TLSv1.2', ciphers = 'PSK',
        pskCallback = function()
          asked = asked + 1
          return key
        end,
      },
      client = {
        ciphers = 'PSK', checkServerIdentity = function() end,
        pskCallback = function()
          return { psk = key, identity = 'me' }
        end,
      },
    })
    both(await, client, peer)
    assert.equal(3, asked)
    client:destroy()
    peer:destroy()
    await(close)
  end))

  it('works over a Duplex', spec.coroutine(function(await)
    local one, two = unpack(stream.duplexPair())
    local context = tls.createSecureContext(T.identity { maxVersion = 'TLSv1.2' })
    local peer = tls.TLSSocket(one, { isServer = true, secureContext = context })
    local client = tls.connect { socket = two, ca = T.ca.cert, servername = 'localhost' }
    await(client, 'secureConnect')
    both(await, client, peer)
    client:destroy()
    peer:destroy()
    await(peer, 'close')
  end))

  it('works inside another TLS connection, which is then declined one of its own', between({},
    function(await, outerClient, outerPeer)
      local context = tls.createSecureContext { key = T.localhost.key, cert = T.localhost.cert,
        maxVersion = 'TLSv1.2' }
      local peer = tls.TLSSocket(outerPeer, { isServer = true, secureContext = context })
      local client = tls.connect { socket = outerClient, ca = T.ca.cert, servername = 'localhost' }
      await(client, 'secureConnect')
      both(await, client, peer)
      for _, method in ipairs { 'renegotiate', 'updateKeys', 'requestCertificate' } do
        local returned
        local err = await(function(told)
          returned = outerClient[method](outerClient, {}, function(err)
            told(nil, err)
          end)
        end)
        assert.is_false(returned)
        assert.equal('ERR_TLS_INVALID_STATE', err.code)
      end
      both(await, client, peer)
      client:destroy()
      peer:destroy()
    end))
end)

describe('openssl s_client', function()
  local function serving(options, onSocket)
    return P.test({ ada = ada }, function(await, files)
      local peer
      local server, port = P.serve(await, T.merged(T.merged(TLS12, { ca = T.ca.cert }), options), function(socket)
        peer = socket
        socket:on('error', function() end)
        socket:write('welcome\n')
      end)
      local command = P.sClient(port, { '-CAfile', files.ca, '-cert', files.ada_cert, '-key', files.ada_key })
      P.waitFor(await, command, 'stdout', 'welcome')
      onSocket(await, command, peer)
      command.stdin:destroy()
      P.over(await, command)
      P.close(await, server)
    end)
  end

  it('renegotiates with R, three times', serving({}, function(await, command, peer)
    for _ = 1, 3 do
      command.stdin:write('R\n')
      await(peer, 'secure')
      peer:write('again\n')
    end
    command.stdin:write('R\n')
    assert.equal('ERR_TLS_SESSION_ATTACK', failureOf(await, peer).code)
    P.over(await, command)
    assert.matches('RENEGOTIATING', command.stdout .. command.stderr)
  end))

  it('shows its certificate when it is asked for it later', serving({}, function(await, command, peer)
    renegotiate(await, peer, { requestCert = true })
    assert.is_true(peer.authorized)
    assert.equal('ada', peer:getPeerCertificate().subject.CN)
    peer:write('thank you\n')
    P.waitFor(await, command, 'stdout', 'thank you')
  end))
end)

describe('openssl s_server', function()
  it('may ask a client of ours to renegotiate', P.test({ localhost = T.localhost, ada = ada },
    function(await, files)
      local command = spec.command({ 'openssl', 's_server', '-accept', '127.0.0.1:0', '-tls1_2',
        '-client_renegotiation', '-CAfile', files.ca, '-cert', files.localhost_cert, '-key',
        files.localhost_key }, { input = false })
      local port = tonumber(P.waitFor(await, command, 'stdout', 'ACCEPT 127%.0%.0%.1:(%d+)'))
      local client = T.connect(port, { key = ada.key, cert = ada.cert })
      await(client, 'secureConnect')
      client:write('one\n')
      P.waitFor(await, command, 'stdout', 'one')
      command.stdin:write('R\n')
      await(client, 'secureConnect')
      assert.is_true(client.authorized)
      client:write('two\n')
      P.waitFor(await, command, 'stdout', 'two')
      renegotiate(await, client)
      client:destroy()
      P.stop(await, command)
    end))
end)

describe('Node', function()
  it('renegotiates with a server of ours, at its own and at our wish', P.test({}, function(await)
    local peer
    local server, port = P.serve(await, { ca = T.ca.cert }, function(socket)
      peer = socket
      socket:on('error', function() end)
    end)
    local command = spec.command({ 'node', '-e', [[
      const { PORT, CA, CERT, KEY } = process.env;
      const socket = require('tls').connect({ port: PORT, host: '127.0.0.1', servername: 'localhost', ca: CA,
        cert: CERT, key: KEY, maxVersion: 'TLSv1.2' });
      let times = 0;
      socket.on('secure', () => console.log(`secure ${++times}`));
      socket.once('secureConnect', () => {
        socket.renegotiate({}, (err) => socket.write(err ? err.code : 'renegotiated'));
      });
      socket.on('data', (data) => socket.write(data));
      socket.on('end', () => socket.end());
    ]] }, { env = { PORT = tostring(port), CA = T.ca.cert, CERT = ada.cert, KEY = ada.key, NODE_OPTIONS = false } })
    if not peer then
      await(server, 'secureConnection')
    end
    assert.equal('renegotiated', (await(peer, 'data')))
    assert.is_false(peer.authorized)
    renegotiate(await, peer, { requestCert = true })
    assert.is_true(peer.authorized)
    peer:write('echo')
    assert.equal('echo', (await(peer, 'data')))
    peer:finish()
    await(peer, 'end')
    P.over(await, command)
    assert.matches('secure 3', command.stdout)
    P.close(await, server)
  end))
end)

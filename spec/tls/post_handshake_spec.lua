-- What TLS 1.3 has after the handshake: new keys, and a client's certificate that is asked for later.
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local ada = T.ca:issue { cn = 'ada', purpose = 'client' }
local eve = spec.ca({ name = 'Another authority' }):issue { cn = 'eve', purpose = 'client' }

local between, failureOf = N.withSecurePair, N.failureOf

-- What a method returned, and what its callback was told.
local function outcome(await, socket, method, ...)
  local returned
  local arguments = { ... }
  local err = await(function(over)
    arguments[#arguments + 1] = function(err)
      over(nil, err)
    end
    returned = socket[method](socket, unpack(arguments))
  end)
  return returned, err
end

-- Both ends hear each other still.
local function talk(await, client, peer)
  for _, pair in ipairs { { client, peer }, { peer, client } } do
    pair[1]:write('can you hear me?')
    assert.equal('can you hear me?', (await(pair[2], 'data')))
  end
end

local function lacking(method)
  return function(await)
    local client, peer, close = N.awaitSecurePair(await, { client = { maxVersion = 'TLSv1.2' } })
    local returned, err = outcome(await, peer, method)
    assert.is_false(returned)
    assert.equal('ERR_SSL_WRONG_SSL_VERSION', err.code)
    assert.is_false(peer[method](peer))
    peer:destroy()
    client:destroy()
    returned, err = outcome(await, peer, method)
    assert.is_false(returned)
    assert.equal('ERR_SOCKET_CLOSED', err.code)
    returned, err = outcome(await, tls.TLSSocket(), method)
    assert.is_false(returned)
    assert.equal('ERR_TLS_INVALID_STATE', err.code)
    await(close)
  end
end

describe('socket:updateKeys', function()
  it('exchanges the keys of either end', between({}, function(await, client, peer)
    for _, socket in ipairs { client, peer } do
      local returned, err = outcome(await, socket, 'updateKeys')
      assert.is_true(returned)
      assert.is_nil(err)
      talk(await, client, peer)
    end
  end))

  it('exchanges those of the peer on request', between({}, function(await, client, peer)
    client:resume()
    peer:resume()
    for _, socket in ipairs { client, peer } do
      local returned, err = outcome(await, socket, 'updateKeys', { requestPeer = true })
      assert.is_true(returned)
      assert.is_nil(err)
      talk(await, client, peer)
    end
  end))

  it('has options and a callback that may be left out', between({}, function(await, client, peer)
    assert.is_true(client:updateKeys())
    assert.is_true(client:updateKeys({}))
    assert.is_true(client:updateKeys({ requestPeer = true }))
    talk(await, client, peer)
    local e = N.raises('ERR_INVALID_ARG_TYPE', client.updateKeys, client, 5)
    assert.equal('The "options" argument must be of type object. Received type number (5)', e.message)
    N.raises('ERR_INVALID_ARG_TYPE', client.updateKeys, client, {}, 'x')
  end))

  it('is refused before TLS 1.3 and the handshake, and on a closed socket', spec.coroutine(lacking 'updateKeys'))

  it('is refused after the end', between({}, function(await, client, peer)
    peer:resume()
    client:finish()
    await(client, 'finish')
    local returned, err = outcome(await, client, 'updateKeys')
    assert.is_false(returned)
    assert.equal('ERR_TLS_INVALID_STATE', err.code)
  end))

  it('tells its callback when the connection ends before the peer has answered', between({},
    function(await, client, peer)
      local told
      assert.is_true(client:updateKeys({ requestPeer = true }, function(err)
        told = err
      end))
      peer:on('error', function() end) -- its answer finds nobody
      client:destroy()
      await(client, 'close')
      assert.equal('ERR_SOCKET_CLOSED', told.code)
    end))

  it('may be called any number of times between any two writes', between({}, function(await, client, peer)
    local text = {}
    for i = 1, 500 do
      client:updateKeys { requestPeer = i % 3 == 0 }
      if i % 5 == 0 then
        text[#text + 1] = tostring(i)
        client:write(text[#text])
      end
    end
    client:finish()
    local got = {}
    peer:on('data', function(chunk)
      got[#got + 1] = chunk
    end)
    await(peer, 'end')
    assert.equal(table.concat(text), table.concat(got))
  end))
end)

describe('socket:requestCertificate', function()
  local function asking(identity, server)
    return { server = T.merged({ ca = T.ca.cert }, server),
      client = identity and { key = identity.key, cert = identity.cert } or { postHandshakeAuth = true } }
  end

  it('makes the client show who it is', between(asking(ada), function(await, client, peer)
    assert.is_false(peer.authorized)
    local returned, err = outcome(await, peer, 'requestCertificate')
    assert.is_true(returned)
    assert.is_nil(err)
    assert.is_true(peer.authorized)
    assert.is_nil(peer.authorizationError)
    assert.equal('ada', peer:getPeerCertificate().subject.CN)
    talk(await, client, peer)
  end))

  it('is a secure event of the server', between(asking(ada), function(await, client, peer)
    local events = {}
    N.record(events, client, { 'secure', 'secureConnect' }, 'client ')
    N.record(events, peer, { 'secure' }, 'server ')
    outcome(await, peer, 'requestCertificate')
    talk(await, client, peer)
    assert.same({ 'server secure' }, events)
  end))

  it('is told between the data before and the data after', between(asking(ada), function(await, client, peer)
    local heard = {}
    peer:on('data', function(chunk)
      heard[#heard + 1] = chunk
    end)
    client:write('before')
    client:on('data', function()
      client:write('after')
    end)
    await(function(told)
      peer:requestCertificate(function(err)
        heard[#heard + 1] = '|'
        told(err)
      end)
      peer:write('ask me')
    end)
    if heard[#heard] == '|' then
      await(peer, 'data')
    end
    assert.same({ 'before', '|', 'after' }, heard)
  end))

  it('can be asked again, and several times at once', between(asking(ada), function(await, client, peer)
    for _ = 1, 2 do
      await(function(over)
        peer:requestCertificate(function() end)
        peer:requestCertificate(over)
      end)
    end
    talk(await, client, peer)
  end))

  it('turns a certificate of another authority down', between(asking(eve), function(await, client, peer)
    local told
    peer:on('error', function() end)
    peer:requestCertificate(function(err)
      told = err
    end)
    assert.equal('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', failureOf(await, client).code)
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', told.code)
    assert.is_true(peer.destroyed)
  end))

  it('turns a client without one down', between(asking(), function(await, client, peer)
    local told
    peer:on('error', function() end)
    peer:requestCertificate(function(err)
      told = err
    end)
    assert.equal('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', failureOf(await, client).code)
    assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', told.code)
  end))

  for name, identity in pairs { ['without a certificate'] = false, ['with a bad one'] = eve } do
    it('lets a client in ' .. name .. ' where it does not insist', between(asking(identity),
      function(await, client, peer)
        local _, err = outcome(await, peer, 'requestCertificate', { rejectUnauthorized = false })
        assert.is_nil(err)
        assert.is_false(peer.authorized)
        assert.equal(identity and 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' or 'UNABLE_TO_GET_ISSUER_CERT',
          peer.authorizationError)
        talk(await, client, peer)
      end))
  end

  it('is refused where the client has not offered it', between(
    { server = { ca = T.ca.cert }, client = { key = ada.key, cert = ada.cert, postHandshakeAuth = false } },
    function(await, client, peer)
      local returned, err = outcome(await, peer, 'requestCertificate')
      assert.is_false(returned)
      assert.equal('ERR_SSL_EXTENSION_NOT_RECEIVED', err.code)
      returned, err = outcome(await, client, 'requestCertificate')
      assert.is_false(returned)
      assert.equal('ERR_SSL_NOT_SERVER', err.code)
      talk(await, client, peer)
    end))

  it('is offered by a client that has a certificate, and else on request', spec.coroutine(function(await)
    for _, case in ipairs {
      { {}, false }, { { key = ada.key, cert = ada.cert }, true }, { { postHandshakeAuth = true }, true },
      { { key = ada.key, cert = ada.cert, postHandshakeAuth = false }, false },
    } do
      local offered
      local server, port = P.serve(await, {})
      server:on('clientHello', function(hello, _, go)
        offered = false
        for _, extension in ipairs(hello.extensions) do
          offered = offered or extension == 49
        end
        go()
      end)
      local client = T.connect(port, case[1])
      await(client, 'secureConnect')
      assert.equal(case[2], offered)
      client:destroy()
      P.close(await, server)
    end
  end))

  it('is refused before TLS 1.3 and the handshake, and on a closed socket',
    spec.coroutine(lacking 'requestCertificate'))

  it('checks its arguments', between({}, function(_, _, peer)
    N.raises('ERR_INVALID_ARG_TYPE', peer.requestCertificate, peer, 5)
    N.raises('ERR_INVALID_ARG_TYPE', peer.requestCertificate, peer, { rejectUnauthorized = 1 })
    N.raises('ERR_INVALID_ARG_TYPE', peer.requestCertificate, peer, {}, 5)
    N.raises('ERR_INVALID_ARG_TYPE', tls.connect, { port = 1, postHandshakeAuth = 'yes' })
  end))

  it('tells its callback when the connection ends instead', between(asking(ada), function(await, client, peer)
    client:destroy()
    local _, err = outcome(await, peer, 'requestCertificate')
    assert.is_not_nil(err)
  end))

  it('ends with handshakeTimeout where the client never answers',
    between(asking(ada, { handshakeTimeout = T.handshakeTimeout }), function(await, client, peer)
      -- It is busy with a full buffer and does not read.
      client:pause()
      peer:write(('x'):rep(4000000))
      local told
      peer:requestCertificate(function(err)
        told = err
      end)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', failureOf(await, peer).code)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', told.code)
    end))
end)

describe('openssl s_client', function()
  local function serving(argv, check)
    return P.test({ ada = ada }, function(await, files)
      local peer
      local server, port = P.serve(await, { ca = T.ca.cert }, function(socket)
        peer = socket
        socket:on('error', function() end)
        socket:write('welcome\n')
      end)
      local all = { '-CAfile', files.ca, '-cert', files.ada_cert, '-key', files.ada_key }
      for _, argument in ipairs(argv) do
        all[#all + 1] = argument
      end
      local command = P.sClient(port, all)
      P.waitFor(await, command, 'stdout', 'welcome')
      check(await, command, peer)
      command.stdin:destroy()
      P.over(await, command)
      P.close(await, server)
    end)
  end

  it('shows its certificate with -enable_pha', serving({ '-enable_pha' }, function(await, command, peer)
    assert.is_false(peer.authorized)
    local _, err = outcome(await, peer, 'requestCertificate')
    assert.is_nil(err)
    assert.is_true(peer.authorized)
    assert.equal('ada', peer:getPeerCertificate().subject.CN)
    peer:write('thank you\n')
    P.waitFor(await, command, 'stdout', 'thank you')
  end))

  it('cannot be asked without', serving({}, function(await, command, peer)
    local _, err = outcome(await, peer, 'requestCertificate')
    assert.equal('ERR_SSL_EXTENSION_NOT_RECEIVED', err.code)
    peer:write('never mind\n')
    P.waitFor(await, command, 'stdout', 'never mind')
  end))

  it('exchanges keys, its own and ours', serving({}, function(await, command, peer)
    command.stdin:write('k\n')
    P.waitFor(await, command, 'stderr', 'KEYUPDATE')
    command.stdin:write('K\n')
    P.waitFor(await, command, 'stderr', 'KEYUPDATE.*KEYUPDATE')
    command.stdin:write('one\n')
    assert.equal('one\n', (await(peer, 'data')))
    await(function(done)
      peer:updateKeys({ requestPeer = true }, done)
      command.stdin:write('two\n') -- with which it answers
      peer:resume()
    end)
    peer:write('three\n')
    P.waitFor(await, command, 'stdout', 'three')
  end))
end)

describe('openssl s_server', function()
  it('asks a client of ours for its certificate, and for new keys', P.test({ localhost = T.localhost, ada = ada },
    function(await, files)
      local command = spec.command({ 'openssl', 's_server', '-accept', '127.0.0.1:0', '-tls1_3', '-CAfile', files.ca,
        '-cert', files.localhost_cert, '-key', files.localhost_key }, { input = false })
      local port = tonumber(P.waitFor(await, command, 'stdout', 'ACCEPT 127%.0%.0%.1:(%d+)'))
      local client = T.connect(port, { key = ada.key, cert = ada.cert })
      await(client, 'secureConnect')
      client:resume()
      client:write('one\n')
      P.waitFor(await, command, 'stdout', 'one')
      command.stdin:write('c\n')
      P.waitFor(await, command, 'stderr', 'CN = ada')
      command.stdin:write('K\n')
      client:write('two\n')
      P.waitFor(await, command, 'stdout', 'two')
      client:destroy()
      P.stop(await, command)
    end))
end)

describe('Node', function()
  it('lives with new keys, and offers no certificate for later', P.test({}, function(await)
    local peer
    local server, port = P.serve(await, { ca = T.ca.cert }, function(socket)
      peer = socket
      socket:on('error', function() end)
    end)
    local command = spec.command({ 'node', '-e', [[
      const { PORT, CA, CERT, KEY } = process.env;
      const socket = require('tls').connect({ port: PORT, host: '127.0.0.1', servername: 'localhost', ca: CA,
        cert: CERT, key: KEY });
      socket.on('data', (data) => socket.write(data));
      socket.on('end', () => socket.end());
    ]] }, { env = { PORT = tostring(port), CA = T.ca.cert, CERT = ada.cert, KEY = ada.key, NODE_OPTIONS = false } })
    if not peer then
      await(server, 'secureConnection')
    end
    local _, err = outcome(await, peer, 'requestCertificate')
    assert.equal('ERR_SSL_EXTENSION_NOT_RECEIVED', err.code)
    await(function(done)
      peer:updateKeys({ requestPeer = true }, done)
      peer:write('echo')
      peer:once('readable', function() end)
    end)
    assert.equal('echo', (await(peer, 'data')))
    peer:finish()
    await(peer, 'end')
    P.over(await, command)
    P.close(await, server)
  end))
end)

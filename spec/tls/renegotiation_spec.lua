-- Renegotiation under TLS 1.2, by either end, and what bounds it.
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local native = require 'moonlatch.native'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
local R = require 'spec.support.renegotiation'
local T = require 'spec.support.tls'
local constants = require 'constants'

local ada = T.ca:issue { cn = 'ada', purpose = 'client' }
local eve = spec.ca({ name = 'Another authority' }):issue { cn = 'eve', purpose = 'client' }

local TLS12 = { maxVersion = 'TLSv1.2' }
local between, failureOf, renegotiate, outcome, echo = R.between, N.failureOf, R.renegotiate, R.outcome, R.echo

describe('socket:renegotiate', function()
  it('makes another handshake, begun by the client or by the server', between({}, function(await, client, peer)
    for _, socket in ipairs { client, peer } do
      local before = client:getFinished()
      renegotiate(await, socket)
      assert.not_equal(before, client:getFinished())
    end
  end))

  it('is a secure event of both ends, and of a client secureConnect', between({}, function(await, client, peer)
    local events = {}
    N.record(events, client, { 'secure', 'secureConnect' }, 'client ')
    N.record(events, peer, { 'secure', 'secureConnect' }, 'server ')
    renegotiate(await, client)
    table.sort(events)
    assert.same({ 'client secure', 'client secureConnect', 'server secure' }, events)
  end))

  it('takes a function for its callback and a table for its options', between({}, function(_, client)
    local e = N.raises('ERR_INVALID_ARG_TYPE', client.renegotiate, client)
    assert.equal('The "options" argument must be of type object. Received nil', e.message)
    N.raises('ERR_INVALID_ARG_TYPE', client.renegotiate, client, 5)
    e = N.raises('ERR_INVALID_ARG_TYPE', client.renegotiate, client, {}, 5)
    assert.equal('The "callback" argument must be of type function. Received type number (5)', e.message)
  end))

  it('needs no callback', between({}, function(await, client, peer)
    assert.is_true(client:renegotiate {})
    await(peer, 'secure')
  end))

  it('is refused under TLS 1.3 and before the handshake, and on a closed socket', spec.coroutine(function(await)
    local client, peer, close = N.awaitSecurePair(await)
    for _, socket in ipairs { client, peer } do
      local returned, err = outcome(await, socket)
      assert.is_false(returned)
      assert.equal('ERR_SSL_WRONG_SSL_VERSION', err.code)
      assert.is_false(socket:renegotiate {})
    end
    client:destroy()
    peer:destroy()
    local returned, err = outcome(await, client)
    assert.is_false(returned)
    assert.equal('ERR_SOCKET_CLOSED', err.code)
    returned, err = outcome(await, tls.TLSSocket())
    assert.is_false(returned)
    assert.equal('ERR_TLS_INVALID_STATE', err.code)
    await(close)
  end))

  it('is refused where secureOptions say so', between(
    { client = { secureOptions = constants.SSL_OP_NO_RENEGOTIATION } }, function(await, client)
      local returned, err = outcome(await, client)
      assert.is_false(returned)
      assert.equal('ERR_SSL_NO_RENEGOTIATION', err.code)
    end))

  it('is one after the other', between({}, function(await, client, peer)
    local order = {}
    await(function(over)
      client:renegotiate({}, function(err)
        order[#order + 1] = err or 'first'
      end)
      client:renegotiate({}, function(err)
        order[#order + 1] = err or 'second'
        over()
      end)
    end)
    assert.same({ 'first', 'second' }, order)
    assert.is_nil(peer.authorizationError)
  end))

  it('is one after the other when both ends wish it at once', between({}, function(await, client, peer)
    await(function(over)
      local left = 2
      local function one(err)
        left = left - 1
        if left == 0 or err then
          over(err)
        end
      end
      client:renegotiate({}, one)
      peer:renegotiate({}, one)
    end)
  end))

  it('tells its callback when the connection ends first', between({}, function(await, client, peer)
    peer:on('error', function() end)
    local err = await(function(over)
      client:renegotiate({}, function(err)
        over(nil, err)
      end)
      client:destroy()
    end)
    assert.equal('ERR_SOCKET_CLOSED', err.code)
  end))

  it('tells its callback of the error that ended the connection', between({}, function(await, client, peer)
    local told
    client:renegotiate({}, function(err)
      told = err
    end)
    peer:destroy()
    local err = failureOf(await, client)
    assert.equal('ECONNRESET', err.code)
    assert.equal('the server disconnected during the TLS renegotiation', err.reason)
    assert.equal(err, told)
  end))
end)

describe('application data around a renegotiation', function()
  for _, first in ipairs { 'client', 'server' } do
    it('is neither lost nor reordered, begun by the ' .. first, between({}, function(await, client, peer)
      local sent, got = { {}, {} }, { {}, {} }
      for i, pair in ipairs { { client, peer }, { peer, client } } do
        pair[2]:on('data', function(chunk)
          got[i][#got[i] + 1] = chunk
        end)
      end
      local function say(i, socket, text)
        sent[i][#sent[i] + 1] = text
        socket:write(text)
      end
      for round = 1, 5 do
        local size = 3 ^ (2 * round)
        say(1, client, ('c'):rep(size) .. round)
        say(2, peer, ('s'):rep(size) .. round)
        await(function(over)
          local socket = first == 'client' and client or peer
          tls.CLIENT_RENEG_LIMIT = 10
          socket:renegotiate({}, over)
          say(1, client, 'during ' .. round)
          say(2, peer, 'while ' .. round)
        end)
        tls.CLIENT_RENEG_LIMIT = 3
      end
      client:finish()
      peer:finish()
      for _, socket in ipairs { client, peer } do
        if not socket.readableEnded then
          await(socket, 'end')
        end
      end
      for i = 1, 2 do
        assert.is_true(table.concat(sent[i]) == table.concat(got[i]))
      end
    end))
  end

  it('is read before the callback or after it, as it was written', between({}, function(await, client, peer)
    local heard = {}
    peer:on('data', function(chunk)
      heard[#heard + 1] = chunk
    end)
    client:on('secure', function()
      client:write('behind')
    end)
    client:write('before')
    renegotiate(await, peer)
    heard[#heard + 1] = '|'
    client:resume()
    if heard[#heard] == '|' then
      await(peer, 'data')
    end
    assert.same({ 'before', '|', 'behind' }, heard)
  end))

  it('does not stand in the way of a socket that is not read', between({ server = { highWaterMark = 1 } },
    function(await, client, peer)
      client:write('as much as it wants')
      renegotiate(await, peer)
      client:write(' and more')
      renegotiate(await, peer)
      renegotiate(await, client)
      assert.equal(#'as much as it wants', peer.bytesRead)
      client:finish()
      local got = {}
      peer:on('data', function(chunk)
        got[#got + 1] = chunk
      end)
      await(peer, 'end')
      assert.equal('as much as it wants and more', table.concat(got))
    end))

  it('does not stand in the way of an echo', between({}, function(await, client, peer)
    echo(peer)
    local size, got = 2000000, 0
    client:write(('x'):rep(size))
    client:on('data', function(chunk)
      got = got + #chunk
    end)
    renegotiate(await, peer)
    renegotiate(await, client)
    while got < size do
      await(client, 'data')
    end
    assert.equal(size, got)
  end))

  it('and a finish() during it come to an end', between({}, function(await, client, peer)
    peer:resume()
    client:resume()
    await(function(over)
      client:renegotiate({}, over)
      client:finish('the last')
    end)
    if not peer.readableEnded then
      await(peer, 'end')
    end
    assert.equal(8, peer.bytesRead)
  end))
end)

describe('a server that asks for a certificate later', function()
  local function asking(identity)
    return { server = { ca = T.ca.cert }, client = identity and { key = identity.key, cert = identity.cert } }
  end

  it('learns who the client is', between(asking(ada), function(await, _, peer)
    assert.is_false(peer.authorized)
    assert.same({}, peer:getPeerCertificate())
    renegotiate(await, peer, { requestCert = true })
    assert.is_true(peer.authorized)
    assert.is_nil(peer.authorizationError)
    assert.equal('ada', peer:getPeerCertificate().subject.CN)
  end))

  it('turns a certificate of another authority down', between(asking(eve), function(await, client, peer)
    local told
    peer:on('error', function() end)
    peer:renegotiate({ requestCert = true }, function(err)
      told = err
    end)
    assert.equal('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', failureOf(await, client).code)
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', told.code)
    assert.is_true(peer.destroyed)
  end))

  it('turns a client without one down', between(asking(), function(await, client, peer)
    client:on('error', function() end)
    peer:on('error', function() end)
    local _, err = outcome(await, peer, { requestCert = true })
    assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', err.code)
  end))

  it('lets either in that does not insist, and says what is wrong', between(asking(eve), function(await, _, peer)
    renegotiate(await, peer, { requestCert = true, rejectUnauthorized = false })
    assert.is_false(peer.authorized)
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', peer.authorizationError)
    assert.equal('eve', peer:getPeerCertificate().subject.CN)
  end))

  it('can change its mind', between({ server = { ca = T.ca.cert, requestCert = true },
    client = { key = ada.key, cert = ada.cert } }, function(await, _, peer)
    assert.is_true(peer.authorized)
    renegotiate(await, peer, { requestCert = false })
    assert.is_false(peer.authorized)
    assert.same({}, peer:getPeerCertificate())
  end))

  it('is not fooled by a session that was made without one', spec.coroutine(function(await)
    local sockets = {}
    local server, port = P.serve(await, { ca = T.ca.cert, maxVersion = 'TLSv1.2' }, function(socket)
      sockets[#sockets + 1] = socket
    end)
    local function connect(session)
      return T.connect(port, { key = ada.key, cert = ada.cert, session = session, maxVersion = 'TLSv1.2' })
    end
    local first = connect()
    local session = await(first, 'session')
    local second = connect(session)
    await(second, 'secureConnect')
    if #sockets < 2 then
      await(server, 'secureConnection')
    end
    assert.is_true(second:isSessionReused())
    renegotiate(await, sockets[2], { requestCert = true })
    assert.is_false(second:isSessionReused())
    assert.is_true(sockets[2].authorized)
    first:destroy()
    second:destroy()
    P.close(await, server)
  end))
end)

describe('a client in a renegotiation', function()
  it('judges the name again', between({}, function(await, client, peer)
    local asked = 0
    client._tls.checkServerIdentity = function(...)
      asked = asked + 1
      return tls.checkServerIdentity(...)
    end
    renegotiate(await, peer)
    assert.equal(1, asked)
    assert.is_true(client.authorized)
  end))

  it('ends the connection when the server is not who it was', between({}, function(await, client, peer)
    peer:on('error', function() end)
    client._tls.checkServerIdentity = function()
      error('another one')
    end
    client:renegotiate {}
    assert.matches('another one', failureOf(await, client).message)
  end))

  it('judges a server that it let in unverified when it is told to', between(
    { client = { ca = spec.ca().cert, rejectUnauthorized = false } }, function(await, client, peer)
      peer:on('error', function() end)
      client:on('error', function() end)
      assert.is_false(client.authorized)
      local _, err = outcome(await, client, { rejectUnauthorized = true })
      assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', err.code)
    end))
end)

describe('the limit of renegotiations by a client', function()
  after_each(function()
    tls.CLIENT_RENEG_LIMIT, tls.CLIENT_RENEG_WINDOW = 3, 600
  end)

  it('is three in ten minutes', between({}, function(await, client, peer)
    assert.equal(3, tls.CLIENT_RENEG_LIMIT)
    assert.equal(600, tls.CLIENT_RENEG_WINDOW)
    for _ = 1, 3 do
      renegotiate(await, client)
    end
    local serverErr
    peer:on('error', function(err)
      serverErr = err
    end)
    client:on('error', function() end)
    local _, err = outcome(await, client)
    assert.equal('ERR_TLS_SESSION_ATTACK', serverErr.code)
    assert.equal('TLS session renegotiation attack detected', serverErr.message)
    assert.is_true(peer.destroyed)
    assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', err.code)
  end))

  it('is what the two fields say at the time', between({}, function(await, client, peer)
    local serverErr
    peer:on('error', function(err)
      serverErr = err
    end)
    client:on('error', function() end)
    tls.CLIENT_RENEG_WINDOW = 0 -- each is the first
    for _ = 1, 5 do
      renegotiate(await, client)
    end
    tls.CLIENT_RENEG_WINDOW, tls.CLIENT_RENEG_LIMIT = 600, 1
    outcome(await, client)
    assert.equal('ERR_TLS_SESSION_ATTACK', serverErr.code)
  end))

  it('is one of a window of seconds that begins anew with each', between({}, function(await, client, peer)
    local clock, now = native.hrtime, 1000
    finally(function()
      native.hrtime = clock
    end)
    function native.hrtime()
      return now
    end
    for _, pause in ipairs { 0, 599, 599, 600, 1, 599 } do
      now = now + pause
      renegotiate(await, client)
    end
    client:on('error', function() end)
    now = now + 599.9
    client:renegotiate {}
    assert.equal('ERR_TLS_SESSION_ATTACK', failureOf(await, peer).code)
  end))

  it('does not bind the server', between({}, function(await, _, peer)
    for _ = 1, 5 do
      renegotiate(await, peer)
    end
  end))

  it('counts each connection for itself', spec.coroutine(function(await)
    local server, port = P.serve(await, TLS12)
    tls.CLIENT_RENEG_LIMIT = 1
    for _ = 1, 3 do
      local client = T.connect(port)
      await(client, 'secureConnect')
      renegotiate(await, client)
      client:destroy()
    end
    P.close(await, server)
  end))
end)

describe('socket:disableRenegotiation', function()
  it('ends the connection with a client that begins one', between({}, function(await, client, peer)
    client:on('error', function() end)
    peer:disableRenegotiation()
    client:renegotiate {}
    local err = failureOf(await, peer)
    assert.equal('ERR_TLS_RENEGOTIATION_DISABLED', err.code)
    assert.equal('TLS session renegotiation disabled for this socket', err.message)
  end))

  it('counts for one that came along with the data on which it is called', between({}, function(await, client, peer)
    client:on('error', function() end)
    peer:once('data', function()
      peer:disableRenegotiation()
    end)
    client:write('data')
    client:renegotiate {}
    assert.equal('ERR_TLS_RENEGOTIATION_DISABLED', failureOf(await, peer).code)
  end))

  it('ends the connection with a server that asks for one', between({}, function(await, client, peer)
    peer:on('error', function() end)
    client:disableRenegotiation()
    local told
    peer:renegotiate({}, function(err)
      told = err
    end)
    assert.equal('ERR_TLS_RENEGOTIATION_DISABLED', failureOf(await, client).code)
    if not told then
      failureOf(await, peer)
    end
    assert.equal('ERR_SSL_NO_RENEGOTIATION', told.code)
  end))

  it('holds from the start when it is called before the connection is made', spec.coroutine(function(await)
    local peer
    local server, port = P.serve(await, TLS12, function(socket)
      peer = socket
      socket:on('error', function() end)
    end)
    local client = tls.TLSSocket(nil, { ca = T.ca.cert, servername = 'localhost' })
    client:disableRenegotiation()
    client:connect { port = port, host = '127.0.0.1' }
    await(client, 'secure')
    if not peer then
      await(server, 'secureConnection')
    end
    peer:renegotiate {}
    assert.equal('ERR_TLS_RENEGOTIATION_DISABLED', failureOf(await, client).code)
    P.close(await, server)
  end))

  it('goes for the socket itself', between({}, function(await, client)
    client:disableRenegotiation()
    local returned, err = outcome(await, client)
    assert.is_false(returned)
    assert.equal('ERR_TLS_RENEGOTIATION_DISABLED', err.code)
  end))
end)

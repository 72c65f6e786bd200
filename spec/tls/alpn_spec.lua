local spec = require 'moonlatch.spec'
local tls = require 'tls'
local H = require 'spec.support.hostile'
local M = require 'spec.support.meeting'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local INTERNAL_ERROR, NO_APPLICATION_PROTOCOL = 80, 120

-- Both ends have failed: the client by the alert, the server by `code`.
local function assertFailed(code, alert, ofServer, ofClient)
  assert.equal(code, ofServer.error.code)
  assert.equal(alert, ofClient.error.alert)
  assert.equal('peer', ofClient.error.alertFrom)
end

describe('ALPNCallback', function()
  local function choosing(name, callback)
    M.eachVersion(it, name, function(await, options)
      local ofServer, ofClient = M.meet(await, T.merged(options, { ALPNCallback = callback }),
        { ALPNProtocols = { 'a', 'b', 'c' } })
      assert.equal('b', ofServer.alpn)
      assert.equal('b', ofClient.alpn)
      assert.equal('well met', ofClient.data)
    end)
  end

  choosing('chooses by what it returns', function(offer)
    return offer.protocols[2]
  end)
  choosing('may answer through a callback at once', function(offer, callback)
    callback(nil, offer.protocols[2])
  end)
  choosing('may answer through a callback later', function(offer, callback)
    setTimeout(callback, 5, nil, offer.protocols[2])
  end)
  choosing('may answer through a callback that it takes from ...', function(offer, ...)
    setImmediate((...), nil, offer.protocols[2])
  end)
  choosing('may be a table that can be called', setmetatable({ chosen = 'b' }, {
    __call = function(self, _, callback)
      setImmediate(callback, nil, self.chosen)
    end,
  }))
  choosing('counts with the first of its answers only', function(_, callback)
    callback(nil, 'b')
    callback(nil, 'c')
    callback(Error('too late'))
    setImmediate(callback, nil, 'a')
    return 'c'
  end)

  it('is told the socket, whose certificate it may change', spec.coroutine(function(await)
    local other = T.ca:issue { names = { 'localhost' }, cn = 'another' }
    local forms = { { key = other.key, cert = other.cert } }
    forms[2] = tls.createSecureContext(forms[1])
    for _, form in ipairs(forms) do
      for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
        local server = T.serve({ maxVersion = version, ALPNCallback = function(offer)
          offer.socket:setKeyCert(form)
          return offer.protocols[1]
        end }, nil, function() end)
        await(server, 'listening')
        local client = T.connect(server:address().port, { ALPNProtocols = { 'acme-tls/1' } })
        await(client, 'secureConnect')
        assert.equal('another', client:getPeerCertificate().subject.CN)
        assert.equal('acme-tls/1', client.alpnProtocol)
        client:destroy()
        P.close(await, server)
      end
    end
  end))

  it('is told the name and the whole list, as a table of its own', spec.coroutine(function(await)
    local seen
    local _, ofClient = M.meet(await, { ALPNCallback = function(offer)
      seen = offer
      return table.remove(offer.protocols)
    end }, { ALPNProtocols = { 'h2', '\10\10', 'http/1.1' } })
    assert.same({ servername = 'localhost', protocols = { 'h2', '\10\10' } }, seen)
    assert.equal('http/1.1', ofClient.alpn)
  end))

  it('is told of a client that names nobody', spec.coroutine(function(await)
    local servername
    M.meet(await, { ALPNCallback = function(offer)
      servername = offer.servername
      return 'a'
    end }, { ALPNProtocols = { 'a' }, servername = '', checkServerIdentity = function() end })
    assert.is_false(servername)
  end))

  it('is not asked when the client has no list', spec.coroutine(function(await)
    local ofServer, ofClient = M.meet(await, { ALPNCallback = function()
      error('asked')
    end })
    assert.is_false(ofServer.alpn)
    assert.is_false(ofClient.alpn)
  end))

  it('is of no interest to clients', spec.coroutine(function(await)
    local _, ofClient = M.meet(await, { ALPNProtocols = { 'a' } },
      { ALPNProtocols = { 'a' }, ALPNCallback = function()
        error('asked')
      end })
    assert.equal('a', ofClient.alpn)
  end))

  it('is asked once, however often the client has to say hello', spec.coroutine(function(await)
    local asked = 0
    local ofServer, ofClient = M.meet(await, { ecdhCurve = 'P-384', ALPNCallback = function(_, callback)
      asked = asked + 1
      setImmediate(callback, nil, 'b')
    end }, { ecdhCurve = 'X25519:P-384', ALPNProtocols = { 'a', 'b' } })
    assert.equal(1, asked)
    assert.equal('b', ofServer.alpn)
    assert.equal('b', ofClient.alpn)
  end))

  it('is asked again when a session is resumed', spec.coroutine(function(await)
    local asked = 0
    local server = T.serve({ maxVersion = 'TLSv1.2', ALPNCallback = function(offer)
      asked = asked + 1
      return offer.protocols[asked]
    end }, nil, function() end)
    await(server, 'listening')
    local _, first = M.visit(await, server, { ALPNProtocols = { 'a', 'b' } })
    local ofServer, second = M.visit(await, server, { ALPNProtocols = { 'a', 'b' }, session = first.session })
    assert.is_true(second.reused)
    assert.same({ 'a', 'b', 'b' }, { first.alpn, second.alpn, ofServer.alpn })
    P.close(await, server)
  end))

  M.eachVersion(it, 'follows the choice of the context', function(await, options)
    local alpha = T.ca:issue { names = { 'alpha.test' } }
    local order = {}
    local ofServer, ofClient = M.meet(await, T.merged(options, {
      SNICallback = function(_, callback)
        order[#order + 1] = 'context'
        setImmediate(callback, nil, tls.createSecureContext(T.merged(options, { key = alpha.key, cert = alpha.cert })))
      end,
      ALPNCallback = function(offer, callback)
        order[#order + 1] = 'protocol for ' .. offer.servername
        setImmediate(callback, nil, 'b')
      end,
    }), { servername = 'alpha.test', ALPNProtocols = { 'a', 'b' } })
    assert.same({ 'context', 'protocol for alpha.test' }, order)
    assert.equal('b', ofServer.alpn)
    assert.equal('b', ofClient.alpn)
  end)

  local function refusing(name, callback)
    M.eachVersion(it, 'refuses all protocols ' .. name, function(await, options)
      local ofServer, ofClient = M.meet(await, T.merged(options, { ALPNCallback = callback }),
        { ALPNProtocols = { 'a', '\10\10', 'c d' } })
      assertFailed('ERR_SSL_NO_APPLICATION_PROTOCOL', NO_APPLICATION_PROTOCOL, ofServer, ofClient)
      assert.equal('ALPN protocols a, \\x0a\\x0a, c\\x20d', ofServer.error.offered)
      assert.is_nil(ofServer.error.configured)
      assert.matches('no application protocol %(the client offered ALPN protocols a, [^;]+%)$',
        ofServer.error.message)
      assert.equal('ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', ofClient.error.code)
      assert.equal('ALPN protocols a, \\x0a\\x0a, c\\x20d', ofClient.error.configured)
    end)
  end

  refusing('by returning nothing', function() end)
  refusing('by returning nil', function(...)
    local _ = ...
    return nil
  end)
  refusing('by returning false, whatever it declares', function(_, _)
    return false
  end)
  refusing('by answering nothing', function(_, callback)
    callback()
  end)
  refusing('by answering nothing later', function(_, callback)
    setImmediate(callback, nil, false)
  end)

  local function failing(name, callback, code, message)
    M.eachVersion(it, name, function(await, options)
      local ofServer, ofClient = M.meet(await, T.merged(options, { ALPNCallback = callback }),
        { ALPNProtocols = { 'a', 'b' } })
      assertFailed(code, INTERNAL_ERROR, ofServer, ofClient)
      assert.matches(message, ofServer.error.message, 1, true)
      assert.is_string(ofServer.error.stack)
    end)
  end

  failing('fails with the error that its callback is given', function(_, callback)
    callback(Error('no such protocol'))
  end, nil, 'no such protocol')
  failing('fails with the error that its callback is given later', function(_, callback)
    setImmediate(callback, Error('no such protocol, later'))
  end, nil, 'no such protocol, later')
  failing('fails with what it throws', function()
    error('thrown in the callback')
  end, nil, 'thrown in the callback')

  local INVALID = 'ERR_TLS_ALPN_CALLBACK_INVALID_RESULT'
  local SAYS = "ALPN callback returned a value (%s) that did not match any of the client's offered protocols (a, b)"
  failing('may not choose what was not offered', function()
    return 'z'
  end, INVALID, SAYS:format('z'))
  failing('may not choose later what was not offered', function(_, callback)
    setImmediate(callback, nil, 'a, b')
  end, INVALID, SAYS:format('a, b'))
  failing('may not choose an empty name', function()
    return ''
  end, INVALID, SAYS:format(''))
  failing('may not answer with something that is no name', function()
    return 5
  end, INVALID, SAYS:format('5'))
  failing('may not answer with true', function(_, callback)
    callback(nil, true)
  end, INVALID, SAYS:format('true'))

  it('tells of a table as a table', spec.coroutine(function(await)
    local ofServer = M.meet(await, { ALPNCallback = function(offer)
      return offer.protocols
    end }, { ALPNProtocols = { 'a' } })
    assert.equal(INVALID, ofServer.error.code)
  end))

  it('may stay without an answer until the handshake times out', spec.coroutine(function(await)
    local late
    local function callback(_, answer)
      late = answer
    end
    local ofServer, ofClient = M.meet(await, { handshakeTimeout = T.handshakeTimeout, ALPNCallback = callback },
      { ALPNProtocols = { 'a' } })
    assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', ofServer.error.code)
    assert.equal('ECONNRESET', ofClient.error.code)
    late(nil, 'a')
    late(Error('much later'))
  end))

  it('may answer when the client has gone', spec.coroutine(function(await)
    local late, client
    local ofServer = M.meet(await, { ALPNCallback = function(_, callback)
      late = callback
      client:destroy()
    end }, { ALPNProtocols = { 'a' } }, function(socket)
      client = socket
    end)
    assert.equal('ECONNRESET', ofServer.error.code)
    late(nil, 'a')
  end))

  it('may answer when the server is closing', spec.coroutine(function(await)
    local server
    server = T.serve({ ALPNCallback = function(_, callback)
      server:close()
      setImmediate(callback, nil, 'a')
    end }, nil, function() end)
    await(server, 'listening')
    local ofServer, ofClient = M.visit(await, server, { ALPNProtocols = { 'a' } })
    assert.equal('a', ofServer.alpn)
    assert.equal('a', ofClient.alpn)
  end))

  local function destroying(name, answer)
    it('survives its own socket being destroyed ' .. name, spec.coroutine(function(await)
      local accepted
      local server = T.serve({ ALPNCallback = function(_, callback)
        return answer(accepted[1], callback)
      end }, nil, function() end)
      accepted = T.accepted(server)
      await(server, 'listening')
      local ofServer, ofClient = M.visit(await, server, { ALPNProtocols = { 'a', 'b' } })
      assert.equal('ECONNRESET', ofServer.error.code)
      assert.equal('ECONNRESET', ofClient.error.code)
      P.close(await, server)
    end))
  end

  destroying('before it returns', function(own)
    own:destroy()
    return 'a'
  end)
  destroying('before it answers', function(own, callback)
    own:destroy()
    callback(nil, 'a')
    setImmediate(callback, nil, 'b')
    setImmediate(callback, Error('nobody is there'))
  end)
  destroying('while it waits', function(own, callback)
    setImmediate(function()
      own:destroy()
      callback(nil, 'a')
    end)
  end)

  it('stands beside no list', function()
    local err = N.raises('ERR_TLS_ALPN_CALLBACK_WITH_PROTOCOLS', tls.createServer,
      { ALPNCallback = function() end, ALPNProtocols = { 'a' } })
    assert.equal('The ALPNCallback and ALPNProtocols TLS options are mutually exclusive', err.message)
    N.raises('ERR_TLS_ALPN_CALLBACK_WITH_PROTOCOLS', tls.TLSSocket, nil,
      { isServer = true, ALPNCallback = function() end, ALPNProtocols = '\1a' })
  end)

  it('is a function', function()
    for _, value in ipairs { 5, 'a', {}, true } do
      local err = N.raises('ERR_INVALID_ARG_TYPE', tls.createServer, { ALPNCallback = value })
      assert.matches('"options.ALPNCallback" property must be of type function', err.message, 1, true)
    end
    tls.createServer { ALPNCallback = false, ALPNProtocols = { 'a' } }
  end)
end)

describe('ALPNProtocols', function()
  it('fail with what each end had', spec.coroutine(function(await)
    local ofServer, ofClient = M.meet(await, { ALPNProtocols = { 'a', 'b' } }, { ALPNProtocols = { 'y', 'z' } })
    assertFailed('ERR_SSL_NO_APPLICATION_PROTOCOL', NO_APPLICATION_PROTOCOL, ofServer, ofClient)
    assert.same({ 'ALPN protocols y, z', 'ALPN protocols a, b' },
      { ofServer.error.offered, ofServer.error.configured })
    assert.matches('no application protocol (the client offered ALPN protocols y, z; this server has ALPN protocols '
      .. 'a, b)', ofServer.error.message, 1, true)
    assert.matches('(this client has ALPN protocols y, z)', ofClient.error.message, 1, true)
  end))

  it('have room in the error for some of a long list', spec.coroutine(function(await)
    local many = {}
    for i = 1, 100 do
      many[i] = ('protocol-%d'):format(i)
    end
    local ofServer = M.meet(await, { ALPNProtocols = { ('\1'):rep(255) } }, { ALPNProtocols = many })
    assert.matches('^ALPN protocols protocol%-1, .* and %d+ more$', ofServer.error.offered)
    assert.equal('ALPN protocols 1', ofServer.error.configured)
  end))

  it('count on whichever context the client is served', spec.coroutine(function(await)
    local alpha = T.ca:issue { names = { 'alpha.test' } }
    local server = T.serve({ ALPNProtocols = { 'a' } }, nil, function() end)
    server:addContext('alpha.test', { key = alpha.key, cert = alpha.cert })
    await(server, 'listening')
    local _, ofClient = M.visit(await, server, { servername = 'alpha.test', ALPNProtocols = { 'b', 'a' } })
    assert.equal('a', ofClient.alpn)
    P.close(await, server)
  end))

  local function refused(name, body)
    it(('of a client are OpenSSL\'s to refuse when %s'):format(name), spec.coroutine(function(await)
      local hello = H.clientHello(await, { ALPNProtocols = { 'abcdef' } })
      -- extension 16: its length, that of its list, that of the name
      local good = '\0\16\0\9\0\7\6abcdef'
      local at = hello:find(good, 1, true)
      assert.is_number(at)
      local bad = hello:sub(1, at - 1) .. body .. hello:sub(at + #good)
      local guarded = H.guard(await, { ALPNCallback = function()
        error('asked')
      end })
      H.raw(await, guarded.port, function(socket)
        socket:write(bad)
      end)
      if #guarded.errors == 0 then
        await(guarded.server, 'tlsClientError')
      end
      assert.equal('ERR_SSL_BAD_EXTENSION', guarded.errors[1].code)
      assert.equal('local', guarded.errors[1].alertFrom)
      assert.equal(50, guarded.errors[1].alert)
      P.close(await, guarded.server)
    end))
  end

  refused('a name is longer than the list', '\0\16\0\9\0\7\7abcdef')
  refused('a name is empty', '\0\16\0\9\0\7\0\5bcdef')
  refused('the list is longer than the extension', '\0\16\0\9\0\8\6abcdef')
  refused('the list is shorter than the extension', '\0\16\0\9\0\6\5abcdef')
end)

describe("Node's client", function()
  it('gets the protocol that ALPNCallback chooses', P.test({}, function(await)
    local server, port = P.serve(await, { ALPNCallback = function(offer, callback)
      setImmediate(callback, nil, offer.protocols[#offer.protocols])
    end }, function(socket)
      socket:pipe(socket)
    end)
    local facts = P.nodeClient(await, port, { ALPN = 'h2,http/1.1' })
    assert.equal('http/1.1', facts.alpn)
    P.close(await, server)
  end))
end)

-- Pre-shared keys: pskCallback on either side, and what goes with it.
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local M = require 'spec.support.meeting'
local N = require 'spec.support.node'
local K = require 'spec.support.psk'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local function nobody() end

local KEY, V12, V13 = K.KEY, K.V12, K.V13
local knowsAlice, asAlice, server = K.knowsAlice, K.asAlice, K.server
local client, meet, assertByKey = K.client, K.meet, K.assertByKey

describe('pskCallback', function()
  M.eachVersion(it, 'is enough for both ends', function(await, version)
    local ofServer, ofClient = meet(await, version)
    assertByKey(ofServer, ofClient)
    assert.equal(version.maxVersion, ofClient.protocol)
    assert.matches(version.maxVersion == 'TLSv1.2' and '%-PSK%-' or '_SHA256$', ofClient.cipher)
    -- As in Node: a server's client is authorized when it was asked for a proof.
    assert.same({ false, nil }, { ofServer.authorized, ofServer.authorizationError })
  end)

  M.eachVersion(it, "is the proof that a server asks for with requestCert", function(await, version)
    local ofServer, ofClient = meet(await, version, { requestCert = true, ca = T.ca.cert })
    assertByKey(ofServer, ofClient)
    assert.same({ true, nil }, { ofServer.authorized, ofServer.authorizationError })
  end)

  it('takes the best version when several will do', spec.coroutine(function(await)
    local hints = {}
    local _, ofClient = meet(await, nil, { pskIdentityHint = 'hint' }, { pskCallback = function(hint)
      hints[#hints + 1] = tostring(hint)
      return asAlice()
    end })
    assert.equal('TLSv1.3', ofClient.protocol)
    assert.same({ 'nil' }, hints)
  end))

  it('may be all there is without options for ciphers under TLS 1.3', spec.coroutine(function(await)
    assertByKey(meet(await, nil, { ciphers = false }, { ciphers = false }))
  end))

  it('gets the socket and the identity, byte by byte', spec.coroutine(function(await)
    for _, version in ipairs { V12, V13 } do
      local seen
      local identity = 'näme\1\255 x'
      local ofServer, ofClient = meet(await, version, { pskCallback = function(...)
        seen = { ... }
        return KEY
      end }, { pskCallback = function()
        return { psk = KEY, identity = identity }
      end })
      assertByKey(ofServer, ofClient)
      assert.equal(identity, seen[2])
      assert.is_true(require('util').isInstance(seen[1], tls.TLSSocket))
      assert.equal('function', type(seen[3]))
    end
  end))

  it('gets the hint under TLS 1.2', spec.coroutine(function(await)
    local hints = {}
    for _, hint in ipairs { 'which one?', '' } do
      assertByKey(meet(await, V12, { pskIdentityHint = hint }, { pskCallback = function(given)
        hints[#hints + 1] = tostring(given)
        return asAlice()
      end }))
    end
    assert.same({ 'which one?', 'nil' }, hints)
  end))

  M.eachVersion(it, 'may give keys of any bytes, of 1 to 256', function(await, version)
    for _, key in ipairs { '\0', ('\0\1\255'):rep(85) .. 'x' } do
      assertByKey(meet(await, version, { pskCallback = function()
        return { psk = key } -- as clients give it
      end }, { pskCallback = function()
        return { psk = key, identity = ('i'):rep(128) }
      end }))
    end
  end)

  it('works on a connection that is taken over by hand', spec.coroutine(function(await)
    local own = T.serve(server(V13), nil, function() end)
    own:on('connection', function() end)
    await(own, 'listening')
    assertByKey(M.visit(await, own, client(V13)))
    P.close(await, own)
  end))

  it('is asked for every connection, the hint included, whichever context SNI finds', spec.coroutine(function(await)
    for _, version in ipairs { V12, V13 } do
      local hint
      local ofServer, ofClient = meet(await, version, {
        pskIdentityHint = 'hint',
        SNICallback = function(_, callback)
          setImmediate(callback, nil, tls.createSecureContext(T.merged(version, { ciphers = 'PSK+HIGH' })))
        end,
      }, { pskCallback = function(given)
        hint = given
        return asAlice()
      end })
      assertByKey(ofServer, ofClient)
      assert.equal(version == V12 and 'hint' or nil, hint)
    end
  end))
end)

describe('a server with a certificate', function()
  local WITH = T.identity()

  M.eachVersion(it, 'shows it to clients without a key', function(await, version)
    local ofServer, ofClient = M.meet(await, server(version, T.merged(WITH, {
      ciphers = 'PSK+HIGH:HIGH',
      pskCallback = function()
        error('asked')
      end,
    })), version)
    assertByKey(ofServer, ofClient)
  end)

  M.eachVersion(it, 'prefers the key that it knows', function(await, version)
    local asked = false
    local ofServer, ofClient = meet(await, version, T.merged(WITH, { ciphers = version.maxVersion == 'TLSv1.2' and 'PSK'
      or nil }), { ca = {}, checkServerIdentity = function(_, cert)
      asked = next(cert) == nil
    end })
    assertByKey(ofServer, ofClient)
    -- Node asks under TLS 1.2, and under TLS 1.3 takes the key for a session.
    assert.equal(version.maxVersion == 'TLSv1.2', asked)
  end)

  it('shows it when the identity is unknown under TLS 1.3', spec.coroutine(function(await)
    local identities = {}
    local ofServer, ofClient = meet(await, V13, T.merged(WITH, { pskCallback = function(_, identity)
      identities[#identities + 1] = identity
    end }), { checkServerIdentity = tls.checkServerIdentity })
    assertByKey(ofServer, ofClient)
    assert.is_false(ofClient.reused)
    assert.same({ 'alice' }, identities)
  end))

  it('shows it when no suite goes with the key', spec.coroutine(function(await)
    local ofServer, ofClient = meet(await, V13, T.merged(WITH, { ciphers = 'TLS_AES_256_GCM_SHA384' }))
    assertByKey(ofServer, ofClient)
    assert.same({ 'TLS_AES_256_GCM_SHA384', false }, { ofClient.cipher, ofClient.reused })
  end))

  it('is verified as ever', spec.coroutine(function(await)
    local _, ofClient = meet(await, V13, T.merged(WITH, { pskCallback = nobody }), { ca = {} })
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', ofClient.error.code)
  end))
end)

describe('checkServerIdentity', function()
  it('judges a server with a key under TLS 1.2, by an empty certificate', spec.coroutine(function(await)
    local _, ofClient = meet(await, V12, nil, { checkServerIdentity = tls.checkServerIdentity })
    assert.equal('ERR_TLS_CERT_ALTNAME_INVALID', ofClient.error.code)
    _, ofClient = meet(await, V12, nil, { checkServerIdentity = tls.checkServerIdentity, rejectUnauthorized = false })
    assert.same({ false, 'ERR_TLS_CERT_ALTNAME_INVALID', 'well met' },
      { ofClient.authorized, ofClient.authorizationError, ofClient.data })
    _, ofClient = meet(await, V12, nil, { checkServerIdentity = function()
      return Error('not this one')
    end })
    assert.equal('not this one', ofClient.error.message)
  end))

  it('is not asked under TLS 1.3', spec.coroutine(function(await)
    assertByKey(meet(await, V13, nil, { checkServerIdentity = function()
      error('asked')
    end }))
  end))
end)

describe('sessions made with a key', function()
  M.eachVersion(it, 'are resumed', function(await, version)
    local asked = 0
    local own = T.serve(server(version, { requestCert = true, pskCallback = function(_, identity)
      asked = asked + 1
      return knowsAlice(nil, identity)
    end }), nil, function() end)
    await(own, 'listening')
    local _, first = M.visit(await, own, client(version))
    assert.equal(1, asked)
    -- Without the key the session has to do.
    local ofServer, second = M.visit(await, own, client(version, { session = first.session, pskCallback = nobody }))
    assertByKey(ofServer, second)
    assert.same({ true, true, true }, { ofServer.reused, second.reused, ofServer.authorized })
    assert.equal(1, asked)
    -- With it, too: the ticket is no identity. (OpenSSL does not say beforehand whether the ticket will do.)
    ofServer, second = M.visit(await, own, client(version, { session = second.session or first.session }))
    assertByKey(ofServer, second)
    assert.is_true(second.reused)
    assert.equal(version.maxVersion == 'TLSv1.3' and 2 or 1, asked)
    P.close(await, own)
  end)

  it('may be of a server whose tickets we cannot open: the key is known all the same', spec.coroutine(function(await)
    local one = T.serve(server(V13), nil, function() end)
    await(one, 'listening')
    local _, first = M.visit(await, one, client(V13))
    P.close(await, one)
    local identities = {}
    local ofServer, ofClient = meet(await, V13, { pskCallback = function(_, identity, callback)
      identities[#identities + 1] = identity
      setImmediate(callback, nil, knowsAlice(nil, identity))
    end }, { session = first.session })
    assertByKey(ofServer, ofClient)
    assert.equal(2, #identities)
    assert.equal('alice', identities[2])
  end))
end)

describe('a hello that has to be said twice', function()
  it('asks neither end twice', spec.coroutine(function(await)
    local asked = 0
    assertByKey(meet(await, V13, { ecdhCurve = 'P-384', pskCallback = function(_, identity, callback)
      asked = asked + 1
      setImmediate(callback, nil, knowsAlice(nil, identity))
    end }, { ecdhCurve = 'X25519:P-384', pskCallback = function()
      asked = asked + 1
      return asAlice()
    end }))
    assert.equal(2, asked)
  end))

  it('leaves the key aside when the suite is not for it', spec.coroutine(function(await)
    local ofServer, ofClient = meet(await, V13, { key = T.localhost.key, cert = T.localhost.cert, ecdhCurve = 'P-384',
      ciphers = 'TLS_AES_256_GCM_SHA384' }, { ecdhCurve = 'X25519:P-384' })
    assertByKey(ofServer, ofClient)
    assert.is_false(ofClient.reused)
  end))
end)

describe('an identity that nobody knows', function()
  it('ends TLS 1.2', spec.coroutine(function(await)
    for _, callback in ipairs { nobody, function()
      return false
    end, function(_, _, answer)
      answer()
    end } do
      local ofServer, ofClient = meet(await, V12, { pskCallback = callback })
      assert.equal('ERR_SSL_PSK_IDENTITY_NOT_FOUND', ofServer.error.code)
      assert.equal('ERR_SSL_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY', ofClient.error.code)
    end
  end))

  it('ends TLS 1.3 without a certificate, with the reason', spec.coroutine(function(await)
    for _, callback in ipairs { nobody, function(_, _, answer)
      setImmediate(answer)
    end, function(_, _, _)
      return false
    end } do
      local ofServer, ofClient = meet(await, V13, { pskCallback = callback })
      assert.equal('ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', ofServer.error.code)
      assert.matches('^pre%-shared keys 1 unknown; ', ofServer.error.offered)
      assert.matches('certificates none$', ofServer.error.configured)
      assert.equal('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', ofClient.error.code)
    end
  end))

  M.eachVersion(it, 'is not the same as a wrong key', function(await, version)
    local ofServer = meet(await, version, { pskCallback = function()
      return 'another key'
    end })
    assert.equal(version.maxVersion == 'TLSv1.3' and 'ERR_SSL_BINDER_DOES_NOT_VERIFY'
      or 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', ofServer.error.code)
  end)

  it('may be the server, to a client', spec.coroutine(function(await)
    local ofServer, ofClient = meet(await, V12, nil, { pskCallback = nobody })
    assert.equal('ERR_SSL_PSK_IDENTITY_NOT_FOUND', ofClient.error.code)
    assert.equal('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', ofServer.error.code)
    assert.matches('%-PSK%-', ofServer.error.configured)
    ofServer = meet(await, V13, nil, { pskCallback = nobody })
    assert.equal('ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', ofServer.error.code)
  end))
end)

describe('options', function()
  it('are checked', function()
    for _, create in ipairs { tls.createServer, tls.connect } do
      local err = N.raises('ERR_INVALID_ARG_TYPE', create, { pskCallback = 'alice' })
      assert.matches('"options.pskCallback" property must be of type function', err.message, 1, true)
      err = N.raises('ERR_INVALID_ARG_TYPE', create, { pskCallback = nobody, pskIdentityHint = 5 })
      assert.matches('"options.pskIdentityHint" property must be of type string', err.message, 1, true)
      N.raises('ERR_INVALID_ARG_VALUE', create, { pskIdentityHint = 'a\0b' })
    end
    tls.createServer { pskCallback = false, pskIdentityHint = false }
  end)
end)

describe('beside a key', function()
  M.eachVersion(it, 'a staple may be asked for, and has nothing to be about', function(await, version)
    local asked, stapled = 0, 'nothing was told'
    local own = T.serve(server(version, T.identity()), nil, function() end)
    own:on('OCSPRequest', function(_, _, callback)
      asked = asked + 1
      setImmediate(callback, nil, 'a response')
    end)
    await(own, 'listening')
    local ofServer, ofClient = M.visit(await, own, client(version, { requestOCSP = true }), function(socket)
      socket:on('OCSPResponse', function(response)
        stapled = response
      end)
    end)
    assertByKey(ofServer, ofClient)
    assert.not_equal('a response', stapled)
    P.close(await, own)
  end)

  M.eachVersion(it, 'sessions may be kept by the script', function(await, version)
    local stored, asked = {}, {}
    local own = T.serve(server(version, { pskCallback = function(_, identity)
      asked[#asked + 1] = identity
      return knowsAlice(nil, identity)
    end }), nil, function() end)
    own:on('newSession', function(id, data, callback)
      stored[id] = data
      setImmediate(callback)
    end)
    own:on('resumeSession', function(id, callback)
      setImmediate(callback, nil, stored[id])
    end)
    await(own, 'listening')
    local _, first = M.visit(await, own, client(version))
    local ofServer, second = M.visit(await, own, client(version, { session = first.session }))
    assertByKey(ofServer, second)
    assert.same({ true, true }, { ofServer.reused, second.reused })
    -- Under TLS 1.3 the id stands where identities stand; the key that comes behind it is asked for.
    assert.same(version.maxVersion == 'TLSv1.3' and { 'alice', 'alice' } or { 'alice' }, asked)
    P.close(await, own)
  end)
end)

describe('a renegotiation', function()
  -- A server and a client that renegotiates once; `callback` is the server's pskCallback.
  local function renegotiate(await, callback, done)
    local own = T.serve(server(V12, { pskCallback = callback }), function(socket)
      socket:on('error', function() end)
      socket:pipe(socket)
    end, function() end)
    own:on('tlsClientError', function() end)
    await(own, 'listening')
    local socket = T.connect(own:address().port, client(V12))
    await(socket, 'secureConnect')
    local failure
    socket:on('error', function(err)
      failure = err
    end)
    await(function(closed)
      socket:on('close', function()
        closed()
      end)
      done(socket)
    end)
    P.close(await, own)
    return failure
  end

  it('asks for the key again', spec.coroutine(function(await)
    local asked, echo = 0, ''
    local failure = renegotiate(await, function(_, identity)
      asked = asked + 1
      return knowsAlice(nil, identity)
    end, function(socket)
      socket:on('data', function(data)
        echo = echo .. data
        if echo == 'before, after' then
          socket:finish()
        end
      end)
      socket:write('before, ')
      socket:renegotiate({}, function(err)
        assert.is_nil(err)
        socket:write('after')
      end)
    end)
    assert.is_nil(failure)
    assert.same({ 2, 'before, after' }, { asked, echo })
  end))

  it('ends when nobody knows the key any more, and when the socket is destroyed', spec.coroutine(function(await)
    for _, last in ipairs { function() end, function(socket)
      socket:destroy()
      return KEY
    end } do
      local asked = 0
      local failure = renegotiate(await, function(socket, identity)
        asked = asked + 1
        if asked == 1 then
          return knowsAlice(nil, identity)
        end
        return last(socket)
      end, function(socket)
        socket:renegotiate({}, nobody)
      end)
      assert.is_string(failure.code)
      assert.equal(2, asked)
    end
  end))
end)

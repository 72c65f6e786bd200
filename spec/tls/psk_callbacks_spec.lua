-- What the callbacks of pre-shared keys may do: answer late, twice, never, fail, throw, destroy.
local spec = require 'moonlatch.spec'
local M = require 'spec.support.meeting'
local K = require 'spec.support.psk'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local INTERNAL_ERROR = 80

local KEY, V12, V13 = K.KEY, K.V12, K.V13
local knowsAlice, asAlice, server = K.knowsAlice, K.asAlice, K.server
local client, meet, assertByKey = K.client, K.meet, K.assertByKey

-- Both forms, at the pause that TLS 1.3 has.
describe('the answer of a server under TLS 1.3', function()
  local function answering(name, callback)
    it(name, spec.coroutine(function(await)
      assertByKey(meet(await, V13, { pskCallback = callback }))
    end))
  end

  answering('may come through a callback at once', function(_, _, callback)
    callback(nil, KEY)
  end)
  answering('may come through a callback later', function(_, _, callback)
    setTimeout(callback, 5, nil, KEY)
  end)
  answering('may be returned whatever is declared', function(_, _, _)
    return KEY
  end)
  answering('may come later to a function with ...', function(...)
    setImmediate((select(3, ...)), nil, KEY)
  end)
  answering('counts once', function(_, _, callback)
    callback(nil, KEY)
    callback(nil, 'another key')
    callback(Error('too late'))
    setImmediate(callback, nil, 'another key')
    return 'another key'
  end)

  it('may never come: the handshake times out', spec.coroutine(function(await)
    local late
    local ofServer, ofClient = meet(await, V13, { handshakeTimeout = T.handshakeTimeout,
      pskCallback = function(_, _, callback)
        late = callback
      end })
    assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', ofServer.error.code)
    assert.equal('ECONNRESET', ofClient.error.code)
    late(nil, KEY)
    late(Error('much later'))
  end))

  it('may come when the client has gone', spec.coroutine(function(await)
    local late, connecting
    local ofServer = meet(await, V13, { pskCallback = function(_, _, callback)
      late = callback
      connecting:destroy()
    end }, nil, function(socket)
      connecting = socket
    end)
    assert.equal('ECONNRESET', ofServer.error.code)
    late(nil, KEY)
  end))

  it('may come when the server is closing', spec.coroutine(function(await)
    local own
    own = T.serve(server(V13, { pskCallback = function(_, _, callback)
      own:close()
      setImmediate(callback, nil, KEY)
    end }), nil, function() end)
    await(own, 'listening')
    assertByKey(M.visit(await, own, client(V13)))
  end))

  local function destroying(name, callback)
    it('may come when the socket has been destroyed ' .. name, spec.coroutine(function(await)
      local ofServer, ofClient = meet(await, V13, { pskCallback = callback })
      assert.equal('ECONNRESET', ofServer.error.code)
      assert.equal('ECONNRESET', ofClient.error.code)
    end))
  end

  destroying('at once', function(socket)
    socket:destroy()
    return KEY
  end)
  destroying('before it answers', function(socket, _, callback)
    socket:destroy()
    callback(nil, KEY)
    setImmediate(callback, nil, KEY)
    setImmediate(callback, Error('nobody is there'))
  end)
  destroying('while it waits', function(socket, _, callback)
    setImmediate(function()
      socket:destroy()
      callback(nil, KEY)
    end)
  end)
end)

-- What a server's callback may do wrong, and what becomes of it. The first part is the same under both versions.
describe('a server whose callback', function()
  local function failing(name, code, message, callback, only)
    local function check(await, version)
      local ofServer, ofClient = meet(await, version, { pskCallback = callback })
      assert.equal(code, ofServer.error.code)
      assert.matches(message, ofServer.error.message, 1, true)
      assert.is_string(ofServer.error.stack)
      assert.same({ INTERNAL_ERROR, 'peer' }, { ofClient.error.alert, ofClient.error.alertFrom })
      assert.is_nil(ofServer.error.message:find(KEY, 1, true))
    end
    if not only then
      M.eachVersion(it, name, check)
      return
    end
    it(name, spec.coroutine(function(await)
      check(await, only)
    end))
  end

  failing('throws', nil, 'thrown in the callback', function()
    error('thrown in the callback')
  end)
  failing('throws an Error', nil, 'out of order', function()
    error(Error('out of order'))
  end)
  failing('answers with an error', nil, 'no such table', function(_, _, callback)
    callback(Error('no such table'))
  end)
  failing('answers with an error first', nil, 'no such table', function(_, _, callback)
    callback(Error('no such table'))
    callback(nil, KEY)
    return KEY
  end)
  failing('answers with an error later', nil, 'no such table, later', function(_, _, callback)
    setImmediate(callback, Error('no such table, later'))
  end, V13)
  failing('returns a number', 'ERR_INVALID_ARG_TYPE',
    'The "ret" argument must be one of type object or string. Received type number (5)', function()
      return 5
    end)
  failing('answers with true', 'ERR_INVALID_ARG_TYPE', 'Received type boolean (true)', function(_, _, callback)
    callback(nil, true)
  end)
  failing('returns a table without a key', 'ERR_INVALID_ARG_TYPE',
    'The "psk" argument must be of type string. Received nil', function()
      return {}
    end)
  failing('returns a table with another key', 'ERR_INVALID_ARG_TYPE',
    'The "psk" argument must be of type string. Received type number (5)', function()
      return { psk = 5 }
    end)
  failing('returns an empty key', 'ERR_INVALID_ARG_VALUE', "The argument 'psk' must not be empty", function()
    return ''
  end)
  failing('returns a key that is too long', 'ERR_INVALID_ARG_VALUE',
    "The argument 'psk' Pre-shared key exceeds 256 bytes. Received 264", function()
      return KEY:rep(11)
    end)
  failing('wants to answer later under TLS 1.2', 'ERR_TLS_PSK_ANSWER_TOO_LATE',
    'Under TLSv1.2 a pskCallback must answer before it returns', function(_, _, callback)
      setImmediate(callback, nil, KEY)
    end, V12)

  it('refuses by the name of an alert', spec.coroutine(function(await)
    local function refuse()
      error({ alert = 'access_denied' })
    end
    local ofServer, ofClient = meet(await, V13, { pskCallback = refuse })
    assert.equal('ERR_TLS_HANDSHAKE_REFUSED', ofServer.error.code)
    assert.equal('ERR_SSL_TLSV1_ALERT_ACCESS_DENIED', ofClient.error.code)
    -- Under TLS 1.2 the alert is OpenSSL's to choose.
    ofServer, ofClient = meet(await, V12, { pskCallback = refuse })
    assert.equal('ERR_TLS_HANDSHAKE_REFUSED', ofServer.error.code)
    assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', ofClient.error.code)
  end))

  it('fails for one client is there for the next', spec.coroutine(function(await)
    for _, version in ipairs { V12, V13 } do
      local own = T.serve(server(version, { pskCallback = function(_, identity)
        return identity == 'alice' and KEY or error('who is that?')
      end }), nil, function() end)
      await(own, 'listening')
      local ofServer = M.visit(await, own, client(version, { pskCallback = function()
        return { psk = KEY, identity = 'mallory' }
      end }))
      assert.matches('who is that', ofServer.error.message)
      assertByKey(M.visit(await, own, client(version)))
      P.close(await, own)
    end
  end))

  M.eachVersion(it, 'has a hint that is too long', function(await, version)
    local ofServer, ofClient = meet(await, version, { pskIdentityHint = ('a'):rep(512) })
    assert.equal('ERR_TLS_PSK_SET_IDENTITY_HINT_FAILED', ofServer.error.code)
    assert.equal('Failed to set PSK identity hint', ofServer.error.message)
    assert.equal('ECONNRESET', ofClient.error.code)
  end)
end)

describe('a client whose callback', function()
  local function failing(name, code, message, callback)
    M.eachVersion(it, name, function(await, version)
      local ofServer, ofClient = meet(await, version, nil, { pskCallback = callback })
      assert.equal(code, ofClient.error.code)
      assert.matches(message, ofClient.error.message, 1, true)
      assert.is_string(ofClient.error.stack)
      assert.is_nil(ofClient.error.message:find(KEY, 1, true))
      -- Under TLS 1.3 the alert comes instead of a ClientHello.
      assert.equal(version.maxVersion == 'TLSv1.3' and 'ERR_SSL_UNEXPECTED_MESSAGE'
        or 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', ofServer.error.code)
    end)
  end

  failing('throws', nil, 'thrown in the callback', function()
    error('thrown in the callback')
  end)
  failing('returns a string', 'ERR_INVALID_ARG_TYPE', 'The "ret" argument must be of type object', function()
    return 'alice'
  end)
  failing('returns no key', 'ERR_INVALID_ARG_TYPE', 'The "psk" argument must be of type string', function()
    return { identity = 'alice' }
  end)
  failing('returns an empty key', 'ERR_INVALID_ARG_VALUE', "The argument 'psk' must not be empty", function()
    return { psk = '', identity = 'alice' }
  end)
  failing('returns a key that is too long', 'ERR_INVALID_ARG_VALUE', 'Pre-shared key exceeds 256 bytes', function()
    return { psk = KEY:rep(11), identity = 'alice' }
  end)
  failing('returns no identity', 'ERR_INVALID_ARG_TYPE', 'The "identity" argument must be of type string', function()
    return { psk = KEY }
  end)
  failing('returns an identity that is too long', 'ERR_INVALID_ARG_VALUE', 'PSK identity exceeds 128 bytes', function()
    return { psk = KEY, identity = ('i'):rep(129) }
  end)
  failing('returns an identity with a null byte', 'ERR_INVALID_ARG_VALUE', 'without null bytes', function()
    return { psk = KEY, identity = 'alice\0bob' }
  end)

  it('returns an identity without a name has none under TLS 1.3', spec.coroutine(function(await)
    local function unnamed()
      return { psk = KEY, identity = '' }
    end
    local seen
    assertByKey(meet(await, V12, { pskCallback = function(_, identity)
      seen = identity
      return KEY
    end }, { pskCallback = unnamed }))
    assert.equal('', seen)
    local ofServer = meet(await, V13, nil, { pskCallback = unnamed })
    assert.equal('ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', ofServer.error.code)
  end))
end)

-- The one place where a script runs on OpenSSL's stack.
describe('within the call of OpenSSL', function()
  local function onServer(name, act)
    it('a server may ' .. name, spec.coroutine(function(await)
      local ofServer, ofClient = meet(await, V12, { pskCallback = function(socket)
        act(socket)
        return KEY
      end })
      assert.equal('ECONNRESET', ofServer.error.code)
      assert.is_string(ofClient.error.code)
    end))
  end

  local function onClient(name, act)
    M.eachVersion(it, 'a client may ' .. name, function(await, version)
      local connecting
      local ofServer, ofClient = meet(await, version, nil, { pskCallback = function()
        act(connecting)
        return asAlice()
      end }, function(socket)
        connecting = socket
      end)
      assert.is_string(ofServer.error.code)
      assert.is_nil(ofClient.data)
    end)
  end

  for _, on in ipairs { onServer, onClient } do
    on('destroy its own socket', function(socket)
      socket:destroy()
    end)
    on('destroy its own socket and have it collected', function(socket)
      socket:destroy()
      socket = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    end)
    on('reset its own connection', function(socket)
      socket:resetAndDestroy()
    end)
    on('destroy its own socket and throw', function(socket)
      socket:destroy()
      error('after the end')
    end)
  end

  M.eachVersion(it, 'sockets can be asked, and written to', function(await, version)
    local ofServer, ofClient = meet(await, version, { pskCallback = function(socket)
      assert.is_string(socket.remoteAddress)
      assert.equal('localhost', socket._handle:servername())
      assert.is_string(socket:getProtocol())
      assert.is_nil(socket:getSession())
      assert.same({}, socket:getPeerCertificate())
      socket:getCipher()
      socket:write('first of all, ')
      return KEY
    end })
    assert.same({ nil, nil, 'first of all, well met' }, { ofServer.error, ofClient.error, ofClient.data })
  end)

  M.eachVersion(it, 'other connections can be begun, and go on', function(await, version)
    local own, other
    own = T.serve(server(version, { pskCallback = function(_, identity)
      if not other then
        other = T.connect(own:address().port, client(version))
        other:resume()
      end
      return knowsAlice(nil, identity)
    end }), nil, function() end)
    await(own, 'listening')
    assertByKey(M.visit(await, own, client(version)))
    if not other.destroyed then
      await(other, 'close')
    end
    assert.is_true(other.authorized)
    P.close(await, own)
  end)
end)

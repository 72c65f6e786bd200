-- What a script can answer to a ClientHello, and when: event 'clientHello', and what it has in common with SNICallback.
local C = require 'spec.support.client_hello'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local native = require 'moonlatch.native'
local tls = require 'tls'

local function contextFor(name)
  local leaf = T.ca:issue { names = { name }, cn = name }
  return tls.createSecureContext { key = leaf.key, cert = leaf.cert }
end

local alpha, beta = contextFor 'alpha.test', contextFor 'beta.test'

-- An echo server whose 'clientHello' listener is `answer(callback, hello, socket)`.
local function answering(await, options, answer)
  local guarded = H.guard(await, options)
  guarded.server:on('clientHello', function(hello, socket, callback)
    answer(callback, hello, socket)
  end)
  return guarded
end

local anyName = { checkServerIdentity = function() end }

-- The name in the certificate that a client is shown.
local function served(await, port, options)
  return P.ownClientEcho(await, port, T.merged(anyName, options), 'hello').seen.cn
end

local function eachVersion(name, check)
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it(name .. ' (' .. version .. ')', P.test({}, function(await, files)
      check(await, { minVersion = version, maxVersion = version }, files)
    end))
  end
end

describe("an answer to 'clientHello'", function()
  it('without anything goes on to SNICallback', P.test({}, function(await)
    local asked = {}
    local guarded = answering(await, { SNICallback = function(servername, callback)
      table.insert(asked, servername)
      callback(nil, beta)
    end }, function(callback)
      table.insert(asked, 'clientHello')
      callback()
    end)
    assert.equal('beta.test', served(await, guarded.port))
    assert.same({ 'clientHello', 'localhost' }, asked)
    P.close(await, guarded.server)
  end))

  it('without anything goes on to the contexts that were added', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback)
      callback(nil, nil)
    end)
    guarded.server:addContext('alpha.test', alpha)
    assert.equal('alpha.test', served(await, guarded.port, { servername = 'alpha.test' }))
    assert.equal('localhost', served(await, guarded.port))
    P.close(await, guarded.server)
  end))

  eachVersion('with a context is the end of the question', function(await, options)
    local guarded = answering(await, T.merged(options, { SNICallback = function()
      error('asked')
    end }), function(callback)
      callback(nil, alpha)
    end)
    assert.equal('alpha.test', served(await, guarded.port))
    P.close(await, guarded.server)
    assert.same({}, guarded.errors)
  end)

  it('may depend on more than the name', P.test({}, function(await)
    local guarded = answering(await, { ALPNProtocols = { 'acme-tls/1', 'h2' } }, function(callback, hello)
      callback(nil, hello.alpnProtocols[1] == 'acme-tls/1' and alpha or beta)
    end)
    assert.equal('alpha.test', served(await, guarded.port, { ALPNProtocols = { 'acme-tls/1' } }))
    assert.equal('beta.test', served(await, guarded.port, { ALPNProtocols = { 'h2' } }))
    P.close(await, guarded.server)
  end))

  it('is wanted of clients without a name, too', P.test({}, function(await)
    local names = {}
    local guarded = answering(await, { SNICallback = function()
      error('asked')
    end }, function(callback, hello)
      table.insert(names, hello.servername or 'none')
      callback()
    end)
    P.sClientEcho(await, guarded.port, { '-noservername' })
    P.close(await, guarded.server)
    assert.same({ 'none' }, names)
    assert.same({}, guarded.errors)
  end))

  it('is wanted once, even of a client that has to say hello twice', P.test({}, function(await)
    local watched = C.watch(await, { ecdhCurve = 'P-384' })
    P.ownClientEcho(await, watched.port, { ecdhCurve = 'X25519:P-384' }, 'hello')
    P.close(await, watched.server)
    assert.equal(1, #watched.hellos)
    assert.same({ 'x25519' }, watched.hellos[1].keyShares)
  end))

  it('is wanted when a session is resumed', P.test({}, function(await)
    local watched = C.watch(await, {})
    local session = P.ownClientEcho(await, watched.port, {}, 'hello').session
    assert.is_true(P.ownClientEcho(await, watched.port, { session = session }, 'hello').seen.reused)
    P.close(await, watched.server)
    assert.equal(2, #watched.hellos)
  end))

  it('may come from any of several listeners: the first counts', P.test({}, function(await)
    local heard = {}
    local guarded = answering(await, {}, function(callback)
      table.insert(heard, 'first')
      setImmediate(callback, nil, beta)
    end)
    guarded.server:on('clientHello', function(_, _, callback)
      table.insert(heard, 'second')
      callback(nil, alpha)
    end)
    assert.equal('alpha.test', served(await, guarded.port))
    assert.same({ 'first', 'second' }, heard)
    P.close(await, guarded.server)
  end))

  it('can be given for a connection that was announced as a plain socket', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback)
      callback(nil, alpha)
    end)
    guarded.server:on('connection', function() end)
    assert.equal('alpha.test', served(await, guarded.port))
    P.close(await, guarded.server)
  end))
end)

describe("the pause at 'clientHello'", function()
  eachVersion('ends when the answer comes later', function(await, options)
    local guarded = answering(await, options, function(callback)
      setImmediate(setTimeout, callback, 1, nil, alpha)
    end)
    assert.equal('alpha.test', served(await, guarded.port))
    P.close(await, guarded.server)
  end)

  it('is followed by that of SNICallback', P.test({}, function(await)
    local guarded = answering(await, { SNICallback = function(_, callback)
      setImmediate(callback, nil, beta)
    end }, function(callback)
      setImmediate(callback)
    end)
    assert.equal('beta.test', served(await, guarded.port))
    P.close(await, guarded.server)
  end))

  it('takes the first of several answers', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback)
      callback(nil, alpha)
      callback(nil, beta)
      callback(Error 'second thoughts')
      setImmediate(callback, nil, beta)
      setImmediate(callback, Error 'third thoughts')
    end)
    assert.equal('alpha.test', served(await, guarded.port))
    P.close(await, guarded.server)
    assert.same({}, guarded.errors)
  end))

  it('does not ask SNICallback twice', P.test({}, function(await)
    local asked = 0
    local guarded = answering(await, { SNICallback = function(_, callback)
      asked = asked + 1
      setImmediate(callback, nil, beta)
    end }, function(callback)
      callback()
      callback()
      setImmediate(callback)
    end)
    assert.equal('beta.test', served(await, guarded.port))
    assert.equal(1, asked)
    P.close(await, guarded.server)
  end))

  it('ends by the handshake timeout when nobody answers; later answers do nothing', P.test({}, function(await)
    local late
    local guarded = answering(await, { handshakeTimeout = T.handshakeTimeout, SNICallback = function()
      error('asked')
    end }, function(callback)
      late = callback
    end)
    assert.equal('ECONNRESET', H.clientFailure(await, guarded.port).error.code)
    late()
    late(nil, alpha)
    late(Error 'much later')
    P.close(await, guarded.server)
    assert.equal(1, #guarded.errors)
    assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', guarded.errors[1].code)
  end))

  it('ends when the client leaves', P.test({}, function(await)
    local late, client
    local guarded = answering(await, {}, function(callback, hello)
      if hello.servername == 'alpha.test' then
        callback(nil, alpha)
      else
        late = callback
        client:destroy()
      end
    end)
    client = T.connect(guarded.port)
    await(guarded.server, 'tlsClientError')
    assert.equal('ECONNRESET', guarded.errors[1].code)
    late()
    late(nil, alpha)
    H.onlyError(await, guarded, { servername = 'alpha.test' })
  end))

  it('ends when a listener destroys the socket', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback, hello, socket)
      if hello.servername == 'alpha.test' then
        callback(nil, alpha)
        return
      end
      assert.equal('127.0.0.1', socket.remoteAddress)
      socket:destroy()
      callback(nil, alpha)
      setImmediate(callback)
    end)
    assert.equal('ECONNRESET', H.clientFailure(await, guarded.port).error.code)
    assert.equal('ECONNRESET', H.onlyError(await, guarded, { servername = 'alpha.test' }).code)
  end))

  it('ends when the socket is destroyed with an error of its own', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback, hello, socket)
      if hello.servername == 'alpha.test' then
        callback(nil, alpha)
      else
        setImmediate(socket.destroy, socket, Error 'no time')
      end
    end)
    H.clientFailure(await, guarded.port)
    assert.equal('no time', H.onlyError(await, guarded, { servername = 'alpha.test' }).message)
  end))

  it('outlives the closing of the server', P.test({}, function(await)
    local guarded
    guarded = answering(await, {}, function(callback)
      guarded.server:close(function()
        guarded.closed = true
      end)
      setImmediate(callback, nil, alpha)
    end)
    assert.equal('alpha.test', served(await, guarded.port))
    if not guarded.closed then
      await(guarded.server, 'close')
    end
    assert.same({}, guarded.errors)
  end))

  it('ends with what a listener throws', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback, hello)
      if hello.servername == 'alpha.test' then
        callback(nil, alpha)
      else
        error('thrown by the listener')
      end
    end)
    assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', H.clientFailure(await, guarded.port).error.code)
    local err = H.onlyError(await, guarded, { servername = 'alpha.test' })
    assert.matches('thrown by the listener', err.message, 1, true)
    assert.matches('client_hello_answers_spec', err.stack, 1, true)
  end))

  it('ends with what SNICallback throws after it', P.test({}, function(await)
    local guarded = answering(await, { SNICallback = function(servername, callback)
      callback(nil, servername == 'alpha.test' and alpha or error('thrown by SNICallback'))
    end }, function(callback)
      setImmediate(callback)
    end)
    H.clientFailure(await, guarded.port)
    local err = H.onlyError(await, guarded, { servername = 'alpha.test' })
    assert.matches('thrown by SNICallback', err.message, 1, true)
  end))

  for name, garbage in pairs { ['a table'] = {}, ['options'] = { key = 'x' }, ['a string'] = 'alpha',
    ['true'] = true, ['a function'] = function() end } do
    it('ends with ERR_TLS_INVALID_CONTEXT for ' .. name .. ' as context', P.test({}, function(await)
      local guarded = answering(await, {}, function(callback, hello)
        callback(nil, hello.servername == 'alpha.test' and alpha or garbage)
      end)
      assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', H.clientFailure(await, guarded.port).error.code)
      assert.equal('ERR_TLS_INVALID_CONTEXT', H.onlyError(await, guarded, { servername = 'alpha.test' }).code)
    end))
  end

  for name, garbage in pairs { ['a string'] = 'no', ['a number'] = 7, ['true'] = true } do
    it('ends with an Error for ' .. name .. ' as error', P.test({}, function(await)
      local guarded = answering(await, {}, function(callback, hello)
        callback(hello.servername ~= 'alpha.test' and garbage or nil, alpha)
      end)
      assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', H.clientFailure(await, guarded.port).error.code)
      assert.equal(tostring(garbage), H.onlyError(await, guarded, { servername = 'alpha.test' }).message)
    end))
  end
end)

-- What a client that asks for 'refused.test' and the server come to know of a refusal by `refusal`; through SNICallback
-- instead of 'clientHello' when `byName`.
local function refused(await, options, refusal, byName)
  local function decide(callback, hello)
    if hello.servername == 'refused.test' then
      callback(refusal)
    else
      callback(nil, alpha)
    end
  end
  local guarded
  if byName then
    guarded = H.guard(await, T.merged(options, { SNICallback = function(_, callback, hello)
      decide(callback, hello)
    end }))
  else
    guarded = answering(await, options, decide)
  end
  local theirs = H.clientFailure(await, guarded.port, { servername = 'refused.test' }).error
  return theirs, H.onlyError(await, guarded, { servername = 'alpha.test' })
end

describe('a refusal', function()
  eachVersion('by name sends that alert', function(await, options)
    local theirs, ours = refused(await, options, { alert = 'access_denied' })
    assert.equal('ERR_SSL_TLSV1_ALERT_ACCESS_DENIED', theirs.code)
    assert.equal(49, theirs.alert)
    assert.equal('peer', theirs.alertFrom)
    assert.equal('ERR_TLS_HANDSHAKE_REFUSED', ours.code)
    assert.equal('access_denied', ours.alert)
    assert.equal('Error [ERR_TLS_HANDSHAKE_REFUSED]: The handshake was refused: access_denied', tostring(ours))
    assert.is_string(ours.stack)
  end)

  it("keeps the script's own error", P.test({}, function(await)
    local mine = Error 'not today'
    mine.alert, mine.code = 'unrecognized_name', 'E_CLOSED'
    local theirs, ours = refused(await, {}, mine)
    assert.equal('ERR_SSL_TLSV1_UNRECOGNIZED_NAME', theirs.code)
    assert.is_true(rawequal(mine, ours))
  end))

  it('keeps what else is in the table', P.test({}, function(await)
    local _, ours = refused(await, {}, { alert = 'access_denied', country = 'atlantis' })
    assert.equal('atlantis', ours.country)
    assert.equal('ERR_TLS_HANDSHAKE_REFUSED', ours.code)
  end))

  it('without the name of an alert sends internal_error', P.test({}, function(await)
    local theirs, ours = refused(await, {}, Error 'no alert')
    assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', theirs.code)
    assert.equal('no alert', ours.message)
  end))

  it('by SNICallback works the same', P.test({}, function(await)
    local theirs, ours = refused(await, {}, { alert = 'unrecognized_name' }, true)
    assert.equal('ERR_SSL_TLSV1_UNRECOGNIZED_NAME', theirs.code)
    assert.equal('ERR_TLS_HANDSHAKE_REFUSED', ours.code)
  end))

  it('may be one whose __tostring raises', P.test({}, function(await)
    local own = setmetatable({ alert = 'access_denied', message = 'no' }, { __tostring = function()
      error 'cannot be shown'
    end })
    local theirs, ours = refused(await, {}, own)
    assert.equal('ERR_SSL_TLSV1_ALERT_ACCESS_DENIED', theirs.code)
    assert.is_true(rawequal(own, ours))
  end))

  it('can be thrown', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback, hello)
      if hello.servername == 'alpha.test' then
        callback(nil, alpha)
      else
        error({ alert = 'insufficient_security' }, 0)
      end
    end)
    assert.equal('ERR_SSL_TLSV1_ALERT_INSUFFICIENT_SECURITY', H.clientFailure(await, guarded.port).error.code)
    assert.equal('insufficient_security', H.onlyError(await, guarded, { servername = 'alpha.test' }).alert)
  end))

  for name, wrong in pairs { ['no alert has'] = 'no_such_alert', ['is no error'] = 'close_notify',
    ['is out of use'] = 'no_certificate', ['is a number'] = 49, ['is a table'] = {} } do
    it('by a name that ' .. name .. ' is ERR_INVALID_ARG_VALUE', P.test({}, function(await)
      local mine = { alert = wrong }
      local theirs, ours = refused(await, {}, mine)
      assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', theirs.code)
      assert.equal('ERR_INVALID_ARG_VALUE', ours.code)
      assert.matches("The property 'err.alert' is not the name of an error alert. Received ", ours.message, 1, true)
      assert.is_true(rawequal(mine, ours.cause))
    end))
  end

  it('with an error from another connection does not repeat its alert', P.test({}, function(await)
    local elsewhere = refused(await, {}, { alert = 'access_denied' })
    local theirs, ours = refused(await, {}, elsewhere)
    assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', theirs.code)
    assert.is_true(rawequal(elsewhere, ours))
  end))

  it('can use every error alert of RFC 8446', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback, hello)
      callback { alert = hello.servername:gsub('-', '_') }
    end)
    local count = 0
    for name, number in pairs(native.tlsAlerts) do
      local err = H.clientFailure(await, guarded.port, { servername = (name:gsub('_', '-')) }).error
      assert.equal(number, err.alert, name)
      assert.equal('peer', err.alertFrom, name)
      count = count + 1
    end
    assert.equal(25, count)
    assert.equal(25, #guarded.errors)
    P.close(await, guarded.server)
  end))

  it('is seen by the openssl program as it was meant', P.test({}, function(await)
    local guarded = answering(await, {}, function(callback)
      callback { alert = 'missing_extension' }
    end)
    local _, stdout, stderr = P.run(await,
      { 'openssl', 's_client', '-noservername', '-connect', '127.0.0.1:' .. guarded.port }, { input = '' })
    assert.matches('SSL alert number 109', stdout .. stderr)
    P.close(await, guarded.server)
    assert.equal('missing_extension', guarded.errors[1].alert)
  end))
end)

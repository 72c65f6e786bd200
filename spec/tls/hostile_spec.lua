-- Peers that know TLS 1.3 well and use it badly (spec/support/hostile_client.js and hostile_server.js), and scripts
-- that make mistakes where a server cannot afford them: one Error in the right place, nothing left behind.
local native = require 'moonlatch.native'
local net = require 'net'
local process = require 'process'
local spec = require 'moonlatch.spec'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local program = require 'spec.support.program'

-- Runs a scenario of hostile_client.js to its end.
local function attack(await, port, scenario)
  local status, stdout, stderr = P.run(await, { 'node', 'spec/support/hostile_client.js', tostring(port), scenario },
    { env = { NODE_OPTIONS = false } })
  assert(status == 0, stderr)
  return P.facts(stdout)
end

-- A server whose sockets remember their errors, with a count of what is open.
local function echoServer(await, options)
  local seen = { errors = {}, clientErrors = {}, closed = 0 }
  local server, port = P.serve(await, options, function(socket)
    socket:on('error', function(err)
      table.insert(seen.errors, err.code)
    end)
    socket:on('close', function()
      seen.closed = seen.closed + 1
    end)
    socket:pipe(socket)
  end)
  server:on('tlsClientError', function(err)
    table.insert(seen.clientErrors, err.code)
  end)
  return server, port, seen
end

describe('a server', function()
  for _, case in ipairs {
    { 'a hello in records of one byte', 'helloInBytes', 100 },
    { 'a hello of 36 kilobytes', 'hugeHello', 100 },
    { 'a Finished in records of one byte', 'finishedInBytes', 100 },
    { 'a hundred requests for new keys', 'keyUpdates', 100, 100 },
    { 'a second hello after a HelloRetryRequest', 'secondHonest', 100 },
    { 'a few empty records', 'emptyRecords', 1 },
    { 'twenty thousand records of one byte', 'byteRecords', 20000 },
    { 'records that are nearly all padding', 'padding', 50 },
  } do
    it('takes ' .. case[1], P.test({}, function(await)
      local server, port, seen = echoServer(await)
      local facts = attack(await, port, case[2])
      assert.equal(tostring(case[3]), facts.data)
      assert.equal('', facts.alerts)
      assert.equal(tostring(case[4] or 0), facts.updates)
      P.close(await, server)
      assert.same({}, seen.clientErrors)
    end))
  end

  for _, case in ipairs {
    { 'a name with a NUL', 'nameWithNul', 'ERR_SSL_BAD_EXTENSION', '112' },
    { 'an empty name', 'nameEmpty', 'ERR_SSL_BAD_EXTENSION', '50' },
    { 'a name of 256 bytes', 'nameTooLong', 'ERR_SSL_BAD_EXTENSION', '112' },
    { 'two names', 'twoNames', 'ERR_SSL_BAD_EXTENSION', '50' },
    { 'an empty list of names', 'noNames', 'ERR_SSL_BAD_EXTENSION', '50' },
    { 'an empty list of protocols', 'alpnEmpty', 'ERR_SSL_BAD_EXTENSION', '50' },
    { 'a protocol without a name', 'alpnEmptyName', 'ERR_SSL_BAD_EXTENSION', '50' },
    { 'a list of protocols that is cut off', 'alpnCut', 'ERR_SSL_BAD_EXTENSION', '50' },
    { 'a wrong Finished', 'badFinished', 'ERR_SSL_DIGEST_CHECK_FAILED', '51' },
    { 'a Finished that is too long', 'longFinished', 'ERR_SSL_EXCESSIVE_MESSAGE_SIZE', '47' },
  } do
    it('ends the handshake over ' .. case[1], P.test({}, function(await)
      local guarded = H.guard(await, { ALPNProtocols = { 'h2' } })
      local facts = attack(await, guarded.port, case[2])
      assert.equal(case[4], facts.alerts)
      assert.equal(case[3], H.onlyError(await, guarded).code)
    end))
  end

  for _, case in ipairs {
    { 'another name', 'secondOtherName', 'ERR_SSL_BAD_EXTENSION', '47' },
    { 'no protocols', 'secondNoProtocols', 'ERR_SSL_BAD_EXTENSION', '47' },
    { 'other protocols', 'secondOtherProtocols', 'ERR_SSL_BAD_EXTENSION', '47' },
    { 'no key share', 'secondNoShare', 'ERR_SSL_BAD_KEY_SHARE', '47' },
    { 'another cipher suite', 'secondOtherSuite', 'ERR_SSL_BAD_CIPHER', '47' },
    { 'another version', 'secondOtherVersion', 'ERR_SSL_UNSUPPORTED_PROTOCOL', '70' },
    { 'early data', 'secondEarlyData', 'ERR_SSL_BAD_EXTENSION', '47' },
  } do
    it('ends the handshake over a second hello with ' .. case[1] .. ', answered later', P.test({}, function(await)
      local guarded = H.guard(await, { ALPNCallback = function(_, callback)
        setImmediate(callback, nil, 'h2')
      end })
      local facts = attack(await, guarded.port, case[2])
      assert.equal(case[4], facts.alerts)
      assert.equal('0', facts.data)
      assert.equal(case[3], H.onlyError(await, guarded, { ALPNProtocols = { 'h2' } }).code)
    end))
  end

  -- What can be said without keys, instead of the ClientKeyExchange, and the alert that comes back (RFC 5246, 7.2).
  local CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
  local function record(kind, body)
    return string.char(kind, 3, 3, math.floor(#body / 256), #body % 256) .. body
  end
  local function message(kind, body)
    return string.char(kind, 0, math.floor(#body / 256), #body % 256) .. body
  end
  for _, case in ipairs {
    { 'a change of cipher before the keys', record(CCS, '\1'), 'ERR_SSL_UNEXPECTED_MESSAGE', 10 },
    { 'two changes of cipher in a record', record(CCS, '\1\1'), 'ERR_SSL_BAD_CHANGE_CIPHER_SPEC', 10 },
    { 'a change of cipher in the middle of a message',
      record(HANDSHAKE, '\16\0\0') .. record(CCS, '\1'), 'ERR_SSL_BAD_CHANGE_CIPHER_SPEC', 10 },
    { 'a Finished before the keys', record(HANDSHAKE, message(20, ('x'):rep(12))), 'ERR_SSL_UNEXPECTED_MESSAGE', 10 },
    { 'a CertificateVerify before the keys', record(HANDSHAKE, message(15, '')), 'ERR_SSL_UNEXPECTED_MESSAGE', 10 },
    { 'a certificate that nobody asked for',
      record(HANDSHAKE, message(11, '\0\0\0')), 'ERR_SSL_UNEXPECTED_MESSAGE', 10 },
    { 'a HelloRequest of the client', record(HANDSHAKE, message(0, '')), 'ERR_SSL_UNEXPECTED_MESSAGE', 10 },
    { 'an unknown message', record(HANDSHAKE, message(99, '')), 'ERR_SSL_UNEXPECTED_MESSAGE', 10 },
    { 'a message of megabytes', record(HANDSHAKE, '\16\255\255\255'), 'ERR_SSL_EXCESSIVE_MESSAGE_SIZE', 47 },
    { 'an empty ClientKeyExchange', record(HANDSHAKE, message(16, '')), 'ERR_SSL_MISSING_TMP_ECDH_KEY', 40 },
    { 'a key that is no point', record(HANDSHAKE, message(16, '\3abc')), 'ERR_SSL_BAD_KEY_SHARE', 47 },
    { 'data', record(DATA, 'x'), 'ERR_SSL_UNEXPECTED_RECORD', 10 },
    { 'a record of an unknown type', record(24, 'x'), 'ERR_SSL_UNEXPECTED_RECORD', 10 },
    { 'a record of another version', '\22\4\0\0\1x', 'ERR_SSL_WRONG_VERSION_NUMBER', 70 },
    { 'a record that is too long', '\22\3\3\72\1', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 22 },
    { 'empty records without end', record(HANDSHAKE, ''):rep(100), 'ERR_SSL_RECORD_TOO_SMALL', 10 },
    { 'warnings without end', record(ALERT, '\1\90'):rep(100), 'ERR_SSL_TOO_MANY_WARN_ALERTS', 10 },
    { 'a fatal alert', record(ALERT, '\2\40'), 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'peer' },
    { 'a fatal close_notify', record(ALERT, '\2\0'), 'ERR_SSL_UNKNOWN_ALERT', 'peer' },
    { 'an alert of another level', record(ALERT, '\3\40'), 'ERR_SSL_UNKNOWN_ALERT_TYPE', 47 },
  } do
    it('ends a handshake of TLS 1.2 over ' .. case[1], P.test({}, function(await)
      local guarded = H.guard(await, { maxVersion = 'TLSv1.2' })
      local hello = H.clientHello(await, { maxVersion = 'TLSv1.2' })
      local received = H.raw(await, guarded.port, function(socket)
        socket:write(hello .. case[2])
      end)
      local alert = received:match('\21\3[\1\3]%z\2\2(.)$')
      local err = H.onlyError(await, guarded)
      assert.same({ case[3], case[4] }, { err.code, alert and alert:byte() or err.alertFrom })
    end))
  end

  for _, case in ipairs {
    { 'nothing but padding', 'onlyPadding', 'ERR_SSL_BAD_RECORD_TYPE', '10' },
    { 'an empty inner record', 'emptyInner', 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', '20' },
    { 'a record that is too long', 'tooLong', 'ERR_SSL_DATA_LENGTH_TOO_LONG', '22' },
    { 'a record that is too long with its padding', 'tooLongPadded', 'ERR_SSL_ENCRYPTED_LENGTH_TOO_LONG', '22' },
    { 'a record twice', 'replayed', 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', '20' },
    { 'a record with a flipped bit', 'flipped', 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', '20' },
    { 'data in the clear', 'plainData', 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', '20' },
    { 'an alert in the clear', 'plainAlert', 'ERR_SSL_BAD_RECORD_TYPE', '10' },
    { 'a hello in the clear', 'plainHello', 'ERR_SSL_BAD_RECORD_TYPE', '10' },
    { 'a second hello', 'secondHello', 'ERR_SSL_UNEXPECTED_MESSAGE', '10' },
    { 'a second Finished', 'secondFinished', 'ERR_SSL_UNEXPECTED_MESSAGE', '10' },
    { 'a certificate that nobody asked for', 'certificate', 'ERR_SSL_UNEXPECTED_MESSAGE', '10' },
    { 'an unknown message', 'unknownMessage', 'ERR_SSL_UNEXPECTED_MESSAGE', '10' },
    { 'a message of megabytes', 'hugeMessage', 'ERR_SSL_EXCESSIVE_MESSAGE_SIZE', '47' },
    { 'a record of an unknown type', 'unknownType', 'ERR_SSL_BAD_RECORD_TYPE', '10' },
    { 'a KeyUpdate with a value it cannot have', 'badKeyUpdate', 'ERR_SSL_BAD_KEY_UPDATE', '47' },
    { 'data in the middle of a message', 'cutKeyUpdate', 'ERR_SSL_MIXED_HANDSHAKE_AND_NON_HANDSHAKE_DATA', '10' },
    { 'two KeyUpdates in one record', 'joinedKeyUpdates', 'ERR_SSL_NOT_ON_RECORD_BOUNDARY', '10' },
    { 'two alerts in one record', 'twoAlerts', 'ERR_SSL_INVALID_ALERT', '10' },
    { 'an empty alert', 'emptyAlert', 'ERR_SSL_BAD_LENGTH', '10' },
    { 'a thousand empty records', 'emptyRecordFlood', 'ERR_SSL_RECORD_TOO_SMALL', '10' },
    { 'a hundred warnings', 'warningFlood', 'ERR_SSL_TOO_MANY_WARN_ALERTS', '10' },
    { 'a thousand changes of cipher', 'plainCcsFlood', 'ERR_SSL_BAD_RECORD_TYPE', '10' },
    { 'data after a fatal alert', 'dataAfterFatal', 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', '' },
  } do
    it('ends a connection once over ' .. case[1], P.test({}, function(await)
      local server, port, seen = echoServer(await)
      local facts = attack(await, port, case[2])
      P.ownClientEcho(await, port, {}, 'still there?')
      P.close(await, server)
      assert.same({ case[3] }, seen.errors)
      assert.same({}, seen.clientErrors)
      assert.equal(2, seen.closed)
      assert.equal(case[4], facts.alerts)
    end))
  end

  it('hears nothing that follows a close_notify', P.test({}, function(await)
    local server, port, seen = echoServer(await)
    local facts = attack(await, port, 'dataAfterClose')
    P.close(await, server)
    assert.equal('0', facts.data)
    assert.same({}, seen.errors)
    assert.equal(1, seen.closed)
  end))
end)

describe('a client', function()
  local function server(await, scenario)
    local command = spec.command({ 'node', 'spec/support/hostile_server.js', scenario }, {
      input = false,
      env = { CERT = T.localhost.cert, KEY = T.localhost.key, NODE_OPTIONS = false },
    })
    return command, tonumber(P.waitFor(await, command, 'stdout', 'port=(%d+)'))
  end

  for _, case in ipairs {
    { 'a thousand session tickets', 'tickets', 1000 },
    { 'fifty tickets in one record', 'joinedTickets', 50 },
    { 'a ticket of 60 kilobytes', 'longTicket', 1 },
    { 'data behind a close_notify, which it never hears', 'dataAfterClose', 0 },
  } do
    it('takes ' .. case[1], P.test({}, function(await, _, expect)
      local command, port = server(await, case[2])
      local client = T.connect(port)
      local sessions = 0
      client:on('session', function()
        sessions = sessions + 1
      end)
      client:on('data', function()
        error('data came', 0)
      end)
      client:on('end', expect(function() end))
      await(client, 'close')
      assert.equal(case[3], sessions)
      P.stop(await, command)
    end))
  end

  it('hears a server that says all, its end included, with its first flight', P.test({}, function(await)
    local command, port = server(await, 'allAtOnce')
    local client = T.connect(port)
    local seen = {}
    for _, event in ipairs { 'secureConnect', 'end', 'close' } do
      client:on(event, function()
        seen[#seen + 1] = event
      end)
    end
    client:on('data', function(chunk)
      seen[#seen + 1] = #chunk
    end)
    await(client, 'close')
    assert.same({ 'secureConnect', 1000, 'end', 'close' }, seen)
    P.stop(await, command)
  end))

  for _, case in ipairs {
    { 'an empty ticket', 'emptyTicket', 'ERR_SSL_LENGTH_MISMATCH' },
    { 'a ticket that is cut off', 'cutTicket', 'ERR_SSL_LENGTH_MISMATCH' },
    { 'authentication after the handshake', 'postHandshakeAuth', 'ERR_SSL_UNEXPECTED_MESSAGE' },
    { 'a HelloRequest', 'helloRequest', 'ERR_SSL_UNEXPECTED_MESSAGE' },
    { 'a second ServerHello', 'secondServerHello', 'ERR_SSL_UNEXPECTED_MESSAGE' },
    { 'a hundred warnings', 'warningFlood', 'ERR_SSL_TOO_MANY_WARN_ALERTS' },
    { 'a thousand empty records', 'emptyRecordFlood', 'ERR_SSL_RECORD_TOO_SMALL' },
    { 'a wrong Finished', 'badFinished', 'ERR_SSL_DIGEST_CHECK_FAILED', true },
    { 'a wrong signature', 'badSignature', 'ERR_SSL_BAD_SIGNATURE', true },
    { 'an empty chain', 'noCertificate', 'ERR_SSL_LENGTH_MISMATCH', true },
    { 'a certificate that is garbage', 'garbageCertificate', 'ERR_OSSL_ASN1_WRONG_TAG', true },
    { 'a certificate that is cut off', 'cutCertificate', 'ERR_OSSL_ASN1_TOO_LONG', true },
    { 'an OCSP response without a byte', 'emptyStaple', 'ERR_SSL_LENGTH_MISMATCH', true },
    { 'a chain of a thousand', 'longChain', 'ERR_SSL_EXCESSIVE_MESSAGE_SIZE', true },
    { 'a protocol it did not offer', 'unknownProtocol', 'ERR_SSL_BAD_EXTENSION', true },
    { 'two protocols', 'twoProtocols', 'ERR_SSL_BAD_EXTENSION', true },
    { 'an extension twice', 'doubleExtension', 'ERR_SSL_BAD_EXTENSION', true },
    { 'a cipher suite that does not exist', 'unknownSuite', 'ERR_SSL_UNKNOWN_CIPHER_RETURNED', true },
    { 'a PSK it did not offer', 'unaskedPsk', 'ERR_SSL_UNSOLICITED_EXTENSION', true },
  } do
    it('fails once over ' .. case[1], P.test({}, function(await)
      local command, port = server(await, case[2])
      local failure = H.clientFailure(await, port, { ALPNProtocols = { 'h2' }, requestOCSP = true })
      assert.equal(case[3], failure.error.code)
      assert.equal(not case[4], failure.connected)
      assert.equal(case[4] == true, failure.hadError)
      P.stop(await, command)
    end))
  end
end)

-- Takes what would end the program; give() puts the specs' own listeners back.
local function catch()
  local caught, before = {}, process:listeners('uncaughtException')
  process:removeAllListeners('uncaughtException')
  process:on('uncaughtException', function(err)
    table.insert(caught, err)
  end)
  return caught, function()
    process:removeAllListeners('uncaughtException')
    for _, listener in ipairs(before) do
      process:on('uncaughtException', listener)
    end
  end
end

describe('a server whose script', function()
  local function talkHttp(await, port)
    H.raw(await, port, function(socket)
      socket:write('GET / HTTP/1.0\r\n\r\n')
    end)
  end

  for _, event in ipairs { 'connection', 'tlsClientError', 'clientError' } do
    it(("raises in '%s' closes that connection all the same"):format(event), P.test({}, function(await)
      local caught, give = catch()
      local server, port = P.serve(await)
      server:on(event, function()
        error('raised by the script', 0)
      end)
      talkHttp(await, port)
      give()
      assert.same({ 'raised by the script' }, caught)
      P.close(await, server)
    end))
  end

  for name, act in pairs {
    ['writes to'] = function(socket)
      socket:write('400')
    end,
    ['ends'] = function(socket)
      socket:finish('400')
    end,
    ['destroys with an error'] = function(socket)
      socket:destroy(Error('mine'))
    end,
    ['resets'] = function(socket)
      socket:resetAndDestroy()
    end,
  } do
    it(("%s the socket in 'tlsClientError' hears of it once"):format(name), P.test({}, function(await)
      local caught, give = catch()
      local guarded = H.guard(await)
      guarded.server:on('tlsClientError', function(_, socket)
        act(socket)
      end)
      talkHttp(await, guarded.port)
      give()
      assert.same({}, caught)
      assert.equal('ERR_SSL_HTTP_REQUEST', H.onlyError(await, guarded).code)
    end))
  end
end)

describe('native functions', function()
  it('refuse options of wrong types', function()
    for name, value in pairs {
      cert = true, key = 'a string', pfx = { {} }, ca = { 1 }, crl = { { 'x', {} } }, ciphers = 5, dhparam = 7,
      minVersion = 'TLSv1.3', maxVersion = 0 / 0, setOptions = -1, sessionTimeout = 1 / 0, ticketKeys = 'short',
    } do
      assert.is_false(pcall(native.context, { [name] = value }), name)
    end
  end)

  it('refuse handles that are none', function()
    local context = native.context({})
    for _, lower in ipairs { context, native.timer(), newproxy(true), io.stdout, {}, 'text', 1 } do
      local ok, err = pcall(native.tls, lower, context, {})
      assert.is_false(ok)
      assert.truthy(tostring(err):find('handle expected', 1, true), tostring(err))
    end
  end)

  it('refuse a context that was collected before the finaliser which asks it', function()
    local outcome = program.run { '-e', [[
      local native = require 'moonlatch.native'
      local guard = newproxy(true)
      local context = native.context({})
      getmetatable(guard).__gc = function()
        print((pcall(context.getTicketKeys, context)))
      end
      os.exit(0, true)
    ]] }
    assert.equal('false\n', outcome.out)
    assert.equal(0, outcome.status, outcome.err)
  end)

  it('leave by os.exit from within a callback', function()
    local outcome = program.run { '-e', "require('net').createServer():listen(0, function() os.exit(3, true) end)" }
    assert.equal(3, outcome.status, outcome.err)
  end)

  it('run ticks in a loop that is run by one of several ticks', spec.async(function(done)
    local order = {}
    process.nextTick(function()
      process.nextTick(function()
        order[#order + 1] = 'last'
      end)
      local server = net.createServer()
      server:listen(0, '127.0.0.1', function()
        server:close(function()
          native.stop()
        end)
      end)
      native.run()
      order[#order + 1] = 'run'
      assert.same({ 'second', 'last', 'run' }, order)
      done()
    end)
    process.nextTick(function()
      order[#order + 1] = 'second'
    end)
  end))
end)

-- OCSP in the handshake: what a server is asked and staples, and what a client is told.
local crypto = require 'crypto'
local errors = require 'moonlatch.errors'
local fs = require 'fs'
local net = require 'net'
local process = require 'process'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local T = require 'spec.support.tls'

local RESPONSE = T.ca:ocspResponse(T.localhost)
local VERSIONS = { 'TLSv1.2', 'TLSv1.3' }

local function der(identity)
  return crypto.X509Certificate(identity.cert).raw
end

local function hex(bytes)
  return (bytes:gsub('.', function(byte)
    return ('%02x'):format(byte:byte())
  end))
end

local function only(version, options)
  return T.merged({ minVersion = version, maxVersion = version }, options)
end

-- Runs `check(await, version, expect)` for TLS 1.2 and for TLS 1.3, as two tests.
local function eachVersion(name, check)
  for _, version in ipairs(VERSIONS) do
    it(('%s (%s)'):format(name, version), spec.coroutine(function(await, expect)
      check(await, version, expect)
    end))
  end
end

-- A server that asks `listener` for its staple, and greets.
local function serve(await, options, listener)
  local server, port = P.serve(await, options, function(socket)
    socket:on('error', function() end)
    socket:finish('hello')
    socket:resume()
  end)
  if listener then
    server:on('OCSPRequest', listener)
  end
  server.failures = {}
  server:on('tlsClientError', function(err)
    table.insert(server.failures, err)
  end)
  return server, port
end

-- Connects, asking for a staple unless told otherwise, and waits for the end.
---@return spec.Visit seen  with events and staple
local function visit(await, port, options)
  return S.visit(await, port, T.merged({ requestOCSP = true }, options), function(socket, seen)
    seen.events = {}
    for _, name in ipairs { 'OCSPResponse', 'secureConnect' } do
      socket:on(name, function()
        table.insert(seen.events, name)
      end)
    end
    socket:on('OCSPResponse', function(response, ...)
      assert(select('#', ...) == 0)
      seen.staple = response
    end)
  end)
end

local BOTH = { 'OCSPResponse', 'secureConnect' }

describe('a server that staples', function()
  local function stapling(name, listener, expected)
    eachVersion(name, function(await, version)
      local server, port = serve(await, only(version), listener)
      local seen = visit(await, port)
      assert.equal(expected, seen.staple)
      assert.same(BOTH, seen.events)
      assert.equal('hello', seen.text)
      P.close(await, server)
      assert.same({}, server.failures)
    end)
  end

  stapling('hands out what it is given at once', function(_, _, callback)
    callback(nil, RESPONSE)
  end, RESPONSE)
  stapling('hands out what it is given later', function(_, _, callback)
    setTimeout(callback, 5, nil, RESPONSE)
  end, RESPONSE)
  stapling('takes the first of two answers', function(_, _, callback)
    callback(nil, RESPONSE)
    callback(nil, 'another')
    callback(Error('and an error'))
    setImmediate(callback, nil, 'and another')
  end, RESPONSE)
  stapling('takes the first of two answers that come later', function(_, _, callback)
    setImmediate(function()
      callback(nil, RESPONSE)
      callback(Error('too late'))
    end)
  end, RESPONSE)
  stapling('hands out any bytes, as they are', function(_, _, callback)
    callback(nil, '\0any bytes\255')
  end, '\0any bytes\255')
  stapling('hands out a long response', function(_, _, callback)
    callback(nil, ('x'):rep(15000))
  end, ('x'):rep(15000))
  stapling('staples nothing when it is given nothing', function(_, _, callback)
    callback()
  end, nil)
  stapling('staples nothing when it is given nil later', function(_, _, callback)
    setImmediate(callback, nil, nil)
  end, nil)

  eachVersion('asks every listener; the first answer counts', function(await, version)
    local asked = 0
    local server, port = serve(await, only(version), function()
      asked = asked + 1
    end)
    for _ = 1, 2 do
      server:on('OCSPRequest', function(_, _, callback)
        asked = asked + 1
        callback(nil, asked == 2 and RESPONSE or 'not this one')
      end)
    end
    assert.equal(RESPONSE, visit(await, port).staple)
    assert.equal(3, asked)
    P.close(await, server)
  end)

  eachVersion('staples nothing when nobody listens any more', function(await, version)
    local server, port = serve(await, only(version))
    server:once('OCSPRequest', function(_, _, callback)
      callback(nil, RESPONSE)
    end)
    assert.equal(RESPONSE, visit(await, port).staple)
    assert.is_nil(visit(await, port).staple)
    P.close(await, server)
  end)

  -- Gone between the connection and the question.
  eachVersion('staples nothing when the listener has gone meanwhile', function(await, version)
    local server, port
    server, port = serve(await, only(version, { SNICallback = function(_, callback)
      server:removeAllListeners('OCSPRequest')
      callback(nil)
    end }), function()
      error('asked')
    end)
    local seen = visit(await, port)
    assert.is_nil(seen.staple)
    assert.equal('hello', seen.text)
    P.close(await, server)
  end)

  eachVersion('asks nobody when the client does not ask', function(await, version)
    local server, port = serve(await, only(version), function()
      error('asked')
    end)
    local seen = visit(await, port, { requestOCSP = false })
    assert.same({ 'secureConnect' }, seen.events)
    assert.equal('hello', seen.text)
    P.close(await, server)
  end)

  local function failing(name, listener, code, message)
    eachVersion(name, function(await, version)
      local server, port = serve(await, only(version), listener)
      local seen = visit(await, port)
      assert.equal('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', seen.error.code)
      assert.same({}, seen.events)
      P.close(await, server)
      assert.equal(1, #server.failures)
      local err = server.failures[1]
      assert.is_true(errors.isError(err))
      assert.equal(code, err.code)
      assert.matches(message, err.message)
      assert.is_string(err.stack)
    end)
  end

  failing('fails with the error it is given', function(_, _, callback)
    callback(Error('no responder'))
    callback(nil, RESPONSE)
  end, nil, '^no responder$')
  failing('fails with the error it is given later', function(_, _, callback)
    setImmediate(callback, Error('no responder, later'))
  end, nil, '^no responder, later$')
  failing('fails with what the listener throws', function()
    error('thrown in the listener')
  end, nil, 'thrown in the listener')
  failing('fails with what is thrown before another listener could answer', function()
    error(Error('a table thrown'), 0)
  end, nil, '^a table thrown$')
  failing('refuses a number', function(_, _, callback)
    callback(nil, 5)
  end, 'ERR_INVALID_ARG_TYPE', 'The "response" argument must be of type string. Received type number %(5%)')
  failing('refuses a table', function(_, _, callback)
    setImmediate(callback, nil, { RESPONSE })
  end, 'ERR_INVALID_ARG_TYPE', 'The "response" argument must be of type string')
  failing('refuses true', function(_, _, callback)
    callback(nil, true)
  end, 'ERR_INVALID_ARG_TYPE', 'The "response" argument must be of type string')
  failing('refuses an empty string, which no response is', function(_, _, callback)
    callback(nil, '')
  end, 'ERR_OUT_OF_RANGE', 'It must be a string of 1 to 16777215 bytes')

  eachVersion('ends by the handshake timeout when nobody answers; later answers do nothing', function(await, version)
    local late
    local server, port = serve(await, only(version, { handshakeTimeout = T.handshakeTimeout }), function(_, _, callback)
      late = callback
    end)
    local seen = visit(await, port)
    assert.equal('ECONNRESET', seen.error.code)
    assert.same({}, seen.events)
    late(nil, RESPONSE)
    late(Error('much later'))
    P.close(await, server)
    assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', server.failures[1].code)
    assert.equal(1, #server.failures)
  end)

  eachVersion('is told when the client leaves while it waits', function(await, version)
    local client, late
    local server, port = serve(await, only(version), function(_, _, callback)
      late = callback
      client:destroy()
    end)
    client = T.connect(port, { requestOCSP = true })
    local err = await(server, 'tlsClientError')
    assert.equal('ECONNRESET', err.code)
    late(nil, RESPONSE)
    late(Error('gone'))
    P.close(await, server)
  end)

  eachVersion('goes on when the server is closed while it waits', function(await, version, expect)
    local server, port
    server, port = serve(await, only(version), function(_, _, callback)
      server:close(expect())
      setImmediate(callback, nil, RESPONSE)
    end)
    local seen = visit(await, port)
    assert.equal(RESPONSE, seen.staple)
    assert.equal('hello', seen.text)
  end)

  for _, when in ipairs { 'before', 'instead of', 'while waiting for' } do
    eachVersion(('survives the socket being destroyed %s the answer'):format(when), function(await, version)
      local waiting
      local server, port = serve(await, only(version), function(_, _, callback)
        if when == 'while waiting for' then
          setImmediate(function()
            waiting:destroy()
            callback(nil, RESPONSE)
          end)
          return
        end
        waiting:destroy()
        if when == 'before' then
          callback(nil, RESPONSE)
          setImmediate(callback, Error('late'))
        end
      end)
      local create = server._createSocket
      server._createSocket = function(self, handle)
        local socket, rest = create(self, handle)
        waiting = socket
        return socket, rest
      end
      local seen = visit(await, port)
      assert.equal('ECONNRESET', seen.error.code)
      P.close(await, server)
      assert.equal(1, #server.failures)
    end)
  end

  eachVersion('does not ask again when a session is resumed', function(await, version)
    local asked = 0
    local server, port = serve(await, only(version), function(_, _, callback)
      asked = asked + 1
      callback(nil, RESPONSE)
    end)
    local first = visit(await, port)
    assert.equal(RESPONSE, first.staple)
    local second = visit(await, port, { session = first.session })
    assert.is_true(second.reused)
    assert.same({ 'secureConnect' }, second.events)
    assert.equal(1, asked)
    P.close(await, server)
  end)

  eachVersion('asks in its turn when everything else is asked, too', function(await, version)
    local order, sessions = {}, {}
    -- Calls back later, and remembers what has been asked.
    local function later(name, callback, ...)
      table.insert(order, name)
      setImmediate(callback, ...)
    end
    local other = T.ca:issue { names = { 'other.test' } }
    local server, port = serve(await, only(version, {
      SNICallback = function(_, callback)
        later('name', callback, nil, tls.createSecureContext { key = other.key, cert = other.cert })
      end,
      ALPNCallback = function(offer, callback)
        later('protocol', callback, nil, offer.protocols[1])
      end,
    }), function(certificate, _, callback)
      assert.equal(der(other), certificate)
      later('staple', callback, nil, RESPONSE)
    end)
    server:on('clientHello', function(_, _, callback)
      later('hello', callback)
    end)
    server:on('newSession', function(id, data, callback)
      sessions[id] = data
      later('store', callback)
    end)
    server:on('resumeSession', function(id, callback)
      later('session', callback, nil, sessions[id])
    end)
    local options = { servername = 'other.test', ALPNProtocols = { 'h2' } }
    if version == 'TLSv1.2' then
      options.secureOptions = require('constants').SSL_OP_NO_TICKET -- a ticket would need no store
    end
    local first = visit(await, port, options)
    assert.equal(RESPONSE, first.staple)
    assert.same({ 'hello', 'name', 'protocol', 'staple', 'store' }, { unpack(order, 1, 5) })
    order = {}
    options.session = first.session
    local second = visit(await, port, options)
    assert.is_true(second.reused)
    assert.same({ 'secureConnect' }, second.events)
    assert.same({ 'hello', 'name', 'session', 'protocol' }, { unpack(order, 1, 4) })
    assert.not_equal('staple', order[5])
    P.close(await, server)
  end)

  it('serves other connections while one waits', spec.coroutine(function(await)
    local waiting
    local server, port = serve(await, {}, function(_, _, callback)
      if waiting then
        callback(nil, 'second')
      else
        waiting = callback
      end
    end)
    local first
    local ended = false
    local socket = T.connect(port, { requestOCSP = true })
    socket:on('OCSPResponse', function(response)
      first = response
    end)
    socket:on('close', function()
      ended = true
    end)
    socket:resume()
    await(server, 'OCSPRequest')
    assert.equal('second', visit(await, port).staple)
    assert.is_nil(first)
    waiting(nil, 'first')
    if not ended then
      await(socket, 'close')
    end
    assert.equal('first', first)
    P.close(await, server)
  end))
end)

describe('what a server asks about', function()
  -- What the listener is given for a server of `options`.
  local function asked(await, options, visitOptions)
    local given
    local server, port = serve(await, options, function(certificate, issuer, callback)
      given = { certificate = certificate, issuer = issuer }
      callback()
    end)
    assert.equal('hello', visit(await, port, T.merged({ rejectUnauthorized = false }, visitOptions)).text)
    P.close(await, server)
    return given
  end

  local middle = T.ca:intermediate()
  local below = middle:issue()

  it('is the certificate as DER, and its issuer out of the chain', spec.coroutine(function(await)
    local given = asked(await, { key = below.key, cert = below.chain })
    assert.equal(der(below), given.certificate)
    assert.equal(der(middle), given.issuer)
  end))

  it('finds the issuer among the trusted authorities', spec.coroutine(function(await)
    local given = asked(await, { ca = { spec.ca().cert, T.ca.cert } })
    assert.equal(der(T.localhost), given.certificate)
    assert.equal(der(T.ca), given.issuer)
  end))

  it('finds the issuer in a PKCS#12 file', spec.coroutine(function(await)
    local given = asked(await, { key = false, cert = false, pfx = below:pfx('x'), passphrase = 'x' })
    assert.equal(der(below), given.certificate)
    assert.equal(der(middle), given.issuer)
  end))

  it('has no issuer when that is not known', spec.coroutine(function(await)
    assert.is_nil(asked(await, {}).issuer)
    assert.is_nil(asked(await, { ca = spec.ca().cert }).issuer)
  end))

  it('has no issuer when the certificate is self-signed', spec.coroutine(function(await)
    local alone = spec.selfSigned()
    local given = asked(await, { key = alone.key, cert = alone.cert, ca = alone.cert })
    assert.equal(der(alone), given.certificate)
    assert.is_nil(given.issuer)
  end))

  it('is asked with crypto.ocsp as it is given', spec.coroutine(function(await)
    local given = asked(await, { ca = T.ca.cert })
    assert.equal(crypto.ocsp.request(T.localhost.cert, T.ca.cert).id,
      crypto.ocsp.request(given.certificate, given.issuer).id)
  end))

  -- Which of several certificates is shown depends on the client.
  local rsa, ed = T.ca:issue { key = 'rsa' }, T.ca:issue { key = 'ed25519' }
  local identities = { ec = T.localhost, rsa = rsa, ed = ed }
  local several = { key = { T.localhost.key, rsa.key, ed.key }, cert = { T.localhost.cert, rsa.cert, ed.cert },
    ca = T.ca.cert }

  local clients = {
    { 'ec', '-tls1_3', '-sigalgs', 'ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256' },
    { 'rsa', '-tls1_3', '-sigalgs', 'rsa_pss_rsae_sha256' },
    { 'ed', '-tls1_3', '-sigalgs', 'ed25519:rsa_pss_rsae_sha256' },
    { 'rsa', '-tls1_3', '-sigalgs', 'rsa_pss_rsae_sha256', '-groups', 'P-521:P-256' },
    { 'ec', '-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256' },
    { 'rsa', '-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256' },
    { 'ed', '-tls1_2', '-sigalgs', 'ed25519:RSA+SHA256', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256' },
    { 'rsa', '-tls1_2', '-sigalgs', 'RSA+SHA256:ed25519', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256' },
  }
  for _, client in ipairs(clients) do
    local kind, arguments = client[1], { '-status', unpack(client, 2) }
    it(('is the certificate that is shown: %s to %s'):format(kind, table.concat(client, ' ', 2)),
      P.test({}, function(await, files)
        local about
        local server, port = serve(await, several, function(certificate, _, callback)
          for name, identity in pairs(identities) do
            about = certificate == der(identity) and name or about
          end
          callback(nil, T.ca:ocspResponse(identities[about]))
        end)
        local command = P.sClient(port, { '-CAfile', files.ca, '-verify_return_error', '-ign_eof', unpack(arguments) })
        P.over(await, command)
        assert.equal(kind, about)
        local shown = command.stdout:match('Server certificate\n(.-END CERTIFICATE%-%-%-%-%-\n)')
        assert.equal(identities[kind].cert, shown)
        assert.matches('Serial Number: ' .. identities[kind].serialNumber, command.stdout)
        assert.matches('Cert Status: good', command.stdout)
        P.close(await, server)
      end))
  end

  it('is what setKeyCert shows', spec.coroutine(function(await)
    local server = tls.createServer(T.merged({ key = below.key, cert = below.cert }))
    local given
    server:on('OCSPRequest', function(certificate, issuer, callback)
      given = { certificate, issuer }
      callback(nil, 'stapled')
    end)
    local plain = net.createServer(function(socket)
      local secure = tls.TLSSocket(socket, { isServer = true, server = server, key = below.key, cert = below.cert })
      secure:setKeyCert(several)
      secure:on('error', function() end)
      secure:once('secure', function()
        secure:finish('hello')
      end)
    end)
    plain:listen(0, '127.0.0.1')
    await(plain, 'listening')
    local seen = visit(await, plain:address().port, { sigalgs = 'rsa_pss_rsae_sha256', maxVersion = 'TLSv1.3' })
    assert.equal('stapled', seen.staple)
    assert.equal(der(rsa), given[1])
    plain:close()
  end))

  -- A swapped-in context has its own certificate and staples as the first one does.
  local other = T.ca:issue { names = { 'other.test' } }

  local function swapping(name, options, prepare)
    eachVersion(name, function(await, version)
      local given
      local server, port = serve(await, only(version, options), function(certificate, issuer, callback)
        given = { certificate, issuer }
        setImmediate(callback, nil, 'about the other')
      end)
      if prepare then
        prepare(server)
      end
      assert.equal('about the other', visit(await, port, { servername = 'other.test' }).staple)
      assert.equal(der(other), given[1])
      assert.equal(der(T.ca), given[2])
      P.close(await, server)
    end)
  end

  local context = { key = other.key, cert = other.cert, ca = T.ca.cert }
  swapping('is what an SNICallback has chosen', { SNICallback = function(_, callback)
    setImmediate(callback, nil, tls.createSecureContext(context))
  end })
  swapping('is what addContext has chosen', {}, function(server)
    server:addContext('other.test', context)
  end)
end)

describe('a client that asks for a staple', function()
  eachVersion('is told that there is none', function(await, version)
    local server, port = serve(await, only(version))
    local seen = visit(await, port)
    assert.same(BOTH, seen.events)
    assert.is_nil(seen.staple)
    P.close(await, server)
  end)

  eachVersion('can judge it by the certificates that came along', function(await, version, expect)
    local server, port = serve(await, only(version, { ca = T.ca.cert }), function(_, _, callback)
      callback(nil, RESPONSE)
    end)
    local client = T.connect(port, { requestOCSP = true })
    client:on('OCSPResponse', expect(function(response)
      local cert = client:getPeerCertificate(true)
      local result = crypto.ocsp.parse(response, cert.issuerCertificate.raw, { certificate = cert.raw })
      assert.is_true(result.verified)
      assert.equal('good', result.status)
    end))
    client:on('secureConnect', expect())
    client:resume()
    await(client, 'close')
    P.close(await, server)
  end)

  -- Neither the end of the handshake nor what was written is for a server whose certificate was revoked.
  for _, how in ipairs { 'destroys', 'destroys with an error' } do
    eachVersion(('%s the socket there, and nothing else happens'):format(how), function(await, version)
      local heard = {}
      local server, port = serve(await, only(version), function(_, _, callback)
        callback(nil, T.ca:ocspResponse(T.localhost, { status = 'revoked' }))
      end)
      server:on('secureConnection', function(socket)
        table.insert(heard, 'secureConnection')
        socket:on('data', function(chunk)
          table.insert(heard, chunk)
        end)
      end)
      local client = T.connect(port, { requestOCSP = true })
      client:write('a secret')
      client:on('secureConnect', function()
        table.insert(heard, 'secureConnect')
      end)
      client:on('OCSPResponse', function(response)
        local result = crypto.ocsp.parse(response, T.ca.cert, { certificate = T.localhost.cert })
        assert.equal('revoked', result.status)
        client:destroy(how == 'destroys with an error' and Error('revoked') or nil)
      end)
      local failure
      client:on('error', function(err)
        failure = err.message
      end)
      await(function(closed)
        client:on('close', function()
          closed()
        end)
      end)
      assert.equal(how == 'destroys with an error' and 'revoked' or nil, failure)
      P.close(await, server)
      assert.equal('ECONNRESET', server.failures[1].code)
      assert.same({}, heard)
    end)
  end

  eachVersion('through a TLSSocket of its own', function(await, version)
    local server, port = serve(await, only(version), function(_, _, callback)
      callback(nil, RESPONSE)
    end)
    local client = tls.TLSSocket(net.connect(port, '127.0.0.1'), { ca = T.ca.cert, requestOCSP = true })
    assert.equal(RESPONSE, await(client, 'OCSPResponse'))
    client:resume()
    await(client, 'close')
    P.close(await, server)
  end)

  eachVersion('through createSecurePair', function(await, version)
    local server, port = serve(await, only(version), function(_, _, callback)
      callback(nil, RESPONSE)
    end)
    local function quiet() end
    process:on('warning', quiet) -- that it is deprecated
    local pair = tls.createSecurePair(tls.createSecureContext { ca = T.ca.cert }, false, false, true,
      { requestOCSP = true, servername = 'localhost' })
    local raw = net.connect(port, '127.0.0.1')
    pair.encrypted:pipe(raw)
    raw:pipe(pair.encrypted)
    assert.equal(RESPONSE, await(pair.cleartext, 'OCSPResponse'))
    await(pair, 'secure')
    process:removeListener('warning', quiet)
    pair.cleartext:resume()
    pair:destroy()
    raw:destroy()
    P.close(await, server)
  end)

  it('says so with a boolean', function()
    for _, value in ipairs { 1, 'yes', {} } do
      local ok, err = pcall(tls.connect, { port = 1, requestOCSP = value })
      assert.is_false(ok)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.matches('"options%.requestOCSP" property must be of type boolean', err.message)
    end
  end)
end)

describe('OCSP with other implementations', function()
  for _, version in ipairs(VERSIONS) do
    local flag = version == 'TLSv1.2' and '-tls1_2' or '-tls1_3'

    it(("a staple is openssl s_client's (%s)"):format(version), P.test({}, function(await, files)
      local server, port = serve(await, {}, function(_, _, callback)
        setImmediate(callback, nil, RESPONSE)
      end)
      local _, stdout = P.run(await, { 'openssl', 's_client', '-status', flag, '-connect', '127.0.0.1:' .. port,
        '-CAfile', files.ca, '-ign_eof' })
      assert.matches('OCSP Response Status: successful', stdout)
      assert.matches('Cert Status: good', stdout)
      assert.matches('Serial Number: ' .. T.localhost.serialNumber, stdout)
      P.close(await, server)
    end))

    it(('no staple is none for openssl s_client (%s)'):format(version), P.test({}, function(await, files)
      local server, port = serve(await, {})
      local _, stdout = P.run(await, { 'openssl', 's_client', '-status', flag, '-connect', '127.0.0.1:' .. port,
        '-CAfile', files.ca, '-ign_eof' })
      assert.matches('OCSP response: no response sent', stdout)
      P.close(await, server)
    end))

    -- curl verifies what is stapled, and looks for the issuer in what the server sends.
    local function curl(await, files, response)
      local chain = T.localhost.cert .. T.ca.cert
      local server, port = P.serve(await, { maxVersion = version, cert = chain }, function(socket)
        socket:on('error', function() end)
        socket:once('data', function()
          socket:finish('HTTP/1.0 200 OK\r\n\r\nhello')
        end)
      end)
      server:on('OCSPRequest', function(_, _, callback)
        callback(nil, response)
      end)
      server:on('tlsClientError', function() end)
      local status, stdout = P.run(await, { 'curl', '--silent', '--noproxy', '*', '--cert-status', '--cacert', files.ca,
        ('https://localhost:%d/'):format(port) })
      P.close(await, server)
      return status, stdout
    end

    it(('curl --cert-status takes what says that all is well, and nothing else (%s)'):format(version),
      P.test({}, function(await, files)
        local status, stdout = curl(await, files, RESPONSE)
        assert.equal('hello', stdout)
        assert.equal(0, status)
        local INVALID = 91
        assert.equal(INVALID, (curl(await, files, nil)))
        assert.equal(INVALID, (curl(await, files, 'garbage')))
        assert.equal(INVALID, (curl(await, files, T.ca:ocspResponse(T.localhost, { status = 'revoked' }))))
        assert.equal(INVALID, (curl(await, files, T.ca:ocspResponse(T.localhost, { nextUpdate = -3600 }))))
        assert.equal(INVALID, (curl(await, files, spec.ca():ocspResponse(T.localhost))))
      end))

    it(('a client hears what openssl s_server staples (%s)'):format(version), P.test({ own = T.localhost },
      function(await, files)
        fs.writeFileSync(files.dir .. '/staple', RESPONSE)
        local command, port = P.sServer(await, { '-cert', files.own_cert, '-key', files.own_key, flag, '-status_file',
          files.dir .. '/staple' })
        local client = T.connect(port, { requestOCSP = true })
        assert.equal(RESPONSE, await(client, 'OCSPResponse'))
        await(client, 'secureConnect')
        client:destroy()
        P.stop(await, command)
      end))

    it(("a client hears what Node's server staples, or that it does not (%s)"):format(version),
      P.test({}, function(await)
        for _, staple in ipairs { hex(RESPONSE), 'none' } do
          local command, port = P.nodeServer(await, { MAX_VERSION = version, STAPLE = staple, CA = T.ca.cert })
          local client = T.connect(port, { requestOCSP = true })
          local response = await(client, 'OCSPResponse')
          assert.equal(staple ~= 'none' and RESPONSE or nil, response)
          await(client, 'secureConnect')
          client:destroy()
          P.stop(await, command)
          assert.equal(hex(der(T.ca)), P.facts(command.stdout).issuer)
        end
      end))

    it(("Node's client hears what is stapled, or that nothing is (%s)"):format(version), P.test({}, function(await)
      for _, staple in ipairs { RESPONSE, false } do
        local server, port = P.serve(await, { maxVersion = version }, function(socket)
          socket:pipe(socket)
        end)
        server:on('OCSPRequest', function(_, _, callback)
          setImmediate(callback, nil, staple)
        end)
        local facts = P.nodeClient(await, port, { OCSP = 'yes' })
        assert.equal(staple and hex(staple) or 'null', facts.ocsp)
        assert.equal('hello from node', facts.echo)
        P.close(await, server)
      end
    end))
  end
end)

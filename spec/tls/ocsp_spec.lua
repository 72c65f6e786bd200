-- OCSP in the handshake: what a server staples, and what a client is told.
local crypto = require 'crypto'
local errors = require 'moonlatch.errors'
local net = require 'net'
local process = require 'process'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local O = require 'spec.support.staples'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local RESPONSE = T.ca:ocspResponse(T.localhost)

local BOTH = { 'OCSPResponse', 'secureConnect' }
local der, only, serve, visit = O.der, O.only, O.serve, O.visit

describe('a server that staples', function()
  local function stapling(name, listener, expected)
    O.eachVersion(it, name, function(await, version)
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
  stapling('staples nothing when it is given an empty string', function(_, _, callback)
    callback(nil, '')
  end, nil)
  stapling('staples nothing when it is given nil later', function(_, _, callback)
    setImmediate(callback, nil, nil)
  end, nil)

  O.eachVersion(it, 'asks every listener; the first answer counts', function(await, version)
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

  O.eachVersion(it, 'staples nothing when nobody listens any more', function(await, version)
    local server, port = serve(await, only(version))
    server:once('OCSPRequest', function(_, _, callback)
      callback(nil, RESPONSE)
    end)
    assert.equal(RESPONSE, visit(await, port).staple)
    assert.is_nil(visit(await, port).staple)
    P.close(await, server)
  end)

  -- Gone between the connection and the question.
  O.eachVersion(it, 'staples nothing when the listener has gone meanwhile', function(await, version)
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

  O.eachVersion(it, 'asks nobody when the client does not ask', function(await, version)
    local server, port = serve(await, only(version), function()
      error('asked')
    end)
    local seen = visit(await, port, { requestOCSP = false })
    assert.same({ 'secureConnect' }, seen.events)
    assert.equal('hello', seen.text)
    P.close(await, server)
  end)

  local function failing(name, listener, code, message)
    O.eachVersion(it, name, function(await, version)
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
  failing('refuses more than the message may hold', function(_, _, callback)
    callback(nil, ('x'):rep(2 ^ 24))
  end, 'ERR_OUT_OF_RANGE', 'It must be a string of up to 16777215 bytes')

  O.eachVersion(it, 'ends by the handshake timeout when nobody answers; later answers do nothing', function(await,
    version)
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

  O.eachVersion(it, 'is told when the client leaves while it waits', function(await, version)
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

  O.eachVersion(it, 'goes on when the server is closed while it waits', function(await, version, expect)
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
    O.eachVersion(it, ('survives the socket being destroyed %s the answer'):format(when), function(await, version)
      local accepted
      local server, port = serve(await, only(version), function(_, _, callback)
        if when == 'while waiting for' then
          setImmediate(function()
            accepted[1]:destroy()
            callback(nil, RESPONSE)
          end)
          return
        end
        accepted[1]:destroy()
        if when == 'before' then
          callback(nil, RESPONSE)
          setImmediate(callback, Error('late'))
        end
      end)
      accepted = T.accepted(server)
      local seen = visit(await, port)
      assert.equal('ECONNRESET', seen.error.code)
      P.close(await, server)
      assert.equal(1, #server.failures)
    end)
  end

  O.eachVersion(it, 'does not ask again when a session is resumed', function(await, version)
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

  O.eachVersion(it, 'asks in its turn when everything else is asked, too', function(await, version)
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

describe('a client that asks for a staple', function()
  O.eachVersion(it, 'is told that there is none', function(await, version)
    local server, port = serve(await, only(version))
    local seen = visit(await, port)
    assert.same(BOTH, seen.events)
    assert.is_nil(seen.staple)
    P.close(await, server)
  end)

  O.eachVersion(it, 'can judge it by the certificates that came along', function(await, version, expect)
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
    O.eachVersion(it, ('%s the socket there, and nothing else happens'):format(how), function(await, version)
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

  O.eachVersion(it, 'through a TLSSocket of its own', function(await, version)
    local server, port = serve(await, only(version), function(_, _, callback)
      callback(nil, RESPONSE)
    end)
    local client = tls.TLSSocket(net.connect(port, '127.0.0.1'), { ca = T.ca.cert, requestOCSP = true })
    assert.equal(RESPONSE, await(client, 'OCSPResponse'))
    client:resume()
    await(client, 'close')
    P.close(await, server)
  end)

  O.eachVersion(it, 'through createSecurePair', function(await, version)
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

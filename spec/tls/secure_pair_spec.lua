-- tls.createSecurePair and the recipes of the time when it was the way to TLS on an existing connection.
local crypto = require 'crypto'
local errors = require 'moonlatch.errors'
local net = require 'net'
local process = require 'process'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'
local util = require 'util'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local SERVER = T.identity()
local CLIENT = { ca = T.ca.cert }

-- The warning is a spec of its own.
local function quiet(warning)
  assert(warning.code == 'DEP0064' or warning.code == 'DEP0010')
end

setup(function()
  process:on('warning', quiet)
end)

teardown(function()
  process:removeListener('warning', quiet)
end)

local function join(client, server)
  client.encrypted:pipe(server.encrypted)
  server.encrypted:pipe(client.encrypted)
end

-- Two pairs with nothing between them.
local function pairs_(clientArguments, serverArguments)
  local client = tls.createSecurePair(unpack(clientArguments or { tls.createSecureContext(CLIENT) }))
  local server = tls.createSecurePair(unpack(serverArguments or { tls.createSecureContext(SERVER), true }))
  join(client, server)
  return client, server
end

-- Waits for 'secure' of all of them.
local function secured(await, ...)
  for _, pair in ipairs { ... } do
    if not pair.cleartext._established then
      await(pair, 'secure')
    end
  end
end

describe('tls.createSecurePair', function()
  it('gives two streams and says when they are secure', spec.coroutine(function(await, expect)
    local client, server = pairs_()
    assert.is_true(util.isInstance(client, tls.SecurePair))
    assert.is_true(util.isInstance(client.encrypted, tls.CryptoStream))
    assert.is_true(util.isInstance(client.encrypted, stream.Duplex))
    assert.is_true(util.isInstance(client.cleartext, tls.CleartextStream))
    assert.is_true(util.isInstance(client.cleartext, tls.TLSSocket))
    assert.is_true(util.isInstance(client.credentials, tls.SecureContext))
    client:on('secure', expect())
    server:on('secure', expect(function(...)
      assert.equal(0, select('#', ...))
    end))
    server.cleartext:pipe(server.cleartext)
    client.cleartext:finish('there and back')
    assert.equal('there and back', (await(client.cleartext, 'data')))
    assert.equal('TLSv1.3', client.cleartext:getProtocol())
    assert.is_string(client.cleartext:getCipher().name)
    assert.equal('CN=localhost', 'CN=' .. (client.cleartext:getPeerCertificate().subject.CN or 'localhost'))
    P.closed(await, client.cleartext, server.cleartext)
  end))

  it('takes its arguments in every form of the documents', function()
    local context = tls.createSecureContext(SERVER)
    local credentials = crypto.createCredentials(SERVER)
    local forms = {
      { {} },
      { { context }, given = true },
      { { credentials }, given = true },
      { { context, false }, given = true },
      { { context, true }, server = true, given = true },
      { { context, true, true }, server = true, request = true, given = true },
      { { context, true, true, false }, server = true, request = true, lenient = true, given = true },
      { { context, true, true, true, { ALPNProtocols = { 'x' } } }, server = true, request = true, given = true },
      { { context, { isServer = true } }, server = true, given = true },
      { { context, true, { requestCert = true } }, server = true, request = true, given = true },
      { { nil, true, n = 2 }, server = true },
      { { nil, nil, nil, nil, { secureContext = context, isServer = true }, n = 5 }, server = true, given = true },
      { { true }, server = true },
      { { false, false, true }, strict = true },
    }
    for i, form in ipairs(forms) do
      local arguments = form[1]
      local pair = tls.createSecurePair(unpack(arguments, 1, arguments.n or #arguments))
      local o = pair.cleartext._tls
      assert.equal(form.server == true, o.isServer, i)
      assert.equal(form.request == true, o.requestCert, i)
      assert.equal(form.server and not form.lenient or form.strict or false, o.rejectUnauthorized, i)
      assert.equal(form.given == true, pair.credentials == context or pair.credentials == credentials.context, i)
      pair:destroy()
    end
    local pair = tls.SecurePair(context, true)
    assert.is_true(pair.cleartext._tls.isServer)
    pair:destroy()
  end)

  it('raises for what is no argument of its', function()
    local context = tls.createSecureContext {}
    for _, case in ipairs {
      { 'ERR_INVALID_ARG_TYPE', 'context' }, { 'ERR_TLS_INVALID_CONTEXT', {} }, { 'ERR_INVALID_ARG_TYPE', 5 },
      { 'ERR_TLS_INVALID_CONTEXT', { context = {} } }, { 'ERR_INVALID_ARG_TYPE', context, 'yes' },
      { 'ERR_INVALID_ARG_TYPE', context, true, 1 }, { 'ERR_INVALID_ARG_TYPE', context, true, true, 'no' },
      { 'ERR_TLS_INVALID_CONTEXT', context, { secureContext = {} }, n = 0 },
    } do
      local ok, err = pcall(tls.createSecurePair, unpack(case, 2))
      if case.n then
        assert.is_true(ok) -- the context that comes first counts
        err:destroy()
      else
        assert.is_false(ok)
        assert.equal(case[1], err.code)
      end
    end
  end)

  it('warns once that it is deprecated', function()
    local outcome = program.eval([[
      local tls = require 'tls'
      for _ = 1, 2 do
        tls.createSecurePair():destroy()
      end
      tls.SecurePair():destroy()
    ]])
    assert.equal(0, outcome.status)
    local _, warnings = outcome.err:gsub('%[DEP0064%] DeprecationWarning: tls.createSecurePair%(%) is deprecated. '
      .. 'Please use tls.TLSSocket instead.', '')
    assert.equal(1, warnings, outcome.err)
  end)

  it('counts the ciphertext it gives out', spec.coroutine(function(await)
    local client, server = pairs_()
    local carried = 0
    client.encrypted:on('data', function(chunk)
      carried = carried + #chunk
    end)
    server.cleartext:resume()
    secured(await, client, server)
    local shaken = client.encrypted.bytesWritten
    assert.is_true(shaken > 0)
    client.cleartext:write(('x'):rep(50000))
    await(function(done)
      server.cleartext:on('data', function()
        if server.cleartext.bytesRead == 50000 then
          done()
        end
      end)
    end)
    assert.equal(50000, client.cleartext.bytesWritten)
    assert.is_true(client.encrypted.bytesWritten > shaken + 50000)
    assert.equal(carried, client.encrypted.bytesWritten)
    client:destroy()
    server:destroy()
    P.closed(await, client.cleartext, server.cleartext)
  end))
end)

describe('a secure pair', function()
  it('leaves it to the script whom to believe', spec.coroutine(function(await)
    local cases = {
      { { tls.createSecureContext(CLIENT) }, authorized = true },
      { { tls.createSecureContext { ca = {} } }, reason = 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
      { { tls.createSecureContext(CLIENT), { servername = 'localhost' } }, authorized = true },
      { { tls.createSecureContext(CLIENT), { servername = 'else.where' } }, reason = 'ERR_TLS_CERT_ALTNAME_INVALID' },
    }
    for _, case in ipairs(cases) do
      local client, server = pairs_(case[1])
      server.cleartext:on('error', function() end)
      await(client, 'secure')
      assert.equal(case.authorized == true, client.cleartext.authorized)
      assert.equal(case.reason, client.cleartext.authorizationError)
      local err = client.ssl:verifyError()
      assert.equal(client.ssl, client._ssl)
      assert.equal(case.reason == nil, err == nil)
      assert.equal(case.reason == 'ERR_TLS_CERT_ALTNAME_INVALID' and 'HOSTNAME_MISMATCH' or case.reason,
        err and err.code)
      client:destroy()
      server:destroy()
      P.closed(await, client.cleartext, server.cleartext)
      assert.is_nil(client.ssl:verifyError())
    end
  end))

  it('refuses when it is told to', spec.coroutine(function(await)
    local client, server = pairs_ { tls.createSecureContext { ca = {} }, false, false, true }
    server.cleartext:on('error', function() end)
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', await(client.cleartext, 'error').code)
    P.closed(await, client.cleartext, server.cleartext)
  end))

  it('asks clients for certificates', spec.coroutine(function(await)
    local ada = T.ca:issue { cn = 'ada', purpose = 'client' }
    local wanted = tls.createSecureContext(T.merged(SERVER, CLIENT))
    for _, case in ipairs {
      { { key = ada.key, cert = ada.cert, ca = T.ca.cert }, true, authorized = true },
      { CLIENT, false, authorized = false },
      { CLIENT, true, refused = true },
    } do
      local client, server = pairs_({ tls.createSecureContext(case[1]) }, { wanted, true, true, case[2] })
      client.cleartext:on('error', function() end)
      client.cleartext:resume()
      if case.refused then
        assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', await(server.cleartext, 'error').code)
      else
        await(server, 'secure')
        assert.equal(case.authorized, server.cleartext.authorized)
        assert.equal(case.authorized and 'ada' or nil, (server.cleartext:getPeerCertificate().subject or {}).CN)
      end
      client:destroy()
      server:destroy()
      P.closed(await, client.cleartext, server.cleartext)
    end
  end))

  it('shows the certificate of setKeyCert', spec.coroutine(function(await)
    local other = T.ca:issue { cn = 'another one', names = { 'localhost' } }
    local client, server = pairs_()
    server.cleartext:setKeyCert { key = other.key, cert = other.cert }
    await(client, 'secure')
    assert.equal('another one', client.cleartext:getPeerCertificate().subject.CN)
    client:destroy()
    server:destroy()
    P.closed(await, client.cleartext, server.cleartext)
  end))

  it('destroys both streams, and lets what it was piped to end', spec.coroutine(function(await)
    local client, server = pairs_()
    secured(await, client, server)
    client:destroy()
    assert.is_true(client.cleartext.destroyed)
    assert.is_true(client.encrypted.destroyed)
    P.closed(await, client.cleartext, client.encrypted)
    server.cleartext:destroy()
    server.encrypted:resume()
    await(server.encrypted, 'end')
    P.closed(await, server.cleartext)
  end))

  it('fails with its encrypted side', spec.coroutine(function(await)
    local pair = tls.createSecurePair(tls.createSecureContext(CLIENT))
    pair.encrypted:destroy()
    local err = await(pair.cleartext, 'error')
    assert.equal('EPIPE', err.code)
    P.closed(await, pair.cleartext)

    pair = tls.createSecurePair(tls.createSecureContext(SERVER), true)
    pair.encrypted:finish('GET / HTTP/1.0\r\n\r\n')
    pair.encrypted:resume()
    assert.equal('ERR_SSL_HTTP_REQUEST', await(pair.cleartext, 'error').code)
    P.closed(await, pair.cleartext)
  end))

  it('gives its errors to whoever listens', spec.coroutine(function(await)
    local function fail(pair)
      pair.encrypted:resume()
      pair.encrypted:finish('nothing that looks like TLS')
    end
    local heard
    local function listener(name)
      return function(err)
        assert.equal('ERR_SSL_WRONG_VERSION_NUMBER', err.code)
        heard[#heard + 1] = name
      end
    end
    for _, case in ipairs { { 'pair' }, { 'cleartext' }, { 'cleartext', 'pair' }, { 'uncaught' } } do
      heard = {}
      local pair = tls.createSecurePair(tls.createSecureContext(SERVER), true)
      for _, name in ipairs(case) do
        if name == 'uncaught' then
          -- One listener more than that of the test's, which then lets it be.
          process:once('uncaughtException', listener 'uncaught')
        else
          (name == 'pair' and pair or pair.cleartext):on('error', listener(name))
        end
      end
      fail(pair)
      P.closed(await, pair.cleartext)
      table.sort(heard)
      assert.same(case, heard)
    end
  end))

  it('holds the writer back, and goes on', spec.coroutine(function(await)
    local client, server = pairs_()
    secured(await, client, server)
    local text = ('0123456789'):rep(100000)
    client.cleartext:finish(text)
    for _ = 1, 50 do
      await(setImmediate)
    end
    assert.is_true(client.cleartext.writableLength > 0)
    local got = {}
    server.cleartext:on('data', function(chunk)
      got[#got + 1] = chunk
    end)
    await(server.cleartext, 'end')
    assert.is_true(text == table.concat(got))
    server.cleartext:finish()
    client.cleartext:resume()
    P.closed(await, client.cleartext, server.cleartext)
  end))
end)

-- What the documents of version 0.4 pointed to for STARTTLS.
local function starttls(socket, options, isServer, callback)
  local pair = tls.createSecurePair(crypto.createCredentials(options), isServer)
  local cleartext = pair.cleartext
  pair.encrypted:pipe(socket)
  socket:pipe(pair.encrypted)
  pair.fd = socket.fd
  cleartext.socket = socket
  cleartext.encrypted = pair.encrypted
  cleartext.authorized = false
  local function onError(err)
    if cleartext._controlReleased then
      cleartext:emit('error', err)
    end
  end
  socket:on('error', onError)
  socket:on('close', function()
    socket:removeListener('error', onError)
  end)
  pair:on('secure', function()
    local verifyError = (pair._ssl or pair.ssl):verifyError()
    if verifyError then
      cleartext.authorized = false
      cleartext.authorizationError = verifyError
    else
      cleartext.authorized = true
    end
    callback(cleartext)
  end)
  cleartext._controlReleased = true
  return cleartext
end

describe('the recipe of the oldest documents', function()
  it('upgrades a plain connection at both ends', spec.coroutine(function(await, expect)
    local server = net.createServer(expect(function(socket)
      socket:once('data', function(line)
        assert.equal('STARTTLS\n', line)
        socket:write('OK\n')
        starttls(socket, SERVER, true, expect(function(cleartext)
          cleartext:pipe(cleartext)
        end))
      end)
    end))
    await(function(listening)
      server:listen(0, '127.0.0.1', listening)
    end)
    local socket = net.connect(server:address().port, '127.0.0.1')
    socket:write('STARTTLS\n')
    assert.equal('OK\n', (await(socket, 'data')))
    local cleartext
    cleartext = starttls(socket, CLIENT, false, expect(function(same)
      assert.equal(cleartext, same)
      assert.is_true(cleartext.authorized)
      assert.equal('DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
        cleartext:getPeerCertificate().subjectaltname)
      cleartext:write('in secret')
    end))
    assert.equal('in secret', (await(cleartext, 'data')))
    cleartext:finish()
    if not socket.closed then
      await(socket, 'close')
    end
    P.close(await, server)
  end))

  it('serves a real client', P.test({}, function(await, files)
    local server = net.createServer(function(socket)
      starttls(socket, SERVER, true, function(cleartext)
        cleartext:pipe(cleartext)
      end)
    end)
    await(function(listening)
      server:listen(0, '127.0.0.1', listening)
    end)
    local status, stdout = P.sClientEcho(await, server:address().port, { '-CAfile', files.ca, '-verify_return_error' })
    assert.equal(0, status)
    assert.matches('Verify return code: 0', stdout)
    P.close(await, server)
  end))

  it('tells a client that must not believe', spec.coroutine(function(await, expect)
    local server, port = P.serve(await, {}, function(socket)
      socket:on('error', function() end)
      socket:resume()
    end)
    server:on('tlsClientError', function() end)
    local socket = net.connect(port, '127.0.0.1')
    local cleartext
    cleartext = starttls(socket, { ca = {} }, false, expect(function()
      assert.is_false(cleartext.authorized)
      assert.is_true(errors.isError(cleartext.authorizationError))
      assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', cleartext.authorizationError.code)
      cleartext:destroy()
    end))
    await(socket, 'close')
    P.close(await, server)
  end))
end)

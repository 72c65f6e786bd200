-- Misuse is an error at the call: it names the option, says what was expected and what came.
local constants = require 'constants'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local util = require 'util'
local T = require 'spec.support.tls'

local function noop() end

-- One value of every type, and what an error says of it. (A local function has no name at run time.)
local SAMPLES = {
  string = { 'text', "type string ('text')" },
  number = { 5, 'type number (5)' },
  boolean = { true, 'type boolean (true)' },
  table = { {}, 'an instance of Object' },
  ['function'] = { noop, 'function ' },
}

-- What an option may be. `false` stands for "not given" where Node takes it so; that is not tried here.
local CONTEXT = {
  ca = { 'string', 'table' },
  cert = { 'string', 'table' },
  key = { 'string', 'table' },
  pfx = { 'string', 'table' },
  crl = { 'string', 'table' },
  passphrase = { 'string' },
  ciphers = { 'string' },
  ecdhCurve = { 'string' },
  dhparam = { 'string' },
  sigalgs = { 'string' },
  secureProtocol = { 'string' },
  secureOptions = { 'number' },
  sessionIdContext = { 'string' },
  sessionTimeout = { 'number' },
  ticketKeys = { 'string', 'table' },
  honorCipherOrder = { 'boolean' },
  allowPartialTrustChain = { 'boolean' },
  privateKeyEngine = { 'string' },
  privateKeyIdentifier = { 'string' },
  clientCertEngine = { 'string' },
}

local BOTH = {
  requestCert = { 'boolean' },
  rejectUnauthorized = { 'boolean' },
  ALPNProtocols = { 'string', 'table' },
}

local SERVER = {
  SNICallback = { 'function' },
  handshakeTimeout = { 'number' },
  highWaterMark = { 'number' },
  keepAliveInitialDelay = { 'number' },
}

local CLIENT = {
  port = { 'number', 'string' },
  host = { 'string' },
  path = { 'string' },
  rejectUnauthorized = { 'boolean' },
  ALPNProtocols = { 'string', 'table' },
  servername = { 'string' },
  session = { 'string' },
  checkServerIdentity = { 'function' },
  minDHSize = { 'number' },
  lookup = { 'function' },
  timeout = { 'number' },
  localPort = { 'number' },
  autoSelectFamily = { 'boolean' },
  autoSelectFamilyAttemptTimeout = { 'number' },
}

local SOCKET = {
  SNICallback = { 'function' },
  checkServerIdentity = { 'function' },
  servername = { 'string' },
  session = { 'string' },
}

local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, 'nothing was raised')
  assert.is_true(util.isInstance(err, Error), tostring(err))
  return err
end

-- Tries a value of each type that `option` does not take.
local function tryWrongTypes(call, option, allowed)
  local fits = {}
  for _, kind in ipairs(allowed) do
    fits[kind] = true
  end
  for kind, sample in pairs(SAMPLES) do
    if not fits[kind] then
      local err = raised(call, { [option] = sample[1] })
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.equal('TypeError', err.name)
      local what, received = err.message:match('^The "options%.' .. option
        .. '" property must be (.*)%. Received (.*)$')
      assert.is_string(what, err.message)
      assert.equal(sample[2], received)
      for _, wanted in ipairs(allowed) do
        assert.truthy(what:find(wanted == 'table' and 'string' or wanted, 1, true), err.message)
      end
    end
  end
end

local function describeOptions(name, call, ...)
  for _, list in ipairs { ... } do
    for option, allowed in pairs(list) do
      it(('%s raises a TypeError that names %s'):format(name, option), function()
        local open = spec.handles.count()
        tryWrongTypes(call, option, allowed)
        assert.equal(open, (spec.handles.count()))
      end)
    end
  end
end

describe('a name with a null byte', function()
  it('is refused: behind the byte OpenSSL would see nothing', function()
    assert.equal('ERR_INVALID_ARG_VALUE',
      raised(tls.connect, { port = 1, host = '127.0.0.1', servername = 'good.example\0.evil.example' }).code)
    local socket = tls.TLSSocket()
    assert.equal('ERR_INVALID_ARG_VALUE', raised(socket.setServername, socket, 'a\0b').code)
    socket:destroy()
  end)
end)

describe('a wrong type', function()
  local function identity(options)
    return T.identity(options)
  end

  describeOptions('createSecureContext', tls.createSecureContext, CONTEXT)
  describeOptions('createServer', function(options)
    tls.createServer(identity(options))
  end, CONTEXT, BOTH, SERVER)
  describeOptions('addContext', function(options)
    tls.createServer(identity()):addContext('a.example', identity(options))
  end, CONTEXT)
  describeOptions('setSecureContext', function(options)
    tls.createServer(identity()):setSecureContext(identity(options))
  end, CONTEXT)
  describeOptions('connect', function(options)
    tls.connect(T.merged({ port = 1, host = '127.0.0.1' }, options))
  end, CONTEXT, CLIENT)
  describeOptions('TLSSocket', function(options)
    tls.TLSSocket(nil, options)
  end, CONTEXT, BOTH, SOCKET)

  it('is found inside of lists, and where a passphrase is', function()
    local cases = {
      { 'options.ca', { ca = { T.ca.cert, 5 } } },
      { 'options.cert', { cert = { true } } },
      { 'options.key', { key = { noop } } },
      { 'options.key', { key = { pem = T.localhost.key } } },
      { 'options.key.pem', { key = { { pem = 5 } } } },
      { 'options.key.passphrase', { key = { { pem = T.localhost.key, passphrase = 5 } } } },
      { 'options.pfx.buf', { pfx = { { buf = true } } } },
      { 'options.pfx.passphrase', { pfx = { { buf = 'x', passphrase = {} } } } },
    }
    for _, case in ipairs(cases) do
      local err = raised(tls.createSecureContext, case[2])
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.truthy(err.message:find('"' .. case[1] .. '"', 1, true), err.message)
    end
    local err = raised(tls.connect, { port = 1, ALPNProtocols = { 'a', 5 } })
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    assert.truthy(err.message:find('options.ALPNProtocols[2]', 1, true), err.message)
  end)

  it('is found where a context is expected', function()
    for _, sample in pairs(SAMPLES) do
      for _, call in ipairs { tls.connect, tls.createServer } do
        local err = raised(call, { port = 1, secureContext = sample[1] })
        assert.equal('ERR_TLS_INVALID_CONTEXT', err.code)
        assert.truthy(err.message:find('options.secureContext', 1, true))
      end
    end
  end)

  it('is found where options are expected', function()
    for _, value in ipairs { 5, 'text', true } do
      assert.equal('ERR_INVALID_ARG_TYPE', raised(tls.createSecureContext, value).code)
      assert.equal('ERR_INVALID_ARG_TYPE', raised(tls.createServer, value).code)
      assert.equal('ERR_INVALID_ARG_TYPE', raised(tls.TLSSocket, nil, value).code)
      assert.equal('ERR_INVALID_ARG_TYPE', raised(tls.createServer().setSecureContext, tls.createServer(), value).code)
    end
  end)

  it('is found where a socket is expected', function()
    for _, sample in pairs(SAMPLES) do
      local err = raised(tls.TLSSocket, sample[1])
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.truthy(err.message:find('"socket"', 1, true))
      assert.equal('ERR_INVALID_ARG_TYPE', raised(tls.connect, { socket = sample[1] }).code)
    end
  end)

  it('is found where addContext expects a name', function()
    for _, name in ipairs { '', 5, true } do
      assert.equal('ERR_TLS_REQUIRED_SERVER_NAME', raised(tls.createServer().addContext, tls.createServer(), name, {})
        .code)
    end
  end)

  it('is found where a listener is expected', function()
    local err = raised(tls.createServer, {}, 'text')
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    assert.truthy(err.message:find('"listener"', 1, true), err.message)
  end)
end)

describe('a wrong value', function()
  -- { what it is, options, code, a piece of the message }
  local cases = {
    { 'an unknown minimum version', { minVersion = 'TLSv1.9' }, 'ERR_TLS_INVALID_PROTOCOL_VERSION', '"TLSv1.9"' },
    { 'an unknown maximum version', { maxVersion = 'SSLv3' }, 'ERR_TLS_INVALID_PROTOCOL_VERSION', '"SSLv3"' },
    { 'a version that is no string', { minVersion = 1.2 }, 'ERR_TLS_INVALID_PROTOCOL_VERSION', '"1.2"' },
    { 'an unknown method', { secureProtocol = 'TLSv9_method' }, 'ERR_TLS_INVALID_PROTOCOL_METHOD', 'TLSv9_method' },
    { 'a method that is gone', { secureProtocol = 'SSLv3_method' }, 'ERR_TLS_INVALID_PROTOCOL_METHOD',
      'SSLv3 methods disabled' },
    { 'a method and a version', { secureProtocol = 'TLSv1_2_method', minVersion = 'TLSv1.2' },
      'ERR_TLS_PROTOCOL_VERSION_CONFLICT', 'TLSv1_2_method' },
    { 'an unknown cipher', { ciphers = 'NO-SUCH-CIPHER' }, 'ERR_SSL_NO_CIPHER_MATCH', 'no cipher match' },
    { 'an unknown TLS 1.3 suite', { ciphers = 'TLS_NO_SUCH_SUITE' }, 'ERR_SSL_NO_CIPHER_MATCH', 'no cipher match' },
    { 'no cipher at all', { ciphers = ':' }, 'ERR_INVALID_ARG_VALUE', 'options.ciphers' },
    { 'a security level that there is not', { ciphers = 'DEFAULT@SECLEVEL=9' }, 'ERR_SSL_INVALID_COMMAND',
      'invalid command' },
    { 'a security level for no cipher', { ciphers = '@SECLEVEL=0' }, 'ERR_SSL_NO_CIPHER_MATCH', 'no cipher match' },
    { 'a suite that is ruled out', { ciphers = 'TLS_AES_128_GCM_SHA256:!TLS_AES_128_GCM_SHA256' },
      'ERR_INVALID_ARG_VALUE', 'options.ciphers' },
    { 'an unknown curve among known ones', { ecdhCurve = 'P-256:no-such-curve' }, 'ERR_CRYPTO_OPERATION_FAILED',
      "Failed to set ECDH curve 'P-256:no-such-curve'" },
    { 'an unknown signature algorithm among known ones', { sigalgs = 'RSA+SHA256:no-such-one' },
      'ERR_CRYPTO_OPERATION_FAILED', 'RSA+SHA256:no-such-one' },
    { 'no ciphers but those of curves, without curves', { ciphers = 'ECDHE-RSA-AES128-GCM-SHA256', ecdhCurve = false },
      'ERR_SSL_NO_CIPHER_MATCH', 'no cipher match' },
    { 'a method and a maximum', { secureProtocol = 'TLS_method', maxVersion = 'TLSv1.2' },
      'ERR_TLS_PROTOCOL_VERSION_CONFLICT', 'TLS_method' },
    { 'a session timeout that is no integer', { sessionTimeout = 1.5 }, 'ERR_OUT_OF_RANGE', 'options.sessionTimeout' },
    { 'a session timeout that is endless', { sessionTimeout = math.huge }, 'ERR_OUT_OF_RANGE',
      'options.sessionTimeout' },
    { 'secure options beyond all masks', { secureOptions = 2 ^ 60 }, 'ERR_OUT_OF_RANGE', 'options.secureOptions' },
    { 'ticket keys that are too long', { ticketKeys = ('k'):rep(49) }, 'ERR_INVALID_ARG_VALUE', 'options.ticketKeys' },
    { 'two sets of ticket keys in one string', { ticketKeys = ('k'):rep(96) }, 'ERR_INVALID_ARG_VALUE',
      'options.ticketKeys' },
    { 'no ticket keys in the list', { ticketKeys = {} }, 'ERR_INVALID_ARG_TYPE', 'options.ticketKeys' },
    { 'ticket keys of a wrong length in a list', { ticketKeys = { ('k'):rep(48), 'short' } }, 'ERR_INVALID_ARG_VALUE',
      "options.ticketKeys[2]' must be exactly 48 bytes. Received 5" },
    { 'ticket keys of a wrong type in a list', { ticketKeys = { ('k'):rep(48), 5 } }, 'ERR_INVALID_ARG_TYPE',
      'options.ticketKeys[2]' },
    { 'a key of hardware without its engine', { privateKeyIdentifier = 'x' }, 'ERR_INVALID_ARG_VALUE',
      'options.privateKeyEngine' },
    { 'an engine without a key', { privateKeyEngine = 'x' }, 'ERR_INVALID_ARG_VALUE', 'options.privateKeyIdentifier' },
    { 'a null byte in a passphrase', { passphrase = 'secret\0' }, 'ERR_INVALID_ARG_VALUE', 'options.passphrase' },
    { "a null byte in a key's passphrase", { key = { { pem = '', passphrase = 'a\0b' } } }, 'ERR_INVALID_ARG_VALUE',
      'options.key.passphrase' },
    { "a null byte in a PKCS#12 file's passphrase", { pfx = { { buf = '', passphrase = '\0' } } },
      'ERR_INVALID_ARG_VALUE', 'options.pfx.passphrase' },
    { 'a null byte in ciphers', { ciphers = 'HIGH\0:!aNULL' }, 'ERR_INVALID_ARG_VALUE', 'options.ciphers' },
    { 'a null byte in a suite', { ciphers = 'TLS_AES_128_GCM_SHA256\0' }, 'ERR_INVALID_ARG_VALUE', 'options.ciphers' },
    { 'a null byte in a curve', { ecdhCurve = 'P-256\0' }, 'ERR_INVALID_ARG_VALUE', 'options.ecdhCurve' },
    { 'a null byte in signature algorithms', { sigalgs = 'RSA+SHA256\0' }, 'ERR_INVALID_ARG_VALUE', 'options.sigalgs' },
    { "a null byte in an engine's name", { clientCertEngine = 'a\0' }, 'ERR_INVALID_ARG_VALUE',
      'options.clientCertEngine' },
    { "a null byte in a token's name", { key = 'pkcs11:token=a\0' }, 'ERR_INVALID_ARG_VALUE', 'options.key' },
    { 'an unknown curve', { ecdhCurve = 'no-such-curve' }, 'ERR_CRYPTO_OPERATION_FAILED',
      "Failed to set ECDH curve 'no-such-curve'" },
    { 'an unknown signature algorithm', { sigalgs = 'no-such-one' }, 'ERR_CRYPTO_OPERATION_FAILED', 'no-such-one' },
    { 'no signature algorithm', { sigalgs = '' }, 'ERR_INVALID_ARG_VALUE', 'options.sigalgs' },
    { 'ticket keys of a wrong length', { ticketKeys = 'short' }, 'ERR_INVALID_ARG_VALUE', 'options.ticketKeys' },
    { 'a session id context that is too long', { sessionIdContext = ('x'):rep(33) },
      'ERR_SSL_SSL_SESSION_ID_CONTEXT_TOO_LONG', 'too long' },
    { 'a negative session timeout', { sessionTimeout = -1 }, 'ERR_OUT_OF_RANGE', 'options.sessionTimeout' },
    { 'secure options that are no integer', { secureOptions = 1.5 }, 'ERR_OUT_OF_RANGE', 'options.secureOptions' },
  }
  for _, case in ipairs(cases) do
    it(('raises for %s'):format(case[1]), function()
      local err = raised(tls.createSecureContext, case[2])
      assert.equal(case[3], err.code)
      assert.truthy(err.message:find(case[4], 1, true), err.message)
      err = raised(tls.createServer, case[2])
      assert.equal(case[3], err.code)
      err = raised(tls.connect, T.merged({ port = 1 }, case[2]))
      assert.equal(case[3], err.code)
    end)
  end

  it('raises for what connect alone takes', function()
    local function code(options)
      return raised(tls.connect, T.merged({ port = 1, host = '127.0.0.1' }, options)).code
    end
    assert.equal('ERR_SOCKET_BAD_PORT', code { port = 65536 })
    assert.equal('ERR_SOCKET_BAD_PORT', code { port = -1 })
    assert.equal('ERR_SOCKET_BAD_PORT', code { port = 'text' })
    assert.equal('ERR_OUT_OF_RANGE', code { minDHSize = 0 })
    assert.equal('ERR_OUT_OF_RANGE', code { timeout = -1 })
    assert.equal('ERR_INVALID_IP_ADDRESS', code { localAddress = 'localhost' })
    assert.equal('ERR_INVALID_ARG_VALUE', code { ALPNProtocols = '\5abc' })
    assert.equal('ERR_OUT_OF_RANGE', code { ALPNProtocols = { ('x'):rep(256) } })
  end)

  it('takes every documented value all the same', function()
    tls.createSecureContext {
      minVersion = 'TLSv1', maxVersion = 'TLSv1.3', ciphers = 'HIGH:TLS_AES_128_GCM_SHA256', ecdhCurve = 'auto',
      dhparam = 'auto', sigalgs = 'ECDSA+SHA256:ed25519', honorCipherOrder = false, sessionTimeout = 10,
      secureOptions = constants.SSL_OP_NO_TICKET, sessionIdContext = 'mine', ticketKeys = ('k'):rep(48),
      ca = T.ca.cert, cert = { T.localhost.cert }, key = { { pem = T.localhost.key } }, crl = T.ca:crl(),
    }
    tls.createSecureContext { ca = false, cert = false, key = false, pfx = false, crl = false, passphrase = false }
    tls.createSecureContext {}
    tls.createSecureContext()
  end)
end)

describe('what OpenSSL refuses', function()
  local other = T.ca:issue()
  local rsa = T.ca:issue { key = 'rsa' }
  local encrypted = T.localhost:encryptedKey('secret')
  local encryptedOwn = T.localhost:encryptedKey('secret', true)
  local pfx = T.localhost:pfx('secret')
  local cut = T.localhost.cert:sub(1, 200)
  local hollow = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'

  -- { what it is, options, code, library, reason }
  local cases = {
    { 'a key that is not the certificate\'s', { cert = T.localhost.cert, key = other.key },
      'ERR_OSSL_X509_KEY_VALUES_MISMATCH', 'x509 certificate routines', 'key values mismatch' },
    { 'a key of another kind than the certificate\'s', { cert = T.localhost.cert, key = rsa.key },
      'ERR_OSSL_EVP_DIFFERENT_KEY_TYPES', 'digital envelope routines', 'different key types' },
    { 'a wrong passphrase', { cert = T.localhost.cert, key = encrypted, passphrase = 'wrong' },
      'ERR_OSSL_BAD_DECRYPT', 'Provider routines', 'bad decrypt' },
    { 'a wrong passphrase beside its key',
      { cert = T.localhost.cert, key = { { pem = encrypted, passphrase = 'wrong' } }, passphrase = 'secret' },
      'ERR_OSSL_BAD_DECRYPT', 'Provider routines', 'bad decrypt' },
    { 'an encrypted key without a passphrase', { cert = T.localhost.cert, key = encrypted },
      'ERR_OSSL_BAD_DECRYPT', 'Provider routines', 'bad decrypt' },
    { 'a key encrypted in the older form without a passphrase', { cert = T.localhost.cert, key = encryptedOwn },
      'ERR_OSSL_BAD_DECRYPT', 'Provider routines', 'bad decrypt' },
    { 'a PKCS#12 file with a wrong passphrase', { pfx = pfx, passphrase = 'wrong' },
      'ERR_OSSL_PKCS12_MAC_VERIFY_FAILURE', 'PKCS12 routines', 'mac verify failure' },
    { 'a PKCS#12 file without its passphrase', { pfx = pfx },
      'ERR_OSSL_PKCS12_MAC_VERIFY_FAILURE', 'PKCS12 routines', 'mac verify failure' },
    { 'garbage for a PKCS#12 file', { pfx = ('garbage'):rep(100) },
      'ERR_OSSL_ASN1_WRONG_TAG', 'asn1 encoding routines', 'wrong tag' },
    { 'a PKCS#12 file that was cut off', { pfx = pfx:sub(1, 100), passphrase = 'secret' },
      'ERR_OSSL_ASN1_NOT_ENOUGH_DATA', 'asn1 encoding routines', 'not enough data' },
    { 'garbage for a certificate', { cert = 'garbage' }, 'ERR_OSSL_PEM_NO_START_LINE', 'PEM routines',
      'no start line' },
    { 'an empty certificate', { cert = '' }, 'ERR_OSSL_PEM_NO_START_LINE', 'PEM routines', 'no start line' },
    { 'a certificate that was cut off', { cert = cut }, 'ERR_OSSL_PEM_BAD_END_LINE', 'PEM routines',
      'bad end line' },
    { 'a certificate with nothing in it', { cert = hollow }, 'ERR_OSSL_ASN1_WRONG_TAG', 'asn1 encoding routines',
      'wrong tag' },
    { 'a key where the certificate should be', { cert = T.localhost.key }, 'ERR_OSSL_PEM_NO_START_LINE',
      'PEM routines', 'no start line' },
    { 'garbage for a key', { key = 'garbage' }, 'ERR_OSSL_UNSUPPORTED', 'DECODER routines', 'unsupported' },
    { 'an empty key', { key = '' }, 'ERR_OSSL_UNSUPPORTED', 'DECODER routines', 'unsupported' },
    { 'a certificate where the key should be', { cert = T.localhost.cert, key = T.localhost.cert },
      'ERR_OSSL_UNSUPPORTED', 'DECODER routines', 'unsupported' },
    { 'garbage for an authority', { ca = 'garbage' }, 'ERR_OSSL_PEM_NO_START_LINE', 'PEM routines',
      'no start line' },
    { 'garbage among authorities', { ca = { T.ca.cert, 'garbage' } }, 'ERR_OSSL_PEM_NO_START_LINE', 'PEM routines',
      'no start line' },
    { 'an empty authority', { ca = '' }, 'ERR_OSSL_PEM_NO_START_LINE', 'PEM routines', 'no start line' },
    { 'garbage for a revocation list', { crl = 'garbage' }, 'ERR_OSSL_PEM_NO_START_LINE', 'PEM routines',
      'no start line' },
  }
  for _, case in ipairs(cases) do
    it(('raises for %s'):format(case[1]), function()
      for _, call in ipairs { tls.createSecureContext, tls.createServer, tls.connect } do
        local err = raised(call, T.merged({ port = 1 }, case[2]))
        assert.equal(case[3], err.code)
        assert.equal(case[4], err.library)
        assert.equal(case[5], err.reason)
        assert.truthy(err.message:find('^error:%x+:' .. case[4] .. '::' .. case[5]), err.message)
        assert.equal('Error', err.name)
        assert.is_string(err.stack)
      end
    end)
  end

  it('says so when a passphrase is all that is missing', function()
    local err = raised(tls.createSecureContext, { cert = T.localhost.cert, key = encrypted })
    assert.truthy(err.message:find('no passphrase was given', 1, true))
  end)

  it('is taken with the right passphrase', function()
    for _, options in ipairs {
      { cert = T.localhost.cert, key = encrypted, passphrase = 'secret' },
      { cert = T.localhost.cert, key = encryptedOwn, passphrase = 'secret' },
      { cert = T.localhost.cert, key = { { pem = encrypted, passphrase = 'secret' } } },
      { pfx = pfx, passphrase = 'secret' },
      { pfx = { { buf = pfx, passphrase = 'secret' } } },
      { cert = { T.localhost.cert, rsa.cert }, key = { rsa.key, T.localhost.key } },
    } do
      tls.createSecureContext(options)
    end
  end)

  it('leaves a server as it was when its context is replaced', function()
    local server = tls.createServer(T.identity())
    local keys = server:getTicketKeys()
    raised(server.setSecureContext, server, { cert = 'garbage' })
    assert.equal(keys, server:getTicketKeys())
  end)
end)

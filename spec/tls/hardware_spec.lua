-- Keys that a script never sees: in a token behind PKCS#11 (SoftHSM, through libp11's engine), or behind an engine of
-- the specs' own.
local fs = require 'fs'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local W = require 'spec.support.wire'

local ENGINE = process.execPath:match('^.*/') .. 'spec_engine.so'
local PIN = '1234'

local rsa = T.ca:issue { names = { 'localhost' }, cn = 'rsa', key = 'rsa' }
local ec = T.ca:issue { names = { 'localhost' }, cn = 'ec' }
local ada = T.ca:issue { cn = 'ada', purpose = 'client' }

local function refused(options)
  local ok, err = pcall(tls.createSecureContext, options)
  assert.is_false(ok, 'nothing was raised')
  return err
end

describe('a token', function()
  -- PKCS#11 is configured once in a process, so there is one token for all of these.
  local dir
  local saved = {}

  local function set(name, value)
    saved[name] = process.env[name] or false
    process.env[name] = value
  end

  setup(function()
    dir = spec.tempdir()
    fs.writeFileSync(dir .. '/softhsm2.conf', 'directories.tokendir = ' .. dir .. '\nlog.level = ERROR\n')
    set('SOFTHSM2_CONF', dir .. '/softhsm2.conf')
    set('PKCS11_MODULE_PATH', '/usr/lib/softhsm/libsofthsm2.so')
    spec.coroutine(function(await)
      local function run(...)
        local status, _, stderr = P.run(await, { 'softhsm2-util', ... })
        assert.equal(0, status, stderr)
      end
      run('--init-token', '--free', '--label', 'spec', '--pin', PIN, '--so-pin', '5678')
      for i, identity in ipairs { rsa, ec, ada } do
        local name = ({ 'rsa key', 'ec key', 'ada key' })[i]
        fs.writeFileSync(dir .. '/key.pem', identity.key)
        run('--import', dir .. '/key.pem', '--token', 'spec', '--label', name, '--id', '0' .. i, '--pin', PIN)
      end
    end)()
  end)

  teardown(function()
    for name, value in pairs(saved) do
      process.env[name] = value or nil
    end
    spec.remove(dir)
  end)

  local RSA, EC = 'pkcs11:token=spec;object=rsa%20key', 'pkcs11:token=spec;object=ec%20key'

  -- Before anybody has logged in: what is wrong, how the key is named, the error's code, what its message says.
  local refusals = {
    { 'no PIN is given', { key = RSA }, 'ERR_OSSL_OBJECT_NOT_FOUND', 'a PIN is needed and no passphrase was given' },
    { 'an empty PIN is given', { key = RSA, passphrase = '' }, 'ERR_OSSL_OBJECT_NOT_FOUND', 'rsa%20key' },
    { 'the PIN is wrong', { key = RSA, passphrase = '4321' }, 'ERR_OSSL_PIN_INCORRECT', 'PIN incorrect' },
    { 'the PIN in its name is wrong', { key = RSA .. '?pin-value=4321' }, 'ERR_OSSL_PIN_INCORRECT', 'rsa%20key' },
    { 'there is no such token', { key = 'pkcs11:token=other;object=rsa%20key', passphrase = PIN },
      'ERR_OSSL_OBJECT_NOT_FOUND', 'token=other' },
    { 'there is no such key', { key = 'pkcs11:token=spec;object=other', passphrase = PIN },
      'ERR_OSSL_OBJECT_NOT_FOUND', 'object=other' },
    { "the key is not the certificate's", { key = RSA, passphrase = PIN, cert = ec.cert },
      'ERR_OSSL_X509_KEY_TYPE_MISMATCH', 'key type mismatch' },
    { 'another of the keys is not there', {
      key = { ec.key, RSA .. 's' }, passphrase = PIN, cert = { ec.cert, rsa.cert } },
      'ERR_OSSL_OBJECT_NOT_FOUND', 'rsa%20keys' },
  }
  for _, case in ipairs(refusals) do
    it('is refused when ' .. case[1], function()
      local err = refused(T.merged({ cert = rsa.cert }, case[2]))
      assert.equal(case[3], err.code)
      assert.truthy(err.message:find(case[4], 1, true), err.message)
      assert.falsy(err.message:find('4321', 1, true), err.message)
    end)
  end

  local uses = {
    { 'as a key, with its PIN for a passphrase', { cert = rsa.cert, key = RSA, passphrase = PIN }, 'rsa' },
    { 'as a key with a passphrase of its own', { cert = ec.cert, key = { { pem = EC, passphrase = PIN } } }, 'ec' },
    { 'as a key, with the PIN in its name', { cert = ec.cert, key = EC .. '?pin-value=' .. PIN }, 'ec' },
    { 'as privateKeyIdentifier', { cert = rsa.cert, privateKeyIdentifier = RSA, passphrase = PIN }, 'rsa' },
    { 'as privateKeyIdentifier of the engine', {
      cert = ec.cert, privateKeyEngine = 'pkcs11', privateKeyIdentifier = EC, passphrase = PIN }, 'ec' },
    { 'beside a key in PEM', { cert = { ec.cert, rsa.cert }, key = { ec.key, RSA }, passphrase = PIN }, 'rsa' },
  }
  for _, case in ipairs(uses) do
    for _, version in ipairs { '-tls1_2', '-tls1_3' } do
      it(('serves its key %s (%s)'):format(case[1], version), P.test({}, function(await, files)
        local seen = W.served(await, case[2], { version, '-CAfile', files.ca, '-verify_return_error', '-sigalgs',
          case[3] == 'rsa' and 'RSA-PSS+SHA256' or 'ECDSA+SHA256' })
        assert.equal('CN = ' .. case[3], seen.peer, seen.output)
        assert.equal(case[3] == 'rsa' and 'RSA-PSS' or 'ECDSA', seen.signature)
        assert.matches('Verification: OK', seen.output)
      end))
    end
  end

  it('serves the names of a server', P.test({}, function(await)
    local server, port = W.serve(await, { cert = ec.cert, key = EC, passphrase = PIN })
    server:addContext('rsa.example', { cert = rsa.cert, key = RSA, passphrase = PIN })
    assert.equal('CN = ec', W.visit(await, port, {}).peer)
    assert.equal('CN = rsa', W.visit(await, port, { '-servername', 'rsa.example' }).peer)
    P.close(await, server)
  end))

  it('proves who a client is', P.test({ server = ec }, function(await, files)
    for _, version in ipairs { '-tls1_2', '-tls1_3' } do
      local seen = W.offered(await, files, { cert = ada.cert, passphrase = PIN,
        key = 'pkcs11:token=spec;object=ada%20key' }, { version, '-Verify', '1', '-CAfile', files.ca })
      assert.is_nil(seen.mine.error)
      assert.equal('CN = ada', seen.peer, seen.output)
    end
  end))
end)

describe('an engine', function()
  it('finds a key by its name', P.test({ ec = ec }, function(await, files)
    local seen = W.served(await, { cert = ec.cert, privateKeyEngine = ENGINE, privateKeyIdentifier = files.ec_key }, {})
    assert.equal('CN = ec', seen.peer, seen.output)
  end))

  it('is given the passphrase when it asks', P.test({}, function(await, files)
    local path = files.dir .. '/encrypted.pem'
    fs.writeFileSync(path, rsa:encryptedKey('secret'))
    local options = { cert = rsa.cert, privateKeyEngine = ENGINE, privateKeyIdentifier = path }
    local seen = W.served(await, T.merged(options, { passphrase = 'secret' }), {})
    assert.equal('CN = rsa', seen.peer, seen.output)
    assert.equal('ERR_OSSL_BAD_DECRYPT', refused(T.merged(options, { passphrase = 'wrong' })).code)
    assert.matches('no passphrase was given', refused(options).message)
  end))

  it('does not have a key for every certificate', P.test({ ec = ec }, function(_, files)
    local engine = { privateKeyEngine = ENGINE, privateKeyIdentifier = files.ec_key }
    assert.equal('ERR_OSSL_EVP_DIFFERENT_KEY_TYPES', refused(T.merged(engine, { cert = rsa.cert })).code)
    assert.equal('ERR_OSSL_X509_KEY_VALUES_MISMATCH', refused(T.merged(engine, { cert = { ec.cert, rsa.cert } })).code)
    local err = refused { privateKeyEngine = ENGINE, privateKeyIdentifier = '/nonexistent/key' }
    assert.matches("key '/nonexistent/key'", err.message)
  end))

  describe('that has certificates for clients', function()
    local function withClientCert(files, cert, key)
      process.env.ML_SPEC_ENGINE_CERT, process.env.ML_SPEC_ENGINE_KEY = files[cert], files[key]
    end

    after_each(function()
      process.env.ML_SPEC_ENGINE_CERT, process.env.ML_SPEC_ENGINE_KEY = nil, nil
    end)

    for _, version in ipairs { '-tls1_2', '-tls1_3' } do
      it(('chooses one when the server asks (%s)'):format(version), P.test({ server = ec, ada = ada, other = rsa },
        function(await, files)
          withClientCert(files, 'ada_cert', 'ada_key')
          local asks = { version, '-Verify', '1', '-CAfile', files.ca }
          local seen = W.offered(await, files, { clientCertEngine = ENGINE }, asks)
          assert.equal('CN = ada', seen.peer, seen.output)
          assert.is_nil(seen.mine.error)
          -- The context's own goes first.
          local own = T.ca:issue { cn = 'own', purpose = 'client' }
          seen = W.offered(await, files, { clientCertEngine = ENGINE, cert = own.cert, key = own.key }, asks)
          assert.equal('CN = own', seen.peer, seen.output)
          seen = W.offered(await, files, { clientCertEngine = ENGINE }, { version })
          assert.is_nil(seen.peer, seen.output)
        end))
    end

    it('may have none', P.test({ server = ec }, function(await, files)
      local seen = W.offered(await, files, { clientCertEngine = ENGINE }, { '-tls1_2', '-verify', '1' })
      assert.is_nil(seen.peer, seen.output)
    end))
  end)

  local NOT_LOADED = 'ERR_OSSL_DSO_COULD_NOT_LOAD_THE_SHARED_LIBRARY'

  -- { what is wrong, options, code, a piece of the message }
  local cases = {
    { 'of a name that nobody knows', { privateKeyEngine = 'nobody', privateKeyIdentifier = 'x' }, NOT_LOADED,
      "engine 'nobody'" },
    { 'in a file that is not there', { privateKeyEngine = '/nonexistent.so', privateKeyIdentifier = 'x' }, NOT_LOADED,
      "engine '/nonexistent.so'" },
    { 'of a name that nobody knows, for clients', { clientCertEngine = 'nobody' }, NOT_LOADED, "engine 'nobody'" },
    { 'in a file that is not there, for clients', { clientCertEngine = '/nonexistent.so' }, NOT_LOADED,
      "engine '/nonexistent.so'" },
    { 'that has no certificates for clients', { clientCertEngine = 'pkcs11' }, 'ERR_SSL_NO_CLIENT_CERT_METHOD',
      'no client cert method' },
    { 'without a key to find', { privateKeyEngine = ENGINE }, 'ERR_INVALID_ARG_VALUE',
      "'options.privateKeyIdentifier' is invalid" },
    { 'that is missing', { privateKeyIdentifier = 'x' }, 'ERR_INVALID_ARG_VALUE',
      "'options.privateKeyEngine' is invalid" },
    { 'beside a key', { privateKeyEngine = ENGINE, privateKeyIdentifier = 'x', key = rsa.key },
      'ERR_INVALID_ARG_VALUE', "'options.privateKeyIdentifier' is invalid" },
  }
  for _, case in ipairs(cases) do
    it(('%s is refused'):format(case[1]), function()
      local err = refused(case[2])
      assert.equal(case[3], err.code)
      assert.truthy(err.message:find(case[4], 1, true), err.message)
    end)
  end
end)

-- Keys, certificates and PKCS#12 files in all the shapes that scripts have them in: what a server with them shows to
-- `openssl s_client`.
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local util = require 'util'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local W = require 'spec.support.wire'

local function issue(cn, key, ca)
  return (ca or T.ca):issue { names = { 'localhost' }, cn = cn, key = key }
end

local between = T.ca:intermediate { name = 'Between' }
local rsa, ec, ed = issue('rsa', 'rsa'), issue('ec', 'ec'), issue('ed', 'ed25519')
local pss, ed448 = issue('pss', 'rsa-pss'), issue('ed448', 'ed448')
local deepRsa, deepEc = issue('deep rsa', 'rsa', between), issue('deep ec', 'ec', T.ca)

local function served(await, _, options, argv)
  return W.served(await, options, argv)
end

local function serverCases(cases)
  W.eachCase(it, cases, {}, served)
end

local function refused(options)
  local ok, err = pcall(tls.createSecureContext, options)
  assert.is_false(ok, 'nothing was raised')
  assert.is_true(util.isInstance(err, Error), tostring(err))
  return err
end

-- Names of the certificates in s_client's list, the first one being the server's.
local function chainOf(await, options, argv)
  local server, port = W.serve(await, options)
  local _, stdout = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-showcerts',
    unpack(argv or {}) }, { input = '' })
  P.close(await, server)
  local names = {}
  for name in stdout:gmatch('\n %d+ s:CN = ([^\n]+)') do
    names[#names + 1] = name
  end
  return table.concat(names, ', ')
end

describe('several identities', function()
  local wants = {
    { 'rsa', '-sigalgs', 'RSA-PSS+SHA256', signature = 'RSA-PSS' },
    { 'ec', '-sigalgs', 'ECDSA+SHA256', signature = 'ECDSA' },
    { 'ed', '-sigalgs', 'ed25519', signature = 'ed25519' },
    { 'ed448', '-sigalgs', 'ed448', signature = 'ed448' },
    { 'pss', '-sigalgs', 'rsa_pss_pss_sha256', signature = 'RSA-PSS' },
    { 'ec', '-sigalgs', 'ECDSA+SHA256:RSA-PSS+SHA256', signature = 'ECDSA' },
    { 'rsa', '-sigalgs', 'RSA-PSS+SHA256:ECDSA+SHA256', signature = 'RSA-PSS' },
  }
  local certs = { rsa.cert, ec.cert, ed.cert, pss.cert, ed448.cert }
  local keys = { rsa.key, ec.key, ed.key, pss.key, ed448.key }
  local backwards = { ed448.key, pss.key, ed.key, ec.key, rsa.key }
  local objects = {}
  for i, key in ipairs(keys) do
    objects[i] = { pem = key }
  end
  local shapes = {
    { 'keys in the order of the certificates', { cert = certs, key = keys } },
    { 'keys in another order', { cert = certs, key = backwards } },
    { 'keys as tables', { cert = certs, key = objects } },
    { 'PKCS#12 files', { pfx = { rsa:pfx(), ec:pfx(), ed:pfx(), pss:pfx(), ed448:pfx() } } },
    { 'PKCS#12 files beside keys', {
      cert = { ec.cert, pss.cert, ed448.cert }, key = { ed448.key, ec.key, pss.key }, pfx = { rsa:pfx(), ed:pfx() } } },
  }
  for _, shape in ipairs(shapes) do
    for _, version in ipairs { '-tls1_2', '-tls1_3' } do
      it(('are each served to whom they fit: %s (%s)'):format(shape[1], version), P.test({}, function(await)
        local server, port = W.serve(await, T.merged({ honorCipherOrder = false }, shape[2]))
        for _, want in ipairs(wants) do
          local seen = W.visit(await, port, { version, want[2], want[3] })
          -- Under TLS 1.2 the cipher decides which kind goes first.
          if version == '-tls1_3' or not want[3]:find(':') then
            assert.equal('CN = ' .. want[1], seen.peer, want[3] .. '\n' .. seen.output)
            assert.equal(want.signature, seen.signature)
          end
        end
        P.close(await, server)
      end))
    end
  end

  it('are chosen by cipher under TLS 1.2', P.test({}, function(await)
    local server, port = W.serve(await, { cert = certs, key = keys })
    for _, case in ipairs { { 'rsa', 'ECDHE-RSA-AES128-GCM-SHA256' }, { 'ec', 'ECDHE-ECDSA-AES128-GCM-SHA256' },
      { 'rsa', 'AES128-GCM-SHA256' } } do
      local seen = W.visit(await, port, { '-tls1_2', '-cipher', case[2], '-sigalgs', 'ECDSA+SHA256:RSA+SHA256' })
      assert.equal('CN = ' .. case[1], seen.peer, seen.output)
    end
    P.close(await, server)
  end))

  it('have a chain each', P.test({}, function(await)
    local options = { cert = { deepEc.chain, deepRsa.chain }, key = { deepRsa.key, deepEc.key } }
    assert.equal('deep rsa, Between', chainOf(await, options, { '-sigalgs', 'RSA-PSS+SHA256' }))
    assert.equal('deep ec', chainOf(await, options, { '-sigalgs', 'ECDSA+SHA256' }))
  end))

  it('have passphrases of their own, or the one for all', P.test({}, function(await)
    local shared = {
      { pem = rsa:encryptedKey('one'), passphrase = 'one' },
      { pem = ec:encryptedKey('for all') },
      ed:encryptedKey('for all', false),
    }
    local server, port = W.serve(await, { cert = { ed.cert, ec.cert, rsa.cert }, key = shared, passphrase = 'for all' })
    for _, want in ipairs { { 'rsa', 'RSA-PSS+SHA256' }, { 'ec', 'ECDSA+SHA256' }, { 'ed', 'ed25519' } } do
      assert.equal('CN = ' .. want[1], W.visit(await, port, { '-sigalgs', want[2] }).peer)
    end
    P.close(await, server)
    local files = {
      { buf = rsa:pfx('one'), passphrase = 'one' },
      { buf = ec:pfx('for all') },
      ed:pfx('for all'),
    }
    server, port = W.serve(await, { pfx = files, passphrase = 'for all' })
    for _, want in ipairs { { 'rsa', 'RSA-PSS+SHA256' }, { 'ec', 'ECDSA+SHA256' }, { 'ed', 'ed25519' } } do
      assert.equal('CN = ' .. want[1], W.visit(await, port, { '-sigalgs', want[2] }).peer)
    end
    P.close(await, server)
  end))

  it('may be over one key that was certified twice: the later certificate is served', P.test({}, function(await)
    local renewed = T.ca:issue { names = { 'localhost' }, cn = 'renewed', key = rsa }
    assert.equal('CN = renewed', W.served(await, { cert = { rsa.cert, renewed.cert }, key = rsa.key }, {}).peer)
  end))

  local stranger, strangerEc = issue('stranger', 'rsa'), issue('stranger', 'ec:P-384')
  local MISMATCH, KINDS = 'ERR_OSSL_X509_KEY_VALUES_MISMATCH', 'ERR_OSSL_EVP_DIFFERENT_KEY_TYPES'

  -- { what is wrong, options, code, what the message says beyond it }
  local cases = {
    { 'the first key is a stranger', { cert = { rsa.cert, ec.cert }, key = { stranger.key, ec.key } }, MISMATCH,
      '(key 1 of 2)' },
    { 'the second key is a stranger', { cert = { rsa.cert, ec.cert }, key = { rsa.key, strangerEc.key } }, MISMATCH,
      '(key 2 of 2)' },
    { 'one key too many', { cert = { rsa.cert, ec.cert }, key = { rsa.key, ec.key, stranger.key } }, MISMATCH,
      '(key 3 of 3)' },
    { 'one key of a kind too many', { cert = { rsa.cert, ec.cert }, key = { rsa.key, ed.key, ec.key } }, KINDS,
      '(key 2 of 3)' },
    { 'a key is missing', { cert = { rsa.cert, ec.cert }, key = rsa.key }, MISMATCH,
      '(there is no key for certificate 2)' },
    { 'a key is given twice and another is missing', { cert = { rsa.cert, ec.cert }, key = { ec.key, ec.key } },
      MISMATCH, '(there is no key for certificate 1)' },
    { 'two certificates have the same kind of key', {
      cert = { rsa.cert, ec.cert, stranger.cert }, key = { rsa.key, ec.key, stranger.key } }, MISMATCH,
      '(certificate 1 and certificate 3 have different keys of the same kind)' },
    { 'two curves are of one kind, too', { cert = { ec.cert, strangerEc.cert }, key = { ec.key, strangerEc.key } },
      MISMATCH, '(certificate 1 and certificate 2 have different keys of the same kind)' },
    { 'a chain came as a list', { cert = { ec.cert, between.cert }, key = ec.key }, MISMATCH,
      '(certificate 1 and certificate 2 have different keys of the same kind)' },
    { 'a PKCS#12 file has the kind of key of a certificate', { cert = rsa.cert, key = rsa.key, pfx = stranger:pfx() },
      MISMATCH, '(certificate 1 and pfx 1 have different keys of the same kind)' },
    { 'a certificate cannot be read', { cert = { rsa.cert, 'garbage' }, key = rsa.key }, 'ERR_OSSL_PEM_NO_START_LINE',
      '(certificate 2 of 2)' },
    { 'a key cannot be read', { cert = { rsa.cert, ec.cert }, key = { rsa.key, 'garbage' } }, 'ERR_OSSL_UNSUPPORTED',
      '(key 2 of 2)' },
    { 'a key cannot be opened', { cert = { rsa.cert, ec.cert }, key = { rsa.key, ec:encryptedKey('x') } },
      'ERR_OSSL_BAD_DECRYPT', '(key 2 of 2) (the private key is encrypted and no passphrase was given)' },
    { 'a PKCS#12 file cannot be opened', { pfx = { rsa:pfx('a'), ec:pfx('b') }, passphrase = 'a' },
      'ERR_OSSL_PKCS12_MAC_VERIFY_FAILURE', '(pfx 2 of 2)' },
  }
  for _, case in ipairs(cases) do
    it('are refused when ' .. case[1], function()
      local err = refused(case[2])
      assert.equal(case[3], err.code)
      assert.truthy(err.message:find(case[4], 1, true), err.message)
    end)
  end

  it('say nothing beyond what OpenSSL says of a single one', function()
    local err = refused { cert = rsa.cert, key = stranger.key }
    assert.equal('error:05800074:x509 certificate routines::key values mismatch', err.message)
  end)
end)

describe('a certificate without its chain', function()
  local authorities = { between.cert, T.ca.cert }

  it('is completed from `ca`, up to the root', P.test({}, function(await)
    local identity = { key = deepRsa.key, cert = deepRsa.cert }
    assert.equal('deep rsa', chainOf(await, identity))
    assert.equal('deep rsa, Between, Spec authority', chainOf(await, T.merged(identity, { ca = authorities })))
    assert.equal('deep rsa, Between', chainOf(await, T.merged(identity, { ca = between.cert })))
    assert.equal('deep rsa', chainOf(await, T.merged(identity, { ca = T.ca.cert })))
  end))

  it('is completed for each of several', P.test({}, function(await)
    local options = { key = { deepRsa.key, deepEc.key }, cert = { deepRsa.cert, deepEc.cert }, ca = authorities }
    assert.equal('deep rsa, Between, Spec authority', chainOf(await, options, { '-sigalgs', 'RSA-PSS+SHA256' }))
    assert.equal('deep ec, Spec authority', chainOf(await, options, { '-sigalgs', 'ECDSA+SHA256' }))
  end))

  it('stays alone when it is its own issuer or nobody knows its issuer', P.test({}, function(await)
    local own = spec.selfSigned { names = { 'localhost' }, cn = 'own' }
    assert.equal('own', chainOf(await, { key = own.key, cert = own.cert, ca = own.cert }))
    assert.equal('deep rsa', chainOf(await, { key = deepRsa.key, cert = deepRsa.cert, ca = own.cert }))
  end))

  it('stays alone when an authority is below the security level', P.test({}, function(await)
    local weak = spec.ca { name = 'Weak', key = 'rsa', bits = 1024 }
    local identity = weak:issue { names = { 'localhost' }, cn = 'from the weak' }
    assert.equal('from the weak', chainOf(await, { key = identity.key, cert = identity.cert, ca = weak.cert }))
  end))

  it('leaves a chain that is there as it is', P.test({}, function(await)
    assert.equal('deep rsa, Between',
      chainOf(await, { key = deepRsa.key, cert = deepRsa.chain, ca = authorities }))
  end))
end)

describe('half an identity', function()
  it('may be a certificate or a key alone, for which the script has another plan', function()
    tls.createSecureContext { cert = rsa.cert }
    tls.createSecureContext { cert = { rsa.cert, ec.cert } }
    tls.createSecureContext { key = rsa.key }
    tls.createSecureContext { key = { rsa.key, ec.key } }
  end)

  it('serves nobody', P.test({}, function(await)
    assert.equal(40, W.served(await, { cert = rsa.cert }, {}).alert)
    assert.equal(40, W.served(await, { key = rsa.key }, {}).alert)
  end))
end)

describe('PEM', function()
  local function armour(pem, name)
    return (pem:gsub('(%-%-%-%-%-%u+ )CERTIFICATE', '%1' .. name))
  end

  local both = deepRsa.key .. deepRsa.chain
  local after = deepRsa.chain .. deepRsa.key
  local notes = 'subject=CN = deep rsa\nissuer=CN = Between\n'

  serverCases {
    { 'of a key and certificates in one file is read for both', { cert = both, key = both }, {},
      { peer = 'CN = deep rsa' } },
    { 'of certificates and a key in one file is read for both', { cert = after, key = after }, {},
      { peer = 'CN = deep rsa' } },
    { 'with notes around it is read', { cert = notes .. deepRsa.cert .. notes, key = notes .. deepRsa.key .. notes },
      {}, { peer = 'CN = deep rsa' } },
    { 'with other line ends is read', { cert = deepRsa.cert:gsub('\n', '\r\n'), key = deepRsa.key:gsub('\n', '\r\n') },
      {}, { peer = 'CN = deep rsa' } },
    { 'in the older armour is read', { cert = armour(ec.cert, 'X509 CERTIFICATE'), key = ec.key }, {},
      { peer = 'CN = ec' } },
    { 'of encrypted keys in PKCS#8 is read', { cert = ec.cert, key = ec:encryptedKey('secret'),
      passphrase = 'secret' }, {}, { peer = 'CN = ec' } },
    { "of encrypted keys in the algorithm's own form is read", { cert = rsa.cert,
      key = rsa:encryptedKey('secret', true), passphrase = 'secret' }, {}, { peer = 'CN = rsa' } },
  }

  it('has links in every armour', P.test({ deep = deepRsa }, function(await, files)
    local _, trusted = P.run(await, { 'openssl', 'x509', '-trustout', '-addtrust', 'serverAuth', '-in',
      files.deep_cert })
    assert.truthy(trusted:find('BEGIN TRUSTED CERTIFICATE', 1, true))
    local link = between.cert
    for _, cert in ipairs {
      trusted .. link,
      deepRsa.cert .. armour(link, 'X509 CERTIFICATE'),
      armour(deepRsa.cert, 'X509 CERTIFICATE') .. armour(link, 'TRUSTED CERTIFICATE'),
      trusted .. armour(link, 'TRUSTED CERTIFICATE'),
    } do
      assert.equal('deep rsa, Between', chainOf(await, { cert = cert, key = deepRsa.key }))
    end
  end))

  it('may have the parameters of a curve before the key', P.test({ ec = ec }, function(await, files)
    local _, key = P.run(await, { 'openssl', 'ec', '-in', files.ec_key })
    local _, params = P.run(await, { 'openssl', 'ecparam', '-name', 'prime256v1' })
    assert.truthy(key:find('BEGIN EC PRIVATE KEY', 1, true))
    assert.equal('CN = ec', W.served(await, { cert = ec.cert, key = params .. key }, {}).peer)
  end))
end)

describe('a PKCS#12 file', function()
  serverCases {
    { 'holds key, certificate and chain', { pfx = deepRsa:pfx('secret'), passphrase = 'secret' }, {},
      { peer = 'CN = deep rsa' } },
    { 'may be a table', { pfx = { buf = ec:pfx('secret'), passphrase = 'secret' } }, {}, { peer = 'CN = ec' } },
    { 'may be a list of one', { pfx = { ec:pfx() } }, {}, { peer = 'CN = ec' } },
    { 'may have no passphrase', { pfx = ec:pfx() }, {}, { peer = 'CN = ec' } },
    { 'may have an empty passphrase', { pfx = ec:pfx(''), passphrase = '' }, {}, { peer = 'CN = ec' } },
  }

  it('brings the chain', P.test({}, function(await)
    assert.equal('deep rsa, Between, ' .. 'Spec authority', chainOf(await, { pfx = deepRsa:pfx() }))
  end))

  it('brings trust for clients, and names whom it trusts', P.test({ ada = T.ca:issue { cn = 'ada',
    purpose = 'client' } }, function(await, files)
    local server, port = W.serve(await, { pfx = deepRsa:pfx(), ca = {}, requestCert = true })
    local _, stdout, stderr = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-cert',
      files.ada_cert, '-key', files.ada_key, '-tls1_2' }, { input = '' })
    assert.is_nil(stderr:match('alert'), stderr)
    local named = stdout:match('Acceptable client certificate CA names\n(.-)\nClient Certificate Types')
    assert.equal('CN = Between\nCN = Spec authority', named)
    P.close(await, server)
  end))

  local function exported(await, files, ...)
    local path = files.dir .. '/made.pfx'
    local status, _, stderr = P.run(await, { 'openssl', 'pkcs12', '-export', '-out', path, '-passout', 'pass:secret',
      ... })
    assert.equal(0, status, stderr)
    return require('fs').readFileSync(path)
  end

  it('without a key or without a certificate is refused, as in Node', P.test({ ec = ec }, function(await, files)
    local err = refused { pfx = exported(await, files, '-nokeys', '-in', files.ec_cert), passphrase = 'secret' }
    assert.equal('ERR_CRYPTO_OPERATION_FAILED', err.code)
    assert.equal('Unable to load private key from PFX data', err.message)
    err = refused { pfx = exported(await, files, '-nocerts', '-inkey', files.ec_key), passphrase = 'secret' }
    assert.equal('ERR_CRYPTO_OPERATION_FAILED', err.code)
    assert.equal('Unable to load certificate from PFX data', err.message)
  end))

  it('of the old ciphers is named as such, as in Node', P.test({ ec = ec }, function(await, files)
    local err = refused { passphrase = 'secret', pfx = exported(await, files, '-legacy', '-inkey', files.ec_key,
      '-in', files.ec_cert) }
    assert.equal('ERR_CRYPTO_UNSUPPORTED_OPERATION', err.code)
    assert.equal('Unsupported PKCS12 PFX data', err.message)
  end))

  it("made by the openssl program is read", P.test({ ec = ec }, function(await, files)
    local pfx = exported(await, files, '-inkey', files.ec_key, '-in', files.ec_cert, '-name', 'a friendly name')
    assert.equal('CN = ec', W.served(await, { pfx = pfx, passphrase = 'secret' }, {}).peer)
  end))
end)

describe('a client', function()
  local ada = T.ca:issue { cn = 'ada', purpose = 'client' }
  local adaRsa = T.ca:issue { cn = 'ada rsa', purpose = 'client', key = 'rsa' }

  local function offered(await, files, options, argv)
    return W.offered(await, files, T.merged({ rejectUnauthorized = false }, options), argv)
  end

  local function asks(...)
    local more = { ... }
    return function(files)
      return { '-Verify', '2', '-CAfile', files.ca, unpack(more) }
    end
  end

  W.eachCase(it, {
    { 'shows its certificate when it is asked', { cert = ada.cert, key = ada.key }, asks(), { peer = 'CN = ada' } },
    { 'shows the one of a PKCS#12 file', { pfx = ada:pfx('x'), passphrase = 'x' }, asks(), { peer = 'CN = ada' } },
    { 'shows the one that the server can check', { cert = { ada.cert, adaRsa.cert }, key = { ada.key, adaRsa.key } },
      asks('-client_sigalgs', 'RSA-PSS+SHA256'), { peer = 'CN = ada rsa' } },
    { 'shows the other one', { cert = { ada.cert, adaRsa.cert }, key = { ada.key, adaRsa.key } },
      asks('-client_sigalgs', 'ECDSA+SHA256'), { peer = 'CN = ada' } },
    { 'shows none when it is not asked', { cert = ada.cert, key = ada.key }, {}, { peer = false } },
    { 'offers the ciphers it was told', { ciphers = 'ECDHE-ECDSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256' }, {},
      { offered = 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:TLS_EMPTY_RENEGOTIATION_INFO_SCSV' } },
    { 'offers suites alone', { ciphers = 'TLS_CHACHA20_POLY1305_SHA256' }, {},
      { offered = 'TLS_CHACHA20_POLY1305_SHA256:TLS_EMPTY_RENEGOTIATION_INFO_SCSV', protocol = 'TLSv1.3' } },
    { 'offers the groups it was told', { ecdhCurve = 'P-384:X25519' }, {}, { groups = 'secp384r1:x25519' } },
    { 'offers no curves', { ecdhCurve = false }, {},
      { groups = 'ffdhe2048:ffdhe3072:ffdhe4096:ffdhe6144:ffdhe8192', protocol = 'TLSv1.3' } },
    { 'offers the signature algorithms it was told', { sigalgs = 'ECDSA+SHA384:ECDSA+SHA256' }, {},
      { sigalgs = 'ECDSA+SHA384:ECDSA+SHA256', signature = false } },
    { 'offers the versions it was told', { maxVersion = 'TLSv1.2' }, {}, { protocol = 'TLSv1.2' } },
    { 'offers the versions of its method', { secureProtocol = 'TLSv1_2_client_method' }, {}, { protocol = 'TLSv1.2' } },
    { 'obeys secureOptions', { secureOptions = require('constants').SSL_OP_NO_TLSv1_3 }, {}, { protocol = 'TLSv1.2' } },
  }, { server = ec }, offered)

  it('is told when the server has none of its versions', P.test({ server = ec }, function(await, files)
    local seen = W.offered(await, files, { minVersion = 'TLSv1.3' }, { '-tls1_2' })
    assert.equal('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', seen.mine.error.code)
    seen = W.offered(await, files, { ciphers = 'ECDHE-RSA-AES128-GCM-SHA256', maxVersion = 'TLSv1.2' }, {})
    assert.matches('ALERT_HANDSHAKE_FAILURE$', seen.mine.error.code)
  end))
end)

describe('a context', function()
  it('without any option serves nobody and leaks nothing', function()
    local open = spec.handles.count()
    for _ = 1, 10 do
      refused { cert = { rsa.cert, 'garbage' }, key = { rsa.key, ec.key } }
      refused { cert = { rsa.cert, ec.cert }, key = rsa.key }
      refused { pfx = { rsa:pfx('a'), 'garbage' }, passphrase = 'a' }
    end
    assert.equal(open, (spec.handles.count()))
  end)
end)

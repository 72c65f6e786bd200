-- What each option of a context that chooses protocols and algorithms does on the wire: a Lua server seen by
-- `openssl s_client`.
local bit = require 'bit'
local constants = require 'constants'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local W = require 'spec.support.wire'

local ec = T.ca:issue { names = { 'localhost' }, cn = 'ec' }
local rsa = T.ca:issue { names = { 'localhost' }, cn = 'rsa', key = 'rsa' }
local weak = T.ca:issue { names = { 'localhost' }, cn = 'weak', key = 'rsa:1024' }

local function with(identity)
  return function(options)
    return T.merged({ key = identity.key, cert = identity.cert }, options)
  end
end
local withEc, withRsa, withWeak = with(ec), with(rsa), with(weak)

local function served(await, _, options, argv)
  return W.served(await, options, argv)
end

local function serverCases(cases)
  W.eachCase(it, cases, {}, served)
end

local HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70
local OLD = 'DEFAULT@SECLEVEL=0' -- what TLS 1.0 and 1.1 take today

describe('ciphers', function()
  serverCases {
    { 'chooses among the older ones', withEc { ciphers = 'ECDHE-ECDSA-AES128-GCM-SHA256' }, { '-tls1_2' },
      { cipher = 'ECDHE-ECDSA-AES128-GCM-SHA256' } },
    { 'leaves TLS 1.3 as it is when only older ones are named', withEc { ciphers = 'ECDHE-ECDSA-AES128-GCM-SHA256' },
      {}, { protocol = 'TLSv1.3', cipher = 'TLS_AES_256_GCM_SHA384' } },
    { 'turns away whoever has none of them', withEc { ciphers = 'ECDHE-ECDSA-AES128-GCM-SHA256' },
      { '-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384' }, { alert = HANDSHAKE_FAILURE } },
    { 'chooses among the suites of TLS 1.3', withEc { ciphers = 'TLS_CHACHA20_POLY1305_SHA256' }, {},
      { protocol = 'TLSv1.3', cipher = 'TLS_CHACHA20_POLY1305_SHA256' } },
    { 'makes TLS 1.3 the minimum when only suites are named', withEc { ciphers = 'TLS_CHACHA20_POLY1305_SHA256' },
      { '-tls1_2' }, { alert = PROTOCOL_VERSION } },
    { 'takes both in one list: TLS 1.3', withEc {
      ciphers = 'ECDHE-ECDSA-AES256-GCM-SHA384:TLS_AES_128_GCM_SHA256' }, {}, { cipher = 'TLS_AES_128_GCM_SHA256' } },
    { 'takes both in one list: TLS 1.2', withEc {
      ciphers = 'ECDHE-ECDSA-AES256-GCM-SHA384:TLS_AES_128_GCM_SHA256' }, { '-tls1_2' },
      { cipher = 'ECDHE-ECDSA-AES256-GCM-SHA384' } },
    { "takes OpenSSL's other separators", withEc {
      ciphers = 'TLS_AES_128_GCM_SHA256,ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-ECDSA-AES128-GCM-SHA256' },
      { '-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256' }, { cipher = 'ECDHE-ECDSA-AES128-GCM-SHA256' } },
    { 'rules a suite out', withEc { ciphers = 'HIGH:!TLS_AES_256_GCM_SHA384' }, {},
      { cipher = 'TLS_CHACHA20_POLY1305_SHA256' } },
    { 'rules out a suite that nobody else asks for', withEc { ciphers = 'HIGH:!TLS_AES_256_GCM_SHA384' },
      { '-tls1_3', '-ciphersuites', 'TLS_AES_256_GCM_SHA384' }, { alert = HANDSHAKE_FAILURE } },
    { 'rules out a suite that is named', withEc {
      ciphers = 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:!TLS_AES_256_GCM_SHA384' }, {},
      { cipher = 'TLS_AES_128_GCM_SHA256' } },
    { 'is the default when it is empty', withEc { ciphers = '' }, { '-tls1_2' },
      { cipher = 'ECDHE-ECDSA-AES128-GCM-SHA256' } },
    { 'lowers the security level', withWeak { ciphers = 'DEFAULT@SECLEVEL=0' }, { '-cipher', OLD },
      { peer = 'CN = weak' } },
    { 'lowers the security level beside suites alone', withWeak { ciphers = '@SECLEVEL=0:TLS_AES_128_GCM_SHA256' },
      { '-cipher', OLD }, { peer = 'CN = weak', cipher = 'TLS_AES_128_GCM_SHA256' } },
    { 'raises the security level', withRsa { ciphers = 'DEFAULT@SECLEVEL=2' }, { '-tls1_2', '-cipher', 'AES128-SHA' },
      { cipher = 'AES128-SHA' } },
  }

  it('raises the security level above what a key has', function()
    for _, case in ipairs { { weak, 2 }, { rsa, 3 } } do
      local ok, err = pcall(tls.createSecureContext,
        with(case[1]) { ciphers = 'DEFAULT@SECLEVEL=' .. case[2] })
      assert.is_false(ok)
      assert.equal('ERR_SSL_EE_KEY_TOO_SMALL', err.code)
    end
  end)
end)

describe('honorCipherOrder', function()
  local A, B = 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-GCM-SHA256'
  local SA, SB = 'TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256'
  local server = ('%s:%s:%s:%s'):format(SA, SB, A, B)
  local client = { '-cipher', B .. ':' .. A, '-ciphersuites', SB .. ':' .. SA }
  local older = { '-tls1_2', unpack(client) }
  local inContext = tls.createSecureContext(withEc { ciphers = server })
  local inOrder = tls.createSecureContext(withEc { ciphers = server, honorCipherOrder = true })
  serverCases {
    { "lets the server's order decide", withEc { ciphers = server, honorCipherOrder = true }, older, { cipher = A } },
    { "lets the server's order decide (TLS 1.3)", withEc { ciphers = server, honorCipherOrder = true }, client,
      { cipher = SA } },
    { "lets the client's order decide", withEc { ciphers = server, honorCipherOrder = false }, older, { cipher = B } },
    { "lets the client's order decide (TLS 1.3)", withEc { ciphers = server, honorCipherOrder = false }, client,
      { cipher = SB } },
    { 'is on for createServer', withEc { ciphers = server }, older, { cipher = A } },
    { 'is off for createSecureContext', { secureContext = inContext }, older, { cipher = B } },
    { 'can be on for createSecureContext', { secureContext = inOrder }, older, { cipher = A } },
    { 'is the same as its bit of secureOptions', withEc {
      ciphers = server, honorCipherOrder = false, secureOptions = constants.SSL_OP_CIPHER_SERVER_PREFERENCE }, older,
      { cipher = A } },
  }
end)

describe('ecdhCurve', function()
  serverCases {
    { 'names the group', withEc { ecdhCurve = 'P-384' }, {}, { tempKey = 'ECDH, secp384r1, 384 bits' } },
    { 'names the group (TLS 1.2)', withEc { ecdhCurve = 'P-256' }, { '-tls1_2' },
      { tempKey = 'ECDH, prime256v1, 256 bits' } },
    { "takes OpenSSL's names", withEc { ecdhCurve = 'secp521r1' }, {}, { tempKey = 'ECDH, secp521r1, 521 bits' } },
    { "is a list, and the server's order decides", withEc { ecdhCurve = 'P-521:P-384' }, {},
      { tempKey = 'ECDH, secp521r1, 521 bits' } },
    { 'is a list, of which the client has one', withEc { ecdhCurve = 'P-521:P-384' }, { '-groups', 'P-384' },
      { tempKey = 'ECDH, secp384r1, 384 bits' } },
    { 'turns away whoever has none of them', withEc { ecdhCurve = 'P-521:P-384' }, { '-groups', 'X25519' },
      { alert = HANDSHAKE_FAILURE } },
    { 'turns away whoever has none of them (TLS 1.2)', withEc { ecdhCurve = 'P-521:P-256' },
      { '-groups', 'X25519', '-tls1_2' }, { alert = HANDSHAKE_FAILURE } },
    { 'is left to OpenSSL by auto', withEc { ecdhCurve = 'auto' }, {}, { tempKey = 'X25519, 253 bits' } },
    { 'does without curves when it is false', withRsa { ecdhCurve = false }, {}, { tempKey = 'DH, 2048 bits' } },
    { 'does without curves when it is false (TLS 1.2)', withRsa { ecdhCurve = false, dhparam = 'auto' },
      { '-tls1_2' }, { cipher = 'DHE-RSA-AES128-GCM-SHA256', tempKey = 'DH, 2048 bits' } },
    { 'turns away whoever wants curves when it is false', withRsa { ecdhCurve = false, dhparam = 'auto' },
      { '-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256' }, { alert = HANDSHAKE_FAILURE } },
  }

  it('is tls.DEFAULT_ECDH_CURVE at the time when it is left out', P.test({}, function(await)
    local before = tls.DEFAULT_ECDH_CURVE
    tls.DEFAULT_ECDH_CURVE = 'P-384'
    local server, port = W.serve(await, withEc {})
    tls.DEFAULT_ECDH_CURVE = before
    assert.equal('ECDH, secp384r1, 384 bits', W.visit(await, port, {}).tempKey)
    P.close(await, server)
  end))
end)

describe('dhparam', function()
  local DHE = { '-tls1_2', '-cipher', 'DHE-RSA-AES128-GCM-SHA256' }

  local function params(await, ...)
    local status, stdout, stderr = P.run(await, { 'openssl', ... })
    assert.equal(0, status, stderr)
    return stdout
  end

  local function group(await, name)
    return params(await, 'genpkey', '-genparam', '-algorithm', 'DH', '-pkeyopt', 'group:' .. name)
  end

  -- Parameters of DSA's kind are quickly made, of whatever size.
  local function ofSize(await, bits)
    return params(await, 'dhparam', '-dsaparam', tostring(bits))
  end

  local function warningsOf(await, fn)
    local process, seen = require 'process', {}
    local function note(warning)
      seen[#seen + 1] = ('%s: %s'):format(warning.name, warning.message)
    end
    process:on('warning', note)
    fn()
    await(function(passed)
      setImmediate(passed)
    end)
    process:removeListener('warning', note)
    return seen
  end

  serverCases {
    { 'is not there unless it is given', withRsa {}, DHE, { alert = HANDSHAKE_FAILURE } },
    { "fits the key's strength by auto", withRsa { dhparam = 'auto' }, DHE, { tempKey = 'DH, 2048 bits' } },
  }

  it('is what the client sees', P.test({}, function(await)
    for _, case in ipairs { { 'ffdhe2048', 2048 }, { 'ffdhe3072', 3072 } } do
      local seen = W.served(await, withRsa { dhparam = group(await, case[1]) }, DHE)
      assert.equal(('DH, %d bits'):format(case[2]), seen.tempKey, seen.output)
    end
  end))

  it('is refused below 1024 bits', P.test({}, function(await)
    local ok, err = pcall(tls.createSecureContext, { dhparam = ofSize(await, 512), ciphers = OLD })
    assert.is_false(ok)
    assert.equal('ERR_INVALID_ARG_VALUE', err.code)
    assert.equal('DH parameter is less than 1024 bits', err.message)
  end))

  it('is warned about below 2048 bits', P.test({}, function(await)
    for _, bits in ipairs { 1024, 1536 } do
      local dhparam = ofSize(await, bits)
      local context
      local warnings = warningsOf(await, function()
        context = tls.createSecureContext(withRsa { dhparam = dhparam, ciphers = OLD })
      end)
      assert.same({ 'SecurityWarning: DH parameter is less than 2048 bits' }, warnings)
      assert.equal(('DH, %d bits'):format(bits), W.served(await, { secureContext = context },
        { '-tls1_2', '-cipher', 'DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0' }).tempKey)
    end
    local good = group(await, 'ffdhe2048')
    assert.same({}, warningsOf(await, function()
      tls.createSecureContext { dhparam = good }
      tls.createSecureContext { dhparam = 'auto' }
    end))
  end))

  it('is refused below the security level', P.test({}, function(await)
    local ok, err = pcall(tls.createSecureContext, { dhparam = ofSize(await, 1024) })
    assert.is_false(ok)
    assert.equal('ERR_SSL_DH_KEY_TOO_SMALL', err.code)
  end))

  it('is as good as none when it cannot be loaded, or is for something else', P.test({}, function(await)
    local others = { 'not a PEM', params(await, 'ecparam', '-name', 'prime256v1'), params(await, 'dsaparam', '2048') }
    for _, dhparam in ipairs(others) do
      assert.equal(HANDSHAKE_FAILURE, W.served(await, withRsa { dhparam = dhparam }, DHE).alert)
      local ecdhe = W.served(await, withRsa { dhparam = dhparam }, { '-tls1_2' })
      assert.truthy(ecdhe.tempKey:find('X25519', 1, true), ecdhe.output)
    end
  end))
end)

describe('sigalgs', function()
  serverCases {
    { 'is what the server signs with', withEc { sigalgs = 'ECDSA+SHA384' }, { '-tls1_2' },
      { signature = 'ECDSA', hash = 'SHA384' } },
    { 'is what the server signs with (TLS 1.3)', withRsa { sigalgs = 'rsa_pss_rsae_sha512' }, {},
      { signature = 'RSA-PSS', hash = 'SHA512' } },
    { 'is in order of preference', withRsa { sigalgs = 'RSA-PSS+SHA512:RSA-PSS+SHA256' }, { '-tls1_2' },
      { signature = 'RSA-PSS', hash = 'SHA512' } },
    { 'turns away whoever has none of them', withRsa { sigalgs = 'RSA-PSS+SHA512' },
      { '-tls1_3', '-sigalgs', 'RSA-PSS+SHA256' }, { alert = HANDSHAKE_FAILURE } },
  }
end)

local VERSIONS = { { '-tls1', 'TLSv1' }, { '-tls1_1', 'TLSv1.1' }, { '-tls1_2', 'TLSv1.2' }, { '-tls1_3', 'TLSv1.3' } }

-- The versions that a server with `options` takes, when its client offers one at a time.
local function versionsOf(await, options)
  local taken = {}
  local server, port = W.serve(await, withRsa(T.merged({ ciphers = tls.DEFAULT_CIPHERS .. ':@SECLEVEL=0' }, options)))
  for _, version in ipairs(VERSIONS) do
    local seen = W.visit(await, port, { version[1], '-cipher', OLD })
    if seen.protocol then
      assert.equal(version[2], seen.protocol)
      taken[#taken + 1] = seen.protocol
    else
      -- Whoever of the two sees it first says so.
      assert.is_true(seen.alert == PROTOCOL_VERSION or seen.output:find('unsupported protocol', 1, true) ~= nil,
        seen.output)
    end
  end
  P.close(await, server)
  return table.concat(taken, ' ')
end

describe('minVersion and maxVersion', function()
  local cases = {
    { {}, 'TLSv1.2 TLSv1.3' },
    { { minVersion = 'TLSv1' }, 'TLSv1 TLSv1.1 TLSv1.2 TLSv1.3' },
    { { minVersion = 'TLSv1.1', maxVersion = 'TLSv1.2' }, 'TLSv1.1 TLSv1.2' },
    { { minVersion = 'TLSv1.3' }, 'TLSv1.3' },
    { { maxVersion = 'TLSv1.2' }, 'TLSv1.2' },
    { { minVersion = 'TLSv1', maxVersion = 'TLSv1' }, 'TLSv1' },
    { { minVersion = 'TLSv1', secureOptions = constants.SSL_OP_NO_TLSv1_1 }, 'TLSv1 TLSv1.2 TLSv1.3' },
  }
  for _, case in ipairs(cases) do
    local options = case[1]
    it(('of %s and %s let %s in%s'):format(options.minVersion or 'none', options.maxVersion or 'none', case[2],
      options.secureOptions and ' without what secureOptions rules out' or ''), P.test({}, function(await)
      assert.equal(case[2], versionsOf(await, options))
    end))
  end

  it('are tls.DEFAULT_MIN_VERSION and tls.DEFAULT_MAX_VERSION at the time', P.test({}, function(await)
    local min, max = tls.DEFAULT_MIN_VERSION, tls.DEFAULT_MAX_VERSION
    tls.DEFAULT_MIN_VERSION, tls.DEFAULT_MAX_VERSION = 'TLSv1.1', 'TLSv1.2'
    local taken = versionsOf(await, {})
    tls.DEFAULT_MIN_VERSION, tls.DEFAULT_MAX_VERSION = min, max
    assert.equal('TLSv1.1 TLSv1.2', taken)
  end))
end)

describe('secureProtocol', function()
  local METHODS = {
    SSLv23 = 'TLSv1.2', -- the lowest is tls.DEFAULT_MIN_VERSION
    TLS = 'TLSv1 TLSv1.1 TLSv1.2 TLSv1.3',
    TLSv1 = 'TLSv1',
    TLSv1_1 = 'TLSv1.1',
    TLSv1_2 = 'TLSv1.2',
  }
  for family, versions in pairs(METHODS) do
    for _, role in ipairs { '', '_server', '_client' } do
      local name = family .. role .. '_method'
      it(('%s lets %s in'):format(name, versions), P.test({}, function(await)
        assert.equal(versions, versionsOf(await, { secureProtocol = name }))
      end))
    end
  end

  it('names what has been taken out of OpenSSL', function()
    for _, family in ipairs { 'SSLv2', 'SSLv3' } do
      for _, role in ipairs { '', '_server', '_client' } do
        local ok, err = pcall(tls.createSecureContext, { secureProtocol = family .. role .. '_method' })
        assert.is_false(ok)
        assert.equal('ERR_TLS_INVALID_PROTOCOL_METHOD', err.code)
        assert.equal(family .. ' methods disabled', err.message)
        assert.equal('TypeError', err.name)
      end
    end
  end)

  it('names what never was in OpenSSL', function()
    for _, name in ipairs { 'TLSv1_3_method', 'TLS_methods', '_method', 'TLS', 'tls_method', 'TLSv1_2_peer_method' } do
      local ok, err = pcall(tls.createSecureContext, { secureProtocol = name })
      assert.is_false(ok)
      assert.equal('ERR_TLS_INVALID_PROTOCOL_METHOD', err.code)
      assert.equal('Unknown method: ' .. name, err.message)
    end
  end)
end)

describe('secureOptions', function()
  serverCases {
    { 'rules a version out', withEc { secureOptions = constants.SSL_OP_NO_TLSv1_3 }, {}, { protocol = 'TLSv1.2' } },
    { 'is a mask', withEc { secureOptions = constants.SSL_OP_NO_TLSv1_3 + constants.SSL_OP_NO_TLSv1_2 }, {},
      { alert = PROTOCOL_VERSION } },
    { 'may be negative, as bit operations make it', withEc {
      secureOptions = bit.bor(constants.SSL_OP_NO_TLSv1_3, constants.SSL_OP_CRYPTOPRO_TLSEXT_BUG) }, {},
      { protocol = 'TLSv1.2' } },
  }

  it('keeps tickets away', P.test({}, function(await)
    for _, case in ipairs { { nil, true }, { constants.SSL_OP_NO_TICKET, false } } do
      local server, port = W.serve(await, withEc { secureOptions = case[1] })
      local _, stdout = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-tls1_2' },
        { input = '' })
      assert.equal(case[2], stdout:find('TLS session ticket:', 1, true) ~= nil)
      P.close(await, server)
    end
  end))
end)

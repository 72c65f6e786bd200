-- When two ends cannot agree, each says what it can of both: what was offered and what was configured.
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local rsa = T.ca:issue { key = 'rsa' }
local ed = T.ca:issue { key = 'ed25519' }

local function pair(identity)
  return { key = identity.key, cert = identity.cert }
end

-- Both errors of a connection that has to fail.
local function disagree(await, serverOptions, clientOptions)
  local guarded = H.guard(await, serverOptions)
  local failure = H.clientFailure(await, guarded.port, clientOptions)
  if #guarded.errors == 0 then
    await(guarded.server, 'tlsClientError')
  end
  P.close(await, guarded.server)
  return guarded.errors[1], failure.error
end

-- Error as a table of what this is about.
local function essence(err)
  return { code = err.code, offered = err.offered, configured = err.configured, alertFrom = err.alertFrom,
    alert = err.alert }
end

local HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70

describe('"no shared cipher"', function()
  it('names the ciphers of both ends and the certificates there are', P.test({}, function(await)
    local err, theirs = disagree(await,
      T.merged(pair(rsa), { maxVersion = 'TLSv1.2', ciphers = 'ECDHE-RSA-AES256-GCM-SHA384:AES256-SHA256',
        ecdhCurve = 'X25519:P-384' }),
      { maxVersion = 'TLSv1.2', ciphers = 'ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA256', ecdhCurve = 'P-256:X25519' })
    assert.same({ code = 'ERR_SSL_NO_SHARED_CIPHER', alertFrom = 'local', alert = HANDSHAKE_FAILURE,
      offered = 'ciphers ECDHE-RSA-AES128-GCM-SHA256, AES128-SHA256; groups secp256r1, x25519',
      configured = 'ciphers ECDHE-RSA-AES256-GCM-SHA384, AES256-SHA256; groups X25519:P-384; '
        .. 'certificates RSA 2048' }, essence(err))
    assert.equal('no shared cipher', err.reason)
    assert.equal(('error:0A0000C1:SSL routines::no shared cipher (the client offered %s; this server has %s)')
      :format(err.offered, err.configured), err.message)
    assert.equal('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', theirs.code)
    assert.equal('peer', theirs.alertFrom)
    assert.is_nil(theirs.offered)
    assert.equal('versions TLSv1.2; ciphers ECDHE-RSA-AES128-GCM-SHA256, AES128-SHA256; groups P-256:X25519',
      theirs.configured)
    assert.matches('sslv3 alert handshake failure %(this client has versions TLSv1%.2; ', theirs.message)
  end))

  it('shows a certificate of the wrong kind', P.test({}, function(await)
    local err = disagree(await, { maxVersion = 'TLSv1.2', ciphers = 'ECDHE-RSA-AES128-GCM-SHA256' }, {})
    assert.equal('ERR_SSL_NO_SHARED_CIPHER', err.code)
    assert.matches('certificates ECDSA prime256v1$', err.configured)
  end))

  it('shows that there is no certificate', P.test({}, function(await)
    local err = disagree(await, { key = false, cert = false }, { maxVersion = 'TLSv1.2' })
    assert.equal('ERR_SSL_NO_SHARED_CIPHER', err.code)
    assert.matches('; certificates none$', err.configured)
  end))

  it('counts what there is no room for', P.test({}, function(await)
    local err = disagree(await, { maxVersion = 'TLSv1.2', ciphers = 'AES128-SHA' },
      { maxVersion = 'TLSv1.2', ciphers = 'ALL:!AES128:@SECLEVEL=0' })
    assert.matches('^ciphers .+, [%w-]+ and %d+ more; groups ', err.offered)
    assert.is_true(#err.offered < 448)
    assert.is_true(#err.message < 1024)
    assert.equal(')', err.message:sub(-1))
  end))
end)

describe('"unsupported protocol"', function()
  it('names the versions of both ends', P.test({}, function(await)
    local err, theirs = disagree(await, { minVersion = 'TLSv1.3' }, { maxVersion = 'TLSv1.2' })
    assert.same({ code = 'ERR_SSL_UNSUPPORTED_PROTOCOL', alertFrom = 'local', alert = PROTOCOL_VERSION,
      offered = 'versions up to TLSv1.2', configured = 'versions TLSv1.3' }, essence(err))
    assert.equal('error:0A000102:SSL routines::unsupported protocol (the client offered versions up to TLSv1.2; '
      .. 'this server has versions TLSv1.3)', err.message)
    assert.same({ code = 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', alertFrom = 'peer', alert = PROTOCOL_VERSION,
      configured = 'versions TLSv1.2' }, essence(theirs))
  end))

  it('names the versions a client lists', P.test({}, function(await)
    local err = disagree(await, { maxVersion = 'TLSv1.2' }, { minVersion = 'TLSv1.3' })
    assert.equal('versions TLSv1.3', err.offered)
    assert.equal('versions TLSv1.2', err.configured)
  end))

  it('counts options that rule out versions', P.test({}, function(await)
    local constants = require 'constants'
    local err = disagree(await, { secureOptions = constants.SSL_OP_NO_TLSv1_3 }, { minVersion = 'TLSv1.3' })
    assert.equal('versions TLSv1.2', err.configured)
  end))
end)

describe('"no suitable signature algorithm"', function()
  it('names the algorithms of both ends', P.test({}, function(await)
    local err, theirs = disagree(await, pair(ed), { sigalgs = 'RSA-PSS+SHA256:ECDSA+SHA384', minVersion = 'TLSv1.3' })
    assert.same({ code = 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', alertFrom = 'local', alert = HANDSHAKE_FAILURE,
      offered = 'signature algorithms RSA-PSS+SHA256, ECDSA+SHA384',
      configured = "signature algorithms OpenSSL's default; certificates Ed25519 256" }, essence(err))
    assert.equal('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', theirs.code)
  end))

  it('names the algorithms that were configured', P.test({}, function(await)
    local err = disagree(await, T.merged(pair(rsa), { sigalgs = 'RSA-PSS+SHA512' }),
      { sigalgs = 'ECDSA+SHA384', minVersion = 'TLSv1.3' })
    assert.matches('^ERR_SSL_NO_S%u+_SIGNATURE_ALGORITHMS?$', err.code)
    assert.equal('signature algorithms ECDSA+SHA384', err.offered)
    assert.equal('signature algorithms RSA-PSS+SHA512; certificates RSA 2048', err.configured)
  end))

  it('names them too where the certificate fits none of them', P.test({}, function(await)
    local err = disagree(await, { sigalgs = 'RSA-PSS+SHA512' }, { minVersion = 'TLSv1.3' })
    assert.equal('ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', err.code)
    assert.matches('^signature algorithms ', err.offered)
    assert.equal('signature algorithms RSA-PSS+SHA512; certificates ECDSA prime256v1', err.configured)
  end))
end)

describe('no group in common', function()
  it('names the groups of both ends', P.test({}, function(await)
    local err = disagree(await, { ecdhCurve = 'P-384', minVersion = 'TLSv1.3' }, { ecdhCurve = 'X25519:P-256' })
    assert.equal('ERR_SSL_NO_SUITABLE_KEY_SHARE', err.code)
    assert.equal('groups x25519, secp256r1', err.offered)
    assert.equal('groups P-384', err.configured)
  end))
end)

describe('a client with nothing to offer', function()
  it('says what it was configured with', P.test({}, function(await)
    local guarded = H.guard(await, {})
    local constants = require 'constants'
    local failure = H.clientFailure(await, guarded.port, { minVersion = 'TLSv1.2', maxVersion = 'TLSv1.2',
      secureOptions = constants.SSL_OP_NO_TLSv1_2 })
    assert.equal('ERR_SSL_NO_PROTOCOLS_AVAILABLE', failure.error.code)
    assert.equal('versions none', failure.error.configured)
    P.close(await, guarded.server)
  end))
end)

describe('any other failure', function()
  it('is left as OpenSSL tells it', P.test({}, function(await)
    local guarded = H.guard(await, {})
    H.raw(await, guarded.port, function(socket)
      socket:write('GET / HTTP/1.0\r\n\r\n')
    end)
    local err = guarded.errors[1]
    assert.equal('error:0A00009C:SSL routines::http request', err.message)
    assert.is_nil(err.offered)
    assert.is_nil(err.configured)
    P.close(await, guarded.server)
  end))
end)

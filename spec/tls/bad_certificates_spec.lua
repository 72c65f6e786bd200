-- Certificates that do not hold: one Error on either end, and the server goes on serving.
local spec = require 'moonlatch.spec'
local util = require 'util'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local VERSIONS = { 'TLSv1.2', 'TLSv1.3' }

local elsewhere = spec.ca { name = 'Another authority' }
local lapsed = spec.ca { name = 'Lapsed authority', validFrom = -7200, validTo = -3600 }
local intermediate = T.ca:intermediate { name = 'Between' }

-- { what it is, the identity, code, reason, alert that the other end sees }
local function bad(purpose)
  local function issue(ca, options)
    return ca:issue(T.merged({ names = { 'localhost' }, purpose = purpose }, options))
  end
  return {
    { 'self-signed', spec.selfSigned { names = { 'localhost' }, purpose = purpose },
      'DEPTH_ZERO_SELF_SIGNED_CERT', 'self%-signed certificate', 'UNKNOWN_CA' },
    { 'from an unknown authority', issue(elsewhere), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'unable to verify the first certificate', 'UNKNOWN_CA' },
    { 'sent with its unknown authority', issue(elsewhere), 'SELF_SIGNED_CERT_IN_CHAIN',
      'self%-signed certificate in certificate chain', 'UNKNOWN_CA', withRoot = true },
    { 'sent without its intermediate authority', issue(intermediate), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'unable to verify the first certificate', 'UNKNOWN_CA' },
    { 'expired', issue(T.ca, { validFrom = -7200, validTo = -3600 }), 'CERT_HAS_EXPIRED',
      'certificate has expired', 'CERTIFICATE_EXPIRED' },
    { 'expired and from an unknown authority', issue(elsewhere, { validFrom = -7200, validTo = -3600 }),
      'CERT_HAS_EXPIRED', 'certificate has expired', 'CERTIFICATE_EXPIRED' },
    { 'not valid yet', issue(T.ca, { validFrom = 3600, validTo = 7200 }), 'CERT_NOT_YET_VALID',
      'certificate is not yet valid', 'BAD_CERTIFICATE' },
    { 'for another purpose', issue(T.ca, { purpose = purpose == 'server' and 'client' or 'server' }),
      'INVALID_PURPOSE', 'unsuitable certificate purpose', 'UNSUPPORTED_CERTIFICATE' },
    { 'spoilt', issue(T.ca, { spoilSignature = true }), 'CERT_SIGNATURE_FAILURE',
      'certificate signature failure', 'DECRYPT_ERROR' },
    { 'critical in a way nobody knows', issue(T.ca, { unknownCritical = true }),
      'UNHANDLED_CRITICAL_EXTENSION', 'unhandled critical extension', 'CERTIFICATE_UNKNOWN' },
  }
end

local function identityOptions(case)
  local identity = case[2]
  return { key = identity.key, cert = identity.cert .. (case.withRoot and identity.ca or '') }
end

-- ERR_SSL_… of an alert, which OpenSSL names after the protocol that brought it in.
local function isAlert(alert, err)
  assert.matches('^ERR_SSL_%w+_ALERT_' .. alert .. '$', err.code)
  assert.equal('SSL routines', err.library)
  assert.equal('peer', err.alertFrom)
end

for _, version in ipairs(VERSIONS) do
  describe("a server's certificate under " .. version, function()
    for _, case in ipairs(bad 'server') do
      it(('that is %s is refused by the client'):format(case[1]), P.test({}, function(await)
        local guarded = H.guard(await, T.merged(identityOptions(case), { maxVersion = version }))
        guarded.server:addContext('good.example', { key = T.localhost.key, cert = T.localhost.cert,
          maxVersion = version })
        local failure = H.clientFailure(await, guarded.port)
        assert.equal(case[3], failure.error.code)
        assert.matches('^' .. case[4], failure.error.reason)
        assert.matches(case[4], failure.error.message)
        assert.is_false(failure.connected)
        assert.is_true(failure.hadError)
        local err = H.onlyError(await, guarded, { servername = 'good.example', checkServerIdentity = function() end })
        isAlert(case[5], err)
      end))

      it(('that is %s is only reported when the client does not insist'):format(case[1]), P.test({}, function(await)
        local guarded = H.guard(await, T.merged(identityOptions(case), { maxVersion = version }))
        local socket = P.ownClientEcho(await, guarded.port, { rejectUnauthorized = false }, 'hello')
        assert.is_false(socket.seen.authorized)
        assert.equal(case[3], socket.seen.authorizationError)
        assert.equal(0, #guarded.errors)
        P.close(await, guarded.server)
      end))
    end

    it('that is spoilt is only reported when it comes before the rest, too', P.test({}, function(await)
      local identity = T.ca:issue { names = { 'localhost' }, spoilSignature = true }
      local guarded = H.guard(await, { key = identity.key, cert = identity.cert, maxVersion = version })
      local proxy, port = H.slicer(await, guarded.port)
      local socket = P.ownClientEcho(await, port, { rejectUnauthorized = false }, 'hello')
      assert.equal('CERT_SIGNATURE_FAILURE', socket.seen.authorizationError)
      P.close(await, proxy)
      P.close(await, guarded.server)
      assert.equal(0, #guarded.errors)
    end))

    it('that is for another name is refused by the client, which says why', P.test({}, function(await)
      local identity = T.ca:issue { names = { 'other.example', '192.0.2.7' } }
      local guarded = H.guard(await, { key = identity.key, cert = identity.cert, maxVersion = version })
      guarded.server:addContext('good.example', { key = T.localhost.key, cert = T.localhost.cert,
        maxVersion = version })
      local failure = H.clientFailure(await, guarded.port)
      local err = failure.error
      assert.equal('ERR_TLS_CERT_ALTNAME_INVALID', err.code)
      assert.equal("Host: localhost. is not in the cert's altnames: DNS:other.example, IP Address:192.0.2.7",
        err.reason)
      assert.equal("Hostname/IP does not match certificate's altnames: " .. err.reason, err.message)
      assert.equal('localhost', err.host)
      assert.equal('other.example', err.cert.subject.CN)
      assert.is_false(failure.connected)
      isAlert('BAD_CERTIFICATE', H.onlyError(await, guarded,
        { servername = 'good.example', checkServerIdentity = function() end }))
    end))
  end)

  describe("a client's certificate under " .. version, function()
    local good = T.ca:issue { cn = 'ada', purpose = 'client' }
    local goodOptions = { key = good.key, cert = good.cert }
    local serverOptions = { requestCert = true, ca = { T.ca.cert, lapsed.cert }, maxVersion = version }

    -- Under TLS 1.3 a client is done before the server has judged it.
    local function connectedAlready(failure)
      assert.equal(version == 'TLSv1.3', failure.connected)
    end

    for _, case in ipairs(bad 'client') do
      it(('that is %s is refused by the server'):format(case[1]), P.test({}, function(await)
        local guarded = H.guard(await, serverOptions)
        local failure = H.clientFailure(await, guarded.port, identityOptions(case))
        isAlert(case[5], failure.error)
        connectedAlready(failure)
        local err = H.onlyError(await, guarded, goodOptions)
        assert.equal(case[3], err.code)
        assert.matches('^' .. case[4], err.reason)
        assert.equal('local', err.alertFrom)
      end))

      it(('that is %s is only reported when the server does not insist'):format(case[1]), P.test({},
        function(await, _, expect)
          local server, port = P.serve(await, T.merged(serverOptions, { rejectUnauthorized = false }),
            expect(function(socket)
              assert.is_false(socket.authorized)
              assert.equal(case[3], socket.authorizationError)
              assert.equal('localhost', socket:getPeerCertificate().subject.CN)
              socket:pipe(socket)
            end))
          P.ownClientEcho(await, port, identityOptions(case), 'hello')
          P.close(await, server)
        end))
    end

    it('that is spoilt is only reported when it comes before the rest, too', P.test({}, function(await, _, expect)
      local identity = T.ca:issue { cn = 'eve', purpose = 'client', spoilSignature = true }
      local server, serverPort = P.serve(await, T.merged(serverOptions, { rejectUnauthorized = false }),
        expect(function(socket)
          assert.equal('CERT_SIGNATURE_FAILURE', socket.authorizationError)
          socket:pipe(socket)
        end))
      local proxy, port = H.slicer(await, serverPort)
      P.ownClientEcho(await, port, { key = identity.key, cert = identity.cert }, 'hello')
      P.close(await, proxy)
      P.close(await, server)
    end))

    it('that is from an authority which has expired is refused by the server', P.test({}, function(await)
      local identity = lapsed:issue { cn = 'eve', purpose = 'client' }
      local guarded = H.guard(await, serverOptions)
      local failure = H.clientFailure(await, guarded.port, { key = identity.key, cert = identity.cert })
      isAlert('CERTIFICATE_EXPIRED', failure.error)
      assert.equal('CERT_HAS_EXPIRED', H.onlyError(await, guarded, goodOptions).code)
    end))

    it('that is revoked is refused by the server', P.test({}, function(await)
      local identity = T.ca:issue { cn = 'eve', purpose = 'client' }
      local guarded = H.guard(await, T.merged(serverOptions,
        { ca = T.ca.cert, crl = T.ca:crl { revoked = { identity } } }))
      local failure = H.clientFailure(await, guarded.port, { key = identity.key, cert = identity.cert })
      isAlert('CERTIFICATE_REVOKED', failure.error)
      assert.equal('CERT_REVOKED', H.onlyError(await, guarded, goodOptions).code)
    end))

    it('that is missing is refused by the server', P.test({}, function(await)
      local guarded = H.guard(await, serverOptions)
      local failure = H.clientFailure(await, guarded.port)
      isAlert(version == 'TLSv1.3' and 'CERTIFICATE_REQUIRED' or 'HANDSHAKE_FAILURE', failure.error)
      connectedAlready(failure)
      local err = H.onlyError(await, guarded, goodOptions)
      assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', err.code)
      assert.equal('peer did not return a certificate', err.reason)
      assert.equal('SSL routines', err.library)
      assert.equal('local', err.alertFrom)
      assert.is_true(util.isInstance(err, Error))
    end))

    it('that is missing is only reported when the server does not insist', P.test({}, function(await, _, expect)
      local server, port = P.serve(await, T.merged(serverOptions, { rejectUnauthorized = false }),
        expect(function(socket)
          assert.is_false(socket.authorized)
          assert.equal('UNABLE_TO_GET_ISSUER_CERT', socket.authorizationError)
          assert.same({}, socket:getPeerCertificate())
          socket:pipe(socket)
        end))
      P.ownClientEcho(await, port, {}, 'hello')
      P.close(await, server)
    end))
  end)
end

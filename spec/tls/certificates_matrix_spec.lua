-- Chains with one thing wrong: OpenSSL's name for it on the end that looks, the alert that belongs to it on the other,
-- for a server's chain and for a client's, under both protocols. (Single certificates with something wrong, and what a
-- lenient end makes of them: bad_certificates_spec.lua.)
local spec = require 'moonlatch.spec'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local VERSIONS = { 'TLSv1.2', 'TLSv1.3' }

-- Every case makes its own authorities, so that one case's revocation lists do not meet another's certificates.
local function root(options)
  return spec.ca(T.merged({ name = 'Root' }, options))
end

local function between(ca, options)
  return ca:intermediate(T.merged({ name = 'Between' }, options))
end

-- `chain` is what is presented, leaf first; `ca`, `crl` and `ciphers` are the verifier's.
local function case(leaf, ca, verifier)
  return { presents = { key = leaf.key, cert = leaf.chain }, verifier = T.merged({ ca = ca.cert }, verifier) }
end

local LEVEL_2, LEVEL_0 = 'DEFAULT@SECLEVEL=2', 'DEFAULT@SECLEVEL=0'

-- A strict verifier and an end that is allowed to present what the verifier will not have.
local function weak(leaf, ca)
  local it = case(leaf, ca, { ciphers = LEVEL_2 })
  it.presents.ciphers = LEVEL_0
  return it
end

-- { what is wrong, make(issue options), OpenSSL's name, reason, alert }
local CASES = {
  { 'whose path is longer than its authority allows', function(leaf)
    local ca = root { pathLength = 0 }
    return case(between(ca):issue(leaf), ca)
  end, 'PATH_LENGTH_EXCEEDED', 'path length constraint exceeded', 'UNKNOWN_CA' },

  { 'whose path is longer than an intermediate authority allows', function(leaf)
    local ca = root()
    return case(between(between(ca, { pathLength = 0 }), { name = 'Below' }):issue(leaf), ca)
  end, 'PATH_LENGTH_EXCEEDED', 'path length constraint exceeded', 'UNKNOWN_CA' },

  { 'with a name outside of those permitted', function(leaf)
    local ca = root()
    return case(between(ca, { nameConstraints = { permitted = 'example.org' } }):issue(leaf), ca)
  end, 'PERMITTED_VIOLATION', 'permitted subtree violation', 'CERTIFICATE_UNKNOWN' },

  { 'with a name among those excluded', function(leaf)
    local ca = root()
    return case(between(ca, { nameConstraints = { excluded = 'localhost' } }):issue(leaf), ca)
  end, 'EXCLUDED_VIOLATION', 'excluded subtree violation', 'CERTIFICATE_UNKNOWN' },

  { 'with an address outside of those permitted', function(leaf)
    local ca = root()
    leaf.names = { 'localhost', '127.0.0.1' }
    return case(between(ca, { nameConstraints = { permitted = { 'IP:10.0.0.0/255.0.0.0', 'DNS:localhost' } } })
      :issue(leaf), ca)
  end, 'PERMITTED_VIOLATION', 'permitted subtree violation', 'CERTIFICATE_UNKNOWN' },

  { 'that is revoked', function(leaf)
    local ca = root()
    local bad = ca:issue(leaf)
    return case(bad, ca, { crl = ca:crl { revoked = { bad } } })
  end, 'CERT_REVOKED', 'certificate revoked', 'CERTIFICATE_REVOKED' },

  { 'whose intermediate authority is revoked', function(leaf)
    local ca = root()
    local middle = between(ca)
    return case(middle:issue(leaf), ca, { crl = { middle:crl(), ca:crl { revoked = { middle } } } })
  end, 'CERT_REVOKED', 'certificate revoked', 'CERTIFICATE_REVOKED' },

  { 'whose revocation list has expired', function(leaf)
    local ca = root()
    return case(ca:issue(leaf), ca, { crl = ca:crl { lastUpdate = -7200, nextUpdate = -3600 } })
  end, 'CRL_HAS_EXPIRED', 'CRL has expired', 'CERTIFICATE_EXPIRED' },

  { 'whose revocation list is not valid yet', function(leaf)
    local ca = root()
    return case(ca:issue(leaf), ca, { crl = ca:crl { lastUpdate = 3600, nextUpdate = 7200 } })
  end, 'CRL_NOT_YET_VALID', 'CRL is not yet valid', 'BAD_CERTIFICATE' },

  { 'without a revocation list of its authority', function(leaf)
    local ca = root()
    return case(ca:issue(leaf), ca, { crl = root({ name = 'Elsewhere' }):crl() })
  end, 'UNABLE_TO_GET_CRL', 'unable to get certificate CRL', 'UNKNOWN_CA' },

  { 'whose revocation list somebody else has signed', function(leaf)
    local ca, impostor = root(), root()
    return case(ca:issue(leaf), ca, { crl = impostor:crl() })
  end, 'CRL_SIGNATURE_FAILURE', 'CRL signature failure', 'DECRYPT_ERROR' },

  { 'with a key too small', function(leaf)
    local ca = root()
    leaf.key = 'rsa:1024'
    return weak(ca:issue(leaf), ca)
  end, 'EE_KEY_TOO_SMALL', 'EE certificate key too weak', 'BAD_CERTIFICATE' },

  { 'of an authority with a key too small', function(leaf)
    local ca = root()
    return weak(between(ca, { key = 'rsa:1024' }):issue(leaf), ca)
  end, 'CA_KEY_TOO_SMALL', 'CA certificate key too weak', 'BAD_CERTIFICATE' },

  { 'of an authority signed with a weak digest', function(leaf)
    local ca = root()
    return weak(between(ca, { digest = 'SHA1' }):issue(leaf), ca)
  end, 'CA_MD_TOO_WEAK', 'CA signature digest algorithm too weak', 'BAD_CERTIFICATE' },

  -- Of several complaints the last one counts, as in Node: INVALID_CA comes first here.
  { 'issued by one that is no authority', function(leaf)
    local ca = root()
    local impostor = ca:issue { names = { 'impostor.example' }, keyUsage = false }
    return case(impostor:issue(leaf), ca)
  end, 'INVALID_PURPOSE', 'unsuitable certificate purpose', 'UNSUPPORTED_CERTIFICATE' },

  { 'issued by an authority that may not sign certificates', function(leaf)
    local ca = root()
    return case(between(ca, { keyUsage = 'critical,cRLSign,digitalSignature' }):issue(leaf), ca)
  end, 'KEYUSAGE_NO_CERTSIGN', 'key usage does not include certificate signing', 'CERTIFICATE_UNKNOWN' },

  { 'whose intermediate authority has expired', function(leaf)
    local ca = root()
    return case(between(ca, { validFrom = -7200, validTo = -3600 }):issue(leaf), ca)
  end, 'CERT_HAS_EXPIRED', 'certificate has expired', 'CERTIFICATE_EXPIRED' },

  { 'whose root has expired', function(leaf)
    local ca = root { validFrom = -7200, validTo = -3600 }
    return case(ca:issue(leaf), ca)
  end, 'CERT_HAS_EXPIRED', 'certificate has expired', 'CERTIFICATE_EXPIRED' },

  { 'whose root is not valid yet', function(leaf)
    local ca = root { validFrom = 3600, validTo = 7200 }
    return case(ca:issue(leaf), ca)
  end, 'CERT_NOT_YET_VALID', 'certificate is not yet valid', 'BAD_CERTIFICATE' },

  { 'whose intermediate authority is critical in a way nobody knows', function(leaf)
    local ca = root()
    return case(between(ca, { unknownCritical = true }):issue(leaf), ca)
  end, 'UNHANDLED_CRITICAL_EXTENSION', 'unhandled critical extension', 'CERTIFICATE_UNKNOWN' },

  { 'whose intermediate authority is spoilt', function(leaf)
    local ca = root()
    return case(between(ca, { spoilSignature = true }):issue(leaf), ca)
  end, 'CERT_SIGNATURE_FAILURE', 'certificate signature failure', 'DECRYPT_ERROR' },

  { 'signed by another authority of the same name', function(leaf)
    local ca, impostor = root { name = 'Twin' }, root { name = 'Twin' }
    return case(impostor:issue(leaf), ca)
  end, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'unable to verify the first certificate', 'UNKNOWN_CA' },

  { 'with an intermediate authority missing in the middle', function(leaf)
    local ca = root()
    local bad = between(between(ca), { name = 'Below' }):issue(leaf)
    local it = case(bad, ca)
    it.presents.cert = bad.cert .. bad.issuer.cert
    return it
  end, 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'unable to get local issuer certificate', 'UNKNOWN_CA' },

  { 'whose intermediate authority is for another purpose', function(leaf, purpose)
    local ca = root()
    return case(between(ca, { purpose = purpose == 'server' and 'client' or 'server' }):issue(leaf), ca)
  end, 'INVALID_PURPOSE', 'unsuitable certificate purpose', 'UNSUPPORTED_CERTIFICATE' },
}

local function isAlert(alert, err)
  assert.matches('^ERR_SSL_%w+_ALERT_' .. alert .. '$', err.code)
  assert.equal('peer', err.alertFrom)
end

local function isVerdict(wanted, err)
  assert.equal(wanted[3], err.code)
  assert.equal(wanted[4], err.reason)
  assert.equal(wanted[4], err.message)
  assert.equal('local', err.alertFrom)
end

-- The error of the server of a connection that failed; the client may have heard of it first.
local function serverError(await, guarded)
  if #guarded.errors == 0 then
    await(guarded.server, 'tlsClientError')
  end
  return guarded.errors[1]
end

for _, version in ipairs(VERSIONS) do
  describe("a server's chain under " .. version, function()
    for _, wanted in ipairs(CASES) do
      it(wanted[1] .. ' is ' .. wanted[3] .. ' to the client', P.test({}, function(await)
        local made = wanted[2]({ names = { 'localhost' }, purpose = 'server' }, 'server')
        local guarded = H.guard(await, T.merged(made.presents, { maxVersion = version }))
        local failure = H.clientFailure(await, guarded.port, made.verifier)
        isVerdict(wanted, failure.error)
        assert.is_false(failure.connected)
        isAlert(wanted[5], serverError(await, guarded))
        local lenient = P.ownClientEcho(await, guarded.port, T.merged(made.verifier, { rejectUnauthorized = false }),
          'hello')
        assert.equal(wanted[3], lenient.seen.authorizationError)
        P.close(await, guarded.server)
      end))
    end
  end)

  describe("a client's chain under " .. version, function()
    for _, wanted in ipairs(CASES) do
      it(wanted[1] .. ' is ' .. wanted[3] .. ' to the server', P.test({}, function(await)
        local made = wanted[2]({ names = { 'localhost' }, purpose = 'client' }, 'client')
        local guarded = H.guard(await, T.merged(made.verifier, { requestCert = true, maxVersion = version }))
        local failure = H.clientFailure(await, guarded.port, made.presents)
        isAlert(wanted[5], failure.error)
        isVerdict(wanted, serverError(await, guarded))
        P.close(await, guarded.server)
      end))
    end
  end)
end

describe('the same chains with nothing wrong', function()
  local good = {
    { 'within the path length', function(leaf)
      local ca = root { pathLength = 1 }
      return case(between(ca, { pathLength = 0 }):issue(leaf), ca)
    end },
    { 'within the name constraints', function(leaf)
      local ca = root()
      return case(between(ca, { nameConstraints = { permitted = 'localhost', excluded = 'example.org' } }):issue(leaf),
        ca)
    end },
    { 'not revoked', function(leaf)
      local ca = root()
      local middle = between(ca)
      return case(middle:issue(leaf), ca, { crl = { ca:crl { revoked = { 'AB12' } }, middle:crl() } })
    end },
    { 'strong enough', function(leaf)
      local ca = root { key = 'rsa:2048' }
      leaf.key = 'rsa:2048'
      return weak(ca:issue(leaf), ca)
    end },
  }
  for _, wanted in ipairs(good) do
    it('are accepted by both ends: ' .. wanted[1], P.test({}, function(await)
      local made = wanted[2]({ names = { 'localhost' }, purpose = 'both' })
      local both = T.merged(made.presents, made.verifier)
      local guarded = H.guard(await, T.merged(both, { requestCert = true }))
      assert.is_true(P.ownClientEcho(await, guarded.port, both, 'hello').seen.authorized)
      assert.equal(0, #guarded.errors)
      P.close(await, guarded.server)
    end))
  end
end)

local spec = require 'moonlatch.spec'
local T = require 'spec.support.tls'

-- Connects and gives what came of it: { secure = the client at secureConnect, err = …, serverError = … }.
local function attempt(serverOptions, clientOptions, expect, check, done)
  local server
  local result = {}
  server = T.serve(serverOptions, function(socket)
    socket:on('error', function() end)
    socket:finish('x')
  end, function(port)
    local client
    client = T.connect(port, clientOptions, function()
      result.secure = { authorized = client.authorized, authorizationError = client.authorizationError }
    end)
    client:resume()
    client:on('error', function(err)
      result.err = err
    end)
    client:on('close', expect(function()
      server:close(function()
        check(result)
        done()
      end)
    end))
  end)
  server:on('tlsClientError', function(err)
    result.serverError = err
  end)
end

describe('a TLS client', function()
  local cases = {
    { 'an unknown authority', { key = 'self' }, 'DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA' },
    { 'an expired certificate', { validFrom = -7200, validTo = -3600 }, 'CERT_HAS_EXPIRED',
      'ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED' },
    { 'a certificate not valid yet', { validFrom = 3600, validTo = 7200 }, 'CERT_NOT_YET_VALID',
      'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE' },
    { 'a certificate for another purpose', { purpose = 'client' }, 'INVALID_PURPOSE',
      'ERR_SSL_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE' },
    { 'a certificate for another name', { names = { 'other.test' } }, 'ERR_TLS_CERT_ALTNAME_INVALID',
      'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE' },
  }

  local function identityFor(plan)
    if plan.key == 'self' then
      return spec.selfSigned { names = { 'localhost' } }
    end
    return T.ca:issue(T.merged({ names = { 'localhost' } }, plan))
  end

  for _, case in ipairs(cases) do
    local name, plan, code, alert = unpack(case)
    T.eachVersion(it, 'turns ' .. name .. ' down inside the handshake', function(version, done, expect)
      local identity = identityFor(plan)
      attempt({ key = identity.key, cert = identity.cert, minVersion = version, maxVersion = version }, {}, expect,
        function(result)
          assert.is_nil(result.secure)
          assert.equal(code, result.err.code)
          assert.equal(alert, result.serverError.code)
          assert.equal('peer', result.serverError.alertFrom)
        end, done)
    end)

    T.eachVersion(it, 'tells of ' .. name .. ' when it does not reject', function(version, done, expect)
      local identity = identityFor(plan)
      attempt({ key = identity.key, cert = identity.cert, minVersion = version, maxVersion = version },
        { rejectUnauthorized = false }, expect, function(result)
          assert.is_nil(result.err)
          assert.same({ authorized = false, authorizationError = code }, result.secure)
        end, done)
    end)
  end

  it('gives its name check the host and the certificate, and takes its word', spec.async(function(done, expect)
    attempt({}, { checkServerIdentity = expect(function(hostname, cert)
      assert.equal('localhost', hostname)
      assert.is_table(cert.subject)
      assert.is_table(cert.issuerCertificate)
      return Error('I do not like it')
    end) }, expect, function(result)
      assert.equal('I do not like it', result.err.message)
      assert.equal('ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', result.serverError.code)
    end, done)
  end))

  it('lets its name check accept any name', spec.async(function(done, expect)
    attempt({}, { servername = 'anything.test', checkServerIdentity = expect(function() end) }, expect,
      function(result)
        assert.same({ authorized = true }, result.secure)
      end, done)
  end))

  it('does not ask its name check about a chain that is bad', spec.async(function(done, expect)
    attempt({}, { ca = {}, checkServerIdentity = function()
      error('asked')
    end }, expect, function(result)
      assert.matches('^UNABLE_TO', result.err.code)
    end, done)
  end))

  it('ends with what its name check throws', spec.async(function(done, expect)
    attempt({}, { checkServerIdentity = function()
      error('thrown in the check')
    end }, expect, function(result)
      assert.matches('thrown in the check', result.err.message, 1, true)
      assert.is_nil(result.secure)
    end, done)
  end))
end)

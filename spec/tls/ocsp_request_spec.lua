-- 'OCSPRequest': which certificate it is about, and who issued that.
local crypto = require 'crypto'
local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local O = require 'spec.support.staples'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local der, only, serve, visit = O.der, O.only, O.serve, O.visit

describe('what a server asks about', function()
  -- What the listener is given for a server of `options`.
  local function asked(await, options, visitOptions)
    local given
    local server, port = serve(await, options, function(certificate, issuer, callback)
      given = { certificate = certificate, issuer = issuer }
      callback()
    end)
    assert.equal('hello', visit(await, port, T.merged({ rejectUnauthorized = false }, visitOptions)).text)
    P.close(await, server)
    return given
  end

  local middle = T.ca:intermediate()
  local below = middle:issue()

  it('is the certificate as DER, and its issuer out of the chain', spec.coroutine(function(await)
    local given = asked(await, { key = below.key, cert = below.chain })
    assert.equal(der(below), given.certificate)
    assert.equal(der(middle), given.issuer)
  end))

  it('finds the issuer among the trusted authorities', spec.coroutine(function(await)
    local given = asked(await, { ca = { spec.ca().cert, T.ca.cert } })
    assert.equal(der(T.localhost), given.certificate)
    assert.equal(der(T.ca), given.issuer)
  end))

  it('finds the issuer in a PKCS#12 file', spec.coroutine(function(await)
    local given = asked(await, { key = false, cert = false, pfx = below:pfx('x'), passphrase = 'x' })
    assert.equal(der(below), given.certificate)
    assert.equal(der(middle), given.issuer)
  end))

  it('has no issuer when that is not known', spec.coroutine(function(await)
    assert.is_nil(asked(await, {}).issuer)
    assert.is_nil(asked(await, { ca = spec.ca().cert }).issuer)
  end))

  it('has no issuer when the certificate is self-signed', spec.coroutine(function(await)
    local alone = spec.selfSigned()
    local given = asked(await, { key = alone.key, cert = alone.cert, ca = alone.cert })
    assert.equal(der(alone), given.certificate)
    assert.is_nil(given.issuer)
  end))

  it('is asked with crypto.ocsp as it is given', spec.coroutine(function(await)
    local given = asked(await, { ca = T.ca.cert })
    assert.equal(crypto.ocsp.request(T.localhost.cert, T.ca.cert).id,
      crypto.ocsp.request(given.certificate, given.issuer).id)
  end))

  -- Which of several certificates is shown depends on the client.
  local rsa, ed = T.ca:issue { key = 'rsa' }, T.ca:issue { key = 'ed25519' }
  local identities = { ec = T.localhost, rsa = rsa, ed = ed }
  local several = { key = { T.localhost.key, rsa.key, ed.key }, cert = { T.localhost.cert, rsa.cert, ed.cert },
    ca = T.ca.cert }

  local clients = {
    { 'ec', '-tls1_3', '-sigalgs', 'ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256' },
    { 'rsa', '-tls1_3', '-sigalgs', 'rsa_pss_rsae_sha256' },
    { 'ed', '-tls1_3', '-sigalgs', 'ed25519:rsa_pss_rsae_sha256' },
    { 'rsa', '-tls1_3', '-sigalgs', 'rsa_pss_rsae_sha256', '-groups', 'P-521:P-256' },
    { 'ec', '-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256' },
    { 'rsa', '-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256' },
    { 'ed', '-tls1_2', '-sigalgs', 'ed25519:RSA+SHA256', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256' },
    { 'rsa', '-tls1_2', '-sigalgs', 'RSA+SHA256:ed25519', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256' },
  }
  for _, client in ipairs(clients) do
    local kind, arguments = client[1], { '-status', unpack(client, 2) }
    it(('is the certificate that is shown: %s to %s'):format(kind, table.concat(client, ' ', 2)),
      P.test({}, function(await, files)
        local about
        local server, port = serve(await, several, function(certificate, _, callback)
          for name, identity in pairs(identities) do
            about = certificate == der(identity) and name or about
          end
          callback(nil, T.ca:ocspResponse(identities[about]))
        end)
        local command = P.sClient(port, { '-CAfile', files.ca, '-verify_return_error', '-ign_eof', unpack(arguments) })
        P.over(await, command)
        assert.equal(kind, about)
        local shown = command.stdout:match('Server certificate\n(.-END CERTIFICATE%-%-%-%-%-\n)')
        assert.equal(identities[kind].cert, shown)
        assert.matches('Serial Number: ' .. identities[kind].serialNumber, command.stdout)
        assert.matches('Cert Status: good', command.stdout)
        P.close(await, server)
      end))
  end

  it('is what setKeyCert shows', spec.coroutine(function(await)
    local server = tls.createServer(T.merged({ key = below.key, cert = below.cert }))
    local given
    server:on('OCSPRequest', function(certificate, issuer, callback)
      given = { certificate, issuer }
      callback(nil, 'stapled')
    end)
    local plain = net.createServer(function(socket)
      local secure = tls.TLSSocket(socket, { isServer = true, server = server, key = below.key, cert = below.cert })
      secure:setKeyCert(several)
      secure:on('error', function() end)
      secure:once('secure', function()
        secure:finish('hello')
      end)
    end)
    plain:listen(0, '127.0.0.1')
    await(plain, 'listening')
    local seen = visit(await, plain:address().port, { sigalgs = 'rsa_pss_rsae_sha256', maxVersion = 'TLSv1.3' })
    assert.equal('stapled', seen.staple)
    assert.equal(der(rsa), given[1])
    plain:close()
  end))

  -- A swapped-in context has its own certificate and staples as the first one does.
  local other = T.ca:issue { names = { 'other.test' } }

  local function swapping(name, options, prepare)
    O.eachVersion(it, name, function(await, version)
      local given
      local server, port = serve(await, only(version, options), function(certificate, issuer, callback)
        given = { certificate, issuer }
        setImmediate(callback, nil, 'about the other')
      end)
      if prepare then
        prepare(server)
      end
      assert.equal('about the other', visit(await, port, { servername = 'other.test' }).staple)
      assert.equal(der(other), given[1])
      assert.equal(der(T.ca), given[2])
      P.close(await, server)
    end)
  end

  local context = { key = other.key, cert = other.cert, ca = T.ca.cert }
  swapping('is what an SNICallback has chosen', { SNICallback = function(_, callback)
    setImmediate(callback, nil, tls.createSecureContext(context))
  end })
  swapping('is what addContext has chosen', {}, function(server)
    server:addContext('other.test', context)
  end)
end)

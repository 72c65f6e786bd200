-- Whom a context trusts: authorities and revocation lists in all their shapes, chains that end early. The other end is
-- the openssl program, as a client with a certificate and as a server.
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local W = require 'spec.support.wire'

local other = spec.ca { name = 'Another authority' }
local between = T.ca:intermediate { name = 'Between' }
local ada = T.ca:issue { cn = 'ada', purpose = 'client' }
local eve = other:issue { cn = 'eve', purpose = 'client' }
local deep = between:issue { cn = 'deep', purpose = 'client' }
local deepServer = between:issue { names = { 'localhost' }, cn = 'deep server' }

local function armour(pem, name)
  return (pem:gsub('(%-%-%-%-%-%u+ )CERTIFICATE', '%1' .. name))
end

-- Connects as each of `names` to a server that wants a certificate; the codes of those that were refused, by name.
local function judge(await, files, options, names)
  local codes = {}
  local refusal
  local server, port = W.serve(await, T.merged(T.identity { requestCert = true },
    options))
  server:on('tlsClientError', function(err)
    refusal = err.code
  end)
  for _, name in ipairs(names) do
    -- TLS 1.2: the client learns its fate within the handshake.
    local seen = W.visit(await, port, { '-tls1_2', '-cert', files[name .. '_cert'], '-key', files[name .. '_key'],
      '-cert_chain', files[name .. '_cert'] })
    assert.equal(seen.alert ~= nil, refusal ~= nil, seen.output)
    codes[name], refusal = refusal, nil
  end
  P.close(await, server)
  return codes
end

local CLIENTS = { ada = ada, eve = eve, deep = deep }
local UNKNOWN = 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'

describe('ca', function()
  -- { what it is, a function that makes it, who is refused by it }
  local cases = {
    { 'one authority', T.ca.cert, { eve = UNKNOWN } },
    { 'a list', { T.ca.cert, other.cert }, {} },
    { 'a list of one', { other.cert }, { ada = UNKNOWN } },
    { 'several in one string', T.ca.cert .. other.cert, {} },
    { 'several in the strings of a list', { T.ca.cert .. between.cert, other.cert .. T.ca.cert }, {} },
    { 'the same one twice', { T.ca.cert, T.ca.cert }, { eve = UNKNOWN } },
    { 'notes between them', 'One:\n' .. T.ca.cert .. '\nTwo:\n' .. other.cert .. '\nThat is all.\n', {} },
    { 'other line ends', (T.ca.cert .. other.cert):gsub('\n', '\r\n'), {} },
    { 'the armour X509 CERTIFICATE', armour(T.ca.cert, 'X509 CERTIFICATE'), { eve = UNKNOWN } },
    { 'the armour TRUSTED CERTIFICATE', armour(T.ca.cert, 'TRUSTED CERTIFICATE'), { eve = UNKNOWN } },
    { 'all kinds of armour', armour(T.ca.cert, 'X509 CERTIFICATE') .. armour(other.cert, 'TRUSTED CERTIFICATE')
      .. between.cert, {} },
    { 'an empty list, which trusts nobody', {}, { ada = UNKNOWN, eve = UNKNOWN } },
    { 'a key among them, which is passed over', T.ca.key .. T.ca.cert, { eve = UNKNOWN } },
    { 'nothing but a key, which is trust in nobody', T.ca.key, { ada = UNKNOWN, eve = UNKNOWN } },
  }
  for _, case in ipairs(cases) do
    it(('may be %s'):format(case[1]), P.test(CLIENTS, function(await, files)
      assert.same(case[3], judge(await, files, { ca = case[2] }, { 'ada', 'eve' }))
    end))
  end

  it('says what it trusts a certificate for', P.test(T.merged({ server = T.localhost }, CLIENTS),
    function(await, files)
      local function trusted(flag, purpose)
        local status, pem, stderr = P.run(await, { 'openssl', 'x509', '-in', files.ca, '-trustout', flag, purpose })
        assert.equal(0, status, stderr)
        assert.truthy(pem:find('BEGIN TRUSTED CERTIFICATE', 1, true))
        return pem
      end
      local toClients, toServers = trusted('-addtrust', 'clientAuth'), trusted('-addtrust', 'serverAuth')
      local rejected = trusted('-addreject', 'clientAuth')
      assert.same({}, judge(await, files, { ca = toClients }, { 'ada' }))
      assert.same({ ada = 'INVALID_PURPOSE' }, judge(await, files, { ca = rejected }, { 'ada' }))
      assert.is_string(judge(await, files, { ca = toServers }, { 'ada' }).ada)
      assert.is_nil(W.offered(await, files, { ca = toServers }, {}).mine.error)
      assert.is_string(W.offered(await, files, { ca = toClients }, {}).mine.error.code)
    end))

  it('is named to clients', P.test({}, function(await)
    local server, port = W.serve(await, { key = T.localhost.key, cert = T.localhost.cert, requestCert = true,
      ca = { T.ca.cert .. other.cert, between.cert } })
    local _, stdout = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-tls1_2' },
      { input = '' })
    assert.equal('CN = Spec authority\nCN = Another authority\nCN = Between',
      stdout:match('Acceptable client certificate CA names\n(.-)\nClient Certificate Types'))
    P.close(await, server)
  end))

  it('decides about servers, too', P.test({ server = T.localhost }, function(await, files)
    for _, case in ipairs {
      { T.ca.cert, nil },
      { armour(T.ca.cert, 'TRUSTED CERTIFICATE'), nil },
      { { other.cert, armour(T.ca.cert, 'X509 CERTIFICATE') }, nil },
      { other.cert, UNKNOWN },
      { {}, UNKNOWN },
    } do
      local seen = W.offered(await, files, { ca = case[1] }, {})
      assert.equal(case[2], seen.mine.error and seen.mine.error.code)
    end
  end))
end)

describe('crl', function()
  local clean, mixed = T.ca:crl(), T.ca:crl { revoked = { ada } }
  local otherClean, late = other:crl(), T.ca:crl { lastUpdate = -7200, nextUpdate = -3600 }
  local trust = { T.ca.cert, other.cert }

  -- { what it is, the lists, who is refused by it and why }
  local cases = {
    { 'one list', clean, { eve = 'UNABLE_TO_GET_CRL' } },
    { 'one list that names somebody', mixed, { ada = 'CERT_REVOKED', eve = 'UNABLE_TO_GET_CRL' } },
    { 'a list of lists', { mixed, otherClean }, { ada = 'CERT_REVOKED' } },
    { 'several in one string', mixed .. otherClean, { ada = 'CERT_REVOKED' } },
    { 'several in the strings of a list', { clean .. otherClean }, {} },
    { 'notes around it', 'Who is out:\n' .. mixed .. otherClean .. '\nThat is all.\n', { ada = 'CERT_REVOKED' } },
    { 'one that is out of date', { late, otherClean }, { ada = 'CRL_HAS_EXPIRED' } },
  }
  for _, case in ipairs(cases) do
    it(('may be %s'):format(case[1]), P.test(CLIENTS, function(await, files)
      assert.same(case[3], judge(await, files, { ca = trust, crl = case[2] }, { 'ada', 'eve' }))
    end))
  end

  it('asks for the lists of the whole chain', P.test(CLIENTS, function(await, files)
    local ca = { T.ca.cert, between.cert }
    assert.same({ deep = 'UNABLE_TO_GET_CRL' }, judge(await, files, { ca = ca, crl = clean }, { 'deep' }))
    assert.same({}, judge(await, files, { ca = ca, crl = { clean, between:crl() } }, { 'deep' }))
    assert.same({ deep = 'CERT_REVOKED' },
      judge(await, files, { ca = ca, crl = { T.ca:crl { revoked = { between } }, between:crl() } }, { 'deep' }))
  end))

  it('decides about servers, too', P.test({ server = T.localhost }, function(await, files)
    assert.is_nil(W.offered(await, files, { crl = clean }, {}).mine.error)
    local seen = W.offered(await, files, { crl = T.ca:crl { revoked = { T.localhost } } }, {})
    assert.equal('CERT_REVOKED', seen.mine.error.code)
    assert.matches('certificate revoked', seen.output)
  end))
end)

describe('addCACert', function()
  it('adds to the authorities of a context', P.test({ server = T.localhost }, function(await, files)
    local context = tls.createSecureContext { ca = other.cert }
    assert.equal(UNKNOWN, W.offered(await, files, { secureContext = context }, {}).mine.error.code)
    context.context:addCACert(T.ca.cert)
    assert.is_nil(W.offered(await, files, { secureContext = context }, {}).mine.error)
  end))

  it('leaves other contexts alone when it adds to the default ones', P.test({ server = T.localhost },
    function(await, files)
      local context, untouched = tls.createSecureContext(), tls.createSecureContext()
      context.context:addCACert(between.cert .. T.ca.cert)
      context.context:addCACert(other.cert)
      assert.is_nil(W.offered(await, files, { secureContext = context }, {}).mine.error)
      for _, other_ in ipairs { untouched, tls.createSecureContext() } do
        assert.equal(UNKNOWN, W.offered(await, files, { secureContext = other_ }, {}).mine.error.code)
      end
    end))

  it('is for servers, too', P.test(CLIENTS, function(await, files)
    local context = tls.createSecureContext(T.identity { ca = T.ca.cert })
    context.context:addCACert(other.cert)
    assert.same({}, judge(await, files, { secureContext = context }, { 'ada', 'eve' }))
  end))

  it('refuses what is no certificate', function()
    local context = tls.createSecureContext().context
    for code, value in pairs { ERR_OSSL_PEM_NO_START_LINE = 'garbage', ERR_INVALID_ARG_TYPE = 5 } do
      local ok, err = pcall(context.addCACert, context, value)
      assert.is_false(ok)
      assert.equal(code, err.code)
    end
  end)
end)

describe('allowPartialTrustChain', function()
  local server = { server = deepServer }
  local ROOTLESS = 'UNABLE_TO_GET_ISSUER_CERT'
  -- OpenSSL's other name for the issuer that is missing, where a chain need not have a root.
  local NO_ISSUER = 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'

  it('lets a chain of a server end at an intermediate authority', P.test(server, function(await, files)
    for _, case in ipairs {
      { { ca = between.cert }, ROOTLESS },
      { { ca = between.cert, allowPartialTrustChain = false }, ROOTLESS },
      { { ca = between.cert, allowPartialTrustChain = true }, nil },
      { { ca = deepServer.cert, allowPartialTrustChain = true }, nil },
      { { ca = other.cert, allowPartialTrustChain = true }, NO_ISSUER },
    } do
      local seen = W.offered(await, files, case[1], {})
      assert.equal(case[2], seen.mine.error and seen.mine.error.code)
    end
  end))

  it('lets a chain of a client end at an intermediate authority', P.test(CLIENTS, function(await, files)
    assert.same({ deep = ROOTLESS, ada = UNKNOWN }, judge(await, files, { ca = between.cert }, { 'deep', 'ada' }))
    assert.same({ ada = NO_ISSUER }, judge(await, files, { ca = between.cert, allowPartialTrustChain = true },
      { 'deep', 'ada' }))
  end))

  -- The flag is the connection's, and the connection was made under the server's own context.
  it('goes with the context that the name chooses', P.test(CLIENTS, function(await, files)
    local identity = T.identity { ca = between.cert }
    local lax = T.merged(identity, { allowPartialTrustChain = true })
    for _, case in ipairs { { identity, lax, false }, { lax, identity, true } } do
      local own, added, refused = case[1], case[2], case[3]
      local server_, port = W.serve(await, T.merged(own, { requestCert = true }))
      server_:addContext('other.example', added)
      local argv = { '-tls1_2', '-cert', files.deep_cert, '-key', files.deep_key }
      assert.equal(not refused, W.visit(await, port, argv).alert ~= nil)
      argv[#argv + 1], argv[#argv + 2] = '-servername', 'other.example'
      assert.equal(refused, W.visit(await, port, argv).alert ~= nil)
      P.close(await, server_)
    end
  end))

  it('is a boolean', function()
    local seen = {}
    for _, value in ipairs { 5, 'text', {} } do
      local ok, err = pcall(tls.createSecureContext, { allowPartialTrustChain = value })
      assert.is_false(ok)
      seen[#seen + 1] = err.code
    end
    assert.same({ 'ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_TYPE' }, seen)
  end)
end)

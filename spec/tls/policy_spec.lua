-- What a server or a client demands of its peer and shows of itself, connection by connection.
local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local VERSIONS = { 'TLSv1.2', 'TLSv1.3' }

local staff, strangers = spec.ca { name = 'Staff' }, spec.ca { name = 'Strangers' }
local ada = staff:issue { cn = 'ada', purpose = 'client' }
local eve = strangers:issue { cn = 'eve', purpose = 'client' }
local secure = T.ca:issue { names = { 'secure.test' } }
local open = T.ca:issue { names = { 'open.test' } }

local function pair(identity)
  return { key = identity.key, cert = identity.cert }
end

-- An echo server that keeps what its connections were found to be.
local function watch(await, options)
  local watched = { sockets = {}, errors = {} }
  watched.server, watched.port = P.serve(await, options, function(socket)
    socket:on('error', function() end)
    table.insert(watched.sockets, { authorized = socket.authorized, authorizationError = socket.authorizationError,
      servername = socket.servername, cn = socket:getPeerCertificate().subject and
      socket:getPeerCertificate().subject.CN, reused = socket:isSessionReused() })
    socket:pipe(socket)
  end)
  watched.server:on('tlsClientError', function(err)
    table.insert(watched.errors, err)
  end)
  return watched
end

local function visit(await, watched, name, options)
  local before = #watched.sockets
  local socket = P.ownClientEcho(await, watched.port, T.merged({ servername = name }, options), 'hello')
  return watched.sockets[before + 1], socket
end

local function turnedAway(await, watched, name, options)
  local before = #watched.errors
  local failure = H.clientFailure(await, watched.port, T.merged({ servername = name }, options))
  if #watched.errors == before then
    await(watched.server, 'tlsClientError')
  end
  return watched.errors[before + 1], failure.error
end

-- Two ways to have a context chosen by name, with what the server itself says.
local function byAddContext(options, contexts)
  return function(await)
    local watched = watch(await, options)
    for name, context in pairs(contexts) do
      watched.server:addContext(name, context)
    end
    return watched
  end
end

local function byCallback(options, contexts)
  return function(await)
    local ready = {}
    for name, context in pairs(contexts) do
      ready[name] = tls.createSecureContext(context)
    end
    return watch(await, T.merged(options, { SNICallback = function(name, callback)
      setImmediate(callback, nil, ready[name])
    end }))
  end
end

for how, make in pairs { ['addContext'] = byAddContext, ['SNICallback'] = byCallback } do
  for _, version in ipairs(VERSIONS) do
    describe(('a context chosen by %s under %s'):format(how, version), function()
      local limits = { minVersion = version, maxVersion = version }
      local demanding = T.merged(limits, T.merged(pair(secure), { requestCert = true, ca = staff.cert }))

      it('asks for a client certificate where the server does not', P.test({}, function(await)
        local watched = make(limits, { ['secure.test'] = demanding })(await)
        assert.same({ authorized = false, servername = 'localhost', reused = false },
          visit(await, watched, 'localhost'))
        assert.same({ authorized = true, servername = 'secure.test', cn = 'ada', reused = false },
          visit(await, watched, 'secure.test', pair(ada)))
        local err = turnedAway(await, watched, 'secure.test')
        assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', err.code)
        P.close(await, watched.server)
      end))

      it('judges it by its own authorities', P.test({}, function(await)
        local watched = make(T.merged(limits, { requestCert = true, ca = strangers.cert }),
          { ['secure.test'] = demanding })(await)
        assert.equal('eve', visit(await, watched, 'localhost', pair(eve)).cn)
        assert.equal('ada', visit(await, watched, 'secure.test', pair(ada)).cn)
        for name, stranger in pairs { ['localhost'] = ada, ['secure.test'] = eve } do
          local err, theirs = turnedAway(await, watched, name, pair(stranger))
          assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', err.code)
          assert.equal('local', err.alertFrom)
          assert.matches('ALERT_UNKNOWN_CA$', theirs.code)
        end
        P.close(await, watched.server)
      end))

      it('only reports on it when it says so', P.test({}, function(await)
        local watched = make(limits,
          { ['secure.test'] = T.merged(demanding, { rejectUnauthorized = false }) })(await)
        local seen = visit(await, watched, 'secure.test', pair(eve))
        assert.is_false(seen.authorized)
        assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', seen.authorizationError)
        seen = visit(await, watched, 'secure.test')
        assert.equal('UNABLE_TO_GET_ISSUER_CERT', seen.authorizationError)
        P.close(await, watched.server)
      end))

      it('can do without where the server insists', P.test({}, function(await)
        local watched = make(T.merged(limits, { requestCert = true, ca = staff.cert }),
          { ['open.test'] = T.merged(limits, T.merged(pair(open), { requestCert = false })) })(await)
        assert.same({ authorized = false, servername = 'open.test', reused = false },
          visit(await, watched, 'open.test'))
        assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', (turnedAway(await, watched, 'localhost')).code)
        P.close(await, watched.server)
      end))

      it('leaves the server’s rules alone when it says nothing', P.test({}, function(await)
        local watched = make(T.merged(limits, { requestCert = true, ca = staff.cert }),
          { ['secure.test'] = T.merged(limits, T.merged(pair(secure), { ca = staff.cert })) })(await)
        assert.equal('ada', visit(await, watched, 'secure.test', pair(ada)).cn)
        assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', (turnedAway(await, watched, 'secure.test')).code)
        P.close(await, watched.server)
      end))

      it('does not take a session that was made without a certificate', P.test({}, function(await)
        local watched = make(T.merged(limits, { ticketKeys = ('k'):rep(48) }), { ['secure.test'] = demanding })(await)
        local _, socket = visit(await, watched, 'localhost')
        assert.is_string(socket.session)
        assert.is_true(visit(await, watched, 'localhost', { session = socket.session }).reused)
        local err = turnedAway(await, watched, 'secure.test', { session = socket.session })
        assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', err.code)
        P.close(await, watched.server)
      end))

      it('does not take it either when the script has given all contexts one session id context',
        P.test({}, function(await)
          local shared = { sessionIdContext = 'one for all' }
          local watched = make(T.merged(limits, shared), { ['secure.test'] = T.merged(demanding, shared) })(await)
          local _, socket = visit(await, watched, 'localhost')
          local resuming = { session = socket.session, checkServerIdentity = function() end }
          assert.is_true(visit(await, watched, 'localhost', resuming).reused)
          local err = turnedAway(await, watched, 'secure.test', resuming)
          assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', err.code)
          assert.is_false(visit(await, watched, 'secure.test', T.merged(resuming, pair(ada))).reused)
          P.close(await, watched.server)
        end))

      it('names its own authorities to clients', P.test({}, function(await)
        local watched = make(T.merged(limits, { requestCert = true, ca = strangers.cert }),
          { ['secure.test'] = demanding })(await)
        for name, authority in pairs { ['localhost'] = 'Strangers', ['secure.test'] = 'Staff' } do
          local _, out = P.run(await, { 'sh', '-c', ('openssl s_client -connect 127.0.0.1:%d -servername %s </dev/null')
            :format(watched.port, name) })
          local names = out:match 'Acceptable client certificate CA names\n(.-)\n%u'
          assert.equal('CN = ' .. authority, names)
        end
        P.close(await, watched.server)
      end))
    end)
  end
end

describe('the client-certificate policy of a context', function()
  for _, name in ipairs { 'requestCert', 'rejectUnauthorized' } do
    it('must be a boolean: ' .. name, function()
      local server = tls.createServer(pair(secure))
      local ok, err = pcall(server.addContext, server, 'secure.test', T.merged(pair(secure), { [name] = 'yes' }))
      assert.is_false(ok)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.equal(('The "options.%s" property must be of type boolean. Received type string (\'yes\')'):format(name),
        err.message)
    end)
  end

  it('does not follow it to a server that was given it as its own', P.test({}, function(await)
    local context = tls.createSecureContext(T.merged(pair(T.localhost), { requestCert = true, ca = staff.cert }))
    local watched = watch(await, { secureContext = context })
    assert.is_false(visit(await, watched, 'localhost').authorized)
    P.close(await, watched.server)
  end))
end)

describe('server:setSecureContext', function()
  it('serves new connections and leaves the living ones as they are', P.test({}, function(await)
    local watched = watch(await, {})
    local client = T.connect(watched.port)
    await(client, 'secureConnect')
    client:write('before')
    assert.equal('before', await(client, 'data'))
    watched.server:setSecureContext(pair(secure))
    client:write('after')
    assert.equal('after', await(client, 'data'))
    assert.equal('localhost', client:getPeerCertificate().subject.CN)
    local _, socket = visit(await, watched, 'secure.test')
    assert.equal('secure.test', socket.seen.cn)
    client:finish()
    await(client, 'close')
    P.close(await, watched.server)
  end))

  it('leaves a handshake that has begun as it was', P.test({}, function(await)
    local go
    local watched = watch(await, { SNICallback = function(_, callback)
      go = callback
    end })
    local client = T.connect(watched.port)
    while not go do
      await(function(later)
        setImmediate(later)
      end)
    end
    watched.server:setSecureContext(pair(secure))
    go(nil, nil)
    await(client, 'secureConnect')
    assert.equal('localhost', client:getPeerCertificate().subject.CN)
    client:finish()
    client:resume()
    await(client, 'close')
    P.close(await, watched.server)
  end))

  it('refuses what is no context and leaves the server as it was', P.test({}, function(await)
    local watched = watch(await, {})
    for _, bad in ipairs { 5, 'x', true } do
      local ok, err = pcall(watched.server.setSecureContext, watched.server, bad)
      assert.is_false(ok)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    end
    assert.is_false(pcall(watched.server.setSecureContext, watched.server, { key = 'x', cert = 'y' }))
    local _, socket = visit(await, watched, 'localhost')
    assert.equal('localhost', socket.seen.cn)
    P.close(await, watched.server)
  end))
end)

describe('a context', function()
  it('can serve two servers, a name and the client of both', P.test({}, function(await)
    local context = tls.createSecureContext(T.merged(pair(T.localhost), { ca = T.ca.cert }))
    local first = watch(await, { secureContext = context })
    local second = watch(await, { secureContext = context, requestCert = true })
    second.server:addContext('again.test', context)
    for _ = 1, 2 do
      visit(await, first, 'localhost', { secureContext = context })
      assert.equal('localhost', visit(await, second, 'localhost', { secureContext = context }).cn)
      assert.equal('localhost', visit(await, second, 'again.test', { secureContext = context,
        checkServerIdentity = function() end }).cn)
    end
    P.close(await, first.server)
    P.close(await, second.server)
  end))
end)

describe('minDHSize', function()
  local rsa = T.ca:issue { key = 'rsa' }

  local function finiteFields(version)
    return T.merged(pair(rsa), { dhparam = 'auto', minVersion = version, maxVersion = version,
      ciphers = version == 'TLSv1.2' and 'DHE-RSA-AES128-GCM-SHA256' or nil,
      ecdhCurve = version == 'TLSv1.3' and 'ffdhe2048' or nil })
  end

  for _, version in ipairs(VERSIONS) do
    it('refuses a smaller key exchange inside the handshake under ' .. version, P.test({}, function(await)
      local watched = watch(await, finiteFields(version))
      local err, theirs = turnedAway(await, watched, 'localhost', { minDHSize = 2049, rejectUnauthorized = false,
        ecdhCurve = version == 'TLSv1.3' and 'ffdhe2048' or nil })
      assert.equal('Error [ERR_TLS_DH_PARAM_SIZE]: DH parameter size 2048 is less than 2049', tostring(theirs))
      assert.equal(0, #watched.sockets)
      assert.equal(version == 'TLSv1.2' and 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE' or 'ECONNRESET', err.code)
      P.close(await, watched.server)
    end))

    it('lets one of that size pass under ' .. version, P.test({}, function(await)
      local watched = watch(await, finiteFields(version))
      visit(await, watched, 'localhost', { minDHSize = 2048, ecdhCurve = version == 'TLSv1.3' and 'ffdhe2048' or nil })
      P.close(await, watched.server)
    end))
  end

  it('has nothing to say about elliptic curves', P.test({}, function(await)
    local watched = watch(await, {})
    visit(await, watched, 'localhost', { minDHSize = 100000 })
    P.close(await, watched.server)
  end))

  for _, bad in ipairs { 'x', true, {} } do
    it('must be a number: ' .. type(bad), function()
      local ok, err = pcall(tls.connect, { port = 1, minDHSize = bad })
      assert.is_false(ok)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    end)
  end
end)

describe('the server name', function()
  for _, address in ipairs { '127.0.0.1', '::1', '::ffff:127.0.0.1' } do
    it('is never sent when it is the address ' .. address, P.test({}, function(await)
      local watched = watch(await, {})
      local seen = visit(await, watched, nil, { servername = address, checkServerIdentity = function() end })
      assert.is_false(seen.servername)
      local plain = net.connect(watched.port, '127.0.0.1')
      local socket = tls.TLSSocket(plain, { servername = address, ca = T.ca.cert, rejectUnauthorized = false })
      await(socket, 'secureConnect')
      socket:finish('x')
      socket:resume()
      await(socket, 'close')
      assert.is_false(watched.sockets[2].servername)
      P.close(await, watched.server)
    end))
  end
end)

describe('checkServerIdentity', function()
  it('is not asked about a chain that is bad, whether the client insists or not', P.test({}, function(await)
    local watched = watch(await, {})
    local function asked()
      error 'asked'
    end
    H.clientFailure(await, watched.port, { ca = staff.cert, checkServerIdentity = asked })
    local _, socket = visit(await, watched, 'localhost',
      { ca = staff.cert, checkServerIdentity = asked, rejectUnauthorized = false })
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', socket.seen.authorizationError)
    P.close(await, watched.server)
  end))
end)

describe('getSharedSigalgs', function()
  it('names what both ends know, in Node’s spelling', P.test({}, function(await, _, expect)
    local ed = T.ca:issue { key = 'ed25519' }
    local shared = { 'ECDSA+SHA256', 'Ed25519+UNDEF', 'RSA-PSS+SHA384' }
    local sigalgs = 'ECDSA+SHA256:ed25519:RSA-PSS+SHA384:RSA+SHA512'
    local server, port = P.serve(await, T.merged(pair(ed), { sigalgs = sigalgs }),
      expect(function(socket)
        assert.same(shared, socket:getSharedSigalgs())
        socket:pipe(socket)
      end))
    P.ownClientEcho(await, port, { sigalgs = 'ECDSA+SHA256:ed25519:RSA-PSS+SHA384:ECDSA+SHA512' }, 'hello')
    P.close(await, server)
  end))
end)

describe('getEphemeralKeyInfo', function()
  local rsa = T.ca:issue { key = 'rsa' }
  local cases = {
    { 'X25519', { type = 'ECDH', name = 'X25519', size = 253 }, { ecdhCurve = 'X25519' } },
    { 'P-256', { type = 'ECDH', name = 'prime256v1', size = 256 }, { ecdhCurve = 'P-256' } },
    { 'P-384', { type = 'ECDH', name = 'secp384r1', size = 384 }, { ecdhCurve = 'P-384' } },
    { 'X448', { type = 'ECDH', name = 'X448', size = 448 }, { ecdhCurve = 'X448' } },
    { 'finite fields', { type = 'DH', size = 2048 }, { maxVersion = 'TLSv1.2', ciphers = 'DHE-RSA-AES128-GCM-SHA256',
      dhparam = 'auto' } },
    { 'a static key', {}, { maxVersion = 'TLSv1.2', ciphers = 'AES128-GCM-SHA256' } },
  }
  for _, case in ipairs(cases) do
    it('describes ' .. case[1] .. ' to the client', P.test({}, function(await, _, expect)
      local server, port = P.serve(await, T.merged(pair(rsa), case[3]), expect(function(socket)
        assert.is_nil(socket:getEphemeralKeyInfo())
        socket:finish()
      end))
      local client = T.connect(port)
      await(client, 'secureConnect')
      assert.same(case[2], client:getEphemeralKeyInfo())
      client:resume()
      await(client, 'close')
      assert.is_nil(client:getEphemeralKeyInfo())
      P.close(await, server)
    end))
  end
end)

describe('setKeyCert', function()
  local rsa = T.ca:issue { key = 'rsa', names = { 'localhost' }, cn = 'rsa' }

  -- A net server whose connections become TLS by hand; `act(socket)` right after.
  local function byHand(await, options, act)
    return H.plainServer(await, function(plain)
      local socket = tls.TLSSocket(plain, T.merged({ isServer = true }, options))
      socket:on('error', function() end)
      act(socket)
      socket:pipe(socket)
    end)
  end

  for _, version in ipairs(VERSIONS) do
    it('shows another certificate on one connection under ' .. version, P.test({}, function(await)
      local server, port = byHand(await, T.merged(pair(T.localhost), { maxVersion = version }), function(socket)
        socket:setKeyCert(pair(rsa))
      end)
      assert.equal('rsa', P.ownClientEcho(await, port, {}, 'hello').seen.cn)
      P.close(await, server)
    end))
  end

  it('shows all the certificates of a context, and each client gets its kind', P.test({}, function(await)
    local ec = T.ca:issue { names = { 'localhost' }, cn = 'ec' }
    local both = tls.createSecureContext { key = { ec.key, rsa.key }, cert = { ec.cert, rsa.cert } }
    local server, port = byHand(await, pair(secure), function(socket)
      socket:setKeyCert(both)
    end)
    for cn, sigalgs in pairs { rsa = 'RSA-PSS+SHA256', ec = 'ECDSA+SHA256' } do
      -- The chain's own signatures have to be allowed too.
      local socket = P.ownClientEcho(await, port, { sigalgs = sigalgs .. ':ECDSA+SHA384', rejectUnauthorized = false },
        'hello')
      assert.equal(cn, socket.seen.cn)
    end
    P.close(await, server)
  end))

  it('comes before a handshake that waits for its connection', P.test({}, function(await)
    local server, port = P.serve(await, { requestCert = true, ca = staff.cert }, function(socket)
      assert.equal('ada', socket:getPeerCertificate().subject.CN)
      socket:finish()
    end)
    local client = T.connect(port)
    client:setKeyCert(pair(ada))
    client:resume()
    await(client, 'close')
    P.close(await, server)
  end))

  it('refuses what cannot be shown', P.test({}, function(await)
    local server, port = byHand(await, pair(secure), function(socket)
      for _, bad in ipairs { 5, 'x', false } do
        local ok, err = pcall(socket.setKeyCert, socket, bad)
        assert.is_false(ok)
        assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      end
      local ok, err = pcall(socket.setKeyCert, socket, { key = rsa.key, cert = secure.cert })
      assert.is_false(ok)
      assert.matches('^ERR_OSSL_', err.code)
    end)
    assert.equal('secure.test', P.ownClientEcho(await, port, { checkServerIdentity = function() end }, 'x').seen.cn)
    P.close(await, server)
  end))
end)

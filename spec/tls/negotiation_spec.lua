local spec = require 'moonlatch.spec'
local tls = require 'tls'
local T = require 'spec.support.tls'

describe('ALPN', function()
  local function agreeing(name, serverList, clientList, expected)
    T.eachVersion(it, name, function(version, done, expect)
      local server
      server = T.serve({ ALPNProtocols = serverList, minVersion = version, maxVersion = version },
        expect(function(socket)
          assert.equal(expected, socket.alpnProtocol)
          socket:finish()
        end), function(port)
          local client
          client = T.connect(port, { ALPNProtocols = clientList }, expect(function()
            assert.equal(expected, client.alpnProtocol)
          end))
          client:resume()
          client:on('close', expect(function()
            server:close(done)
          end))
        end)
    end)
  end

  agreeing("follows the server's order", { 'a', 'b', 'c' }, { 'c', 'b' }, 'b')
  agreeing('takes lists in wire format', '\1a\1b', '\1b', 'b')
  agreeing('is false when only the server has a list', { 'a' }, nil, false)
  agreeing('is false when only the client has a list', nil, { 'a' }, false)

  T.eachVersion(it, 'fails with an alert when there is nothing in common', function(version, done, expect)
    local server
    server = T.serve({ ALPNProtocols = { 'a' }, minVersion = version, maxVersion = version }, nil, function(port)
      local client = T.connect(port, { ALPNProtocols = { 'z' } })
      client:on('error', expect(function(err)
        assert.equal('ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', err.code)
        assert.equal(120, err.alert)
        assert.equal('peer', err.alertFrom)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
    server:on('tlsClientError', expect(function(err)
      assert.equal('ERR_SSL_NO_APPLICATION_PROTOCOL', err.code)
    end))
  end)

  it('converts lists', function()
    local out = {}
    tls.convertALPNProtocols({ 'http/1.1', 'h2' }, out)
    assert.equal('\8http/1.1\2h2', out.ALPNProtocols)
    local ok, err = pcall(tls.convertALPNProtocols, { ('x'):rep(256) }, out)
    assert.is_false(ok)
    assert.equal('ERR_OUT_OF_RANGE', err.code)
  end)
end)

describe('ciphers and versions', function()
  it('agree on what both ends were given', spec.async(function(done, expect)
    local server
    server = T.serve({ ciphers = 'ECDHE-ECDSA-AES256-GCM-SHA384:TLS_CHACHA20_POLY1305_SHA256' }, function(socket)
      socket:finish()
    end, function(port)
      local client
      client = T.connect(port, { maxVersion = 'TLSv1.2' }, expect(function()
        assert.same({ name = 'ECDHE-ECDSA-AES256-GCM-SHA384', version = 'TLSv1.2',
          standardName = 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384' }, client:getCipher())
      end))
      client:resume()
      client:on('close', function()
        local second
        second = T.connect(port, nil, expect(function()
          assert.equal('TLS_CHACHA20_POLY1305_SHA256', second:getCipher().name)
          assert.same({ type = 'ECDH', name = 'X25519', size = 253 }, second:getEphemeralKeyInfo())
        end))
        second:resume()
        second:on('close', expect(function()
          server:close(done)
        end))
      end)
    end)
  end))

  it('fail on both ends, with the reason, when versions do not meet', spec.async(function(done, expect)
    local server
    server = T.serve({ minVersion = 'TLSv1.3' }, nil, function(port)
      local client = T.connect(port, { maxVersion = 'TLSv1.2' })
      client:on('error', expect(function(err)
        assert.equal('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', err.code)
        assert.equal('SSL routines', err.library)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
    server:on('tlsClientError', expect(function(err)
      assert.equal('ERR_SSL_UNSUPPORTED_PROTOCOL', err.code)
    end))
  end))

  it('names what can be asked for', function()
    local list = tls.getCiphers()
    local sorted = { unpack(list) }
    table.sort(sorted)
    assert.same(sorted, list)
    local set = {}
    for _, name in ipairs(list) do
      assert.equal(name:lower(), name)
      set[name] = true
    end
    assert.is_true(set['tls_aes_256_gcm_sha384'])
    assert.is_true(set['ecdhe-rsa-aes128-gcm-sha256'])
  end)

  it('export the same keying material on both ends', spec.async(function(done, expect)
    local server, theirs
    server = T.serve({}, function(socket)
      theirs = socket:exportKeyingMaterial(32, 'EXPERIMENTAL label', 'context')
      socket:finish('now')
    end, function(port)
      local client = T.connect(port)
      assert.has_error(function()
        client:exportKeyingMaterial(32, 'label')
      end)
      client:on('data', expect(function()
        assert.equal(32, #theirs)
        assert.equal(theirs, client:exportKeyingMaterial(32, 'EXPERIMENTAL label', 'context'))
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))
end)

describe('sessions', function()
  T.eachVersion(it, 'resume from a ticket', function(version, done, expect)
    local server
    local reused = {}
    server = T.serve({ minVersion = version, maxVersion = version }, expect(function(socket)
      reused[#reused + 1] = socket:isSessionReused()
      socket:finish('x')
    end, 2), function(port)
      local session
      local first = T.connect(port, nil, expect(function() end))
      first:resume()
      first:on('session', function(data)
        assert.is_string(data)
        session = session or data
      end)
      first:on('close', expect(function()
        local second
        second = T.connect(port, { session = session }, expect(function()
          assert.is_true(second:isSessionReused())
          assert.is_true(second.authorized)
          assert.is_string(second:getSession())
          assert.equal('DNS:localhost', second:getPeerCertificate().subjectaltname:match('^[^,]+'))
        end))
        second:resume()
        second:on('close', expect(function()
          assert.same({ false, true }, reused)
          server:close(done)
        end))
      end))
    end)
  end)

  -- A second connection with the session of the first, which must not be let in: check(err).
  local function turnedAway(name, firstOptions, secondOptions, check)
    T.eachVersion(it, name, function(version, done, expect)
      local server
      server = T.serve({ minVersion = version, maxVersion = version }, function(socket)
        socket:on('error', function() end)
        socket:finish('x')
      end, function(port)
        local session
        local first = T.connect(port, firstOptions)
        first:resume()
        first:on('session', function(data)
          session = data
        end)
        first:on('close', expect(function()
          assert.is_string(session)
          local second = T.connect(port, T.merged({ session = session }, secondOptions))
          second:on('secureConnect', expect(0))
          second:on('error', expect(check))
          second:on('close', expect(function()
            server:close(done)
          end))
        end))
      end)
      server:on('tlsClientError', function() end)
    end)
  end

  turnedAway('that were made without verification do not get a verifying client in',
    { ca = {}, rejectUnauthorized = false }, {}, function(err)
      assert.matches('^UNABLE_TO', err.code)
    end)

  turnedAway('made for one name do not get a client of another name in', {}, { servername = 'elsewhere.test' },
    function(err)
      assert.equal('ERR_TLS_CERT_ALTNAME_INVALID', err.code)
      assert.equal('elsewhere.test', err.host)
    end)

  it('that are no sessions fail', spec.async(function(done, expect)
    local server
    server = T.serve({}, nil, function(port)
      local client = T.connect(port, { session = 'garbage' })
      client:on('error', expect(function(err)
        assert.is_string(err.code)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
    server:on('tlsClientError', function() end)
  end))
end)

describe('key logs', function()
  T.eachVersion(it, 'reach listeners on both ends, line by line', function(version, done, expect)
    local server
    local lines = { server = {}, client = {} }
    server = T.serve({ minVersion = version, maxVersion = version }, function(socket)
      socket:finish()
    end, function(port)
      local client = T.connect(port)
      client:resume()
      client:on('keylog', function(line)
        lines.client[line] = true
      end)
      client:on('close', expect(function()
        assert.same(lines.server, lines.client)
        local line = next(lines.client)
        assert.matches('^[%u%d_]+ %x+ %x+\n$', line)
        server:close(done)
      end))
    end)
    server:on('keylog', function(line, socket)
      assert.is_true(socket.encrypted)
      lines.server[line] = true
    end)
  end)
end)

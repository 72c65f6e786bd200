-- moonlatch's TLS client and the servers its users have: Node, openssl s_server, GnuTLS.
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local VERSIONS = {
  { name = 'TLSv1.2', flag = '-tls1_2', gnutls = 'NORMAL:-VERS-ALL:+VERS-TLS1.2' },
  { name = 'TLSv1.3', flag = '-tls1_3', gnutls = 'NORMAL:-VERS-ALL:+VERS-TLS1.3' },
}

local KEYS = { 'rsa', 'ec', 'ec:P-384', 'ed25519' }

local ada = T.ca:issue { cn = 'ada', purpose = 'client' }
local eve = spec.ca({ name = 'Another authority' }):issue { cn = 'eve', purpose = 'client' }

-- The one error of a connection that must not come about.
local function failure(await, port, options)
  local socket = T.connect(port, options)
  local errors = {}
  socket:resume()
  socket:on('error', function(err)
    errors[#errors + 1] = err
  end)
  await(function(closed)
    socket:on('close', function()
      closed()
    end)
  end)
  assert.equal(1, #errors)
  return errors[1]
end

describe("a client of Node's server", function()
  for _, version in ipairs(VERSIONS) do
    it('echoes, tells the name it wants and agrees by ALPN (' .. version.name .. ')', P.test({}, function(await)
      local other = T.ca:issue { names = { 'other.example' } }
      local server, port = P.nodeServer(await, { MAX_VERSION = version.name, ALPN = 'a,b',
        OTHER_NAME = 'other.example', OTHER_CERT = other.cert, OTHER_KEY = other.key })
      local socket = P.ownClientEcho(await, port, { ALPNProtocols = { 'b', 'c' } }, 'hello node')
      assert.same({ authorized = true, protocol = version.name, alpn = 'b', reused = false, cn = 'localhost',
        bits = 256 }, socket.seen)
      local facts = P.facts(server.stdout)
      assert.equal('localhost', facts.servername)
      assert.equal('b', facts.alpn)
      assert.equal(version.name, facts.protocol)

      socket = P.ownClientEcho(await, port, { servername = 'other.example' }, 'hello other')
      assert.equal('other.example', socket.seen.cn)
      assert.is_false(socket.seen.alpn)
      assert.equal('other.example', P.facts(server.stdout).servername)
      P.stop(await, server)
    end))

    it('resumes its session (' .. version.name .. ')', P.test({}, function(await)
      local server, port = P.nodeServer(await, { MAX_VERSION = version.name })
      local first = P.ownClientEcho(await, port, {}, 'hello')
      assert.is_false(first.seen.reused)
      local second = P.ownClientEcho(await, port, { session = first.session }, 'again')
      assert.is_true(second.seen.reused)
      assert.is_true(second.seen.authorized)
      assert.equal('true', P.facts(server.stdout).reused)
      P.stop(await, server)
    end))

    it('shows its certificate (' .. version.name .. ')', P.test({}, function(await)
      local server, port = P.nodeServer(await, { MAX_VERSION = version.name, CA = T.ca.cert, REQUEST_CERT = 'yes' })
      P.ownClientEcho(await, port, { key = ada.key, cert = ada.cert }, 'hello')
      local facts = P.facts(server.stdout)
      assert.equal('true', facts.authorized)
      assert.equal('ada', facts.cn)
      P.stop(await, server)
    end))
  end

  it('echoes a megabyte', P.test({}, function(await)
    local server, port = P.nodeServer(await)
    P.ownClientEcho(await, port, {}, ('0123456789abcdef'):rep(65536))
    P.stop(await, server)
  end))

  it('refuses what it cannot verify', P.test({}, function(await)
    local stranger = spec.selfSigned { names = { 'localhost' } }
    local server, port = P.nodeServer(await, { CERT = stranger.cert, KEY = stranger.key })
    local err = failure(await, port)
    assert.equal('DEPTH_ZERO_SELF_SIGNED_CERT', err.code)
    P.waitFor(await, server, 'stdout', 'tlsClientError=ERR_SSL_TLSV1_ALERT_UNKNOWN_CA\n')
    local socket = P.ownClientEcho(await, port, { rejectUnauthorized = false }, 'hello')
    assert.is_false(socket.seen.authorized)
    assert.equal('DEPTH_ZERO_SELF_SIGNED_CERT', socket.seen.authorizationError)
    P.stop(await, server)
  end))
end)

describe('a client of openssl s_server', function()
  for _, version in ipairs(VERSIONS) do
    for _, key in ipairs(KEYS) do
      local identity = T.ca:issue { names = { 'localhost' }, key = key, cn = 'key ' .. key }

      it(('echoes under a key of kind %s (%s)'):format(key, version.name), P.test({ server = identity },
        function(await, files)
          local server, port = P.sServer(await, { '-cert', files.server_cert, '-key', files.server_key, version.flag })
          local socket = P.ownClientEcho(await, port, {}, 'drawer\n', 'reward\n')
          assert.is_true(socket.seen.authorized)
          assert.equal(version.name, socket.seen.protocol)
          assert.equal('key ' .. key, socket.seen.cn)
          P.stop(await, server)
        end))
    end

    it('resumes its session (' .. version.name .. ')', P.test({ server = T.localhost }, function(await, files)
      local server, port = P.sServer(await, { '-cert', files.server_cert, '-key', files.server_key, version.flag })
      local first = P.ownClientEcho(await, port, {}, 'drawer\n', 'reward\n')
      local second = P.ownClientEcho(await, port, { session = first.session }, 'star\n', 'rats\n')
      assert.is_false(first.seen.reused)
      assert.is_true(second.seen.reused)
      P.stop(await, server)
    end))

    it('gets in by its certificate only (' .. version.name .. ')', P.test({ server = T.localhost },
      function(await, files)
        local server, port = P.sServer(await, { '-cert', files.server_cert, '-key', files.server_key, version.flag,
          '-Verify', '2', '-verify_return_error', '-CAfile', files.ca })
        local socket = P.ownClientEcho(await, port, { key = ada.key, cert = ada.cert }, 'drawer\n', 'reward\n')
        assert.is_true(socket.seen.authorized)
        local err = failure(await, port)
        assert.equal('peer', err.alertFrom)
        assert.equal(version.name == 'TLSv1.3' and 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'
          or 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', err.code)
        err = failure(await, port, { key = eve.key, cert = eve.cert })
        assert.equal('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', err.code)
        assert.equal('SSL routines', err.library)
        assert.equal('tlsv1 alert unknown ca', err.reason)
        P.stop(await, server)
      end))

    it('agrees on a protocol by ALPN (' .. version.name .. ')', P.test({ server = T.localhost },
      function(await, files)
        local server, port = P.sServer(await, { '-cert', files.server_cert, '-key', files.server_key, version.flag,
          '-alpn', 'h2,http/1.1' })
        local socket = P.ownClientEcho(await, port, { ALPNProtocols = { 'http/1.1', 'http/1.0' } }, 'drawer\n',
          'reward\n')
        assert.equal('http/1.1', socket.seen.alpn)
        P.stop(await, server)
      end))
  end
end)

describe("a client of GnuTLS's server", function()
  for _, version in ipairs(VERSIONS) do
    for _, key in ipairs(KEYS) do
      local identity = T.ca:issue { names = { 'localhost' }, key = key, cn = 'key ' .. key }

      it(('echoes under a key of kind %s (%s)'):format(key, version.name), P.test({ server = identity },
        function(await, files)
          local server, port = P.gnutlsServer(await, { '--x509certfile', files.server_cert, '--x509keyfile',
            files.server_key, '--priority', version.gnutls, '--disable-client-cert' })
          local socket = P.ownClientEcho(await, port, {}, 'hello gnutls\n')
          assert.is_true(socket.seen.authorized)
          assert.equal(version.name, socket.seen.protocol)
          assert.equal('key ' .. key, socket.seen.cn)
          P.stop(await, server)
        end))
    end

    it('shows its certificate, agrees by ALPN and resumes (' .. version.name .. ')', P.test({ server = T.localhost },
      function(await, files)
        local server, port = P.gnutlsServer(await, { '--x509certfile', files.server_cert, '--x509keyfile',
          files.server_key, '--priority', version.gnutls, '--require-client-cert', '--verify-client-cert',
          '--x509cafile', files.ca, '--alpn', 'echo/1' })
        local options = { key = ada.key, cert = ada.cert, ALPNProtocols = { 'echo/2', 'echo/1' } }
        local first = P.ownClientEcho(await, port, options, 'hello gnutls\n')
        assert.is_true(first.seen.authorized)
        assert.equal('echo/1', first.seen.alpn)
        assert.is_false(first.seen.reused)
        options.session = first.session
        local second = P.ownClientEcho(await, port, options, 'hello again\n')
        assert.is_true(second.seen.reused)
        P.stop(await, server)
      end))
  end
end)

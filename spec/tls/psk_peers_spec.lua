-- Pre-shared keys with other programs at the other end.
local M = require 'spec.support.meeting'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local HEX = '00112233445566778899aabbccddeeff'
local KEY = HEX:gsub('..', function(byte)
  return string.char(tonumber(byte, 16))
end)
local CIPHERS = 'ECDHE-PSK-AES128-CBC-SHA256:PSK-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256'

local VERSIONS = { 'TLSv1.2', 'TLSv1.3' }
local OPENSSL_FLAG = { ['TLSv1.2'] = '-tls1_2', ['TLSv1.3'] = '-tls1_3' }

local function later(_, identity, callback)
  setImmediate(callback, nil, identity == 'alice' and KEY or nil)
end

local function atOnce(_, identity)
  return identity == 'alice' and KEY or nil
end

-- An echo server without a certificate.
local function serve(await, version, options)
  return P.serve(await, T.merged({ key = false, cert = false, ciphers = CIPHERS, minVersion = version,
    maxVersion = version, pskIdentityHint = 'which one?',
    pskCallback = version == 'TLSv1.3' and later or atOnce }, options), function(socket)
    socket:pipe(socket)
  end)
end

local function clientOptions(version, hints)
  return {
    ciphers = CIPHERS, minVersion = version, maxVersion = version,
    checkServerIdentity = function() end,
    pskCallback = function(hint)
      hints[#hints + 1] = tostring(hint)
      return { psk = KEY, identity = 'alice' }
    end,
  }
end

local function expectedHints(version)
  return { version == 'TLSv1.2' and 'which one?' or 'nil' }
end

for _, version in ipairs(VERSIONS) do
  describe(version .. ' with a key:', function()
    it('openssl s_client', P.test({}, function(await)
      local server, port = serve(await, version)
      local status, stdout = P.sClientEcho(await, port,
        { OPENSSL_FLAG[version], '-psk', HEX, '-psk_identity', 'alice', '-cipher', 'PSK' })
      assert.equal(0, status)
      assert.matches('\ntyped into s_client\n', stdout)
      assert.matches(version == 'TLSv1.2' and 'PSK identity hint: which one%?' or 'Reused, TLSv1%.3', stdout)
      P.close(await, server)
    end))

    it('openssl s_client as somebody else', P.test({}, function(await)
      local failure
      local server, port = serve(await, version)
      server:on('tlsClientError', function(err)
        failure = err
      end)
      local command = P.sClient(port, { OPENSSL_FLAG[version], '-psk', HEX, '-psk_identity', 'bob', '-cipher', 'PSK' })
      P.over(await, command)
      assert.not_equal(0, command.status)
      assert.matches(version == 'TLSv1.2' and 'unknown psk identity' or 'handshake failure', command.stderr)
      P.close(await, server)
      assert.equal(version == 'TLSv1.2' and 'ERR_SSL_PSK_IDENTITY_NOT_FOUND'
        or 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', failure.code)
    end))

    it('openssl s_server', P.test({}, function(await)
      local server, port = P.sServer(await, { OPENSSL_FLAG[version], '-nocert', '-psk', HEX, '-psk_identity', 'alice',
        '-psk_hint', 'which one?', '-cipher', 'PSK' })
      local hints = {}
      local socket = P.ownClientEcho(await, port, clientOptions(version, hints), 'stressed\n', 'desserts\n')
      assert.is_true(socket.seen.authorized)
      assert.same(expectedHints(version), hints)
      P.stop(await, server)
    end))

    it("Node's client, twice", P.test({}, function(await)
      local server, port = serve(await, version)
      local facts, stdout = P.nodeClient(await, port, { PSK = HEX, IDENTITY = 'alice', CIPHERS = CIPHERS,
        MAX_VERSION = version, RESUME = 'yes' })
      assert.equal('hello from node', facts.echo)
      assert.same({ 'true', version, 'true', 'well' },
        { facts.authorized, facts.protocol, facts.reused, facts.closed })
      assert.matches('hint=' .. (version == 'TLSv1.2' and 'which one%?' or 'null'), stdout)
      P.close(await, server)
    end))

    it("Node's server, twice", P.test({}, function(await)
      local command, port = P.nodeServer(await, { CERT = '', KEY = '', PSK = HEX, IDENTITY = 'alice',
        HINT = 'which one?', CIPHERS = CIPHERS, MAX_VERSION = version })
      local hints = {}
      local first = P.ownClientEcho(await, port, clientOptions(version, hints), 'hello to node')
      assert.same(expectedHints(version), hints)
      assert.same({ true, version, version == 'TLSv1.3' },
        { first.seen.authorized, first.seen.protocol, first.seen.reused })
      local second = P.ownClientEcho(await, port,
        T.merged(clientOptions(version, hints), { session = first.session, pskCallback = function() end }), 'again')
      assert.same({ true, true }, { second.seen.authorized, second.seen.reused })
      P.stop(await, command)
    end))

    it('GnuTLS as a client', P.test({}, function(await)
      local protocol
      local server, port = serve(await, version)
      server:on('secureConnection', function(socket)
        protocol = socket:getProtocol()
      end)
      local _, stdout = P.run(await, { 'gnutls-cli', '--no-ca-verification', '--pskusername', 'alice', '--pskkey', HEX,
        '--priority', 'NORMAL:-VERS-ALL:+VERS-' .. version:gsub('v', '') .. ':-KX-ALL:+ECDHE-PSK:+PSK',
        '--port', tostring(port), '127.0.0.1' }, { input = 'from gnutls\n' })
      assert.matches('\nfrom gnutls\n', stdout)
      assert.equal(version, protocol)
      P.close(await, server)
    end))
  end)
end

describe('a server with a certificate and a key', function()
  -- Node's server goes by the suite, which has another hash by default, and leaves the key aside.
  it('takes the key of every client that has one', P.test({}, function(await)
    local server, port = serve(await, nil, { key = T.localhost.key, cert = T.localhost.cert, ciphers = false,
      pskCallback = later })
    local facts = P.nodeClient(await, port, { PSK = HEX, IDENTITY = 'alice' })
    assert.equal('true', facts.reused)
    local _, stdout = P.sClientEcho(await, port, { '-tls1_3', '-psk', HEX, '-psk_identity', 'alice' })
    assert.matches('no peer certificate available', stdout)
    local _, ofClient = M.visit(await, server, clientOptions('TLSv1.3', {}))
    assert.is_true(ofClient.reused)
    P.close(await, server)
  end))
end)

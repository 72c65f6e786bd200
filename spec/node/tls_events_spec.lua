-- Which events a TLS connection emits and in which order, as Node documents them ("Class: tls.TLSSocket",
-- "Class: tls.Server").

local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local util = require 'util'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'

local CLIENT_EVENTS = { 'connect', 'ready', 'secure', 'secureConnect', 'session', 'data', 'end', 'finish', 'close' }

describe('the events of a TLS connection', function()
  it('come on the client in this order under TLS 1.2 (connect, secureConnect, session, end, finish, close)',
    spec.async(function(done, expect)
      local order = {}
      local server
      server = T.serve({ maxVersion = 'TLSv1.2' }, expect(function(socket)
        socket:finish('hello')
        socket:resume()
      end), function(port)
        local client = T.connect(port)
        N.record(order, client, CLIENT_EVENTS)
        client:on('close', expect(function()
          assert.same({ 'connect', 'ready', 'secure', 'secureConnect', 'session', 'data', 'end', 'finish', 'close' },
            order)
          server:close(done)
        end))
      end)
    end))

  it('come on the client in this order under TLS 1.3, each ticket before the data behind it (session event)',
    spec.async(function(done, expect)
      local order = {}
      local server
      server = T.serve({ minVersion = 'TLSv1.3' }, expect(function(socket)
        socket:finish('hello')
        socket:resume()
      end), function(port)
        local client = T.connect(port)
        N.record(order, client, CLIENT_EVENTS)
        client:on('close', expect(function()
          assert.same({ 'connect', 'ready', 'secure', 'secureConnect', 'session', 'session', 'data', 'end', 'finish',
            'close' }, order)
          server:close(done)
        end))
      end)
    end))

  it('come on the server in this order (listening, secureConnection, close)', spec.async(function(done, expect)
    local order, server = {}, nil
    server = T.serve({}, expect(function(socket)
      N.record(order, socket, { 'data', 'end', 'finish', 'close' }, 'socket ')
      socket:on('data', function()
        socket:finish('bye')
      end)
    end), function(port)
      local client = T.connect(port)
      client:write('hello')
      client:resume()
      client:on('close', function()
        server:close(function()
          setImmediate(function()
            assert.same({ 'listening', 'connection', 'secureConnection', 'socket data', 'socket finish', 'socket end',
              'server close', 'socket close' }, order)
            done()
          end)
        end)
      end)
    end)
    N.record(order, server, { 'listening', 'connection', 'secureConnection' })
    server:on('close', function()
      order[#order + 1] = 'server close'
    end)
  end))

  it('are received by every listener, the callback of connect being one (secureConnect event)', spec.async(
    function(done, expect)
      local server
      server = T.serve({}, expect(function(socket)
        socket:finish()
        socket:resume()
      end), function(port)
        local client = T.connect(port, nil, expect())
        client:on('secureConnect', expect())
        client:once('secureConnect', expect())
        client:on('connect', expect())
        client:resume()
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
      server:on('secureConnection', expect())
    end))

  it('do not include connect for the server, nor secureConnect (secureConnection event)', spec.async(
    function(done, expect)
      local server
      server = T.serve({}, expect(function(socket)
        for _, name in ipairs { 'connect', 'ready', 'secureConnect', 'session' } do
          socket:on(name, expect(0))
        end
        socket:finish()
        socket:resume()
      end), function(port)
        local client = T.connect(port)
        client:resume()
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
    end))

  it('tell that the facts are known from secureConnect on (authorized, alpnProtocol, getProtocol)', spec.async(
    function(done, expect)
      local server
      server = T.serve({ ALPNProtocols = { 'echo' } }, function(socket)
        socket:finish()
        socket:resume()
      end, function(port)
        local client = T.connect(port, { ALPNProtocols = { 'other', 'echo' } })
        local function unknown()
          assert.is_false(client.authorized)
          assert.is_nil(client.authorizationError)
          assert.is_nil(client.alpnProtocol)
          assert.is_true(client.secureConnecting)
          assert.same({}, client:getPeerCertificate())
          assert.is_nil(client:getCipher())
          assert.is_nil(client:getSession())
          assert.is_false(client:isSessionReused())
          assert.is_nil(client:getFinished())
          assert.is_nil(client:getPeerFinished())
          assert.is_nil(client:getTLSTicket())
        end
        unknown()
        client:on('connect', expect(unknown))
        client:on('secureConnect', expect(function()
          assert.is_true(client.authorized)
          assert.equal('echo', client.alpnProtocol)
          assert.is_false(client.secureConnecting)
          assert.equal('localhost', client:getPeerCertificate().subject.CN)
          assert.is_string(client:getSession())
          assert.is_string(client:getFinished())
          assert.is_string(client:getPeerFinished())
        end))
        client:resume()
        client:on('close', expect(function()
          assert.is_true(client.authorized)
          assert.equal('echo', client.alpnProtocol)
          for _, getter in ipairs { 'getPeerCertificate', 'getCertificate', 'getCipher', 'getProtocol', 'getSession',
            'getFinished', 'getPeerFinished', 'getTLSTicket', 'getPeerX509Certificate', 'getX509Certificate',
            'getEphemeralKeyInfo', 'getSharedSigalgs', 'isSessionReused' } do
            assert.is_nil(client[getter](client), getter)
          end
          server:close(done)
        end))
      end)
    end))

  it('include keylog lines, on the socket and on the server (keylog event)', spec.async(function(done, expect)
    local ours, theirs, server = {}, {}, nil
    server = T.serve({ minVersion = 'TLSv1.3' }, function(socket)
      socket:finish()
      socket:resume()
    end, function(port)
      local client = T.connect(port)
      client:on('keylog', function(line)
        ours[#ours + 1] = line
      end)
      client:resume()
      client:on('close', expect(function()
        table.sort(ours)
        table.sort(theirs)
        assert.equal(5, #ours)
        assert.same(ours, theirs)
        assert.matches('^CLIENT_HANDSHAKE_TRAFFIC_SECRET %x+ %x+\n$', ours[1])
        server:close(done)
      end))
    end)
    server:on('keylog', function(line, socket)
      assert.is_true(util.isInstance(socket, tls.TLSSocket))
      theirs[#theirs + 1] = line
    end)
  end))
end)

describe('the connection event of a TLS server', function()
  it('brings the plain socket before the handshake (connection event)', spec.async(function(done, expect)
    local server
    server = T.serve({}, expect(function(socket)
      assert.is_true(socket.encrypted)
      socket:finish()
      socket:resume()
    end), function(port)
      local client = T.connect(port)
      client:resume()
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
    server:on('connection', expect(function(socket)
      assert.is_true(util.isInstance(socket, net.Socket))
      assert.is_nil(socket.encrypted)
    end))
  end))

  it('emitted by the script with a net.Socket starts TLS on it (connection event)', spec.async(
    function(done, expect)
      local secure = tls.createServer(T.identity(), expect(function(socket)
        socket:on('data', function(data)
          socket:finish(data:upper())
        end)
      end))
      local plain = net.createServer(function(socket)
        secure:emit('connection', socket)
      end)
      plain:listen(0, '127.0.0.1', function()
        local client = T.connect(plain:address().port, nil, expect())
        client:write('hello')
        client:on('data', expect(function(data)
          assert.equal('HELLO', data)
        end))
        client:on('close', expect(function()
          plain:close(done)
        end))
      end)
    end))

  it('emitted by the script reports failures as tlsClientError of that server (tlsClientError event)', spec.async(
    function(done, expect)
      local secure = tls.createServer(T.identity(), expect(0))
      secure:on('tlsClientError', expect(function(err, socket)
        assert.matches('^ERR_SSL_', err.code)
        assert.is_true(util.isInstance(socket, tls.TLSSocket))
      end))
      local plain = net.createServer(function(socket)
        socket:on('error', function() end)
        secure:emit('connection', socket)
      end)
      plain:listen(0, '127.0.0.1', function()
        local client = net.connect(plain:address().port, '127.0.0.1')
        client:write('this is no TLS at all\r\n\r\n')
        client:resume()
        client:on('error', function() end)
        client:on('close', expect(function()
          plain:close(done)
        end))
      end)
    end))
end)

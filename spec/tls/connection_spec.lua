local spec = require 'moonlatch.spec'
local tls = require 'tls'
local net = require 'net'
local util = require 'util'
local T = require 'spec.support.tls'

describe('a TLS connection', function()
  T.eachVersion(it, 'echoes and tells both ends the same facts', function(version, done, expect)
    local server
    server = T.serve({ minVersion = version, maxVersion = version }, expect(function(socket)
      assert.is_true(util.isInstance(socket, tls.TLSSocket))
      assert.is_true(util.isInstance(socket, net.Socket))
      assert.is_true(socket.encrypted)
      assert.equal(version, socket:getProtocol())
      assert.equal('localhost', socket.servername)
      assert.is_false(socket.alpnProtocol)
      assert.is_false(socket.authorized)
      assert.is_nil(socket.authorizationError)
      assert.same({}, socket:getPeerCertificate())
      assert.equal('127.0.0.1', socket.remoteAddress)
      socket:pipe(socket)
    end), function(port)
      local client
      client = T.connect(port, nil, expect(function()
        assert.is_true(client.authorized)
        assert.equal(version, client:getProtocol())
        assert.is_string(client:getCipher().name)
        assert.is_string(client:getCipher().standardName)
        assert.equal('localhost', client.servername)
        assert.equal(port, client.remotePort)
        assert.equal('IPv4', client.remoteFamily)
        assert.equal('DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
          client:getPeerCertificate().subjectaltname)
        client:finish('hello')
      end))
      client:setEncoding('utf8')
      local got = ''
      client:on('data', function(chunk)
        got = got .. chunk
      end)
      client:on('close', expect(function(hadError)
        assert.is_false(hadError)
        assert.equal('hello', got)
        assert.equal(5, client.bytesRead)
        assert.equal(5, client.bytesWritten)
        assert.is_nil(client:getPeerCertificate())
        assert.is_nil(client:getCipher())
        assert.is_nil(client:getProtocol())
        server:close(done)
      end))
    end)
  end)

  it('accepts every form of connect', spec.async(function(done, expect)
    local remaining, server = 5, nil
    server = T.serve({}, expect(function(socket)
      socket:finish('x')
    end, 5), function(port)
      local options = { ca = T.ca.cert, servername = 'localhost' }
      local function finished()
        remaining = remaining - 1
        if remaining == 0 then
          server:close(done)
        end
      end
      local sockets = {
        tls.connect(port, '127.0.0.1', options, expect()),
        tls.connect(port, options, expect()),
        tls.connect({ port = port, host = '127.0.0.1', ca = T.ca.cert, servername = 'localhost' }, expect()),
        tls.connect(tostring(port), '127.0.0.1', options),
        tls.connect(1, 'nowhere.invalid', { port = port, host = '127.0.0.1', ca = T.ca.cert,
          servername = 'localhost' }),
      }
      for _, socket in ipairs(sockets) do
        socket:resume()
        socket:on('close', expect(finished))
      end
    end)
  end))

  it('works over a unix socket', spec.async(function(done, expect)
    local dir = spec.tempdir()
    local path = dir .. '/tls.sock'
    local server = tls.createServer(T.identity(), expect(function(socket)
      socket:finish('over a path')
    end))
    server:listen(path, function()
      local client = tls.connect(path, { ca = T.ca.cert })
      client:on('data', expect(function(data)
        assert.equal('over a path', data)
      end))
      client:on('close', expect(function()
        server:close(function()
          spec.remove(dir)
          done()
        end)
      end))
    end)
  end))

  it('takes over a connected net.Socket on either side', spec.async(function(done, expect)
    local plain = net.createServer(expect(function(socket)
      local secure = tls.TLSSocket(socket, T.identity { isServer = true })
      secure:on('secure', expect(function()
        secure:pipe(secure)
      end))
    end))
    plain:listen(0, '127.0.0.1', function()
      local socket = net.connect(plain:address().port, '127.0.0.1')
      socket:on('connect', expect(function()
        local client = tls.connect({ socket = socket, ca = T.ca.cert, servername = 'localhost' }, expect(function()
          -- in the variable by now
        end))
        client:finish('wrapped')
        client:on('data', expect(function(data)
          assert.equal('wrapped', data)
        end))
        client:on('close', expect(function()
          plain:close(done)
        end))
      end))
    end)
  end))

  it('takes over a net.Socket that is still connecting', spec.async(function(done, expect)
    local server
    server = T.serve({}, expect(function(socket)
      socket:finish('later')
    end), function(port)
      local socket = net.connect(port, '127.0.0.1')
      local client = tls.connect({ socket = socket, ca = T.ca.cert, servername = 'localhost' }, expect())
      client:on('data', expect(function(data)
        assert.equal('later', data)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))

  it("shows the plain socket to listeners of 'connection' first", spec.async(function(done, expect)
    local order = {}
    local server
    server = T.serve({}, expect(function(socket)
      order[#order + 1] = 'secureConnection'
      socket:finish()
    end), function(port)
      local client = T.connect(port)
      client:resume()
      client:on('close', expect(function()
        assert.same({ 'connection', 'secureConnection' }, order)
        server:close(done)
      end))
    end)
    server:on('connection', expect(function(socket)
      order[#order + 1] = 'connection'
      assert.is_false(util.isInstance(socket, tls.TLSSocket))
      assert.equal('127.0.0.1', socket.remoteAddress)
    end))
  end))

  it('keeps what is written before the handshake is over', spec.async(function(done, expect)
    local server
    server = T.serve({}, function(socket)
      socket:pipe(socket)
    end, function(port)
      local client = T.connect(port)
      client:write('one ')
      client:write('two ', expect())
      client:finish('three')
      local got = ''
      client:on('data', function(chunk)
        got = got .. chunk
      end)
      client:on('close', expect(function()
        assert.equal('one two three', got)
        server:close(done)
      end))
    end)
  end))

  it('lets either end go on after the other has finished when half open is allowed', spec.async(function(done, expect)
    local server
    server = T.serve({ allowHalfOpen = true }, expect(function(socket)
      socket:on('end', expect(function()
        assert.is_true(socket.writable)
        socket:finish('after the end')
      end))
      socket:resume()
    end), function(port)
      local client = T.connect(port, { allowHalfOpen = true })
      client:finish('bye')
      client:on('data', expect(function(data)
        assert.equal('after the end', data)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))

  it('survives being destroyed in any of its events', spec.async(function(done)
    local events = { 'connect', 'secure', 'secureConnect', 'data', 'end' }
    local server, nextEvent
    server = T.serve({}, function(socket)
      socket:on('error', function() end)
      socket:finish('data')
    end, function(port)
      local i = 0
      nextEvent = function()
        i = i + 1
        if i > #events then
          server:close(done)
          return
        end
        local client = T.connect(port)
        client:resume()
        client:on(events[i], function()
          client:destroy()
        end)
        client:on('close', nextEvent)
      end
      nextEvent()
    end)
    server:on('tlsClientError', function() end)
  end))
end)

describe('a TLS server', function()
  T.eachVersion(it, 'asks for a client certificate and tells what it thinks of it', function(version, done, expect)
    local other = spec.ca { name = 'Another authority' }
    local cases = {
      { identity = T.ca:issue { cn = 'ada', purpose = 'client' }, authorized = true, cn = 'ada' },
      { identity = other:issue { cn = 'eve', purpose = 'client' }, authorized = false, cn = 'eve' },
      { authorized = false },
    }
    local server, i = nil, 0
    local visit
    server = T.serve({ requestCert = true, rejectUnauthorized = false, ca = T.ca.cert, minVersion = version,
      maxVersion = version }, expect(function(socket)
      local case = cases[i]
      assert.equal(case.authorized, socket.authorized)
      assert.equal(case.authorized, socket.authorizationError == nil)
      assert.equal(case.cn, (socket:getPeerCertificate().subject or {}).CN)
      socket:finish('seen')
    end, 3), function(port)
      visit = function()
        i = i + 1
        if i > #cases then
          server:close(done)
          return
        end
        local identity = cases[i].identity or {}
        local client = T.connect(port, { key = identity.key, cert = identity.cert })
        client:resume()
        client:on('close', visit)
      end
      visit()
    end)
  end)

  T.eachVersion(it, 'turns clients without a good certificate away', function(version, done, expect)
    local server
    server = T.serve({ requestCert = true, ca = T.ca.cert, minVersion = version, maxVersion = version }, function()
      error('no connection expected')
    end, function(port)
      local client = T.connect(port)
      client:resume()
      client:on('error', expect(function(err)
        assert.matches('^ERR_SSL_', err.code)
        assert.equal('peer', err.alertFrom)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
    server:on('tlsClientError', expect(function(err, socket)
      assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', err.code)
      assert.is_true(util.isInstance(socket, tls.TLSSocket))
    end))
  end)

  it('ends a handshake that takes too long', spec.async(function(done, expect)
    local server
    server = T.serve({ handshakeTimeout = 50 }, nil, function(port)
      local silent = net.connect(port, '127.0.0.1')
      silent:resume()
      silent:on('close', expect(function()
        server:close(done)
      end))
    end)
    server:on('tlsClientError', expect(function(err, socket)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
      assert.equal('127.0.0.1', socket.remoteAddress)
    end))
  end))

  it('replaces its context for connections to come', spec.async(function(done, expect)
    local second = T.ca:issue { names = { 'localhost' }, cn = 'second' }
    local server
    server = T.serve({}, function(socket)
      socket:on('error', function() end)
      socket:write('hello')
    end, function(port)
      local first
      first = T.connect(port, nil, expect(function()
        server:setSecureContext { key = second.key, cert = second.cert }
        local client
        client = T.connect(port, nil, expect(function()
          assert.equal('second', client:getPeerCertificate().subject.CN)
          assert.not_equal('second', first:getPeerCertificate().subject.CN)
          client:destroy()
          first:destroy()
          server:close(done)
        end))
      end))
    end)
  end))

  it('gives and takes ticket keys', function()
    local server = tls.createServer(T.identity())
    local keys = server:getTicketKeys()
    assert.equal(48, #keys)
    local mine = ('k'):rep(48)
    server:setTicketKeys(mine)
    assert.equal(mine, server:getTicketKeys())
    assert.equal(mine, tls.createServer({ ticketKeys = mine }):getTicketKeys())
    local ok, err = pcall(server.setTicketKeys, server, 'short')
    assert.is_false(ok)
    assert.equal('ERR_INVALID_ARG_VALUE', err.code)
  end)
end)

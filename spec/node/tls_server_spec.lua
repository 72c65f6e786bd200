-- What Node documents of tls.Server: options, addContext, SNICallback, timeouts, closing, counting.

local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local util = require 'util'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'
local program = require 'spec.support.program'

local raises = N.raises

local function ignore() end

describe('tls.createServer', function()
  it('gives a server that is a net.Server too (tls.createServer)', function()
    local function listener() end
    for _, server in ipairs { tls.createServer(listener), tls.createServer({}, listener), tls.Server({}, listener) } do
      assert.is_true(util.isInstance(server, tls.Server))
      assert.is_true(util.isInstance(server, net.Server))
      assert.same({ listener }, server:listeners('secureConnection'))
      assert.is_false(server.listening)
    end
    assert.same({}, tls.createServer():listeners('secureConnection'))
  end)

  it('refuses options of a wrong type (tls.createServer)', function()
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, 'options')
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, 5)
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, { handshakeTimeout = 'soon' })
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, { sessionTimeout = 'abc' })
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, { ticketKeys = 5 })
    raises('ERR_INVALID_ARG_VALUE', tls.createServer, { ticketKeys = 'short' })
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, { SNICallback = 'a name' })
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, { ciphers = 1 })
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, { passphrase = 1 })
    raises('ERR_INVALID_ARG_TYPE', tls.createServer, { ecdhCurve = 1 })
  end)

  it('may be subclassed (new tls.Server)', spec.async(function(done, expect)
    local Mine = tls.Server:extend('Mine')
    local server = Mine(T.identity(), expect(function(socket)
      socket:finish()
      socket:resume()
    end))
    assert.is_true(util.isInstance(server, tls.Server))
    server:listen(0, '127.0.0.1', function()
      local client = T.connect(server:address().port)
      client:resume()
      client:on('close', function()
        server:close(done)
      end)
    end)
  end))
end)

describe('a TLS server', function()
  it('names itself in its sockets and counts them (socket.server, getConnections)', spec.async(
    function(done, expect)
      N.securePair(function(client, peer, over)
        local server = peer.server
        assert.is_true(util.isInstance(server, tls.Server))
        server:getConnections(expect(function(err, count)
          assert.is_nil(err)
          assert.equal(1, count)
          client:destroy()
          peer:resume()
          peer:on('close', function()
            server:getConnections(expect(function(_, left)
              assert.equal(0, left)
              over(done)
            end))
          end)
        end))
      end)
    end))

  it('counts a connection once when the script listens for plain ones too (getConnections)', spec.async(
    function(done, expect)
      local server
      server = T.serve({}, expect(function(socket)
        server:getConnections(expect(function(_, count)
          assert.equal(1, count)
          socket:finish()
          socket:resume()
        end))
      end), function(port)
        local client = T.connect(port)
        client:resume()
        client:on('close', function()
          server:close(function()
            server:getConnections(expect(function(_, count)
              assert.equal(0, count)
              done()
            end))
          end)
        end)
      end)
      server:on('connection', expect())
    end))

  it('drops connections beyond maxConnections (server.maxConnections, drop event)', spec.async(
    function(done, expect)
      local server
      server = T.serve({}, expect(function(socket)
        socket:resume()
        socket:on('error', ignore)
      end), function(port)
        server.maxConnections = 1
        local first
        first = T.connect(port, nil, function()
          local second = T.connect(port)
          second:on('secureConnect', expect(0))
          second:on('error', expect(function(err)
            assert.equal('ECONNRESET', err.code)
          end))
          second:on('close', expect(function()
            first:destroy()
            server:close(done)
          end))
        end)
      end)
      server:on('drop', expect(function(info)
        assert.equal('127.0.0.1', info.remoteAddress)
      end))
    end))

  it('closes when the last secure socket has ended (close event)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      local ended = false
      over(function()
        assert.is_true(ended)
        done()
      end)
      peer:pipe(peer)
      setTimeout(function()
        client:on('data', expect(function(data)
          assert.equal('still served', data)
          ended = true
          client:finish()
        end))
        client:write('still served')
      end, 20)
    end)
  end))

  it('hands sockets over paused with pauseOnConnect (pauseOnConnect)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      assert.is_true(peer:isPaused())
      client:finish('patience')
      client:resume()
      setTimeout(function()
        assert.equal(#'patience', peer.readableLength)
        peer:on('data', expect(function(data)
          assert.equal('patience', data)
        end))
        peer:on('close', expect(function()
          over(done)
        end))
        peer:resume()
      end, 30)
    end, { server = { pauseOnConnect = true } })
  end))

  it('gives a slow client up with ERR_TLS_HANDSHAKE_TIMEOUT (handshakeTimeout, tlsClientError)', spec.async(
    function(done, expect)
      local server
      server = T.serve({ handshakeTimeout = 30 }, expect(0), function(port)
        local slow = net.connect(port, '127.0.0.1')
        slow:on('error', ignore)
        slow:resume()
        slow:on('close', expect(function()
          server:close(done)
        end))
      end)
      server:on('tlsClientError', expect(function(err, socket)
        assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
        assert.equal('TLS handshake timeout', err.message)
        assert.equal('127.0.0.1', socket.remoteAddress)
      end))
    end))

  it('knows no such hurry once the handshake is over (handshakeTimeout)', spec.async(function(done, expect)
    local server
    server = N.securePair(function(client, peer, over)
      peer:on('error', expect(0))
      peer:pipe(peer)
      -- One that comes later and is given up has outlasted the same time.
      local silent = net.connect(server:address().port, '127.0.0.1')
      silent:on('error', ignore)
      silent:resume()
      server:on('tlsClientError', expect(function(err)
        assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
        client:on('data', expect(function()
          client:finish()
        end))
        client:on('close', function()
          over(done)
        end)
        client:write('late, but here')
      end))
    end, { server = { handshakeTimeout = T.handshakeTimeout } })
  end))

  it('goes on when a listener of one connection throws (secureConnection event)', spec.async(
    function(done, expect)
      local served, seen, server = 0, {}, nil
      local function onUncaught(err)
        seen[#seen + 1] = tostring(err)
      end
      process:on('uncaughtException', onUncaught)
      server = T.serve({}, function(socket)
        socket:on('error', ignore)
        served = served + 1
        if served == 1 then
          socket:destroy()
          error('a mistake in the script')
        end
        socket:finish('fine')
        socket:resume()
      end, function(port)
        local broken = T.connect(port)
        broken:on('error', ignore)
        broken:resume()
        broken:on('close', function()
          local good = T.connect(port)
          good:on('data', expect(function(data)
            assert.equal('fine', data)
          end))
          good:on('close', expect(function()
            process:removeListener('uncaughtException', onUncaught)
            assert.equal(1, #seen)
            assert.matches('a mistake in the script', seen[1])
            server:close(done)
          end))
        end)
      end)
    end))
end)

describe('a connection that is paused from the start', function()
  it('reads as much as its buffer takes and hears of the end (pauseOnConnect)', spec.async(function(done, expect)
    local server
    server = T.serve({ pauseOnConnect = true, allowHalfOpen = true }, expect(function(socket)
      assert.is_true(socket:isPaused())
      assert.is_true(socket.allowHalfOpen)
      socket:on('data', expect(0))
      socket:on('end', expect(function()
        assert.is_true(socket:isPaused())
        socket:finish()
      end))
    end), function(port)
      local client
      client = T.connect(port, nil, expect(function()
        client:finish()
      end))
      client:resume()
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))

  it('keeps what comes until it is resumed (pauseOnConnect)', spec.async(function(done, expect)
    local server
    server = T.serve({ pauseOnConnect = true }, expect(function(socket)
      socket:on('readable', expect(function()
        socket:removeAllListeners('readable')
        local text = ''
        socket:on('data', function(chunk)
          text = text .. chunk
        end)
        socket:on('end', expect(function()
          assert.equal('kept', text)
        end))
        socket:resume()
      end))
    end), function(port)
      T.connect(port):finish('kept')
    end)
    server:on('secureConnection', function(socket)
      socket:on('close', function()
        server:close(done)
      end)
    end)
  end))
end)

describe('the context for a name', function()
  local a = T.ca:issue { names = { 'a.example.com' }, cn = 'a' }
  local wild = T.ca:issue { names = { '*.test.com' }, cn = 'wild' }

  -- Asks one server for several names; `expected[name]` is the CN that is shown.
  local function shows(prepare, expected, options)
    return spec.async(function(done, expect)
      local names = {}
      for name in pairs(expected) do
        names[#names + 1] = name
      end
      local server
      server = T.serve(options, function(socket)
        socket:finish()
        socket:resume()
      end, function(port)
        prepare(server)
        local left = #names
        for _, name in ipairs(names) do
          local client
          client = T.connect(port, { servername = name, rejectUnauthorized = false }, expect(function()
            assert.equal(expected[name], client:getPeerCertificate().subject.CN, name)
          end))
          client:resume()
          client:on('close', function()
            left = left - 1
            if left == 0 then
              server:close(done)
            end
          end)
        end
      end)
    end)
  end

  it('is the one that addContext was given, by name or wildcard (addContext)', shows(function(server)
    server:addContext('a.example.com', { key = a.key, cert = a.cert })
    server:addContext('*.test.com', { key = wild.key, cert = wild.cert })
  end, {
    ['a.example.com'] = 'a', ['A.Example.COM'] = 'a', ['b.test.com'] = 'wild', ['test.com'] = 'localhost',
    ['c.b.test.com'] = 'localhost', ['other.example.com'] = 'localhost',
  }))

  it('is the last of those that match (addContext)', shows(function(server)
    server:addContext('*.example.com', { key = wild.key, cert = wild.cert })
    server:addContext('a.example.com', { key = a.key, cert = a.cert })
    server:addContext('b.test.com', { key = a.key, cert = a.cert })
    server:addContext('*.test.com', tls.createSecureContext { key = wild.key, cert = wild.cert })
  end, { ['a.example.com'] = 'a', ['x.example.com'] = 'wild', ['b.test.com'] = 'wild' }))

  it("is the server's when SNICallback gives none (SNICallback)", shows(ignore, { ['a.example.com'] = 'localhost' }, {
    SNICallback = function(name, callback)
      assert.equal('a.example.com', name)
      callback(nil, nil)
    end,
  }))

  it('may be given later by SNICallback (SNICallback)', shows(ignore, { ['a.example.com'] = 'a' }, {
    SNICallback = function(_, callback)
      setTimeout(callback, 10, nil, tls.createSecureContext { key = a.key, cert = a.cert })
    end,
  }))

  it('needs a name (addContext)', function()
    local server = tls.createServer(T.identity())
    raises('ERR_TLS_REQUIRED_SERVER_NAME', server.addContext, server, nil, {})
    raises('ERR_TLS_REQUIRED_SERVER_NAME', server.addContext, server, '', {})
  end)

  it('that is none fails the connection with Invalid SNI context (SNICallback, tlsClientError)', spec.async(
    function(done, expect)
      local server
      server = T.serve({ SNICallback = function(_, callback)
        callback(nil, {})
      end }, expect(0), function(port)
        local client = T.connect(port)
        client:on('error', expect())
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
      server:on('tlsClientError', expect(function(err)
        assert.equal('Invalid SNI context', err.message)
      end))
    end))
end)

describe('a program with TLS connections', function()
  local function run(code)
    return program.eval(([[
      local spec = require 'moonlatch.spec'
      local tls = require 'tls'
      local ca = spec.ca()
      local identity = ca:issue { names = { 'localhost' } }
      local server = tls.createServer { key = identity.key, cert = identity.cert }
      local function connect(callback)
        return tls.connect({ port = server:address().port, host = '127.0.0.1', servername = 'localhost',
          ca = ca.cert }, callback)
      end
      server:listen(0, '127.0.0.1', function() %s end)
    ]]):format(code))
  end

  it('ends when its server and sockets are unreferenced (server.unref, socket.unref)', function()
    local outcome = run [[
      server:unref()
      server:on('secureConnection', function(socket) socket:unref() end)
      local client
      client = connect(function() print 'secure' client:unref() end)
      client:resume()
    ]]
    assert.same({ 0, 'secure\n', '' }, { outcome.status, outcome.out, outcome.err })
  end)

  it('ends in the middle of a handshake that is unreferenced (socket.unref)', function()
    local outcome = run [[
      server:close()
      local plain = require('net').createServer(function(socket) socket:unref() end):listen(0, '127.0.0.1')
      plain:unref()
      local client = tls.connect { port = plain:address().port, host = '127.0.0.1' }
      client:unref()
      local hold = setTimeout(function() end, 60000)
      client:on('connect', function()
        print 'never secure'
        clearTimeout(hold)
      end)
    ]]
    assert.same({ 0, 'never secure\n', '' }, { outcome.status, outcome.out, outcome.err })
  end)

  it('dies of an error event that nobody listens for (error event)', function()
    local outcome = run [[
      server:close()
      tls.connect { port = server:address() and 1 or 1, host = '127.0.0.1' }
    ]]
    assert.equal(1, outcome.status)
    assert.matches('connect ECONNREFUSED 127%.0%.0%.1:1', outcome.err)
  end)

  it('does not die of a tlsClientError that nobody listens for (tlsClientError event)', function()
    local outcome = run [[
      local junk = require('net').connect(server:address().port, '127.0.0.1')
      junk:on('error', function() end)
      junk:on('close', function() print 'closed' server:close() end)
      junk:write 'junk junk junk junk'
      junk:resume()
    ]]
    assert.same({ 0, 'closed\n', '' }, { outcome.status, outcome.out, outcome.err })
  end)
end)

describe('setOptions', function()
  it('changes whom the server asks for a certificate, and warns once (server.setOptions)', spec.async(
    function(done, expect)
      local process = require 'process'
      local function onWarning(warning)
        assert.equal('DEP0122', warning.code)
        assert.equal('Server.prototype.setOptions() is deprecated', warning.message)
        process:removeListener('warning', onWarning)
        done()
      end
      process:on('warning', expect(onWarning))
      local server = tls.createServer()
      assert.is_nil(server.clientCertEngine)
      server:setOptions { clientCertEngine = 'some engine', requestCert = true, rejectUnauthorized = false }
      assert.equal('some engine', server.clientCertEngine)
      assert.is_true(server.requestCert)
      assert.is_false(server.rejectUnauthorized)
      server:setOptions {}
      assert.is_false(server.requestCert)
      assert.is_true(server.rejectUnauthorized)
      N.raises('ERR_INVALID_ARG_TYPE', server.setOptions, server, 'options')
      N.raises('ERR_INVALID_ARG_TYPE', server.setOptions, server, { requestCert = 1 })
    end))
end)

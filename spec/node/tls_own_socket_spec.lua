-- What Node does with TLSSockets that a script makes itself, and with the options that they share with net.Socket.

local net = require 'net'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'

local function ignore() end

local function identity(options)
  return T.identity(T.merged({ isServer = true }, options))
end

describe('allowHalfOpen', function()
  it('is an option of a TLSSocket that makes its own connection (new tls.TLSSocket)', function()
    assert.is_false(tls.TLSSocket().allowHalfOpen)
    assert.is_true(tls.TLSSocket(nil, { allowHalfOpen = true }).allowHalfOpen)
  end)

  it('is what the stream below says for one that is given a stream (new tls.TLSSocket)', function()
    for _, halfOpen in ipairs { true, false } do
      local socket = tls.TLSSocket(net.Socket { allowHalfOpen = halfOpen }, { allowHalfOpen = not halfOpen })
      assert.equal(halfOpen, socket.allowHalfOpen)
      socket:destroy()
      local lower = stream.Duplex { allowHalfOpen = halfOpen, read = ignore, write = ignore }
      socket = tls.TLSSocket(lower, identity { allowHalfOpen = not halfOpen })
      assert.equal(halfOpen, socket.allowHalfOpen)
      socket:destroy()
    end
  end)
end)

describe('a signal that was aborted before', function()
  local makers = {
    ['net.connect'] = function(options)
      return net.connect(options)
    end,
    ['tls.connect'] = function(options)
      return tls.connect(options)
    end,
    ['new tls.TLSSocket'] = function(options)
      return tls.TLSSocket(nil, options)
    end,
    ['tls.connect over a socket'] = function(options)
      return tls.connect { socket = net.connect(options.port, options.host), signal = options.signal }
    end,
  }
  for name, make in pairs(makers) do
    it(('is the error of the socket, which never connects (signal, %s)'):format(name), spec.async(
      function(done, expect)
        N.listening(nil, function(server, port)
          local controller = AbortController()
          controller:abort()
          local socket = make { port = port, host = '127.0.0.1', signal = controller.signal }
          local order = {}
          N.record(order, socket, { 'connect', 'error', 'close' })
          socket:on('error', expect(function(err)
            assert.equal('AbortError', err.name)
          end))
          -- The loop has nothing left when a connection is neither there nor on its way.
          socket:on('close', expect(function()
            server:getConnections(expect(function()
              server:close(function()
                assert.same({ 'error', 'close' }, order)
                done()
              end)
            end))
          end))
        end)
      end))
  end
end)

describe('the time of a socket that carries TLS', function()
  it('does not count what it does not see (setTimeout)', spec.async(function(done, expect)
    local server
    server = T.serve({}, function(socket)
      socket:pipe(socket)
    end, function(port)
      local plain = net.connect(port, '127.0.0.1')
      local client = tls.connect { socket = plain, servername = 'localhost', ca = T.ca.cert }
      local left = 5
      client:on('secureConnect', expect(function()
        plain:setTimeout(10, expect(0))
        client:write('x')
      end))
      client:on('data', function()
        left = left - 1
        setTimeout(function()
          if left > 0 then
            client:write('x')
          else
            client:destroy()
          end
        end, 5)
      end)
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))
end)

describe('the object ssl of old', function()
  it('tells what is wrong with the peer, and is gone with the socket (socket.ssl)', spec.async(
    function(done, expect)
      local server
      server = T.serve({}, function(socket)
        socket:resume()
      end, function(port)
        local socket = tls.TLSSocket(nil, { rejectUnauthorized = false })
        assert.is_nil(socket.ssl:verifyError())
        assert.equal(-1, socket.ssl.fd)
        socket:connect(port, '127.0.0.1')
        socket:on('secure', expect(function()
          local ssl = socket.ssl
          local err = ssl:verifyError()
          assert.is_true(ssl.fd > 2)
          assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', err.code)
          assert.equal('unable to verify the first certificate', err.message)
          assert.equal(err.code, socket.authorizationError)
          socket:destroy()
          assert.is_nil(ssl:verifyError())
          assert.is_nil(socket.ssl)
        end))
        socket:on('close', expect(function()
          server:close(done)
        end))
      end)
    end))
end)

describe('a server that is named as an option', function()
  -- A TLSSocket of the script's on a connection of `plain`'s; `server` is what it names.
  local function over(onSocket, onClient)
    return spec.async(function(done, expect)
      local server = tls.createServer(identity())
      local mute = expect(0)
      server:on('tlsClientError', mute)
      server:on('secureConnection', mute)
      local plain
      plain = net.createServer(expect(function(socket)
        onSocket(tls.TLSSocket(socket, identity { server = server }), expect, function()
          plain:close(done)
        end)
      end))
      plain:listen(0, '127.0.0.1', function()
        onClient(plain:address().port)
      end)
    end)
  end

  local function garbage(port)
    local client
    client = net.connect(port, '127.0.0.1', function()
      client:write(('*'):rep(1024))
    end)
    client:on('error', ignore)
    client:resume()
  end

  it('does not hear of failures, which are the error event of the socket (new tls.TLSSocket)', over(
    function(socket, expect, over_)
      socket:on('error', expect(function(err)
        assert.equal('ERR_SSL_WRONG_VERSION_NUMBER', err.code)
        assert.equal('wrong version number', err.reason)
      end))
      socket:on('close', expect(over_))
    end, garbage))

  it('goes on although nobody listens for the error event of the socket (new tls.TLSSocket)', over(
    function(socket, expect, over_)
      socket:on('close', expect(function(hadError)
        assert.is_true(hadError)
        over_()
      end))
    end, garbage))

  it('does not announce the connection, whose event is secure (new tls.TLSSocket)', over(
    function(socket, expect, over_)
      socket:on('secure', expect(function()
        socket:finish('hello')
      end))
      socket:resume()
      socket:on('close', expect(over_))
    end, function(port)
      T.connect(port):resume()
    end))
end)

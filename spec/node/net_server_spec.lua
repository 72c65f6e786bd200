-- What Node's documentation promises of net.Server ("Class: net.Server").

local net = require 'net'
local spec = require 'moonlatch.spec'
local util = require 'util'
local N = require 'spec.support.node'
local program = require 'spec.support.program'

local raises = N.raises

describe('net.createServer', function()
  it('takes options, a listener, both or neither (net.createServer)', function()
    local function listener() end
    for _, server in ipairs { net.createServer(listener), net.createServer({}, listener), net.Server(listener) } do
      assert.is_true(util.isInstance(server, net.Server))
      assert.same({ listener }, server:listeners('connection'))
    end
    assert.same({}, net.createServer():listeners('connection'))
    assert.same({}, net.createServer({}):listeners('connection'))
  end)

  it('refuses options that are none (net.createServer)', function()
    for _, value in ipairs { 'path', 5, true } do
      raises('ERR_INVALID_ARG_TYPE', net.createServer, value)
    end
  end)

  it('gives a server that does not listen (listening, address)', function()
    local server = net.createServer()
    assert.is_false(server.listening)
    assert.is_nil(server:address())
    assert.equal(server, server:ref())
    assert.equal(server, server:unref())
  end)

  it('may be subclassed (new net.Server)', spec.async(function(done, expect)
    local Mine = net.Server:extend('Mine')
    function Mine:greet(socket)
      socket:finish('hello from ' .. self.name)
    end
    local server = Mine()
    server.name = 'mine'
    server:on('connection', function(socket)
      assert.equal(server, socket.server)
      server:greet(socket)
    end)
    server:listen(0, '127.0.0.1', function()
      local client = net.connect(server:address().port, '127.0.0.1')
      client:on('data', expect(function(data)
        assert.equal('hello from mine', data)
      end))
      client:on('close', function()
        server:close(done)
      end)
    end)
  end))
end)

describe('Server.listen', function()
  it('refuses ports that are none (server.listen)', function()
    for _, port in ipairs { -1, 65536, 1.5, 1 / 0, 1e9 } do
      raises('ERR_SOCKET_BAD_PORT', function()
        net.createServer():listen { port = port }
      end)
    end
    raises('ERR_SOCKET_BAD_PORT', function()
      net.createServer():listen(65536)
    end)
    local err = raises('ERR_SOCKET_BAD_PORT', function()
      net.createServer():listen { port = -1 }
    end)
    assert.equal('options.port should be >= 0 and < 65536. Received type number (-1).', err.message)
  end)

  it('refuses options that name no place (server.listen)', function()
    for _, options in ipairs { {}, { host = 'localhost' }, { port = true }, { port = {} }, { fd = -1 },
      { path = true }, { path = 5 }, { something = 1 } } do
      raises('ERR_INVALID_ARG_VALUE', function()
        net.createServer():listen(options)
      end)
    end
  end)

  it('emits listening in a later tick and returns the server (listening event)', spec.async(function(done, expect)
    local server, returned = net.createServer(), false
    server:on('listening', expect(function()
      assert.is_true(returned)
      assert.is_true(server.listening)
      server:close(done)
    end))
    assert.equal(server, server:listen(0, '127.0.0.1', expect()))
    assert.is_true(server.listening)
    returned = true
  end))

  it('knows its port as soon as it has returned (server.address)', spec.async(function(done)
    local server = net.createServer():listen(0, '127.0.0.1')
    local address = server:address()
    assert.equal('127.0.0.1', address.address)
    assert.equal('IPv4', address.family)
    assert.is_true(address.port > 0)
    server:close(done)
  end))

  it('reports that the address is in use in a later tick (error event)', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local second = net.createServer()
      second:listen(port, '127.0.0.1', expect(0))
      second:on('error', expect(function(err)
        assert.equal('EADDRINUSE', err.code)
        assert.equal('listen', err.syscall)
        assert.equal(-98, err.errno)
        assert.equal(port, err.port)
        assert.equal('127.0.0.1', err.address)
        assert.equal(('listen EADDRINUSE: address already in use 127.0.0.1:%d'):format(port), err.message)
        assert.is_false(second.listening)
        server:close(done)
      end))
    end)
  end))

  it('works again after a failure, the callbacks of both calls standing (server.listen)', spec.async(
    function(done, expect)
      N.listening(nil, function(server, port)
        local second = net.createServer()
        second:on('error', expect(function()
          second:listen(0, '127.0.0.1', expect(function()
            second:close(function()
              server:close(done)
            end)
          end))
        end))
        second:listen(port, '127.0.0.1', expect())
      end)
    end))

  it('raises when the server listens, be it only about to (server.listen)', spec.async(function(done)
    local server = net.createServer():listen(0, '127.0.0.1')
    raises('ERR_SERVER_ALREADY_LISTEN', server.listen, server, 0)
    server:on('listening', function()
      raises('ERR_SERVER_ALREADY_LISTEN', server.listen, server, 0)
      server:close(done)
    end)
  end))
end)

describe('Server.close', function()
  it('calls back and emits close once (close event)', spec.async(function(_, expect)
    local server = net.createServer()
    server:on('close', expect())
    server:listen(0, '127.0.0.1', function()
      assert.equal(server, server:close(expect(function(err)
        assert.is_nil(err)
        assert.is_false(server.listening)
        assert.is_nil(server:address())
      end)))
      assert.is_false(server.listening)
    end)
  end))

  it('ignores a callback that is none (server.close)', spec.async(function(_, expect)
    local server = net.createServer()
    server:on('close', expect())
    server:listen(0, '127.0.0.1', function()
      server:close('not a function')
    end)
  end))

  it('tells the callback that the server was not running (server.close)', spec.async(function(_, expect)
    net.createServer():close(expect(function(err)
      assert.equal('ERR_SERVER_NOT_RUNNING', err.code)
      assert.equal('Server is not running.', err.message)
    end))
  end))

  it('waits for all sockets to end, and is told before their close events (close event)', spec.async(
    function(done, expect)
      local order, sockets, server = {}, {}, nil
      server = net.createServer(function(socket)
        N.record(order, socket, { 'close' }, 'socket ')
        socket:on('error', function() end)
        table.insert(sockets, socket)
        if #sockets < 2 then
          return
        end
        server:close()
        for _, each in ipairs(sockets) do
          each:destroy()
        end
        setTimeout(function()
          assert.same({ 'server close', 'socket close', 'socket close' }, order)
          done()
        end, 20)
      end)
      N.record(order, server, { 'close' }, 'server ')
      server:listen(0, '127.0.0.1', function()
        for _ = 1, 2 do
          local client = net.connect(server:address().port, '127.0.0.1')
          client:on('error', function() end)
          client:on('close', expect())
          client:resume()
        end
      end)
    end))

  it('keeps a client that closes the server as soon as it is connected (server.close)', spec.async(
    function(done, expect)
      local order = {}
      N.listening(function(socket)
        order[#order + 1] = 'server'
        socket:finish('hello')
        socket:resume()
      end, function(server, port)
        local client
        client = net.connect(port, '127.0.0.1', function()
          order[#order + 1] = 'client'
          server:close(expect(function()
            assert.same({ 'server', 'client', 'hello' }, order)
            done()
          end))
        end)
        client:on('data', function(data)
          order[#order + 1] = data
        end)
      end)
    end))

  it('lets connections that exist go on and accepts no others (server.close)', spec.async(function(done, expect)
    N.pair(function(client, peer, over)
      local port, closed = client.remotePort, false
      over(function()
        closed = true
        done()
      end)
      peer:pipe(peer)
      net.connect(port, '127.0.0.1'):on('error', expect(function(err)
        assert.equal('ECONNREFUSED', err.code)
        client:on('data', expect(function(data)
          assert.equal('still there', data)
          assert.is_false(closed)
          client:finish()
        end))
        client:write('still there')
      end))
    end)
  end))

  it('is allowed before the look-up of the host is done (server.close)', spec.async(function(_, expect)
    local server = net.createServer()
    server:on('listening', expect(0))
    server:listen(0, 'localhost')
    server:close(expect())
  end))
end)

describe('the connections of a net.Server', function()
  it('are counted by getConnections, later than the call (server.getConnections)', spec.async(function(done, expect)
    N.pair(function(client, peer, over)
      local returned = false
      assert.equal(peer.server, peer.server:getConnections(expect(function(err, count)
        assert.is_nil(err)
        assert.equal(1, count)
        assert.is_true(returned)
        client:destroy()
        peer:destroy()
        over(done)
      end)))
      returned = true
    end)
  end))

  it('beyond maxConnections are closed and announced by drop (server.maxConnections, drop event)', spec.async(
    function(done, expect)
      local server = net.createServer(expect(function(socket)
        socket:resume()
      end))
      server.maxConnections = 1
      server:listen(0, '127.0.0.1', function()
        local port = server:address().port
        local first
        first = net.connect(port, '127.0.0.1', function()
          local second = net.connect(port, '127.0.0.1')
          local localPort
          second:on('connect', function()
            localPort = second.localPort
          end)
          server:on('drop', expect(function(info)
            assert.equal('127.0.0.1', info.localAddress)
            assert.equal(port, info.localPort)
            assert.equal('IPv4', info.localFamily)
            assert.equal('127.0.0.1', info.remoteAddress)
            assert.equal('IPv4', info.remoteFamily)
            assert.is_true(localPort == nil or localPort == info.remotePort)
          end))
          second:resume()
          second:on('error', function() end)
          second:on('close', expect(function()
            first:destroy()
            server:close(done)
          end))
        end)
      end)
    end))

  it('are none at all with maxConnections 0 (server.maxConnections)', spec.async(function(done, expect)
    local server = net.createServer(expect(0))
    server.maxConnections = 0
    server:on('drop', expect())
    server:listen(0, '127.0.0.1', function()
      local client = net.connect(server:address().port, '127.0.0.1')
      client:resume()
      client:on('error', function() end)
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))

  it('make room for others when they close (server.maxConnections)', spec.async(function(done, expect)
    local left, visit = 5, nil
    local server = net.createServer(expect(function(socket)
      socket:finish('served')
      socket:on('close', function()
        visit()
      end)
    end, 5))
    server.maxConnections = 1
    server:on('drop', expect(0))
    function visit()
      if left == 0 then
        server:close(done)
        return
      end
      left = left - 1
      net.connect(server:address().port, '127.0.0.1'):resume()
    end
    server:listen(0, '127.0.0.1', visit)
  end))

  it('come paused with pauseOnConnect and read nothing until they are resumed (pauseOnConnect)', spec.async(
    function(done, expect)
      N.pair(function(client, peer, over)
        assert.is_true(peer:isPaused())
        peer:on('data', expect(function(data)
          assert.equal('waiting', data)
          client:destroy()
          peer:destroy()
          over(done)
        end))
        client:write('waiting')
        setTimeout(function()
          assert.equal(0, peer.bytesRead)
          peer:resume()
        end, 30)
      end, { server = { pauseOnConnect = true } })
    end))

  it('have the high-water mark of the server (options.highWaterMark)', spec.async(function(done)
    N.pair(function(client, peer, over)
      assert.equal(1234, peer.readableHighWaterMark)
      assert.equal(1234, peer.writableHighWaterMark)
      client:destroy()
      peer:destroy()
      over(done)
    end, { server = { highWaterMark = 1234 } })
  end))

  it('do not suffer from a listener that throws for another one (connection event)', spec.async(
    function(done, expect)
      local seen, first = 0, true
      local server = net.createServer(function(socket)
        socket:on('error', function() end)
        socket:resume()
        if first then
          first = false
          error('a mistake in the script')
        end
        socket:finish('fine')
      end)
      local function onUncaught(err)
        seen = seen + 1
        assert.matches('a mistake in the script', tostring(err))
      end
      process:on('uncaughtException', onUncaught)
      server:listen(0, '127.0.0.1', function()
        local port = server:address().port
        local broken = net.connect(port, '127.0.0.1', function()
          local good = net.connect(port, '127.0.0.1')
          good:on('data', expect(function(data)
            assert.equal('fine', data)
          end))
          good:on('close', expect(function()
            assert.equal(1, seen)
            process:removeListener('uncaughtException', onUncaught)
            server:close(done)
          end))
        end)
        broken:finish()
        broken:resume()
      end)
    end))
end)

describe('a program', function()
  it('ends although an unreferenced server and its sockets are open (server.unref, socket.unref)', function()
    local outcome = program.eval([[
      local net = require 'net'
      local server = net.createServer(function(socket) socket:unref() end)
      server:listen(0, '127.0.0.1', function()
        server:unref()
        local client
        client = net.connect(server:address().port, '127.0.0.1', function()
          print('connected')
          client:unref()
        end)
      end)
    ]])
    assert.same({ 0, 'connected\n', '' }, { outcome.status, outcome.out, outcome.err })
  end)

  it('goes on after ref has taken an unref back (server.ref)', function()
    local outcome = program.eval([[
      local server = require('net').createServer():listen(0, '127.0.0.1')
      server:unref():ref()
      local timer = setTimeout(function() print('still here') server:close() end, 50)
      timer:unref()
    ]])
    assert.same({ 0, 'still here\n' }, { outcome.status, outcome.out })
  end)

  it('dies of an error event without a listener (error event)', function()
    local outcome = program.eval([[
      require('net').connect('/nonexistent/path')
    ]])
    assert.equal(1, outcome.status)
    assert.matches('connect ENOENT /nonexistent/path', outcome.err)
  end)
end)

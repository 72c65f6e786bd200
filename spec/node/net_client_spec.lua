-- What Node's documentation promises of net.Socket on the connecting side ("Class: net.Socket").

local net = require 'net'
local spec = require 'moonlatch.spec'
local util = require 'util'
local N = require 'spec.support.node'

local raises = N.raises

describe('a net.Socket without a connection', function()
  it('tells so by its getters (readyState, pending, connecting, address)', function()
    local socket = net.Socket()
    assert.is_true(socket.pending)
    assert.is_false(socket.connecting)
    assert.is_false(socket.destroyed)
    assert.equal('open', socket.readyState)
    assert.same({}, socket:address())
    for _, name in ipairs { 'localAddress', 'localPort', 'localFamily', 'remoteAddress', 'remotePort', 'remoteFamily',
      'bufferSize', 'timeout' } do
      assert.is_nil(socket[name])
    end
    assert.equal(0, socket.bytesRead)
    assert.equal(0, socket.bytesWritten)
  end)

  it('takes settings and gives itself back, to be applied later (setNoDelay, setKeepAlive, ref, unref)', function()
    local socket = net.Socket()
    for _, name in ipairs { 'setNoDelay', 'setKeepAlive', 'ref', 'unref', 'pause', 'resume' } do
      assert.equal(socket, socket[name](socket), name)
    end
    assert.equal(socket, socket:setTimeout(0))
  end)

  it('ends without ever having connected (end)', spec.async(function(_, expect)
    local socket = net.Socket()
    socket:on('finish', expect())
    socket:finish()
  end))

  it('ends the connection that it makes after it was ended (end, connect)', spec.async(function(done, expect)
    local order = {}
    N.listening(function(peer)
      N.record(order, peer, { 'end' }, 'peer ')
      peer:resume()
    end, function(server, port)
      local socket = net.Socket()
      N.record(order, socket, { 'finish', 'connect', 'end', 'close' })
      socket:finish()
      socket:connect(port, '127.0.0.1')
      socket:resume()
      socket:on('close', expect(function(hadError)
        assert.is_false(hadError)
        server:close(function()
          table.sort(order)
          assert.same({ 'close', 'connect', 'end', 'finish', 'peer end' }, order)
          done()
        end)
      end))
    end)
  end))

  it('calls the callback of an end back as an end (end, callback)', spec.async(function(_, expect)
    local socket = net.Socket()
    socket:finish(expect(function(err)
      assert.is_nil(err)
    end))
  end))

  it('emits close without an error when it is destroyed, however often (destroy)', spec.async(function(_, expect)
    local socket = net.Socket()
    socket:on('close', expect(function(hadError)
      assert.is_nil(hadError)
    end))
    socket:on('error', expect(0))
    assert.equal(socket, socket:destroy())
    assert.equal(socket, socket:destroy(Error('too late')))
    assert.is_true(socket.destroyed)
  end))

  it('fails a reset with ERR_SOCKET_CLOSED (resetAndDestroy)', spec.async(function(_, expect)
    local socket = net.Socket()
    socket:on('error', expect(function(err)
      assert.equal('ERR_SOCKET_CLOSED', err.code)
    end))
    socket:on('close', expect(function(hadError)
      assert.is_nil(hadError)
    end))
    assert.equal(socket, socket:resetAndDestroy())
  end))

  it('knows its class, and so do its subclasses (new net.Socket)', function()
    local Mine = net.Socket:extend('Mine')
    local mine = Mine()
    assert.is_true(util.isInstance(mine, net.Socket))
    assert.is_true(util.isInstance(mine, require('stream').Duplex))
    assert.equal(Mine, mine.constructor)
    assert.equal(net.Socket, net.Stream)
    mine:destroy()
  end)
end)

describe('Socket.setTimeout', function()
  it('refuses what is no time (setTimeout)', function()
    local socket = net.Socket()
    for _, value in ipairs { '100', true, {}, function() end } do
      raises('ERR_INVALID_ARG_TYPE', socket.setTimeout, socket, value)
    end
    raises('ERR_INVALID_ARG_TYPE', socket.setTimeout, socket)
    for _, value in ipairs { -1, 0 / 0, 1 / 0, -1 / 0 } do
      raises('ERR_OUT_OF_RANGE', socket.setTimeout, socket, value)
    end
    for _, callback in ipairs { 1, '1', true, {} } do
      raises('ERR_INVALID_ARG_TYPE', socket.setTimeout, socket, 1, callback)
    end
  end)

  it('shows the time in the property timeout (timeout)', function()
    local socket = net.Socket()
    assert.is_nil(socket.timeout)
    socket:setTimeout(100)
    assert.equal(100, socket.timeout)
    socket:setTimeout(0)
    assert.equal(0, socket.timeout)
  end)

  it('takes as long a time as a timer does (setTimeout)', spec.async(function(done)
    N.pair(function(client, peer, over)
      client:setTimeout(2 ^ 31 - 1)
      assert.equal(2 ^ 31 - 1, client.timeout)
      client:setTimeout(0xffffffff)
      client:destroy()
      peer:destroy()
      over(done)
    end)
  end))

  it('is noticed by a socket that has no connection, once (timeout event)', spec.async(function(done, expect)
    local socket = net.Socket()
    local hold = setTimeout(function() end, 60000) -- the socket itself keeps nothing going
    socket:setTimeout(5, expect())
    socket:on('timeout', expect(function()
      clearTimeout(hold)
      setTimeout(function()
        socket:setTimeout(5)
        socket:setTimeout(0)
        local other = net.Socket()
        other:setTimeout(5, expect(0))
        other:destroy()
        setTimeout(done, 20)
      end, 20)
    end))
  end))

  it('goes on when the socket gets its connection (timeout event)', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local socket = net.Socket()
      socket:setTimeout(20)
      socket:connect(port, '127.0.0.1')
      socket:on('timeout', expect(function()
        assert.is_false(socket.connecting)
        socket:destroy()
        server:close(done)
      end))
    end)
  end))

  it('leaves the connection alone: the listener ends it (timeout event)', spec.async(function(done, expect)
    N.pair(function(client, peer, over)
      peer:resume()
      client:setTimeout(20)
      client:once('timeout', expect(function()
        assert.is_false(client.destroyed)
        assert.is_true(client.writable)
        client:finish('bye')
      end))
      client:on('close', expect(function()
        over(done)
      end))
    end)
  end))

  it('calls the callback once, the listener each time (setTimeout)', spec.async(function(done, expect)
    N.pair(function(client, peer, over)
      local times = 0
      client:setTimeout(10, expect())
      client:on('timeout', function()
        times = times + 1
        if times == 1 then
          client:write('x')
        elseif times == 2 then
          client:destroy()
          peer:destroy()
          over(done)
        end
      end)
      peer:resume()
    end)
  end))

  it('does nothing on a destroyed socket (setTimeout)', function()
    local socket = net.Socket()
    socket:destroy()
    assert.equal(socket, socket:setTimeout(10, function() end))
    assert.equal(0, socket:listenerCount('timeout'))
  end)
end)

describe('net.connect as Node documents it:', function()
  it('needs a port or a path (socket.connect)', function()
    for _, call in ipairs {
      function() net.connect() end,
      function() net.connect {} end,
      function() net.Socket():connect() end,
      function() net.Socket():connect {} end,
    } do
      raises('ERR_MISSING_ARGS', call)
    end
    local ok, err = pcall(net.connect)
    assert.is_false(ok)
    assert.equal('The "options" or "port" or "path" argument must be specified', err.message)
  end)

  it('takes ports from 0 to 65535 only (options.port)', function()
    for _, port in ipairs { -1, 65536, 1.5, '-1', 'abc ', '0x1ffff', 1 / 0, 0 / 0 } do
      raises('ERR_SOCKET_BAD_PORT', net.connect, { port = port })
    end
    raises('ERR_SOCKET_BAD_PORT', net.connect, '')
    raises('ERR_SOCKET_BAD_PORT', net.connect, '  ')
    for _, port in ipairs { true, {}, function() end } do
      raises('ERR_INVALID_ARG_TYPE', net.connect, { port = port })
    end
  end)

  it('checks its other options at the call (options)', function()
    raises('ERR_INVALID_ARG_TYPE', net.connect, { port = 1, host = 5 })
    raises('ERR_INVALID_ARG_TYPE', net.connect, { port = 1, localPort = 'x', localAddress = '127.0.0.1' })
    raises('ERR_INVALID_IP_ADDRESS', net.connect, { port = 1, localAddress = 'nonsense' })
    raises('ERR_INVALID_ARG_TYPE', net.connect, { port = 1, lookup = 'dns' })
    raises('ERR_INVALID_ARG_TYPE', net.connect, { path = 5 })
    raises('ERR_INVALID_ARG_VALUE', net.connect, { port = 1, objectMode = true })
    raises('ERR_INVALID_ARG_VALUE', net.connect, { port = 1, readableObjectMode = true })
    raises('ERR_INVALID_ARG_VALUE', net.connect, { port = 1, writableObjectMode = true })
    raises('ERR_INVALID_ARG_TYPE', net.connect, { port = 1, autoSelectFamily = 'yes' })
  end)

  it('asks the lookup function with family and hints (options.lookup)', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local socket = net.connect({
        port = port, host = 'example.org', family = 4, hints = 0,
        lookup = expect(function(host, options, callback)
          assert.equal('example.org', host)
          assert.equal(4, options.family)
          assert.equal(0, options.hints)
          setImmediate(callback, nil, '127.0.0.1', 4)
        end),
      }, expect())
      socket:on('lookup', expect(function(err, address, family, host)
        assert.is_nil(err)
        assert.same({ '127.0.0.1', 4, 'example.org' }, { address, family, host })
      end))
      socket:resume()
      socket:finish()
      socket:on('close', function()
        server:close(done)
      end)
    end)
  end))

  it('does not ask anybody about an address (options.lookup)', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local socket = net.connect({ port = port, host = '127.0.0.1', lookup = expect(0) }, expect())
      socket:on('lookup', expect(0))
      socket:resume()
      socket:finish()
      socket:on('close', function()
        server:close(done)
      end)
    end)
  end))

  it('fails in a later tick when the lookup function fails at once (lookup event)', spec.async(function(_, expect)
    local asked = false
    local socket = net.connect {
      port = 1, host = 'example.org',
      lookup = function(_, _, callback)
        callback(Error('no such name'))
        asked = true
      end,
    }
    assert.is_true(asked)
    socket:on('error', expect(function(err)
      assert.equal('no such name', err.message)
    end))
    socket:on('close', expect(function(hadError)
      assert.is_true(hadError)
    end))
    socket:on('connect', expect(0))
  end))

  it('stays silent when it is destroyed before it begins (destroy)', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local socket = net.connect(port, '127.0.0.1')
      socket:on('connect', expect(0))
      socket:on('error', expect(0))
      socket:on('close', expect(function(hadError)
        assert.is_false(hadError)
        assert.is_false(socket.connecting)
        assert.is_true(socket.pending)
        server:close(done)
      end))
      socket:destroy()
    end)
  end))

  it('emits one error however many attempts and writes fail with it (error event)', spec.async(function(_, expect)
    N.unusedPort(function(port)
      local socket = net.connect(port, '127.0.0.1')
      socket:on('error', expect(function(err)
        assert.equal('ECONNREFUSED', err.code)
      end))
      socket:on('close', expect(function(hadError)
        assert.is_true(hadError)
      end))
      for _ = 1, 3 do
        socket:write('x', expect(function(err)
          assert.is_not_nil(err)
        end))
      end
    end)
  end))

  it('keeps what is written while connecting and counts it (bytesWritten, bufferSize)', spec.async(
    function(done, expect)
      local got = ''
      N.listening(function(peer)
        peer:on('data', function(data)
          got = got .. data
        end)
        peer:on('end', expect(function()
          assert.equal(('x'):rep(2000) .. 'hex', got)
        end))
      end, function(server, port)
        local socket = net.connect(port, '127.0.0.1', expect())
        assert.is_true(socket:write(('x'):rep(1000)))
        assert.is_true(socket:write(('78'):rep(1000), 'hex', expect()))
        assert.equal(2000, socket.bytesWritten)
        assert.equal(2000, socket.bufferSize)
        assert.equal(2000, socket.writableLength)
        socket:finish('hex')
        assert.equal(2003, socket.bytesWritten)
        socket:on('close', expect(function()
          assert.equal(2003, socket.bytesWritten)
          server:close(done)
        end))
      end)
    end))

  it('passes pausing and resuming through to the connection to come (pause, resume)', spec.async(
    function(done, expect)
      N.listening(function(peer)
        peer:finish('early')
      end, function(server, port)
        local paused, connected = net.connect(port, '127.0.0.1'), false
        paused:pause()
        paused:on('data', expect(function()
          assert.is_true(connected)
          assert.is_false(paused:isPaused())
        end))
        paused:on('connect', function()
          connected = true
          assert.is_true(paused:isPaused())
          setTimeout(function()
            paused:resume()
          end, 20)
        end)
        paused:on('close', expect(function()
          server:close(done)
        end))
      end)
    end))

  it('calls back when it is connected, through connect called on the socket too (connect event)', spec.async(
    function(done, expect)
      N.listening(nil, function(server, port)
        local socket = net.Socket()
        assert.equal(socket, socket:connect({ port = port, host = '127.0.0.1' }, expect()))
        socket:on('connect', expect())
        socket:on('ready', expect())
        socket:once('connect', function()
          assert.is_false(socket.connecting)
          assert.is_false(socket.pending)
          socket:destroy()
          server:close(done)
        end)
      end)
    end))

  it('refuses a local address in use with EADDRINUSE (options.localPort)', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local first = net.connect { port = port, host = '127.0.0.1' }
      first:on('connect', function()
        local second = net.connect { port = port, host = '127.0.0.1', localAddress = '127.0.0.1',
          localPort = first.localPort }
        second:on('error', expect(function(err)
          assert.is_truthy(err.code == 'EADDRINUSE' or err.code == 'EADDRNOTAVAIL', err.code)
          assert.matches(('127.0.0.1:%d'):format(first.localPort), err.message, 1, true)
          assert.is_nil(err.message:find('Local', 1, true))
          first:destroy()
          server:close(done)
        end))
      end)
    end)
  end))
end)

describe('a net.Socket that connects again', function()
  it('does so from its close event, as often as it likes (connect)', spec.async(function(done, expect)
    N.listening(function(peer)
      peer:finish('hello')
    end, function(server, port)
      local socket, connects, got = net.Socket(), 0, ''
      socket:setEncoding('utf8')
      socket:on('connect', function()
        connects = connects + 1
      end)
      socket:on('data', function(data)
        got = got .. data
      end)
      socket:on('end', expect(3))
      socket:on('close', expect(function(hadError)
        assert.is_false(hadError)
        assert.equal(('hello'):rep(connects), got)
        if connects < 3 then
          socket:connect(port, '127.0.0.1')
        else
          server:close(done)
        end
      end, 3))
      socket:connect(port, '127.0.0.1')
    end)
  end))

  it('does so after a connection that failed (connect)', spec.async(function(_, expect)
    N.unusedPort(function(port)
      local socket, tries = net.Socket(), 0
      socket:on('error', expect(function(err)
        assert.equal('ECONNREFUSED', err.code)
      end, 3))
      socket:on('close', expect(function(hadError)
        assert.is_true(hadError)
        tries = tries + 1
        if tries < 3 then
          socket:connect(port, '127.0.0.1')
        end
      end, 3))
      socket:connect(port, '127.0.0.1')
    end)
  end))

  it('starts its counters anew (bytesRead, bytesWritten)', spec.async(function(done, expect)
    N.listening(function(peer)
      peer:pipe(peer)
    end, function(server, port)
      local socket, rounds = net.Socket(), 0
      socket:on('connect', function()
        assert.equal(0, socket.bytesRead)
        socket:finish('12345')
      end)
      socket:resume()
      socket:on('close', expect(function()
        assert.equal(5, socket.bytesRead)
        assert.equal(5, socket.bytesWritten)
        rounds = rounds + 1
        if rounds == 2 then
          server:close(done)
        else
          socket:connect(port, '127.0.0.1')
        end
      end, 2))
      socket:connect(port, '127.0.0.1')
    end)
  end))
end)

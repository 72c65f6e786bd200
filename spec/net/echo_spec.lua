-- What flows through net sockets: bytes, their ends, their limits.

local net = require 'net'
local spec = require 'moonlatch.spec'

-- A server on a free port; calls `fn(server, port)` when it listens.
local function serve(options, onConnection, fn)
  local server = net.createServer(options, onConnection)
  server:listen(0, '127.0.0.1', function()
    fn(server, server:address().port)
  end)
  return server
end

local function collect(socket, done)
  local parts = {}
  socket:on('data', function(chunk)
    parts[#parts + 1] = chunk
  end)
  socket:on('end', function()
    done(table.concat(parts))
  end)
end

-- Bytes that do not repeat soon, so that a lost or doubled piece shows.
local function pattern(size)
  local parts, x = {}, 1
  for i = 1, size / 8 do
    x = (x * 16807) % 2147483647
    parts[i] = ('%08x'):format(x)
  end
  return table.concat(parts)
end

describe('a net connection', function()
  it('carries bytes both ways and closes when both sides have ended', spec.async(function(_, expect)
    local server
    server = serve({}, expect(function(socket)
      socket:on('data', function(chunk)
        socket:write('echo ' .. chunk)
      end)
      socket:on('end', expect())
      socket:on('close', expect(function(hadError)
        assert.is_false(hadError)
      end))
    end), expect(function(_, port)
      local client = net.connect(port, '127.0.0.1', expect(function()
      end))
      client:write('hello')
      client:once('data', expect(function(chunk)
        assert.equal('echo hello', chunk)
        client:finish()
      end))
      client:on('end', expect())
      client:on('finish', expect())
      client:on('close', expect(function(hadError)
        assert.is_false(hadError)
        assert.equal('closed', client.readyState)
        server:close(expect())
      end))
    end))
  end))

  it('keeps all 256 byte values', spec.async(function(done)
    local bytes = {}
    for i = 0, 255 do
      bytes[#bytes + 1] = string.char(i)
    end
    bytes = table.concat(bytes)
    local server
    server = serve({}, function(socket)
      socket:finish(bytes)
    end, function(_, port)
      collect(net.connect(port, '127.0.0.1'), function(text)
        assert.equal(bytes, text)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('echoes through pipe(socket)', spec.async(function(done)
    local server
    server = serve({}, function(socket)
      socket:pipe(socket)
    end, function(_, port)
      local data = pattern(300000)
      local client = net.connect(port, '127.0.0.1')
      client:finish(data)
      collect(client, function(text)
        assert.is_true(text == data)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('moves 10 MiB to a slow reader, with backpressure and unchanged', spec.async(function(done)
    local data = pattern(10 * 1024 * 1024)
    local server
    server = serve({}, function(socket)
      socket:pause()
      collect(socket, function(text)
        assert.is_true(text == data)
        assert.equal(#data, socket.bytesRead)
        socket:finish()
      end)
      socket:pause()
      require('timers').setTimeout(function()
        socket:resume()
      end, 20)
    end, function(_, port)
      local client = net.connect(port, '127.0.0.1')
      local falses, drains, sent = 0, 0, 0
      local function more()
        while sent < #data do
          local piece = data:sub(sent + 1, sent + 100000)
          sent = sent + #piece
          if not client:write(piece) then
            falses = falses + 1
            return
          end
        end
        client:finish()
      end
      client:on('drain', function()
        drains = drains + 1
        more()
      end)
      more()
      client:resume()
      client:on('close', function()
        assert.is_true(falses > 0)
        assert.equal(falses, drains)
        assert.equal(#data, client.bytesWritten)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('counts what is still buffered in bytesWritten', spec.async(function(done)
    local server
    server = serve({}, function(socket)
      socket:resume()
    end, function(_, port)
      local client = net.connect(port, '127.0.0.1')
      client:write('12345')
      client:write('678')
      assert.equal(8, client.bytesWritten)
      assert.equal(8, client.bufferSize)
      assert.equal(8, client.writableLength)
      client:finish('9')
      client:on('close', function()
        assert.equal(9, client.bytesWritten)
        assert.equal(0, client.bytesRead)
        assert.is_nil(client.bufferSize)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('calls write callbacks in order', spec.async(function(_, expect)
    local server
    server = serve({}, function(socket)
      socket:resume()
      server:close()
    end, function(_, port)
      local client = net.connect(port, '127.0.0.1')
      local order = {}
      client:resume()
      for i = 1, 3 do
        client:write(('x'):rep(i), expect(function(err)
          assert.is_nil(err)
          order[#order + 1] = i
        end))
      end
      client:finish(expect(function()
        assert.same({ 1, 2, 3 }, order)
      end))
    end)
  end))

  it('decodes written strings and gives text back with setEncoding', spec.async(function(done)
    local server
    server = serve({}, function(socket)
      socket:write('68c3', 'hex')
      socket:finish('a9', 'hex')
    end, function(_, port)
      local client = net.connect(port, '127.0.0.1')
      client:setEncoding('utf8')
      collect(client, function(text)
        assert.equal('hé', text)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('reads with onread into pieces of the size asked for', spec.async(function(done)
    local server
    server = serve({}, function(socket)
      socket:finish('abcdefgh')
    end, function(_, port)
      local pieces = {}
      local client
      client = net.connect {
        port = port, host = '127.0.0.1',
        onread = { buffer = ('\0'):rep(3), callback = function(count, piece)
          assert.equal(count, #piece)
          pieces[#pieces + 1] = piece
          if #pieces == 1 then
            require('timers').setTimeout(function()
              assert.equal(1, #pieces)
              client:resume()
            end, 10)
            return false
          end
        end },
      }
      client:on('data', function()
        error('onread takes the place of data')
      end)
      client:on('end', function()
        assert.same({ 'abc', 'def', 'gh' }, pieces)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('asks a function of onread how much it takes, for each piece', spec.coroutine(function(await)
    local server = net.createServer(function(socket)
      socket:finish('abcdefgh')
    end)
    server:listen(0, '127.0.0.1')
    await(server, 'listening')
    local pieces, asked = {}, 0
    local client = net.connect { port = server:address().port, host = '127.0.0.1', onread = {
      buffer = function()
        asked = asked + 1
        return asked
      end,
      callback = function(_, piece)
        pieces[#pieces + 1] = piece
      end,
    } }
    await(client, 'end')
    assert.same({ 'a', 'bc', 'def', 'gh' }, pieces)
    assert.equal(5, asked)
    await(client, 'close')
    await(function(done)
      server:close(done)
    end)
  end))
end)

describe('the end of a net connection', function()
  it('is answered at once unless allowHalfOpen is set', spec.async(function(done)
    local server
    server = serve({ allowHalfOpen = true }, function(socket)
      socket:on('end', function()
        assert.equal('writeOnly', socket.readyState)
        require('timers').setTimeout(function()
          socket:finish('late answer')
        end, 10)
      end)
      socket:resume()
    end, function(_, port)
      local client = net.connect { port = port, host = '127.0.0.1', allowHalfOpen = true }
      client:finish('question')
      collect(client, function(text)
        assert.equal('late answer', text)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('makes later writes fail with EPIPE', spec.async(function(_, expect)
    local server
    server = serve({}, function(socket)
      socket:finish()
      socket:resume()
    end, function(_, port)
      local client = net.connect(port, '127.0.0.1')
      client:on('finish', expect(function()
        assert.is_false(client:write('too late', expect(function(err)
          assert.equal('EPIPE', err.code)
        end)))
      end))
      client:on('error', expect(function(err)
        assert.equal('This socket has been ended by the other party', err.message)
      end))
      client:on('close', expect(function(hadError)
        assert.is_true(hadError)
        server:close()
      end))
      client:resume()
    end)
  end))

  it('is seen by a socket that nobody reads from', spec.async(function(_, expect)
    local server
    server = serve({}, expect(function(socket)
      socket:on('close', expect(function()
        server:close()
      end))
    end), function(_, port)
      net.connect(port, '127.0.0.1'):finish()
    end)
  end))

  it('waits for what is buffered to be read', spec.async(function(done)
    local server
    server = serve({}, function(socket)
      socket:finish('unread')
    end, function(_, port)
      local client, ended = net.connect(port, '127.0.0.1'), false
      client:on('end', function()
        ended = true
        server:close(function()
          done()
        end)
      end)
      client:once('readable', function()
        require('timers').setTimeout(function()
          assert.is_false(ended)
          assert.equal('unread', client:read())
          client:read()
        end, 30)
      end)
    end)
  end))

  it('sends what was written before destroySoon', spec.async(function(done)
    local data = pattern(4 * 1024 * 1024)
    local server
    server = serve({}, function(socket)
      socket:write(data)
      socket:destroySoon()
    end, function(_, port)
      collect(net.connect(port, '127.0.0.1'), function(text)
        assert.is_true(text == data)
        server:close(function()
          done()
        end)
      end)
    end)
  end))

  it('is a reset after resetAndDestroy', spec.async(function(_, expect)
    local server
    local client
    server = serve({}, function(socket)
      client:resetAndDestroy()
      socket:on('error', expect(function(err)
        assert.equal('read ECONNRESET', err.message)
        assert.equal('ECONNRESET', err.code)
        assert.equal(-104, err.errno)
        assert.equal('read', err.syscall)
        server:close()
      end))
    end, function(_, port)
      client = net.connect(port, '127.0.0.1')
      client:on('close', expect(function(hadError)
        assert.is_false(hadError)
      end))
    end)
  end))

  it('fails the write that was not done when the socket is destroyed', spec.async(function(_, expect)
    local server, reader
    server = serve({}, function(socket)
      socket:pause()
      reader = socket
    end, function(_, port)
      local client = net.connect(port, '127.0.0.1')
      client:write(('x'):rep(20 * 1024 * 1024), expect(function(err)
        assert.equal('ERR_STREAM_DESTROYED', err.code)
      end))
      client:write('y', expect(function(err)
        assert.equal('ERR_STREAM_DESTROYED', err.code)
      end))
      client:on('connect', function()
        require('timers').setTimeout(function()
          client:destroy()
        end, 20)
      end)
      client:on('close', expect(function(hadError)
        assert.is_false(hadError)
        reader:destroy()
        server:close()
      end))
    end)
  end))

  it('reports a peer that is gone to the write in progress and to the socket', spec.async(function(_, expect)
    local server
    server = serve({}, function(socket)
      socket:pause()
      require('timers').setTimeout(function()
        socket:resetAndDestroy()
      end, 20)
    end, function(_, port)
      local client = net.connect(port, '127.0.0.1')
      local order = {}
      client:write(('x'):rep(20 * 1024 * 1024), expect(function(err)
        assert.is_truthy(err.code == 'ECONNRESET' or err.code == 'EPIPE')
        order[#order + 1] = 'write'
      end))
      client:on('error', expect(function(err)
        assert.is_truthy(err.code == 'ECONNRESET' or err.code == 'EPIPE')
        order[#order + 1] = 'error'
      end))
      client:on('close', expect(function(hadError)
        assert.is_true(hadError)
        assert.same({ 'write', 'error' }, order)
        server:close()
      end))
    end)
  end))
end)

describe('destroying a net socket', function()
  local function destroyIn(event, prepare)
    return spec.async(function(_, expect)
      local server
      server = serve({}, function(socket)
        socket:on('error', function() end)
        if prepare then
          prepare(socket)
        else
          socket:resume()
        end
      end, function(_, port)
        local client = net.connect(port, '127.0.0.1')
        client:on('error', function() end)
        client:once(event, expect(function()
          client:destroy()
          assert.is_true(client.destroyed)
        end))
        client:on('close', expect(function()
          server:close()
        end))
        if event ~= 'data' and event ~= 'end' then
          client:write('x')
        end
        if event == 'finish' then
          client:finish()
        elseif event == 'drain' then
          client:write(('x'):rep(1000000))
        end
        client:resume()
      end)
    end)
  end

  it("is safe in 'connect'", destroyIn('connect'))
  it("is safe in 'ready'", destroyIn('ready'))
  it("is safe in 'data'", destroyIn('data', function(socket)
    socket:write('some data')
  end))
  it("is safe in 'end'", destroyIn('end', function(socket)
    socket:finish()
  end))
  it("is safe in 'finish'", destroyIn('finish'))
  it("is safe in 'drain'", destroyIn('drain'))

  it('emits the error it is given and then close, once', spec.async(function(_, expect)
    local server
    server = serve({}, function(socket)
      socket:resume()
    end, function(_, port)
      local client
      client = net.connect(port, '127.0.0.1', function()
        client:destroy(Error 'enough')
        client:destroy(Error 'again')
      end)
      client:on('error', expect(function(err)
        assert.equal('enough', err.message)
      end))
      client:on('close', expect(function(hadError)
        assert.is_true(hadError)
        server:close()
      end))
    end)
  end))

  it('is allowed before anything was connected', spec.async(function(_, expect)
    local socket = net.Socket()
    socket:on('close', expect(function(hadError)
      assert.is_nil(hadError)
    end))
    socket:destroy()
  end))

  it('obeys an AbortSignal', spec.async(function(_, expect)
    local events = require 'events'
    local controller = events.AbortController()
    local server
    server = serve({}, function(socket)
      socket:resume()
    end, function(_, port)
      local client = net.connect { port = port, host = '127.0.0.1', signal = controller.signal }
      client:on('connect', function()
        controller:abort()
      end)
      client:on('error', expect(function(err)
        assert.equal('AbortError', err.name)
      end))
      client:on('close', expect(function()
        server:close()
      end))
    end)
  end))

  it('leaves a socket that can connect again', spec.async(function(_, expect)
    local server
    server = serve({}, function(socket)
      socket:finish('hi')
    end, function(_, port)
      local client = net.Socket()
      local texts = {}
      client:on('data', function(chunk)
        texts[#texts + 1] = chunk
      end)
      client:once('close', expect(function()
        client:connect(port, '127.0.0.1')
        client:once('close', expect(function()
          assert.same({ 'hi', 'hi' }, texts)
          server:close()
        end))
      end))
      client:connect(port, '127.0.0.1')
    end)
  end))
end)

-- socket:peek: what comes first, left where it is.
local errors = require 'moonlatch.errors'
local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

-- A plain server and one connection to it: both ends.
local function ends(await, options)
  local server = net.createServer(options or {})
  await(function(listening)
    server:listen(0, '127.0.0.1', listening)
  end)
  local client = net.connect(server:address().port, '127.0.0.1')
  local socket = await(server, 'connection')
  return socket, client, server
end

local function peek(await, socket, size)
  return await(function(done)
    socket:peek(size, done)
  end)
end

local function over(await, server, ...)
  for _, socket in ipairs { ... } do
    socket:destroy()
  end
  P.close(await, server)
end

describe('socket:peek', function()
  it('gives bytes that stay to be read', spec.coroutine(function(await)
    local socket, client, server = ends(await)
    client:write('hello world')
    assert.equal('hello', peek(await, socket, 5))
    assert.equal('hello', peek(await, socket, 5))
    assert.equal('hello world', peek(await, socket, 11))
    assert.equal('hello world', (await(socket, 'data')))
    over(await, server, socket, client)
  end))

  it('waits until there are as many', spec.coroutine(function(await)
    local socket, client, server = ends(await)
    local answered = false
    socket:peek(6, function(err, bytes)
      assert.is_nil(err)
      assert.equal('abcdef', bytes)
      answered = true
    end)
    for _, piece in ipairs { 'a', 'bc', 'd', 'ef', 'g' } do
      assert.is_false(answered)
      client:write(piece)
      await(function(done)
        if piece == 'g' or piece == 'ef' then
          done()
        else
          socket:once('readable', function()
            done()
          end)
        end
      end)
    end
    assert.equal('abcdefg', peek(await, socket, 7))
    assert.is_true(answered)
    over(await, server, socket, client)
  end))

  it('gives fewer where the peer ends', spec.coroutine(function(await)
    local socket, client, server = ends(await, { allowHalfOpen = true })
    client:finish('abc')
    assert.equal('abc', peek(await, socket, 10))
    assert.equal('abc', (await(socket, 'data')))
    await(socket, 'end')
    assert.equal('', peek(await, socket, 1))
    over(await, server, socket, client)
  end))

  it('takes more than the high-water mark', spec.coroutine(function(await)
    local socket, client, server = ends(await)
    local text = ('0123456789'):rep(6553)
    client:write(text)
    assert.equal(text, peek(await, socket, #text))
    over(await, server, socket, client)
  end))

  it('is asked at once, of a socket that is still connecting too, and answers later', spec.coroutine(function(await)
    local server = net.createServer(function(socket)
      socket:finish('greeting')
    end)
    await(function(listening)
      server:listen(0, '127.0.0.1', listening)
    end)
    local client = net.connect(server:address().port, '127.0.0.1')
    local now = true
    client:peek(5, function()
      assert.is_false(now)
    end)
    now = false
    assert.equal('greet', peek(await, client, 5))
    now = true
    client:peek(1, function()
      assert.is_false(now)
    end)
    now = false
    assert.equal('greeting', (await(client, 'data')))
    over(await, server, client)
  end))

  it('lets a pipe, a listener or a reader go on afterwards', spec.coroutine(function(await)
    local uses = {
      pipe = function(socket)
        socket:pipe(socket)
      end,
      listener = function(socket)
        socket:on('data', function(chunk)
          socket:write(chunk)
        end)
      end,
      reader = function(socket)
        socket:on('readable', function()
          local chunk = socket:read()
          if chunk then
            socket:write(chunk)
          end
        end)
      end,
    }
    for name, use in pairs(uses) do
      local socket, client, server = ends(await)
      client:write('first ')
      peek(await, socket, 1)
      use(socket)
      local got = ''
      await(function(done)
        client:on('data', function(chunk)
          got = got .. chunk
          if got == 'first ' then
            client:write('second')
          elseif got == 'first second' then
            done()
          end
        end)
      end)
      assert.equal('first second', got, name)
      over(await, server, socket, client)
    end
  end))

  it('does not take the flow from a listener that was there before', spec.coroutine(function(await)
    local socket, client, server = ends(await)
    local got = ''
    socket:on('data', function(chunk)
      got = got .. chunk
    end)
    client:write('abc')
    assert.equal('ab', peek(await, socket, 2))
    client:write('def')
    await(function(done)
      socket:on('data', function()
        if got == 'abcdef' then
          done()
        end
      end)
    end)
    over(await, server, socket, client)
  end))

  it('leaves a paused socket paused', spec.coroutine(function(await)
    local socket, client, server = ends(await)
    socket:pause()
    socket:on('data', function()
      assert.is_nil('it flows')
    end)
    client:write('abc')
    assert.equal('a', peek(await, socket, 1))
    for _ = 1, 5 do
      await(setImmediate)
    end
    assert.is_true(socket:isPaused())
    assert.equal(3, socket.readableLength)
    socket:removeAllListeners('data')
    socket:resume()
    over(await, server, socket, client)
  end))

  it('has the error of a socket that fails or closes', spec.coroutine(function(await)
    local socket, client, server = ends(await)
    local function failure()
      return await(function(done)
        socket:peek(1, function(err, bytes)
          assert.is_nil(bytes)
          done(nil, err)
        end)
      end)
    end
    socket:destroy()
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', failure().code)
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', failure().code)
    client:destroy()
    P.close(await, server)

    socket, client, server = ends(await)
    local reason = errors.new('because')
    setImmediate(function()
      socket:destroy(reason)
    end)
    assert.equal(reason, failure())
    assert.equal(reason, failure())
    over(await, server, client)

    socket = net.connect(1, '127.0.0.1')
    assert.equal('ECONNREFUSED', failure().code)
  end))

  it('answers once, and leaves no listener behind', spec.coroutine(function(await, expect)
    local socket, client, server = ends(await)
    client:write('x')
    local before = {}
    for _, event in ipairs { 'readable', 'error', 'close' } do
      before[event] = socket:listenerCount(event)
    end
    await(function(done)
      socket:peek(1, expect(function()
        done()
      end))
    end)
    for event, count in pairs(before) do
      assert.equal(count, socket:listenerCount(event), event)
    end
    over(await, server, socket, client)
  end))

  it('may destroy the socket from its callback', spec.coroutine(function(await)
    local socket, client, server = ends(await)
    client:write('x')
    client:on('error', function() end)
    socket:peek(1, function()
      socket:destroy()
    end)
    await(socket, 'close')
    over(await, server, client)
  end))

  it('raises for what it cannot do', function()
    local socket = net.Socket()
    for _, case in ipairs {
      { 'ERR_INVALID_ARG_TYPE', '5', function() end }, { 'ERR_OUT_OF_RANGE', 0, function() end },
      { 'ERR_OUT_OF_RANGE', 65537, function() end }, { 'ERR_OUT_OF_RANGE', 1.5, function() end },
      { 'ERR_INVALID_ARG_TYPE', 5 }, { 'ERR_INVALID_ARG_TYPE', 5, 'callback' },
    } do
      local ok, err = pcall(socket.peek, socket, case[2], case[3])
      assert.is_false(ok)
      assert.equal(case[1], err.code)
    end
    local fed = net.Socket { onread = { buffer = 10, callback = function() end } }
    local ok, err = pcall(fed.peek, fed, 1, function() end)
    assert.is_false(ok)
    assert.equal('ERR_INVALID_STATE', err.code)
  end)

  it('works on a TLS connection too', spec.coroutine(function(await)
    local server, port = P.serve(await, {}, function(socket)
      socket:finish('cleartext')
    end)
    local client = T.connect(port)
    assert.equal('clear', peek(await, client, 5))
    assert.equal('cleartext', (await(client, 'data')))
    client:destroy()
    P.close(await, server)
  end))
end)

describe('one port', function()
  it('serves TLS and plain text by the first byte', spec.coroutine(function(await, expect)
    local secure = tls.createServer(T.identity(), expect(function(socket)
      socket:finish('secret')
    end, 2))
    local server = net.createServer(function(socket)
      socket:peek(1, function(err, first)
        assert.is_nil(err)
        if first == '\22' then -- ContentType handshake (RFC 8446, 5.1)
          secure:emit('connection', socket)
        else
          socket:resume()
          socket:finish('plain text')
        end
      end)
    end)
    await(function(listening)
      server:listen(0, '127.0.0.1', listening)
    end)
    local port = server:address().port
    for _ = 1, 2 do
      local client = T.connect(port)
      assert.equal('secret', (await(client, 'data')))
      if not client.closed then
        await(client, 'close')
      end
      local plain = net.connect(port, '127.0.0.1')
      plain:write('GET / HTTP/1.0\r\n\r\n')
      assert.equal('plain text', (await(plain, 'data')))
      await(plain, 'close')
    end
    P.close(await, server)
  end))
end)

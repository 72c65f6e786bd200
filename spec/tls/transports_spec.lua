-- TLS over whatever carries bytes.
local errors = require 'moonlatch.errors'
local net = require 'net'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'
local util = require 'util'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local X = require 'spec.support.carriers'

local MIB = 1024 * 1024
local MATERIALS = T.identity { ca = T.ca.cert }
local SEED = tonumber(os.getenv('MOONLATCH_SPEC_SEED')) or os.time() % 100000
local CUT_SHORT = 'Client network socket disconnected before secure TLS connection was established'

-- Options of either end.
local function serverOptions(options)
  return T.merged({ isServer = true, key = MATERIALS.key, cert = MATERIALS.cert }, options)
end

local function clientOptions(socket, options)
  return T.merged({ socket = socket, ca = MATERIALS.ca, servername = 'localhost' }, options)
end

-- Both ends over two joined streams, and those.
local function overPair(options)
  local ends = stream.duplexPair(options)
  return tls.connect(clientOptions(ends[1])), tls.TLSSocket(ends[2], serverOptions()), ends[1], ends[2]
end

-- Both ends, with their handshake over. Whatever goes wrong later is the caller's.
local function secured(await, options)
  local client, server, below, above = overPair(options)
  await(function(done)
    local left = 2
    local function one()
      left = left - 1
      if left == 0 then
        done()
      end
    end
    client:once('secureConnect', one)
    server:once('secure', one)
    client:resume()
    server:resume()
  end)
  return client, server, below, above
end

-- The names of a stream's last events, in order, as `log` grows.
local function record(log, name, socket)
  for _, event in ipairs { 'end', 'error', 'finish', 'close' } do
    socket:on(event, function(value)
      local detail = event == 'error' and ' ' .. tostring(value.code or value.message) or ''
      log[#log + 1] = ('%s %s%s'):format(name, event, detail)
    end)
  end
  return socket
end

local function count(log, entry)
  local n = 0
  for _, each in ipairs(log) do
    n = n + (each == entry and 1 or 0)
  end
  return n
end

describe('TLS over', function()
  for _, kind in ipairs(X.kinds) do
    it('a ' .. kind .. ' carries data both ways unchanged, and ends', spec.async(function(done)
      X.open(kind, MATERIALS, function(client, server)
        local open = 2
        for _, socket in ipairs { client, server } do
          socket:on('close', function(hadError)
            open = open - 1
            assert.is_false(hadError)
            if open == 0 then
              done()
            end
          end)
        end
        X.flood(client, server, { total = MIB, seed = SEED }, function(err, facts)
          assert(not err, tostring(err))
          assert.is_true(facts.same, 'seed ' .. SEED)
          assert.equal(MIB, facts.bytes)
        end)
      end)
    end, { timeout = 20000 }))
  end

  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it('a Duplex is ' .. version .. ' like any other', spec.coroutine(function(await, expect)
      local ends = stream.duplexPair()
      local options = { minVersion = version, maxVersion = version, ALPNProtocols = { 'echo' } }
      local server = tls.createServer(serverOptions(T.merged(options, { requestCert = true, ca = MATERIALS.ca })))
      server:on('secureConnection', expect(function(socket)
        assert.is_true(socket.authorized)
        assert.equal('localhost', socket.servername)
        assert.equal('echo', socket.alpnProtocol)
        assert.equal(version, socket:getProtocol())
        socket:pipe(socket)
      end))
      server:emit('connection', ends[2])
      local client = tls.connect(clientOptions(ends[1], T.merged(options, { key = MATERIALS.key,
        cert = MATERIALS.cert })))
      client:on('session', function() end)
      await(client, 'secureConnect')
      assert.equal('localhost', client:getPeerCertificate().subject.CN or 'localhost')
      assert.is_nil(client.remoteAddress)
      assert.same({}, client:address())
      assert.is_false(client.connecting)
      assert.is_false(client.pending)
      client:finish('over a Duplex')
      assert.equal('over a Duplex', (await(client, 'data')))
      P.closed(await, client)
      assert.equal(13, client.bytesRead)
      assert.equal(13, client.bytesWritten)
      assert.is_true(ends[1].destroyed)
      assert.is_true(ends[2].destroyed)
    end))
  end

  it('TLS goes as deep as one likes', spec.coroutine(function(await)
    local client, server = overPair()
    for _ = 1, 5 do
      client, server = tls.connect(clientOptions(client)), tls.TLSSocket(server, serverOptions())
    end
    server:pipe(server)
    client:finish('all the way down')
    assert.equal('all the way down', (await(client, 'data')))
    P.closed(await, client, server)
  end))

  it('nothing but what carries bytes', function()
    local wrong = { 'text', 5, true, {}, function() end, stream.Readable(), stream.Writable() }
    for _, value in ipairs(wrong) do
      for _, open in ipairs { function()
        tls.connect { socket = value }
      end, function()
        tls.TLSSocket(value, serverOptions())
      end } do
        local ok, err = pcall(open)
        assert.is_false(ok)
        assert.equal('ERR_INVALID_ARG_TYPE', err.code)
        assert.matches('^The "socket" argument must be one of net.Socket or stream.Duplex. Received ', err.message)
      end
    end
  end)

  it('one stream is one connection', spec.coroutine(function(await)
    local client, server, below = overPair()
    local ok, err = pcall(tls.connect, { socket = below })
    assert.is_false(ok)
    assert.equal('ERR_INVALID_ARG_VALUE', err.code)
    client:destroy()
    server:on('error', function() end)
    P.closed(await, client, server)
  end))
end)

describe('a TLS connection over a net.Socket', function()
  -- A server of plain connections, and a client's plain socket.
  local function plainEnds(await, options)
    local server = net.createServer(options or {})
    await(function(listening)
      server:listen(0, '127.0.0.1', listening)
    end)
    return server, server:address().port
  end

  it('begins when the socket is connected, in whatever state it is given', spec.coroutine(function(await, expect)
    local server, port = plainEnds(await)
    server:on('connection', expect(function(socket)
      local secure = tls.TLSSocket(socket, serverOptions())
      secure:pipe(secure)
    end, 3))
    for _, state in ipairs { 'new', 'connecting', 'connected' } do
      local plain = net.Socket()
      if state ~= 'new' then
        plain:connect(port, '127.0.0.1')
      end
      if state == 'connected' then
        await(plain, 'connect')
      end
      local client = tls.connect(clientOptions(plain))
      assert.equal(state ~= 'connected', client.connecting)
      if state == 'new' then
        plain:connect(port, '127.0.0.1')
      end
      await(client, 'secureConnect')
      assert.equal('127.0.0.1', client.remoteAddress)
      client:finish(state)
      assert.equal(state, (await(client, 'data')))
      assert.equal('127.0.0.1', plain.remoteAddress)
      assert.equal(port, plain.remotePort)
      assert.is_number(plain.localPort)
      assert.is_false(plain.pending)
      P.closed(await, client, plain)
    end
    await(function(done)
      server:close(done)
    end)
  end))

  it('sends what the socket was given to write before', spec.coroutine(function(await, expect)
    local server, port = plainEnds(await)
    server:on('connection', expect(function(socket)
      local line = {}
      local function onData(chunk)
        local text, rest = chunk:match('^([^\n]*\n)(.*)$')
        line[#line + 1] = text or chunk
        if text then
          socket:removeListener('data', onData)
          assert.is_true(('plain text '):rep(100000) .. '\n' == table.concat(line))
          socket:pause()
          socket:unshift(rest)
          local secure = tls.TLSSocket(socket, serverOptions())
          secure:pipe(secure)
        end
      end
      socket:on('data', onData)
    end, 2))
    for _, wait in ipairs { false, true } do
      local plain = net.connect(port, '127.0.0.1')
      if wait then
        await(plain, 'connect')
      end
      plain:write(('plain text '):rep(100000))
      plain:write('\n')
      local client = tls.connect(clientOptions(plain))
      client:finish('secret')
      assert.equal('secret', (await(client, 'data')))
      P.closed(await, client)
    end
    await(function(done)
      server:close(done)
    end)
  end, { timeout = 20000 }))

  it('reads first what was put back into the socket', spec.coroutine(function(await, expect)
    local server, port = plainEnds(await)
    server:on('connection', expect(function(socket)
      -- The ClientHello is taken out and put back in pieces, the last one first.
      socket:once('data', function(hello)
        socket:pause()
        assert.equal(22, hello:byte())
        for at = #hello, 1, -50 do
          socket:unshift(hello:sub(math.max(at - 49, 1), at))
        end
        local secure = tls.TLSSocket(socket, serverOptions())
        secure:pipe(secure)
      end)
    end))
    local client = T.connect(port)
    client:finish('hello')
    assert.equal('hello', (await(client, 'data')))
    P.closed(await, client)
    await(function(done)
      server:close(done)
    end)
  end))

  it('hands nothing of it to those who listened to the plain text', spec.coroutine(function(await, expect)
    local server, port = plainEnds(await)
    local plainText = ''
    server:on('connection', expect(function(socket)
      local secured_ = false
      socket:on('data', function(chunk)
        plainText = plainText .. chunk
        if not secured_ then
          secured_ = true
          socket:write('OK\n')
          local secure = tls.TLSSocket(socket, serverOptions())
          secure:pipe(secure)
        end
      end)
    end))
    local plain = net.connect(port, '127.0.0.1')
    plain:write('STARTTLS\n')
    assert.equal('OK\n', (await(plain, 'data')))
    local client = tls.connect(clientOptions(plain))
    client:finish('secret')
    assert.equal('secret', (await(client, 'data')))
    P.closed(await, client)
    assert.equal('STARTTLS\n', plainText)
    await(function(done)
      server:close(done)
    end)
  end))

  it('fails clearly where the socket is no use', spec.coroutine(function(await)
    local server, port = plainEnds(await, { allowHalfOpen = true })
    local accepted, peers = {}, {}
    server:on('connection', function(socket)
      table.insert(accepted, socket)
      table.insert(peers, socket)
      socket:on('error', function() end)
    end)
    local function failure(plain, options)
      local client = tls.connect(clientOptions(plain, options))
      local err = await(client, 'error')
      P.closed(await, client)
      assert.is_true(plain.destroyed)
      return err
    end
    local function connected()
      local plain = net.connect { port = port, host = '127.0.0.1', allowHalfOpen = true }
      plain:on('error', function() end)
      await(plain, 'connect')
      while #accepted == 0 do
        await(server, 'connection')
      end
      return plain, table.remove(accepted)
    end

    local destroyed = connected()
    destroyed:destroy()
    assert.equal('ERR_SOCKET_CLOSED', failure(destroyed).code)

    local refused = net.connect(1, '127.0.0.1')
    assert.equal('ECONNREFUSED', failure(refused).code)

    local ended, peer = connected()
    ended:resume()
    peer:finish()
    await(ended, 'end')
    local err = failure(ended)
    assert.equal('ECONNRESET', err.code)
    assert.equal(CUT_SHORT, err.message)

    local finished = connected()
    finished:finish()
    await(finished, 'finish')
    assert.equal('EPIPE', failure(finished).code)

    local decoded
    decoded, peer = connected()
    decoded:setEncoding('utf8')
    peer:write('text that has been decoded')
    await(decoded, 'readable')
    assert.equal('ERR_STREAM_WRAP', failure(decoded).code)

    for _, socket in ipairs(peers) do
      socket:destroy()
    end
    await(function(done)
      server:close(done)
    end)
  end))

  it('waits for the handshake of a TLSSocket below', spec.coroutine(function(await, expect)
    local server, port = plainEnds(await)
    server:on('connection', expect(function(socket)
      local inner = tls.TLSSocket(tls.TLSSocket(socket, serverOptions()), serverOptions())
      inner:pipe(inner)
    end))
    local outer = T.connect(port)
    outer:on('secureConnect', expect())
    local client = tls.connect(clientOptions(outer))
    assert.is_true(client.connecting)
    client:finish('inside')
    assert.equal('inside', (await(client, 'data')))
    P.closed(await, client, outer)
    await(function(done)
      server:close(done)
    end)
  end))

  it('leaves the TLSSocket below able to tell of its connection', spec.coroutine(function(await)
    local sockets = {}
    local client, server = overPair()
    for depth = 1, 3 do
      sockets[depth] = client
      client, server = tls.connect(clientOptions(client)), tls.TLSSocket(server, serverOptions())
    end
    server:pipe(server)
    client:write('up')
    await(client, 'data')
    for depth, socket in ipairs(sockets) do
      assert.equal('TLSv1.3', socket:getProtocol(), depth)
      assert.is_string(socket:getCipher().name)
      assert.is_true(socket.authorized)
      assert.equal(32, #socket:exportKeyingMaterial(32, 'EXPORTER-spec'))
      -- Each layer is a connection of its own.
      for other = depth + 1, 3 do
        assert.is_false(socket:getFinished() == sockets[other]:getFinished())
      end
    end
    client:destroy()
    server:destroy()
    for _, socket in ipairs(sockets) do
      assert.is_nil(socket:getProtocol())
      assert.is_nil(socket:getPeerCertificate())
    end
    P.closed(await, client, server, unpack(sockets))
  end))

  it('fails as the TLSSocket below fails', spec.coroutine(function(await)
    local server, port = plainEnds(await)
    server:on('connection', function(socket)
      tls.TLSSocket(socket, serverOptions()):on('error', function() end)
    end)
    local outer = T.connect(port, { ca = false, servername = 'elsewhere' })
    local log = {}
    record(log, 'outer', outer)
    local client = record(log, 'client', tls.connect(clientOptions(outer)))
    P.closed(await, client, outer)
    assert.equal(1, count(log, 'outer error UNABLE_TO_VERIFY_LEAF_SIGNATURE'))
    assert.equal(1, count(log, 'client error UNABLE_TO_VERIFY_LEAF_SIGNATURE'))
    await(function(done)
      server:close(done)
    end)
  end))

  it('keeps the timeout of the socket', spec.coroutine(function(await, expect)
    local server, port = plainEnds(await)
    server:on('connection', function(socket)
      tls.TLSSocket(socket, serverOptions()):on('error', function() end)
    end)
    local plain = net.connect(port, '127.0.0.1')
    plain:setTimeout(30)
    plain:on('timeout', expect(function()
      plain:destroy()
    end))
    local client = tls.connect(clientOptions(plain))
    P.closed(await, client)
    await(function(done)
      server:close(done)
    end)
  end))
end)

describe('a TLS connection over a Duplex', function()
  it('ends with it on either side', spec.coroutine(function(await)
    local client, server, below, above = secured(await)
    local log = {}
    for name, socket in pairs { client = client, server = server, below = below, above = above } do
      record(log, name, socket)
    end
    client:finish('last')
    server:on('end', function()
      server:finish()
    end)
    P.closed(await, client, server, below, above)
    for _, name in ipairs { 'client', 'server', 'below', 'above' } do
      for _, event in ipairs { 'end', 'finish', 'close' } do
        assert.equal(1, count(log, name .. ' ' .. event), name .. ' ' .. event)
      end
    end
    assert.equal(12, #log)
  end))

  it('is half open as long as the Duplex may be', spec.coroutine(function(await)
    local client, server = secured(await)
    client:finish('question')
    await(server, 'end')
    assert.is_true(server.writable)
    server:finish('answer')
    assert.equal('answer', (await(client, 'data')))
    P.closed(await, client, server)
  end))

  it('ends by itself where the Duplex does not allow half open ones', spec.coroutine(function(await)
    local client, server = secured(await, { allowHalfOpen = false })
    client:finish()
    P.closed(await, client, server)
  end))

  it('may be destroyed at once', spec.coroutine(function(await)
    for _, method in ipairs { 'destroy', 'resetAndDestroy', 'destroySoon' } do
      local client, server, below, above = overPair()
      server:on('error', function() end)
      server:on('end', function()
        server:finish()
      end)
      server:resume()
      client[method](client)
      P.closed(await, client, below, server, above)
    end
  end))

  it('destroys it when it is destroyed', spec.coroutine(function(await)
    for _, reason in ipairs { false, errors.new('enough') } do
      local client, server, below = secured(await)
      local log = {}
      record(log, 'client', client)
      record(log, 'below', below)
      client:destroy(reason or nil)
      assert.is_true(below.destroyed)
      P.closed(await, client, below)
      assert.equal(reason and 1 or 0, count(log, 'client error enough'))
      assert.equal(1, count(log, 'below close'))
      assert.equal(1, count(log, 'client close'))
      assert.equal(reason and 3 or 2, #log)
      server:destroy()
      P.closed(await, server)
    end
  end))

  it('is destroyed when it is', spec.coroutine(function(await)
    for _, reason in ipairs { false, errors.new('broken') } do
      local client, server, below = secured(await)
      local log = {}
      record(log, 'client', client)
      record(log, 'below', below)
      server:on('error', function() end)
      below:destroy(reason or nil)
      P.closed(await, client, below)
      assert.equal(reason and 1 or 0, count(log, 'client error broken'))
      assert.equal(reason and 1 or 0, count(log, 'below error broken'))
      assert.equal(1, count(log, 'client close'))
      assert.equal(reason and 4 or 2, #log)
      server:destroy()
      P.closed(await, server)
    end
  end))

  it('has the very error of the Duplex, behind what came before it', spec.coroutine(function(await)
    local client, server, below = secured(await)
    local reason = errors.new('the carrier pigeon is tired', { code = 'EPIGEON' })
    client:on('data', function(chunk)
      assert.equal('first this', chunk)
      client.seen = true
    end)
    -- What arrives and the failure come in one go.
    below:on('data', function()
      below:destroy(reason)
    end)
    server:on('error', function() end)
    server:write('first this')
    assert.equal(reason, (await(client, 'error')))
    assert.is_true(client.seen)
    server:destroy()
    P.closed(await, client, server)
  end))

  it('has its error when that cannot be shown, too', spec.coroutine(function(await)
    local client, server, below = secured(await)
    server:on('error', function() end)
    local reason = setmetatable({}, { __tostring = function()
      error 'cannot be shown'
    end })
    below:destroy(reason)
    assert.is_true(rawequal(reason, (await(client, 'error'))))
    P.closed(await, client, server)
  end))

  it('tells a handshake that the Duplex ended, closed or failed', spec.coroutine(function(await)
    local cases = {
      { function(below) below:push(nil) end, 'ECONNRESET', CUT_SHORT },
      { function(below) below:destroy() end, 'ECONNRESET', CUT_SHORT },
      { function(below) below:destroy(errors.new('no', { code = 'ENO' })) end, 'ENO', 'no' },
    }
    for _, case in ipairs(cases) do
      for _, later in ipairs { false, true } do
        local ends = stream.duplexPair()
        local client = tls.connect(clientOptions(ends[1]))
        if later then
          await(ends[2], 'data')
        end
        case[1](ends[1])
        local err = await(client, 'error')
        assert.equal(case[2], err.code)
        assert.equal(case[3], err.message)
        P.closed(await, client, ends[1])
        ends[2]:destroy()
      end
    end
  end))

  it('tells a server whose client hung up', spec.coroutine(function(await)
    local server = tls.createServer(serverOptions())
    for _, finish in ipairs { 'finish', 'destroy' } do
      local ends = stream.duplexPair()
      server:emit('connection', ends[2])
      ends[1][finish](ends[1])
      local err, socket = await(server, 'tlsClientError')
      assert.equal('ECONNRESET', err.code)
      assert.is_true(util.isInstance(socket, tls.TLSSocket))
      P.closed(await, socket, ends[2])
      ends[1]:destroy()
    end
  end))

  it('carries the alert of a failed handshake', spec.coroutine(function(await)
    local ends = stream.duplexPair()
    local client = tls.connect(clientOptions(ends[1], { ca = {} }))
    local server = tls.TLSSocket(ends[2], serverOptions())
    local errs = {}
    client:on('error', function(err)
      errs.client = err
    end)
    server:on('error', function(err)
      errs.server = err
    end)
    P.closed(await, client, server)
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', errs.client.code)
    assert.matches('ALERT_UNKNOWN_CA$', errs.server.code)
  end))

  it('refuses one that gives out text or objects', spec.coroutine(function(await)
    local client, server, below = overPair()
    below:setEncoding('utf8')
    server:on('error', function() end)
    local err = await(client, 'error')
    assert.equal('ERR_STREAM_WRAP', err.code)
    assert.equal('Stream has StringDecoder set or is in objectMode', err.message)
    P.closed(await, client, server)

    client, server = overPair { objectMode = true }
    server:on('error', function() end)
    assert.equal('ERR_STREAM_WRAP', await(client, 'error').code)
    P.closed(await, client, server)

    -- Also where it begins to in the middle.
    client, server, below = secured(await)
    below:setEncoding('latin1')
    server:write('more')
    assert.equal('ERR_STREAM_WRAP', await(client, 'error').code)
    server:destroy()
    P.closed(await, client, server)
  end))

  it('refuses one that is over already', spec.coroutine(function(await)
    local function failure(make)
      local ends = stream.duplexPair()
      make(ends[1], ends[2])
      local client = tls.connect(clientOptions(ends[1]))
      local err = await(client, 'error')
      P.closed(await, client, ends[1])
      ends[2]:destroy()
      return err.code
    end
    assert.equal('ERR_STREAM_DESTROYED', failure(function(below)
      below:destroy()
    end))
    assert.equal('EGONE', failure(function(below)
      below:on('error', function() end)
      below:destroy(errors.new('gone', { code = 'EGONE' }))
    end))
    assert.equal('ERR_STREAM_WRITE_AFTER_END', failure(function(below)
      below:finish()
    end))
    assert.equal('ECONNRESET', failure(function(below, above)
      above:finish()
      below:resume()
      await(below, 'end')
    end))
  end))

  it('fails when a write does, or throws', spec.coroutine(function(await)
    local reason = errors.new('disk full', { code = 'ENOSPC' })
    for _, write in ipairs {
      function(_, _, _, callback)
        callback(reason)
      end,
      function()
        error(reason, 0)
      end,
    } do
      local client = tls.connect(clientOptions(stream.Duplex { read = function() end, write = write }))
      assert.equal(reason, (await(client, 'error')))
      P.closed(await, client)
    end
  end))

  it('waits for one that does not drain, and stops reading when it is not read', spec.coroutine(function(await)
    -- What is written to `below` is let through by hand, what is read from it is counted.
    local client, server, below, above = secured(await, { highWaterMark = 1000 })
    local chunk = ('x'):rep(100000)
    server:pause()
    local called = 0
    for _ = 1, 20 do
      client:write(chunk, function()
        called = called + 1
      end)
    end
    for _ = 1, 100 do
      await(setImmediate)
    end
    -- The reader is full, then what it stands on, then the writer.
    assert.is_true(called < 10)
    assert.is_true(client.writableNeedDrain)
    assert.is_true(server.readableLength >= server.readableHighWaterMark)
    assert.is_true(server.readableLength <= server.readableHighWaterMark + 65536)
    assert.is_true(above.readableLength <= 200000)
    assert.is_true(below.writableLength <= 200000)

    local got = 0
    server:on('data', function(data)
      got = got + #data
    end)
    server:on('end', function()
      server:finish()
    end)
    client:finish()
    server:resume()
    P.closed(await, client, server)
    assert.equal(20, called)
    assert.equal(20 * #chunk, got)
  end))

  it('is given up by a server after its time', spec.coroutine(function(await)
    local server = tls.createServer(serverOptions { handshakeTimeout = 20 })
    local silent = stream.Duplex { read = function() end, write = function() end }
    local awake = setInterval(function() end, 1000) -- neither the limit nor the stream holds the loop
    server:emit('connection', silent)
    local err = await(server, 'tlsClientError')
    assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
    P.closed(await, silent)
    clearInterval(awake)
  end))

  it('times out when nothing moves', spec.coroutine(function(await)
    local mute = stream.Duplex { read = function() end, write = function() end }
    local client = tls.connect(clientOptions(mute))
    local awake = setInterval(function() end, 1000)
    client:setTimeout(20)
    await(client, 'timeout')
    clearInterval(awake)
    client:destroy()
    assert.is_true(mute.destroyed)
    P.closed(await, client)
  end))

  it('is read to its end also when the Duplex has closed', spec.coroutine(function(await)
    local client, server, below, above = secured(await)
    local text = ('unread '):rep(20000)
    client:pause()
    server:finish(text)
    client:finish()
    await(server, 'finish')
    server:destroy()
    above:destroy()
    await(function(done)
      local turns = 0
      local function turn()
        turns = turns + 1
        if turns == 50 then
          done()
        else
          setImmediate(turn)
        end
      end
      turn()
    end)
    local got = {}
    client:on('data', function(chunk)
      got[#got + 1] = chunk
    end)
    client:resume()
    P.closed(await, client, below)
    assert.is_true(text == table.concat(got))
  end))

  it('survives being destroyed in any event of either', spec.coroutine(function(await)
    local events = { 'data', 'end', 'finish', 'secure', 'secureConnect', 'resume', 'pause' }
    for _, target in ipairs { 'client', 'below' } do
      for _, event in ipairs(events) do
        local client, server, below = overPair()
        local emitter = target == 'client' and client or below
        emitter:on(event, function()
          emitter:destroy()
        end)
        for _, socket in ipairs { client, server } do
          socket:on('error', function() end)
        end
        server:on('secure', function()
          server:finish('data')
        end)
        client:on('end', function()
          client:finish()
        end)
        client:resume()
        server:resume()
        P.closed(await, client, server)
      end
    end
  end))

  it('reaches scripts of their own making', spec.coroutine(function(await)
    -- Chunks of one byte, each a turn of the loop later.
    local Slow = stream.Duplex:extend('Slow')
    function Slow:_read() -- luacheck: ignore self
    end
    function Slow:_write(chunk, _, callback)
      local i = 0
      local function step()
        for _ = 1, 100 do
          i = i + 1
          if i > #chunk then
            callback()
            return
          end
          self.other:push(chunk:sub(i, i))
        end
        setImmediate(step)
      end
      step()
    end
    function Slow:_final(callback)
      self.other:push(nil)
      callback()
    end
    local a, b = Slow(), Slow()
    a.other, b.other = b, a
    local client, server = tls.connect(clientOptions(a)), tls.TLSSocket(b, serverOptions())
    server:pipe(server)
    client:finish('byte by byte')
    local got = ''
    client:on('data', function(chunk)
      got = got .. chunk
    end)
    P.closed(await, client, server)
    assert.equal('byte by byte', got)
  end))
end)

describe('TLS in TLS with Node', function()
  local NODE_CLIENT = [[
    const tls = require('tls');
    const options = { ca: process.env.CA, servername: 'localhost' };
    const outer = tls.connect({ ...options, host: '127.0.0.1', port: Number(process.env.PORT) }, () => {
      const inner = tls.connect({ ...options, socket: outer }, () => inner.end('from Node'));
      inner.on('data', (data) => console.log(String(data)));
    });
  ]]
  local NODE_SERVER = [[
    const tls = require('tls');
    const options = { cert: process.env.CERT, key: process.env.KEY };
    const server = tls.createServer(options, (outer) => {
      const inner = new tls.TLSSocket(outer, { ...options, isServer: true });
      inner.on('data', (data) => inner.write('Node got ' + data));
      inner.on('end', () => { inner.end(); server.close(); });
    });
    server.listen(0, '127.0.0.1', () => console.log('port=' + server.address().port));
  ]]

  it('works where Node is the client', spec.coroutine(function(await)
    local server, port = P.serve(await, {}, function(outer)
      local inner = tls.TLSSocket(outer, serverOptions())
      inner:pipe(inner)
    end)
    local status, stdout, stderr = P.run(await, { 'node', '-e', NODE_CLIENT },
      { env = { PORT = tostring(port), CA = MATERIALS.ca, NODE_OPTIONS = false } })
    assert.equal('', stderr)
    assert.equal('from Node\n', stdout)
    assert.equal(0, status)
    P.close(await, server)
  end))

  it('works where Node is the server', spec.coroutine(function(await)
    local node = spec.command({ 'node', '-e', NODE_SERVER },
      { input = false, env = { CERT = MATERIALS.cert, KEY = MATERIALS.key, NODE_OPTIONS = false } })
    local port = tonumber(P.waitFor(await, node, 'stdout', 'port=(%d+)'))
    local outer = T.connect(port)
    local inner = tls.connect(clientOptions(outer))
    inner:write('from Lua')
    assert.equal('Node got from Lua', (await(inner, 'data')))
    inner:finish()
    P.closed(await, inner, outer)
    P.over(await, node)
    assert.equal('', node.stderr)
    assert.equal(0, node.status)
  end))
end)

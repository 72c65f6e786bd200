-- TLS over whatever carries bytes.
local net = require 'net'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local X = require 'spec.support.carriers'

local MIB = 1024 * 1024
local MATERIALS = T.identity { ca = T.ca.cert }
local SEED = tonumber(os.getenv('MOONLATCH_SPEC_SEED')) or os.time() % 100000
local CUT_SHORT = 'Client network socket disconnected before secure TLS connection was established'
local serverOptions, clientOptions, overPair = X.serverOptions, X.clientOptions, X.overPair
local record, count = X.record, X.count

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

-- Peers that speak no TLS, break it off or break its rules: one Error, in the right place, and life goes on.
local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local util = require 'util'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local HTTP = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'

-- Types of a record (RFC 8446, 5.1).
local ALERT, HANDSHAKE, APPLICATION_DATA = '\21', '\22', '\23'

local function record(kind, body)
  return kind .. '\3\3' .. string.char(math.floor(#body / 256), #body % 256) .. body
end

describe('a server goes on after one tlsClientError when a client', function()
  -- { what it does, its bytes, code, reason, what the client is told }
  local unhandshaken = {
    { 'speaks HTTP', HTTP, 'ERR_SSL_HTTP_REQUEST', 'http request', '' },
    { 'speaks HTTP to a proxy', 'CONNECT a:1 HTTP/1.1\r\n\r\n', 'ERR_SSL_HTTPS_PROXY_REQUEST',
      'https proxy request', '' },
    { 'sends garbage', ('garbage '):rep(100), 'ERR_SSL_WRONG_VERSION_NUMBER', 'wrong version number', '' },
    { 'sends zeros', ('\0'):rep(1000), 'ERR_SSL_WRONG_VERSION_NUMBER', 'wrong version number', '' },
    { 'sends a record that is too long', HANDSHAKE .. '\3\1\255\255' .. ('x'):rep(65535),
      'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'packet length too long', ALERT },
    { 'sends data before the handshake', record(APPLICATION_DATA, ('x'):rep(100)), 'ERR_SSL_UNEXPECTED_MESSAGE',
      'unexpected message', ALERT },
    { 'sends a hello with nothing in it', record(HANDSHAKE, '\1\0\0\0'), 'ERR_SSL_LENGTH_TOO_SHORT',
      'length too short', ALERT },
    { 'sends a hello that is garbage', record(HANDSHAKE, '\1\0\0\100' .. ('\255'):rep(100)),
      'ERR_SSL_LENGTH_MISMATCH', 'length mismatch', ALERT },
    { 'sends a hello that would never end', record(HANDSHAKE, '\1\255\255\255' .. ('\3'):rep(16000)),
      'ERR_SSL_EXCESSIVE_MESSAGE_SIZE', 'excessive message size', ALERT },
    { 'begins with an alert', record(ALERT, '\2\40'), 'ERR_SSL_UNEXPECTED_MESSAGE', 'unexpected message', ALERT },
  }
  for _, case in ipairs(unhandshaken) do
    it(case[1], P.test({}, function(await)
      local guarded = H.guard(await)
      local received = H.raw(await, guarded.port, function(socket)
        socket:write(case[2])
      end)
      local err = H.onlyError(await, guarded)
      assert.equal(case[3], err.code)
      assert.equal(case[4], err.reason)
      assert.equal('SSL routines', err.library)
      assert.truthy(err.message:find('^error:0A%x+:SSL routines::' .. case[4]), err.message)
      assert.equal(case[5], received:sub(1, 1))
      assert.is_true(util.isInstance(guarded.sockets[1], tls.TLSSocket))
    end))
  end

  local HANG_UP = 'the client disconnected during the TLS handshake'

  for _, count in ipairs { 0, 1, 5, 50, 'all' } do
    it(('disconnects after %s bytes of its hello'):format(count), P.test({}, function(await)
      local hello = H.clientHello(await)
      local guarded = H.guard(await)
      H.raw(await, guarded.port, function(socket)
        socket:finish(hello:sub(1, count == 'all' and #hello or count))
      end)
      local err = H.onlyError(await, guarded)
      assert.equal('ECONNRESET', err.code)
      assert.equal('socket hang up', err.message)
      assert.equal(HANG_UP, err.reason)
    end))

    it(('resets the connection after %s bytes of its hello'):format(count), P.test({}, function(await)
      local hello = H.clientHello(await)
      local guarded = H.guard(await)
      H.raw(await, guarded.port, function(socket)
        socket:write(hello:sub(1, count == 'all' and #hello or count), function()
          socket:resetAndDestroy()
        end)
      end)
      local err = H.onlyError(await, guarded)
      assert.equal('ECONNRESET', err.code)
      -- A whole hello is answered before the reset is read.
      assert.is_true(err.syscall == 'read' or count == 'all' and err.syscall == 'write')
    end))
  end

  it('disconnects when it has seen the answer to its hello', P.test({}, function(await)
    local hello = H.clientHello(await)
    for _, leave in ipairs { 'destroy', 'resetAndDestroy' } do
      local guarded = H.guard(await)
      H.raw(await, guarded.port, function(socket)
        socket:write(hello)
        socket:on('data', function()
          socket[leave](socket)
        end)
      end)
      assert.equal('ECONNRESET', H.onlyError(await, guarded).code)
    end
  end))

  it('answers with an alert', P.test({}, function(await)
    local hello = H.clientHello(await)
    local guarded = H.guard(await)
    H.raw(await, guarded.port, function(socket)
      socket:write(hello)
      socket:once('data', function()
        socket:write(record(ALERT, '\2\48'))
      end)
    end)
    local err = H.onlyError(await, guarded)
    assert.equal('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', err.code)
    assert.equal('tlsv1 alert unknown ca', err.reason)
    assert.equal('peer', err.alertFrom)
    assert.equal(48, err.alert)
  end))

  it('says nothing for too long, or too little', P.test({}, function(await)
    local hello = H.clientHello(await)
    -- Long enough for the good client that follows.
    local guarded = H.guard(await, { handshakeTimeout = 300 * spec.slowness })
    local sent = { 0, 1, 50 }
    await(function(done)
      local left = #sent
      for _, count in ipairs(sent) do
        local socket = net.connect(guarded.port, '127.0.0.1')
        socket:write(hello:sub(1, count))
        socket:resume()
        socket:on('error', function() end)
        socket:on('close', function()
          left = left - 1
          if left == 0 then
            done()
          end
        end)
      end
    end)
    P.ownClientEcho(await, guarded.port, {}, 'still there?')
    assert.equal(#sent, #guarded.errors)
    for _, err in ipairs(guarded.errors) do
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
      assert.equal('TLS handshake timeout', err.message)
    end
    P.close(await, guarded.server)
  end))

  it('speaks TLS 1.0 only', P.test({}, function(await, files)
    local guarded = H.guard(await)
    local _, _, stderr = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. guarded.port, '-CAfile',
      files.ca, '-tls1', '-cipher', 'ALL:@SECLEVEL=0' })
    assert.matches('SSL alert number 70', stderr)
    local err = H.onlyError(await, guarded)
    assert.equal('ERR_SSL_UNSUPPORTED_PROTOCOL', err.code)
    assert.equal('unsupported protocol', err.reason)
    assert.equal('local', err.alertFrom)
  end))

  it('knows none of its ciphers', P.test({}, function(await, files)
    local guarded = H.guard(await, { ciphers = 'ECDHE-ECDSA-AES128-GCM-SHA256', maxVersion = 'TLSv1.2' })
    local _, _, stderr = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. guarded.port, '-CAfile',
      files.ca, '-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384' })
    assert.matches('SSL alert number 40', stderr)
    local err = H.onlyError(await, guarded)
    assert.equal('ERR_SSL_NO_SHARED_CIPHER', err.code)
    assert.equal('no shared cipher', err.reason)
  end))

  it('knows none of its protocols', P.test({}, function(await)
    local guarded = H.guard(await, { ALPNProtocols = { 'h2' } })
    local failure = H.clientFailure(await, guarded.port, { ALPNProtocols = { 'http/1.1' } })
    assert.equal('ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', failure.error.code)
    assert.equal('ERR_SSL_NO_APPLICATION_PROTOCOL', H.onlyError(await, guarded).code)
  end))

  it('cuts what it says into single bytes, which is no error', P.test({}, function(await)
    local guarded = H.guard(await)
    local proxy, port = H.plainServer(await, function(client)
      local upstream = net.connect({ port = guarded.port, host = '127.0.0.1', noDelay = true })
      upstream:pipe(client)
      client:on('data', function(chunk)
        for at = 1, #chunk do
          upstream:write(chunk:sub(at, at))
        end
      end)
      client:on('end', function()
        upstream:finish()
      end)
      H.drainAfter(client, upstream)
    end)
    P.ownClientEcho(await, port, {}, 'byte by byte')
    P.close(await, proxy)
    P.close(await, guarded.server)
    assert.equal(0, #guarded.errors)
  end))

  it('is one of many that fail in different ways at once', P.test({}, function(await)
    local hello = H.clientHello(await)
    local guarded = H.guard(await)
    local left = 30
    await(function(done)
      for i = 1, left do
        local socket = net.connect(guarded.port, '127.0.0.1')
        socket:on('error', function() end)
        socket:on('connect', function()
          if i % 3 == 0 then
            socket:write(HTTP)
          elseif i % 3 == 1 then
            socket:finish(hello)
          else
            socket:write(hello:sub(1, i), function()
              socket:resetAndDestroy()
            end)
          end
        end)
        socket:resume()
      end
      guarded.server:on('tlsClientError', function()
        left = left - 1
        if left == 0 then
          done()
        end
      end)
    end)
    P.ownClientEcho(await, guarded.port, {}, 'still there?')
    assert.equal(30, #guarded.errors)
    P.close(await, guarded.server)
  end))
end)

describe('a connection that is open', function()
  -- What is put into the server's way, and what becomes of both ends.
  local cases = {
    { 'a forged record', record(APPLICATION_DATA, ('x'):rep(64)), 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC',
      'ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC' },
    { 'plain HTTP', HTTP, 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' },
    { 'a record that is too long', APPLICATION_DATA .. '\3\3\255\255' .. ('x'):rep(1000),
      'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'ERR_SSL_TLSV1_ALERT_RECORD_OVERFLOW' },
  }
  for _, case in ipairs(cases) do
    it(('ends with an error on either side after %s'):format(case[1]), P.test({}, function(await)
      local guarded = H.guard(await, { minVersion = 'TLSv1.3' })
      local upstream
      local proxy, port = H.proxy(await, guarded.port, function(_, server)
        upstream = server
      end)
      local client = T.connect(port)
      client:on('data', function()
        upstream:write(case[2])
      end)
      client:write('hello')
      local err = await(client, 'error')
      assert.equal(case[4], err.code)
      assert.equal('peer', err.alertFrom)
      assert.equal(case[3], guarded.socketError.code)
      assert.equal('local', guarded.socketError.alertFrom)
      assert.equal(0, #guarded.errors)
      P.close(await, proxy)
      P.ownClientEcho(await, guarded.port, {}, 'still there?')
      P.close(await, guarded.server)
    end))
  end

  it('ends with an error when it is reset', P.test({}, function(await)
    local guarded = H.guard(await)
    local upstream, downstream
    local proxy, port = H.proxy(await, guarded.port, function(client, server)
      downstream, upstream = client, server
    end)
    local client = T.connect(port)
    client:on('data', function()
      upstream:resetAndDestroy()
      downstream:resetAndDestroy()
    end)
    client:write('hello')
    assert.equal('ECONNRESET', await(client, 'error').code)
    P.close(await, proxy)
    P.ownClientEcho(await, guarded.port, {}, 'still there?')
    assert.equal('ECONNRESET', guarded.socketError.code)
    P.close(await, guarded.server)
  end))
end)

describe('a client gets one error', function()
  it('from a server that speaks no TLS', P.test({}, function(await)
    local answers = {
      { 'an echo of its own hello', function(socket)
        socket:pipe(socket)
      end, 'ERR_SSL_UNEXPECTED_MESSAGE' },
      { 'HTTP', function(socket)
        socket:write('HTTP/1.1 400 Bad Request\r\n\r\n')
      end, 'ERR_SSL_WRONG_VERSION_NUMBER' },
      { 'garbage', function(socket)
        socket:write(('garbage '):rep(100))
      end, 'ERR_SSL_WRONG_VERSION_NUMBER' },
      { 'a record that is too long', function(socket)
        socket:write(HANDSHAKE .. '\3\3\255\255' .. ('x'):rep(1000))
      end, 'ERR_SSL_PACKET_LENGTH_TOO_LONG' },
      { 'an alert', function(socket)
        socket:write(record(ALERT, '\2\70'))
      end, 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' },
    }
    for _, answer in ipairs(answers) do
      local server, port = H.plainServer(await, function(socket)
        socket:resume()
        answer[2](socket)
      end)
      local failure = H.clientFailure(await, port)
      assert.equal(answer[3], failure.error.code)
      assert.equal('SSL routines', failure.error.library)
      assert.is_string(failure.error.reason)
      assert.is_false(failure.connected)
      assert.is_true(failure.hadError)
      P.close(await, server)
    end
  end))

  it('from a server that goes away during the handshake', P.test({}, function(await)
    local hello = function(socket, leave)
      socket:once('data', function()
        leave(socket)
      end)
    end
    local server, port = H.plainServer(await, function(socket)
      hello(socket, socket.destroy)
    end)
    local failure = H.clientFailure(await, port)
    assert.equal('ECONNRESET', failure.error.code)
    assert.equal('Client network socket disconnected before secure TLS connection was established',
      failure.error.message)
    assert.equal('the server disconnected during the TLS handshake', failure.error.reason)
    P.close(await, server)

    server, port = H.plainServer(await, function(socket)
      hello(socket, socket.resetAndDestroy)
    end)
    failure = H.clientFailure(await, port)
    assert.equal('ECONNRESET', failure.error.code)
    assert.equal('read', failure.error.syscall)
    P.close(await, server)
  end))

  it('from a port where nobody listens', P.test({}, function(await)
    local server, port = H.plainServer(await, function() end)
    P.close(await, server)
    local err = H.clientFailure(await, port).error
    assert.equal('ECONNREFUSED', err.code)
    assert.equal('connect', err.syscall)
    assert.equal('127.0.0.1', err.address)
    assert.equal(port, err.port)
    assert.equal(('connect ECONNREFUSED 127.0.0.1:%d'):format(port), err.message)
    assert.is_true(err.errno < 0)
  end))

  it('from a path where there is nothing', P.test({}, function(await, files)
    local path = files.dir .. '/nothing.sock'
    local err = H.clientFailure(await, nil, { path = path }).error
    assert.equal('ENOENT', err.code)
    assert.equal('connect', err.syscall)
    assert.equal(path, err.address)
  end))

  describe('for a host', function()
    local dns = require 'dns'
    local servers = dns.getServers()

    after_each(function()
      dns.setServers(servers)
    end)

    local function check(await, code, host)
      local err = H.clientFailure(await, 1, { host = host }).error
      assert.equal(code, err.code)
      assert.equal('getaddrinfo', err.syscall)
      assert.equal(host, err.hostname)
      assert.equal(('getaddrinfo %s %s'):format(code, host), err.message)
    end

    it('that does not exist', P.test({}, function(await)
      local server = spec.command({ 'node', 'spec/support/fake_dns.js' }, { input = false })
      dns.setServers { '127.0.0.1:' .. P.waitFor(await, server, 'stdout', '(%d+) %d+\n') }
      check(await, 'ENOTFOUND', 'nowhere.test')
      P.stop(await, server)
    end))

    it('that cannot exist', P.test({}, function(await)
      check(await, 'ENOTFOUND', 'nowhere.invalid')
    end))

    it('that there is nobody to ask about', P.test({}, function(await)
      local silent, port = H.plainServer(await, function() end)
      P.close(await, silent)
      dns.setServers { '127.0.0.1:' .. port }
      check(await, 'EAI_AGAIN', 'nowhere.test')
    end))
  end)

  it('for a session that cannot be read', P.test({}, function(await)
    local guarded = H.guard(await)
    local failure = H.clientFailure(await, guarded.port, { session = 'garbage' })
    assert.matches('^ERR_', failure.error.code)
    assert.is_false(failure.connected)
    P.ownClientEcho(await, guarded.port, {}, 'still there?')
    P.close(await, guarded.server)
  end))

  it('when the two have no version in common', P.test({}, function(await)
    local guarded = H.guard(await, { minVersion = 'TLSv1.3' })
    local failure = H.clientFailure(await, guarded.port, { maxVersion = 'TLSv1.2' })
    assert.equal('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', failure.error.code)
    assert.equal('peer', failure.error.alertFrom)
    assert.equal('ERR_SSL_UNSUPPORTED_PROTOCOL', H.onlyError(await, guarded).code)
  end))
end)

describe('a server that cannot listen', function()
  it('says which address is in use', P.test({}, function(await)
    local guarded = H.guard(await)
    local second = tls.createServer(T.identity())
    local count = 0
    second:on('error', function()
      count = count + 1
    end)
    second:listen(guarded.port, '127.0.0.1')
    local err = await(second, 'error')
    assert.equal('EADDRINUSE', err.code)
    assert.equal('listen', err.syscall)
    assert.equal('127.0.0.1', err.address)
    assert.equal(guarded.port, err.port)
    assert.equal(('listen EADDRINUSE: address already in use 127.0.0.1:%d'):format(guarded.port), err.message)
    assert.equal(1, count)
    assert.is_false(second.listening)
    P.ownClientEcho(await, guarded.port, {}, 'still there?')
    P.close(await, guarded.server)
    -- The failed server is not spoilt.
    await(function(listening)
      second:listen(0, '127.0.0.1', listening)
    end)
    P.close(await, second)
  end))

  it('says that it listens already', P.test({}, function(await)
    local guarded = H.guard(await)
    local ok, err = pcall(guarded.server.listen, guarded.server, 0)
    assert.is_false(ok)
    assert.equal('ERR_SERVER_ALREADY_LISTEN', err.code)
    P.close(await, guarded.server)
  end))

  it('says that an address is not its own', spec.coroutine(function(await)
    local server = tls.createServer(T.identity())
    server:listen(0, '192.0.2.1')
    local err = await(server, 'error')
    assert.equal('EADDRNOTAVAIL', err.code)
    assert.equal('192.0.2.1', err.address)
  end))
end)

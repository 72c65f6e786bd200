-- Connections that begin in plain text: the examples, with other programs at the far end.
local net = require 'net'
local process = require 'process'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local postgres = require 'spec.support.postgres'
local T = require 'spec.support.tls'

local ROOT = process.cwd()

local function start(name, dir, arguments, options)
  local argv = { process.execPath, ROOT .. '/examples/' .. name .. '.lua' }
  for _, argument in ipairs(arguments) do
    argv[#argv + 1] = tostring(argument)
  end
  return spec.command(argv, T.merged({ cwd = dir, input = false }, options))
end

local function startServer(await, name, dir, arguments)
  local server = start(name, dir, arguments)
  return server, tonumber(P.waitFor(await, server, 'stdout', 'listening on port (%d+)\n'))
end

local function ended(await, command)
  P.over(await, command)
  return command.status, command.stdout, command.stderr
end

-- Says `text` in plain text and waits for the end; what came back.
local function plainTalk(await, port, text)
  local socket, got = net.connect(port, '127.0.0.1'), ''
  socket:on('error', function() end)
  socket:on('data', function(chunk)
    got = got .. chunk
  end)
  socket:write(text)
  await(function(done)
    socket:on('close', function()
      done()
    end)
  end)
  return got
end

-- A program that has ended well, and said nothing but this.
local function prints(expected, status, stdout, stderr)
  assert.equal('', stderr)
  assert.equal(expected, stdout)
  assert.equal(0, status)
end

describe('examples/starttls_smtp.lua', function()
  it('takes a message from openssl s_client -starttls smtp', P.test({}, function(await, files)
    local server, port = startServer(await, 'starttls_smtp', files.dir, { 'server', 0 })
    local client = P.sClient(port, { '-starttls', 'smtp', '-quiet', '-CAfile', files.dir .. '/smtp-ca.pem',
      '-verify_return_error', '-verify_hostname', 'localhost' })
    client.stdin:write('EHLO spec\r\n')
    P.waitFor(await, client, 'stdout', '250 8BITMIME')
    assert.is_nil(client.stdout:match('STARTTLS')) -- not a second time
    client.stdin:write('MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n')
    P.waitFor(await, client, 'stdout', '354 ')
    client.stdin:write('Subject: hello\r\n\r\n..dotted\r\n.\r\nQUIT\r\n')
    local status = ended(await, client)
    assert.equal(0, status)
    assert.matches('221 Bye', client.stdout)
    P.waitFor(await, server, 'stdout', 'secure: TLSv1%.3, TLS_%S+\nmessage:\nSubject: hello\n\n%.dotted\n')
    P.stop(await, server)
  end))

  it('sends a message', P.test({}, function(await, files)
    local server, port = startServer(await, 'starttls_smtp', files.dir, { 'server', 0 })
    prints('sent over TLSv1.3\n', ended(await, start('starttls_smtp', files.dir, { 'client', port },
      { input = 'Subject: from the client\n\n.dotted\nsecond line\n' })))
    P.waitFor(await, server, 'stdout', 'message:\nSubject: from the client\n\n%.dotted\nsecond line\n')
    P.stop(await, server)
  end))

  it('does not send to a server that it cannot verify', P.test({}, function(await, files)
    local server, port = startServer(await, 'starttls_smtp', files.dir, { 'server', 0 })
    local status, stdout, stderr = ended(await, start('starttls_smtp', files.dir, { 'client', port, files.ca },
      { input = 'secret' }))
    assert.equal(1, status)
    assert.equal('', stdout)
    assert.matches('unable to verify the first certificate', stderr)
    P.waitFor(await, server, 'stdout', 'connection failed: .*unknown ca')
    assert.is_nil(server.stdout:match('secret'))
    P.stop(await, server)
  end))

  it('takes no message in plain text', P.test({}, function(await, files)
    local server, port = startServer(await, 'starttls_smtp', files.dir, { 'server', 0 })
    local said = plainTalk(await, port, 'HELO spec\r\nMAIL FROM:<a@b>\r\nDATA\r\nWHAT\r\nQUIT\r\n')
    assert.matches('^220 localhost ESMTP\r\n250 localhost\r\n530 Must issue a STARTTLS command first\r\n'
      .. '530 Must issue a STARTTLS command first\r\n502 Command not implemented\r\n221 Bye\r\n$', said)
    -- A line without an end.
    plainTalk(await, port, ('x'):rep(10000))
    P.waitFor(await, server, 'stdout', 'connection failed: a line without an end')
    P.stop(await, server)
  end))

  it('is not fooled by commands behind STARTTLS in plain text', P.test({}, function(await, files)
    local server, port = startServer(await, 'starttls_smtp', files.dir, { 'server', 0 })
    local said = plainTalk(await, port, 'STARTTLS\r\nMAIL FROM:<eve@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nforged\r\n.\r\n')
    assert.matches('^220 localhost ESMTP\r\n220 Go ahead\r\n', said)
    assert.is_nil(said:match('250'))
    P.waitFor(await, server, 'stdout', 'connection failed: .*SSL routines')
    assert.is_nil(server.stdout:match('forged'))
    P.stop(await, server)
  end))

  it('is not fooled by answers ahead of the handshake', P.test({}, function(await, files)
    local server, port = H.plainServer(await, function(socket)
      socket:write('220 false friend\r\n')
      socket:on('data', function(line)
        if line:find('EHLO', 1, true) then
          socket:write('250 STARTTLS\r\n')
        elseif line:find('STARTTLS', 1, true) then
          socket:write('220 Go ahead\r\n250 this is said in plain text\r\n')
        end
      end)
    end)
    local status, _, stderr = ended(await, start('starttls_smtp', files.dir, { 'client', port, files.ca },
      { input = 'secret' }))
    assert.equal(1, status)
    assert.matches('wrong version number', stderr)
    P.close(await, server)
  end))

  it('says so when the server has no STARTTLS, or goes', P.test({}, function(await, files)
    for _, case in ipairs {
      { '502 what?\r\n', '220 was expected, and came: 502 what%?' },
      { false, 'disconnected before secure TLS connection' },
    } do
      local server, port = H.plainServer(await, function(socket)
        socket:write('220 old server\r\n')
        socket:on('data', function(line)
          if line:find('EHLO', 1, true) then
            socket:write('250 hello\r\n')
          elseif case[1] then
            socket:write(case[1])
          elseif line:find('STARTTLS', 1, true) then
            socket:write('220 Go ahead\r\n')
          else
            socket:destroy()
          end
        end)
      end)
      local status, _, stderr = ended(await, start('starttls_smtp', files.dir, { 'client', port, files.ca },
        { input = 'secret' }))
      assert.equal(1, status)
      assert.matches(case[2], stderr)
      P.close(await, server)
    end
  end))
end)

describe('examples/starttls_postgres.lua', function()
  local directory, server

  -- One server for all of them: making one takes seconds.
  setup(spec.coroutine(function(await)
    directory = spec.tempdir()
    server = postgres.start(await, directory)
  end, { timeout = 60000, allowOpen = true }))

  teardown(function()
    spec.coroutine(function(await)
      postgres.stop(await, server)
    end, { timeout = 60000, allowOpen = true })()
    spec.remove(directory)
  end)

  -- What the server knows of the connection that asks.
  local FACTS = 'SELECT ssl, version, bits > 0, NULL FROM pg_stat_ssl WHERE pid = pg_backend_pid()'

  local function psql(await, parameters, sql)
    return P.run(await, { 'psql', '--no-psqlrc', '--tuples-only', '--no-align', '-d', parameters, '-c', sql },
      { env = { PGPASSFILE = '/nonexistent', PGGSSENCMODE = 'disable' } })
  end

  it('asks a PostgreSQL server over TLS', P.test({}, function(await, files)
    prints('t\tTLSv1.3\tt\t\n', ended(await, start('starttls_postgres', files.dir,
      { 'query', server.address, server.port, postgres.USER, files.ca, FACTS })))
  end))

  it('carries large answers', P.test({}, function(await, files)
    local status, stdout, stderr = ended(await, start('starttls_postgres', files.dir, { 'query', server.address,
      server.port, postgres.USER, files.ca, "SELECT repeat('0123456789', 100000), i FROM generate_series(1, 3) AS i" }))
    assert.equal('', stderr)
    assert.equal(0, status)
    local row = ('0123456789'):rep(100000)
    assert.is_true(stdout == row .. '\t1\n' .. row .. '\t2\n' .. row .. '\t3\n')
  end))

  it('tells what a PostgreSQL server has against it', P.test({}, function(await, files)
    local status, _, stderr = ended(await, start('starttls_postgres', files.dir,
      { 'query', server.address, server.port, 'nobody_of_that_name', files.ca, 'SELECT 1' }))
    assert.equal(1, status)
    assert.matches('role "nobody_of_that_name" does not exist', stderr)

    status, _, stderr = ended(await, start('starttls_postgres', files.dir,
      { 'query', server.address, server.port, postgres.USER, files.ca, 'SELEKT' }))
    assert.equal(1, status)
    assert.matches('syntax error', stderr)
  end))

  it('does not ask a server that it cannot verify, or that has no TLS', P.test({ other = T.localhost },
    function(await, files)
      local status, _, stderr = ended(await, start('starttls_postgres', files.dir,
        { 'query', server.address, server.port, postgres.USER, files.other_cert, 'SELECT 1' }))
      assert.equal(1, status)
      assert.matches('unable to', stderr)

      for _, answer in ipairs { 'N', 'Sand more in plain text', '' } do
        local bare, port = H.plainServer(await, function(socket)
          socket:once('data', function(request)
            assert.equal('\0\0\0\8\4\210\22\47', request)
            socket:finish(answer)
          end)
        end)
        status, _, stderr = ended(await, start('starttls_postgres', files.dir,
          { 'query', '127.0.0.1', port, postgres.USER, files.ca, 'SELECT 1' }))
        assert.equal(1, status)
        assert.matches(#answer > 1 and 'wrong version number' or 'the server does not speak TLS', stderr)
        P.close(await, bare)
      end
    end))

  -- The server speaks plain text too; the door to it does not.
  local function openDoor(await, files)
    local forward = net.createServer(function(socket)
      local backend = net.connect(server.port, server.address)
      socket:pipe(backend)
      backend:pipe(socket)
      for one, other in pairs { [socket] = backend, [backend] = socket } do
        one:on('error', function() end)
        one:on('close', function()
          other:destroySoon()
        end)
      end
    end)
    await(function(listening)
      forward:listen(0, '127.0.0.1', listening)
    end)
    local door, port = startServer(await, 'starttls_postgres', files.dir, { 'door', 0, forward:address().port })
    return door, port, function()
      P.stop(await, door)
      P.close(await, forward)
    end
  end

  it('lets psql in, over TLS alone', P.test({}, function(await, files)
    local door, port, close = openDoor(await, files)
    local parameters = ('host=localhost hostaddr=127.0.0.1 port=%d user=%s dbname=postgres '
      .. 'sslrootcert=%s/postgres-ca.pem sslmode='):format(port, postgres.USER, files.dir)
    prints('through the door\n', psql(await, parameters .. 'verify-full', "SELECT 'through the door'"))
    P.waitFor(await, door, 'stdout', 'secure: TLSv1%.3, TLS_%S+\n')

    local status, stdout, stderr = psql(await, parameters .. 'disable', 'SELECT 1')
    assert.matches('this door asks for TLS', stderr)
    assert.equal('', stdout)
    assert.equal(2, status)
    close()
  end))

  it('lets openssl s_client in, by -starttls postgres and without', P.test({}, function(await, files)
    local door, port, close = openDoor(await, files)
    for _, arguments in ipairs { { '-starttls', 'postgres' }, { '-alpn', 'postgresql' } } do
      local all = { '-CAfile', files.dir .. '/postgres-ca.pem', '-verify_return_error', '-verify_hostname', 'localhost',
        unpack(arguments) }
      local client = P.sClient(port, all)
      P.waitFor(await, client, 'stdout', 'Verify return code: 0 %(ok%)')
      client.stdin:finish()
      assert.equal(0, (ended(await, client)))
    end
    assert.equal(2, select(2, door.stdout:gsub('secure: TLSv1%.3', '')))
    close()
  end))

  it('answers what is no request of PostgreSQL', P.test({}, function(await, files)
    local _, port, close = openDoor(await, files)
    -- A request for GSSAPI is declined, and may be followed by another.
    local socket = net.connect(port, '127.0.0.1')
    socket:write('\0\0\0\8\4\210\22\48')
    assert.equal('N', (await(socket, 'data')))
    socket:write('\0\0\0\8\4\210\22\47')
    assert.equal('S', (await(socket, 'data')))
    local client = tls.connect { socket = socket, ca = require('fs').readFileSync(files.dir .. '/postgres-ca.pem') }
    await(client, 'secureConnect')
    client:destroy()

    assert.matches('this door asks for TLS', plainTalk(await, port, 'GET / HTTP/1.0\r\n\r\n'))
    assert.equal('', plainTalk(await, port, '\0\0\0\16\4\210\22\46'))
    local short = net.connect(port, '127.0.0.1')
    short:finish('\0\0')
    short:resume()
    await(short, 'close')
    close()
  end))
end)

describe('examples/one_port.lua', function()
  it('serves https and sends http there', P.test({}, function(await, files)
    local server, port = startServer(await, 'one_port', files.dir, { 0 })
    local function curl(...)
      return P.run(await, { 'curl', '--silent', '--show-error', '--noproxy', '*', '--cacert',
        files.dir .. '/one-port-ca.pem', ... })
    end
    local plain = ('http://localhost:%d/path'):format(port)
    prints('hello in secret\n', curl('https://localhost:' .. port .. '/'))
    prints(('308 https://localhost:%d/path'):format(port), curl('--write-out', '%{http_code} %{redirect_url}', plain))
    prints('hello in secret\n', curl('--location', plain))
    P.waitFor(await, server, 'stdout', 'sent to https\nserved over TLSv1%.3\n')
    P.stop(await, server)
  end))

  it('survives clients that break off', P.test({}, function(await, files)
    local server, port = startServer(await, 'one_port', files.dir, { 0 })
    for _, said in ipairs { '', '\22', '\22\3\1', 'GET', '\22garbage that is no TLS at all' } do
      local socket = net.connect(port, '127.0.0.1')
      await(socket, 'connect')
      socket:on('error', function() end)
      socket:finish(said)
      socket:resume()
      await(function(done)
        socket:on('close', function()
          done()
        end)
      end)
    end
    P.ownClientEcho(await, port, { ca = require('fs').readFileSync(files.dir .. '/one-port-ca.pem') },
      'GET / HTTP/1.0\r\n\r\n',
      'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 16\r\n\r\nhello in secret\n')
    P.stop(await, server)
  end))
end)

-- Each example does what its first lines say.
local process = require 'process'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local T = require 'spec.support.tls'

local ROOT = process.cwd()

-- Starts an example in `dir`, where it may leave files.
local function start(name, dir, arguments, options)
  local argv = { program.path, ROOT .. '/examples/' .. name .. '.lua' }
  for _, argument in ipairs(arguments or {}) do
    argv[#argv + 1] = tostring(argument)
  end
  return spec.command(argv, T.merged({ cwd = dir, input = false }, options))
end

local function startServer(await, name, dir, arguments)
  local server = start(name, dir, arguments)
  local port = P.waitFor(await, server, 'stdout', 'listening on port (%d+)\n')
  return server, tonumber(port)
end

-- The example's end as a shell sees it.
local function ended(await, command)
  if command.waiting > 0 then
    await(command, 'exit')
  end
  return command.status, command.stdout, command.stderr
end

local function echoThroughExampleClient(await, files, port, arguments)
  local client = start('echo_client', files.dir, { port, unpack(arguments or {}) })
  P.waitFor(await, client, 'stdout', 'welcome!\n')
  client.stdin:write('first line\n')
  P.waitFor(await, client, 'stdout', 'first line\n')
  client.stdin:finish('second line\n')
  return ended(await, client)
end

describe('examples/echo_server.lua', function()
  it('makes its own certificate, welcomes and echoes', P.test({}, function(await, files)
    local server, port = startServer(await, 'echo_server', files.dir, { 0 })
    local status, stdout, stderr = P.sClientEcho(await, port,
      { '-CAfile', files.dir .. '/echo-ca.pem', '-verify_return_error', '-verify_hostname', 'localhost' })
    assert.equal(0, status, stderr)
    assert.matches('welcome!\n', stdout)
    P.waitFor(await, server, 'stdout', 'connected: %S+, TLSv1%.3, TLS_AES_256_GCM_SHA384\n')
    server:kill()
    assert.equal(0, (ended(await, server)))
  end))

  it('serves with the files that it is given, and survives a client that breaks off', P.test(
    { own = T.localhost }, function(await, files)
      local server, port = startServer(await, 'echo_server', files.dir, { 0, files.own_key, files.own_cert })
      P.run(await, { 'curl', '--silent', '--noproxy', '*', 'http://127.0.0.1:' .. port })
      P.waitFor(await, server, 'stdout', 'handshake failed: Error: error:0A00009C:SSL routines::http request\n')
      P.ownClientEcho(await, port, {}, 'hello\n', 'welcome!\nhello\n')
      server:kill()
      assert.equal(0, (ended(await, server)))
    end))
end)

describe('examples/echo_client.lua', function()
  it('carries standard input to the echo server and back', P.test({}, function(await, files)
    local server, port = startServer(await, 'echo_server', files.dir, { 0 })
    local status, stdout, stderr = echoThroughExampleClient(await, files, port)
    assert.equal('welcome!\nfirst line\nsecond line\n', stdout)
    assert.matches('^connected: authorized, TLSv1%.3, TLS_', stderr)
    assert.equal(0, status)
    P.stop(await, server)
  end))

  it('takes a certificate file and a host', P.test({}, function(await, files)
    local server, port = startServer(await, 'echo_server', files.dir, { 0 })
    local status, stdout = echoThroughExampleClient(await, files, port,
      { files.dir .. '/echo-ca.pem', '127.0.0.1' })
    assert.equal('welcome!\nfirst line\nsecond line\n', stdout)
    assert.equal(0, status)
    P.stop(await, server)
  end))

  it('does not talk to a server that it cannot verify', P.test({}, function(await, files)
    local server, port = startServer(await, 'echo_server', files.dir, { 0 })
    local client = start('echo_client', files.dir, { port, files.ca }, { input = 'secret\n' })
    local status, stdout, stderr = ended(await, client)
    assert.equal(1, status)
    assert.equal('', stdout)
    assert.matches('unable to verify the first certificate', stderr)
    P.stop(await, server)
  end))
end)

describe('examples/mutual_tls.lua', function()
  it('lets one client in and turns the other away', P.test({}, function(await, files)
    local status, stdout, stderr = ended(await, start('mutual_tls', files.dir))
    assert.equal('', stderr)
    assert.equal(0, status)
    assert.equal('with a certificate: hello ada\n', stdout:match('^[^\n]*\n'))
    -- The two ends of the refusal are two events: which is told first is open.
    assert.matches('\nserver: turned away: ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE\n', stdout)
    assert.matches('\nwithout one: ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED\n', stdout)
  end))
end)

describe('examples/psk.lua', function()
  it('welcomes whom it knows, and turns away a wrong key and a stranger', P.test({}, function(await, files)
    local status, stdout, stderr = ended(await, start('psk', files.dir))
    assert.equal('', stderr)
    assert.equal(0, status)
    local lines = {}
    for line in stdout:gsub('port %d+', 'port'):gmatch('[^\n]+') do
      lines[#lines + 1] = line
    end
    assert.same({ 'listening on port', 'server: who is lamp?', 'lamp: authorized: true', 'lamp: welcome' },
      { unpack(lines, 1, 4) })
    -- The two ends of a refusal are two events: which is told first is open.
    table.sort(lines)
    assert.same({
      'door: ERR_SSL_SSLV3_ALERT_ILLEGAL_PARAMETER',
      'lamp: authorized: true',
      'lamp: welcome',
      'listening on port',
      'server: turned away: ERR_SSL_BINDER_DOES_NOT_VERIFY',
      'server: turned away: ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM',
      'server: who is door?',
      'server: who is lamp?',
      'server: who is stranger?',
      'stranger: ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE',
    }, lines)
  end))

  it('says how openssl can be the lamp', P.test({}, function(await, files)
    local server, port = startServer(await, 'psk', files.dir, { 0 })
    local key = P.waitFor(await, server, 'stdout', '%-psk (%x+) %-psk_identity lamp\n')
    local _, stdout = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-psk', key,
      '-psk_identity', 'lamp', '-ign_eof' })
    assert.matches('\nwelcome\n', stdout)
    P.stop(await, server)
  end))
end)

describe('examples/sni_router_async.lua', function()
  it('leads two names to their services, and turns away a third and a client it will not have', P.test({}, function(
      await, files)
    local status, stdout, stderr = ended(await, start('sni_router_async', files.dir))
    assert.equal('', stderr)
    assert.equal(0, status)
    local fingerprint, older = stdout:match('\n(t13d%w+_%x+_%x+) asks'), stdout:match('\n(t12d%w+_%x+_%x+) asks')
    local lines = {}
    for line in stdout:gsub('port %d+', 'port'):gmatch('[^\n]+') do
      lines[#lines + 1] = line
    end
    -- The two ends of a refusal are two events: which is told first is open.
    table.sort(lines)
    assert.same({
      'alpha.example says: this is alpha',
      'alpha.example says: this is alpha',
      'alpha.example: ERR_SSL_TLSV1_ALERT_ACCESS_DENIED',
      'beta.example says: this is beta',
      'gamma.example: ERR_SSL_TLSV1_UNRECOGNIZED_NAME',
      'listening on port',
      older .. ' asks for alpha.example, speaks greet/1',
      older .. ' asks for alpha.example, speaks greet/1',
      fingerprint .. ' asks for alpha.example, speaks greet/1',
      fingerprint .. ' asks for beta.example, speaks greet/1',
      fingerprint .. ' asks for gamma.example, speaks greet/1',
      'turned away: access_denied',
      'turned away: unrecognized_name',
    }, lines)
  end))

  it('routes other clients when it is given a port', P.test({}, function(await, files)
    local server, port = startServer(await, 'sni_router_async', files.dir, { 0 })
    local _, stdout = P.sClientEcho(await, port, { '-servername', 'beta.example', '-alpn', 'greet/1' })
    assert.matches('subject=CN = beta%.example\n', stdout)
    assert.matches('this is beta\n', stdout)
    local _, out, err = P.run(await, { 'openssl', 's_client', '-noservername', '-connect', '127.0.0.1:' .. port },
      { input = '' })
    assert.matches('SSL alert number 109', out .. err) -- missing_extension
    P.stop(await, server)
  end))
end)

describe('examples/sni_server.lua', function()
  it('shows itself under both names, and under one that nobody serves', P.test({}, function(await, files)
    local status, stdout, stderr = ended(await, start('sni_server', files.dir))
    assert.equal('', stderr)
    assert.equal(0, status)
    local lines = {}
    for line in stdout:gmatch('[^\n]+') do
      lines[#lines + 1] = line
    end
    assert.matches('^listening on port %d+$', table.remove(lines, 1))
    assert.same({
      'alpha.example: certificate for DNS:alpha.example',
      'alpha.example: served as alpha.example',
      'beta.example: certificate for DNS:beta.example',
      'beta.example: served as beta.example',
    }, { unpack(lines, 1, 4) })
    table.sort(lines)
    assert.equal('gamma.example: ERR_TLS_CERT_ALTNAME_INVALID', lines[#lines - 1])
    assert.matches('^handshake failed: .*sslv3 alert bad certificate', lines[#lines])
  end))

  it('serves other clients when it is given a port', P.test({}, function(await, files)
    local server, port = startServer(await, 'sni_server', files.dir, { 0 })
    for _, name in ipairs { 'alpha.example', 'beta.example' } do
      local _, stdout = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-servername', name,
        '-ign_eof' })
      assert.matches('subject=CN = ' .. name:gsub('%p', '%%%0') .. '\n', stdout)
      assert.matches('served as ' .. name:gsub('%p', '%%%0') .. '\n', stdout)
    end
    P.stop(await, server)
  end))
end)

-- What an example that shows itself has printed, without its port.
local function shown(await, files, name)
  local status, stdout, stderr = ended(await, start(name, files.dir))
  assert.equal('', stderr)
  assert.equal(0, status)
  return (stdout:gsub('^listening on port %d+\n', ''))
end

describe('examples/session_store.lua', function()
  it('shows itself with a client of each version, twice', P.test({}, function(await, files)
    assert.equal('TLSv1.2, new\nTLSv1.2, resumed\nTLSv1.3, new\nTLSv1.3, resumed\n',
      shown(await, files, 'session_store'))
  end))

  it('serves other clients when it is given a port', P.test({}, function(await, files)
    local server, port = startServer(await, 'session_store', files.dir, { 0 })
    local session = files.dir .. '/session.pem'
    for i, expected in ipairs { 'new', 'resumed' } do
      local _, stdout = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-ign_eof',
        i == 1 and '-sess_out' or '-sess_in', session })
      assert.matches('TLSv1%.3, ' .. expected .. '\n', stdout)
    end
    P.stop(await, server)
  end))
end)

describe('examples/ticket_rotation.lua', function()
  it('shows itself: nobody is dropped but who stays away too long', P.test({}, function(await, files)
    assert.equal('new\n' .. ('keys exchanged: resumed\n'):rep(3) .. 'keys exchanged: with the first ticket: new\n',
      shown(await, files, 'ticket_rotation'))
  end))

  it('exchanges keys in time when it is given a port', P.test({}, function(await, files)
    local server, port = startServer(await, 'ticket_rotation', files.dir, { 0, 1 })
    local function visit(session)
      return S.visit(await, port, { rejectUnauthorized = false, session = session })
    end
    local first = visit()
    local _, so_far = server.stdout:gsub('keys exchanged\n', '%0')
    P.waitFor(await, server, 'stdout', ('keys exchanged\n'):rep(so_far + 3))
    local second = visit(first.session)
    assert.equal('new\n', second.text)
    assert.not_equal(first.key, second.key)
    P.stop(await, server)
  end))
end)

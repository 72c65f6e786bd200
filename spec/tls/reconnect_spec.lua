-- Clients that come back, as `openssl s_client` does with -reconnect (TLS 1.2) and with -sess_out and -sess_in: to a
-- server with tickets, with sessions in a table, and to one of several servers that share a Redis.
local constants = require 'constants'
local fs = require 'fs'
local process = require 'process'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local W = require 'spec.support.wire'
local T = require 'spec.support.tls'

local RECONNECTS = 5 -- as s_client has it
local VERSIONS = { ['TLSv1.2'] = '-tls1_2', ['TLSv1.3'] = '-tls1_3' }

-- What s_client says of its connections, in order: "New" or "Reused" of each, with the version.
local function connections(output)
  local list = {}
  for how, version in output:gmatch '\n(%u%l+), (TLSv[%d.]+), Cipher is' do
    list[#list + 1] = how .. ' ' .. version
  end
  return list
end

-- A client that connects, breaks off at once and connects again, several times, and then does as usual.
local function reconnect(await, port)
  local status, stdout, stderr = P.sClientEcho(await, port, { '-reconnect', '-tls1_2' })
  assert.equal(0, status, stderr)
  return connections(stdout)
end

local function expectReused(list)
  assert.equal(RECONNECTS + 1, #list)
  assert.equal('New TLSv1.2', list[1])
  for i = 2, #list do
    assert.equal('Reused TLSv1.2', list[i])
  end
end

-- Connects, with the session that another connection left if there is one, and leaves its own.
local function visit(await, files, port, version)
  local session = files.dir .. '/session.pem'
  local argv = { VERSIONS[version], '-sess_out', session }
  if fs.existsSync(session) then
    argv[4], argv[5] = '-sess_in', session
  end
  local status, stdout, stderr = P.sClientEcho(await, port, argv)
  assert.equal(0, status, stderr)
  assert.is_true(fs.existsSync(session))
  return connections(stdout)[1]
end

-- { what the server has, its options, what is done to it }
local SERVERS = {
  { 'tickets', {}, function() end },
  { 'sessions in a table', { secureOptions = constants.SSL_OP_NO_TICKET }, S.keep },
}

for _, case in ipairs(SERVERS) do
  describe('openssl s_client, of a server with ' .. case[1] .. ',', function()
    local function serve(await)
      local server, port = W.serve(await, T.identity(case[2]))
      case[3](server)
      return server, port
    end

    it('says Reused when it reconnects', P.test({}, function(await)
      local server, port = serve(await)
      expectReused(reconnect(await, port))
      P.close(await, server)
    end))

    S.eachVersion(it, 'says Reused when it brings a session', function(await, version, files)
      local server, port = serve(await)
      assert.equal('New ' .. version, visit(await, files, port, version))
      for _ = 1, 3 do
        assert.equal('Reused ' .. version, visit(await, files, port, version))
      end
      P.close(await, server)
    end)
  end)
end

describe('examples/redis_sessions.lua', function()
  local ROOT = process.cwd()

  local function startRedis(await, files)
    local redis = spec.command({ 'redis-server', '--port', '0', '--unixsocket', files.dir .. '/redis.sock',
      '--save', '', '--dir', files.dir }, { input = false })
    P.waitFor(await, redis, 'stdout', 'eady to accept connections')
    return redis
  end

  -- Each with a certificate of its own.
  local function startServer(await, files)
    local server = spec.command({ process.execPath, ROOT .. '/examples/redis_sessions.lua', '0',
      files.dir .. '/redis.sock' }, { input = false })
    return server, tonumber(P.waitFor(await, server, 'stdout', 'listening on port (%d+)\n'))
  end

  local function stop(await, ...)
    for _, command in ipairs { ... } do
      P.stop(await, command)
    end
  end

  it('lets s_client reconnect', P.test({}, function(await, files)
    local redis = startRedis(await, files)
    local server, port = startServer(await, files)
    expectReused(reconnect(await, port))
    stop(await, server, redis)
    assert.equal(0, server.status)
  end))

  S.eachVersion(it, 'lets a client of one server resume on another', function(await, version, files)
    local redis = startRedis(await, files)
    local one, onePort = startServer(await, files)
    local two, twoPort = startServer(await, files)
    assert.equal('New ' .. version, visit(await, files, onePort, version))
    assert.equal('Reused ' .. version, visit(await, files, twoPort, version))
    assert.equal('Reused ' .. version, visit(await, files, onePort, version))
    -- A server that was started anew has forgotten nothing.
    stop(await, one)
    one, onePort = startServer(await, files)
    assert.equal('Reused ' .. version, visit(await, files, onePort, version))
    stop(await, one, two, redis)
  end)

  S.eachVersion(it, 'goes on without Redis, and with it when it is back', function(await, version, files)
    local redis = startRedis(await, files)
    local server, port = startServer(await, files)
    assert.equal('New ' .. version, visit(await, files, port, version))
    stop(await, redis)
    assert.equal('New ' .. version, visit(await, files, port, version))
    P.waitFor(await, server, 'stdout', 'not found: ')
    P.waitFor(await, server, 'stdout', 'not stored: ')
    redis = startRedis(await, files)
    assert.equal('New ' .. version, visit(await, files, port, version))
    assert.equal('Reused ' .. version, visit(await, files, port, version))
    stop(await, server, redis)
  end)

  it('does not wait for a Redis that is silent', P.test({}, function(await, files)
    local net = require 'net'
    local silent = net.createServer(function(socket)
      socket:on('error', function() end)
      socket:resume()
    end)
    await(function(listening)
      silent:listen(files.dir .. '/redis.sock', function()
        listening()
      end)
    end)
    local server, port = startServer(await, files)
    assert.equal('New TLSv1.3', visit(await, files, port, 'TLSv1.3'))
    P.waitFor(await, server, 'stdout', 'not stored: Redis does not answer\n')
    stop(await, server)
    P.close(await, silent)
  end))
end)

-- What listening sockets promise besides being found: who may share them, who reaches them, what becomes of those who
-- wait.

local fs = require 'fs'
local net = require 'net'
local process = require 'process'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'

local function listening(await, server, ...)
  local place = { ... }
  place[#place + 1] = false
  await(function(done)
    server:once('error', done)
    place[#place] = function() done() end
    server:listen(unpack(place))
  end)
  return server:address()
end

local function closed(await, server)
  await(function(done)
    server:close(done)
  end)
end

-- Connects, and gives the socket or the error.
local function visit(await, options)
  local socket = net.connect(options)
  return await(function(done)
    socket:once('connect', function() done(nil, socket) end)
    socket:once('error', function(err) done(nil, nil, err) end)
  end)
end

-- Something that is to happen `count` times: call it each time, and await(thing.all).
local function times(count)
  local thing = {}
  function thing.all(done)
    thing.done = done
    if count == 0 then
      done()
    end
  end
  return setmetatable(thing, { __call = function()
    count = count - 1
    if count == 0 and thing.done then
      thing.done()
    end
  end })
end

describe('a listening socket', function()
  it('is shared by servers that all say reusePort', spec.coroutine(function(await)
    local one, other, third = net.createServer(), net.createServer(), net.createServer()
    local address = listening(await, one, { port = 0, host = '127.0.0.1', reusePort = true })
    listening(await, other, { port = address.port, host = '127.0.0.1', reusePort = true })
    local ok, err = pcall(listening, await, third, { port = address.port, host = '127.0.0.1' })
    assert.is_false(ok)
    assert.equal('EADDRINUSE', err.code)
    -- Either may get a connection; while only one is left, it gets all.
    closed(await, one)
    local socket
    other:once('connection', function(peer) peer:finish('other') end)
    socket = visit(await, { port = address.port, host = '127.0.0.1' })
    assert.equal('other', await(socket, 'data'))
    await(socket, 'close')
    closed(await, other)
  end))

  it('of all addresses takes IPv4 and IPv6', spec.coroutine(function(await)
    local server = net.createServer()
    local address = listening(await, server, 0)
    assert.equal('::', address.address)
    for host, expected in pairs { ['127.0.0.1'] = '::ffff:127.0.0.1', ['::1'] = '::1' } do
      local peer
      server:once('connection', function(socket) peer = socket:resume() end)
      local socket = visit(await, { port = address.port, host = host })
      while not peer do
        await(server, 'connection')
      end
      assert.equal(expected, peer.remoteAddress)
      assert.equal('IPv6', peer.remoteFamily)
      socket:resume():finish()
      await(socket, 'close')
    end
    closed(await, server)
  end))

  it('with ipv6Only leaves IPv4 to others', spec.coroutine(function(await)
    local server, other = net.createServer(), net.createServer()
    local address = listening(await, server, { port = 0, host = '::', ipv6Only = true })
    local _, err = visit(await, { port = address.port, host = '127.0.0.1' })
    assert.equal('ECONNREFUSED', err.code)
    assert.equal(address.port, listening(await, other, address.port, '0.0.0.0').port)
    closed(await, server)
    closed(await, other)
  end))

  it('without ipv6Only has the port of IPv4 as well', spec.coroutine(function(await)
    local server, other = net.createServer(), net.createServer()
    local address = listening(await, server, { port = 0, host = '::' })
    local ok, err = pcall(listening, await, other, address.port, '0.0.0.0')
    assert.is_false(ok)
    assert.equal('EADDRINUSE', err.code)
    closed(await, server)
  end))

  it('lets as many wait as the backlog says', spec.coroutine(function(await)
    -- What the system makes of it can be asked with ss(8).
    local function backlog(...)
      local server = net.createServer()
      local port = listening(await, server, ...).port
      local out = program.shell(("ss -H -l -t -n 'sport = :%d'"):format(port)).out
      closed(await, server)
      return tonumber(out:match('^LISTEN%s+%d+%s+(%d+)'))
    end
    assert.equal(7, backlog(0, '127.0.0.1', 7))
    assert.equal(8, backlog(0, 8))
    assert.equal(9, backlog { port = 0, host = '127.0.0.1', backlog = 9 })
    assert.equal(511, backlog(0, '127.0.0.1'))
    assert.equal(511, backlog { port = 0, host = '127.0.0.1', backlog = 'many' })
    assert.equal(6, backlog { port = 0, host = '127.0.0.1', backlog = '6' })
  end))

  it('is exclusive without a cluster too, which changes nothing', spec.coroutine(function(await)
    local server = net.createServer()
    listening(await, server, { port = 0, host = '127.0.0.1', exclusive = true })
    closed(await, server)
  end))

  it('is given to whoever is told its descriptor', spec.coroutine(function(await)
    local one, other = net.createServer(), net.createServer()
    local address = listening(await, one, 0, '127.0.0.1')
    listening(await, other, { fd = one._handle:duplicate() })
    assert.same(address, other:address())
    closed(await, one)
    other:once('connection', function(socket) socket:finish('here') end)
    local socket = visit(await, { port = address.port, host = '127.0.0.1' })
    assert.equal('here', await(socket, 'data'))
    await(socket, 'close')
    closed(await, other)
  end))
end)

describe('connections that wait when a server closes', function()
  it('are reset, and the server closes all the same', spec.coroutine(function(await)
    local server = net.createServer()
    local accepted = 0
    server:on('connection', function() accepted = accepted + 1 end)
    local port = listening(await, server, 0, '127.0.0.1').port
    local over = times(5)
    for _ = 1, 5 do
      local socket = net.connect(port, '127.0.0.1')
      socket:on('error', function() end)
      socket:on('close', over)
    end
    -- The system has made the connections, nobody has taken them yet.
    closed(await, server)
    await(over.all)
    assert.equal(0, accepted)
  end))

  it('are not given to a server that was closed by a listener of the one before', spec.coroutine(function(await)
    local server = net.createServer()
    local accepted, over = 0, times(5)
    local port = listening(await, server, 0, '127.0.0.1').port
    server:on('connection', function(socket)
      accepted = accepted + 1
      socket:finish()
      socket:resume()
      server:close()
    end)
    for _ = 1, 5 do
      local socket = net.connect(port, '127.0.0.1')
      socket:on('error', function() end)
      socket:on('close', over)
      socket:resume()
    end
    await(server, 'close')
    await(over.all)
    assert.equal(1, accepted)
  end))
end)

describe('the file of a unix socket', function()
  local directory

  before_each(function()
    directory = spec.tempdir()
  end)
  after_each(function()
    spec.remove(directory)
  end)

  local function mode(path)
    return fs.statSync(path).mode % 512
  end

  it('is for its owner alone under such a umask, unless more is asked for', spec.coroutine(function(await)
    local before = process.umask(tonumber('077', 8))
    finally(function()
      process.umask(before)
    end)
    for options, expected in pairs {
      [{}] = '700',
      [{ readableAll = true }] = '744',
      [{ writableAll = true }] = '722',
      [{ readableAll = true, writableAll = true }] = '766',
    } do
      local server = net.createServer()
      options.path = directory .. '/socket'
      listening(await, server, options)
      assert.equal(tonumber(expected, 8), mode(options.path))
      closed(await, server)
      assert.is_false(fs.existsSync(options.path))
    end
  end))

  it('that a dead server left is in the way until it is removed', spec.coroutine(function(await)
    local path = directory .. '/socket'
    local outcome = program.eval(([[
      require('net').createServer():listen(%q, function() process.kill(process.pid, 'SIGKILL') end)
    ]]):format(path))
    assert.equal(128 + 9, outcome.status)
    assert.is_true(fs.existsSync(path))
    local _, err = visit(await, { path = path })
    assert.equal('ECONNREFUSED', err.code)
    local server = net.createServer()
    local ok
    ok, err = pcall(listening, await, server, path)
    assert.is_false(ok)
    assert.equal('EADDRINUSE', err.code)
    fs.unlinkSync(path)
    listening(await, server, path)
    closed(await, server)
  end))
end)

describe('a server without descriptors', function()
  it('drops connections and serves others as soon as it can', spec.coroutine(function(await)
    local command = spec.command({ 'sh', '-c', 'ulimit -n 32; exec "$0" "$@"', program.path, '-e', [[
      local drops, served = 0, 0
      local server = require('net').createServer(function(socket)
        served = served + 1
        socket:on('error', function() end)
        socket:write('served')
        socket:resume()
      end)
      server:on('drop', function(peer)
        drops = drops + 1
        assert(peer.remoteAddress == '127.0.0.1')
      end)
      server:on('error', function(err) print('error', err.code) end)
      server:listen(0, '127.0.0.1', function() print('port ' .. server:address().port .. '.') end)
      process:on('SIGTERM', function()
        print(('served %d, dropped %d'):format(served, drops))
        process.exit(0)
      end)
    ]] })
    local port = await(function(done)
      command:waitFor('stdout', 'port (%d+)%.', function(match) done(nil, tonumber(match)) end)
    end)
    local sockets, served = {}, 0
    local answers, ends = times(60), times(60)
    for i = 1, 60 do
      local socket, answered = net.connect(port, '127.0.0.1'), false
      sockets[i] = socket
      socket:on('error', function() end)
      socket:once('data', function()
        answered, served = true, served + 1
        answers()
      end)
      socket:once('close', function()
        ends()
        if not answered then
          answers()
        end
      end)
    end
    await(answers.all)
    assert.is_true(served > 0 and served < 60)
    for _, socket in ipairs(sockets) do
      socket:destroy()
    end
    await(ends.all)
    -- The server may not have seen all of them go yet.
    local answered
    repeat
      local socket = net.connect(port, '127.0.0.1')
      await(function(done)
        socket:once('data', function() answered = true socket:destroy() end)
        socket:once('error', function() end)
        socket:once('close', function() done() end)
      end)
    until answered
    command:kill()
    await(command, 'exit')
    assert.truthy(command.stdout:find('served %d+, dropped %d+'))
    assert.is_nil(command.stdout:find('error', 1, true))
    assert.equal('', command.stderr)
  end))

  -- Not even one to take a connection with and close it.
  it('says so once, and serves those who waited when there are some again', spec.coroutine(function(await)
    local command = spec.command { program.path, '-e', [[
      local server = require('net').createServer(function(socket) socket:finish('served') end)
      server:on('error', function(err) print('error', err.code, err.syscall, server.listening) end)
      server:listen(0, '127.0.0.1', function() print('port ' .. server:address().port .. '.') end)
    ]] }
    local port = await(function(done)
      command:waitFor('stdout', 'port (%d+)%.', function(match) done(nil, tonumber(match)) end)
    end)
    local function limit(count)
      assert.equal(0, program.shell(('prlimit --pid %d --nofile=%s:'):format(command.pid, count)).status)
    end
    local before = program.shell(('prlimit --pid %d --nofile --noheadings --output SOFT'):format(command.pid)).out
    limit(3)
    local served = times(3)
    for _ = 1, 3 do
      local socket = net.connect(port, '127.0.0.1')
      socket:once('data', function(text)
        assert.equal('served', text)
        served()
      end)
    end
    await(function(done)
      command:waitFor('stdout', 'error\tEMFILE\taccept\ttrue\n', function() done() end)
    end)
    limit(before:match('%d+'))
    await(served.all)
    command:kill()
    await(command, 'exit')
    assert.equal(1, select(2, command.stdout:gsub('EMFILE', '')))
    assert.equal('', command.stderr)
  end))
end)

describe('a program without descriptors', function()
  it('has what needs one fail with EMFILE, and goes on', function()
    local outcome = program.run({ '-c', 'ulimit -n 40; exec "$0" "$@"', program.path, '-e', [[
      local fs, net = require 'fs', require 'net'
      local said, held = {}, {}
      local function failing(name)
        return function(err) said[#said + 1] = name .. ' ' .. tostring(err and err.message) end
      end
      local server = net.createServer(function(socket) socket:resume() end)
      server:listen(0, '127.0.0.1', function()
        local port = server:address().port
        while pcall(function() held[#held + 1] = fs.openSync('/dev/null', 'r') end) do end
        local places = { ip = { port = port, host = '127.0.0.1' }, name = { port = port, family = 4 },
          path = { path = '/x' } }
        for name, place in pairs(places) do
          net.connect(place):on('error', failing(name))
        end
        net.createServer():on('error', failing 'server'):listen(0, '127.0.0.1')
        fs.readFile('/etc/hosts', failing 'file')
        fs.createReadStream('/etc/hosts'):on('error', failing 'stream')
        failing 'watch' (select(2, pcall(fs.watch, '/tmp')))
        require('dns').lookup('localhost', failing 'look-up')
        local function look()
          if #said < 8 then return setImmediate(look) end
          table.sort(said)
          print((table.concat(said, '\n'):gsub(':%d%d+', '')))
          for _, fd in ipairs(held) do fs.closeSync(fd) end
          net.connect(port, '127.0.0.1', function() print 'again' process.exit() end)
        end
        look()
      end)]] }, { program = 'sh' })
    assert.equal("file EMFILE: too many open files, open '/etc/hosts'\nip connect EMFILE 127.0.0.1\nlook-up nil\n"
      .. 'name connect EMFILE 127.0.0.1\npath connect EMFILE /x\n'
      .. "server listen EMFILE: too many open files 127.0.0.1\nstream EMFILE: too many open files, open '/etc/hosts'\n"
      .. "watch EMFILE: too many open files, watch '/tmp'\nagain\n", outcome.out)
  end)
end)

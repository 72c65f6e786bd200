-- cluster: a script that starts workers itself
local program = require 'spec.support.program'
local C = require 'spec.support.cluster'
local P = require 'spec.support.peers'

-- A script: `primary` and `worker` are Lua text for the two kinds of processes.
local function script(primary, worker)
  return ([[
    local cluster, net, timers = require 'cluster', require 'net', require 'timers'
    if cluster.isPrimary then
      %s
    else
      local worker = cluster.worker
      %s
    end
  ]]):format(primary, worker)
end

-- What a script prints until it ends.
local function output(await, place, options, arguments)
  local command = C.start(place, options, arguments)
  P.over(await, command)
  assert.equal('', command.stderr)
  return command.stdout, command.status
end

describe('cluster', function()
  it('is one emitter with the names that Node has', function()
    local outcome = program.eval([[
      local cluster = require 'cluster'
      assert(require('util').isInstance(cluster, require('events').EventEmitter))
      for _, name in ipairs { 'isPrimary', 'isMaster', 'isWorker', 'fork', 'workers', 'settings', 'setupPrimary',
        'setupMaster', 'disconnect', 'Worker' } do
        assert(cluster[name] ~= nil, name)
      end
      print(cluster.isPrimary, cluster.isWorker, cluster.worker)
    ]])
    assert.equal('true\tfalse\tnil\n', outcome.out, outcome.err)
  end)

  it('tells what becomes of a worker: fork, online, listening, disconnect, exit', C.test(script([[
    local function say(name)
      cluster:on(name, function(worker, ...) print(name, worker.id, ...) end)
    end
    say 'fork' say 'online' say 'disconnect' say 'exit'
    cluster:on('listening', function(worker, address)
      print('listening', worker.id, address.address, address.port > 0, address.addressType)
      worker:disconnect()
    end)
    local worker = cluster.fork()
    print(worker.id, cluster.workers[1] == worker, worker:isConnected(), worker:isDead(), worker.process.pid > 0)
    cluster:on('exit', function()
      print(worker.exitedAfterDisconnect, worker:isConnected(), worker:isDead())
    end)
  ]], "net.createServer():listen(0, '127.0.0.1')"), function(await, place)
    assert.equal([[
1	true	true	false	true
fork	1
online	1
listening	1	127.0.0.1	true	4
disconnect	1
exit	1	0	nil
true	false	true
]], (output(await, place)))
  end))

  it('carries values both ways, in order, as they are', C.test(script([[
    local worker = cluster.fork { GREETING = 'hello' }
    local n = 0
    worker:on('message', function(value) n = n + 1 print('worker', require('util').inspect(value)) end)
    cluster:on('message', function(from, value)
      assert(from == worker)
      if n == 3 then worker:disconnect() end
    end)
    worker:send { list = { 1, 2.5, 'three' }, yes = true }
    worker:send(('x'):rep(3000000))
    local ok, err = pcall(worker.send, worker, { print })
    print(ok, err.code)
    ok, err = pcall(worker.send, worker)
    print(ok, err.code)
  ]], [[
    worker:on('message', function(value)
      if type(value) == 'string' then value = { #value, value:sub(-1) } end
      process.send(value)
    end)
    process.send(process.env.GREETING)
  ]]), function(await, place)
    local text = output(await, place)
    assert.equal([[
false	ERR_INVALID_ARG_VALUE
false	ERR_MISSING_ARGS
worker	'hello'
worker	{ list: [ 1, 2.5, 'three' ], yes: true }
worker	[ 3000000, 'x' ]
]], text)
  end))

  it('says how a worker ended', C.test(script([[
    cluster:on('exit', function(worker, code, signal)
      print(worker.id, code, signal, worker.exitedAfterDisconnect)
      if worker.id == 1 then
        cluster.fork { HOW = 'wait' }:once('online', function() cluster.workers[2]:kill 'SIGKILL' end)
      elseif worker.id == 2 then
        cluster.fork { HOW = 'kill' }
      elseif worker.id == 3 then
        cluster.fork { HOW = 'abort' }
      end
    end)
    cluster.fork { HOW = 'exit' }
  ]], [[
    if process.env.HOW == 'exit' then
      process.exit(3)
    elseif process.env.HOW == 'kill' then
      worker:kill 'SIGKILL'
    elseif process.env.HOW == 'abort' then
      process.abort()
    end
    timers.setInterval(function() end, 1000)
  ]]), function(await, place)
    assert.equal([[
1	3	nil	nil
2	nil	SIGKILL	true
3	nil	SIGKILL	true
4	nil	SIGABRT	nil
]], (output(await, place)))
  end))

  it('gives all workers the same port where each listens on 0, and several 0 several ports', C.test(script([[
    local ports = {}
    for i = 1, 2 do cluster.fork():on('message', function(value)
      ports[#ports + 1] = value
      if #ports == 2 then
        print(ports[1][1] == ports[2][1], ports[1][2] == ports[2][2], ports[1][1] ~= ports[1][2])
        cluster.disconnect(function() print 'all gone' end)
      end
    end) end
  ]], [[
    local first, second = net.createServer(), net.createServer()
    first:listen(0, '127.0.0.1', function()
      second:listen(0, '127.0.0.1', function()
        process.send { first:address().port, second:address().port }
      end)
    end)
  ]]), function(await, place)
    assert.equal('true\ttrue\ttrue\nall gone\n', (output(await, place)))
  end))

  it('gives a worker that listens again on the same address the same socket', C.test(script([[
    local ports = {}
    for i = 1, 2 do cluster.fork():on('message', function(port)
      ports[#ports + 1] = port
      if #ports == 2 then
        cluster.workers[1]:send 'again'
      elseif #ports == 3 then
        print(ports[1] == ports[2], ports[2] == ports[3])
        cluster.disconnect()
      end
    end) end
  ]], [[
    local function listen()
      local server = net.createServer()
      server:listen(0, '127.0.0.1', function()
        process.send(server:address().port)
      end)
      worker:once('message', function()
        server:close(listen)
      end)
    end
    listen()
  ]]), function(await, place)
    assert.equal('true\ttrue\n', (output(await, place)))
  end))

  it('tells a worker that its port is taken', C.test(script([[
    local server = net.createServer():listen(0, '127.0.0.1')
    server:on('listening', function()
      cluster.fork { PORT = server:address().port }
    end)
    cluster:on('message', function(worker, value)
      print(value)
      worker:disconnect()
      server:close()
    end)
  ]], [[
    local server = net.createServer()
    server:on('error', function(err)
      process.send(err.code .. ' ' .. err.syscall .. ' ' .. err.address .. ' ' .. tostring(err.port ==
        tonumber(process.env.PORT)) .. ' ' .. tostring(server.listening))
    end)
    server:listen(tonumber(process.env.PORT), '127.0.0.1')
  ]]), function(await, place)
    assert.equal('EADDRINUSE listen 127.0.0.1 true false\n', (output(await, place)))
  end))

  it('leaves an exclusive server to the worker itself', C.test(script([[
    local answers = {}
    for i = 1, 2 do cluster.fork():on('message', function(value)
      answers[#answers + 1] = value
      if #answers == 2 then
        print(answers[1] ~= answers[2])
        cluster.disconnect()
      end
    end) end
  ]], [[
    local server = net.createServer()
    server:listen({ port = 0, host = '127.0.0.1', exclusive = true }, function()
      process.send(server:address().port)
    end)
    process:on('disconnect', function() server:close() end)
  ]]), function(await, place)
    assert.equal('true\n', (output(await, place)))
  end))

  it('shares unix sockets, whose file goes with the last of them', C.test(script([[
    local path = arg[1]
    local worker = cluster.fork()
    worker:on('listening', function(address)
      print(address.address == path, address.addressType)
      net.connect(path):on('data', function(chunk)
        print(chunk)
        worker:disconnect()
      end)
    end)
    worker:on('exit', function() print(require('fs').existsSync(path)) end)
  ]], "net.createServer(function(c) c:finish('over unix') end):listen(arg[1])"), function(await, place)
    assert.equal('true\t-1\nover unix\nfalse\n', (output(await, place, {}, { place.dir .. '/socket' })))
  end))

  it('closes a port when the last worker that used it has closed its server', C.test(script([[
    local worker = cluster.fork()
    worker:on('message', function(port)
      net.connect(port, '127.0.0.1'):on('error', function(err)
        print(err.code)
        worker:disconnect()
      end)
    end)
  ]], [[
    local server = net.createServer()
    server:listen(0, '127.0.0.1', function()
      local port = server:address().port
      server:close(function() process.send(port) end)
    end)
  ]]), function(await, place)
    assert.equal('ECONNREFUSED\n', (output(await, place)))
  end))

  -- Lua text of bytes that no worker in its senses sends: of no form, of no kind, of the wrong shape.
  local nonsense = {
    [['\255\254\253']], "''", 'encode(5)', 'encode {}', "encode { 'surrender', 1 }", 'encode { {}, {} }',
    "encode { 'online', 1 }", "encode { 'ready', {} }", "encode { 'leaving', 'now' }",
    "encode { 'listening' }", "encode { 'listening', 5 }", "encode { 'listening', { address = {}, addressType = 4 } }",
    "encode { 'listening', { port = '80', addressType = 4 } }", "encode { 'release' }", "encode { 'release', {} }",
    "encode { 'listen' }", "encode { 'listen', 5 }", "encode { 'listen', {} }",
    "encode { 'listen', { question = '1', key = 'a', request = { port = 0, options = {} } } }",
    "encode { 'listen', { question = 1, key = {}, request = { port = 0, options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a' } }",
    "encode { 'listen', { question = 1, key = 'a', request = {} } }",
    "encode { 'listen', { question = 1, key = 'a', request = { port = 0 } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { port = '0', options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { port = -1, options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { port = 0 / 0, options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { port = 0, address = {}, options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { port = 0, options = { backlog = '5' } } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { path = true, options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { fd = '5', options = {} } } }",
    "encode { 'listen', { question = 1, key = 'a', request = { fd = 2 ^ 40, options = {} } } }",
  }

  it('lets go of a worker that says what means nothing, and goes on', C.test(script([[
    local n = tonumber(arg[1])
    local gone = 0
    cluster:on('disconnect', function(worker)
      gone = gone + 1
      if gone < n then
        cluster.fork { NUMBER = gone + 1 }
      elseif gone == n then
        cluster.fork():once('listening', function(address) print('listening', address.address) cluster.disconnect() end)
      end
    end)
    cluster:on('exit', function(worker, code, signal)
      if code ~= 0 then print(worker.id, code, signal) end
    end)
    cluster.fork { NUMBER = 1 }
  ]], ([[
    local encode = require('string.buffer').encode
    local ffi = require 'ffi'
    ffi.cdef 'long write(int, const void *, size_t);'
    local number = tonumber(process.env.NUMBER)
    if number then
      local bytes = ({ %s })[number]
      -- A message's length goes before it.
      bytes = '\0\0\0' .. string.char(#bytes) .. bytes
      ffi.C.write(require('moonlatch.cluster.state').fd, bytes, #bytes)
    end
    net.createServer():listen(0, '127.0.0.1')
  ]]):format(table.concat(nonsense, ', '))), function(await, place)
    assert.equal('listening\t127.0.0.1\n', (output(await, place, {}, { tostring(#nonsense) })))
  end))

  it('answers a worker whose socket cannot be had', C.test(script([[
    cluster:on('message', function(worker, value) print(value) end)
    cluster.fork()
  ]], [[
    local requests = {
      { port = 0, address = 'no address' }, { path = ('x'):rep(5000) }, { path = '' }, { fd = 1000 }, { fd = 0 },
    }
    local function try(i)
      local request = requests[i]
      if not request then return process.exit() end
      request.options = {}
      require('moonlatch.net.listening').acquire(net.createServer(), request, function(listener, err)
        process.send(('%d %s'):format(i, listener and 'listens' or err.code))
        try(i + 1)
      end)
    end
    try(1)
  ]]), function(await, place)
    assert.equal('1 EINVAL\n2 ENAMETOOLONG\n3 EINVAL\n4 EBADF\n5 ENOTSOCK\n', (output(await, place)))
  end))

  it('has a worker listen where one of its servers listens already', C.test(script([[
    cluster:on('message', function(worker, value) print(value) worker:disconnect() end)
    cluster.fork()
  ]], [[
    local first, second = net.createServer(), net.createServer()
    first:listen(0, '127.0.0.1', function()
      second:on('error', function(err) process.send(err.code) end)
      second:listen(first, function()
        process.send(second:address().port == first:address().port)
        second:close()
      end)
    end)
  ]]), function(await, place)
    assert.equal('true\n', (output(await, place)))
  end))

  it('raises what the system says when a worker cannot be started', function()
    local outcome = program.eval([[
      local cluster = require 'cluster'
      cluster.setupPrimary { exec = 'nowhere.lua', cwd = '/no/such/place' }
      print(select(2, pcall(cluster.fork)).code)
      print(select(2, pcall(cluster.setupPrimary, { exec = 5 })).code)
      for _, name in ipairs { 'fork', 'setupPrimary', 'disconnect', 'reload' } do
        print(select(2, pcall(cluster[name], 5)).code)
      end
    ]])
    assert.equal('ENOENT\n' .. ('ERR_INVALID_ARG_TYPE\n'):rep(5), outcome.out)
    assert.equal(0, outcome.status)
  end)

  it('replaces workers for a script that asks for it', C.test(script([[
    cluster.fork()
    cluster.fork()
    local listening = 0
    cluster:on('listening', function()
      listening = listening + 1
      if listening ~= 2 then return end
      local before = {}
      for id in pairs(cluster.workers) do before[id] = true end
      cluster.reload(function(err)
        local fresh = 0
        for id, worker in pairs(cluster.workers) do
          if not before[id] and not worker.exitedAfterDisconnect then fresh = fresh + 1 end
        end
        print(err, fresh)
        cluster.disconnect()
      end)
      print(select(2, pcall(cluster.reload)).code)
    end)
  ]], "net.createServer():listen(0, '127.0.0.1')"), function(await, place)
    assert.equal('ERR_CLUSTER_RELOADING\nnil\t2\n', (output(await, place)))
  end))
end)

describe('cluster.reload', function()
  it('keeps the workers when new ones cannot be started, and can be called again', C.test(script([[
    cluster.fork():on('listening', function()
      cluster.setupPrimary { cwd = '/no/such/place' }
      cluster.reload(function(err)
        print(err.code)
        cluster.setupPrimary { cwd = '/' }
        cluster.reload(function(again)
          print(again, cluster.workers[1].exitedAfterDisconnect)
          cluster.disconnect()
        end)
      end)
    end)
  ]], "net.createServer():listen(0, '127.0.0.1')"), function(await, place)
    assert.equal('ENOENT\nnil\ttrue\n', (output(await, place)))
  end))
end)

describe('process in a worker', function()
  it('has send, connected, disconnect and their events; a process that is no worker has none', C.test(script([[
    cluster.fork():on('message', function(value) print(value) end)
    print(process.send, process.connected)
  ]], [[
    process.send(tostring(process.connected))
    process:on('disconnect', function() io.stdout:write('disconnected ', tostring(process.connected), '\n') end)
    process.disconnect()
  ]]), function(await, place)
    local text = output(await, place)
    assert.matches('nil\tnil\n', text)
    assert.matches('true\n', text)
    assert.matches('disconnected false\n', text)
  end))
end)


describe('session tickets in a cluster', function()
  local TLS = [[
    local tls = require 'tls'
    local identity = require('moonlatch.spec').selfSigned()
    local key, cert = identity.key, identity.cert
  ]]

  -- A client that visits worker after worker, each on a port of its own, with the session it got last; before(at, go)
  -- comes before each visit.
  local CLIENT = [[
    local session, visits = nil, {}
    local visit
    local function visitNow(ports, at, done, before)
      local socket = require('tls').connect { port = ports[at], host = '127.0.0.1', rejectUnauthorized = false,
        session = session, servername = '' }
      socket:on('session', function(new) session = new end)
      socket:on('secureConnect', function() visits[#visits + 1] = tostring(socket:isSessionReused()) end)
      socket:resume()
      socket:on('close', function() visit(ports, at + 1, done, before) end)
    end
    function visit(ports, at, done, before)
      if not ports[at] then return done() end
      local function go() visitNow(ports, at, done, before) end
      if before then before(at, go) else go() end
    end
  ]]

  local function serving(options)
    return ([[
      local server = require('tls').createServer({ key = process.env.KEY, cert = process.env.CERT, %s },
        function(socket) socket:finish('x') end)
      server:listen({ port = 0, host = '127.0.0.1', exclusive = true }, function()
        process.send(server:address().port)
      end)
      process:on('disconnect', function() server:close() end)
      process:on('message', function() process.send('done') end)
    ]]):format(options)
  end

  -- Keys are renewed once before a visit and three times before the last; a worker that answers has them.
  it('resume with any worker while the keys are of the last three', C.test(script(TLS .. CLIENT .. [[
    local ports, owed, go = {}, 0, nil
    local function renewed(at, proceed)
      for _ = 1, at == 5 and 3 or 1 do cluster.renewTicketKeys() end
      for _, worker in pairs(cluster.workers) do worker:send('renewed') end
      owed, go = 3, proceed
    end
    for i = 1, 3 do
      cluster.fork { KEY = key, CERT = cert }:on('message', function(message)
        if message == 'done' then
          owed = owed - 1
          return owed == 0 and go()
        end
        ports[#ports + 1] = message
        if #ports == 3 then
          visit({ ports[1], ports[2], ports[3], ports[1], ports[2] }, 1, function()
            print(table.concat(visits, ' '))
            cluster.disconnect()
          end, renewed)
        end
      end)
    end
  ]], serving ''), function(await, place)
    assert.equal('false true true true false\n', (output(await, place)))
  end))

  it('have new keys when those there are have become too old', C.test(script([[
    cluster.setupPrimary { ticketKeysAge = 1 }
    cluster.fork():on('message', function(message)
      print(message)
      cluster.disconnect()
    end)
  ]], [[
    local tickets = require 'moonlatch.cluster.tickets'
    local use = tickets.use
    function tickets.use(ring)
      use(ring)
      if ring[2] then
        tickets.use = use
        process.send(#ring[1] .. ' ' .. #ring[2] .. ' ' .. tostring(ring[1] ~= ring[2]))
      end
    end
  ]]), function(await, place)
    assert.equal('48 48 true\n', (output(await, place)))
  end))

  -- { what they are, options of a server, what the worker does then, whether both workers have the same keys }
  for _, case in ipairs {
    { 'are the business of a server that was given keys of its own', 'ticketKeys = process.env.TICKETS', '', false },
    { 'are the business of a context that was', 'secureContext = newContext(process.env.TICKETS)', '', false },
    { 'are the business of a context that was and comes later', '',
      'server:setSecureContext(newContext(process.env.TICKETS))', false },
    { 'are those of all workers for a context without keys', 'secureContext = newContext()', '', true },
    { 'are those of all workers for a context without keys that comes later', '',
      'server:setSecureContext(newContext())', true },
    { 'are those of all workers for options without keys that come later', '',
      'server:setSecureContext { key = process.env.KEY, cert = process.env.CERT }', true },
  } do
    it(case[1], C.test(script(TLS .. CLIENT .. [[
      local ports = {}
      for i = 1, 2 do
        cluster.fork { KEY = key, CERT = cert, TICKETS = tostring(i):rep(48) }:on('message', function(port)
          ports[#ports + 1] = port
          if #ports == 2 then
            visit({ ports[1], ports[1], ports[2] }, 1, function()
              print(table.concat(visits, ' '))
              cluster.disconnect()
            end)
          end
        end)
      end
    ]], [[
      local function newContext(ticketKeys)
        return require('tls').createSecureContext { key = process.env.KEY, cert = process.env.CERT,
          ticketKeys = ticketKeys }
      end
    ]] .. serving(case[2]) .. case[3]), function(await, place)
      assert.equal(('false true %s\n'):format(case[4]), (output(await, place)))
    end))
  end
end)

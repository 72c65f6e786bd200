-- moonlatch --workers=N script
local fs = require 'fs'
local net = require 'net'
local process = require 'process'
local spec = require 'moonlatch.spec'
local C = require 'spec.support.cluster'
local P = require 'spec.support.peers'

local SIGHUP, SIGINT, SIGKILL, SIGTERM = 1, 2, 9, 15

local function connectError(await, port)
  local socket = net.connect(port, '127.0.0.1')
  local err = await(socket, 'error')
  return err.code
end

describe('moonlatch --workers=N', function()
  it('runs the script in N processes that share one port', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=2' })
    local port = C.listening(await, command, 2)
    local first, second = command.stdout:match('listening %d+ (%d+)\nlistening %d+ (%d+)\n')
    assert.are_not.equal(first, second)
    local pid = tonumber((C.ask(await, port)):match('%d+'))
    assert.is_true(pid == tonumber(first) or pid == tonumber(second))
    assert.equal(0, C.finish(await, command))
    assert.equal('', command.stderr)
  end))

  it('gives every worker its number, the arguments and the options', C.test([[
    local cluster = require 'cluster'
    assert(cluster.isWorker and not cluster.isPrimary and process.env.MOONLATCH_CLUSTER_WORKER == nil)
    print(('worker %d of %s: %s [%s] %s'):format(cluster.worker.id, process.argv[2]:match('[^/]+$'),
      table.concat({ ... }, ' '), table.concat(process.execArgv, ' '), require('tls').DEFAULT_MIN_VERSION))
    require('timers').setInterval(function() end, 1000)
  ]], function(await, script)
    local command = C.start(script, { '--workers', '1', '--tls-min-v1.3', '--drain-timeout=2', '--reload-timeout',
      '5' }, { 'a', 'b c' })
    assert.equal('1 of script.lua: a b c [--tls-min-v1.3] TLSv1.3',
      P.waitFor(await, command, 'stdout', 'worker (.-)\n'))
    C.finish(await, command)
  end))

  it('starts a worker again when one dies, and the others go on serving', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=2' })
    local port = C.listening(await, command, 2)
    local pid = tonumber((C.ask(await, port)):match('%d+'))
    process.kill(pid, SIGKILL)
    P.waitFor(await, command, 'stderr',
      'worker %d+ %(pid ' .. pid .. '%) ended on SIGKILL, a new one starts in 100 ms\n')
    assert.are_not.equal(pid, tonumber((C.ask(await, port)):match('%d+')))
    C.listening(await, command, 3)
    assert.equal(0, C.finish(await, command))
  end))

  it('keeps the port open while there is no worker at all', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=1' })
    local port = C.listening(await, command, 1)
    local pid = tonumber((C.ask(await, port)):match('%d+'))
    process.kill(pid, SIGKILL)
    P.waitFor(await, command, 'stderr', 'ended on SIGKILL')
    assert.are_not.equal(pid, tonumber((C.ask(await, port)):match('%d+')))
    assert.equal(0, C.finish(await, command))
  end))

  it('waits longer each time a worker dies young', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=1' })
    local port = C.listening(await, command, 1)
    for _, pause in ipairs { 100, 200, 400 } do
      local pid = tonumber((C.ask(await, port)):match('%d+'))
      process.kill(pid, SIGKILL)
      P.waitFor(await, command, 'stderr', ('pid %d%%) ended on SIGKILL, a new one starts in %d ms'):format(pid, pause))
    end
    assert.equal(0, C.finish(await, command))
  end))

  it('goes on trying when a worker cannot be started', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=1' })
    local port = C.listening(await, command, 1)
    local pid = tonumber((C.ask(await, port)):match('%d+'))
    local function prlimit(...)
      local _, printed = P.run(await, { 'prlimit', '--pid', tostring(command.pid), ... })
      return printed
    end
    local function limit(descriptors)
      prlimit('--nofile=' .. descriptors .. ':')
    end
    -- No more descriptors for the primary, and later as many as before: valgrind has its own at the upper end.
    local before = prlimit('--nofile', '--raw', '--noheadings', '--output=SOFT'):match('%d+')
    limit(3)
    process.kill(pid, SIGKILL)
    P.waitFor(await, command, 'stderr', 'a worker cannot be started %(.- EMFILE.-%), the next try is in 200 ms\n')
    limit(before)
    C.listening(await, command, 2)
    assert.matches('%d', (C.ask(await, port)))
    assert.equal(0, C.finish(await, command))
  end))

  it('ends with the status of a script that does not even start', C.test('os.exit(7)', function(await, script)
    local command = C.start(script, { '--workers=2' })
    assert.equal(7, C.ended(await, command))
    assert.matches('worker %d ended with status 7 before it served\n', command.stderr)
  end))

  it('tells a script error once for all to see and ends with 1', C.test('error "no such luck"', function(await, script)
    local command = C.start(script, { '--workers=2' })
    assert.equal(1, C.ended(await, command))
    assert.matches('script.lua:1: no such luck', command.stderr)
  end))

  it('refuses what makes no sense', function()
    local program = require 'spec.support.program'
    for _, case in ipairs {
      { { '--workers=0', 'x.lua' }, 'moonlatch: --workers requires a number of processes, or auto\n' },
      { { '--workers=two', 'x.lua' }, 'moonlatch: --workers requires a number of processes, or auto\n' },
      { { '--workers=2' }, 'moonlatch: --workers requires a script\n' },
      { { '--workers=2', '-e', 'x = 1' }, 'moonlatch: --workers requires a script\n' },
      { { '--workers=2', '--drain-timeout=soon', 'x.lua' },
        'moonlatch: --drain-timeout requires a number of seconds\n' },
      { { '--workers=2', '--reload-timeout=-1', 'x.lua' },
        'moonlatch: --reload-timeout requires a number of seconds\n' },
    } do
      local outcome = program.run(case[1])
      assert.equal(case[2], outcome.err)
      assert.equal(9, outcome.status)
    end
  end)
end)

describe('SIGHUP', function()
  it('brings in the new script, and no connection is refused or dropped meanwhile', C.test(C.server 'old ',
    function(await, script)
      local command = C.start(script, { '--workers=2' })
      local port = C.listening(await, command, 2)
      assert.matches('^old ', (C.ask(await, port)))
      script.write(C.server 'new ')
      command:kill(SIGHUP)
      local old, new = 0, 0
      for _ = 1, 5000 do
        local answer, err = C.ask(await, port)
        assert.is_nil(err)
        if answer:match('^new %d+\n$') then
          new = new + 1
        else
          assert.matches('^old %d+\n$', answer)
          old = old + 1
        end
        if new == 50 then
          break
        end
      end
      assert.equal(50, new)
      P.waitFor(await, command, 'stderr', 'the workers have been replaced\n')
      assert.equal(0, C.finish(await, command))
    end))

  it('leaves an old worker until its last connection has ended', C.test(C.server 'old ', function(await, script)
    local command = C.start(script, { '--workers=1' })
    local port = C.listening(await, command, 1)
    local socket, pid = C.keep(await, port)
    script.write(C.server 'new ')
    command:kill(SIGHUP)
    P.waitFor(await, command, 'stderr', 'the workers have been replaced\n')
    assert.matches('^new ', (C.ask(await, port)))
    socket:write('still here?')
    assert.equal('still here?', await(socket, 'data'))
    assert.is_true(process.kill(pid, 0))
    socket:finish()
    await(socket, 'close')
    C.finish(await, command)
    assert.equal(0, command.status)
  end))

  it('brings in workers that are replaced like the first ones when they die', C.test(C.server(),
    function(await, script)
      local command = C.start(script, { '--workers=1' })
      local port = C.listening(await, command, 1)
      command:kill(SIGHUP)
      P.waitFor(await, command, 'stderr', 'the workers have been replaced\n')
      local pid = tonumber((C.ask(await, port)):match('%d+'))
      process.kill(pid, SIGKILL)
      P.waitFor(await, command, 'stderr', 'pid ' .. pid .. '%) ended on SIGKILL, a new one starts')
      assert.are_not.equal(pid, tonumber((C.ask(await, port)):match('%d+')))
      assert.equal(0, C.finish(await, command))
    end))

  it('does not let a worker wait that died young', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=1' })
    local port = C.listening(await, command, 1)
    -- The fourth would wait for 800 ms, the eighth for more than a test may take.
    for _ = 1, 8 do
      local pid = tonumber((C.ask(await, port)):match('%d+'))
      process.kill(pid, SIGKILL)
      P.waitFor(await, command, 'stderr', 'pid ' .. pid .. '%) ended on SIGKILL, a new one starts in 100 ms\n')
      command:kill(SIGHUP)
    end
    assert.matches('%d', (C.ask(await, port)))
    assert.equal(0, C.finish(await, command))
  end))

  it('ends with as many workers as before, though one dies meanwhile', C.test(C.server(), function(await, script)
    -- Says when it is told to leave, and serves when there is a file.
    local function telling(file)
      return ([[
        io.stdout:write('starting\n')
        io.stdout:flush()
        process:on('disconnect', function() io.stdout:write('left\n') io.stdout:flush() end)
        while not require('fs').existsSync(%q) do end
      ]]):format(file) .. C.server()
    end
    script.write(telling(script.path))
    local command = C.start(script, { '--workers=2' })
    local port = C.listening(await, command, 2)
    local pid = tonumber((C.ask(await, port)):match('%d+'))
    script.write(telling(script.dir .. '/go'))
    command:kill(SIGHUP)
    P.waitFor(await, command, 'stdout', ('starting.-'):rep(4))
    process.kill(pid, SIGKILL)
    P.waitFor(await, command, 'stdout', ('starting.-'):rep(5))
    fs.writeFileSync(script.dir .. '/go', '')
    P.waitFor(await, command, 'stderr', 'the workers have been replaced\n')
    -- The old one that is left, and one of three new ones.
    P.waitFor(await, command, 'stdout', 'left\n.*left\n')
    assert.equal(0, C.finish(await, command))
    assert.equal(4, select(2, command.stdout:gsub('left\n', '')))
  end))

  it('keeps the old workers when the new script does not start', C.test(C.server 'old ', function(await, script)
    local command = C.start(script, { '--workers=2' })
    local port = C.listening(await, command, 2)
    script.write('error "a slip of the pen"')
    command:kill(SIGHUP)
    P.waitFor(await, command, 'stderr', 'the old workers stay: Worker %d ended before it served %(exit status 1%)\n')
    assert.matches('a slip of the pen', command.stderr)
    assert.matches('^old ', (C.ask(await, port)))
    script.write(C.server 'new ')
    command:kill(SIGHUP)
    P.waitFor(await, command, 'stderr', 'the workers have been replaced\n')
    assert.matches('^new ', (C.ask(await, port)))
    assert.equal(0, C.finish(await, command))
  end))
end)

describe('a reload with workers that do not answer', function()
  -- Seconds: ample for a worker that does.
  local patience = 1 * spec.slowness
  local PATIENCE = '--reload-timeout=' .. patience

  local FOREVER = "io.stdout:write('starting\\n') io.stdout:flush() while true do end"

  local function serves(await, command, port, prefix)
    P.waitFor(await, command, 'stderr', 'the workers have been replaced\n')
    assert.matches('^' .. prefix, (C.ask(await, port)))
    assert.equal(0, C.finish(await, command))
  end

  it('gives up new ones whose main chunk does not end; the next one works', C.test(C.server 'old ',
    function(await, script)
      local command = C.start(script, { '--workers=2', PATIENCE })
      local port = C.listening(await, command, 2)
      script.write(FOREVER)
      command:kill(SIGHUP)
      P.waitFor(await, command, 'stderr',
        ('the old workers stay: Worker %%d ended before it served %%(not within %d s%%)\n'):format(patience))
      assert.matches('^old ', (C.ask(await, port)))
      script.write(C.server 'new ')
      command:kill(SIGHUP)
      serves(await, command, port, 'new ')
    end))

  it('replaces those whose main chunk does not end', C.test(FOREVER, function(await, script)
    local command = C.start(script, { '--workers=2' })
    P.waitFor(await, command, 'stdout', 'starting\n.*starting\n')
    script.write(C.server 'new ')
    command:kill(SIGHUP)
    local port = C.listening(await, command, 2)
    serves(await, command, port, 'new ')
  end))

  -- Answers its first connection, and is busy from then on.
  local BUSY = C.server() .. "server:on('connection', function(socket) socket:on('close', function()"
    .. ' while true do end end) end)'

  it('does not wait for ever for one that is busy', C.test(BUSY, function(await, script)
    local command = C.start(script, { '--workers=1', PATIENCE })
    local port = C.listening(await, command, 1)
    local old = tonumber((C.ask(await, port)):match('%d+'))
    script.write(C.server 'new ')
    command:kill(SIGHUP)
    P.waitFor(await, command, 'stderr', 'the workers have been replaced\n')
    assert.matches('^new ', (C.ask(await, port)))
    assert.is_true(process.kill(old, 0)) -- it has connections, for all that anybody knows
    script.write(C.server 'newer ')
    command:kill(SIGHUP)
    P.waitFor(await, command, 'stderr', 'replaced\n.*replaced\n')
    assert.matches('^newer ', (C.ask(await, port)))
    process.kill(old, SIGKILL)
    assert.equal(0, C.finish(await, command))
  end))

  it('kills one that is busy when --drain-timeout is over', C.test(BUSY, function(await, script)
    local command = C.start(script, { '--workers=1', '--drain-timeout=0.05' })
    local port = C.listening(await, command, 1)
    C.ask(await, port)
    script.write(C.server 'new ')
    command:kill(SIGHUP)
    serves(await, command, port, 'new ')
  end))
end)

describe('SIGTERM', function()
  it('lets connections finish, refuses new ones, then ends with 0', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=2' })
    local port = C.listening(await, command, 2)
    local socket = C.keep(await, port)
    -- The other worker ends at once, and with it nothing listens any more.
    command:kill(SIGTERM)
    -- Until then connections are taken, or reset while they wait to be; the test's time bounds it.
    local code
    repeat
      local probe = net.connect(port, '127.0.0.1')
      code = await(function(done)
        probe:on('connect', function() done(nil, nil) end)
        probe:on('error', function(err) done(nil, err.code) end)
      end)
      probe:destroy()
    until code == 'ECONNREFUSED'
    socket:write('last words')
    assert.equal('last words', await(socket, 'data'))
    assert.is_nil(command.status)
    socket:finish()
    await(socket, 'close')
    assert.equal(0, C.ended(await, command))
    assert.equal('ECONNREFUSED', connectError(await, port))
  end))

  it('given twice ends at once', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=1' })
    local port = C.listening(await, command, 1)
    local socket = C.keep(await, port)
    command:kill(SIGINT) -- a terminal's
    command:kill(SIGTERM)
    socket:on('error', function() end)
    await(socket, 'close')
    assert.equal(128 + SIGTERM, C.ended(await, command))
  end))

  it('waits no longer than --drain-timeout', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=1', '--drain-timeout=0.05' })
    local port = C.listening(await, command, 1)
    local socket = C.keep(await, port)
    socket:on('error', function() end)
    command:kill(SIGTERM)
    await(socket, 'close')
    assert.equal(0, C.ended(await, command))
  end))
end)

describe('a worker', function()
  it('finishes its connections when it gets SIGTERM itself, and is replaced', C.test(C.server(),
    function(await, script)
      local command = C.start(script, { '--workers=1' })
      local port = C.listening(await, command, 1)
      local socket, pid = C.keep(await, port)
      process.kill(pid, SIGTERM)
      process.kill(pid, SIGINT)
      socket:write('not yet')
      assert.equal('not yet', await(socket, 'data'))
      socket:finish()
      await(socket, 'close')
      P.waitFor(await, command, 'stderr', 'worker 1 %(pid ' .. pid .. '%) ended with status 0')
      assert.are_not.equal(pid, tonumber((C.ask(await, port)):match('%d+')))
      assert.equal(0, C.finish(await, command))
    end))

  it('ends when its primary is killed', C.test(C.server(), function(await, script)
    local command = C.start(script, { '--workers=1' })
    local port = C.listening(await, command, 1)
    local socket = C.keep(await, port)
    socket:on('error', function() end)
    command:kill(SIGKILL)
    await(socket, 'close')
    C.ended(await, command)
    assert.equal('ECONNREFUSED', connectError(await, port))
  end))
end)

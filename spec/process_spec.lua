local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local process = require 'process'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local timers = require 'timers'

local eval = program.eval

local function failsWith(code, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal(code, err.code)
  return err
end

describe('process', function()
  it('is one EventEmitter, the global of the program', function()
    assert.is_true(class.isInstance(process, require('events').EventEmitter))
    assert.equal(process, rawget(_G, 'process'))
  end)

  it('tells who it is', function()
    assert.equal(process.execPath, process.argv[1])
    assert.is_number(process.pid)
    assert.is_number(process.ppid)
    assert.equal('linux', process.platform)
    assert.is_string(process.arch)
    assert.truthy(process.version:find('^v%d'))
    for _, name in ipairs { 'luajit', 'openssl', 'ares', 'ev' } do
      assert.truthy(process.versions[name]:find('^%d+%.%d+'))
    end
    assert.equal('v' .. process.versions.moonlatch, process.version)
  end)

  it('refuses null bytes, behind which the system would see nothing', function()
    failsWith('ERR_INVALID_ARG_VALUE', process.chdir, '/tmp\0/nowhere')
    failsWith('ERR_INVALID_ARG_VALUE', function() process.env['MOONLATCH_SPEC_X\0Y'] = 'x' end)
    failsWith('ERR_INVALID_ARG_VALUE', function() process.env.MOONLATCH_SPEC_X = 'x\0y' end)
    failsWith('ERR_INVALID_ARG_TYPE', function() process.env.MOONLATCH_SPEC_X = {} end)
    assert.is_nil(process.env.MOONLATCH_SPEC_X)
    failsWith('ERR_INVALID_ARG_TYPE', process.hrtime, { 1, 'x' })
  end)

  it('reads, changes and lists the environment', function()
    assert.equal(os.getenv 'PATH', process.env.PATH)
    assert.is_nil(process.env.MOONLATCH_SPEC_X)
    process.env.MOONLATCH_SPEC_X = 5
    assert.equal('5', os.getenv 'MOONLATCH_SPEC_X')
    assert.equal('5', process.env().MOONLATCH_SPEC_X)
    process.env.MOONLATCH_SPEC_X = nil
    assert.is_nil(os.getenv 'MOONLATCH_SPEC_X')
  end)

  it('puts only text into the environment, under names that can be some', function()
    local function set(name, value)
      process.env[name] = value
    end
    failsWith('ERR_INVALID_ARG_TYPE', set, 'MOONLATCH_SPEC_X', {})
    failsWith('ERR_INVALID_ARG_TYPE', set, 5, 'x')
    failsWith('EINVAL', set, 'MOONLATCH=SPEC', 'x')
    assert.is_nil(process.env.MOONLATCH_SPEC_X)
  end)

  it('changes directory, with dots and colons', function()
    local before = process.cwd()
    spec.tempdir(function(directory)
      process.chdir(directory)
      assert.equal(directory, process:cwd())
      process:chdir(before)
    end)
    assert.equal(before, process.cwd())
    local err = failsWith('ENOENT', process.chdir, '/no/such')
    assert.equal(("ENOENT: no such file or directory, chdir '%s' -> '/no/such'"):format(process.cwd()), err.message)
    assert.equal('chdir', err.syscall)
    assert.equal('/no/such', err.dest)
    failsWith('ERR_INVALID_ARG_TYPE', process.chdir, 5)
  end)

  it('sets the umask and tells the old one', function()
    local before = process.umask('077')
    assert.equal(63, process.umask())
    assert.equal(63, process.umask(before))
    failsWith('ERR_INVALID_ARG_VALUE', process.umask, '8')
  end)

  it('measures time and what it uses', function()
    local time = process.hrtime()
    local difference = process.hrtime(time)
    assert.equal(0, difference[1])
    assert.is_true(difference[2] >= 0 and difference[2] < 1e9)
    assert.is_true(process.uptime() > 0)
    local memory = process.memoryUsage()
    assert.is_true(memory.rss > memory.heapUsed)
    local cpu = process.cpuUsage()
    assert.is_true(cpu.user + cpu.system > 0)
    assert.is_true(process.cpuUsage(cpu).user >= 0)
    failsWith('ERR_INVALID_ARG_TYPE', process.hrtime, 1)
    failsWith('ERR_OUT_OF_RANGE', process.hrtime, { 1 })
  end)

  it('takes a title', function()
    assert.equal('moonlatch-x\nmoonlatch-x\n', eval [[process.title = 'moonlatch-x'
      print(process.title) print(io.open('/proc/self/comm'):read())]].out)
  end)

  it('refuses an exit code that is none', function()
    failsWith('ERR_INVALID_ARG_TYPE', process.exit, {})
    failsWith('ERR_OUT_OF_RANGE', process.exit, 1.5)
    failsWith('ERR_OUT_OF_RANGE', process.exit, math.huge)
    for value, code in pairs { x = 'ERR_INVALID_ARG_TYPE', [1.5] = 'ERR_OUT_OF_RANGE' } do
      failsWith(code, function() process.exitCode = value end)
    end
    assert.is_nil(process.exitCode)
  end)

  it('ends with exitCode, which a listener of exit may still change', function()
    assert.equal(3, eval('process.exitCode = 3').status)
    assert.equal(3, eval("process.exitCode = '3'").status)
    assert.equal(255, eval('process.exitCode = -1').status)
    assert.equal(0, eval('process.exitCode = 3 process.exitCode = nil').status)
    assert.equal(3, eval('process.exitCode = 3 process.exit()').status)
    assert.equal(4, eval('process.exitCode = 3 process.exit(4)').status)
    assert.equal(5, eval("process:on('exit', function(code) process.exitCode = code + 2 end) process.exit(3)").status)
    assert.equal(1, eval("process.exitCode = 3 error 'x'").status)
  end)

  it('leaves from beforeExit and goes on after an uncaught error that was taken', function()
    local outcome = eval [[
      process:on('beforeExit', function(code) print('beforeExit', code) process.exit() end)
      process:on('exit', function(code) print('exit', code) end)
      process:on('uncaughtException', function(err) print('taken', err) process.exitCode = 2 end)
      setTimeout(function() error('x', 0) end, 1)]]
    assert.equal('taken\tx\nbeforeExit\t2\nexit\t2\n', outcome.out)
    assert.equal(2, outcome.status)
  end)

  it('ends with 1 when a listener of exit raises, and calls no other', function()
    local outcome = eval [[
      process:on('exit', function() print 'first' error 'x' end)
      process:on('exit', function() print 'second' end)]]
    assert.equal('first\n', outcome.out)
    assert.equal(1, outcome.status)
  end)

  it('abort ends by SIGABRT', function()
    assert.equal(134, eval('process.abort()', { before = 'ulimit -c 0;' }).status)
  end)
end)

describe('signals', function()
  it('are events with name and number', spec.async(function(_, expect)
    process:once('SIGUSR2', expect(function(name, number)
      assert.equal('SIGUSR2', name)
      assert.equal(12, number)
    end))
    local hold = timers.setTimeout(function() end, 5000)
    process:once('SIGUSR2', expect(function() timers.clearTimeout(hold) end))
    assert.is_true(process.kill(process.pid, 'SIGUSR2'))
  end))

  it('do not keep the loop open', function()
    process:on('SIGUSR1', print)
    assert.is_false(native.step(false))
    process:removeListener('SIGUSR1', print)
  end)

  it('have their default action again when the last listener has gone', function()
    local outcome = eval [[
      local function listener() print 'taken' process:removeListener('SIGTERM', listener) end
      listener = function()
        print 'taken'
        io.stdout:flush()
        process:removeListener('SIGTERM', listener)
        process.kill(process.pid)
      end
      process:on('SIGTERM', listener)
      process.kill(process.pid)
      setTimeout(print, 60000, 'never')]]
    assert.equal('taken\n', outcome.out)
    assert.equal(143, outcome.status)
  end)

  it('SIGPIPE stays ignored after a listener has come and gone', function()
    assert.equal('alive\n', eval [[
      local function listener() end
      process:on('SIGPIPE', listener)
      process:removeListener('SIGPIPE', listener)
      process.kill(process.pid, 'SIGPIPE')
      print 'alive']].out)
  end)

  it('that cannot be caught, or do not exist, are errors', function()
    failsWith('EINVAL', process.on, process, 'SIGKILL', print)
    process:removeAllListeners('SIGKILL')
    failsWith('ERR_UNKNOWN_SIGNAL', process.kill, process.pid, 'SIGNOPE')
    failsWith('ERR_INVALID_ARG_TYPE', process.kill, 'x')
    -- Cut off at 32 bits this would be the whole process group.
    failsWith('ERR_INVALID_ARG_TYPE', process.kill, 2 ^ 32, 0)
    failsWith('ERR_INVALID_ARG_TYPE', process.kill, process.pid + 0.5, 0)
    failsWith('ERR_INVALID_ARG_TYPE', process.kill, 0 / 0, 0)
    failsWith('ERR_UNKNOWN_SIGNAL', process.kill, process.pid, 2 ^ 32)
    failsWith('ESRCH', process.kill, 2 ^ 22 + 1, 0)
    assert.is_true(process.kill(process.pid, 0))
  end)
end)

describe('process.emitWarning', function()
  it('emits the warning in the next tick', spec.async(function(_, expect)
    local now = false
    process:once('warning', expect(function(warning)
      assert.is_true(now)
      assert.is_true(errors.isError(warning))
      assert.same({ 'Kind', 'CODE', 'text', 'more' },
        { warning.name, warning.code, warning.message, warning.detail })
    end))
    process.emitWarning('text', { type = 'Kind', code = 'CODE', detail = 'more' })
    now = true
  end))

  it('takes type and code as arguments, or an Error', spec.async(function(_, expect)
    local seen = {}
    local function listener(warning) seen[#seen + 1] = warning.name .. ':' .. tostring(warning.code) end
    process:on('warning', listener)
    process.emitWarning('a')
    process.emitWarning('b', 'Kind', 'C1')
    process.emitWarning(errors.new('c', { name = 'Mine' }))
    timers.setImmediate(expect(function()
      process:removeListener('warning', listener)
      assert.same({ 'Warning:nil', 'Kind:C1', 'Mine:nil' }, seen)
    end))
  end))

  it('checks its arguments', function()
    failsWith('ERR_INVALID_ARG_TYPE', process.emitWarning, 5)
    failsWith('ERR_INVALID_ARG_TYPE', process.emitWarning, 'x', 5)
    failsWith('ERR_INVALID_ARG_TYPE', process.emitWarning, 'x', 'y', 5)
  end)

  it('is printed when nobody listens', function()
    local outcome = eval 'process.emitWarning("careful", { code = "DEP0123", detail = "read this" })'
    assert.truthy(outcome.err:find('^%(moonlatch:%d+%) %[DEP0123%] Warning: careful\nread this\n$'))
    assert.equal('', eval('process:on("warning", function() end) process.emitWarning("x")').err)
  end)

  it('obeys the options about warnings', function()
    local code = 'process.emitWarning("old", "DeprecationWarning")'
    assert.truthy(eval(code).err:find('DeprecationWarning: old', 1, true))
    for _, option in ipairs { '--no-warnings', '--no-deprecation' } do
      assert.equal('', program.run({ option, '-e', code }).err)
    end
    assert.equal(1, program.run({ '--throw-deprecation', '-e', code }).status)
    assert.truthy(program.run({ '--trace-warnings', '-e', code }).err:find('command line', 1, true))
  end)
end)

describe('uncaught errors', function()
  it('go to a capture callback alone when there is one', function()
    local outcome = eval [[
      process:on('uncaughtException', function() print 'event' end)
      process.setUncaughtExceptionCaptureCallback(function(err) print('captured', err) end)
      print(process.hasUncaughtExceptionCaptureCallback())
      error('x', 0)]]
    assert.equal('true\ncaptured\tx\n', outcome.out)
  end)

  it('are shown to monitors without being taken', function()
    local outcome = eval [[
      process:on('uncaughtExceptionMonitor', function(err, origin) print('seen', err, origin) end)
      error('x', 0)]]
    assert.equal('seen\tx\tuncaughtException\n', outcome.out)
    assert.equal(1, outcome.status)
  end)
end)

describe('standard streams', function()
  it('stdout and stderr write at once and keep their order with print', function()
    local outcome = eval [[
      print 'a' process.stdout:write('b\n') io.write('c\n') process.stdout:write('d\n', function() print 'e' end)
      process.stderr:write('err')]]
    assert.equal('a\nb\nc\nd\ne\n', outcome.out)
    assert.equal('err', outcome.err)
  end)

  it('stdout writes what an encoding stands for, and takes nothing but strings', function()
    local outcome = eval [[
      process.stdout:write('6869', 'hex')
      process.stdout:setDefaultEncoding('base64')
      process.stdout:write('IQo=')
      print(pcall(process.stdout.write, process.stdout, 5))]]
    assert.truthy(outcome.out:find('^hi!\nfalse\t.*ERR_INVALID_ARG_TYPE'))
  end)

  it('stdout to a file, a pipe and a closed pipe keeps its order and its callbacks', function()
    local code = [[
      for i = 1, 3 do process.stdout:write(('x'):rep(100000)) end
      process.stdout:write('', function() process.stderr:write('called ') end)
      process.stdout:on('finish', function() process.stderr:write('finish ') end)
      process.stdout:finish(function(err) process.stderr:write('ended ' .. tostring(err)) end)]]
    for _, after in ipairs { '', '| cat' } do
      local outcome = eval(code, { after = after })
      assert.equal(300000, #outcome.out)
      assert.equal('called ended nilfinish ', outcome.err)
    end
    local outcome = eval("process.stdout:on('error', function(err) process.stderr:write(err.code) end) "
      .. "for i = 1, 100 do process.stdout:write(('x'):rep(100000)) end", { after = '| head -c 1' })
    assert.equal('EPIPE', outcome.err)
  end)

  -- Runs code on a terminal of 80 columns and 24 lines that `input` is typed on.
  local function onTerminal(code, input)
    local words = ('stty cols 80 rows 24; exec %s -e %s'):format(program.quote(program.path), program.quote(code))
    return (program.shell('script -qec ' .. program.quote(words) .. ' /dev/null', input).out:gsub('\r', ''))
  end

  it('know a terminal and its size', function()
    local out = onTerminal([[
      print(process.stdin.isTTY, process.stdout.isTTY, process.stderr.isTTY)
      print(process.stdout.columns, process.stdout.rows, unpack(process.stdout:getWindowSize()))]])
    assert.truthy(out:find('true\ttrue\ttrue\n80\t24\t80\t24\n', 1, true))
  end)

  it('stdout tells when the size of its terminal changes', function()
    local out = onTerminal([[
      process.stdout:on('resize', function()
        print(process.stdout.columns, process.stdout.rows)
        process.exit()
      end)
      os.execute 'stty cols 100 rows 30'
      setTimeout(function() end, 10000)]])
    assert.truthy(out:find('100\t30\n', 1, true))
  end)

  it('stdin gives what is typed on a terminal line by line, to its end', function()
    local out = onTerminal([[
      process.stdin:setEncoding('utf8')
      process.stdin:on('data', function(line) print('<' .. line:gsub('\n', '') .. '>') end)
      process.stdin:on('end', function() print 'end' end)]], 'one\ntwo\n\4')
    assert.truthy(out:find('<one>\n', 1, true))
    assert.truthy(out:find('<two>\n', 1, true))
    assert.truthy(out:find('end\n', 1, true))
  end)

  -- Runs code on a terminal, types `keys` when it says ready, and gives what it said before `end` and how the terminal
  -- is set afterwards.
  local function withKeyboard(await, code, keys)
    local words = ('%s -e %s; stty -a'):format(program.quote(program.path), program.quote(code))
    local command = spec.command({ 'script', '-qec', words, '/dev/null' }, { input = false })
    command:waitFor('stdout', 'ready', function() command.stdin:write(keys) end)
    await(command, 'exit')
    return command.stdout:match('ready%s*(.-)%s*end'), command.stdout:match('end.*')
  end

  it('stdin:setRawMode gives keys as they are pressed, and lines again', spec.coroutine(function(await)
    local said, after = withKeyboard(await, [[
      local stdin, typed = process.stdin, ''
      assert(stdin.isRaw == false and stdin:setRawMode(true) == stdin and stdin.isRaw == true)
      stdin:setRawMode(true)
      stdin:on('data', function(keys)
        typed = typed .. keys
        if #typed < 4 then return end
        print(typed:byte(1, -1))
        assert(stdin:setRawMode(false).isRaw == false)
        os.execute('stty -a | grep -o -e " -*icanon"')
        stdin:destroy()
        assert(stdin:setRawMode(true).isRaw)
        print 'end'
      end)
      print 'ready']], 'a\3\r\4')
    assert.equal('97 3 13 4 icanon', (said:gsub('%s+', ' ')))
    assert.truthy(after:find(' icanon', 1, true))
    assert.truthy(after:find(' echo ', 1, true))
  end))

  for how, code in pairs {
    ['process.exit'] = 'process.exit()',
    ['an error'] = 'error "x"',
    ['SIGTERM'] = "process.kill(process.pid, 'SIGTERM')",
    ['SIGINT'] = "process.kill(process.pid, 'SIGINT')",
  } do
    it(('the terminal is as before after %s in raw mode'):format(how), spec.coroutine(function(await)
      local said, after = withKeyboard(await, ([[
        process.stdin:setRawMode(true)
        process.stdin:on('data', function() print 'end' %s end)
        print 'ready']]):format(code), 'x')
      assert.equal('', said)
      assert.truthy(after:find(' icanon', 1, true))
      assert.truthy(after:find(' echo ', 1, true))
    end))
  end

  it('stdin:setRawMode emits what the system says', function()
    local outcome = onTerminal([[
      local native = require 'moonlatch.native'
      function native.process.setRaw(...) return nil, require('moonlatch.errors').Error('no') end
      process.stdin:on('error', function(err) print(err.message, process.stdin.isRaw) end)
      process.stdin:setRawMode(true)
      process.stdin:pause()]])
    assert.truthy(outcome:find('no\tfalse', 1, true))
    assert.equal('nil\n', eval('print(process.stdin.setRawMode)').out)
  end)

  it('stdin can be iterated over, and piped into a stream', function()
    assert.equal('6\n', eval([[coroutine.wrap(function()
      local n = 0
      for chunk in process.stdin:chunks() do n = n + #chunk end
      print(n)
    end)()]], { input = 'a\nb\nc\n' }).out)
    assert.equal('A\n', eval([[
      process.stdin:pipe(require('stream').Transform {
        transform = function(_, chunk, _, callback) callback(nil, chunk:upper()) end,
      }):pipe(process.stdout)]], { input = 'a\n' }).out)
  end)

  it('know their descriptor, and that a file is no terminal', function()
    assert.equal('1\t2\t0\tnil\n',
      eval('print(process.stdout.fd, process.stderr.fd, process.stdin.fd, process.stdout.isTTY)').out)
  end)

  it('stdout is not closed by what is piped into it', function()
    local outcome = eval([[
      process.stdin:on('end', function()
        setImmediate(function() process.stdout:write('still here\n') end)
      end)
      process.stdin:pipe(process.stdout)]], { input = 'text\n' })
    assert.equal('text\nstill here\n', outcome.out)
    assert.equal('', outcome.err)
  end)

  for _, kind in ipairs { 'file', 'pipe' } do
    it('stdin reads a ' .. kind .. ' to its end', function()
      local code = [[local n = 0
        process.stdin:on('data', function(chunk) n = n + #chunk end)
        process.stdin:on('end', function() print(n) end)]]
      local options = { input = ('x'):rep(300000), before = kind == 'pipe' and 'cat |' or nil }
      assert.equal('300000\n', eval(code, options).out)
    end)
  end

  it('are sockets where the program was started with some', spec.coroutine(function(await)
    local got = ''
    local server = require('net').createServer({ allowHalfOpen = true }, function(socket)
      socket:on('data', function(chunk) got = got .. chunk end)
      socket:finish(('x'):rep(300000))
    end):listen(0, '127.0.0.1')
    await(server, 'listening')
    local code = [[
      local n = 0
      process.stdin:on('data', function(chunk) n = n + #chunk end)
      process.stdin:on('end', function()
        process.stdout:write(('y'):rep(300000))
        process.stdout:finish(('%d %s %s'):format(n, process.stdin._type, tostring(process.stdin.remoteAddress)))
      end)]]
    local command = spec.command { 'bash', '-c', 'exec "$0" -e "$1" <>/dev/tcp/127.0.0.1/"$2" >&0', program.path, code,
      tostring(server:address().port) }
    await(command, 'exit')
    await(function(done) server:close(done) end)
    assert.equal('', command.stderr)
    assert.equal(('y'):rep(300000) .. '300000 socket 127.0.0.1', got)
  end))

  -- Runs code with a standard input that holds one line and never ends: the shell itself keeps it open.
  local function withOpenInput(code)
    return spec.tempdir(function(directory)
      return program.shell(('mkfifo %s/f; exec 3<>%s/f; echo x >&3; %s -e %s <&3'):format(directory,
        directory, program.quote(program.path), program.quote(code)))
    end)
  end

  it('stdin does not keep the loop open while nobody reads', function()
    assert.equal(0, withOpenInput('process.stdin:on("error", print)').status)
  end)

  it('stdin lets the loop end after pause', function()
    local outcome = withOpenInput [[process.stdin:on('data', function(chunk)
      io.write(chunk)
      process.stdin:pause()
    end)]]
    assert.equal('x\n', outcome.out)
  end)

  it('stdin lets the loop end when it is unreferenced', function()
    assert.equal('x\n', withOpenInput([[
      local hold = setTimeout(function() end, 60000)
      process.stdin:on('data', function(chunk)
        io.write(chunk)
        clearTimeout(hold)
      end):unref()]]).out)
  end)
end)

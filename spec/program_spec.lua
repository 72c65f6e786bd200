local fs = require 'fs'
local net = require 'net'
local process = require 'process'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'

local programOptions = require 'moonlatch.options'

local run, eval, quote = program.run, program.eval, program.quote

-- Runs `code` as a script file, with arguments.
local function script(code, arguments, options)
  return spec.tempdir(function(directory)
    local path = directory .. '/script.lua'
    fs.writeFileSync(path, code)
    local list = { path }
    for _, argument in ipairs(arguments or {}) do
      list[#list + 1] = argument
    end
    return run(list, options)
  end)
end

describe('the program', function()
  it('runs -e chunks in order, then the script', function()
    local outcome = script('print(x, ...)', { 'a', 'b' }, nil)
    assert.equal('nil\ta\tb\n', outcome.out)
    assert.equal('1\t2\n', run({ '-e', 'a = 1', '-eb = 2', '-e', 'print(a, b)' }).out)
  end)

  it('fills arg as lua does, negative places too', function()
    spec.tempdir(function(directory)
      local path = directory .. '/s.lua'
      fs.writeFileSync(path, 'print(arg[-3], arg[-2], arg[-1], arg[0], arg[1], #arg, ...)')
      local outcome = run { '-e', 'x = 1', path, 'one' }
      assert.equal(table.concat({ process.execPath, '-e', 'x = 1', path, 'one', '1', 'one' }, '\t') .. '\n',
        outcome.out)
    end)
  end)

  it('fills process.argv and process.execArgv', function()
    local outcome = script('print(table.concat(process.argv, " ", 2):gsub("^.*/", ""))', { 'x', '-y' })
    assert.equal('script.lua x -y\t1\n', outcome.out)
    outcome = run({ '--trace-tls', '--no-warnings', '-e', 'print(table.concat(process.execArgv, " ", 1, 2))' })
    assert.equal('--trace-tls --no-warnings\n', outcome.out)
  end)

  it('runs standard input when there is no script and no terminal, and for -', function()
    assert.equal('1\n', run({}, { input = 'print(1)' }).out)
    assert.equal('a\tb\n', run({ '-', 'a', 'b' }, { input = 'print(...)' }).out)
  end)

  it('skips a #! line', function()
    assert.equal('ok\n', script('#!/usr/bin/env moonlatch\nprint "ok"').out)
  end)

  it('requires libraries with -l', function()
    assert.equal('table\n', run({ '-l', 'tls', '-e', 'print(type(package.loaded.tls))' }).out)
    assert.equal('table\n', run({ '-ltls', '-e', 'print(type(package.loaded.tls))' }).out)
  end)

  -- The options in a text, by what stands behind each: "--tls-min-v1.0|1.1" is two. True, or 'value' before "=".
  local function optionsIn(text)
    local found = {}
    for first, others, equals in text:gmatch('%-%-(%l[%w.-]*)([|%d.]*)(=?)') do
      found[first] = equals == '=' and 'value' or found[first] or true
      for version in others:gmatch('|([%d.]+)') do
        found[first:match('^.*v') .. version] = true
      end
    end
    return found
  end

  it('knows the options that --help and the manual page name', function()
    local known = { version = true, help = true }
    for name, kind in pairs(programOptions.known) do
      known[name] = kind
    end
    assert.same(known, optionsIn(run({ '--help' }).out))
    local page = fs.readFileSync('docs/moonlatch.1', 'utf8')
    assert.same(known, optionsIn(page:gsub('\\%-', '-'):gsub('" *, *"', ' '):gsub('= ', '=')))
  end)

  it('has the version that the manual page says', function()
    local page = fs.readFileSync('docs/moonlatch.1', 'utf8')
    assert.equal(process.versions.moonlatch, page:match('moonlatch ([%d.]+)"'))
  end)

  it('knows the letters that --help and the manual page name', function()
    local function letters(text, pattern)
      local found = {}
      for letter in text:gmatch(pattern) do
        found[letter] = true
      end
      return found
    end
    local expected = { e = true, l = true, i = true, v = true, E = true, j = true, O = true }
    assert.same(expected, letters(run({ '--help' }).out, '\n  %-(%a)'))
    local page = fs.readFileSync('docs/moonlatch.1', 'utf8')
    assert.same(expected, letters(page, '\n%.TP\n%.BI? \\%-(%a)'))
    for letter in pairs(expected) do
      assert.is_nil(run({ '-' .. letter, letter == 'O' and '-e' or 'x', '' }).err:find('bad option', 1, true))
    end
  end)

  it('prints versions for -v, --version and --help', function()
    assert.truthy(run({ '-v' }).out:find('^moonlatch %d+%.%d+%.%d+'))
    assert.truthy(run({ '--version' }).out:find('^v%d+%.%d+%.%d+\n$'))
    assert.truthy(run({ '--help' }).out:find('^usage: moonlatch'))
  end)

  it('obeys LUA_INIT, LUA_PATH and LUA_CPATH, and not with -E', function()
    assert.equal('1\n', eval('print(x)', { env = { LUA_INIT = 'x = 1' } }).out)
    assert.equal('nil\n', run({ '-E', '-e', 'print(x)' }, { env = { LUA_INIT = 'x = 1' } }).out)
    local env = { LUA_PATH = '/nowhere/?.lua;;', LUA_CPATH = '/none/?.so' }
    local out = eval('print(package.path) print(package.cpath)', { env = env }).out
    assert.truthy(out:find('^/nowhere/%?%.lua;.*/share/lua/5%.1/'))
    assert.truthy(out:find('\n/none/%?%.so\n$'))
    assert.falsy(run({ '-E', '-e', 'print(package.path)' }, { env = env }).out:find('nowhere'))
  end)

  it('runs a file named by LUA_INIT=@', function()
    spec.tempdir(function(directory)
      fs.writeFileSync(directory .. '/init.lua', 'x = 7')
      assert.equal('7\n', eval('print(x)', { env = { LUA_INIT = '@' .. directory .. '/init.lua' } }).out)
    end)
  end)

  it('stops reading options at --', function()
    spec.tempdir(function(directory)
      fs.writeFileSync(directory .. '/-s.lua', 'print(...)')
      local outcome = run({ '--', '-s.lua', '-x' }, { before = 'cd ' .. quote(directory) .. ' &&' })
      assert.equal('-x\n', outcome.out)
    end)
  end)

  it('knows -joff, -jon and -O', function()
    assert.equal('false\n', run({ '-joff', '-e', 'print((jit.status()))' }).out)
    assert.equal('true\n', run({ '-j', 'on', '-O3', '-e', 'print((jit.status()))' }).out)
  end)

  it('prefers modules found in MOONLATCH_LUA_PATH', function()
    spec.tempdir(function(directory)
      fs.writeFileSync(directory .. '/constants.lua', 'return { name = (...) }')
      assert.equal('constants\n', eval('print(require("constants").name)', {
        env = { MOONLATCH_LUA_PATH = directory },
      }).out)
    end)
  end)

  it('gives the same module again when package.loaded was cleared', function()
    assert.equal('true\n', eval([[local first = require 'net'
      package.loaded.net = nil
      print(require 'net' == first)]]).out)
  end)

  it('lets a script see that it is the main one', function()
    assert.equal('false\n', script('print((pcall(debug.getlocal, 4, 1)))').out)
  end)

  it('takes C modules made for Lua 5.1', function()
    assert.equal('table\n', eval('print(type(require "lfs"))').out)
  end)

  it('has the globals', function()
    local out = eval [[for _, name in ipairs { 'process', 'console', 'setTimeout', 'clearTimeout',
      'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'queueMicrotask', 'AbortController',
      'AbortSignal', 'Error', 'TypeError', 'RangeError' } do
        if _G[name] == nil then print(name) end
      end]].out
    assert.equal('', out)
  end)

  it('gives ipairs the metamethod __ipairs of what is no table', function()
    assert.equal('1\tone\n2\ttwo\n', eval([[
      local list = newproxy(true)
      getmetatable(list).__ipairs = function() return ipairs { 'one', 'two' } end
      getmetatable(list).__metatable = 'hidden'
      for i, value in ipairs(list) do print(i, value) end]]).out)
    assert.matches('table expected, got userdata', eval('ipairs(newproxy())').err)
    assert.matches('table expected, got nil', eval('ipairs(nil)').err)
  end)

  it('runs microtasks after the code that queued them', function()
    assert.equal('1\n2\n', eval('queueMicrotask(function() print(2) end) print(1)').out)
  end)
end)

describe('errors of a script', function()
  it('end with the message and a traceback on stderr and status 1', function()
    local outcome = script('local function f() error("boom") end\nf()')
    assert.equal(1, outcome.status)
    assert.truthy(outcome.err:find('^Uncaught .*script%.lua:1: boom\nstack traceback:'))
  end)

  it('show the fields of an Error', function()
    local outcome = eval('require("fs").readFileSync("/no/such/file")')
    assert.equal(1, outcome.status)
    assert.truthy(outcome.err:find("ENOENT: no such file or directory, open '/no/such/file'", 1, true))
    assert.truthy(outcome.err:find("code", 1, true))
  end)

  it('are reported for what does not compile, or is not there', function()
    local outcome = script('x = = 1')
    assert.equal(1, outcome.status)
    assert.truthy(outcome.err:find("unexpected symbol near '='", 1, true))
    outcome = run { '/no/such/script.lua' }
    assert.equal(1, outcome.status)
    assert.truthy(outcome.err:find('cannot open /no/such/script.lua', 1, true))
  end)

  it('go to uncaughtException first, and the loop goes on', function()
    local outcome = eval [[
      process:on('uncaughtException', function(err, origin) print(err, origin) end)
      setTimeout(function() print 'later' end, 1)
      error('boom', 0)]]
    assert.equal('boom\tuncaughtException\nlater\n', outcome.out)
    assert.equal(0, outcome.status)
  end)

  it('in a callback emit exit with 1', function()
    local outcome = eval [[
      process:on('exit', function(code) print('exit', code) end)
      setTimeout(function() error 'boom' end)]]
    assert.equal('exit\t1\n', outcome.out)
    assert.equal(1, outcome.status)
    assert.truthy(outcome.err:find('boom', 1, true))
  end)

  it('in an uncaughtException listener end with status 7', function()
    local outcome = eval [[
      process:on('uncaughtException', function() error('worse', 0) end)
      error('boom', 0)]]
    assert.equal(7, outcome.status)
    assert.truthy(outcome.err:find('worse', 1, true))
  end)

  it('of any type are kept as they are', function()
    assert.equal('boolean\n', eval [[
      process:on('uncaughtException', function(err) print(type(err)) end)
      error(false)]].out)
    assert.equal(1, eval('error()').status)
    assert.equal('', eval('error()').err)
  end)

  it('leave the ticks behind a failing one to run', function()
    assert.equal('caught\nsecond\n', eval [[
      process:on('uncaughtException', function() print 'caught' end)
      process.nextTick(error, 'first')
      process.nextTick(print, 'second')]].out)
  end)

  for name, call in pairs { ticks = 'process.nextTick', immediates = 'setImmediate' } do
    it('end the process before the ' .. name .. ' behind them run', function()
      local outcome = eval('local later = ' .. call .. [[

        process:on('exit', function() later(print, 'after exit') end)
        for i = 1, 3 do later(error, 'number ' .. i) end
        later(print, 'behind')]])
      assert.equal(1, outcome.status)
      assert.equal('', outcome.out)
      assert.truthy(outcome.err:find('number 1', 1, true))
      assert.falsy(outcome.err:find('number 2', 1, true))
    end)
  end

  it('are told even when their __tostring raises', function()
    local outcome = eval [[error(setmetatable({}, { __tostring = function() error 'again' end }))]]
    assert.equal(1, outcome.status)
    assert.truthy(outcome.err:find('Uncaught', 1, true))
  end)
end)

describe('the end of the program', function()
  it('comes when nothing is left, with beforeExit and exit', function()
    local outcome = eval [[
      local again = true
      process:on('beforeExit', function(code)
        print('beforeExit', code)
        if again then again = false setTimeout(print, 1, 'more') end
      end)
      process:on('exit', function(code) print('exit', code) setTimeout(print, 0, 'never') end)
      process.exitCode = 3]]
    assert.equal('beforeExit\t3\nmore\nbeforeExit\t3\nexit\t3\n', outcome.out)
    assert.equal(3, outcome.status)
  end)

  for _, leave in ipairs { '', 'process.exit()', "error 'uncaught'" } do
    it(('runs nothing that exit listeners put off%s%s'):format(leave == '' and '' or ', after ', leave), function()
      local outcome = eval([[
        process.nextTick(print, 'tick')
        process:on('exit', function()
          print 'exit'
          process.nextTick(print, 'tick after exit')
          setImmediate(print, 'immediate after exit')
          setTimeout(print, 0, 'timer after exit')
        end)
        ]] .. leave)
      assert.equal(leave == '' and 'tick\nexit\n' or 'exit\n', outcome.out)
    end)
  end

  it('comes at once with process.exit', function()
    local outcome = eval [[
      process:on('beforeExit', print)
      process:on('exit', function(code) print('exit', code, process.exitCode) end)
      setTimeout(print, 1, 'never')
      process.exit(4)]]
    assert.equal('exit\t4\t4\n', outcome.out)
    assert.equal(4, outcome.status)
  end)

  it('process.exit inside exit changes the status and does not repeat the event', function()
    local outcome = eval [[process:on('exit', function() print 'exit' process.exit(9) end)]]
    assert.equal('exit\n', outcome.out)
    assert.equal(9, outcome.status)
  end)

  it('os.exit works as in Lua', function()
    assert.equal(5, eval('setTimeout(function() os.exit(5) end)').status)
    assert.equal(0, eval('os.exit(true)').status)
    assert.equal(1, eval('os.exit(false)').status)
  end)

  for _, leave in ipairs { 'process.exit()', 'os.exit()' } do
    it('sends what a socket accepted before ' .. leave, spec.async(function(_, expect)
      local text = ''
      local server
      server = net.createServer(expect(function(socket)
        socket:on('data', function(chunk) text = text .. chunk end)
        socket:on('end', expect(function() assert.equal('last words', text) end))
        server:close()
      end))
      server:listen(0, '127.0.0.1', function()
        spec.command({ program.path, '-e', ([[local client = require('net').connect(%d, '127.0.0.1')
          client:on('connect', function() client:write('last words') %s end)]]):format(
          server:address().port, leave) }, {}, expect(function(status) assert.equal(0, status) end))
      end)
    end))
  end

  it('does not wait for what is unreferenced', function()
    assert.equal(0, eval('setTimeout(print, 60000, 1):unref() setImmediate(print, 2):unref()').status)
  end)

  it('survives a reader that goes away', function()
    local outcome = program.shell(quote(program.path) ..
      [[ -e 'process.stdout:on("error", function(e) io.stderr:write(e.code) process.exit(0) end)
      setInterval(function() process.stdout:write(("x"):rep(65536)) end, 1)' | head -c 10]])
    assert.equal('xxxxxxxxxx', outcome.out)
    assert.equal('EPIPE', outcome.err)
  end)
end)

describe('options', function()
  it('of ours come before the script and reach native.options', function()
    local code = [[local o = require('moonlatch.native').options
      print(o['tls-cipher-list'], o['tls-min-v1.3'], o['tls-keylog'])]]
    assert.equal('A:B\ttrue\t/tmp/k\n',
      run({ '--tls-cipher-list=A:B', '--tls-min-v1.3', '--tls-keylog', '/tmp/k', '-e', code }).out)
    assert.equal('A B\ttrue\tnil\n', eval(code, {
      env = { MOONLATCH_OPTIONS = ' --tls-cipher-list="A B"  --tls-min-v1.3' },
    }).out)
    assert.equal('C\tnil\tnil\n', run({ '--tls-cipher-list=C', '-e', code }, {
      env = { MOONLATCH_OPTIONS = '--tls-cipher-list=A' },
    }).out)
  end)

  it('that are unknown or incomplete end with status 9', function()
    for _, arguments in ipairs { { '--nope' }, { '-Z' }, { '--tls-keylog' }, { '--tls-keylog=' }, { '-e' },
      { '--trace-tls=1' } } do
      local outcome = run(arguments)
      assert.equal(9, outcome.status)
      assert.truthy(outcome.err:find('^moonlatch: '))
    end
    assert.equal('moonlatch: bad option: --nope\n', run({ '--nope' }).err)
    assert.equal('moonlatch: either --tls-min-v1.3 or --tls-max-v1.2 can be used, not both\n',
      run({ '--tls-min-v1.3', '-e', '' }, { env = { MOONLATCH_OPTIONS = '--tls-max-v1.2' } }).err)
    assert.equal(9, run({ '--use-bundled-ca', '--use-openssl-ca', '-e', '' }).status)
    for _, text in ipairs { '--nope', '-e', 'script.lua', '"--trace-tls', '--version' } do
      assert.equal(9, eval('', { env = { MOONLATCH_OPTIONS = text } }).status)
    end
  end)
end)

describe('the interactive mode', function()
  it('prints values, keeps statements over lines, and survives errors', function()
    local outcome = run({ '-i' }, { input = table.concat({
      'x = 1', 'x', '= x + 1', '"a", nil', 'for i = 1, 2 do', 'print(i)', 'end', 'error("boom")', '1 +', '1',
      ')', 'x',
    }, '\n') .. '\n' })
    assert.equal(0, outcome.status)
    local out = outcome.out:gsub('^moonlatch[^\n]*\n', '')
    assert.equal('> > 1\n> 2\n> a\tnil\n> >> >> 1\n2\n> > >> 2\n> > 1\n> ', out)
    assert.truthy(outcome.err:find('boom\nstack traceback:', 1, true))
    assert.truthy(outcome.err:find("near ')'", 1, true))
  end)

  it('keeps the loop turning while it waits', function()
    local out = program.shell(quote(program.path) .. [[ -e 'setTimeout(function()
      print "timer" end, 1)' -i < /dev/null]]).out
    assert.truthy(out:find('timer', 1, true))
  end)

  it('comes after a script with -i', function()
    spec.tempdir(function(directory)
      fs.writeFileSync(directory .. '/s.lua', 'y = 5')
      assert.truthy(run({ '-i', directory .. '/s.lua' }, { input = 'y\n' }).out:find('> 5\n', 1, true))
    end)
  end)

  it('starts by itself on a terminal and ends with the input', function()
    assert.is_true(spec.available('script'))
    local outcome = program.shell('script -qec ' .. quote(quote(program.path)) .. ' /dev/null',
      'x = 20 + 1\nsetTimeout(function() print(x * 2) io.stdout:flush() end, 1)\n= x\n\4')
    assert.truthy(outcome.out:find('21', 1, true))
    assert.truthy(outcome.out:find('> ', 1, true))
    assert.equal(0, outcome.status)
  end)

  -- See bindings/iteration.h.
  it('has next and pairs that LuaJIT does not compile where it would do so wrongly', function()
    local outcome = program.eval([[
      local fast = require('jit.util').funcinfo
      print(jit.version == 'LuaJIT 2.1.0-beta3' and jit.arch == 'x64', not fast(next).ffid, not fast(pairs).ffid)
    ]])
    assert.truthy(outcome.out == 'true\ttrue\ttrue\n' or outcome.out == 'false\tfalse\tfalse\n', outcome.out)
  end)

  it('walks tables as Lua does', function()
    local outcome = program.eval([[
      local t, n = { 1, 2, a = 3, [false] = 4, [1.5] = 5 }, 0
      for k, v in pairs(t) do
        n = n + v
        t[k] = nil
      end
      local step, state, first = pairs(t)
      print(n, next(t), step == next, state == t, first)
      print(next({ 7 }), next({ 7 }, 1), (select('#', next({}))))
      print(pcall(pairs))
      print(pcall(next, nil))
      print(pcall(next, {}, 'unknown'))
    ]])
    assert.equal("15\tnil\ttrue\ttrue\tnil\n1\tnil\t1\n"
      .. "false\tbad argument #1 to '?' (table expected, got no value)\n"
      .. "false\tbad argument #1 to '?' (table expected, got nil)\nfalse\tinvalid key to 'next'\n", outcome.out)
  end)
end)

local fs = require 'fs'
local program = require 'spec.support.program'
local process = require 'process'
local spec = require 'moonlatch.spec'

-- moonlatch.so as ctest names it, else beside the program.
local modulePath = os.getenv 'MOONLATCH_MODULE' or process.execPath .. '.so'
local preload = os.getenv 'MOONLATCH_MODULE_PRELOAD'

local function luajit(code)
  local environment = ("LUA_CPATH=%s "):format(program.quote(modulePath:match('^(.*/)') .. '?.so'))
  if preload then
    environment = environment .. 'LD_PRELOAD=' .. preload .. ' ASAN_OPTIONS=detect_leaks=0 '
  end
  return program.shell(environment .. 'luajit -e ' .. program.quote(code))
end

describe('the module', function()
  it('is there to be tested, and so is luajit', function()
    assert.is_true(fs.existsSync(modulePath), modulePath)
    assert.is_true(spec.available('luajit'))
  end)

  it('makes the library available to a stock luajit', function()
    local outcome = luajit [[
      local moonlatch = require 'moonlatch'
      print(moonlatch.version)
      for _, name in ipairs { 'tls', 'net', 'events', 'stream', 'fs', 'crypto', 'timers', 'dns', 'process', 'util',
        'constants', 'string_decoder', 'console', 'cluster' } do
        assert(type(require(name)) == 'table', name)
      end]]
    assert.equal('', outcome.err)
    assert.equal(process.versions.moonlatch .. '\n', outcome.out)
  end)

  it('runs the loop with run, from a coroutine too', function()
    local code = [[
      local moonlatch = require 'moonlatch'
      require('timers').setTimeout(function() print 'timer' require('process').nextTick(print, 'tick') end, 1)
      moonlatch.run()
      print 'done']]
    assert.equal('timer\ntick\ndone\n', luajit(code).out)
    assert.equal('timer\ntick\ndone\n', luajit('assert(coroutine.wrap(function() ' .. code ..
      ' return true end)())').out)
  end)

  it('stop ends run', function()
    assert.equal('stopped\n', luajit([[
      local moonlatch = require 'moonlatch'
      require('timers').setInterval(moonlatch.stop, 1)
      moonlatch.run()
      print 'stopped']]).out)
  end)

  it('sets no globals until install is called', function()
    assert.equal('nil\tnil\tfunction\ttable\n', luajit([[
      local moonlatch = require 'moonlatch'
      local before, other = setTimeout, process
      moonlatch.install()
      print(before, other, type(setTimeout), type(process))]]).out)
  end)

  it('may be loaded twice, and its modules stay the same', function()
    assert.equal('true\ttrue\ttrue\n', luajit([[
      local first, tls, native = require 'moonlatch', require 'tls', require 'moonlatch.native'
      for name in pairs(package.loaded) do
        if name ~= '_G' and name ~= 'package' then package.loaded[name] = nil end
      end
      print(require 'moonlatch' == first, require 'tls' == tls, require 'moonlatch.native' == native)]]).out)
  end)

  -- OpenSSL keeps pointers to what it is to call, and the parsed system trust is kept for all contexts of the process.
  it('stays in the process when its state is closed, and serves the next state', function()
    local outcome = luajit [[
      local ffi = require 'ffi'
      ffi.cdef 'typedef struct lua_State lua_State; lua_State *luaL_newstate(void); void luaL_openlibs(lua_State *);'
      ffi.cdef 'int luaL_loadstring(lua_State *, const char *); int lua_pcall(lua_State *, int, int, int);'
      ffi.cdef 'const char *lua_tolstring(lua_State *, int, size_t *); void lua_close(lua_State *);'
      jit.off()
      local C, code = ffi.C, [=[
        local moonlatch, tls = require 'moonlatch', require 'tls'
        local context = tls.createSecureContext()
        require('timers').setTimeout(function() io.write(tostring(context ~= nil), '\n') end, 1)
        moonlatch.run()]=]
      local function mapped()
        local count = 0
        for line in io.lines '/proc/self/maps' do
          count = count + (line:find('/moonlatch.so', 1, true) and 1 or 0)
        end
        return count
      end
      local counts = {}
      for i = 1, 3 do
        local L = C.luaL_newstate()
        C.luaL_openlibs(L)
        if C.luaL_loadstring(L, code) ~= 0 or C.lua_pcall(L, 0, 0, 0) ~= 0 then
          print(ffi.string(C.lua_tolstring(L, -1, nil)))
        end
        C.lua_close(L)
        counts[i] = mapped()
      end
      print(counts[1] > 0, counts[1] == counts[2], counts[2] == counts[3])]]
    assert.equal('', outcome.err)
    assert.equal('true\ntrue\ntrue\ntrue\ttrue\ttrue\n', outcome.out)
  end)

  it('loaded into the program shares the loop with it', function()
    local outcome = program.eval(([[
      local open = assert(package.loadlib(%q, 'luaopen_moonlatch'))
      print(open() == require 'moonlatch')]]):format(modulePath))
    assert.equal('true\n', outcome.out)
  end)

  it('ends the process on an uncaught error, as the program does', function()
    local outcome = luajit([[
      local moonlatch = require 'moonlatch'
      require('timers').setTimeout(function() error 'boom' end)
      moonlatch.run()
      print 'never']])
    assert.equal(1, outcome.status)
    assert.equal('', outcome.out)
    assert.truthy(outcome.err:find('Uncaught .*boom'))
  end)
end)

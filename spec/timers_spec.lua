local native = require 'moonlatch.native'
local process = require 'process'
local spec = require 'moonlatch.spec'
local timers = require 'timers'
local util = require 'moonlatch.class'

local setTimeout, clearTimeout = timers.setTimeout, timers.clearTimeout
local setInterval, clearInterval = timers.setInterval, timers.clearInterval
local setImmediate, clearImmediate = timers.setImmediate, timers.clearImmediate

local function failsWith(code, fn)
  local ok, err = pcall(fn)
  assert.is_false(ok)
  assert.equal(code, err.code)
  return err
end

describe('setTimeout', function()
  it('calls back with the extra arguments, nils among them', spec.async(function(_, expect)
    setTimeout(expect(function(...)
      assert.equal(4, select('#', ...))
      assert.same({ 1, nil, 'x' }, { (select(1, ...)), (select(2, ...)), (select(3, ...)) })
    end), 1, 1, nil, 'x', nil)
  end))

  it('is never early', spec.async(function(_, expect)
    local start = native.now()
    setTimeout(expect(function()
      assert.is_true(native.now() - start >= 7)
    end), 7)
  end))

  it('fires in order of time, and of insertion where that is equal', spec.async(function(done)
    local order = {}
    setTimeout(function() order[#order + 1] = 'c' end, 40)
    setTimeout(function() order[#order + 1] = 'a' end, 1)
    setTimeout(function() order[#order + 1] = 'b' end, 1)
    setTimeout(function() order[#order + 1] = 'd' end, 40)
    setTimeout(function()
      assert.equal('abcd', table.concat(order))
      done()
    end, 41)
  end))

  it('names the argument when the callback is no function', function()
    local err = failsWith('ERR_INVALID_ARG_TYPE', function() setTimeout('x', 1) end)
    assert.equal(
      'The "callback" argument must be of type function. Received type string (\'x\')', err.message)
    failsWith('ERR_INVALID_ARG_TYPE', setTimeout)
    failsWith('ERR_INVALID_ARG_TYPE', setInterval)
    failsWith('ERR_INVALID_ARG_TYPE', setImmediate)
  end)

  it('takes 1 for a duration that is none', spec.async(function(_, expect)
    for _, value in ipairs { 0, -5, 'x', {}, 0 / 0, '1' } do
      assert.equal(1, setTimeout(expect(function() end), value)._idleTimeout)
    end
    assert.equal(1, setTimeout(expect(function() end))._idleTimeout)
  end))

  it('warns of a duration past 32 bits and takes 1', spec.async(function(_, expect)
    process:once('warning', expect(function(warning)
      assert.equal('TimeoutOverflowWarning', warning.name)
      assert.truthy(warning.message:find('^2147483648 does not fit'))
    end))
    assert.equal(1, setTimeout(expect(function() end), 2 ^ 31)._idleTimeout)
  end))

  it('runs ticks between two timers that are due together', spec.async(function(done)
    local order = {}
    setTimeout(function()
      order[#order + 1] = 'first'
      process.nextTick(function() order[#order + 1] = 'tick' end)
    end, 1)
    setTimeout(function()
      assert.same({ 'first', 'tick' }, order)
      done()
    end, 1)
  end))

  it('keeps the others when one of them raises', spec.async(function(_, expect)
    process:once('uncaughtException', expect(function(err) assert.equal('boom', err) end))
    -- A second listener tells the test that the error is meant.
    local ignore = function() end
    process:on('uncaughtException', ignore)
    setTimeout(expect(function() error('boom', 0) end), 1)
    setTimeout(expect(function() process:removeListener('uncaughtException', ignore) end), 1)
  end))

  it('a timer started by a timer of the same length waits its own time', spec.async(function(_, expect)
    setTimeout(expect(function()
      local start = native.now()
      setTimeout(expect(function()
        assert.is_true(native.now() - start >= 2)
      end), 2)
    end), 2)
  end))

  it('keeps ten thousand timers apart', spec.async(function(done)
    local count, last = 0, {}
    for i = 1, 10000 do
      local ms = 1 + (i * 7919) % 20
      setTimeout(function()
        assert.is_true(i > (last[ms] or 0))
        last[ms] = i
        count = count + 1
        if count == 10000 then done() end
      end, ms)
    end
  end))
end)

describe('clearTimeout', function()
  it('stops a timer, before and from inside its own list', spec.async(function(_, expect)
    local second
    setTimeout(expect(function() clearTimeout(second) end), 1)
    second = setTimeout(expect(function() end, 0), 1)
    clearTimeout(setTimeout(expect(function() end, 0), 1))
    setTimeout(expect(function() end), 2)
  end))

  it('takes any value', function()
    for _, value in ipairs { 1, 'x', {}, true, print } do
      clearTimeout(value)
      clearInterval(value)
      clearImmediate(value)
    end
    clearTimeout(nil)
  end)

  it('may be called twice, and after the timer has fired', spec.async(function(_, expect)
    local timer
    timer = setTimeout(expect(function()
      clearTimeout(timer)
      clearTimeout(timer)
    end), 1)
  end))
end)

describe('setInterval', function()
  it('repeats until it is cleared from its own callback', spec.async(function(_, expect)
    local count, timer = 0, nil
    timer = setInterval(expect(function(word)
      assert.equal('x', word)
      count = count + 1
      if count == 3 then clearInterval(timer) end
    end, 3), 1, 'x')
  end))

  it('goes on after an error that a listener took', spec.async(function(_, expect)
    local count, timer = 0, nil
    local function ignore() end
    process:on('uncaughtException', ignore)
    timer = setInterval(expect(function()
      count = count + 1
      if count == 1 then error('once', 0) end
      clearInterval(timer)
      process:removeListener('uncaughtException', ignore)
    end, 2), 1)
  end))
end)

describe('Timeout', function()
  it('ref, unref and hasRef say whether it keeps the loop open', spec.async(function(_, expect)
    local timer = setTimeout(expect(function() end, 0), 60000)
    assert.is_true(timer:hasRef())
    assert.equal(timer, timer:unref())
    assert.is_false(timer:hasRef())
    assert.equal(timer, timer:ref())
    timer:ref()
    timer:unref()
    assert.is_false(native.step(false))
    clearTimeout(timer)
  end))

  it('refresh starts it over, also after it has fired', spec.async(function(_, expect)
    local count, timer = 0, nil
    timer = setTimeout(expect(function()
      count = count + 1
      if count == 1 then timer:refresh() end
    end, 2), 1)
    assert.equal(timer, timer:refresh())
  end))

  it('refresh puts a timer behind those started since', spec.async(function(done)
    local order = {}
    local first = setTimeout(function() order[#order + 1] = 'first' end, 5)
    setTimeout(function() order[#order + 1] = 'second' end, 5)
    first:refresh()
    setTimeout(function()
      assert.same({ 'second', 'first' }, order)
      done()
    end, 6)
  end))

  it('refresh does nothing to one that was cleared', function()
    local timer = setTimeout(function() end, 1)
    timer:close()
    timer:refresh()
    assert.is_false(native.step(false))
  end)

  it('is an instance of its class and takes fields', function()
    local timer = setTimeout(function() end, 1)
    timer.mine = 1
    assert.is_true(util.isInstance(timer, timers.Timeout))
    assert.equal(timer, timer:close())
  end)

  it('is kept alive while it runs and let go afterwards', spec.async(function(done)
    local seen = setmetatable({}, { __mode = 'k' })
    seen[setTimeout(function() end, 2)] = true
    collectgarbage()
    assert.truthy(next(seen))
    setTimeout(function()
      collectgarbage()
      assert.is_nil(next(seen))
      done()
    end, 4)
  end))
end)

describe('setImmediate', function()
  it('calls back with the arguments, after ticks and before the next turn', spec.async(function(done)
    local order = {}
    setImmediate(function(word)
      order[#order + 1] = word
      setImmediate(function()
        assert.same({ 'tick', 'one', 'inner tick', 'two' }, order)
        done()
      end)
      process.nextTick(function() order[#order + 1] = 'inner tick' end)
    end, 'one')
    setImmediate(function(word) order[#order + 1] = word end, 'two')
    process.nextTick(function() order[#order + 1] = 'tick' end)
  end))

  it('from a timer it comes before a timer of 0', spec.async(function(done)
    setTimeout(function()
      local immediate = false
      setImmediate(function() immediate = true end)
      setTimeout(function()
        assert.is_true(immediate)
        done()
      end, 0)
    end, 1)
  end))

  it('comes after the ticks of what the loop was doing, and before timers, also from I/O', spec.async(function(done)
    local net = require 'net'
    local server = net.createServer(function(socket) socket:finish('x') end)
    server:listen(0, '127.0.0.1', function()
      local socket = net.connect(server:address().port, '127.0.0.1')
      local order = {}
      local function note(word) order[#order + 1] = word end
      socket:once('data', function()
        setTimeout(note, 0, 'timer')
        setImmediate(note, 'immediate')
        process.nextTick(function()
          note 'tick'
          process.nextTick(note, 'tick of the tick')
        end)
        note 'data'
      end)
      socket:on('close', function()
        setTimeout(function()
          assert.same({ 'data', 'tick', 'tick of the tick', 'immediate', 'timer' }, order)
          server:close(done)
        end, 2)
      end)
    end)
  end))

  it('does not run in the turn that it was asked for in an immediate', spec.async(function(done)
    local order = {}
    setImmediate(function()
      setImmediate(function()
        order[#order + 1] = 'inner'
        assert.same({ 'second', 'tick of the second', 'inner' }, order)
        done()
      end)
    end)
    setImmediate(function()
      order[#order + 1] = 'second'
      process.nextTick(function() order[#order + 1] = 'tick of the second' end)
    end)
  end))

  it('does not starve timers when it renews itself', spec.async(function(done)
    local over = false
    local function again() if not over then setImmediate(again) end end
    again()
    setTimeout(function()
      over = true
      done()
    end, 2)
  end))

  it('clearImmediate stops it, from a sibling too', spec.async(function(_, expect)
    local second
    setImmediate(expect(function() clearImmediate(second) end))
    second = setImmediate(expect(function() end, 0))
    clearImmediate(setImmediate(expect(function() end, 0)))
  end))

  it('keeps the others when one raises', spec.async(function(_, expect)
    local function ignore() end
    process:on('uncaughtException', ignore)
    setImmediate(expect(function() error('boom', 0) end))
    setImmediate(expect(function() process:removeListener('uncaughtException', ignore) end))
  end))

  it('unref lets the loop end without it', spec.async(function(_, expect)
    local immediate = setImmediate(expect(function() end, 0))
    assert.is_true(immediate:hasRef())
    assert.equal(immediate, immediate:unref())
    assert.is_false(immediate:hasRef())
    assert.is_false(native.step(false))
    clearImmediate(immediate)
  end))

  it('unref does not keep it from running while the loop is open', spec.async(function(_, expect)
    setImmediate(expect(function() end)):unref()
    setTimeout(expect(function() end), 2)
  end))
end)

describe('native.timer', function()
  it('may be stopped, restarted and forgotten inside its own handler', spec.async(function(done)
    local owner = { handle = native.timer(), count = 0 }
    function owner:onTimeout()
      self.count = self.count + 1
      if self.count == 1 then
        self.handle:start(self, 0)
      elseif self.count == 2 then
        self.handle:stop()
        self.handle:start(self, 0, 1)
      else
        self.handle:stop()
        self.handle = nil
        collectgarbage()
        done()
      end
    end
    owner.handle:start(owner, 0)
  end))
end)

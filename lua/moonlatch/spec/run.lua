--- Runs one asynchronous test inside busted's `it`, or inside anything else that is synchronous: turns the
--- loop until the test is over, collects what failed meanwhile, and looks whether everything was put away.

local handles = require 'moonlatch.spec.handles'
local native = require 'moonlatch.native'
local process = require 'process'
local slowness = require 'moonlatch.spec.slowness'
local timers = require 'timers'

local run = {}

--- How long a test may take unless it says otherwise, in milliseconds.
run.timeout = 10000

-- How long what a finished test closed may take to be gone.
local SETTLE = 2000

local function functionName(fn)
  local info = debug.getinfo(fn, 'S')
  return ('the function at %s:%d'):format(info.short_src, info.linedefined)
end

---@class moonlatch.spec.Test
---@field failure? { [1]: any }
---@field over boolean
local Test = {}
Test.__index = Test

local function newTest(options)
  return setmetatable({
    name = options.name,
    limit = (options.timeout or run.timeout) * slowness,
    allowOpen = options.allowOpen,
    mustEnd = options.mustEnd,
    grace = (options.settle or SETTLE) * slowness,
    expectations = {},
    over = false,
  }, Test)
end

-- The first failure counts: later ones mostly follow from it.
function Test:fail(err, traceback)
  if self.failure then
    return
  end
  if type(err) == 'string' and traceback and not err:find('stack traceback:', 1, true) then
    err = err .. '\n' .. traceback
  end
  self.failure = { err }
end

--- A function that calls `fn` and must itself be called exactly `count` times before the test ends.
---@param fn? function|integer  a number stands for `count` of a function that does nothing
---@param count? integer        1 when left out
---@param name? string
---@return function
function Test:expect(fn, count, name)
  if type(fn) == 'number' then
    fn, count, name = nil, fn, count
  end
  local expectation = { count = count or 1, called = 0 }
  expectation.name = name or (fn and functionName(fn)) or 'a callback'
  table.insert(self.expectations, expectation)
  return function(...)
    expectation.called = expectation.called + 1
    if expectation.called > expectation.count then
      self:fail(debug.traceback(('%s was called %d times instead of %d'):format(
        expectation.name, expectation.called, expectation.count), 2))
      return
    end
    if fn then
      return fn(...)
    end
  end
end

function Test:unmet()
  local missing = {}
  for _, expectation in ipairs(self.expectations) do
    if expectation.called < expectation.count then
      missing[#missing + 1] = ('%s was called %d times instead of %d'):format(
        expectation.name, expectation.called, expectation.count)
    end
  end
  return #missing > 0 and table.concat(missing, '; ') or nil
end

-- Ends the test; anything given to it is a reason to fail.
function Test:done(err)
  if self.over then
    self:fail(debug.traceback('done was called twice', 2))
  end
  self.over = true
  if err then
    self:fail(err)
  end
end

function Test:where()
  return self.name and (' (%s)'):format(self.name) or ''
end

-- A timer that does not hold the loop open: an empty loop is told apart from a test that takes too long.
local function deadline(ms, fn)
  local timer = timers.setTimeout(fn, ms)
  timer:unref()
  return timer
end

-- The loop ran out of things to wait for.
function Test:dry()
  local unmet = self:unmet()
  if unmet then
    self:fail(('nothing is left to wait for%s, but %s'):format(self:where(), unmet))
  elseif #self.expectations == 0 or self.mustEnd then
    self:fail(('nothing is left to wait for%s, but the test did not end'):format(self:where()))
  end
  self.over = true
end

function Test:turn()
  local timer = deadline(self.limit, function()
    local unmet = self:unmet()
    self:fail(('the test took longer than %d ms%s%s'):format(
      self.limit, self:where(), unmet and '; ' .. unmet or ''))
  end)
  local function going()
    return not self.over and not self.failure
  end
  while going() do
    -- First without waiting: what nextTick has queued may already be the end.
    native.step(false)
    if going() and not native.step(true) and going() then
      self:dry()
    end
  end
  timers.clearTimeout(timer)
end

-- Lets what was closed go, and says what was not. A loop that was busy before the test stays so after it.
function Test:settle(before, wasAlive)
  if self.allowOpen then
    native.step(false)
    return
  end
  local late = false
  local timer = deadline(self.grace, function()
    late = true
  end)
  local left
  repeat
    local alive = native.step(false)
    left = handles.since(before)
    if wasAlive and #left == 0 then
      break
    end
    alive = alive and not late and native.step(true)
  until not alive or late
  timers.clearTimeout(timer)
  left = handles.since(before)
  if #left > 0 or late and not wasAlive then
    self:fail(('the test left open%s: %s'):format(self:where(),
      #left > 0 and handles.describe(left) or 'a timer, or something else that keeps the loop running'))
  end
  handles.close(left)
  while #left > 0 and native.step(false) do
    left = handles.since(before)
  end
end

local function watchUncaught(test)
  local function listener(err, _, traceback)
    -- A test that listens itself means to.
    if process:listenerCount('uncaughtException') == 1 then
      test:fail(err, traceback)
    end
  end
  process:on('uncaughtException', listener)
  return function()
    process:removeListener('uncaughtException', listener)
  end
end

---@class moonlatch.spec.Options
---@field timeout? number     milliseconds
---@field name? string        said in failures
---@field allowOpen? boolean  the test may leave handles open
---@field settle? number      milliseconds that what was closed may take to be gone, 2000 when left out
---@field mustEnd? boolean    met expectations do not end it, only `done` does

--- Runs `fn(done, expect)` and the loop with it. The test ends when `done([err])` is called or, if it never
--- is and `expect` was used, when the loop is empty. Raises what failed: an error nothing caught, a callback
--- called too often or too seldom, the timeout, a handle left open.
---@param fn fun(done: fun(err?: any), expect: fun(fn?: function, count?: integer, name?: string): function)
---@param options? moonlatch.spec.Options
function run.run(fn, options)
  local test = newTest(options or {})
  local before, wasAlive = handles.snapshot(), native.alive()
  local unwatch = watchUncaught(test)
  local function done(err)
    test:done(err)
  end
  local function expect(...)
    return test:expect(...)
  end
  local ok, err = xpcall(function()
    fn(done, expect)
  end, function(err)
    return type(err) == 'string' and debug.traceback(err, 2) or err
  end)
  if not ok then
    test:fail(err)
  end
  test:turn()
  test:settle(before, wasAlive)
  local unmet = test:unmet()
  if unmet then
    test:fail(unmet .. test:where())
  end
  unwatch()
  -- Twice: what the finalizers of the first let go is collected by the second.
  collectgarbage()
  collectgarbage()
  if test.failure then
    error(test.failure[1], 0)
  end
end

--- The function to give to `it`.
---@param fn fun(done: fun(err?: any), expect: fun(fn?: function, count?: integer, name?: string): function)
---@param options? moonlatch.spec.Options
---@return fun()
function run.async(fn, options)
  return function()
    run.run(fn, options)
  end
end

return run

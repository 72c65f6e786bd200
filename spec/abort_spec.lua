local abort = require 'moonlatch.abort'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local class = require 'moonlatch.class'

local AbortController, AbortSignal = abort.AbortController, abort.AbortSignal

describe('AbortController', function()
  it('starts with a signal that is not aborted', function()
    local signal = AbortController().signal
    assert.is_true(class.isInstance(signal, AbortSignal))
    assert.is_false(signal.aborted)
    assert.is_nil(signal.reason)
  end)

  it('aborts with an AbortError unless given a reason', function()
    local controller = AbortController()
    controller:abort()
    assert.is_true(controller.signal.aborted)
    assert.equal('AbortError', controller.signal.reason.name)
    assert.equal('This operation was aborted', controller.signal.reason.message)
    assert.equal(20, controller.signal.reason.code)
  end)

  it('keeps the reason it was given, false included', function()
    local controller = AbortController()
    controller:abort(false)
    assert.is_false(controller.signal.reason)
  end)

  it('tells onabort, then the listeners, once', function()
    local controller, log = AbortController(), {}
    local signal = controller.signal
    signal:addEventListener('abort', function(event) log[#log + 1] = event.type end)
    signal.onabort = function(event) log[#log + 1] = event.target end
    controller:abort(1)
    controller:abort(2)
    assert.same({ signal, 'abort' }, log)
    assert.equal(1, signal.reason)
  end)

  it('adds the same listener once, and removes it', function()
    local controller, count = AbortController(), 0
    local function listener() count = count + 1 end
    controller.signal:addEventListener('abort', listener)
    controller.signal:addEventListener('abort', listener)
    controller.signal:addEventListener('abort', print)
    controller.signal:removeEventListener('abort', print)
    controller:abort()
    assert.equal(1, count)
  end)

  it('does not call a listener removed by an earlier one', function()
    local controller, called = AbortController(), false
    local function second() called = true end
    controller.signal:addEventListener('abort', function()
      controller.signal:removeEventListener('abort', second)
    end)
    controller.signal:addEventListener('abort', second)
    controller:abort()
    assert.is_false(called)
  end)

  it('tells the other listeners when one fails, whose error is raised in a tick', function()
    local controller, called = AbortController(), false
    controller.signal:addEventListener('abort', function() error('no', 0) end)
    controller.signal:addEventListener('abort', function() called = true end)
    controller:abort()
    assert.is_true(called)
    local _, err = pcall(tick.drain)
    assert.equal('no', err.message)
  end)
end)

describe('AbortSignal', function()
  it('cannot be made directly', function()
    local _, err = pcall(AbortSignal)
    assert.equal('ERR_ILLEGAL_CONSTRUCTOR', err.code)
  end)

  it('throwIfAborted raises the reason', function()
    local controller = AbortController()
    controller.signal:throwIfAborted()
    controller:abort('why')
    assert.has_error(function() controller.signal:throwIfAborted() end, 'why')
  end)

  it('.abort makes an aborted one', function()
    assert.is_true(AbortSignal.abort().aborted)
    assert.equal('r', AbortSignal.abort('r').reason)
  end)

  it('.any follows its sources', function()
    local a, b = AbortController(), AbortController()
    local any = AbortSignal.any { a.signal, b.signal }
    local seen
    any:addEventListener('abort', function() seen = any.reason end)
    b:abort('b')
    a:abort('a')
    assert.equal('b', seen)
    assert.equal('b', any.reason)
  end)

  it('.any is aborted at once when a source is', function()
    assert.equal(7, AbortSignal.any({ AbortController().signal, AbortSignal.abort(7) }).reason)
  end)

  it('.any works on signals made by any', function()
    local a = AbortController()
    local outer = AbortSignal.any { AbortSignal.any { a.signal } }
    a:abort('x')
    assert.equal('x', outer.reason)
  end)

  it('.any marks dependants before any listener runs', function()
    local a, seen = AbortController(), nil
    local any = AbortSignal.any { a.signal }
    a.signal:addEventListener('abort', function() seen = any.aborted end)
    a:abort()
    assert.is_true(seen)
  end)

  it('.any lives as long as somebody listens, without being kept', function()
    local a, called = AbortController(), 0
    AbortSignal.any({ a.signal }):addEventListener('abort', function() called = called + 1 end)
    AbortSignal.any({ a.signal }).onabort = function() called = called + 1 end
    collectgarbage()
    collectgarbage()
    a:abort()
    assert.equal(2, called)
  end)

  it('.any is garbage when nobody listens', function()
    local a = AbortController()
    local weak = setmetatable({ AbortSignal.any { a.signal } }, { __mode = 'v' })
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    assert.is_false(a.signal.aborted)
  end)

  it('.any refuses what is no signal', function()
    local _, err = pcall(AbortSignal.any, { {} })
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
  end)

  it('.timeout refuses what is no time', function()
    local _, err = pcall(AbortSignal.timeout, 'x')
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    _, err = pcall(AbortSignal.timeout, -1)
    assert.equal('ERR_OUT_OF_RANGE', err.code)
  end)

  it('.timeout aborts with a TimeoutError and lets its timer not keep the program', function()
    local fire, unreffed
    local original = package.loaded.timers
    package.loaded.timers = { setTimeout = function(fn)
      fire = fn
      return { unref = function() unreffed = true end, close = function() end }
    end }
    local signal = AbortSignal.timeout(5)
    package.loaded.timers = original
    assert.is_true(unreffed)
    fire()
    assert.equal('TimeoutError', signal.reason.name)
    assert.equal('The operation was aborted due to timeout', signal.reason.message)
  end)
end)

describe('addAbortListener', function()
  it('calls the listener when the signal is aborted, unless undone', function()
    local controller, count = AbortController(), 0
    local function listener() count = count + 1 end
    abort.addAbortListener(controller.signal, listener)
    abort.addAbortListener(controller.signal, listener)()
    controller:abort()
    assert.equal(1, count)
  end)

  it('calls it in a tick when the signal already is', function()
    local called = false
    abort.addAbortListener(AbortSignal.abort(), function() called = true end)
    assert.is_false(called)
    tick.drain()
    assert.is_true(called)
  end)

  it('refuses what is no signal', function()
    local ok, err = pcall(abort.addAbortListener, {}, print)
    assert.is_false(ok)
    assert.is_true(errors.isError(err))
  end)
end)

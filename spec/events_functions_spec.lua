-- The functions of events, which wait for events and list listeners.
local errors = require 'moonlatch.errors'
local events = require 'events'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local EventEmitter = events.EventEmitter
local codeOf = S.codeOf

describe('events.once', function()
  it('suspends a coroutine until the event and returns its arguments', function()
    local emitter, got = EventEmitter(), nil
    coroutine.wrap(function() got = { events.once(emitter, 'x') } end)()
    assert.is_nil(got)
    emitter:emit('x', 1, 2)
    assert.same({ 1, 2 }, got)
    assert.same({}, emitter:eventNames())
  end)

  it('raises an error event inside the coroutine', function()
    local emitter, got = EventEmitter(), nil
    coroutine.wrap(function()
      local _, err = pcall(events.once, emitter, 'x')
      got = err
    end)()
    local boom = errors.new('boom')
    emitter:emit('error', boom)
    assert.equal(boom, got)
    assert.same({}, emitter:eventNames())
  end)

  it('returns an error event when that is what is waited for', function()
    local emitter, got = EventEmitter(), nil
    coroutine.wrap(function() got = events.once(emitter, 'error') end)()
    emitter:emit('error', 'e')
    assert.equal('e', got)
  end)

  it('calls a callback instead when given one', function()
    local emitter, got = EventEmitter(), nil
    events.once(emitter, 'x', function(...) got = { n = select('#', ...), ... } end)
    emitter:emit('x', 5)
    emitter:emit('x', 6)
    assert.same({ n = 2, [2] = 5 }, got)
  end)

  it('gives the callback the error', function()
    local emitter, got = EventEmitter(), nil
    events.once(emitter, 'x', {}, function(err) got = err end)
    emitter:emit('error', 'bad')
    assert.equal('bad', got)
  end)

  it('is called off by a signal', function()
    local emitter, controller, got = EventEmitter(), events.AbortController(), nil
    coroutine.wrap(function()
      local _, err = pcall(events.once, emitter, 'x', { signal = controller.signal })
      got = err
    end)()
    controller:abort('why')
    assert.equal('ABORT_ERR', got.code)
    assert.equal('why', got.cause)
    assert.same({}, emitter:eventNames())
  end)

  it('raises at once for a signal already aborted', function()
    assert.equal('ABORT_ERR', codeOf(events.once, EventEmitter(), 'x', { signal = events.AbortSignal.abort() }))
  end)

  it('survives being resumed by others while it waits', function()
    local emitter, got = EventEmitter(), nil
    local co = coroutine.create(function() got = events.once(emitter, 'x') end)
    coroutine.resume(co)
    coroutine.resume(co, 'spurious')
    assert.is_nil(got)
    emitter:emit('x', 'real')
    assert.equal('real', got)
  end)

  it('says so when there is neither coroutine nor callback', function()
    if not coroutine.running() then
      assert.equal('ERR_INVALID_STATE', codeOf(events.once, EventEmitter(), 'x'))
    end
  end)

  it('refuses what is no emitter', function()
    assert.equal('ERR_INVALID_ARG_TYPE', codeOf(events.once, {}, 'x', print))
  end)

  it('raises an error of the coroutine in the emission', function()
    local emitter = EventEmitter()
    coroutine.wrap(function()
      events.once(emitter, 'x')
      error(errors.new('in coroutine'), 0)
    end)()
    local _, err = pcall(emitter.emit, emitter, 'x')
    assert.equal('in coroutine', err.message)
  end)
end)

describe('events.on', function()
  it('iterates over events inside a coroutine, queueing those that come meanwhile', function()
    local emitter, got = EventEmitter(), {}
    coroutine.wrap(function()
      for a, b in events.on(emitter, 'x', { close = { 'end' } }) do
        got[#got + 1] = { a, b }
        if a == 1 then
          emitter:emit('x', 2, 'b')
          emitter:emit('x', 3, 'c')
        end
      end
      got[#got + 1] = 'over'
    end)()
    emitter:emit('x', 1, 'a')
    emitter:emit('end')
    assert.same({ { 1, 'a' }, { 2, 'b' }, { 3, 'c' }, 'over' }, got)
    assert.same({}, emitter:eventNames())
  end)

  it('raises an error event, after what was queued', function()
    local emitter, got, caught = EventEmitter(), {}, nil
    coroutine.wrap(function()
      local _, err = pcall(function()
        for a in events.on(emitter, 'x') do
          got[#got + 1] = a
          if a == 1 then
            emitter:emit('x', 2)
            emitter:emit('error', errors.new('boom'))
          end
        end
      end)
      caught = err
    end)()
    emitter:emit('x', 1)
    assert.same({ 1, 2 }, got)
    assert.equal('boom', caught.message)
  end)

  it('ends a wait with the error', function()
    local emitter, caught = EventEmitter(), nil
    coroutine.wrap(function()
      local _, err = pcall(events.on(emitter, 'x'))
      caught = err
    end)()
    emitter:emit('error', 'e')
    assert.equal('e', caught)
  end)

  it('is called off by a signal', function()
    local emitter, controller, caught = EventEmitter(), events.AbortController(), nil
    coroutine.wrap(function()
      local _, err = pcall(events.on(emitter, 'x', { signal = controller.signal }))
      caught = err
    end)()
    controller:abort()
    assert.equal('ABORT_ERR', caught.code)
  end)

  it('stops listening when its second value is called', function()
    local emitter = EventEmitter()
    local next, close = events.on(emitter, 'x')
    close()
    assert.same({}, emitter:eventNames())
    assert.is_nil(next())
  end)
end)

describe('events.getEventListeners', function()
  it('works on emitters and on signals', function()
    local emitter, signal = EventEmitter():on('x', print), events.AbortController().signal
    signal:addEventListener('abort', error)
    assert.same({ print }, events.getEventListeners(emitter, 'x'))
    assert.same({ error }, events.getEventListeners(signal, 'abort'))
    assert.same({}, events.getEventListeners(signal, 'other'))
    assert.equal('ERR_INVALID_ARG_TYPE', codeOf(events.getEventListeners, {}, 'x'))
    tick.drain()
  end)
end)

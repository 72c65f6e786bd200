-- EventEmitter.
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local events = require 'events'
local S = require 'spec.support.streams'

local EventEmitter = events.EventEmitter
local codeOf = S.codeOf

local function collector()
  local log = {}
  return log, function(name)
    return function(...)
      log[#log + 1] = name .. (select('#', ...) > 0 and '(' .. table.concat({ ... }, ',') .. ')' or '')
    end
  end
end

describe('EventEmitter', function()
  local emitter, log, logger

  before_each(function()
    emitter = EventEmitter()
    log, logger = collector()
  end)

  it('is made by calling the class or the module', function()
    assert.is_true(class.isInstance(EventEmitter(), EventEmitter))
    assert.is_true(class.isInstance(events(), EventEmitter))
  end)

  it('calls listeners with the arguments of emit and not with the emitter', function()
    emitter:on('x', logger 'a')
    emitter:emit('x', 1, 2, 3)
    emitter:emit('x')
    assert.same({ 'a(1,2,3)', 'a' }, log)
  end)

  it('passes on exactly as many arguments as were given, nil included', function()
    local counts = {}
    emitter:on('x', function(...) counts[#counts + 1] = select('#', ...) end)
    emitter:emit('x')
    emitter:emit('x', nil)
    emitter:emit('x', 1, nil, 3, nil, 5, nil)
    assert.same({ 0, 1, 6 }, counts)
  end)

  it('calls listeners in the order in which they were added', function()
    emitter:on('x', logger 'a'):on('x', logger 'b'):addListener('x', logger 'c')
    emitter:emit('x')
    assert.same({ 'a', 'b', 'c' }, log)
  end)

  it('says whether there was a listener', function()
    assert.is_false(emitter:emit('x'))
    emitter:on('x', function() end)
    assert.is_true(emitter:emit('x'))
  end)

  it('calls the same listener as often as it was added', function()
    local listener = logger 'a'
    emitter:on('x', listener):on('x', listener)
    emitter:emit('x')
    assert.same({ 'a', 'a' }, log)
  end)

  it('puts prepended listeners first', function()
    emitter:on('x', logger 'a'):prependListener('x', logger 'b'):prependListener('x', logger 'c')
    emitter:emit('x')
    assert.same({ 'c', 'b', 'a' }, log)
  end)

  it('calls a once listener once', function()
    emitter:once('x', logger 'a')
    emitter:emit('x', 1)
    emitter:emit('x', 2)
    assert.same({ 'a(1)' }, log)
    assert.equal(0, emitter:listenerCount('x'))
  end)

  it('removes a once listener before it is called', function()
    emitter:once('x', function()
      log[#log + 1] = emitter:listenerCount('x')
      emitter:emit('x')
    end)
    emitter:emit('x')
    assert.same({ 0 }, log)
  end)

  it('puts a prepended once listener first', function()
    emitter:on('x', logger 'a')
    emitter:prependOnceListener('x', logger 'b')
    emitter:emit('x')
    emitter:emit('x')
    assert.same({ 'b', 'a', 'a' }, log)
  end)

  it('keeps once listeners and others apart in one list', function()
    emitter:on('x', logger 'a'):once('x', logger 'b'):on('x', logger 'c')
    emitter:emit('x')
    emitter:emit('x')
    assert.same({ 'a', 'b', 'c', 'a', 'c' }, log)
  end)

  it('removes a listener, the one added last first', function()
    local a, b = logger 'a', logger 'b'
    emitter:on('x', a):on('x', b):on('x', a)
    emitter:removeListener('x', a)
    emitter:emit('x')
    assert.same({ 'a', 'b' }, log)
  end)

  it('removes a once listener by the function that was given', function()
    local a = logger 'a'
    emitter:once('x', a):off('x', a)
    emitter:on('x', logger 'b'):once('x', a):off('x', a)
    emitter:emit('x')
    assert.same({ 'b' }, log)
  end)

  it('does nothing when a listener to be removed is not there', function()
    emitter:on('x', logger 'a')
    assert.equal(emitter, emitter:removeListener('x', print))
    assert.equal(emitter, emitter:removeListener('y', print))
    assert.equal(1, emitter:listenerCount('x'))
  end)

  it('does not call listeners added during the emission', function()
    emitter:on('x', function()
      emitter:on('x', logger 'late')
    end)
    emitter:emit('x')
    assert.same({}, log)
    emitter:emit('x')
    assert.same({ 'late' }, log)
  end)

  it('still calls listeners removed during the emission', function()
    local b = logger 'b'
    emitter:on('x', function() emitter:removeListener('x', b) end):on('x', b)
    emitter:emit('x')
    emitter:emit('x')
    assert.same({ 'b' }, log)
  end)

  it('does not call listeners added to a list during the emission', function()
    emitter:on('x', logger 'a'):on('x', function() emitter:on('x', logger 'late') end)
    emitter:emit('x')
    assert.same({ 'a' }, log)
  end)

  it('calls the rest after removeAllListeners during the emission', function()
    emitter:on('x', function() emitter:removeAllListeners() end):on('x', logger 'b')
    emitter:emit('x')
    assert.same({ 'b' }, log)
    assert.is_false(emitter:emit('x'))
  end)

  it('emits inside an emission', function()
    emitter:on('x', function(depth)
      log[#log + 1] = depth
      if depth < 3 then
        emitter:emit('x', depth + 1)
      end
    end):on('x', logger 'b')
    emitter:emit('x', 1)
    assert.same({ 1, 2, 3, 'b(3)', 'b(2)', 'b(1)' }, log)
  end)

  it('works on after a listener has raised', function()
    local fail = true
    emitter:on('x', function() if fail then error('no', 0) end end):on('x', logger 'b')
    assert.has_error(function() emitter:emit('x') end, 'no')
    fail = false
    emitter:on('x', logger 'c')
    emitter:emit('x')
    assert.same({ 'b', 'c' }, log)
  end)

  it('removes all listeners of one event, or of all', function()
    emitter:on('x', print):on('y', print):on('z', print)
    emitter:removeAllListeners('x')
    assert.same({ 'y', 'z' }, emitter:eventNames())
    emitter:removeAllListeners()
    assert.same({}, emitter:eventNames())
  end)

  it('returns the emitter from every method that adds or removes', function()
    for _, name in ipairs { 'on', 'once', 'addListener', 'prependListener', 'prependOnceListener', 'off',
      'removeListener' } do
      assert.equal(emitter, emitter[name](emitter, 'x', print))
    end
    assert.equal(emitter, emitter:removeAllListeners('x'))
    assert.equal(emitter, emitter:setMaxListeners(1))
  end)

  it('refuses listeners that cannot be called', function()
    for _, listener in ipairs { 1, 'x', {}, true } do
      assert.equal('ERR_INVALID_ARG_TYPE', codeOf(emitter.on, emitter, 'x', listener))
    end
    assert.equal('ERR_INVALID_ARG_TYPE', codeOf(emitter.on, emitter, 'x'))
    assert.equal('ERR_INVALID_ARG_TYPE', codeOf(emitter.removeListener, emitter, 'x'))
    local _, err = pcall(emitter.once, emitter, 'x')
    assert.equal('The "listener" argument must be of type function. Received nil', err.message)
  end)

  it('takes tables that can be called as listeners', function()
    local callable = setmetatable({}, { __call = function(_, ...) logger 'called' (...) end })
    emitter:on('x', callable)
    emitter:emit('x', 5)
    assert.same({ 'called(5)' }, log)
    assert.equal(callable, emitter:listeners('x')[1])
    emitter:off('x', callable)
    assert.equal(0, emitter:listenerCount('x'))
  end)

  it('takes any value but nil as a name; numbers are strings', function()
    local name = {}
    emitter:on(name, logger 't'):on(1, logger 'n'):on(true, logger 'b')
    emitter:emit(name)
    emitter:emit(1)
    emitter:emit('1')
    emitter:emit(true)
    assert.same({ 't', 'n', 'n', 'b' }, log)
    assert.equal('ERR_INVALID_ARG_TYPE', codeOf(emitter.on, emitter, nil, print))
  end)

  it('lists event names in the order of their first listener', function()
    emitter:on('b', print):on('a', print):once('c', print):on('a', print)
    assert.same({ 'b', 'a', 'c' }, emitter:eventNames())
    emitter:off('b', print)
    assert.same({ 'a', 'c' }, emitter:eventNames())
  end)

  it('lists listeners without their wrappers, rawListeners with them', function()
    local a, b = logger 'a', logger 'b'
    emitter:on('x', a):once('x', b)
    assert.same({ a, b }, emitter:listeners('x'))
    local raw = emitter:rawListeners('x')
    assert.equal(a, raw[1])
    assert.equal(b, raw[2].listener)
    raw[2]('direct')
    assert.same({ 'b(direct)' }, log)
    assert.same({ a }, emitter:listeners('x'))
    assert.same({}, emitter:listeners('none'))
  end)

  it('hands out copies of the list of listeners', function()
    emitter:on('x', print)
    table.remove(emitter:listeners('x'))
    assert.equal(1, emitter:listenerCount('x'))
  end)

  it('counts listeners, or how often one is there', function()
    local a = logger 'a'
    emitter:on('x', a):once('x', a):on('x', print)
    assert.equal(3, emitter:listenerCount('x'))
    assert.equal(2, emitter:listenerCount('x', a))
    assert.equal(0, emitter:listenerCount('x', error))
    assert.equal(0, emitter:listenerCount('y'))
    assert.equal(3, events.listenerCount(emitter, 'x'))
  end)

  it('emits newListener before the listener is added', function()
    emitter:on('newListener', function(name, listener)
      log[#log + 1] = name
      log[#log + 1] = listener
      log[#log + 1] = emitter:listenerCount('x')
    end)
    emitter:on('x', print)
    assert.same({ 'x', print, 0 }, log)
  end)

  it('gives newListener the function, not the once wrapper', function()
    local got
    emitter:once('newListener', function(_, listener) got = listener end)
    emitter:once('x', print)
    assert.equal(print, got)
  end)

  it('lets a newListener listener get in first', function()
    emitter:once('newListener', function() emitter:on('x', logger 'first') end)
    emitter:on('x', logger 'second')
    emitter:emit('x')
    assert.same({ 'first', 'second' }, log)
  end)

  it('emits removeListener after the listener was removed', function()
    local seen
    emitter:on('x', print):on('removeListener', function(name, listener)
      seen = { name, listener, emitter:listenerCount('x') }
    end)
    emitter:removeListener('x', print)
    assert.same({ 'x', print, 0 }, seen)
  end)

  it('emits removeListener for a once listener that was called', function()
    local removed
    emitter:on('removeListener', function(name, listener) removed = { name, listener } end)
    local a = logger 'a'
    emitter:once('x', a)
    emitter:emit('x')
    assert.same({ 'x', a }, removed)
  end)

  it('emits removeListener for each when all are removed, last in first out', function()
    local a, b = logger 'a', logger 'b'
    local removed = {}
    emitter:on('removeListener', function(_, listener) removed[#removed + 1] = listener end)
    emitter:on('x', a):on('x', b)
    emitter:removeAllListeners('x')
    assert.same({ b, a }, removed)
    emitter:on('y', a)
    emitter:removeAllListeners()
    assert.equal(3, #removed)
    assert.same({}, emitter:eventNames())
  end)

  it('works in a subclass that never called init', function()
    local Sub = EventEmitter:extend('Sub')
    function Sub.init() end
    local sub = Sub()
    sub:on('x', logger 'a')
    sub:emit('x')
    assert.same({ 'a' }, log)
  end)
end)

describe('error events', function()
  local emitter

  before_each(function()
    emitter = EventEmitter()
  end)

  it('without a listener raise the Error itself', function()
    local boom = errors.new('boom')
    local ok, err = pcall(emitter.emit, emitter, 'error', boom)
    assert.is_false(ok)
    assert.equal(boom, err)
  end)

  for shown, value in pairs { ["'str'"] = 'str', ['{ a: 1 }'] = { a = 1 }, ['5'] = 5 } do
    it('without a listener wrap what is no Error: ' .. shown, function()
      local _, err = pcall(emitter.emit, emitter, 'error', value)
      assert.equal('ERR_UNHANDLED_ERROR', err.code)
      assert.equal(('Unhandled error. (%s)'):format(shown), err.message)
      assert.equal(value, err.context)
    end)
  end

  it('without a listener and a value are still raised', function()
    assert.equal('ERR_UNHANDLED_ERROR', codeOf(emitter.emit, emitter, 'error'))
  end)

  it('go to their listeners like any other', function()
    local got
    emitter:on('error', function(err) got = err end)
    assert.is_true(emitter:emit('error', 'x'))
    assert.equal('x', got)
  end)

  it('are seen first by errorMonitor, which does not handle them', function()
    local log = {}
    emitter:on(events.errorMonitor, function(err) log[#log + 1] = 'monitor ' .. err.message end)
    assert.is_false((pcall(emitter.emit, emitter, 'error', errors.new('a'))))
    emitter:on('error', function(err) log[#log + 1] = 'listener ' .. err.message end)
    emitter:emit('error', errors.new('b'))
    assert.same({ 'monitor a', 'monitor b', 'listener b' }, log)
  end)
end)

describe('listener limits', function()
  local warnings, original

  before_each(function()
    warnings, original = {}, errors.warn
    errors.warn = function(warning) warnings[#warnings + 1] = warning end
  end)

  after_each(function()
    errors.warn = original
    events.defaultMaxListeners = 10
  end)

  local function addMany(emitter, count)
    for _ = 1, count do
      emitter:on('foo', function() end)
    end
  end

  it('warn once at the eleventh listener of an event', function()
    local emitter = EventEmitter()
    addMany(emitter, 10)
    assert.equal(0, #warnings)
    addMany(emitter, 5)
    assert.equal(1, #warnings)
    local warning = warnings[1]
    assert.equal('MaxListenersExceededWarning', warning.name)
    assert.matches('^Possible EventEmitter memory leak detected. 11 foo listeners added to %[EventEmitter%]',
      warning.message)
    assert.equal(emitter, warning.emitter)
    assert.equal('foo', warning.type)
    assert.equal(11, warning.count)
  end)

  it('are set for one emitter by setMaxListeners', function()
    local emitter = EventEmitter():setMaxListeners(2)
    assert.equal(2, emitter:getMaxListeners())
    addMany(emitter, 3)
    assert.equal(1, #warnings)
  end)

  it('are lifted by 0', function()
    addMany(EventEmitter():setMaxListeners(0), 50)
    assert.equal(0, #warnings)
  end)

  it('are set for all by defaultMaxListeners', function()
    events.defaultMaxListeners = 1
    assert.equal(1, EventEmitter():getMaxListeners())
    assert.equal(1, events.defaultMaxListeners)
    addMany(EventEmitter(), 2)
    assert.equal(1, #warnings)
  end)

  it('are set for several emitters by events.setMaxListeners', function()
    local a, b = EventEmitter(), events.AbortController().signal
    events.setMaxListeners(3, a, b)
    assert.equal(3, events.getMaxListeners(a))
    assert.equal(3, events.getMaxListeners(b))
    events.setMaxListeners(4)
    assert.equal(4, events.defaultMaxListeners)
  end)

  it('must be numbers from 0', function()
    local emitter = EventEmitter()
    assert.equal('ERR_OUT_OF_RANGE', codeOf(emitter.setMaxListeners, emitter, -1))
    assert.equal('ERR_INVALID_ARG_TYPE', codeOf(emitter.setMaxListeners, emitter, 'x'))
    assert.equal('ERR_OUT_OF_RANGE', codeOf(function() events.defaultMaxListeners = -1 end))
    assert.equal('ERR_INVALID_ARG_TYPE', codeOf(events.setMaxListeners, 1, {}))
  end)
end)

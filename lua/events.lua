--- Events: the EventEmitter class and ways to wait for events.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local abort = require 'moonlatch.abort'
local await = require 'moonlatch.await'
local emitter = require 'moonlatch.emitter'

local ipairs, select, unpack, rawset, setmetatable = ipairs, select, unpack, rawset, setmetatable

local EventEmitter, checkLimit = emitter.EventEmitter, emitter.checkLimit
local isCallable = errors.validate.isCallable

---@class events
---@field defaultMaxListeners integer
local events = {
  EventEmitter = EventEmitter,
  errorMonitor = emitter.errorMonitor,
  AbortController = abort.AbortController,
  AbortSignal = abort.AbortSignal,
  prototype = EventEmitter.prototype,
}

local isInstance = class.isInstance

local function checkSignal(options)
  local signal = options and options.signal
  errors.validate.abortSignal(signal, 'options.signal')
  return signal
end

local function abortedError(signal)
  return errors.AbortError(nil, { cause = signal.reason })
end

-- Calls done(err, ...) at the next event, at the next 'error' or when the signal is aborted.
local function waitOnce(source, name, signal, done)
  local removeAbort
  local onEvent, onError
  local function cleanup()
    source:removeListener(name, onEvent)
    if name ~= 'error' then
      source:removeListener('error', onError)
    end
    if removeAbort then
      removeAbort()
    end
  end
  function onEvent(...)
    cleanup()
    done(nil, ...)
  end
  function onError(err)
    cleanup()
    done(err == nil and errors.codes.ERR_UNHANDLED_ERROR('nil') or err)
  end
  source:on(name, onEvent)
  if name ~= 'error' then
    source:on('error', onError)
  end
  if signal then
    removeAbort = abort.addAbortListener(signal, function()
      cleanup()
      done(abortedError(signal))
    end)
  end
end

--- Waits for one event. Inside a coroutine `events.once(source, name [, options])` suspends it and
--- returns the event's arguments; with a callback, `events.once(source, name [, options], callback)`,
--- that is called as callback(err, ...). An 'error' event meanwhile, or options.signal being aborted, is
--- raised, or goes to the callback.
---@param source EventEmitter
---@param name any
---@param options? { signal?: AbortSignal }
---@param callback? fun(err: any, ...: any)
---@return any ...
---@source Node.js events.once()
function events.once(source, name, options, callback)
  if callback == nil and options ~= nil and isCallable(options) then
    options, callback = nil, options
  end
  if not isInstance(source, EventEmitter) then
    error(errors.argType('emitter', 'EventEmitter', source), 0)
  end
  local signal = checkSignal(options)
  if signal and signal.aborted then
    local err = abortedError(signal)
    if not callback then
      error(err, 0)
    end
    require('moonlatch.tick').nextTick(callback, err)
    return
  end
  if callback then
    return waitOnce(source, name, signal, callback)
  end
  return await.call('events.once', function(done)
    waitOnce(source, name, signal, done)
  end)
end

-- Lists of arguments, first come first served.
local function newQueue()
  local lists, first, last = {}, 1, 0
  local function isEmpty()
    return first > last
  end
  local function put(...)
    last = last + 1
    lists[last] = { n = select('#', ...), ... }
  end
  local function take()
    local list = lists[first]
    lists[first], first = nil, first + 1
    return unpack(list, 1, list.n)
  end
  return { isEmpty = isEmpty, put = put, take = take }
end

-- One events.on iteration: a queue of argument lists, and someone who waits when it is empty. Returns
-- what gives the next and what ends it.
local function subscribe(source, name, signal, closeNames)
  local queue, listeners = newQueue(), {}
  local waiting, failure, closed, removeAbort

  local function listen(event, listener)
    listeners[#listeners + 1] = { event, listener }
    source:on(event, listener)
  end
  local function detach()
    if closed then
      return
    end
    closed = true
    for _, entry in ipairs(listeners) do
      source:removeListener(entry[1], entry[2])
    end
    if removeAbort then
      removeAbort()
    end
  end
  local function wake(...)
    local done = waiting
    waiting = nil
    if done then
      done(...)
    end
    return done ~= nil
  end
  local function fail(err)
    detach()
    if not wake(err) then
      failure = err
    end
  end
  -- Whoever waits is woken with nothing, which ends its loop.
  local function close()
    detach()
    wake(nil)
  end

  local function next()
    if not queue.isEmpty() then
      return queue.take()
    elseif failure then
      local err = failure
      failure = nil
      error(err, 0)
    elseif closed then
      return nil
    end
    return await.call('events.on', function(done)
      waiting = done
    end)
  end

  listen(name, function(...)
    if not wake(nil, ...) then
      queue.put(...)
    end
  end)
  if name ~= 'error' then
    listen('error', fail)
  end
  for _, closeName in ipairs(closeNames) do
    listen(closeName, close)
  end
  removeAbort = signal and abort.addAbortListener(signal, function()
    fail(abortedError(signal))
  end)
  return next, close
end

---@class events.OnOptions
---@field signal? AbortSignal
---@field close? string[]      events that end the loop

--- Iterates over an event inside a coroutine: `for a, b in events.on(source, name) do`. Events that come
--- while the body runs are queued. The loop ends at an event named in options.close, and with an 'error'
--- event or an aborted options.signal, which are raised. It also ends at an event whose first argument is
--- nil, as Lua's `for` does. The second value returned, a function, ends the iteration from outside (call
--- it after a break).
---@param source EventEmitter
---@param name any
---@param options? events.OnOptions
---@return fun(): any next
---@return fun() close
---@source Node.js events.on()
function events.on(source, name, options)
  if not isInstance(source, EventEmitter) then
    error(errors.argType('emitter', 'EventEmitter', source), 0)
  end
  local signal = checkSignal(options)
  if signal and signal.aborted then
    error(abortedError(signal), 0)
  end
  return subscribe(source, name, signal, options and options.close or {})
end

--- The listeners of an emitter, or of an AbortSignal.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param target EventEmitter|AbortSignal
---@param name any
---@return function[]
---@source Node.js events.getEventListeners()
function events.getEventListeners(target, name)
  if isInstance(target, EventEmitter) then
    return target:listeners(name)
  elseif isInstance(target, abort.AbortSignal) then
    local listeners = {}
    for i, entry in ipairs(name == 'abort' and target._listeners or {}) do
      listeners[i] = entry.listener
    end
    return listeners
  end
  error(errors.argType('emitter', { 'EventEmitter', 'EventTarget' }, target), 0)
end

--- How many listeners an emitter, or an AbortSignal, has.
---@param source EventEmitter
---@param name any
---@return integer
---@source Node.js events.listenerCount()
function events.listenerCount(source, name)
  return #events.getEventListeners(source, name)
end

--- Sets the limit of the emitters given, or without any the default of all.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE.
---@param count? integer
---@param ... EventEmitter|AbortSignal
---@source Node.js events.setMaxListeners()
function events.setMaxListeners(count, ...)
  count = checkLimit(count == nil and EventEmitter.defaultMaxListeners or count, 'setMaxListeners')
  if select('#', ...) == 0 then
    EventEmitter.defaultMaxListeners = count
  end
  for _, target in ipairs { ... } do
    if isInstance(target, EventEmitter) then
      target:setMaxListeners(count)
    elseif isInstance(target, abort.AbortSignal) then
      target._maxListeners = count
    else
      error(errors.argType('eventTargets', { 'EventEmitter', 'EventTarget' }, target), 0)
    end
  end
end

--- How many listeners of one event are no leak.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param target EventEmitter|AbortSignal
---@return integer
---@source Node.js events.getMaxListeners()
function events.getMaxListeners(target)
  if isInstance(target, EventEmitter) then
    return target:getMaxListeners()
  elseif isInstance(target, abort.AbortSignal) then
    return target._maxListeners or EventEmitter.defaultMaxListeners
  end
  error(errors.argType('emitter', { 'EventEmitter', 'EventTarget' }, target), 0)
end

--- Calls `listener` when the signal is aborted, whatever else listens; returns what undoes it.
events.addAbortListener = abort.addAbortListener

--- A subclass of EventEmitter.
---@param name? string
---@return moonlatch.Class
function events:extend(name)
  return EventEmitter:extend(name)
end

-- `require 'events'` can be called like the class; defaultMaxListeners is the class's, checked when
-- assigned.
return setmetatable(events, {
  __call = function(_, ...)
    return EventEmitter(...)
  end,
  __index = function(_, key)
    return key == 'defaultMaxListeners' and EventEmitter.defaultMaxListeners or nil
  end,
  __newindex = function(self, key, value)
    if key == 'defaultMaxListeners' then
      EventEmitter.defaultMaxListeners = checkLimit(value, 'defaultMaxListeners')
    else
      rawset(self, key, value)
    end
  end,
})

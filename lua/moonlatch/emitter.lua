--- EventEmitter: the class behind `require 'events'`.
---
--- Listeners and callbacks never receive the emitter as an argument. An emitter keeps its listeners in
--- `_events`, made with the first of them:
---   name → function          the only listener
---   name → once record       the only listener, to be called once
---   name → list              several, or one that is not a function but can be called
---   1 … n                    the names, in the order in which they were first listened for
--- so emitting to one listener is a table access and a call, without garbage. Numbers used as names are
--- turned into strings, as in Node, which keeps them apart from the last kind of entry.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'

local newTable = require 'table.new'
local type, tostring, ipairs, getmetatable, setmetatable = type, tostring, ipairs, getmetatable, setmetatable
local remove, insert = table.remove, table.insert
local isCallable = errors.validate.isCallable

---@class EventEmitter
---@field defaultMaxListeners integer
---@overload fun(): EventEmitter
local EventEmitter = class('EventEmitter')

--- Listeners of one event that an emitter may have before it warns of a leak; 0 is no limit.
EventEmitter.defaultMaxListeners = 10
EventEmitter._events = false
EventEmitter._maxListeners = false

--- The name under which a listener sees errors without counting as one that handles them.
local errorMonitor = setmetatable({}, { __tostring = function()
  return 'Symbol(events.errorMonitor)'
end })

---@source Node.js EventEmitter
function EventEmitter:init()
end

-- A listener to be removed when it is called. It can be called itself, as what rawListeners returns.
local Once = {}
Once.__index = Once

-- Several listeners. `busy` counts the emissions that are walking the list; while there is one, adding
-- and removing put a changed copy in its place, so an emission always reaches those that were there when
-- it began.
local List = {}
List.__index = List

local function isOnce(handler)
  return getmetatable(handler) == Once
end

local function isList(handler)
  return getmetatable(handler) == List
end

-- The function the user gave.
local function original(handler)
  return isOnce(handler) and handler.listener or handler
end

local function eventName(name)
  if type(name) == 'number' then
    return tostring(name)
  elseif name == nil then
    error(errors.argType('eventName', { 'string', 'number', 'table' }, name), 0)
  end
  return name
end

local function writable(events, name, list)
  if list.busy == 0 then
    return list
  end
  local copy = setmetatable({ busy = 0, warned = list.warned }, List)
  for i, handler in ipairs(list) do
    copy[i] = handler
  end
  events[name] = copy
  return copy
end

local function forgetName(events, name)
  events[name] = nil
  for i, known in ipairs(events) do
    if known == name then
      remove(events, i)
      return
    end
  end
end

local function warnOfLeak(self, name, list, limit)
  list.warned = true
  local kind = (class.of(self) or EventEmitter).__name
  errors.emitWarning(('Possible EventEmitter memory leak detected. %d %s listeners added to [%s]. '
    .. 'MaxListeners is %d. Use emitter:setMaxListeners() to increase limit'):format(
      #list, tostring(name), kind, limit),
    'MaxListenersExceededWarning', nil, { emitter = self, type = name, count = #list })
end

local function add(self, name, handler, first)
  local events = self._events
  if not events then
    events = newTable(2, 2)
    self._events = events
  elseif events.newListener then
    self:emit('newListener', name, original(handler))
    events = self._events
  end
  local present = events[name]
  if not present then
    events[#events + 1] = name
    if type(handler) == 'function' or isOnce(handler) then
      events[name] = handler
    else
      events[name] = setmetatable({ handler, busy = 0 }, List)
    end
    return self
  end
  local list
  if isList(present) then
    list = writable(events, name, present)
  else
    list = setmetatable({ present, busy = 0 }, List)
    events[name] = list
  end
  insert(list, first and 1 or #list + 1, handler)
  local limit = self._maxListeners or self.defaultMaxListeners
  if #list > limit and limit > 0 and not list.warned then
    warnOfLeak(self, name, list, limit)
  end
  return self
end

local function checkListener(listener)
  if type(listener) ~= 'function' and not isCallable(listener) then
    error(errors.argType('listener', 'function', listener), 0)
  end
end

--- Adds a listener for the event; returns the emitter.
---@param name any
---@param listener function
---@return self
---@source Node.js emitter.on()
function EventEmitter:on(name, listener)
  checkListener(listener)
  return add(self, eventName(name), listener, false)
end

EventEmitter.addListener = EventEmitter.on

--- Adds a listener before those already there.
---@param name any
---@param listener function
---@return self
---@source Node.js emitter.prependListener()
function EventEmitter:prependListener(name, listener)
  checkListener(listener)
  return add(self, eventName(name), listener, true)
end

local function newOnce(self, name, listener)
  return setmetatable({ emitter = self, name = name, listener = listener, fired = false }, Once)
end

--- Adds a listener that is removed when it is called.
---@param name any
---@param listener function
---@return self
---@source Node.js emitter.once()
function EventEmitter:once(name, listener)
  checkListener(listener)
  name = eventName(name)
  return self:on(name, newOnce(self, name, listener))
end

--- Adds a listener before those already there, to be removed when it is called.
---@param name any
---@param listener function
---@return self
---@source Node.js emitter.prependOnceListener()
function EventEmitter:prependOnceListener(name, listener)
  checkListener(listener)
  name = eventName(name)
  return self:prependListener(name, newOnce(self, name, listener))
end

function Once.__call(record, ...)
  if record.fired then
    return
  end
  record.emitter:removeListener(record.name, record)
  record.fired = true
  return record.listener(...)
end

local function callEach(list, ...)
  list.busy = list.busy + 1
  for i = 1, #list do
    list[i](...)
  end
  list.busy = list.busy - 1
end

local function raiseUnhandled(err)
  if class.isInstance(err, errors.Error) then
    error(err, 0)
  end
  local shown = require('moonlatch.inspect').inspect(err)
  error(errors.codes.ERR_UNHANDLED_ERROR(shown, err), 0)
end

-- 'error' is special: its monitors go first, and without a listener it is raised.
local function emitError(self, ...)
  local events = self._events
  if events and events[errorMonitor] then
    self:emit(errorMonitor, ...)
    events = self._events
  end
  local handler = events and events.error
  if not handler then
    raiseUnhandled((...))
  elseif isList(handler) then
    callEach(handler, ...)
  else
    handler(...)
  end
  return true
end

--- Calls the event's listeners in order with the arguments; false when there was none. An 'error' without a
--- listener is raised.
---@param name any
---@param ... any
---@return boolean
---@source Node.js emitter.emit()
function EventEmitter:emit(name, ...)
  if name == 'error' then
    return emitError(self, ...)
  end
  local events = self._events
  local handler = events and events[name]
  if type(handler) == 'function' then
    handler(...)
    return true
  elseif type(name) == 'number' then
    return self:emit(tostring(name), ...)
  elseif not handler then
    return false
  elseif isList(handler) then
    callEach(handler, ...)
  else
    handler(...)
  end
  return true
end

-- Takes the listener out of the list and leaves the list, its last member, or nothing.
local function removeFromList(events, name, list, listener)
  for i = #list, 1, -1 do
    local handler = list[i]
    if handler == listener or original(handler) == listener then
      list = writable(events, name, list)
      remove(list, i)
      local last = list[1]
      if last == nil then
        forgetName(events, name)
      elseif #list == 1 and list.busy == 0 and (type(last) == 'function' or isOnce(last)) then
        events[name] = last
      end
      return handler
    end
  end
  return nil
end

--- Removes a listener, the one added last if it is there several times; returns the emitter.
---@param name any
---@param listener function
---@return self
---@source Node.js emitter.removeListener()
function EventEmitter:removeListener(name, listener)
  checkListener(listener)
  name = eventName(name)
  local events = self._events
  local present = events and events[name]
  if not present then
    return self
  end
  local removed
  if isList(present) then
    removed = removeFromList(events, name, present, listener)
  elseif present == listener or original(present) == listener then
    forgetName(events, name)
    removed = present
  end
  if removed and events.removeListener then
    self:emit('removeListener', name, original(removed))
  end
  return self
end

EventEmitter.off = EventEmitter.removeListener

local function removeEach(self, name)
  local handler = self._events[name]
  if isList(handler) then
    -- Last in, first out, as Node does.
    local copy = {}
    for i, listener in ipairs(handler) do
      copy[i] = listener
    end
    for i = #copy, 1, -1 do
      self:removeListener(name, copy[i])
    end
  elseif handler then
    self:removeListener(name, handler)
  end
end

--- Removes the listeners of the event, or of all events.
---@param name? any
---@return self
---@source Node.js emitter.removeAllListeners()
function EventEmitter:removeAllListeners(name)
  local events = self._events
  if not events then
    return self
  end
  if not events.removeListener then
    if name == nil then
      self._events = nil
    elseif events[eventName(name)] then
      forgetName(events, eventName(name))
    end
  elseif name ~= nil then
    removeEach(self, eventName(name))
  else
    for _, known in ipairs(self:eventNames()) do
      if known ~= 'removeListener' then
        removeEach(self, known)
      end
    end
    removeEach(self, 'removeListener')
    self._events = nil
  end
  return self
end

local function collect(self, name, unwrap)
  local events = self._events
  local present = events and events[eventName(name)]
  if not present then
    return {}
  end
  local listeners = {}
  for i, handler in ipairs(isList(present) and present or { present }) do
    listeners[i] = unwrap and original(handler) or handler
  end
  return listeners
end

--- A copy of the event's listeners.
---@param name any
---@return function[]
---@source Node.js emitter.listeners()
function EventEmitter:listeners(name)
  return collect(self, name, true)
end

--- A copy of the event's listeners, those added by `once` in their wrappers (which can be called and have
--- `listener`).
---@param name any
---@return function[]
---@source Node.js emitter.rawListeners()
function EventEmitter:rawListeners(name)
  return collect(self, name, false)
end

--- How many listeners the event has, or how often `listener` is one of them.
---@param name any
---@param listener? function
---@return integer
---@source Node.js emitter.listenerCount()
function EventEmitter:listenerCount(name, listener)
  local events = self._events
  local present = events and events[eventName(name)]
  if not present then
    return 0
  end
  if listener == nil then
    return isList(present) and #present or 1
  end
  local count = 0
  for _, handler in ipairs(isList(present) and present or { present }) do
    if handler == listener or original(handler) == listener then
      count = count + 1
    end
  end
  return count
end

--- The names of the events that have listeners, in the order in which they got their first.
---@return any[]
---@source Node.js emitter.eventNames()
function EventEmitter:eventNames()
  local names = {}
  for i, name in ipairs(self._events or {}) do
    names[i] = name
  end
  return names
end

local function checkLimit(count, name)
  errors.validate.number(count, name, 0)
  return count
end

--- Sets how many listeners of one event are no leak; 0 for any number.
---@param count integer
---@return self
---@source Node.js emitter.setMaxListeners()
function EventEmitter:setMaxListeners(count)
  self._maxListeners = checkLimit(count, 'setMaxListeners')
  return self
end

--- How many listeners of one event are no leak.
---@return integer
---@source Node.js emitter.getMaxListeners()
function EventEmitter:getMaxListeners()
  return self._maxListeners or self.defaultMaxListeners
end

return {
  EventEmitter = EventEmitter,
  errorMonitor = errorMonitor,
  checkLimit = checkLimit,
}

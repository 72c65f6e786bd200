--- AbortController and AbortSignal: one way to call off whatever was started.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'

local ipairs, pairs, rawset, setmetatable, xpcall = ipairs, pairs, rawset, setmetatable, xpcall

local WEAK = { __mode = 'k' }

---@class AbortSignal
---@field aborted boolean
---@field reason any          why, once aborted
---@field onabort? fun(event: table)
local AbortSignal = class('AbortSignal')
AbortSignal.aborted = false

-- Errors that Node makes as DOMException: a name, a legacy numeric code.
local function domException(message, name, code)
  return errors.new(message, { name = name, code = code })
end

local function abortError()
  return domException('This operation was aborted', 'AbortError', 20)
end

local function newSignal()
  return setmetatable({ aborted = false }, AbortSignal.metatable)
end

--- Raises ERR_ILLEGAL_CONSTRUCTOR.
---@source Node.js AbortSignal
function AbortSignal:init()
  error(errors.codes.ERR_ILLEGAL_CONSTRUCTOR(), 0)
end

-- A signal made by AbortSignal.any is known to its sources weakly, or every one would live as long as a
-- source does. While somebody listens to it the sources hold it.
local function hold(signal, held)
  for _, source in ipairs(signal._sources or {}) do
    local holds = source._holds
    if held and not holds then
      holds = {}
      source._holds = holds
    end
    if holds then
      holds[signal] = held or nil
    end
  end
end

function AbortSignal.metatable.__newindex(self, key, value)
  rawset(self, key, value)
  if key == 'onabort' and value then
    hold(self, true)
  end
end

local function raise(err)
  error(err, 0)
end

-- A listener that fails keeps nobody else from hearing: its error is raised in a tick.
local function call(listener, event)
  local ok, err = xpcall(listener, errors.from, event)
  if not ok then
    tick.nextTick(raise, err)
  end
end

-- One 'abort' event goes to onabort and to the listeners that were there when it began and still are.
local function dispatch(signal)
  local event = { type = 'abort', target = signal, currentTarget = signal, isTrusted = true }
  local listeners = {}
  for i, entry in ipairs(signal._listeners or {}) do
    listeners[i] = entry
  end
  if signal.onabort then
    call(signal.onabort, event)
  end
  for _, entry in ipairs(listeners) do
    if not entry.removed then
      call(entry.listener, event)
    end
  end
  signal._listeners = nil
end

-- Marks the signal and all that depend on it, and lists them in the order in which their listeners are to
-- be told.
local function mark(signal, reason, list)
  if signal.aborted then
    return list
  end
  signal.aborted, signal.reason = true, reason
  list[#list + 1] = signal
  if signal._timer then
    signal._timer:close()
    signal._timer = nil
  end
  hold(signal, false)
  local dependants = signal._dependants
  signal._dependants, signal._sources, signal._holds = nil, nil, nil
  for dependant in pairs(dependants or {}) do
    mark(dependant, reason, list)
  end
  return list
end

local function abort(signal, reason)
  if reason == nil then
    reason = abortError()
  end
  for _, aborted in ipairs(mark(signal, reason, {})) do
    dispatch(aborted)
  end
end

--- Calls `listener(event)` when the signal is aborted. The same listener is added once.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param kind string  only 'abort' ever happens
---@param listener fun(event: table)
---@source Node.js abortSignal.addEventListener()
function AbortSignal:addEventListener(kind, listener)
  errors.validate.func(listener, 'listener')
  if kind ~= 'abort' or self.aborted then
    return
  end
  local listeners = self._listeners
  if not listeners then
    listeners = {}
    self._listeners = listeners
    hold(self, true)
  end
  for _, entry in ipairs(listeners) do
    if entry.listener == listener then
      return
    end
  end
  listeners[#listeners + 1] = { listener = listener }
end

--- Takes back what addEventListener did.
---@param kind string
---@param listener function
---@source Node.js abortSignal.removeEventListener()
function AbortSignal:removeEventListener(kind, listener)
  local listeners = kind == 'abort' and self._listeners or {}
  for i, entry in ipairs(listeners) do
    if entry.listener == listener then
      entry.removed = true
      table.remove(listeners, i)
      if #listeners == 0 then
        self._listeners = nil
        hold(self, self.onabort ~= nil)
      end
      return
    end
  end
end

--- Raises the reason if the signal has been aborted.
---@source Node.js abortSignal.throwIfAborted()
function AbortSignal:throwIfAborted()
  if self.aborted then
    error(self.reason, 0)
  end
end

-- The functions below stand on the class itself (rawset), not on its instances.

--- A signal that is already aborted.
---@param reason? any
---@return AbortSignal
local function signalAbort(reason)
  local signal = newSignal()
  abort(signal, reason)
  return signal
end

--- A signal that aborts itself after `ms` milliseconds. Its timer does not keep the program running.
---@param ms integer
---@return AbortSignal
local function signalTimeout(ms)
  errors.validate.integer(ms, 'delay', 0, 4294967295)
  local signal = newSignal()
  signal._timer = require('timers').setTimeout(function()
    signal._timer = nil
    abort(signal, domException('The operation was aborted due to timeout', 'TimeoutError', 23))
  end, ms)
  signal._timer:unref()
  return signal
end

--- A signal that is aborted as soon as one of `signals` is, with its reason.
---@param signals AbortSignal[]
---@return AbortSignal
local function signalAny(signals)
  errors.validate.table(signals, 'signals')
  local combined = newSignal()
  for i, signal in ipairs(signals) do
    if not class.isInstance(signal, AbortSignal) then
      error(errors.argType(('signals[%d]'):format(i), 'AbortSignal', signal), 0)
    end
  end
  for _, signal in ipairs(signals) do
    if signal.aborted then
      abort(combined, signal.reason)
      return combined
    end
  end
  combined._sources = {}
  for i, signal in ipairs(signals) do
    combined._sources[i] = signal
    signal._dependants = signal._dependants or setmetatable({}, WEAK)
    signal._dependants[combined] = true
  end
  return combined
end

rawset(AbortSignal, 'abort', signalAbort)
rawset(AbortSignal, 'timeout', signalTimeout)
rawset(AbortSignal, 'any', signalAny)

---@class AbortController
---@field signal AbortSignal
---@overload fun(): AbortController
local AbortController = class('AbortController')

---@source Node.js AbortController
function AbortController:init()
  self.signal = newSignal()
end

--- Aborts the signal, the first time it is called.
---@param reason? any  default an AbortError
---@source Node.js abortController.abort()
function AbortController:abort(reason)
  abort(self.signal, reason)
end

--- Calls `listener` when the signal is aborted, or at once if it already is; returns what undoes it.
---@param signal AbortSignal
---@param listener function
---@return fun() remove
local function addAbortListener(signal, listener)
  errors.validate.func(listener, 'listener')
  if not class.isInstance(signal, AbortSignal) then
    error(errors.argType('signal', 'AbortSignal', signal), 0)
  end
  if signal.aborted then
    tick.nextTick(listener)
    return function() end
  end
  -- A wrapper, so that the same function can wait for the signal twice.
  local function wrapper(event)
    listener(event)
  end
  signal:addEventListener('abort', wrapper)
  return function()
    signal:removeEventListener('abort', wrapper)
  end
end

return {
  AbortController = AbortController,
  AbortSignal = AbortSignal,
  addAbortListener = addAbortListener,
}

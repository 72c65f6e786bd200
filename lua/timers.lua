--- Timers, as Node's `timers`.
---
--- Timers of one duration stand in one list in the order in which they expire, which is the order in
--- which they were started; the lists stand in a priority queue. So starting and stopping a timer
--- costs the same however many there are, and one native timer serves them all.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local immediate = require 'moonlatch.immediate'
local native = require 'moonlatch.native'
local PriorityQueue = require 'moonlatch.priority_queue'
local tick = require 'moonlatch.tick'

local floor, huge, max = math.floor, math.huge, math.max
local select, tonumber, unpack, setmetatable = select, tonumber, unpack, setmetatable
local nowMs = native.now

-- The longest duration, in milliseconds: what fits 32 bits with sign.
local TIMEOUT_MAX = 2 ^ 31 - 1

---@class Timeout
local Timeout = class('Timeout')

local lists = {}            -- duration → list; a list is the ring's head and an item of the queue
local queue = PriorityQueue()
local refs = 0              -- running timers that keep the loop open
local nextExpiry = huge     -- what the native timer is set to
local running               -- the interval whose callback is on the stack, or was when it raised

local owner = {}
local handle = native.timer()
handle:unref()

native.handlers('timer', {
  timeout = function(object)
    object:onTimeout()
  end,
})

local function arm(expiry, now)
  nextExpiry = expiry
  handle:start(owner, max(expiry - now, 0))
end

local function addRef(change)
  refs = refs + change
  if refs == 0 then
    handle:unref()
  elseif refs == change then
    handle:ref()
  end
end

local function listFor(ms, start)
  local list = lists[ms]
  if not list then
    list = { ms = ms, expiry = start + ms }
    list._next, list._previous = list, list
    lists[ms] = list
    queue:insert(list)
  end
  return list
end

-- A timer counts while it waits, and an interval while its callback runs.
local function count(timer)
  local counts = timer._refed and (timer._list ~= nil or timer == running)
  if counts ~= timer._counted then
    timer._counted = counts
    addRef(counts and 1 or -1)
  end
end

-- Puts a timer at the end of its list.
local function insert(timer)
  local start = nowMs()
  local ms = floor(timer._idleTimeout)
  local list = listFor(ms, start)
  timer._start, timer._list = start, list
  timer._previous, timer._next = list._previous, list
  list._previous._next = timer
  list._previous = timer
  count(timer)
  if nextExpiry > list.expiry then
    arm(list.expiry, start)
  end
end

local function dropList(list)
  if lists[list.ms] == list then
    lists[list.ms] = nil
    queue:remove(list)
  end
end

-- Takes a timer out of its list, which may leave that empty.
local function remove(timer)
  local list = timer._list
  timer._previous._next, timer._next._previous = timer._next, timer._previous
  timer._list, timer._previous, timer._next = nil, nil, nil
  count(timer)
  return list
end

local function call(timer)
  local args = timer._arguments
  if args then
    timer._onTimeout(unpack(args, 1, args.n))
  else
    timer._onTimeout()
  end
end

-- An interval starts its next round when its callback has ended, unless that has cleared it.
local function again(timer)
  running = nil
  if timer._repeat and not timer._list then
    timer._idleTimeout = timer._repeat
    insert(timer)
  else
    count(timer)
  end
end

local function fire(timer)
  if timer._repeat then
    running = timer
    remove(timer)
    call(timer)
    again(timer)
  else
    remove(timer)
    timer._destroyed = true
    call(timer)
  end
end

-- Fires what is due in one list. `now` stands still, so a timer that is started meanwhile waits for
-- the next turn.
local function runList(list, now)
  local timer = list._next
  while timer ~= list do
    local expiry = timer._start + list.ms
    if expiry > now then
      list.expiry = expiry
      if list.place then
        queue:delayed(list)
      end
      return
    end
    fire(timer)
    tick.drain()
    timer = list._next
  end
  dropList(list)
end

local function schedule()
  local list = queue:peek()
  if list then
    arm(list.expiry, nowMs())
  else
    nextExpiry = huge
    handle:stop()
  end
end

function owner.onTimeout()
  local now = nowMs()
  -- Set again before any callback: one may raise, or run the loop itself.
  arm(now, now)
  if running then
    again(running)
  end
  while true do
    local list = queue:peek()
    if not list or list.expiry > now then
      break
    end
    runList(list, now)
  end
  schedule()
end

-- The duration Node makes of any value: out of range, or no number, is 1.
local function duration(value)
  local ms = tonumber(value)
  if ms and ms >= 1 and ms <= TIMEOUT_MAX then
    return ms
  end
  if ms and ms > TIMEOUT_MAX then
    errors.emitWarning(tostring(value) .. ' does not fit into a 32-bit signed integer.\n' ..
      'Timeout duration was set to 1.', 'TimeoutOverflowWarning')
  end
  return 1
end

local function start(callback, ms, isRepeat, ...)
  errors.validate.func(callback, 'callback')
  ms = duration(ms)
  local extra = select('#', ...)
  local timer = setmetatable({
    _onTimeout = callback,
    _arguments = extra > 0 and { n = extra, ... } or nil,
    _idleTimeout = ms,
    _repeat = isRepeat and ms or nil,
    _refed = true,
    _counted = false,
    _destroyed = false,
  }, Timeout.metatable)
  insert(timer)
  return timer
end

--- Makes the loop stay open for it, as it does from the start.
---@return Timeout
---@source Node.js timeout.ref()
function Timeout:ref()
  self._refed = true
  count(self)
  return self
end

--- Lets the loop end although it is running.
---@return Timeout
---@source Node.js timeout.unref()
function Timeout:unref()
  self._refed = false
  count(self)
  return self
end

--- Whether the loop stays open for it.
---@return boolean
---@source Node.js timeout.hasRef()
function Timeout:hasRef()
  return self._refed
end

--- Starts it over with the duration it has, even when it has fired; one that was cleared stays so.
---@return Timeout
---@source Node.js timeout.refresh()
function Timeout:refresh()
  if not self._onTimeout then
    return self
  end
  if self._list then
    local list = remove(self)
    self._destroyed = false
    insert(self)
    if list._next == list then
      dropList(list)
    end
  else
    self._destroyed = false
    insert(self)
  end
  return self
end

---@class timers
local timers = {
  setImmediate = immediate.setImmediate,
  clearImmediate = immediate.clearImmediate,
  Timeout = Timeout,
  Immediate = immediate.Immediate,
}

--- Calls `callback(...)` once, `ms` milliseconds from now at the earliest.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param callback function
---@param ms? number
---@param ... any
---@return Timeout
---@source Node.js timers.setTimeout()
function timers.setTimeout(callback, ms, ...)
  return start(callback, ms, false, ...)
end

--- Calls `callback(...)` every `ms` milliseconds.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param callback function
---@param ms? number
---@param ... any
---@return Timeout
---@source Node.js timers.setInterval()
function timers.setInterval(callback, ms, ...)
  return start(callback, ms, true, ...)
end

--- Cancels a timer; anything else is ignored.
---@param timer any
---@source Node.js timers.clearTimeout()
function timers.clearTimeout(timer)
  if not class.isInstance(timer, Timeout) then
    return
  end
  timer._onTimeout, timer._arguments, timer._repeat = nil, nil, nil
  timer._destroyed = true
  if timer._list then
    local list = remove(timer)
    if list._next == list then
      dropList(list)
      if queue.count == 0 then
        schedule()
      end
    end
  end
end

timers.clearInterval = timers.clearTimeout

--- The same as clearTimeout.
---@return Timeout
---@source Node.js timeout.close()
function Timeout:close()
  timers.clearTimeout(self)
  return self
end

return timers

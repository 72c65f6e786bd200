--- setImmediate: callbacks for right after the I/O of this turn of the loop.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'

local select, unpack, setmetatable = select, unpack, setmetatable

---@class Immediate
local Immediate = class('Immediate')

-- Made by immediate.defer: two arguments, in fields.
Immediate._deferred = false

-- Two lists: `outstanding` runs in this turn, `coming` is filled meanwhile and runs in the next. An
-- immediate is a node of one of them; `_list` is nil once it has run or was cleared.
local function newList()
  return { refs = 0, count = 0 }
end

local outstanding, coming = newList(), newList()

-- Tells the loop what is left to do.
local function ask()
  if coming.count == 0 then
    native.immediatesWanted(nil)
  else
    native.immediatesWanted(coming.refs > 0)
  end
end

local function append(list, immediate)
  local last = list.last
  immediate._list, immediate._previous = list, last
  if last then
    last._next = immediate
  else
    list.first = immediate
  end
  list.last = immediate
  list.count = list.count + 1
  list.refs = list.refs + 1
end

local function take(immediate)
  local list, previous, following = immediate._list, immediate._previous, immediate._next
  if previous then
    previous._next = following
  else
    list.first = following
  end
  if following then
    following._previous = previous
  else
    list.last = previous
  end
  immediate._list, immediate._previous, immediate._next = nil, nil, nil
  list.count = list.count - 1
  if immediate._refed then
    list.refs = list.refs - 1
  end
  return list
end

local function run(immediate)
  local args = immediate._arguments
  local callback = immediate._onImmediate
  immediate._onImmediate, immediate._arguments = nil, nil
  if immediate._deferred then
    callback(immediate._first, immediate._second)
  elseif args then
    callback(unpack(args, 1, args.n))
  else
    callback()
  end
end

-- Called by the loop. An error leaves the rest in `outstanding`, and the loop calls again at once.
native.immediates(function()
  if outstanding.count == 0 then
    outstanding, coming = coming, outstanding
  end
  local list = outstanding
  while list.first and not tick.isHalted() do
    local immediate = list.first
    take(immediate)
    run(immediate)
    tick.drain()
  end
  if coming.count > 0 then
    ask()
  end
end)

--- Whether the loop stays open for it.
---@return boolean
---@source Node.js immediate.hasRef()
function Immediate:hasRef()
  return self._refed and self._list ~= nil
end

local function setRef(self, refed)
  if self._refed ~= refed then
    self._refed = refed
    local list = self._list
    if list then
      list.refs = list.refs + (refed and 1 or -1)
      if list == coming then
        ask()
      end
    end
  end
  return self
end

--- Makes the loop stay open for it, as it does from the start.
---@return Immediate
---@source Node.js immediate.ref()
function Immediate:ref()
  return setRef(self, true)
end

--- Lets the loop end although it is waiting.
---@return Immediate
---@source Node.js immediate.unref()
function Immediate:unref()
  return setRef(self, false)
end

local immediate = { Immediate = Immediate }

local function enqueue(self)
  append(coming, setmetatable(self, Immediate.metatable))
  if coming.refs == 1 then
    ask()
  end
  return self
end

--- Calls `callback(...)` after the I/O of this turn of the loop, before it waits again.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param callback function
---@param ... any
---@return Immediate
---@source Node.js timers.setImmediate()
function immediate.setImmediate(callback, ...)
  errors.validate.func(callback, 'callback')
  local count = select('#', ...)
  return enqueue {
    _onImmediate = callback, _arguments = count > 0 and { n = count, ... } or nil, _refed = true,
  }
end

-- setImmediate for the library itself, with two arguments: LuaJIT does not compile a function that stores as many as
-- it is given.
---@package
---@param callback function
---@param first any
---@param second any
function immediate.defer(callback, first, second)
  enqueue { _onImmediate = callback, _deferred = true, _first = first, _second = second, _refed = true }
end

--- Cancels it; anything that is not a waiting Immediate is ignored.
---@param self any
---@source Node.js timers.clearImmediate()
function immediate.clearImmediate(self)
  if not class.isInstance(self, Immediate) or not self._list then
    return
  end
  self._onImmediate, self._arguments = nil, nil
  local list = take(self)
  if list == coming and list.refs == 0 then
    ask()
  end
end

return immediate

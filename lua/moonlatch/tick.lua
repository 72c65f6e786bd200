--- process.nextTick: functions to run as soon as the code running now has returned to the event loop.
---
--- The queue is a set of parallel arrays, so that a tick with up to four arguments makes no garbage.

local select, type, unpack = select, type, unpack

local tick = {}

-- When the queue has reached this place its consumed part is given back.
local COMPACT = 1024

local fns, counts, first, second, third, fourth = {}, {}, {}, {}, {}, {}
local head, tail = 1, 0 -- places in use: head … tail
local halted = false

--- Its first field is set when the queue goes from empty to non-empty, for the loop to see.
tick.waiting = { false }
local waiting = tick.waiting

local function checkCallable(fn)
  local meta = getmetatable(fn)
  if not (type(meta) == 'table' and meta.__call) then
    error(require('moonlatch.errors').argType('callback', 'function', fn), 0)
  end
end

--- Runs `fn(...)` after the current operation, before the event loop goes on.
---@param fn function
---@param ... any
function tick.nextTick(fn, ...)
  if type(fn) ~= 'function' then
    checkCallable(fn)
  end
  local place = tail + 1
  local count = select('#', ...)
  tail = place
  fns[place], counts[place] = fn, count
  if count <= 4 then
    local a, b, c, d = ...
    first[place], second[place], third[place], fourth[place] = a, b, c, d
  else
    first[place] = { ... }
  end
  if place == head then
    waiting[1] = true
  end
end

-- Moves what is queued down to place 1, into fresh arrays.
local function compact()
  local rest = tail - head + 1
  local old = { fns, counts, first, second, third, fourth }
  fns, counts, first, second, third, fourth = {}, {}, {}, {}, {}, {}
  local new = { fns, counts, first, second, third, fourth }
  for column = 1, 6 do
    local from, to = old[column], new[column]
    for i = 1, rest do
      to[i] = from[head + i - 1]
    end
  end
  head, tail = 1, rest
end

local function run(fn, count, a, b, c, d)
  if count == 0 then
    fn()
  elseif count == 1 then
    fn(a)
  elseif count == 2 then
    fn(a, b)
  elseif count == 3 then
    fn(a, b, c)
  elseif count == 4 then
    fn(a, b, c, d)
  else
    fn(unpack(a, 1, count))
  end
end

--- Runs ticks until none is left, those that they add included. An error leaves the rest queued for the
--- next call.
function tick.drain()
  while head <= tail and not halted do
    local place = head
    local fn, count = fns[place], counts[place]
    local a, b, c, d = first[place], second[place], third[place], fourth[place]
    fns[place], first[place], second[place], third[place], fourth[place] = nil, nil, nil, nil, nil
    head = place + 1
    if head > tail then
      head, tail = 1, 0
    end
    if place >= COMPACT and place > tail - head then
      compact()
    end
    run(fn, count, a, b, c, d)
  end
end

--- From here on no tick runs any more, nor any immediate: an error ends the process.
function tick.halt()
  halted = true
end

---@return boolean
function tick.isHalted()
  return halted
end

return tick

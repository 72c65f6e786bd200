--- A binary heap of tables, the least `expiry` first. Each item knows its place (`item.place`), so that
--- any item can be moved or removed without searching.

local class = require 'moonlatch.class'

---@class moonlatch.PriorityQueue
---@field count integer
local PriorityQueue = class('PriorityQueue')

function PriorityQueue:init()
  self.count = 0
end

local function put(heap, place, item)
  heap[place] = item
  item.place = place
end

local function rise(heap, place)
  local item = heap[place]
  while place > 1 do
    local above = (place - place % 2) / 2
    local parent = heap[above]
    if parent.expiry <= item.expiry then
      break
    end
    put(heap, place, parent)
    place = above
  end
  put(heap, place, item)
end

local function sink(heap, place)
  local item, count = heap[place], heap.count
  while place * 2 <= count do
    local below = place * 2
    if below < count and heap[below + 1].expiry < heap[below].expiry then
      below = below + 1
    end
    local child = heap[below]
    if child.expiry >= item.expiry then
      break
    end
    put(heap, place, child)
    place = below
  end
  put(heap, place, item)
end

--- The item that is due first, or nil.
---@return table?
function PriorityQueue:peek()
  return self[1]
end

---@param item { expiry: number }
function PriorityQueue:insert(item)
  local count = self.count + 1
  self.count = count
  self[count] = item
  rise(self, count)
end

--- To be called after the expiry of an item was put off.
---@param item table
function PriorityQueue:delayed(item)
  sink(self, item.place)
end

---@param item table
function PriorityQueue:remove(item)
  local place, count = item.place, self.count
  local last = self[count]
  self[count] = nil
  self.count = count - 1
  item.place = nil
  if last ~= item then
    put(self, place, last)
    sink(self, place)
    rise(self, last.place)
  end
end

return PriorityQueue

--- The chunks that a Readable holds: a queue that can also give an exact number of bytes.

local setmetatable, sub, concat = setmetatable, string.sub, table.concat

local ChunkQueue = {}
ChunkQueue.__index = ChunkQueue

---@return table
function ChunkQueue.new()
  return setmetatable({ first = 1, last = 0 }, ChunkQueue)
end

function ChunkQueue:push(chunk)
  local last = self.last + 1
  self[last], self.last = chunk, last
end

function ChunkQueue:unshift(chunk)
  local first = self.first - 1
  self[first], self.first = chunk, first
end

function ChunkQueue:count()
  return self.last - self.first + 1
end

--- Takes the first chunk out.
function ChunkQueue:shift()
  local first = self.first
  local chunk = self[first]
  self[first] = nil
  if first == self.last then
    self.first, self.last = 1, 0
  else
    self.first = first + 1
  end
  return chunk
end

--- Takes all chunks out, as one string.
function ChunkQueue:takeAll()
  local first, last = self.first, self.last
  local all = first == last and self[first] or concat(self, '', first, last)
  for i = first, last do
    self[i] = nil
  end
  self.first, self.last = 1, 0
  return all
end

--- Takes the first `count` bytes out; there must be more than that.
function ChunkQueue:take(count)
  local first = self[self.first]
  if #first > count then
    self[self.first] = sub(first, count + 1)
    return sub(first, 1, count)
  elseif #first == count then
    return self:shift()
  end
  local parts, n = {}, 0
  while count > 0 do
    local chunk = self[self.first]
    n = n + 1
    if #chunk > count then
      parts[n] = sub(chunk, 1, count)
      self[self.first] = sub(chunk, count + 1)
      break
    end
    parts[n] = self:shift()
    count = count - #chunk
  end
  return concat(parts)
end

--- The first `count` bytes, or all there are, left where they are.
function ChunkQueue:peek(count)
  local parts, n = {}, 0
  for i = self.first, self.last do
    local chunk = self[i]
    n = n + 1
    if #chunk >= count then
      parts[n] = sub(chunk, 1, count)
      break
    end
    parts[n] = chunk
    count = count - #chunk
  end
  return concat(parts)
end

--- The chunks as a sequence.
function ChunkQueue:list()
  local list = {}
  for i = self.first, self.last do
    list[#list + 1] = self[i]
  end
  return list
end

return ChunkQueue

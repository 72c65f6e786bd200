--- Bytes without end in which no piece fits in another place: what comes out of a stream can be told from what should
--- have come at that point.
local M = {}

local PERIOD = 65521
local COPIES = 8
local bytes

--- The most that one call gives.
M.longest = (COPIES - 1) * PERIOD

local function make()
  local parts, x = {}, 1
  for i = 1, PERIOD do
    x = (x * 16807) % 2147483647
    parts[i] = string.char(math.floor(x / 256) % 256)
  end
  return table.concat(parts):rep(COPIES)
end

--- `size` bytes, from the byte number `from` on, which counts from 0.
---@param from integer
---@param size integer  up to M.longest
---@return string
function M.piece(from, size)
  bytes = bytes or make()
  return bytes:sub(from % PERIOD + 1, from % PERIOD + size)
end

--- Is `chunk` what the tape holds from there on?
---@param from integer
---@param chunk string
---@return boolean
function M.holds(from, chunk)
  local at = 1
  while at <= #chunk do
    local size = math.min(#chunk - at + 1, M.longest)
    if chunk:sub(at, at + size - 1) ~= M.piece(from + at - 1, size) then
      return false
    end
    at = at + size
  end
  return true
end

return M

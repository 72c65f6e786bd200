--- fs.Stats: what stat(2) tells.

local class = require 'moonlatch.class'

---@class fs.Stats
---@field size number
---@field mode integer
---@field uid integer
---@field gid integer
---@field dev number
---@field ino number
---@field nlink integer
---@field rdev number
---@field blksize integer
---@field blocks integer
---@field atimeMs number
---@field mtimeMs number
---@field ctimeMs number
local Stats = class('Stats')

-- Fields go on the object, which makes them enumerable; the type is kept by class alone.
local types = setmetatable({}, { __mode = 'k' })

function Stats:init(fields, kind)
  for name, value in pairs(fields) do
    self[name] = value
  end
  types[self] = kind
end

for name, kind in pairs {
  isFile = 'file', isDirectory = 'directory', isSymbolicLink = 'symlink', isFIFO = 'fifo',
  isSocket = 'socket', isCharacterDevice = 'character', isBlockDevice = 'block',
} do
  Stats[name] = function(self)
    return types[self] == kind
  end
end

return Stats

--- process.stdin, stdout and stderr, made when they are first asked for.

local native = require 'moonlatch.native'

local system = native.process

local stdio = {}

-- The process's own output is never closed by a stream that ends: `pipe` passes over streams marked
-- so, and destroying one only says so.
local function keepOpen(stream)
  stream._isStdio = true
  stream.destroySoon = stream.destroy
  function stream._destroy(_, err, callback)
    callback(err)
  end
  return stream
end

local function setSize(stream)
  local columns, rows = system.windowSize(stream.fd)
  if not columns or columns == 0 then
    return false
  end
  local changed = columns ~= stream.columns or rows ~= stream.rows
  stream.columns, stream.rows = columns, rows
  return changed
end

local function addTerminal(stream, process)
  stream.isTTY = true
  setSize(stream)
  process:on('SIGWINCH', function()
    if setSize(stream) then
      stream:emit('resize')
    end
  end)
  function stream:getWindowSize()
    return { self.columns, self.rows }
  end
end

--- A Writable for descriptor 1 or 2. Writes are synchronous, whatever the descriptor is: output of a
--- process that ends right after is not lost, and keeps its place among what print and other
--- processes write.
---@param process moonlatch.Process
---@param fd integer
function stdio.output(process, fd)
  local Writable = require('stream').Writable
  local stream = Writable {
    emitClose = false,
    autoDestroy = false,
    write = function(_, chunk, _, callback)
      local ok, err = system.writeSync(fd, chunk)
      callback(not ok and err or nil)
    end,
  }
  stream.fd = fd
  stream._type = system.fdType(fd)
  if stream._type == 'tty' then
    addTerminal(stream, process)
  end
  return keepOpen(stream)
end

local function addKeyboard(stream)
  stream.isTTY = true
  stream.isRaw = false
  --- Has the terminal give each key as it is pressed, unseen and without a meaning of its own, in place of lines.
  --- The program puts the terminal back when it ends.
  ---@param mode boolean
  ---@return self
  ---@source Node.js tty.ReadStream.setRawMode
  function stream:setRawMode(mode)
    mode = not not mode
    if not self.destroyed then
      local ok, err = system.setRaw(self.fd, mode)
      if not ok then
        self:emit('error', err)
        return self
      end
    end
    self.isRaw = mode
    return self
  end
end

-- A socket that reads a descriptor and leaves the loop alone while nobody reads from it.
local function readDescriptor(fd)
  local net = require 'net'
  local stream = net.Socket { fd = fd, readable = true, writable = false, manualStart = true }
  stream:on('pause', function()
    if stream._handle then
      stream._handle:readStop()
    end
  end)
  return stream
end

--- The Readable for descriptor 0.
function stdio.input()
  local kind = system.fdType(0)
  local stream
  if kind == 'file' then
    stream = require('fs').createReadStream(nil, { fd = 0, autoClose = false })
  else
    stream = readDescriptor(0)
  end
  stream.fd = 0
  stream._type = kind
  if kind == 'tty' then
    addKeyboard(stream)
  end
  return stream
end

return stdio

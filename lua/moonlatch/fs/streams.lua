--- fs.ReadStream and fs.WriteStream. A file is always ready, so each chunk is one synchronous call,
--- made in an immediate of its own: other work gets its turn between chunks.

local errors = require 'moonlatch.errors'
local setImmediate = require('moonlatch.immediate').setImmediate
local stream = require 'stream'
local sync = require 'moonlatch.fs.sync'

local min = math.min
local pcall = pcall
local validate = errors.validate

local streams = {}

local function open(self, path, options, flags)
  self.path, self.flags, self.mode = path, options.flags or flags, options.mode or 438
  self.autoClose = options.autoClose ~= false
  if options.fd ~= nil then
    self.fd = options.fd
    return
  end
  sync.checkPath(path)
  setImmediate(function()
    if self.destroyed then
      return
    end
    local ok, fd = pcall(sync.openSync, path, self.flags, self.mode)
    if not ok then
      self:destroy(fd)
      return
    end
    self.fd = fd
    self:emit('open', fd)
    self:emit('ready')
    local work = self._whenOpen
    self._whenOpen = nil
    if work then
      work()
    end
  end)
end

-- Runs `work` in an immediate, once the file is open.
local function later(self, work)
  local function run()
    if not self.destroyed then
      work()
    end
  end
  if self.fd then
    setImmediate(run)
  else
    self._whenOpen = run
  end
end

local function close(self, err, callback)
  local fd = self.fd
  if not fd or not self.autoClose then
    callback(err)
    return
  end
  self.fd = nil
  local ok, problem = pcall(sync.closeSync, fd)
  callback(err or not ok and problem or nil)
end

---@class fs.ReadStream : Readable
---@field path string
---@field fd? integer
---@field bytesRead integer
local ReadStream = stream.Readable:extend('ReadStream')

--- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE.
---@param path? string
---@param options? string|fs.StreamOptions
---@source Node.js fs.ReadStream
function ReadStream:init(path, options)
  options = sync.options(options)
  stream.Readable.init(self, {
    highWaterMark = options.highWaterMark or 65536,
    encoding = options.encoding,
    signal = options.signal,
    emitClose = options.emitClose,
    autoDestroy = options.autoClose ~= false,
  })
  self.bytesRead = 0
  if options.start ~= nil then
    validate.integer(options.start, 'start', 0)
    self.pos = options.start
  end
  self['end'] = options['end'] or options.finish
  if self['end'] ~= nil then
    validate.integer(self['end'], 'end', 0)
    if self.pos and self.pos > self['end'] then
      error(errors.range('start', ('<= "end" (here: %d)'):format(self['end']), self.pos), 0)
    end
  end
  self._left = self['end'] and self['end'] - (self.pos or 0) + 1
  open(self, path, options, 'r')
end

function ReadStream:_read(size)
  later(self, function()
    local length = self._left and min(size, self._left) or size
    local ok, chunk = true, ''
    if length > 0 then
      ok, chunk = pcall(sync.readSync, self.fd, length, self.pos)
    end
    if not ok then
      self:destroy(chunk)
      return
    end
    if chunk == '' then
      self:push(nil)
      return
    end
    self.bytesRead = self.bytesRead + #chunk
    self.pos = self.pos and self.pos + #chunk
    self._left = self._left and self._left - #chunk
    self:push(chunk)
  end)
end

function ReadStream:_destroy(err, callback)
  close(self, err, callback)
end

---@class fs.WriteStream : Writable
---@field path string
---@field fd? integer
---@field bytesWritten integer
local WriteStream = stream.Writable:extend('WriteStream')

--- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE.
---@param path? string
---@param options? string|fs.StreamOptions
---@source Node.js fs.WriteStream
function WriteStream:init(path, options)
  options = sync.options(options)
  stream.Writable.init(self, {
    highWaterMark = options.highWaterMark,
    defaultEncoding = options.encoding,
    signal = options.signal,
    emitClose = options.emitClose,
    autoDestroy = options.autoClose ~= false,
  })
  self.bytesWritten = 0
  if options.start ~= nil then
    validate.integer(options.start, 'start', 0)
    self.pos = options.start
  end
  open(self, path, options, 'w')
end

function WriteStream:_write(chunk, _, callback)
  later(self, function()
    local ok, result = pcall(sync.writeSync, self.fd, chunk, self.pos)
    if not ok then
      callback(result)
      return
    end
    self.bytesWritten = self.bytesWritten + result
    self.pos = self.pos and self.pos + result
    callback()
  end)
end

-- An empty file is opened, too, before the stream is finished.
function WriteStream:_final(callback)
  later(self, function()
    callback()
  end)
end

function WriteStream:_destroy(err, callback)
  close(self, err, callback)
end

for _, cls in pairs { ReadStream, WriteStream } do
  --- Closes the file; `callback` is called when that has happened.
  function cls:close(callback)
    if callback then
      self:once('close', callback)
    end
    self:destroy()
  end
end

streams.ReadStream, streams.WriteStream = ReadStream, WriteStream
return streams

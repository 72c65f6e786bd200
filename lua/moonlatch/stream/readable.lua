--- Readable streams.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local state = require 'moonlatch.stream.state'
local destroy = require 'moonlatch.stream.destroy'
local encoding = require 'moonlatch.stream.encoding'
local ChunkQueue = require 'moonlatch.stream.chunk_queue'
local Stream = require 'moonlatch.stream.legacy'

local type, rawget, xpcall, floor, tonumber = type, rawget, xpcall, math.floor, tonumber
local nextTick = tick.nextTick
local codes = errors.codes
local errorOrDestroy = destroy.errorOrDestroy

---@class Readable : Stream
---@field readable boolean
---@field destroyed boolean
---@field closed boolean
---@field errored any
---@field readableEnded boolean
---@field readableFlowing boolean?
---@field readableLength integer
---@field readableHighWaterMark integer
---@field readableEncoding string?
---@field readableObjectMode boolean
---@field readableAborted boolean
---@field readableDidRead boolean
---@field readableBuffer any[]
---@overload fun(options?: stream.ReadableOptions): Readable
local Readable = class('Readable', Stream)

--- Called before 'end' is emitted, for subclasses.
---@package
function Readable:_beforeEnd() -- luacheck: ignore self
end

-- True on classes whose _read starts a source that then pushes by itself until push returns false.
Readable._readsContinuously = false

local flow, endReadable, emitReadable

---@param options? stream.ReadableOptions
---@source Node.js stream.Readable
function Readable:init(options)
  self:_initReadable(options, false)
  if options and options.signal then
    require('moonlatch.stream.abort_signal').attach(options.signal, self)
  end
  if self._construct then
    self:_constructReadable()
  end
end

-- The readable half of a constructor, for Duplex too.
function Readable:_initReadable(options, isDuplex)
  local rs = state.newReadable(options, isDuplex, self._readsContinuously)
  self._readableState = rs
  if self.emit ~= Stream.emit then
    rs.plain = false
  end
  if options then
    if type(options.read) == 'function' then
      self._read = options.read
    end
    destroy.takeMethods(self, options)
  end
end

-- Having read, asks the source for more in the next tick, until the high-water mark is reached.
local function readMore(self, rs)
  while not rs.reading and not rs.ended
    and (rs.length < rs.highWaterMark or rs.flowing and rs.length == 0) do
    local length = rs.length
    self:read(0)
    if length == rs.length then
      break -- It did not get any: it has none, or will bring it later.
    end
  end
  rs.readingMore = false
end

local function maybeReadMore(self, rs)
  if not rs.readingMore and rs.constructed then
    rs.readingMore = true
    nextTick(readMore, self, rs)
  end
end

function Readable:_constructReadable()
  destroy.construct(self, function()
    local rs = self._readableState
    if rs.needReadable then
      maybeReadMore(self, rs)
    end
  end)
end

-- The chunk reached a listener: writers that we waited for have been given everything there is.
local function forgetAwaitedDrains(rs)
  if rs.multiAwaitDrain then
    rs.awaitDrainWriters = {}
  else
    rs.awaitDrainWriters = false
  end
end

local function addChunk(self, rs, chunk, toFront)
  if rs.flowing and rs.length == 0 and not rs.sync and self:listenerCount('data') > 0 then
    if rs.awaitDrainWriters then
      forgetAwaitedDrains(rs)
    end
    rs.dataEmitted = true
    self:emit('data', chunk)
  else
    local buffer = rs.buffer
    if not buffer then
      buffer = ChunkQueue.new()
      rs.buffer = buffer
    end
    rs.length = rs.length + (rs.objectMode and 1 or #chunk)
    if toFront then
      buffer:unshift(chunk)
    else
      buffer:push(chunk)
    end
    if rs.needReadable then
      emitReadable(self)
    end
  end
  -- A continuous source goes on by itself, unless it is now told to stop.
  if rs.continuous and not toFront and not rs.ended and rs.length < rs.highWaterMark then
    rs.reading = true
  else
    maybeReadMore(self, rs)
  end
end

local emitReadableNow

local function onEof(self, rs)
  if rs.ended then
    return
  end
  if rs.decoder then
    local rest = rs.decoder:finish()
    if rest ~= '' then
      rs.buffer = rs.buffer or ChunkQueue.new()
      rs.buffer:push(rest)
      rs.length = rs.length + (rs.objectMode and 1 or #rest)
    end
  end
  rs.ended, rs.plain = true, false
  if rs.sync then
    -- Inside _read: the caller of read() may still want what is there.
    emitReadable(self)
  else
    rs.needReadable = false
    if rs.readableListening then
      rs.emittedReadable = true
    end
    emitReadableNow(self)
  end
end

local function wantsMore(rs)
  return not rs.ended and (rs.length < rs.highWaterMark or rs.length == 0)
end

-- A string pushed with an encoding stands for other bytes, unless it is the encoding that the stream
-- gives out.
local function recode(rs, chunk, name, toFront)
  local canonical = encoding.normalize(name)
  if not canonical then
    error(codes.ERR_UNKNOWN_ENCODING(name), 0)
  end
  if rs.encoding == canonical then
    return chunk, true
  end
  chunk = encoding.decode(chunk, canonical)
  if toFront and rs.encoding then
    return encoding.encode(chunk, rs.encoding), true
  end
  return chunk, false
end

local function pushChunk(self, rs, chunk, isText)
  if rs.ended then
    errorOrDestroy(self, codes.ERR_STREAM_PUSH_AFTER_EOF())
    return false
  elseif rs.destroyed or rs.errored then
    return false
  end
  rs.reading = false
  if rs.decoder and not isText then
    chunk = rs.decoder:write(chunk)
    if not rs.objectMode and chunk == '' then
      maybeReadMore(self, rs)
      return wantsMore(rs)
    end
  end
  addChunk(self, rs, chunk, false)
  return wantsMore(rs)
end

local function unshiftChunk(self, rs, chunk)
  if rs.endEmitted then
    errorOrDestroy(self, codes.ERR_STREAM_UNSHIFT_AFTER_END_EVENT())
  elseif rs.destroyed or rs.errored then
    return false
  else
    addChunk(self, rs, chunk, true)
  end
  return wantsMore(rs)
end

local function addToStream(self, rs, chunk, name, toFront)
  if chunk == nil then
    rs.reading = false
    onEof(self, rs)
    return false
  end
  local isText = false
  if not rs.objectMode then
    if type(chunk) ~= 'string' then
      errorOrDestroy(self, errors.argType('chunk', { 'string', 'Buffer', 'TypedArray', 'DataView' }, chunk))
      return false
    end
    if name and name ~= 'buffer' then
      chunk, isText = recode(rs, chunk, name, toFront)
    end
    if chunk == '' then
      if not toFront then
        rs.reading = false
        maybeReadMore(self, rs)
      end
      return wantsMore(rs)
    end
  end
  if toFront then
    return unshiftChunk(self, rs, chunk)
  end
  return pushChunk(self, rs, chunk, isText or rs.objectMode and type(chunk) ~= 'string')
end

--- For implementers of _read: gives the stream its next chunk, or with nil its end. False asks to stop
--- until the next _read.
---@param chunk any
---@param name? string  encoding of a string chunk
---@return boolean
---@source Node.js readable.push()
function Readable:push(chunk, name)
  local rs = self._readableState
  -- The common case by itself: flowing, nothing waiting, one plain listener.
  if rs.flowing and rs.plain and rs.length == 0 and not rs.sync and name == nil then
    local events = self._events
    local listener = events and events.data
    if type(listener) == 'function' and type(chunk) == 'string' and chunk ~= ''
      and rawget(self, 'emit') == nil then
      if rs.awaitDrainWriters then
        forgetAwaitedDrains(rs)
      end
      rs.dataEmitted = true
      if rs.continuous then
        listener(chunk)
        return wantsMore(rs)
      end
      rs.reading = false
      listener(chunk)
      maybeReadMore(self, rs)
      return wantsMore(rs)
    end
  end
  return addToStream(self, rs, chunk, name, false)
end

--- Puts a chunk back in front of what is to be read next.
---@param chunk any
---@param name? string
---@return boolean
---@source Node.js readable.unshift()
function Readable:unshift(chunk, name)
  return addToStream(self, self._readableState, chunk, name, true)
end

--- From now on chunks are text in that encoding; no character is ever split between two.
---@param name? string  default 'utf8'
---@return self
---@source Node.js readable.setEncoding()
function Readable:setEncoding(name)
  local rs = self._readableState
  local decoder = require('moonlatch.string_decoder').StringDecoder(name)
  rs.decoder, rs.encoding, rs.plain = decoder, decoder.encoding, false
  local buffer = rs.buffer
  local text = buffer and buffer:count() > 0 and decoder:write(buffer:takeAll()) or ''
  if text ~= '' then
    buffer:push(text)
  end
  rs.length = #text
  return self
end

local MAX_HIGH_WATER_MARK = 0x40000000

-- The next power of two, so that small steps do not move the mark again and again.
local function raisedHighWaterMark(n)
  if n > MAX_HIGH_WATER_MARK then
    error(errors.range('size', '<= 1GiB', n), 0)
  end
  local mark = 1
  while mark < n do
    mark = mark * 2
  end
  return mark
end

-- How much of what is there a read(n) takes; nil for n asks for all.
local function amount(rs, n)
  if n and n <= 0 or rs.length == 0 and rs.ended then
    return 0
  elseif rs.objectMode then
    return 1
  elseif not n then
    -- When flowing, one chunk at a time.
    if rs.flowing and rs.length > 0 then
      return #rs.buffer[rs.buffer.first]
    end
    return rs.length
  elseif n <= rs.length then
    return n
  end
  return rs.ended and rs.length or 0
end

local function takeFrom(rs, n)
  local buffer = rs.buffer
  if rs.objectMode then
    return buffer:shift()
  elseif n >= rs.length then
    return buffer:takeAll()
  end
  return buffer:take(n)
end

local function callRead(self, rs)
  rs.reading, rs.sync = true, true
  if rs.length == 0 then
    rs.needReadable = true
  end
  local ok, err = xpcall(self._read, errors.from, self, rs.highWaterMark)
  if not ok then
    errorOrDestroy(self, err)
  end
  rs.sync = false
end

local function toInteger(n)
  if n == nil then
    return nil
  end
  n = tonumber(n)
  return n and n == n and floor(n) or nil
end

-- What read(n) gives: the chunk, and how much of the length it is.
local function take(rs, n)
  if n == 0 or rs.length == 0 then
    if rs.length <= rs.highWaterMark then
      rs.needReadable = true
    end
    return nil, 0
  end
  local chunk = takeFrom(rs, n)
  rs.length = rs.length - n
  if rs.awaitDrainWriters then
    forgetAwaitedDrains(rs)
  end
  return chunk, n
end

--- Takes `n` bytes (or everything, or one object) out of the buffer, or returns nil when there are not as
--- many. Also emits them as 'data'. read(0) only starts filling the buffer.
---@param n? integer
---@return any
---@source Node.js readable.read()
function Readable:read(n)
  local rs = self._readableState
  n = toInteger(n)
  local asked = n
  if n and n > rs.highWaterMark then
    rs.highWaterMark = raisedHighWaterMark(n)
  end
  if n ~= 0 then
    if rs.emittedReadable then
      rs.emittedReadable = false
    end
  elseif rs.needReadable and (rs.ended
    or rs.length > 0 and rs.length >= rs.highWaterMark) then
    -- There is plenty; it only has to be announced.
    if rs.length == 0 and rs.ended then
      endReadable(self, rs)
    else
      emitReadable(self)
    end
    return nil
  end

  n = amount(rs, n)
  if n == 0 and rs.ended then
    if rs.length == 0 then
      endReadable(self, rs)
    end
    return nil
  end

  local doRead = rs.needReadable or rs.length == 0 or rs.length - n < rs.highWaterMark
  if doRead and not (rs.ended or rs.reading or rs.destroyed or rs.errored) and rs.constructed then
    callRead(self, rs)
    -- If it pushed at once there may be more to give.
    if not rs.reading then
      n = amount(rs, asked)
    end
  end

  local chunk
  chunk, n = take(rs, n)
  if rs.length == 0 then
    if not rs.ended then
      rs.needReadable = true
    end
    if asked ~= n and rs.ended then
      endReadable(self, rs)
    end
  end
  if chunk ~= nil and not rs.errorEmitted and not rs.closeEmitted then
    rs.dataEmitted = true
    self:emit('data', chunk)
  end
  return chunk
end

--- Implemented by subclasses or the `read` option: fetches data and gives it to push.
---@param size integer  advice
function Readable:_read(size) -- luacheck: ignore size
  error(codes.ERR_METHOD_NOT_IMPLEMENTED('_read()'), 0)
end

function emitReadable(self)
  local rs = self._readableState
  rs.needReadable = false
  if not rs.emittedReadable then
    rs.emittedReadable = true
    nextTick(emitReadableNow, self)
  end
end

function emitReadableNow(self)
  local rs = self._readableState
  if not rs.destroyed and not rs.errored and (rs.length > 0 or rs.ended) then
    self:emit('readable')
    if rs.emittedReadable then
      rs.emittedReadable = false
    end
  end
  -- Another 'readable' is due when the buffer has been taken below the mark and nobody else keeps it
  -- moving.
  if not rs.flowing and not rs.ended and rs.length <= rs.highWaterMark then
    rs.needReadable = true
  end
  flow(self)
end

function flow(self)
  local rs = self._readableState
  while rs.flowing and self:read() ~= nil do -- luacheck: ignore 542
  end
end

local function finishOtherHalf(self)
  if self.writable and not self.writableEnded and not self.destroyed then
    self:finish()
  end
end

local function endReadableNow(self, rs)
  -- An error, or a chunk put back, may have come since.
  if rs.errored or rs.closeEmitted or rs.endEmitted or rs.length > 0 then
    return
  end
  rs.endEmitted = true
  self:_beforeEnd()
  self:emit('end')
  if self.writable and self.allowHalfOpen == false then
    nextTick(finishOtherHalf, self)
  elseif rs.autoDestroy then
    local ws = self._writableState
    if not ws or ws.autoDestroy and (ws.finished or ws.writable == false) then
      self:destroy()
    end
  end
end

function endReadable(self, rs)
  if not rs.endEmitted then
    rs.ended, rs.plain = true, false
    nextTick(endReadableNow, self, rs)
  end
end

Readable.destroy = destroy.destroy
Readable._undestroy = destroy.undestroy

--- Implemented by subclasses or the `destroy` option: lets go of what the stream holds, then calls back.
---@param err any
---@param callback fun(err: any)
function Readable:_destroy(err, callback)
  callback(err)
end

require('moonlatch.stream.readable_properties')(Readable)
require('moonlatch.stream.flow')(Readable, emitReadable, flow)
require('moonlatch.stream.pipe')(Readable)
require('moonlatch.stream.sources')(Readable)

return Readable

--- The two halves of a stream's state, and the rules for high-water marks.
---
--- A half is one flat table without the fields that still have their usual value: those are read through
--- the metatable. What every chunk touches is always there. The fields bear Node's names; `plain` is
--- ours: true while nothing but the ordinary course of events is to be expected of a chunk, so that the
--- common case is one test.

local errors = require 'moonlatch.errors'

local setmetatable, type, floor, huge = setmetatable, type, math.floor, math.huge

local state = {}

---@class stream.ReadableOptions
---@field read? fun(self: Readable, size: integer)
---@field destroy? fun(self: Stream, err: any, callback: fun(err: any))
---@field construct? fun(self: Stream, callback: fun(err: any))
---@field highWaterMark? integer     bytes, or objects
---@field encoding? string           as setEncoding
---@field defaultEncoding? string    without effect: what is pushed without an encoding is bytes
---@field objectMode? boolean
---@field autoDestroy? boolean       true when left out
---@field emitClose? boolean         true when left out
---@field signal? AbortSignal

---@class stream.WritableOptions
---@field write? fun(self: Writable, chunk: any, encoding: string, callback: fun(err: any))
---@field writev? fun(self: Writable, list: { chunk: any, encoding: string }[], callback: fun(err: any))
---@field final? fun(self: Writable, callback: fun(err: any))
---@field destroy? fun(self: Stream, err: any, callback: fun(err: any))
---@field construct? fun(self: Stream, callback: fun(err: any))
---@field highWaterMark? integer     bytes, or objects
---@field decodeStrings? boolean     true when left out
---@field defaultEncoding? string    'utf8' when left out
---@field objectMode? boolean
---@field autoDestroy? boolean       true when left out
---@field emitClose? boolean         true when left out
---@field signal? AbortSignal

---@class stream.DuplexOptions : stream.ReadableOptions, stream.WritableOptions
---@field allowHalfOpen? boolean            true when left out
---@field readable? boolean                 false: without this half
---@field writable? boolean
---@field readableHighWaterMark? integer
---@field writableHighWaterMark? integer
---@field readableObjectMode? boolean
---@field writableObjectMode? boolean

local defaultBytes, defaultObjects = 16384, 16

--- The high-water mark of streams that do not ask for one: 16 KiB, or 16 objects.
---@param objectMode? boolean
---@return integer
function state.getDefaultHighWaterMark(objectMode)
  return objectMode and defaultObjects or defaultBytes
end

---@param objectMode boolean
---@param value integer
function state.setDefaultHighWaterMark(objectMode, value)
  errors.validate.integer(value, 'value', 0)
  if objectMode then
    defaultObjects = value
  else
    defaultBytes = value
  end
end

-- Common to both halves.
--   constructed     false while _construct runs
--   destroyed       destroy() was called; closed: _destroy is done; closeEmitted: and 'close' is out
--   errored         the error that ended it
local function common()
  return {
    objectMode = false, constructed = true, destroyed = false, closed = false, closeEmitted = false,
    errorEmitted = false, autoDestroy = true, emitClose = true, defaultEncoding = 'utf8',
  }
end

local readableDefaults = common()
readableDefaults.endEmitted = false
readableDefaults.readableListening = false
readableDefaults.multiAwaitDrain = false
state.ReadableState = { __index = readableDefaults, __name = 'ReadableState' }

local writableDefaults = common()
writableDefaults.ended = false
writableDefaults.finished = false
writableDefaults.finalCalled = false
writableDefaults.prefinished = false
writableDefaults.decodeStrings = true
writableDefaults.bufferProcessing = false
state.WritableState = { __index = writableDefaults, __name = 'WritableState' }
state.writableDefaults = writableDefaults

local function highWaterMark(options, objectMode, duplexKey)
  local value, name
  if options then
    value, name = options.highWaterMark, 'options.highWaterMark'
    if value == nil and duplexKey then
      value, name = options[duplexKey], 'options.' .. duplexKey
    end
  end
  if value == nil then
    return objectMode and defaultObjects or defaultBytes
  end
  if type(value) ~= 'number' or value ~= floor(value) or value < 0 or value == huge then
    error(errors.argValue(name, value), 0)
  end
  return value
end

local function readCommon(half, options)
  if options.emitClose == false then
    half.emitClose = false
  end
  if options.autoDestroy == false then
    half.autoDestroy = false
  end
end

local function normalizeEncoding(name)
  local canonical = require('moonlatch.stream.encoding').normalize(name)
  if not canonical then
    error(errors.codes.ERR_UNKNOWN_ENCODING(name), 0)
  end
  return canonical
end

--- The readable half. `continuous` is for a source that goes on pushing by itself once _read has been
--- called, until a push returns false: it need not be asked again after each chunk.
---@param options? stream.DuplexOptions
---@param isDuplex? boolean
---@param continuous? boolean
function state.newReadable(options, isDuplex, continuous)
  local half = setmetatable({
    flowing = nil, length = 0, highWaterMark = defaultBytes, plain = true, reading = false, sync = true,
    needReadable = false, emittedReadable = false, readingMore = false, resumeScheduled = false,
    dataEmitted = false, awaitDrainWriters = false, ended = false, continuous = continuous or false,
  }, state.ReadableState)
  if options then
    errors.validate.options(options)
    local objectMode = options.objectMode or isDuplex and options.readableObjectMode
    half.highWaterMark = highWaterMark(options, objectMode, isDuplex and 'readableHighWaterMark')
    if objectMode then
      half.objectMode, half.plain = true, false
    end
    readCommon(half, options)
    if options.defaultEncoding then
      half.defaultEncoding = normalizeEncoding(options.defaultEncoding)
    end
    if options.encoding then
      half.encoding = normalizeEncoding(options.encoding)
      half.decoder = require('moonlatch.string_decoder').StringDecoder(half.encoding)
      half.plain = false
    end
  end
  return half
end

--- The writable half.
---@param options? stream.DuplexOptions
---@param isDuplex? boolean
function state.newWritable(options, isDuplex)
  local half = setmetatable({
    length = 0, highWaterMark = defaultBytes, plain = true, writing = false, sync = true, pendingcb = 0,
    corked = 0, needDrain = false, writelen = 0, writecb = false, onwrite = false, bufferedRequestCount = 0,
    drainTick = false, ending = false, destroyed = false,
  }, state.WritableState)
  if options then
    errors.validate.options(options)
    local objectMode = options.objectMode or isDuplex and options.writableObjectMode
    half.highWaterMark = highWaterMark(options, objectMode, isDuplex and 'writableHighWaterMark')
    if objectMode then
      half.objectMode, half.plain = true, false
    end
    readCommon(half, options)
    if options.decodeStrings == false then
      half.decodeStrings, half.plain = false, false
    end
    if options.defaultEncoding then
      half.defaultEncoding = normalizeEncoding(options.defaultEncoding)
      half.plain = half.plain and half.defaultEncoding == 'utf8'
    end
  end
  return half
end

return state

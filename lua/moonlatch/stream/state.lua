--- The two halves of a stream's state, and the rules for high-water marks.
---
--- A half is one flat table without the fields that still have their usual value: those are read through
--- the metatable. What the life of every stream touches is always there, and is no more than 16 fields, so that
--- the table need not grow. The fields bear Node's names; `plain` is ours: true while nothing but the ordinary
--- course of events is to be expected of a chunk, so that the common case is one test.

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
local function common(silent)
  return {
    objectMode = false, constructed = true, errorEmitted = false, autoDestroy = true, emitClose = not silent,
    defaultEncoding = 'utf8',
  }
end

-- The metatable of a readable half that does not emit 'close' (`silent`), or is `continuous`.
local function readableMetatable(silent, continuous)
  local defaults = common(silent)
  defaults.continuous = continuous
  defaults.emittedReadable = false
  defaults.readableListening = false
  defaults.awaitDrainWriters = false
  defaults.multiAwaitDrain = false
  return { __index = defaults, __name = 'ReadableState' }
end

local function writableMetatable(silent)
  local defaults = common(silent)
  defaults.decodeStrings = true
  defaults.needDrain = false
  defaults.drainTick = false
  defaults.corked = 0
  defaults.onwrite = false
  defaults.bufferedRequestCount = 0
  defaults.bufferProcessing = false
  return { __index = defaults, __name = 'WritableState' }
end

local readableState = { [false] = readableMetatable(false, false), [true] = readableMetatable(true, false) }
local continuousState = { [false] = readableMetatable(false, true), [true] = readableMetatable(true, true) }
local writableState = { [false] = writableMetatable(false), [true] = writableMetatable(true) }

local function highWaterMark(options, objectMode, duplexKey)
  local name, value = 'highWaterMark', options.highWaterMark
  if value == nil and duplexKey then
    name, value = duplexKey, options[duplexKey]
  end
  if value == nil then
    return objectMode and defaultObjects or defaultBytes
  end
  if type(value) ~= 'number' or value ~= floor(value) or value < 0 or value == huge then
    error(errors.argValue('options.' .. name, value), 0)
  end
  return value
end

-- Whether the stream keeps 'close' to itself; also checks that there are options at all.
local function isSilent(options)
  if not options then
    return false
  end
  errors.validate.options(options)
  return options.emitClose == false
end

local function readCommon(half, options)
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
  local silent = isSilent(options)
  -- And `flowing` and `paused`, which are nil as long as nobody has asked.
  local half = setmetatable({
    length = 0, highWaterMark = defaultBytes, plain = true, reading = false, sync = true, needReadable = false,
    readingMore = false, resumeScheduled = false, dataEmitted = false, ended = false, endEmitted = false,
    destroyed = false, closed = false, closeEmitted = false,
  }, (continuous and continuousState or readableState)[silent])
  if options then
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
  local silent = isSilent(options)
  local half = setmetatable({
    length = 0, highWaterMark = defaultBytes, plain = true, writing = false, sync = true, pendingcb = 0,
    writelen = 0, writecb = false, ending = false, ended = false, finalCalled = false, prefinished = false,
    finished = false, destroyed = false, closed = false, closeEmitted = false,
  }, writableState[silent])
  if options then
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

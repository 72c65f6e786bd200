--- Streams: Readable, Writable, Duplex, Transform, PassThrough, and what joins them.

local errors = require 'moonlatch.errors'
local state = require 'moonlatch.stream.state'
local abortSignal = require 'moonlatch.stream.abort_signal'
local finished = require 'moonlatch.stream.finished'
local pipeline = require 'moonlatch.stream.pipeline'
local transform = require 'moonlatch.stream.transform'
local Stream = require 'moonlatch.stream.legacy'

---@class stream
local stream = {
  Stream = Stream,
  Readable = require 'moonlatch.stream.readable',
  Writable = require 'moonlatch.stream.writable',
  Duplex = require 'moonlatch.stream.join',
  Transform = transform.Transform,
  PassThrough = transform.PassThrough,
  pipeline = pipeline.pipeline,
  finished = finished.finished,
  duplexPair = require('moonlatch.stream.duplex_pair').duplexPair,
  getDefaultHighWaterMark = state.getDefaultHighWaterMark,
  setDefaultHighWaterMark = state.setDefaultHighWaterMark,
  --- For coroutines: they wait for the end and raise the error instead of calling back.
  promises = { pipeline = pipeline.wait, finished = pipeline.waitFinished },
}

--- Destroys `target` with an AbortError when `signal` is aborted; returns it.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param signal AbortSignal
---@param target table
---@return table
---@source Node.js stream.addAbortSignal()
function stream.addAbortSignal(signal, target)
  if signal == nil then
    error(errors.argType('signal', 'AbortSignal', signal), 0)
  end
  errors.validate.abortSignal(signal, 'signal')
  if not finished.isStream(target) then
    error(errors.argType('stream', { 'ReadableStream', 'WritableStream', 'Stream' }, target), 0)
  end
  abortSignal.attach(signal, target)
  return target
end

--- Can the stream still be read from? nil when it is not a stream.
---@param target any
---@return boolean?
---@source Node.js stream.isReadable()
function stream.isReadable(target)
  if not finished.isStream(target) or not target._readableState then
    return nil
  end
  return finished.isReadableStream(target) and target.readable
end

--- Can the stream still be written to? nil when it is not a stream.
---@param target any
---@return boolean?
---@source Node.js stream.isWritable()
function stream.isWritable(target)
  if not finished.isStream(target) or not target._writableState then
    return nil
  end
  return finished.isWritableStream(target) and target.writable
end

local function half(target)
  return type(target) == 'table' and (target._readableState or target._writableState) or nil
end

--- Has the stream failed?
---@param target any
---@return boolean
---@source Node.js stream.isErrored()
function stream.isErrored(target)
  local rs, ws = half(target), type(target) == 'table' and target._writableState or nil
  return (rs and rs.errored or ws and ws.errored) ~= nil
end

--- Has anything been read from the stream, or was it called off?
---@param target any
---@return boolean
---@source Node.js stream.isDisturbed()
function stream.isDisturbed(target)
  local rs = type(target) == 'table' and target._readableState or nil
  return rs ~= nil and (rs.dataEmitted or target.readableAborted) == true
end

--- Has the stream been destroyed? nil when it is not a stream.
---@param target any
---@return boolean?
---@source Node.js stream.isDestroyed()
function stream.isDestroyed(target)
  local state_ = half(target)
  return state_ and state_.destroyed
end

-- `require 'stream'` can be called like the class Stream.
return setmetatable(stream, { __call = function(_, ...)
  return Stream(...)
end })

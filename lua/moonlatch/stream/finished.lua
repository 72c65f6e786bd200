--- finished(stream, callback): learns when a stream is over, whether it ended, failed or was cut off.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local abort = require 'moonlatch.abort'
local tick = require 'moonlatch.tick'
local EventEmitter = require('moonlatch.emitter').EventEmitter

local nextTick = tick.nextTick
local codes = errors.codes

local finished = {}

local function nop() end

-- What a stream is, whoever made it.

local function isReadableStream(stream)
  local rs, ws = stream._readableState, stream._writableState
  return stream.pipe ~= nil and stream.on ~= nil and (ws == nil or rs ~= nil and rs.readable ~= false)
end

local function isWritableStream(stream)
  local rs, ws = stream._readableState, stream._writableState
  return stream.write ~= nil and stream.on ~= nil and (rs == nil or ws ~= nil and ws.writable ~= false)
end

local function isStream(value)
  return class.isInstance(value, EventEmitter)
    and (value._readableState ~= nil or value._writableState ~= nil or value.write ~= nil and value.on ~= nil
      or value.pipe ~= nil and value.on ~= nil)
end

finished.isReadableStream, finished.isWritableStream, finished.isStream =
  isReadableStream, isWritableStream, isStream

-- Has the readable half ended? nil when it cannot be told.
local function readableEnded(stream, strict)
  local rs = stream._readableState
  if not rs or rs.errored then
    return rs and false or nil
  end
  return rs.endEmitted or not strict and rs.ended and rs.length == 0
end

local function writableEnded(stream, strict)
  local ws = stream._writableState
  if not ws or ws.errored then
    return ws and false or nil
  end
  return ws.finished or not strict and ws.ended and ws.length == 0
end

finished.readableEnded, finished.writableEnded = readableEnded, writableEnded

local function isReadable(stream)
  return isReadableStream(stream) and stream.readable and not readableEnded(stream, true)
end

local function isWritable(stream)
  return isWritableStream(stream) and stream.writable and not (stream._writableState or {}).ended
end

local function erroredOf(stream)
  local rs, ws = stream._readableState, stream._writableState
  return ws and ws.errored or rs and rs.errored
end

-- Will a 'close' follow when the stream is over?
local function willEmitClose(stream)
  local half = stream._writableState or stream._readableState
  return half ~= nil and half.autoDestroy and half.emitClose and half.closed == false
end

local function isClosed(stream)
  local rs, ws = stream._readableState, stream._writableState
  return ws ~= nil and ws.closed or rs ~= nil and rs.closed or false
end

-- The watch over one stream.
---@class moonlatch.stream.Watch
local Watch = class('Watch')

function Watch:init(stream, options, callback)
  self.stream, self.callback = stream, callback
  self.readable, self.writable = options.readable, options.writable
  if self.readable == nil then
    self.readable = isReadableStream(stream)
  end
  if self.writable == nil then
    self.writable = isWritableStream(stream)
  end
  self.closeComes = willEmitClose(stream) and isReadableStream(stream) == self.readable
    and isWritableStream(stream) == self.writable
  self.readableDone = readableEnded(stream)
  self.writableDone = writableEnded(stream)
  self.listeners = {}
end

function Watch:done(err)
  self.callback(err)
end

function Watch:onFinish()
  local stream = self.stream
  self.writableDone = true
  -- Destroyed inside 'finish': then it is not our kind of stream, and 'close' is not to be counted on.
  if stream.destroyed then
    self.closeComes = false
  end
  if self.closeComes and (not stream.readable or self.readable) then
    return
  end
  if not self.readable or self.readableDone then
    self:done()
  end
end

function Watch:onEnd()
  local stream = self.stream
  self.readableDone = true
  if stream.destroyed then
    self.closeComes = false
  end
  if self.closeComes and (not stream.writable or self.writable) then
    return
  end
  if not self.writable or self.writableDone then
    self:done()
  end
end

function Watch:onClose()
  local stream = self.stream
  local err = erroredOf(stream)
  if not err and (self.readable and not self.readableDone and isReadableStream(stream)
      and not readableEnded(stream)
    or self.writable and not self.writableDone and not writableEnded(stream)) then
    err = codes.ERR_STREAM_PREMATURE_CLOSE()
  end
  self:done(err)
end

function Watch:listen(event, method)
  local function listener(...)
    method(self, ...)
  end
  self.stream:on(event, listener)
  self.listeners[#self.listeners + 1] = { event, listener }
end

function Watch:start(options)
  local stream = self.stream
  self:listen('end', self.onEnd)
  self:listen('finish', self.onFinish)
  if options.error ~= false then
    self:listen('error', self.done)
  end
  self:listen('close', self.onClose)
  self.closed = isClosed(stream)
  local rs, ws = stream._readableState, stream._writableState
  if self.closed then
    nextTick(self.onClose, self)
  elseif ws and ws.errorEmitted or rs and rs.errorEmitted then
    if not self.closeComes then
      nextTick(self.onOver, self)
    end
  elseif not self.readable and (not self.closeComes or isReadable(stream))
    and (self.writableDone or not isWritable(stream)) then
    nextTick(self.onOver, self)
  elseif not self.writable and (not self.closeComes or isWritable(stream))
    and (self.readableDone or not isReadable(stream)) then
    nextTick(self.onOver, self)
  end
end

-- It was already over when we came.
function Watch:onOver()
  self:done(erroredOf(self.stream))
end

function Watch:cleanup()
  self.callback = nop
  for _, entry in ipairs(self.listeners) do
    self.stream:removeListener(entry[1], entry[2])
  end
  self.listeners = {}
  if self.removeAbort then
    self.removeAbort()
    self.removeAbort = nil
  end
end

function Watch:obey(signal)
  local function onAbort()
    local callback = self.callback
    self:cleanup()
    callback(errors.AbortError(nil, { cause = signal.reason }))
  end
  if signal.aborted then
    nextTick(onAbort)
  else
    self.removeAbort = abort.addAbortListener(signal, onAbort)
  end
end

---@class stream.FinishedOptions
---@field readable? boolean    false: not this half
---@field writable? boolean
---@field error? boolean       false: 'error' alone is not the end
---@field signal? AbortSignal  stops waiting
---@field cleanup? boolean     takes the listeners off when it is over

--- Calls `callback(err)` once when the stream can no longer be read from and written to, or has failed,
--- or was closed too early. Returns a function that calls the watch off.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param stream table
---@param options? stream.FinishedOptions
---@param callback fun(err: any)
---@return fun() cleanup
---@source Node.js stream.finished()
function finished.finished(stream, options, callback)
  if callback == nil and errors.validate.isCallable(options) then
    options, callback = nil, options
  end
  options = options or {}
  errors.validate.table(options, 'options')
  errors.validate.func(callback, 'callback')
  errors.validate.abortSignal(options.signal, 'options.signal')
  if not isStream(stream) then
    error(errors.argType('stream', { 'ReadableStream', 'WritableStream', 'Stream' }, stream), 0)
  end
  local watch
  local function once(err)
    watch.callback = nop
    if options.cleanup then
      watch:cleanup()
    elseif watch.removeAbort then
      watch.removeAbort()
      watch.removeAbort = nil
    end
    callback(err)
  end
  watch = Watch(stream, options, once)
  watch:start(options)
  if options.signal and not watch.closed then
    watch:obey(options.signal)
  end
  return function()
    watch:cleanup()
  end
end

return finished

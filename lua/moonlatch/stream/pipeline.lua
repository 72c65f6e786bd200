--- pipeline(a, b, …, callback): pipes streams into each other, and when one fails destroys them all.

local errors = require 'moonlatch.errors'
local abort = require 'moonlatch.abort'
local class = require 'moonlatch.class'
local tick = require 'moonlatch.tick'
local await = require 'moonlatch.await'
local finishedModule = require 'moonlatch.stream.finished'
local Readable = require 'moonlatch.stream.readable'

local type, ipairs, xpcall = type, ipairs, xpcall
local nextTick = tick.nextTick
local codes = errors.codes
local finished, isStream = finishedModule.finished, finishedModule.isStream

-- One run of a pipeline.
---@class moonlatch.stream.Pipeline
local Pipeline = class('Pipeline')

function Pipeline:init(streams, options, callback)
  self.streams, self.options, self.callback = streams, options, callback
  self.pending = 0      -- ends still awaited
  self.destroyers = {}
  self.cleanups = {}    -- undone at success, for a last stream that may still be read
end

-- One of the ends that are awaited has come, or something failed.
function Pipeline:finish(err)
  self.pending = self.pending - 1
  self:conclude(err, self.pending == 0)
end

function Pipeline:conclude(err, final)
  local failure = self.failure
  if err and (not failure or type(failure) == 'table' and failure.code == 'ERR_STREAM_PREMATURE_CLOSE') then
    self.failure = err
  end
  if not self.failure and not final then
    return
  end
  local destroyers = self.destroyers
  self.destroyers = {}
  for _, destroyStream in ipairs(destroyers) do
    destroyStream(self.failure)
  end
  if self.removeAbort then
    self.removeAbort()
    self.removeAbort = nil
  end
  if final then
    if not self.failure then
      for _, cleanup in ipairs(self.cleanups) do
        cleanup()
      end
    end
    nextTick(self.callback, self.failure, self.value)
  end
end

function Pipeline:finisher()
  return function(err)
    self:finish(err)
  end
end

-- Sees to it that the stream is destroyed when the pipeline is over, unless it ended by itself.
function Pipeline:guard(stream, reading, writing, isLast)
  local over = false
  stream:on('close', function()
    over = true
  end)
  local cleanup = finished(stream, { readable = reading, writable = writing }, function(err)
    over = not err
  end)
  self.destroyers[#self.destroyers + 1] = function(err)
    if not over then
      over = true
      if not stream.destroyed then
        stream:destroy(err or codes.ERR_STREAM_DESTROYED('pipe'))
      end
    end
  end
  if isLast and stream.readable then
    self.cleanups[#self.cleanups + 1] = cleanup
  end
end

-- Errors may also come when the pipe as such is done.
function Pipeline:watchErrors(stream, isLast)
  local function onError(err)
    if err and (type(err) ~= 'table'
      or err.name ~= 'AbortError' and err.code ~= 'ERR_STREAM_PREMATURE_CLOSE') then
      self:finish(err)
    end
  end
  stream:on('error', onError)
  if isLast and stream.readable then
    self.cleanups[#self.cleanups + 1] = function()
      stream:removeListener('error', onError)
    end
  end
end

local function watchSource(src, finish)
  finished(src, { readable = true, writable = false }, function(err)
    local rs = src._readableState
    if err and type(err) == 'table' and err.code == 'ERR_STREAM_PREMATURE_CLOSE'
      and rs and rs.ended and not rs.errored and not rs.errorEmitted then
      -- Closed before 'end', which still comes.
      src:once('end', finish):once('error', finish)
    else
      finish(err)
    end
  end)
end

function Pipeline:pipe(src, dest, endDest)
  local ended = false
  local finish = self:finisher()
  self.pending = self.pending + 2
  dest:on('close', function()
    if not ended then
      finish(codes.ERR_STREAM_PREMATURE_CLOSE())
    end
  end)
  src:pipe(dest, { ['end'] = false })
  if endDest then
    local function endNow()
      ended = true
      dest:finish()
    end
    if finishedModule.readableEnded(src) then
      nextTick(endNow)
    else
      src:once('end', endNow)
    end
  else
    finish()
  end
  watchSource(src, finish)
  return finished(dest, { readable = false, writable = true }, finish)
end

-- The last stage may be a function, which iterates over what comes to it; what it returns goes to the
-- callback.
function Pipeline:consume(src, consumer)
  self.pending = self.pending + 1
  coroutine.wrap(function()
    local ok, value = xpcall(consumer, errors.from, src:chunks())
    if ok then
      self.value = value
      self:finish()
    else
      self:finish(value)
    end
  end)()
end

-- Raises before anything has been done to any of them.
local function checkStages(streams)
  for index, stage in ipairs(streams) do
    local fit
    if isStream(stage) then
      fit = (index == 1 or finishedModule.isWritableStream(stage))
        and (index == #streams or finishedModule.isReadableStream(stage))
    elseif index == 1 then
      fit = type(stage) == 'table' and class.of(stage) == nil or errors.validate.isCallable(stage)
    else
      fit = type(stage) == 'function'
    end
    if not fit then
      error(errors.argType(('streams[%d]'):format(index), { 'Stream', 'function' }, stage), 0)
    end
  end
end

function Pipeline:addStage(index, previous)
  local stage = self.streams[index]
  local isLast = index == #self.streams
  if index > 1 and type(stage) == 'function' then
    if isLast then
      self:consume(previous, stage)
      return previous
    end
    -- A function between streams takes an iterator and returns another.
    stage = Readable.from(stage(previous:chunks()))
    self:guard(stage, true, false, false)
    self:watchErrors(stage, false)
    return stage
  end
  local stream = isStream(stage) and stage or Readable.from(stage)
  local endDest = not isLast or self.options['end'] ~= false
  if endDest then
    self:guard(stream, not isLast, index > 1, isLast)
  end
  self:watchErrors(stream, isLast)
  if previous then
    local cleanup = self:pipe(previous, stream, endDest)
    if isLast and stream.readable then
      self.cleanups[#self.cleanups + 1] = cleanup
    end
  end
  return stream
end

function Pipeline:obey(signal)
  local function onAbort()
    self:conclude(errors.AbortError(nil, { cause = signal.reason }), false)
  end
  if signal.aborted then
    nextTick(onAbort)
  else
    self.removeAbort = abort.addAbortListener(signal, onAbort)
  end
end

function Pipeline:run()
  local stream
  for index = 1, #self.streams do
    stream = self:addStage(index, stream)
  end
  if self.options.signal then
    self:obey(self.options.signal)
  end
  return stream
end

local function isOptions(value)
  return type(value) == 'table' and not isStream(value) and #value == 0 and class.of(value) == nil
    and not errors.validate.isCallable(value)
end

-- Streams, perhaps in one list, perhaps followed by options.
local function readArguments(arguments)
  local options = {}
  if #arguments > 1 and isOptions(arguments[#arguments]) then
    options = table.remove(arguments)
    errors.validate.abortSignal(options.signal, 'options.signal')
  end
  local streams = arguments
  if #arguments == 1 and type(arguments[1]) == 'table' and not isStream(arguments[1]) then
    streams = arguments[1]
  end
  if #streams < 2 then
    error(codes.ERR_MISSING_ARGS('streams'), 0)
  end
  checkStages(streams)
  return streams, options
end

local pipeline = {}

--- Pipes the streams into each other, ends each with the one before, destroys all when one fails or
--- closes early, and calls `callback(err)` once when everything is over. The first may be a sequence or
--- an iterator function, one between a function that takes an iterator and returns one, the last a
--- function that takes an iterator: what it returns is the callback's second argument. Returns the last
--- stream.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_MISSING_ARGS for fewer than two streams.
---@param ... any  streams (or a list of them), options ({ signal=, ['end']= }), callback
---@return table
---@source Node.js stream.pipeline()
function pipeline.pipeline(...)
  local arguments = { ... }
  local callback = table.remove(arguments)
  if not errors.validate.isCallable(callback) then
    error(errors.argType('streams[stream.length - 1]', 'function', callback), 0)
  end
  local streams, options = readArguments(arguments)
  return Pipeline(streams, options, callback):run()
end

--- The same inside a coroutine: waits for the end, raises the error.
---@param ... any  streams, options
---@return any value  what a last function returned
---@source Node.js stream.promises.pipeline()
function pipeline.wait(...)
  local streams, options = readArguments({ ... })
  return await.call('pipeline', function(done)
    Pipeline(streams, options, done):run()
  end)
end

--- Does as stream.finished inside a coroutine: waits until the stream is over, raises its error.
---@param stream table
---@param options? stream.FinishedOptions
---@return nil
---@source Node.js stream.promises.finished()
function pipeline.waitFinished(stream, options)
  return await.call('finished', function(done)
    finished(stream, options or {}, done)
  end)
end

return pipeline

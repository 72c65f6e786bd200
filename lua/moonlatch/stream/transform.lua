--- Transform: a Duplex that gives out what becomes of what is written; PassThrough changes nothing.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local Duplex = require 'moonlatch.stream.duplex'

local type, pairs = type, pairs
local nextTick = require('moonlatch.tick').nextTick

---@class stream.TransformOptions : stream.DuplexOptions
---@field transform? fun(self: Transform, chunk: any, encoding: string, callback: fun(err: any, chunk: any))
---@field flush? fun(self: Transform, callback: fun(err: any, chunk: any))

---@class Transform : Duplex
---@overload fun(options?: stream.TransformOptions): Transform
local Transform = class('Transform', Duplex)

-- With a readable mark of 0 nothing is to be buffered, on neither side.
local function unbuffered(options)
  local copy = {}
  for key, value in pairs(options) do
    copy[key] = value
  end
  copy.highWaterMark = nil
  copy.readableHighWaterMark = 0
  copy.writableHighWaterMark = options.writableHighWaterMark or 0
  return copy
end

--- What is read is made of what is written.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param options? stream.TransformOptions
---@source Node.js stream.Transform
function Transform:init(options)
  errors.validate.options(options or nil)
  if options and (options.highWaterMark == 0
    or options.highWaterMark == nil and options.readableHighWaterMark == 0) then
    options = unbuffered(options)
  end
  Duplex.init(self, options)
  -- Nothing is wanted from a _read before the first write, so the first chunk may go straight out.
  self._readableState.sync = false
  if options then
    if type(options.transform) == 'function' then
      self._transform = options.transform
    end
    if type(options.flush) == 'function' then
      self._flush = options.flush
    end
  end
end

-- Flushes and ends the readable half; then calls back, or without a callback reports failure itself.
local function flush(self, callback)
  if not self._flush or self.destroyed then
    self:push(nil)
    if callback then
      callback()
    end
    return
  end
  self:_flush(function(err, chunk)
    if err then
      if callback then
        callback(err)
      else
        self:destroy(err)
      end
      return
    end
    if chunk ~= nil then
      self:push(chunk)
    end
    self:push(nil)
    if callback then
      callback()
    end
  end)
end

function Transform:_final(callback)
  flush(self, callback)
end

-- A _final of the user's own does not know of flushing.
function Transform:_onPrefinish()
  if self._final ~= Transform._final then
    flush(self)
  end
end

--- Implemented by subclasses or the `transform` option: pushes what becomes of the chunk, or gives it to
--- the callback.
---@param chunk any
---@param name string
---@param callback fun(err: any, chunk: any)
function Transform:_transform(chunk, name, callback) -- luacheck: ignore chunk name callback
  error(errors.codes.ERR_METHOD_NOT_IMPLEMENTED('_transform()'), 0)
end

-- Takes the callback of the write that is under way once the readable half has room.
local function onTransformed(self, err, chunk)
  local ws, rs = self._writableState, self._readableState
  local callback, length = self._writeCallback, self._lengthBefore
  if err then
    callback(err)
    return
  end
  if chunk ~= nil then
    self:push(chunk)
  end
  if rs.ended then
    -- It pushed the end, which is to be seen before the write is done.
    nextTick(callback)
  -- Done when the writable half has ended, when nothing came of it, or when there is room for more.
  elseif ws.ended or length == rs.length or rs.length < rs.highWaterMark then
    callback()
  else
    self._held = callback
  end
end

function Transform:_write(chunk, name, callback)
  self._writeCallback, self._lengthBefore = callback, self._readableState.length
  local transformed = self._transformed
  if not transformed then
    -- One for the life of the stream, like onwrite.
    function transformed(err, result)
      onTransformed(self, err, result)
    end
    self._transformed = transformed
  end
  self:_transform(chunk, name, transformed)
end

-- The readable half has been read from: the write that waited for that is done.
function Transform:_read()
  local callback = self._held
  if callback then
    self._held = nil
    callback()
  end
end

---@class PassThrough : Transform
---@overload fun(options?: stream.TransformOptions): PassThrough
local PassThrough = class('PassThrough', Transform)

function PassThrough:_transform(chunk, _, callback)
  callback(nil, chunk)
end

return { Transform = Transform, PassThrough = PassThrough }

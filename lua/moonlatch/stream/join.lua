--- Duplex.from: one Duplex made of two halves that exist already.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local finished = require 'moonlatch.stream.finished'
local Duplex = require 'moonlatch.stream.duplex'
local Readable = require 'moonlatch.stream.readable'

local type = type

---@class moonlatch.stream.Joined : Duplex
local Joined = class('Duplexify', Duplex)

Joined._in, Joined._out = false, false                     -- the halves, false where there is none
Joined._drained, Joined._finalCallback, Joined._wanted = false, false, false

local function give(self)
  local source = self._in
  while self._wanted do
    local chunk = source:read()
    if chunk == nil then
      return
    elseif not self:push(chunk) then
      self._wanted = false
    end
  end
end

local function joinSource(self, source)
  source:on('readable', function()
    give(self)
  end)
  source:on('end', function()
    self:push(nil)
  end)
end

local function joinSink(self, sink)
  sink:on('drain', function()
    local callback = self._drained
    if callback then
      self._drained = false
      callback()
    end
  end)
  sink:on('finish', function()
    local callback = self._finalCallback
    if callback then
      self._finalCallback = false
      callback()
    end
  end)
end

-- A half that fails, or goes without an end, takes the whole with it.
local function watch(self, half, options)
  finished.finished(half, options, function(err)
    if err then
      self:destroy(err)
    end
  end)
end

function Joined:init(source, sink)
  self._in, self._out = source or false, sink or false
  local state = source and source._readableState
  Duplex.init(self, {
    readable = source ~= nil, writable = sink ~= nil, readableObjectMode = state and state.objectMode or false,
    writableObjectMode = sink and sink._writableState.objectMode or false,
  })
  if source then
    joinSource(self, source)
    watch(self, source, { writable = false })
  end
  if sink then
    joinSink(self, sink)
    watch(self, sink, { readable = false })
  end
end

function Joined:_read()
  self._wanted = true
  give(self)
end

function Joined:_write(chunk, name, callback)
  if self._out:write(chunk, name) then
    callback()
  else
    self._drained = callback
  end
end

function Joined:_final(callback)
  local sink = self._out
  if not sink or sink.writableFinished then
    callback()
  else
    self._finalCallback = callback
    sink:finish()
  end
end

-- A half that is over is left alone: what went into a PassThrough may not have come out yet.
function Joined:_destroy(err, callback)
  local source, sink = self._in, self._out
  if source and not source.readableEnded then
    source:destroy(err)
  end
  if sink and not sink.writableFinished then
    sink:destroy(err)
  end
  callback(err)
end

local function isHalf(value, state)
  return value == nil or finished.isStream(value) and value[state] ~= nil
end

--- A Duplex that reads from one stream and writes to another, given as `{ readable = …, writable = … }`. A Duplex is
--- returned as it is; a stream with one half, a sequence or an iterator function become a Duplex with one half.
---@param source any
---@return Duplex
---@source Node.js stream.Duplex.from()
local function from(source)
  if class.isInstance(source, Duplex) then
    return source
  elseif finished.isStream(source) then
    local readable, writable = source._readableState, source._writableState
    return Joined(readable and source or nil, writable and source or nil)
  elseif type(source) == 'table' and (source.readable ~= nil or source.writable ~= nil) then
    if not isHalf(source.readable, '_readableState') then
      error(errors.argType('readable', 'Readable', source.readable), 0)
    elseif not isHalf(source.writable, '_writableState') then
      error(errors.argType('writable', 'Writable', source.writable), 0)
    end
    return Joined(source.readable, source.writable)
  elseif type(source) == 'table' or type(source) == 'function' then
    return Joined(Readable.from(source))
  end
  error(errors.argType('body', { 'Stream', 'Iterable', 'function', 'Object' }, source), 0)
end

rawset(Duplex, 'from', from)

return Duplex

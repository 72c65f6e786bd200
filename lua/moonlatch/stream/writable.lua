--- Writable streams.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local state = require 'moonlatch.stream.state'
local destroy = require 'moonlatch.stream.destroy'
local encoding = require 'moonlatch.stream.encoding'
local finishing = require 'moonlatch.stream.finishing'
local writeBuffer = require 'moonlatch.stream.write_buffer'
local direct = require 'moonlatch.stream.direct'
local Stream = require 'moonlatch.stream.legacy'

local type = type
local nextTick = tick.nextTick
local codes = errors.codes
local errorOrDestroy = destroy.errorOrDestroy
local isCallable = errors.validate.isCallable

---@class Writable : Stream
---@field writable boolean
---@field destroyed boolean
---@field closed boolean
---@field errored any
---@field writableEnded boolean
---@field writableFinished boolean
---@field writableLength integer
---@field writableHighWaterMark integer
---@field writableObjectMode boolean
---@field writableNeedDrain boolean
---@field writableCorked integer
---@field writableAborted boolean
---@field writableBuffer { chunk: any, encoding: string, callback: function }[]
---@overload fun(options?: stream.WritableOptions): Writable
local Writable = class('Writable', Stream)

-- The callback of a write that was given none: told apart, so that no tick is spent on it.
local nop = writeBuffer.nop

local finishMaybe = finishing.maybe
local clearBuffer

-- Options that become the method of the same name with an underscore before it.
local function takeMethods(self, options)
  if type(options.write) == 'function' then
    self._write = options.write
  end
  if type(options.writev) == 'function' then
    self._writev = options.writev
  end
  if type(options.final) == 'function' then
    self._final = options.final
  end
  destroy.takeMethods(self, options)
end

---@param options? stream.WritableOptions
---@source Node.js stream.Writable
function Writable:init(options)
  self:_initWritable(options, false)
  if options and options.signal then
    require('moonlatch.stream.abort_signal').attach(options.signal, self)
  end
  if self._construct then
    self:_constructWritable()
  end
end

-- The writable half of a constructor, for Duplex too.
function Writable:_initWritable(options, isDuplex)
  self._writableState = state.newWritable(options, isDuplex)
  if not options then
    return
  end
  takeMethods(self, options)
end

function Writable:_constructWritable()
  destroy.construct(self, function()
    local ws = self._writableState
    if not ws.writing then
      clearBuffer(self, ws)
    end
    if ws.ending then
      finishMaybe(self, ws)
    end
  end)
end

-- Recomputes ws.plain: may a string be handed to _write without further questions?
function Writable:_updatePlain()
  local ws = self._writableState
  ws.plain = ws.corked == 0 and ws.constructed and not ws.ending and not ws.destroyed and not ws.errored
    and not ws.objectMode and ws.decodeStrings and ws.defaultEncoding == 'utf8'
end

Writable._failBuffered = writeBuffer.fail

-- After writes are done: 'drain' first, then the write's callback.
local function afterWrite(self, ws, callback)
  if ws.needDrain and ws.length == 0 and not ws.ending and not ws.destroyed then
    ws.needDrain = false
    self:emit('drain')
  end
  ws.pendingcb = ws.pendingcb - 1
  callback()
  if ws.destroyed then
    writeBuffer.fail(self)
  end
  if ws.ending then
    finishMaybe(self, ws)
  end
end

local function afterSilentWrite(self, ws)
  ws.drainTick = false
  afterWrite(self, ws, nop)
end

local function failWrite(self, ws, err, callback)
  ws.pendingcb = ws.pendingcb - 1
  callback(err)
  -- Callbacks of what is buffered come before 'error'.
  writeBuffer.fail(self)
  errorOrDestroy(self, err)
end

local function onWriteError(self, ws, err, callback)
  destroy.keepError(err, ws, self._readableState)
  if ws.sync then
    nextTick(failWrite, self, ws, err, callback)
  else
    failWrite(self, ws, err, callback)
  end
end

-- _write has called back.
local function onWrite(self, ws, err)
  local callback = ws.writecb
  if not callback then
    errorOrDestroy(self, codes.ERR_MULTIPLE_CALLBACK())
    return
  end
  ws.writing = false
  ws.writecb = false
  ws.length = ws.length - ws.writelen
  ws.writelen = 0
  if err then
    onWriteError(self, ws, err, callback)
    return
  end
  if ws.bufferedRequestCount > 0 then
    clearBuffer(self, ws)
  end
  if not ws.sync then
    afterWrite(self, ws, callback)
  elseif callback ~= nop then
    nextTick(afterWrite, self, ws, callback)
  elseif not ws.drainTick and (ws.needDrain and ws.length == 0 or ws.destroyed) then
    ws.drainTick = true
    nextTick(afterSilentWrite, self, ws)
  else
    -- Nobody is to be told anything, or a tick that will is on its way.
    ws.pendingcb = ws.pendingcb - 1
    if ws.ending then
      finishMaybe(self, ws)
    end
  end
end

-- The callback given to _write, one for the life of the stream.
local function newOnWrite(self, ws)
  local function onwrite(err) -- of one upvalue: another takes 80 bytes in every stream that writes
    onWrite(self, self._writableState, err)
  end
  ws.onwrite = onwrite
  return onwrite
end

local function startWrite(self, ws, length, callback)
  ws.writelen, ws.writecb, ws.writing, ws.sync = length, callback, true, true
  return ws.onwrite or newOnWrite(self, ws)
end

-- What write() returns: below the mark, or empty because the chunk has been dealt with already. False also when the
-- stream failed, to end a loop that writes until false.
local function mayWriteOn(ws)
  local length = ws.length
  if length >= ws.highWaterMark and length ~= 0 then
    ws.needDrain = true
    return false
  end
  return ws.plain or not ws.errored and not ws.destroyed
end

local function writeOrBuffer(self, ws, chunk, name, callback)
  local length = ws.objectMode and 1 or #chunk
  ws.length = ws.length + length
  if ws.writing or ws.corked > 0 or ws.errored or not ws.constructed then
    writeBuffer.add(ws, chunk, name, callback)
  else
    self:_write(chunk, name, startWrite(self, ws, length, callback))
    ws.sync = false
  end
  return mayWriteOn(ws)
end

local function canonicalEncoding(name)
  local canonical = encoding.normalize(name)
  if not canonical then
    error(codes.ERR_UNKNOWN_ENCODING(name), 0)
  end
  return canonical
end

-- The chunk as _write will see it, with its encoding; raises when it is not one.
local function checkChunk(ws, chunk, name)
  if chunk == nil then
    error(codes.ERR_STREAM_NULL_VALUES(), 0)
  elseif ws.objectMode then
    return chunk, name
  end
  if not name then
    name = ws.defaultEncoding
  elseif name ~= 'buffer' then
    name = canonicalEncoding(name)
  end
  if type(chunk) ~= 'string' then
    error(errors.argType('chunk', { 'string', 'Buffer', 'TypedArray', 'DataView' }, chunk), 0)
  elseif not ws.decodeStrings then
    return chunk, name
  elseif name ~= 'buffer' then
    chunk = encoding.decode(chunk, name)
  end
  return chunk, 'buffer'
end

-- Writes, or returns the error that kept it from it.
local function write(self, chunk, name, callback)
  local ws = self._writableState
  if callback == nil and name ~= nil and type(name) ~= 'string' and isCallable(name) then
    name, callback = nil, name
  end
  if callback == nil or not isCallable(callback) then
    callback = nop
  end
  chunk, name = checkChunk(ws, chunk, name)
  local err
  if ws.ending then
    err = codes.ERR_STREAM_WRITE_AFTER_END()
  elseif ws.destroyed then
    err = codes.ERR_STREAM_DESTROYED('write')
  end
  if err then
    nextTick(callback, err)
    errorOrDestroy(self, err, true)
    return err
  end
  ws.pendingcb = ws.pendingcb + 1
  return writeOrBuffer(self, ws, chunk, name, callback)
end

-- A write of so many bytes is under way that write() has not seen. Returns the callback for its end, and whether more
-- may be written meanwhile.
function Writable:_adoptWrite(length)
  local ws = self._writableState
  ws.length, ws.pendingcb = ws.length + length, ws.pendingcb + 1
  local onwrite = startWrite(self, ws, length, nop)
  ws.sync = false
  return onwrite, mayWriteOn(ws)
end

-- A string that nobody wants to hear of again goes to _write; with `err` it could not go.
local function writePlain(self, ws, chunk, err)
  local length = #chunk
  ws.length, ws.pendingcb = ws.length + length, ws.pendingcb + 1
  local onwrite = startWrite(self, ws, length, nop)
  if err then
    onwrite(err)
  else
    self:_write(chunk, 'buffer', onwrite)
  end
  ws.sync = false
  return mayWriteOn(ws)
end

local function writeDirectly(self, ws, chunk, run)
  local taken, more = run(self, chunk)
  if taken then
    return true
  elseif taken == false then
    return more
  end
  return writePlain(self, ws, chunk, more)
end

--- Writes a chunk. False means: wait for 'drain' before writing more (it was taken all the same). The
--- callback gets the error, if any, when the chunk has been handled. A string with an encoding such as
--- 'hex' is decoded.
---@param chunk any
---@param name? string|function  encoding
---@param callback? fun(err: any)
---@return boolean
---@source Node.js writable.write()
function Writable:write(chunk, name, callback)
  local ws = self._writableState
  -- The common case by itself, which makes no garbage.
  if ws.plain and name == nil and callback == nil and not ws.writing and type(chunk) == 'string' then
    local run = direct[self._write]
    if run then
      return writeDirectly(self, ws, chunk, run)
    end
    return writePlain(self, ws, chunk)
  end
  return write(self, chunk, name, callback) == true
end

-- All that is buffered in one call: _writeStrings (a list of strings, decoded) where the class has it,
-- else _writev.
local function writeBatch(self, ws, writeStrings)
  ws.pendingcb = ws.pendingcb - (ws.bufferedRequestCount - 1)
  local list, callback = writeBuffer.takeAll(ws, writeStrings ~= nil)
  local onwrite = startWrite(self, ws, ws.length, callback)
  if writeStrings then
    writeStrings(self, list, onwrite)
  else
    self:_writev(list, onwrite)
  end
  ws.sync = false
end

-- What is buffered one by one, until one of them does not complete at once.
local function writeEach(self, ws)
  repeat
    local chunk, name, callback = writeBuffer.take(ws)
    local onwrite = startWrite(self, ws, ws.objectMode and 1 or #chunk, callback)
    if ws.destroyed then
      onwrite(codes.ERR_STREAM_DESTROYED('write'))
    else
      self:_write(chunk, name, onwrite)
    end
    ws.sync = false
  until ws.bufferedRequestCount == 0 or ws.writing
end

function clearBuffer(self, ws)
  if ws.bufferedRequestCount == 0 or ws.corked > 0 or ws.bufferProcessing or ws.destroyed
    or not ws.constructed then
    return
  end
  ws.bufferProcessing = true
  local writeStrings = nil
  if ws.decodeStrings and not ws.objectMode then
    writeStrings = self._writeStrings
  end
  if ws.bufferedRequestCount > 1 and (writeStrings or self._writev) then
    writeBatch(self, ws, writeStrings)
  else
    writeEach(self, ws)
  end
  ws.bufferProcessing = false
end

--- Holds writes back until uncork() is called as often, to hand them on in one go.
---@source Node.js writable.cork()
function Writable:cork()
  local ws = self._writableState
  ws.corked = ws.corked + 1
  ws.plain = false
end

--- Undoes one cork(); the last one hands on what was held back.
---@source Node.js writable.uncork()
function Writable:uncork()
  local ws = self._writableState
  if ws.corked == 0 then
    return
  end
  ws.corked = ws.corked - 1
  if ws.corked == 0 then
    self:_updatePlain()
  end
  if not ws.writing then
    clearBuffer(self, ws)
  end
end

--- The encoding of strings written without one.
---@param name string
---@return self
---@source Node.js writable.setDefaultEncoding()
function Writable:setDefaultEncoding(name)
  self._writableState.defaultEncoding = canonicalEncoding(name)
  self:_updatePlain()
  return self
end

--- Implemented by subclasses or the `write` option: handles a chunk, then calls back.
---@param chunk any
---@param name string
---@param callback fun(err: any)
function Writable:_write(chunk, name, callback)
  if self._writev then
    self:_writev({ { chunk = chunk, encoding = name } }, callback)
  elseif self._writeStrings then
    self:_writeStrings({ chunk }, callback)
  else
    error(codes.ERR_METHOD_NOT_IMPLEMENTED('_write()'), 0)
  end
end

--- Writes a last chunk, if given, and ends the stream: 'finish' follows when everything is written.
--- Node's end(); it also stands under the key 'end'.
---@param chunk? any
---@param name? string
---@param callback? fun(err: any)  called at 'finish', or with the error that prevented it
---@return self
---@source Node.js writable.end()
function Writable:finish(chunk, name, callback)
  local ws = self._writableState
  if type(chunk) == 'function' then
    chunk, name, callback = nil, nil, chunk
  elseif type(name) == 'function' then
    name, callback = nil, name
  elseif not isCallable(callback) then
    callback = nil
  end
  local err
  if chunk ~= nil then
    local result = write(self, chunk, name)
    if type(result) == 'table' then
      err = result
    end
  end
  if ws.corked > 0 then
    ws.corked = 1
    self:uncork()
  end
  if not err then
    if not ws.errored and not ws.ending then
      err = finishing.refusal(ws) -- destroyed before: nothing will come of it any more
      ws.ending, ws.plain = true, false
      finishMaybe(self, ws)
      ws.ended = true
    else
      err = finishing.refusal(ws)
    end
  end
  if callback then
    if err or ws.errored or ws.finished then
      nextTick(callback, err or ws.errored)
    else
      ws.onFinished = ws.onFinished or {}
      ws.onFinished[#ws.onFinished + 1] = callback
    end
  end
  return self
end

Writable['end'] = Writable.finish

--- A Writable cannot be read.
---@source Node.js writable.pipe()
function Writable:pipe()
  errorOrDestroy(self, codes.ERR_STREAM_CANNOT_PIPE())
end

Writable.destroy = destroy.destroy
Writable._undestroy = destroy.undestroy

--- Implemented by subclasses or the `destroy` option.
---@param err any
---@param callback fun(err: any)
function Writable:_destroy(err, callback)
  callback(err)
end

require('moonlatch.stream.writable_properties')(Writable)

return Writable

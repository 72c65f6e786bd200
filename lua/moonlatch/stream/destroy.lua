--- How streams of all kinds are constructed, fail and end: 'error' at most once, then 'close', last and
--- once.

local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local EventEmitter = require('moonlatch.emitter').EventEmitter
local direct = require 'moonlatch.stream.direct'

local type, xpcall = type, xpcall
local nextTick = tick.nextTick
local codes = errors.codes

local destroy = {}

-- Internal events.
local CONSTRUCTED = setmetatable({}, { __tostring = function() return 'Symbol(kConstruct)' end })
local DESTROY = setmetatable({}, { __tostring = function() return 'Symbol(kDestroy)' end })

-- Remembers the first error on both halves.
local function keepError(err, w, r)
  if not err then
    return
  end
  if w and w.errored == nil then
    w.errored, w.plain = err, false
  end
  if r and r.errored == nil then
    r.errored, r.plain = err, false
  end
end

destroy.keepError = keepError

-- Two errors met: the outer one counts and lists both.
local function both(inner, outer)
  if not inner or not outer or inner == outer then
    return inner or outer
  end
  if type(outer) == 'table' and type(outer.errors) == 'table' then
    outer.errors[#outer.errors + 1] = inner
    return outer
  end
  local isError = type(outer) == 'table'
  return errors.new(isError and outer.message or tostring(outer),
    { name = 'AggregateError', code = isError and outer.code or nil, errors = { outer, inner } })
end

local function emitClose(self)
  local w, r = self._writableState, self._readableState
  if w then
    w.closeEmitted = true
  end
  if r then
    r.closeEmitted = true
  end
  if w and w.emitClose or r and r.emitClose then
    self:emit('close')
  end
end

local function emitError(self, err)
  local w, r = self._writableState, self._readableState
  if w and w.errorEmitted or r and r.errorEmitted then
    return
  end
  if w then
    w.errorEmitted = true
  end
  if r then
    r.errorEmitted = true
  end
  self:emit('error', err)
end

local function emitCloseStill(self)
  if not (self._writableState or self._readableState).closeEmitted then
    emitClose(self)
  end
end

-- An error that nobody listens for is raised in here, and 'close' comes all the same.
local function emitErrorClose(self, err)
  nextTick(emitCloseStill, self)
  emitError(self, err)
  emitClose(self)
end

-- _destroy is done.
local function destroyed(self, failure, callback)
  local w, r = self._writableState, self._readableState
  keepError(failure, w, r)
  if w then
    w.closed = true
  end
  if r then
    r.closed = true
  end
  if callback then
    callback(failure)
  end
  if failure then
    nextTick(emitErrorClose, self, failure)
  else
    nextTick(emitClose, self)
  end
end

local function destroyWithCallback(self, err, callback)
  local called = false
  local function onDestroy(failure)
    if not called then
      called = true
      destroyed(self, failure, callback)
    end
  end
  local ok, failure = xpcall(self._destroy, errors.from, self, err, onDestroy)
  if not ok then
    onDestroy(failure)
  end
end

local function runDestroy(self, err, callback)
  local run = direct[self._destroy]
  if not run then
    destroyWithCallback(self, err, callback)
    return
  end
  local ok, failure = xpcall(run, errors.from, self, destroyed, err, callback)
  if not ok and not (self._writableState or self._readableState).closed then
    destroyed(self, failure, callback)
  end
end

local function callBack(_, err, callback)
  callback(err)
end

--- A `_destroy` made of its form for `direct`.
---@param run fun(self: table, done: function, err: any, callback?: function)
---@return fun(self: table, err: any, callback: fun(err: any))
function destroy.method(run)
  local function method(self, err, callback)
    run(self, callBack, err, callback)
  end
  direct[method] = run
  return method
end

--- Takes the methods that either half may be given as options. No loop: LuaJIT would not compile a constructor that
--- contains one.
---@param self table
---@param options table
function destroy.takeMethods(self, options)
  if type(options.destroy) == 'function' then
    self._destroy = options.destroy
  end
  if type(options.construct) == 'function' then
    self._construct = options.construct
  end
end

local function destroyConstructed(self, err, callback)
  self:once(DESTROY, function(failure)
    runDestroy(self, both(failure, err), callback)
  end)
end

--- Ends the stream: _destroy is called, then come 'error' (when `err` is given) and 'close'. Only the
--- first call counts.
---@param self table
---@param err? any
---@param callback? fun(err: any)  internal, called when _destroy is done
function destroy.destroy(self, err, callback)
  local w, r = self._writableState, self._readableState
  if callback ~= nil and not errors.validate.isCallable(callback) then
    callback = nil
  end
  if w and w.destroyed or r and r.destroyed then
    if callback then
      callback()
    end
    return self
  end
  -- Whoever still waits for a write of ours to be done must hear that it will not be.
  if w and (w.bufferedRequestCount > 0 or w.onFinished) then
    nextTick(self._failBuffered, self)
  end
  keepError(err, w, r)
  if w then
    w.destroyed, w.plain = true, false
  end
  if r then
    r.destroyed, r.plain = true, false
  end
  if (w or r).constructed then
    runDestroy(self, err, callback)
  else
    destroyConstructed(self, err, callback)
  end
  return self
end

--- Reports a failure: a stream with autoDestroy is destroyed, another one emits 'error', in the next tick
--- when `later` is set.
---@param self table
---@param err any
---@param later? boolean
function destroy.errorOrDestroy(self, err, later)
  local w, r = self._writableState, self._readableState
  if w and w.destroyed or r and r.destroyed then
    return
  end
  if r and r.autoDestroy or w and w.autoDestroy then
    self:destroy(err)
  elseif err then
    keepError(err, w, r)
    if later then
      nextTick(emitError, self, err)
    else
      emitError(self, err)
    end
  end
end

local function runConstruct(self)
  local called = false
  local function onConstruct(err)
    if called then
      destroy.errorOrDestroy(self, err or codes.ERR_MULTIPLE_CALLBACK())
      return
    end
    called = true
    local w, r = self._writableState, self._readableState
    if r then
      r.constructed = true
    end
    if w then
      w.constructed = true
      self:_updatePlain()
    end
    if (w or r).destroyed then
      self:emit(DESTROY, err)
    elseif err then
      destroy.errorOrDestroy(self, err, true)
    else
      self:emit(CONSTRUCTED)
    end
  end
  local function done(err)
    nextTick(onConstruct, err)
  end
  local ok, failure = xpcall(self._construct, errors.from, self, done)
  if not ok then
    nextTick(onConstruct, failure)
  end
end

--- Starts _construct, if there is one, in the next tick; `callback` is called when it has succeeded.
--- Nothing is read, written or destroyed before.
---@param self table
---@param callback fun()
function destroy.construct(self, callback)
  local w, r = self._writableState, self._readableState
  if r then
    r.constructed = false
  end
  if w then
    w.constructed, w.plain = false, false
  end
  self:once(CONSTRUCTED, callback)
  -- Both halves of a Duplex come here.
  if self:listenerCount(CONSTRUCTED) == 1 then
    nextTick(runConstruct, self)
  end
end

--- Makes a destroyed stream usable again (net.Socket does, to connect anew).
---@param self table
function destroy.undestroy(self)
  local r, w = self._readableState, self._writableState
  if r then
    r.constructed, r.closed, r.closeEmitted, r.destroyed, r.errorEmitted = true, false, false, false, false
    r.errored, r.reading = nil, false
    r.ended, r.endEmitted = r.readable == false, r.readable == false
    r.plain = not r.decoder and not r.ended and not r.objectMode and self.emit == EventEmitter.emit
  end
  if w then
    w.constructed, w.closed, w.closeEmitted, w.destroyed, w.errorEmitted = true, false, false, false, false
    w.errored, w.finalCalled, w.prefinished = nil, false, false
    local off = w.writable == false
    w.ended, w.ending, w.finished = off, off, off
    self:_updatePlain()
  end
end

return destroy

--- Readables made from other things, and a Readable as something to iterate over.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local await = require 'moonlatch.await'
local destroy = require 'moonlatch.stream.destroy'

local type, pairs, xpcall, wrap = type, pairs, xpcall, coroutine.wrap

-- An iterator over what Readable.from takes.
local function iteratorOf(source)
  if type(source) == 'table' and type(source.chunks) == 'function' then
    return (source:chunks())
  elseif type(source) == 'function' then
    return source
  elseif errors.validate.isCallable(source) then
    return function()
      return source()
    end
  elseif type(source) ~= 'table' or class.of(source) then
    error(errors.argType('iterable', { 'table', 'function', 'string' }, source), 0)
  end
  local i = 0
  return function()
    i = i + 1
    return source[i]
  end
end

-- Gives the readable what the iterator brings until it has had enough. Runs in a coroutine, so that the
-- iterator may wait for events. Returns true when there is more.
local function pump(readable, iterator)
  while true do
    local ok, value = xpcall(iterator, errors.from)
    if not ok then
      readable:destroy(value)
      return false
    elseif readable.destroyed then
      return false
    elseif value == nil then
      readable:push(nil)
      return false
    elseif not readable:push(value) then
      return true
    end
  end
end

local function copyOptions(options)
  local copy = { objectMode = true, highWaterMark = 1 }
  for key, value in pairs(options or {}) do
    copy[key] = value
  end
  return copy
end

-- The state of one iteration over a stream: `next` gives the chunks, `close` ends it early.
local function iterate(stream, options)
  local waiting, over, failure, cleanup
  local function wake()
    local done = waiting
    waiting = nil
    if done then
      done()
    end
  end
  local function close()
    over = true
    if cleanup then
      cleanup()
      stream:removeListener('readable', wake)
      cleanup = nil
    end
    if (failure or not options or options.destroyOnReturn ~= false) and not stream.destroyed then
      stream:destroy()
    end
    wake()
  end
  local function start()
    stream:on('readable', wake)
    cleanup = require('moonlatch.stream.finished').finished(stream, { writable = false }, function(err)
      over, failure = true, err
      wake()
    end)
  end
  local function wait(done)
    waiting = done
  end
  local function next()
    if not cleanup and not over then
      start()
    end
    while true do
      local chunk = nil
      if not stream.destroyed then
        chunk = stream:read()
      end
      if chunk ~= nil then
        return chunk
      elseif over then
        if cleanup then
          close()
        end
        if failure then
          error(failure, 0)
        end
        return nil
      end
      await.call('chunks', wait)
    end
  end
  return next, close
end

return function(Readable)
  --- A Readable that gives the members of a sequence, what an iterator function returns until nil, the chunks of
  --- another stream, or one string. In object mode unless the options say otherwise. The iterator runs in a coroutine:
  --- it may wait for events.
  ---@param source table|function|string
  ---@param options? stream.ReadableOptions
  ---@return Readable
  local function from(source, options)
    local whole = type(source) == 'string'
    local iterator = iteratorOf(whole and { source } or source)
    local reading = false
    local readable = Readable(copyOptions(options))
    function readable:_read()
      if not reading then
        reading = true
        wrap(function()
          reading = not pump(readable, iterator)
        end)()
      end
    end
    return readable
  end
  rawset(Readable, 'from', from)

  --- Iterates over the stream inside a coroutine: `for chunk in stream:chunks() do`. Waits for data when
  --- there is none, raises the stream's error, and destroys the stream at the end unless
  --- options.destroyOnReturn is false. Leaving the loop early leaves the stream as it is: destroy it, or
  --- call the second value returned.
  ---@param options? { destroyOnReturn: boolean }
  ---@return fun(): any next
  ---@return fun() close
  ---@source Node.js readable.iterator()
  function Readable:chunks(options)
    return iterate(self, options)
  end

  Readable.iterator = Readable.chunks

  --- Makes this stream give what an old-style stream (one with 'data' events and perhaps pause and
  --- resume) emits.
  ---
  --- Raises ERR_INVALID_ARG_TYPE for what emits nothing.
  ---@param stream table
  ---@return self
  ---@source Node.js readable.wrap()
  function Readable:wrap(stream)
    if type(stream) ~= 'table' or type(stream.on) ~= 'function' then
      error(errors.argType('stream', 'Stream', stream), 0)
    end
    local paused = false
    stream:on('data', function(chunk)
      if not self:push(chunk) and stream.pause then
        paused = true
        stream:pause()
      end
    end)
    stream:on('end', function()
      self:push(nil)
    end)
    stream:on('error', function(err)
      destroy.errorOrDestroy(self, err)
    end)
    for _, event in ipairs { 'close', 'destroy' } do
      stream:on(event, function()
        self:destroy()
      end)
    end
    function self._read()
      if paused and stream.resume then
        paused = false
        stream:resume()
      end
    end
    return self
  end
end

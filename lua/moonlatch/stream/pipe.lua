--- readable:pipe(writable) and its undoing.

local tick = require 'moonlatch.tick'
local destroy = require 'moonlatch.stream.destroy'
local errors = require 'moonlatch.errors'

local next, ipairs, type = next, ipairs, type

-- Is `src` waiting for nobody any more, after `dest` has drained?
local function drained(src, dest)
  local rs = src._readableState
  local awaited = rs.awaitDrainWriters
  if awaited == dest then
    rs.awaitDrainWriters = false
  elseif rs.multiAwaitDrain and awaited then
    awaited[dest] = nil
  end
  awaited = rs.awaitDrainWriters
  if (not awaited or rs.multiAwaitDrain and next(awaited) == nil) and src:listenerCount('data') > 0 then
    src:resume()
  end
end

local function isPipedTo(rs, dest)
  for i, piped in ipairs(rs.pipes) do
    if piped == dest then
      return i
    end
  end
  return nil
end

-- Remembers that `dest` must drain before `src` flows on.
local function awaitDrain(rs, dest)
  if #rs.pipes == 1 and rs.pipes[1] == dest then
    rs.awaitDrainWriters = dest
    rs.multiAwaitDrain = false
  elseif #rs.pipes > 1 and isPipedTo(rs, dest) then
    rs.awaitDrainWriters[dest] = true
  end
end

-- From its second destination on, a stream waits for a set of them.
local function addDestination(rs, dest)
  local pipes = rs.pipes
  if not pipes then
    pipes = {}
    rs.pipes = pipes
  end
  if #pipes == 1 and not rs.multiAwaitDrain then
    rs.multiAwaitDrain = true
    rs.awaitDrainWriters = rs.awaitDrainWriters and { [rs.awaitDrainWriters] = true } or {}
  end
  pipes[#pipes + 1] = dest
end

-- How many streams are piped into `dest`.
local function countSource(dest, more)
  local ws = dest._writableState
  if ws then
    ws.sources = (ws.sources or 0) + more
  end
end

-- One pipe: its listeners on dest by event, what pauses the source until dest drains, and the source's 'data' and 'end'
-- listeners.
---@class moonlatch.stream.Pipe
---@field listeners table<string, function>
---@field pause fun()
---@field onData function
---@field onEnd function
---@field onDrain? function  also on dest, once it had to be waited for

-- What dest is listened to for while src is piped into it. `cleanup` takes the pipe apart.
local function watch(src, dest, cleanup)
  local listeners = {}
  function listeners.unpipe(readable, info)
    if readable == src and info and info.hasUnpiped == false then
      info.hasUnpiped = true
      cleanup()
    end
  end
  function listeners.error(err)
    src:unpipe(dest)
    dest:removeListener('error', listeners.error)
    if dest:listenerCount('error') == 0 then
      local half = dest._writableState or dest._readableState
      if half and not half.errorEmitted then
        destroy.errorOrDestroy(dest, err)
      else
        dest:emit('error', err)
      end
    end
  end
  function listeners.close()
    dest:removeListener('finish', listeners.finish)
    src:unpipe(dest)
  end
  function listeners.finish()
    dest:removeListener('close', listeners.close)
    src:unpipe(dest)
  end
  return listeners
end

---@return moonlatch.stream.Pipe
local function connect(src, dest, endDest)
  local rs, ws = src._readableState, dest._writableState
  local pipe = {}
  local cleanedUp = false

  local function onDrain()
    drained(src, dest)
  end
  local function pause()
    if not cleanedUp then
      awaitDrain(rs, dest)
      src:pause()
    end
    if not pipe.onDrain then
      pipe.onDrain = onDrain
      dest:on('drain', onDrain)
    end
  end
  local function onData(chunk)
    -- Bytes are no text in dest's encoding.
    local isBytes = ws and ws.defaultEncoding ~= 'utf8' and not rs.encoding and not rs.objectMode
    if dest:write(chunk, isBytes and 'buffer' or nil) == false then
      pause()
    end
  end
  local function onEnd()
    if endDest then
      dest:finish()
    else
      src:unpipe(dest)
    end
  end

  local function cleanup()
    for event, listener in next, pipe.listeners do
      dest:removeListener(event, listener)
    end
    if pipe.onDrain then
      dest:removeListener('drain', onDrain)
    end
    src:removeListener('end', onEnd)
    src:removeListener('data', onData)
    cleanedUp = true
    rs.links[dest] = nil
    countSource(dest, -1)
    -- Nobody would tell us any more that it drained.
    if pipe.onDrain and rs.awaitDrainWriters and (not dest._writableState or dest._writableState.needDrain) then
      onDrain()
    end
  end
  pipe.listeners, pipe.pause, pipe.onData, pipe.onEnd = watch(src, dest, cleanup), pause, onData, onEnd
  return pipe
end

return function(Readable)
  --- Writes all that this stream gives to `dest`, at the pace that dest can take, and finishes it at the
  --- end unless options['end'] is false. Returns dest.
  ---
  --- Raises ERR_INVALID_ARG_TYPE for what cannot be written to.
  ---@param dest table
  ---@param options? { end: boolean }
  ---@return table dest
  ---@source Node.js readable.pipe()
  function Readable:pipe(dest, options)
    if type(dest) ~= 'table' or not dest.on or type(dest.write) ~= 'function' then
      error(errors.argType('dest', 'Writable', dest), 0)
    end
    errors.validate.options(options)
    local rs = self._readableState
    addDestination(rs, dest)
    local endDest = not (options and options['end'] == false) and not dest._isStdio
    local pipe = connect(self, dest, endDest)
    local listeners = pipe.listeners
    rs.links = rs.links or {}
    rs.links[dest] = pipe
    countSource(dest, 1)
    if rs.endEmitted then
      tick.nextTick(pipe.onEnd)
    else
      self:once('end', pipe.onEnd)
    end
    dest:on('unpipe', listeners.unpipe)
    self:on('data', pipe.onData)
    -- Before the user's own, so that the pipe is undone when they see the error.
    dest:prependListener('error', listeners.error)
    dest:once('close', listeners.close)
    dest:once('finish', listeners.finish)
    dest:emit('pipe', self)
    if dest.writableNeedDrain == true then
      pipe.pause()
    elseif not rs.flowing then
      self:resume()
    end
    return dest
  end

  --- Undoes pipe(dest), or all pipes, and pauses when none is left.
  ---@param dest? table
  ---@return self
  ---@source Node.js readable.unpipe()
  function Readable:unpipe(dest)
    local rs = self._readableState
    local pipes = rs.pipes
    if not pipes or #pipes == 0 then
      return self
    end
    if not dest then
      rs.pipes = nil
      self:pause()
      for _, piped in ipairs(pipes) do
        piped:emit('unpipe', self, { hasUnpiped = false })
      end
      return self
    end
    local index = isPipedTo(rs, dest)
    if not index then
      return self
    end
    table.remove(pipes, index)
    if #pipes == 0 then
      self:pause()
    end
    dest:emit('unpipe', self, { hasUnpiped = false })
    return self
  end
end

--- Tests written as one coroutine: `await` suspends it until an event or a callback comes.

local await = {}

local function pack(...)
  return { n = select('#', ...), ... }
end

-- Resumes from a callback; what the coroutine raises goes on to whoever called, with its own traceback.
local function resume(co, ...)
  local ok, err = coroutine.resume(co, ...)
  if not ok then
    error(type(err) == 'string' and debug.traceback(co, err) or err, 0)
  end
end

-- Suspends until `start(finish)` has called `finish(err, …)`, then raises err or returns the rest.
local function suspend(start)
  local co = assert(coroutine.running(), 'await works inside spec.coroutine only')
  local result, waiting
  start(function(...)
    if result then
      return
    end
    result = pack(...)
    if waiting then
      resume(co)
    end
  end)
  while not result do
    waiting = true
    coroutine.yield()
  end
  if result[1] ~= nil then
    error(result[1], 0)
  end
  return unpack(result, 2, result.n)
end

-- An 'error' event ends the wait for any other event.
local function event(emitter, name)
  return suspend(function(finish)
    local onError
    local function onEvent(...)
      if onError then
        emitter:removeListener('error', onError)
      end
      finish(nil, ...)
    end
    if name ~= 'error' then
      function onError(err)
        emitter:removeListener(name, onEvent)
        finish(err)
      end
      emitter:once('error', onError)
    end
    emitter:once(name, onEvent)
  end)
end

--- await(emitter, 'event') gives the event's arguments; await(function(callback) … end) those that follow the
--- error in a call of `callback`; await(milliseconds) waits.
---@param what table|function|number
---@param name? string
function await.await(what, name)
  if type(what) == 'number' then
    return suspend(function(finish)
      require('timers').setTimeout(finish, what)
    end)
  elseif name ~= nil then
    return event(what, name)
  end
  return suspend(what)
end

--- Starts `fn(await, …)` as a coroutine and calls `done` when it has returned.
---@param fn function
---@param done fun()
---@param ... any
function await.start(fn, done, ...)
  resume(coroutine.create(function(...)
    fn(await.await, ...)
    done()
  end), ...)
end

return await

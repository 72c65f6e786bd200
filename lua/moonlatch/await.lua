--- Waiting inside a coroutine for something that an event or a callback will bring.

local errors = require 'moonlatch.errors'

local running, yield, resume = coroutine.running, coroutine.yield, coroutine.resume
local select, unpack = select, unpack

local await = {}

local function pack(...)
  return { n = select('#', ...), ... }
end

-- A coroutine that dies of an error takes whoever resumed it along, with its own traceback.
local function resumed(co, ok, err)
  if not ok then
    if type(err) ~= 'table' then
      err = errors.new(tostring(err), { stack = debug.traceback(co, tostring(err)) })
    end
    error(err, 0)
  end
end

-- Others may resume our coroutine for reasons of their own; only the token ends the wait.
local function yieldFor(token, first, ...)
  if first == token then
    return pack(...)
  end
  return yieldFor(token, yield())
end

local function finish(result)
  if result[1] ~= nil then
    error(result[1], 0)
  end
  return unpack(result, 2, result.n)
end

--- Calls `start(done)` and suspends the running coroutine until `done(err, ...)` is called, then raises
--- err or returns the rest. `done` may be called at once; later calls do nothing.
---@param what string  names the caller in the error raised outside a coroutine
---@param start fun(done: fun(err: any, ...: any))
function await.call(what, start)
  local co = running()
  if not co then
    error(errors.codes.ERR_INVALID_STATE(what .. ' waits and must be called inside a coroutine'), 0)
  end
  local result, waiting
  local function done(...)
    if result then
      return
    end
    result = pack(...)
    if waiting then
      resumed(co, resume(co, done, ...))
    end
  end
  start(done)
  if not result then
    waiting = true
    result = yieldFor(done, yield())
  end
  return finish(result)
end

return await

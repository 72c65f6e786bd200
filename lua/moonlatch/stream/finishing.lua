--- How a Writable finishes: when everything is written 'prefinish' and _final, then 'finish' in a tick.

local errors = require 'moonlatch.errors'
local destroy = require 'moonlatch.stream.destroy'
local direct = require 'moonlatch.stream.direct'
local nextTick = require('moonlatch.tick').nextTick

local ipairs, xpcall = ipairs, xpcall
local codes = errors.codes
local errorOrDestroy = destroy.errorOrDestroy

local finishing = {}

-- Is everything written, and nothing in the way of 'finish'?
local function needFinish(ws)
  return ws.ending and not ws.destroyed and ws.constructed and ws.length == 0 and not ws.errored
    and ws.bufferedRequestCount == 0 and not ws.finished and not ws.writing and not ws.errorEmitted
    and not ws.closeEmitted
end

local function callFinished(ws, err)
  local waiting = ws.onFinished
  if not waiting then
    return
  end
  ws.onFinished = nil
  for _, callback in ipairs(waiting) do
    callback(err)
  end
end

local function finishNow(self, ws)
  ws.pendingcb = ws.pendingcb - 1
  ws.finished = true
  callFinished(ws)
  self:emit('finish')
  if ws.autoDestroy then
    local rs = self._readableState
    if not rs or rs.autoDestroy and (rs.endEmitted or rs.readable == false) then
      self:destroy()
    end
  end
end

local function finishLater(self, ws)
  if needFinish(ws) then
    finishNow(self, ws)
  else
    ws.pendingcb = ws.pendingcb - 1
  end
end

-- 'prefinish', for Transform to flush and for whoever else listens.
local function emitPrefinish(self, ws)
  ws.finalCalled, ws.prefinished = true, true
  if self._onPrefinish then
    self:_onPrefinish()
  end
  self:emit('prefinish')
end

-- _final is done.
local function finalDone(self, err)
  local ws = self._writableState
  if ws.finalCalled == true then
    errorOrDestroy(self, err or codes.ERR_MULTIPLE_CALLBACK())
    return
  elseif ws.finalCalled then
    ws.finalCalled = true
  end
  ws.pendingcb = ws.pendingcb - 1
  if err then
    callFinished(ws, err)
    errorOrDestroy(self, err, ws.sync)
  elseif needFinish(ws) then
    emitPrefinish(self, ws)
    -- Never 'finish' inside _final, even if that called back at once.
    ws.pendingcb = ws.pendingcb + 1
    nextTick(finishNow, self, ws)
  end
end

local function finalWithCallback(self, done)
  self:_final(function(err)
    done(self, err)
  end)
end

--- Calls _final, in whichever form it is (see moonlatch.stream.direct).
---@param self table
---@param done fun(self: table, err: any)
function finishing.final(self, done)
  local run = direct[self._final]
  if run then
    run(self, done)
  else
    finalWithCallback(self, done)
  end
end

local function callFinal(self, ws)
  ws.sync = true
  ws.pendingcb = ws.pendingcb + 1
  ws.finalCalled = 'pending' -- true from finalDone on
  local ok, failure = xpcall(finishing.final, errors.from, self, finalDone)
  if not ok then
    finalDone(self, failure)
  end
  ws.sync = false
end

local function prefinish(self, ws)
  if ws.prefinished or ws.finalCalled then
    return
  end
  if self._final and not ws.destroyed then
    callFinal(self, ws)
  else
    emitPrefinish(self, ws)
  end
end

--- Everything may be written: 'prefinish' (and _final) now, 'finish' in a tick.
function finishing.maybe(self, ws)
  if not needFinish(ws) then
    return
  end
  prefinish(self, ws)
  if ws.pendingcb ~= 0 then
    return
  end
  ws.pendingcb = 1
  nextTick(finishLater, self, ws)
end

--- What end() could not do, as an error for its callback.
function finishing.refusal(ws)
  if ws.finished then
    return codes.ERR_STREAM_ALREADY_FINISHED('end')
  elseif ws.destroyed then
    return codes.ERR_STREAM_DESTROYED('end')
  end
  return nil
end

return finishing

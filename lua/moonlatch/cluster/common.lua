--- What primary and worker do alike.
local errors = require 'moonlatch.errors'
local nextTick = require('moonlatch.tick').nextTick

local common = {}

--- Sends a script's value over `channel` for `worker`, a cluster.Worker of either side. A failure goes to the callback,
--- or else is the worker's 'error'.
---@param worker cluster.Worker
---@param channel moonlatch.cluster.Channel
---@param message any
---@param callback? fun(err?: Error)
---@return boolean
function common.send(worker, channel, message, callback)
  if message == nil then
    error(errors.codes.ERR_MISSING_ARGS('message'), 0)
  end
  local ok, err = channel:send('message', message)
  if callback then
    nextTick(callback, err)
  elseif not ok then
    nextTick(worker.emit, worker, 'error', err)
  end
  return ok == true
end

--- Starts `begin(item, over)` for each item, and calls `done` when `over` has been called for all. With nothing to wait
--- for that is in the next tick.
---@param items any[]
---@param begin fun(item: any, over: fun())
---@param done fun()
function common.each(items, begin, done)
  local left = #items
  local function over()
    left = left - 1
    if left == 0 then
      done()
    end
  end
  if left == 0 then
    nextTick(done)
  end
  for _, item in ipairs(items) do
    begin(item, over)
  end
end

return common

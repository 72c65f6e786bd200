--- cluster.reload: new workers take over from those there are, and no connection notices.
local common = require 'moonlatch.cluster.common'
local errors = require 'moonlatch.errors'
local timers = require 'timers'
local nextTick = require('moonlatch.tick').nextTick

-- Milliseconds that a new worker has until it serves, and an old one until it says that it leaves. A worker that does
-- neither must not be in the way of the next reload.
local RELOAD_TIMEOUT = 60000

local ipairs, pairs, pcall = ipairs, pairs, pcall

---@param cluster table
return function(cluster)
  local running = false

  local function patience()
    return cluster.settings.reloadTimeout or RELOAD_TIMEOUT
  end

  local function serving()
    local list = {}
    for _, worker in pairs(cluster.workers) do
      if worker:isConnected() and not worker.exitedAfterDisconnect then
        list[#list + 1] = worker
      end
    end
    return list
  end

  -- One new worker: `done(worker)` when it serves, `done(nil, err)` when it cannot start or ends before.
  local function start(done)
    local ok, worker = pcall(cluster.fork)
    if not ok then
      nextTick(done, nil, worker)
      return
    end
    worker._duty = 'trial'
    local late
    local limit = patience()
    local timer = timers.setTimeout(function()
      late = ('not within %g s'):format(limit / 1000)
      worker:kill 'SIGKILL'
    end, limit)
    local function ended(code, signal)
      timers.clearTimeout(timer)
      done(nil, errors.coded(errors.Error, 'ERR_CLUSTER_RELOAD_FAILED',
        ('Worker %d ended before it served (%s)'):format(worker.id, late or signal or 'exit status ' .. code)))
    end
    worker:once('exit', ended)
    worker:once('ready', function()
      if not worker:isDead() and not late then
        timers.clearTimeout(timer)
        worker._duty = 'service'
        worker:removeListener('exit', ended)
        done(worker)
      end
    end)
  end

  -- Tells a worker to leave; `done` when it accepts nothing more. One whose main chunk is still running has nobody to
  -- finish with, and may never come to hear of it.
  local function retire(worker, done)
    local timer
    local function left()
      timers.clearTimeout(timer)
      worker:removeListener('leaving', left)
      worker:removeListener('disconnect', left)
      done()
    end
    worker._duty = 'retired'
    worker:once('leaving', left)
    worker:once('disconnect', left)
    if worker._served then
      timer = timers.setTimeout(left, patience())
      worker:disconnect()
    else
      worker:kill 'SIGKILL'
    end
  end

  local function retireAll(workers, done)
    local connected = {}
    for _, worker in ipairs(workers) do
      if worker:isConnected() then
        connected[#connected + 1] = worker
      end
    end
    common.each(connected, retire, done)
  end

  --- Starts one new worker for each there is, with the script as it is on disk now. When all of them serve, the old
  --- ones are told to leave: they accept nothing more and end when their last connection has; one that has not come to
  --- serve is ended at once. If a new one ends before it serves, or does not serve within `reloadTimeout`, the new ones
  --- are ended and the old ones stay. An old one that says nothing for so long is left to end when it comes to it.
  ---
  --- Raises ERR_INVALID_ARG_TYPE, and ERR_CLUSTER_RELOADING while an earlier call is at work.
  ---@param callback? fun(err?: Error)
  function cluster.reload(callback)
    if callback ~= nil then
      errors.validate.func(callback, 'callback')
    end
    if running then
      error(errors.coded(errors.Error, 'ERR_CLUSTER_RELOADING', 'The workers are being replaced already'), 0)
    end
    running = true
    local old, new, failure = serving(), {}, nil
    local waiting = #old

    local function finish()
      retireAll(failure and new or old, function()
        running = false
        if callback then
          callback(failure)
        end
      end)
    end

    if waiting == 0 then
      finish()
      return
    end
    for _ = 1, #old do
      start(function(worker, err)
        waiting = waiting - 1
        new[#new + 1] = worker
        failure = failure or err
        if waiting == 0 then
          finish()
        end
      end)
    end
  end
end

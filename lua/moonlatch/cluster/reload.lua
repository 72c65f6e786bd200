--- cluster.reload: new workers take over from those there are, and no connection notices.
local common = require 'moonlatch.cluster.common'

local ipairs, pairs = ipairs, pairs

---@param cluster table
return function(cluster)
  local running = false

  local function serving()
    local list = {}
    for _, worker in pairs(cluster.workers) do
      if worker:isConnected() and not worker.exitedAfterDisconnect then
        list[#list + 1] = worker
      end
    end
    return list
  end

  -- One new worker: `done(worker)` when it serves, `done(nil)` when it ended before.
  local function start(done)
    local worker = cluster.fork()
    worker._onTrial = true
    local function over()
      worker:removeListener('ready', over)
      worker:removeListener('exit', over)
      worker._onTrial = not worker._ready
      done(worker._ready and not worker:isDead() and worker or nil, worker)
    end
    worker:once('ready', over)
    worker:once('exit', over)
  end

  -- Tells a worker to leave; `done` when it accepts nothing more.
  local function retire(worker, done)
    local function left()
      worker:removeListener('leaving', left)
      worker:removeListener('disconnect', left)
      done()
    end
    worker._retired = true
    worker:once('leaving', left)
    worker:once('disconnect', left)
    worker:disconnect()
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
  --- ones are told to leave: they accept nothing more and end when their last connection has. If a new one ends before
  --- it serves, the new ones are ended and the old ones stay.
  ---
  --- Raises ERR_CLUSTER_RELOADING while an earlier call is at work.
  ---@param callback? fun(err?: Error)
  function cluster.reload(callback)
    local errors = require 'moonlatch.errors'
    if running then
      error(errors.coded(errors.Error, 'ERR_CLUSTER_RELOADING', 'The workers are being replaced already'), 0)
    end
    running = true
    local old, new, failed = serving(), {}, nil
    local waiting = #old

    local function finish()
      retireAll(failed and new or old, function()
        running = false
        if callback then
          callback(failed and errors.coded(errors.Error, 'ERR_CLUSTER_RELOAD_FAILED',
            ('Worker %d ended before it served (%s)'):format(failed.id,
              failed.process.signalCode or 'exit status ' .. failed.process.exitCode)) or nil)
        end
      end)
    end

    if waiting == 0 then
      finish()
      return
    end
    for _ = 1, #old do
      start(function(worker, started)
        waiting = waiting - 1
        new[#new + 1] = worker
        failed = failed or not worker and started or nil
        if waiting == 0 then
          finish()
        end
      end)
    end
  end
end

--- moonlatch --workers=N script: a primary that keeps N workers running. SIGHUP replaces them with new ones that run
--- the script as it is then, SIGTERM and SIGINT let them finish what they have and end.
local cluster = require 'cluster'
local handles = require 'moonlatch.cluster.handles'
local native = require 'moonlatch.native'
local process = require 'process'
local signals = require 'moonlatch.signals'
local timers = require 'timers'

local pairs, min = pairs, math.min

-- A worker that lived for less than this has a fault that starting it again will not mend at once.
local SHORT_LIFE = 5000 -- ms
local FIRST_PAUSE, LONGEST_PAUSE = 100, 30000 -- ms

local pause = 0
local ending
local everReady = false

local function say(text, ...)
  native.process.writeSync(2, ('moonlatch[%d]: '):format(process.pid) .. text:format(...) .. '\n')
end

local function count()
  local n = 0
  for _ in pairs(cluster.workers) do
    n = n + 1
  end
  return n
end

local function fork()
  local worker = cluster.fork()
  worker._since = native.now()
  worker:once('ready', function()
    everReady = true
  end)
end

local function endedHow(code, signal)
  return signal and 'on ' .. signal or ('with status %d'):format(code)
end

-- Starting again at once what fails at once would only heat the machine.
local function startAgain(worker, how)
  local short = native.now() - worker._since < SHORT_LIFE
  pause = short and min(pause == 0 and FIRST_PAUSE or pause * 2, LONGEST_PAUSE) or 0
  say('worker %d (pid %d) ended %s, a new one starts in %d ms', worker.id, worker.process.pid, how, pause)
  timers.setTimeout(function()
    if not ending then
      fork()
    end
  end, pause)
end

local function onExit(worker, code, signal)
  if ending then
    if count() == 0 then
      process.exit(0)
    end
  elseif worker._duty ~= 'service' then
    return -- reload's
  elseif not everReady then
    -- The script does not even start: whoever called us had better know.
    say('worker %d ended %s before it served', worker.id, endedHow(code, signal))
    ending = true
    for _, other in pairs(cluster.workers) do
      other:kill 'SIGKILL'
    end
    process.exit(code ~= 0 and code or 1)
  else
    startAgain(worker, endedHow(code, signal))
  end
end

local function reload()
  if ending then
    return
  end
  local ok, err = pcall(cluster.reload, function(failure)
    say(failure and 'the old workers stay: ' .. failure.message or 'the workers have been replaced')
  end)
  if not ok then
    say('%s', err.message)
  end
end

local function finish(signal)
  if ending then
    for _, worker in pairs(cluster.workers) do
      worker:kill 'SIGKILL'
    end
    process.exit(128 + signals.number(signal))
  end
  ending = true
  handles.closeAll() -- the workers have their own until they leave
  if count() == 0 then
    process.exit(0)
  end
  cluster.disconnect()
end

local supervisor = {}

--- How many workers an option's text asks for; nil when it is none.
---@param text string  a number or 'auto', one for each processor that this process may use
---@return integer?
function supervisor.count(text)
  if text == 'auto' then
    return native.process.processors()
  end
  local n = tonumber(text)
  return n and n >= 1 and n <= 1024 and n == math.floor(n) and n or nil
end

--- Starts the workers.
---@param n integer
---@param settings cluster.Settings
function supervisor.start(n, settings)
  handles.keep = true
  cluster.setupPrimary(settings)
  cluster:on('exit', onExit)
  process:on('SIGHUP', reload)
  process:on('SIGTERM', finish)
  process:on('SIGINT', finish)
  for _ = 1, n do
    fork()
  end
end

return supervisor

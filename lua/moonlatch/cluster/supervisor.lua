--- moonlatch --workers=N script: a primary that keeps N workers running. SIGHUP replaces them with new ones that run
--- the script as it is then, SIGTERM and SIGINT let them finish what they have and end.
local cluster = require 'cluster'
local handles = require 'moonlatch.cluster.handles'
local native = require 'moonlatch.native'
local process = require 'process'
local signals = require 'moonlatch.signals'
local timers = require 'timers'

local pairs, pcall, min = pairs, pcall, math.min

-- A worker that lived for less than this has a fault that starting it again will not mend at once.
local SHORT_LIFE = 5000 -- ms
local FIRST_PAUSE, LONGEST_PAUSE = 100, 30000 -- ms

local wanted            -- how many workers there are to be
local waiting = {}      -- timers, for each worker that is to be started later
local pause = 0         -- before the next one starts
local reloading = false
local ending
local everReady = false

local function say(text, ...)
  native.process.writeSync(2, ('moonlatch[%d]: '):format(process.pid) .. text:format(...) .. '\n')
end

local function count(set)
  local n = 0
  for _ in pairs(set) do
    n = n + 1
  end
  return n
end

-- ---- As many as wanted ----

local function fork()
  cluster.fork():once('ready', function()
    everReady = true
  end)
end

local function inService()
  local list = {}
  for _, worker in pairs(cluster.workers) do
    if worker._duty == 'service' and not worker:isDead() then
      list[#list + 1] = worker
    end
  end
  return list
end

local balance

local function startLater()
  local timer
  timer = timers.setTimeout(function()
    waiting[timer] = nil
    balance()
  end, pause)
  waiting[timer] = true
end

local function lengthenPause()
  pause = min(pause == 0 and FIRST_PAUSE or pause * 2, LONGEST_PAUSE)
end

-- Starts those that are missing. A worker that dies while a reload is at work is replaced twice, here and there: what
-- that makes too many is told to leave.
function balance()
  if ending then
    return
  end
  local list = inService()
  for _ = #list + count(waiting) + 1, wanted do
    local ok, err = pcall(fork)
    if not ok then
      lengthenPause()
      say('a worker cannot be started (%s), the next try is in %d ms', err.message, pause)
      startLater()
      return
    end
  end
  for i = wanted + 1, reloading and 0 or #list do
    list[i]._duty = 'retired'
    list[i]:disconnect()
  end
end

local function endedHow(code, signal)
  return signal and 'on ' .. signal or ('with status %d'):format(code)
end

-- Starting again at once what fails at once would only heat the machine.
local function startAgain(worker, how)
  if native.now() - worker._since < SHORT_LIFE then
    lengthenPause()
  else
    pause = 0
  end
  say('worker %d (pid %d) ended %s, a new one starts in %d ms', worker.id, worker.process.pid, how, pause)
  startLater()
end

-- ---- Signals and ends ----

local function onExit(worker, code, signal)
  if ending then
    if count(cluster.workers) == 0 then
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
  -- Whoever asks for new workers has changed something: those that wait need not wait any longer.
  for timer in pairs(waiting) do
    timers.clearTimeout(timer)
  end
  waiting, pause = {}, 0
  local ok, err = pcall(cluster.reload, function(failure)
    reloading = false
    say(failure and 'the old workers stay: ' .. failure.message or 'the workers have been replaced')
    balance()
  end)
  if ok then
    reloading = true
  else
    say('%s', err.message)
  end
  balance()
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
  if count(cluster.workers) == 0 then
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
  wanted = n
  for _ = 1, n do
    fork() -- which raises when it cannot: a start that fails is told at once
  end
end

return supervisor

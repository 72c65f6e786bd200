--- cluster in the primary: starts workers, and speaks to each over a channel of its own.
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local EventEmitter = require('events').EventEmitter
local native = require 'moonlatch.native'
local Channel = require 'moonlatch.cluster.channel'
local common = require 'moonlatch.cluster.common'
local handles = require 'moonlatch.cluster.handles'
local messages = require 'moonlatch.cluster.messages'
local process = require 'process'
local signals = require 'moonlatch.signals'
local spawn = require 'moonlatch.process.children'
local state = require 'moonlatch.cluster.state'
local tickets = require 'moonlatch.cluster.tickets'
local timers = require 'timers'
local nextTick = require('moonlatch.tick').nextTick

local pairs, ipairs, pcall, type, tostring = pairs, ipairs, pcall, type, tostring
local validate = errors.validate

-- Milliseconds that a worker has beyond its drainTimeout before it is killed.
local KILL_PAUSE = 1000

-- Milliseconds for which session tickets are sealed with the same keys. Those before are kept for as long again, twice.
local TICKET_KEYS_AGE = 12 * 3600 * 1000

---@class cluster : EventEmitter
---@field isPrimary boolean
---@field isMaster boolean
---@field isWorker boolean
---@field workers table<integer, cluster.Worker>  in the primary, by id
---@field settings cluster.Settings               in the primary
---@field worker? cluster.Worker                  in a worker: its own
---@field Worker moonlatch.Class
---@field fork fun(env?: table<string, string>): cluster.Worker
---@field setupPrimary fun(settings?: cluster.Settings)
---@field setupMaster fun(settings?: cluster.Settings)
---@field disconnect fun(callback?: fun())
---@field reload fun(callback?: fun(err?: Error))
---@field renewTicketKeys fun()
local cluster = EventEmitter()
cluster.isPrimary, cluster.isMaster, cluster.isWorker = true, true, false
---@type table<integer, cluster.Worker>
cluster.workers = {}
---@class cluster.Settings
---@field exec? string          the script; the one that is running when left out
---@field args? string[]        its arguments
---@field execArgv? string[]    options of the program before the script
---@field cwd? string
---@field drainTimeout? number  milliseconds after which a worker that was told to leave ends its last connections
---@field reloadTimeout? number  milliseconds that a reload waits for a worker that does not answer
---@field ticketKeysAge? number  milliseconds after which the keys of session tickets are renewed
cluster.settings = {}

-- ---- Workers ----

---@class cluster.Worker: EventEmitter
local Worker = class('Worker', EventEmitter)
cluster.Worker = Worker

local lastId = 0
local ring

-- A worker's life, in order. Its process and its channel end one after the other, either first; what a process said
-- last is still in the channel then. Node has the same names but for 'exited'.
local RANK = {
  none = 1,          -- started
  online = 2,
  listening = 3,     -- has a listening socket
  disconnected = 4,  -- the channel has ended
  exited = 4,        -- the process has
  dead = 5,          -- both
}

local function advance(worker, to)
  if RANK[to] > RANK[worker.state] then
    worker.state = to
  end
end

-- ---- What workers say ----

local receive = {}

function receive.online(worker)
  advance(worker, 'online')
  worker:emit('online')
  cluster:emit('online', worker)
end

function receive.listening(worker, address)
  advance(worker, 'listening')
  worker:emit('listening', address)
  cluster:emit('listening', worker, address)
end

function receive.ready(worker)
  worker._served = true
  worker:emit('ready')
end

function receive.leaving(worker)
  worker.exitedAfterDisconnect = true
  worker:emit('leaving')
end

function receive.message(worker, message)
  worker:emit('message', message)
  cluster:emit('message', worker, message)
end

function receive.listen(worker, question)
  local number = question.question
  local fd, err = handles.acquire(worker, question.key, question.request)
  if not fd then
    worker._channel:send('answer', { question = number, err = err })
    return
  end
  local sent, failure = worker._channel:send('answer', { question = number }, fd)
  native.fs.close(fd)
  if not sent then -- out of descriptors: without an answer the worker would wait for ever
    handles.release(worker, question.key)
    worker._channel:send('answer', { question = number, err = handles.plain(failure) })
  end
end

function receive.release(worker, key)
  handles.release(worker, key)
end

local function exited(worker)
  cluster.workers[worker.id] = nil
  worker:emit('exit', worker.process.exitCode, worker.process.signalCode)
  cluster:emit('exit', worker, worker.process.exitCode, worker.process.signalCode)
end

local function disconnected(worker)
  handles.releaseAll(worker)
  worker.state = worker.state == 'exited' and 'dead' or 'disconnected'
  worker:emit('disconnect')
  cluster:emit('disconnect', worker)
  if worker.state == 'dead' then
    exited(worker)
  end
end

--- The process has ended.
---@package
function Worker:_onResult(status, signal)
  self.process.exitCode = signal == 0 and status or nil
  self.process.signalCode = signals.name(signal)
  if self.state == 'disconnected' then
    self.state = 'dead'
    exited(self)
  else
    self.state = 'exited'
  end
end

--- Sends a value to the worker, where it is a 'message' event of process and of cluster.worker.
---
--- Raises ERR_INVALID_ARG_VALUE for a value with functions or userdata in it.
---@param message any
---@param callback? fun(err?: Error)
---@return boolean
---@source Node.js worker.send()
function Worker:send(message, callback)
  return common.send(self, self._channel, message, callback)
end

-- A worker ends itself when its drainTimeout is over, if it is not too busy to see that.
local function killWhenDrained(worker)
  local limit = worker._drainTimeout
  if limit and not worker._ending then
    worker._ending = timers.setTimeout(function()
      if not worker:isDead() then
        worker:kill 'SIGKILL'
      end
    end, limit + KILL_PAUSE):unref()
  end
end

--- Asks the worker to close its servers, wait for their connections and leave.
---@return cluster.Worker self
---@source Node.js worker.disconnect()
function Worker:disconnect()
  self.exitedAfterDisconnect = true
  self._channel:send('disconnect')
  killWhenDrained(self)
  return self
end

--- Ends the worker with a signal, SIGTERM when left out.
---@param signal? string
---@source Node.js worker.kill()
function Worker:kill(signal)
  self.exitedAfterDisconnect = true
  self.process.kill(signal)
end
Worker.destroy = Worker.kill

--- Whether messages can be sent.
---@return boolean
---@source Node.js worker.isConnected()
function Worker:isConnected()
  return self._channel.connected
end

--- Whether the process has ended.
---@return boolean
---@source Node.js worker.isDead()
function Worker:isDead()
  return self.state == 'exited' or self.state == 'dead'
end

-- ---- Starting ----

local function environment(worker, fd, extra)
  local all, list = native.process.environ(), {}
  for name, value in pairs(extra or {}) do
    all[tostring(name)] = tostring(value)
  end
  all[state.variable] = worker.id .. ':' .. fd
  for name, value in pairs(all) do
    list[#list + 1] = name .. '=' .. value
  end
  return list
end

local function commandLine()
  local settings = cluster.settings
  local argv = { process.execPath }
  for _, option in ipairs(settings.execArgv) do
    argv[#argv + 1] = tostring(option)
  end
  argv[#argv + 1] = settings.exec
  for _, argument in ipairs(settings.args) do
    argv[#argv + 1] = tostring(argument)
  end
  return argv
end

local function firstKeys()
  if not ring then
    ring = tickets.rotate()
    timers.setInterval(cluster.renewTicketKeys, cluster.settings.ticketKeysAge or TICKET_KEYS_AGE):unref()
  end
  return ring
end

--- Gives the workers new keys for session tickets now, as happens every `ticketKeysAge` anyway: what the two sets of
--- keys before have sealed is still opened, older tickets are not.
---@source moonlatch
function cluster.renewTicketKeys()
  ring = tickets.rotate(firstKeys())
  for _, worker in pairs(cluster.workers) do
    worker._channel:send('ticketKeys', ring)
  end
end

local function processOf(worker)
  return {
    pid = worker._child:pid(),
    kill = function(signal)
      return worker._child:kill(signals.number(signal)) == true
    end,
  }
end

local function announce(worker)
  cluster:emit('fork', worker)
end

-- Opens the channel. Returns the worker's end of it, which is the caller's.
local function connect(worker)
  local ours, theirs = native.channelPair()
  if not ours then
    error(theirs, 0)
  end
  local ok, channel = pcall(Channel, ours, messages.ofWorkers, function(kind, value)
    receive[kind](worker, value)
  end, function()
    disconnected(worker)
  end)
  if not ok then
    native.fs.close(theirs)
    error(channel, 0)
  end
  worker._channel = channel
  return theirs
end

--- Starts a worker, with `env` added to its environment.
---
--- Raises ERR_INVALID_ARG_TYPE, and what the system says when it cannot.
---@param env? table<string, string>
---@return cluster.Worker
---@source Node.js cluster.fork()
function cluster.fork(env)
  validate.options(env, 'env')
  cluster.setupPrimary()
  local worker = Worker()
  lastId = lastId + 1
  -- _duty is how a reload and --workers see it: on 'trial' until it serves, in 'service', 'retired' when told to leave.
  worker.id, worker.state, worker._duty, worker._since = lastId, 'none', 'service', native.now()
  worker._drainTimeout = cluster.settings.drainTimeout
  local theirs = connect(worker)
  worker._channel:send('init', {
    ticketKeys = firstKeys(), drainTimeout = worker._drainTimeout, supervised = handles.keep,
  })
  local child, err = spawn(worker, commandLine(), environment(worker, theirs, env), cluster.settings.cwd, theirs)
  native.fs.close(theirs)
  if not child then
    worker._channel:close()
    error(err, 0)
  end
  worker._child = child
  worker.process = processOf(worker)
  cluster.workers[worker.id] = worker
  nextTick(announce, worker)
  return worker
end

local SETTINGS = { exec = 'string', args = 'table', execArgv = 'table', cwd = 'string', drainTimeout = 'number',
  reloadTimeout = 'number', ticketKeysAge = 'number' }

--- Says what workers started from now on run.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param settings? cluster.Settings
---@source Node.js cluster.setupPrimary()
function cluster.setupPrimary(settings)
  validate.options(settings, 'settings')
  local first = cluster.settings.exec == nil
  local now = cluster.settings
  for name, kind in pairs(SETTINGS) do
    local value = settings and settings[name]
    if value ~= nil then
      if type(value) ~= kind then
        error(errors.argType('settings.' .. name, kind == 'table' and 'Array' or kind, value), 0)
      end
      now[name] = value
    end
  end
  now.execArgv = now.execArgv or process.execArgv
  now.exec = now.exec or process.argv[2]
  now.args = now.args or { unpack(process.argv, 3) }
  if first or settings then
    nextTick(cluster.emit, cluster, 'setup', now)
  end
end
cluster.setupMaster = cluster.setupPrimary

--- Asks all workers to leave. `callback` is called when none is connected any more.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param callback? function
---@source Node.js cluster.disconnect()
function cluster.disconnect(callback)
  if callback ~= nil then
    validate.func(callback, 'callback')
  end
  local connected = {}
  for _, worker in pairs(cluster.workers) do
    if worker:isConnected() then
      connected[#connected + 1] = worker
    end
  end
  common.each(connected, function(worker, over)
    worker:once('disconnect', over)
    worker:disconnect()
  end, callback or function() end)
end

require('moonlatch.cluster.reload')(cluster)

return cluster

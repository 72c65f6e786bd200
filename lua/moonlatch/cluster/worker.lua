--- cluster in a worker: the channel to the primary, the listening sockets that come through it, and the way out.
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local EventEmitter = require('events').EventEmitter
local native = require 'moonlatch.native'
local Channel = require 'moonlatch.cluster.channel'
local common = require 'moonlatch.cluster.common'
local listening = require 'moonlatch.net.listening'
local messages = require 'moonlatch.cluster.messages'
local process = require 'process'
local state = require 'moonlatch.cluster.state'
local tickets = require 'moonlatch.cluster.tickets'
local timers = require 'timers'

local pairs, next = pairs, next

---@class cluster.Worker: EventEmitter
---@field id integer
---@field process table                   the process itself, in a worker; in the primary { pid, kill }
---@field state? string  in the primary: 'none', 'online', 'listening', 'disconnected', 'exited', 'dead'
---@field exitedAfterDisconnect? boolean  true when the worker left because it was told to
local Worker = class('Worker', EventEmitter)

local cluster = EventEmitter()
cluster.isPrimary, cluster.isMaster, cluster.isWorker = false, false, true
cluster.Worker = Worker

local worker = Worker()
worker.id, worker.process = state.id, process
cluster.worker = worker

local channel
local waiting = {}   -- questions to the primary without an answer: number → function
local questions = 0
local servers = {}   -- server → true, those that listen with a socket of the primary's
local shared = {}    -- listener → { server, key }
local started = false

local function ask(kind, value, done)
  questions = questions + 1
  waiting[questions] = done
  value.question = questions
  channel:send(kind, value)
end

-- Says once that the script has run and every socket it wanted to listen on has come: from here on this worker serves.
local function sayReady()
  if started and next(waiting) == nil then
    started = false
    channel:send('ready')
  end
end

-- ---- Listening ----

local acquire, release = listening.acquire, listening.release
local inUse = {} -- key → true, of this worker's listeners: several port 0 are several ports

local function keyOf(request)
  local o = request.options
  local where = request.path or request.fd and 'fd ' .. request.fd or (request.address or '') .. ':' .. request.port
  where = where .. (o.ipv6Only and ' ipv6Only' or '')
  local number = 1
  while inUse[where .. ' #' .. number] do
    number = number + 1
  end
  local key = where .. ' #' .. number
  inUse[key] = true
  return key
end

-- The key goes with its socket: whoever listens on the same address again gets the same one.
local function giveBack(key)
  inUse[key] = nil
  channel:send('release', key)
end

local function addressOf(server)
  local address = server:address()
  if type(address) ~= 'table' then
    return { address = address, addressType = -1 }
  end
  return { address = address.address, port = address.port, addressType = address.family == 'IPv6' and 6 or 4 }
end

local function adopt(server, key, fd, done)
  local listener, err = listening.open(server, { fd = fd, options = {} })
  if not listener then
    native.fs.close(fd)
    giveBack(key)
    done(nil, err)
    return
  end
  servers[server], shared[listener] = true, { server = server, key = key }
  done(listener)
  if server._handle == listener then
    channel:send('listening', addressOf(server))
  end
end

--- A socket that belongs to all workers comes from the primary; `exclusive` ones are opened here.
function listening.acquire(server, request, done)
  if request.options.exclusive or not channel.connected then
    acquire(server, request, done)
    return
  end
  local key = keyOf(request)
  ask('listen', { key = key, request = request }, function(answer, fd)
    if fd then
      adopt(server, key, fd, done)
    else
      inUse[key] = nil
      done(nil, errors.new(answer.err.message, answer.err))
    end
  end)
end

function listening.release(listener)
  local entry = shared[listener]
  if entry then
    shared[listener], servers[entry.server] = nil, nil
    giveBack(entry.key)
  end
  release(listener)
end

-- ---- The way out ----

local leaving

local function closeServers(done)
  local open = {}
  for server in pairs(servers) do
    open[#open + 1] = server
  end
  common.each(open, function(server, closed)
    server:once('close', closed)
    server:close()
  end, done)
end

--- Closes the servers, waits until their connections have ended, and then lets go of the primary: the process ends
--- when nothing else keeps it.
---@return cluster.Worker self
---@source Node.js worker.disconnect()
function Worker:disconnect()
  if leaving or not channel.connected then
    return self
  end
  leaving = true
  self.exitedAfterDisconnect = true
  if cluster._drainTimeout then
    timers.setTimeout(process.exit, cluster._drainTimeout, 0):unref()
  end
  closeServers(function()
    channel:close()
    self._ended()
  end)
  channel:send('leaving') -- from here on nothing more is accepted
  return self
end

--- Ends the worker at once, as told.
---@param signal? string
---@source Node.js worker.kill()
function Worker:kill(signal)
  self.exitedAfterDisconnect = true
  channel:send('leaving')
  process.kill(process.pid, signal)
end
Worker.destroy = Worker.kill

--- Whether messages can be sent.
---@return boolean
---@source Node.js worker.isConnected()
function Worker:isConnected()
  return channel.connected
end

--- Whether the process has ended.
---@return boolean
---@source Node.js worker.isDead()
function Worker:isDead()
  return false
end

--- Sends a value to the primary, where it is a 'message' event of the worker and of cluster.
---
--- Raises ERR_INVALID_ARG_VALUE for a value with functions or userdata in it.
---@param message any
---@param callback? fun(err?: Error)
---@return boolean
---@source Node.js worker.send()
function Worker:send(message, callback)
  return common.send(self, channel, message, callback)
end

process.send = function(message, ...)
  if message == process then
    return worker:send(...)
  end
  return worker:send(message, ...)
end
process.connected = true
process.disconnect = function()
  worker:disconnect()
end

-- ---- What the primary says ----

local receive = {}

function receive.init(settings)
  cluster._drainTimeout = settings.drainTimeout
  tickets.use(settings.ticketKeys)
  if settings.supervised then
    -- A terminal sends these to every process at once, but it is the primary who decides.
    process:on('SIGINT', function() end)
    process:on('SIGHUP', function() end)
    process:on('SIGTERM', process.disconnect)
  end
end

function receive.message(message)
  process:emit('message', message)
  worker:emit('message', message)
end

function receive.answer(answer, fd)
  local done = waiting[answer.question]
  waiting[answer.question] = nil
  done(answer, fd)
  sayReady()
end

function receive.ticketKeys(keys)
  tickets.use(keys)
end

function receive.disconnect()
  worker:disconnect()
end

-- Without a primary nobody is left who could end this worker. Said by the primary's death, not by our own close.
function worker._ended()
  process.connected = false
  worker:emit('disconnect')
  process:emit('disconnect')
  if not worker.exitedAfterDisconnect then
    process.exit(0)
  end
end

--- The script's main chunk has run.
---@package
function cluster._started()
  started = true
  sayReady()
end

process.env[state.variable] = nil
channel = Channel(state.fd, messages.ofPrimary, function(kind, value, fd)
  receive[kind](value, fd)
end, worker._ended)
channel:wait()
channel:send('online')

return cluster

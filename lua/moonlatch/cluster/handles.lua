--- The listening sockets of a cluster. The primary opens them and accepts nothing; workers listen on duplicates.
local listening = require 'moonlatch.net.listening'
local native = require 'moonlatch.native'

local next = next

local handles = {}

local open = {} -- key → { listener, users = { worker → true } }

--- Whether sockets stay when no worker uses them: a port that is kept refuses nobody while workers come and go.
handles.keep = false

-- The listener's owner. It accepts nothing, so nothing ever happens.
local nobody = {}

--- An error's fields, for the way to a worker.
---@param err Error
---@return table
local function plain(err)
  return {
    message = err.message, code = err.code, errno = err.errno, syscall = err.syscall, address = err.address,
    port = err.port,
  }
end
handles.plain = plain

local function giveUp(key, worker)
  local entry = open[key]
  if not entry then
    return
  end
  entry.users[worker] = nil
  if not handles.keep and next(entry.users) == nil then
    open[key] = nil
    entry.listener:close()
  end
end

-- A descriptor that a worker names stays whose it is: the primary's script may use it, and the next worker will.
local function openListener(request)
  if not request.fd then
    return listening.open(nobody, request)
  end
  local fd, err = native.duplicate(request.fd)
  if not fd then
    return nil, err
  end
  local listener
  listener, err = listening.open(nobody, { fd = fd, options = request.options })
  if not listener then
    native.fs.close(fd)
  end
  return listener, err
end

--- A descriptor for `worker` to listen on, to be closed when it has been sent.
---@param worker cluster.Worker
---@param key string
---@param request moonlatch.net.ListenRequest
---@return integer? fd
---@return table? err  plain fields, for the way to the worker
function handles.acquire(worker, key, request)
  local entry = open[key]
  if not entry then
    local listener, err = openListener(request)
    if not listener then
      return nil, plain(err)
    end
    listener:hold()
    entry = { listener = listener, users = {} }
    open[key] = entry
  end
  entry.users[worker] = true
  local fd, err = entry.listener:duplicate()
  if not fd then
    giveUp(key, worker)
    return nil, plain(err)
  end
  return fd
end

--- The worker has closed the server.
---@param worker cluster.Worker
---@param key string
function handles.release(worker, key)
  giveUp(key, worker)
end

--- The worker is gone.
---@param worker cluster.Worker
function handles.releaseAll(worker)
  local keys = {}
  for key in pairs(open) do
    keys[#keys + 1] = key
  end
  for _, key in ipairs(keys) do
    giveUp(key, worker)
  end
end

--- Nobody is to use the sockets any more.
function handles.closeAll()
  for key, entry in pairs(open) do
    open[key] = nil
    entry.listener:close()
  end
end

return handles

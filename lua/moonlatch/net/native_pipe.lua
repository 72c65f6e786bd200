--- The native pipe: while one socket is piped into another and nothing else is going on with either, bytes go from one
--- handle to the other in C.
---
--- A pipe begins as any other does. Once a chunk has gone through and everything is as usual, the handles are joined,
--- and what of the source's reading half and of the destination's writing half would show a difference is hidden: the
--- state of that half, and the listeners of what a pipe does. Whoever looks for it, by a method, a property or a
--- function of the class, finds it, because the look itself takes the pipe back to where it would be had it been made
--- of listeners all along. It stays so until the next chunk has gone through in that way.

local class = require 'moonlatch.class'

local type, pairs, ipairs, rawget, rawset = type, pairs, ipairs, rawget, rawset
local getmetatable, setmetatable = getmetatable, setmetatable

local nativePipe = {}

--- False: pipes stay what they are in Lua. For tests and measurements; the environment variable
--- MOONLATCH_NATIVE_PIPE=0 does the same.
nativePipe.enabled = os.getenv('MOONLATCH_NATIVE_PIPE') ~= '0'

-- ---- Leaving ----

-- Who stands behind a table of listeners that is guarded.
local owners = setmetatable({}, { __mode = 'kv' })

local function showListener(socket, name, listener)
  local events = rawget(socket, '_events')
  if events and owners[events] and listener then
    rawset(events, name, listener)
  end
end

-- Is neither half of the socket native any more, it is what it was.
local function restore(socket)
  local original = rawget(getmetatable(socket), '__original')
  if not original or rawget(socket, '_pipedTo') or rawget(socket, '_pipedFrom') then
    return
  end
  setmetatable(socket, original)
  local events = rawget(socket, '_events')
  if events and owners[events] then
    owners[events] = nil
    setmetatable(events, nil)
  end
end

-- The write that the pipe has under way becomes one of dest's, and if it is a large one src waits for it.
local function takeWrite(src, dest, size)
  local onwrite, more = dest:_adoptWrite(size)
  dest._writeCallback = onwrite
  local pipe = src._readableState.links[dest]
  if not more and pipe then
    pipe.pause()
  end
end

---@class moonlatch.net.NativePipe
---@field src net.Socket
---@field dest net.Socket
---@field reading table      the state of src's reading half
---@field writing table      that of dest's writing half
---@field onData function
---@field onDrain? function

local function leave(joined)
  local src, dest = joined.src, joined.dest
  rawset(src, '_pipedTo', nil)
  rawset(src, '_readableState', joined.reading)
  showListener(src, 'data', joined.onData)
  rawset(dest, '_pipedFrom', nil)
  rawset(dest, '_writableState', joined.writing)
  showListener(dest, 'drain', joined.onDrain)
  restore(src)
  restore(dest)
  local handle = src._handle
  if not handle then
    return
  end
  local size = handle:unpipe()
  if size > 0 and dest._handle then
    takeWrite(src, dest, size)
  end
  if src._reading then
    handle:readStart() -- the write may have stopped it
  end
end

-- A function that has a socket leave what it has under that name.
local function leaver(name)
  return function(socket)
    local joined = rawget(socket, name)
    if joined then
      leave(joined)
    end
  end
end

local leaveAsSource, leaveAsDestination = leaver '_pipedTo', leaver '_pipedFrom'

local function leaveBoth(socket)
  leaveAsSource(socket)
  leaveAsDestination(socket)
end

-- ---- What makes a socket leave ----

-- Looks for what is hidden, and what goes past it to the handle.
local hooks = {
  _readableState = leaveAsSource, _read = leaveAsSource,
  _writableState = leaveAsDestination, _write = leaveAsDestination, _writeStrings = leaveAsDestination,
  _send = leaveAsDestination, _final = leaveAsDestination,
  _release = leaveBoth, _attach = leaveBoth, _replaceHandle = leaveBoth,
}

-- Events whose listeners would hear of what a pipe does. Who removes listeners looks for those of 'removeListener'.
local heard = {
  data = leaveAsSource, readable = leaveAsSource, pause = leaveAsSource, resume = leaveAsSource,
  drain = leaveAsDestination, removeListener = leaveBoth,
}

local guard = {}

function guard.__index(events, name)
  local what = heard[name]
  if what then
    what(owners[events])
    return rawget(events, name)
  end
  return nil
end

-- What a socket of that metatable has, seen past our own.
local function plainly(socket, original, key)
  local index = original.__index
  if type(index) == 'table' then
    return index[key]
  end
  return index(socket, key)
end

local function newShadow(original)
  local shadow = {}
  for key, value in pairs(original) do
    shadow[key] = value
  end
  shadow.__original = original
  function shadow.__index(socket, key)
    local what = hooks[key]
    if what then
      what(socket)
      local value = rawget(socket, key)
      if value ~= nil then
        return value
      end
    end
    return plainly(socket, original, key)
  end
  function shadow.__newindex(socket, key, value)
    leaveBoth(socket)
    rawset(socket, key, value)
  end
  return shadow
end

local shadows = setmetatable({}, { __mode = 'k' })

local function watch(socket)
  local metatable = getmetatable(socket)
  if rawget(metatable, '__original') then
    return
  end
  local shadow = shadows[metatable]
  if not shadow then
    shadow = newShadow(metatable)
    shadows[metatable] = shadow
  end
  setmetatable(socket, shadow)
  local events = rawget(socket, '_events')
  owners[events] = socket
  setmetatable(events, guard)
end

-- Hides the listener and gives it.
local function hideListener(socket, name)
  local events = rawget(socket, '_events')
  local listener = rawget(events, name)
  rawset(events, name, nil)
  return listener
end

-- ---- Entering ----

-- Methods that a script may have replaced, and through which the bytes would go.
local USED = {
  'push', 'read', 'emit', 'on', 'pause', 'resume', 'write', 'finish', '_write', '_send', '_read', '_onHandleRead',
  '_onHandleWritten',
}

-- What they were when net.Socket was made.
local usual = {}

--- Tells which methods sockets have as long as nobody replaces them.
---@param Socket moonlatch.Class  net.Socket
function nativePipe.learn(Socket)
  for _, name in ipairs(USED) do
    usual[name] = Socket.prototype[name]
  end
end

-- Whether a socket does everything as net.Socket does.
local function isOrdinary(socket)
  local methods = class.of(socket).prototype
  for _, name in ipairs(USED) do
    if methods[name] ~= usual[name] or rawget(socket, name) ~= nil then
      return false
    end
  end
  return true
end

-- Nobody but the pipe itself listens to what it does.
local function unheard(pipe, source, destination)
  return destination and source.data == pipe.onData and not source.readable and not source.pause and not source.resume
    and (destination.drain == nil or destination.drain == pipe.onDrain)
end

-- Nothing is under way and nothing is unusual, in either half.
local function idle(src, dest)
  local rs, ws = src._readableState, dest._writableState
  return rs.flowing and rs.plain and rs.length == 0 and not rs.awaitDrainWriters and src._reading
    and ws.plain and ws.length == 0 and not ws.writing and not ws.needDrain and ws.bufferedRequestCount == 0
    and ws.sources == 1 and dest._handle and not dest.connecting
end

local function join(src, dest)
  if not src._handle:pipe(dest._handle) then
    return
  end
  local joined = {
    src = src, dest = dest, reading = src._readableState, writing = dest._writableState,
    onData = hideListener(src, 'data'), onDrain = hideListener(dest, 'drain'),
  }
  rawset(src, '_readableState', nil)
  rawset(src, '_pipedTo', joined)
  rawset(dest, '_writableState', nil)
  rawset(dest, '_pipedFrom', joined)
  watch(src)
  watch(dest)
end

--- A chunk has just gone through the pipe that `src` is the source of: lets the next ones go by themselves, if that
--- makes no difference to anybody.
---@param src net.Socket
---@param Socket moonlatch.Class  net.Socket
function nativePipe.enter(src, Socket)
  local rs = nativePipe.enabled and rawget(src, '_readableState')
  local dest = rs and rs.pipes and rs.pipes[1]
  if dest and #rs.pipes == 1 and class.isInstance(dest, Socket) and rawget(dest, '_writableState') and idle(src, dest)
    and unheard(rs.links[dest], src._events, dest._events) and isOrdinary(src) and isOrdinary(dest) then
    join(src, dest)
  end
end

return nativePipe

--- The native pipe: while one socket is piped into another and nothing else is going on with either, bytes go from one
--- handle to the other in C.
---
--- A pipe begins as any other does. Once a chunk has gone through and everything is as usual, the handles are joined
--- and both sockets get another metatable, under which whatever would show a difference (a method, a property, a field
--- set) first takes the pipe back to where it would be had it been made of listeners all along. It stays so until the
--- next chunk has gone through in that way.

local class = require 'moonlatch.class'

local type, pairs, ipairs, rawget, rawset = type, pairs, ipairs, rawget, rawset
local getmetatable, setmetatable = getmetatable, setmetatable

local nativePipe = {}

--- False: pipes stay what they are in Lua. For tests and measurements; the environment variable
--- MOONLATCH_NATIVE_PIPE=0 does the same.
nativePipe.enabled = os.getenv('MOONLATCH_NATIVE_PIPE') ~= '0'

-- ---- Leaving ----

local function restore(socket)
  local original = rawget(getmetatable(socket), '__original')
  if original and not rawget(socket, '_pipedTo') and not rawget(socket, '_pipedFrom') then
    setmetatable(socket, original)
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

local function leave(src)
  local dest = rawget(src, '_pipedTo')
  rawset(src, '_pipedTo', nil)
  rawset(dest, '_pipedFrom', nil)
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

local function leaveAsSource(socket)
  if rawget(socket, '_pipedTo') then
    leave(socket)
  end
end

local function leaveAsDestination(socket)
  local src = rawget(socket, '_pipedFrom')
  if src then
    leave(src)
  end
end

local function leaveBoth(socket)
  leaveAsSource(socket)
  leaveAsDestination(socket)
end

-- What a write under way shows in.
local function leaveIfWriting(src)
  if src and (src._handle and src._handle:piped() or 0) > 0 then
    leave(src)
  end
end

local function settleAsSource(socket)
  leaveIfWriting(rawget(socket, '_pipedTo') and socket)
end

local function settleAsDestination(socket)
  leaveIfWriting(rawget(socket, '_pipedFrom'))
end

-- ---- What makes a socket leave ----

local hooks = {}

local function hook(names, what)
  for name in names:gmatch '%S+' do
    hooks[name] = what
  end
end

hook('pause resume read unshift push setEncoding pipe unpipe wrap _read _onHandleRead _onHandleEnd', leaveAsSource)
hook('write finish end cork uncork setDefaultEncoding destroySoon', leaveAsDestination)
hook('_write _writeStrings _send _final _onHandleWritten', leaveAsDestination)
hook('destroy resetAndDestroy connect emit', leaveBoth)
hook('_destroy _undestroy _release _attach _replaceHandle _onConnected _onHandleError', leaveBoth)
hook('readableFlowing readableLength readableBuffer isPaused', settleAsSource)
hook('writableLength writableNeedDrain writableBuffer bufferSize bytesWritten', settleAsDestination)

-- Events whose listeners would hear of what a pipe does.
local HEARD = { data = true, readable = true, pause = true, resume = true, drain = true }

-- What a socket of that metatable has, seen past our own.
local function plainly(socket, metatable, key)
  local index = (rawget(metatable, '__original') or metatable).__index
  if type(index) == 'table' then
    return index[key]
  end
  return index(socket, key)
end

-- Methods that are called with the name of an event.
local listening = {}
for name in ('on addListener once prependListener prependOnceListener off removeListener removeAllListeners')
  :gmatch '%S+' do
  listening[name] = function(socket, event, ...)
    if event == nil or HEARD[event] then
      leaveBoth(socket)
    end
    return plainly(socket, getmetatable(socket), name)(socket, event, ...)
  end
end

local function newShadow(original)
  local shadow = {}
  for key, value in pairs(original) do
    shadow[key] = value
  end
  shadow.__original = original
  function shadow.__index(socket, key)
    local method = listening[key]
    if method then
      return method
    end
    local what = hooks[key]
    if what then
      what(socket)
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
end

-- ---- Entering ----

-- Methods that a class of a script's may have replaced, and through which the bytes would go.
local USED = {
  'push', 'read', 'emit', 'on', 'pause', 'resume', 'write', 'finish', '_write', '_send', '_read', '_onHandleRead',
  '_onHandleWritten',
}

-- Whether the class of a socket does everything as net.Socket does. By class.
local ordinary = setmetatable({}, { __mode = 'k' })

local function isOrdinary(socket, Socket)
  local cls = class.of(socket)
  local known = ordinary[cls]
  if known == nil then
    known = true
    for _, name in ipairs(USED) do
      known = known and cls.prototype[name] == Socket.prototype[name]
    end
    ordinary[cls] = known
  end
  for _, name in ipairs(USED) do
    if rawget(socket, name) ~= nil then
      return false
    end
  end
  return known
end

-- Nobody but the pipe itself listens to what it does.
local function unheard(pipe, heard, told)
  return heard.data == pipe.onData and not heard.readable and not heard.pause and not heard.resume
    and (told.drain == nil or told.drain == pipe.onDrain)
end

-- Nothing is under way and nothing is unusual, in either half.
local function idle(src, dest)
  local rs, ws = src._readableState, dest._writableState
  return rs.flowing and rs.plain and rs.length == 0 and not rs.awaitDrainWriters and src._reading
    and ws.plain and ws.length == 0 and not ws.writing and not ws.needDrain and ws.bufferedRequestCount == 0
    and ws.sources == 1 and dest._handle and not dest.connecting
end

--- A chunk has just gone through the pipe that `src` is the source of: lets the next ones go by themselves, if that
--- makes no difference to anybody.
---@param src net.Socket
---@param Socket moonlatch.Class  net.Socket
function nativePipe.enter(src, Socket)
  local rs = src._readableState
  local dest = rs.pipes[1]
  local pipe = dest and rs.links[dest]
  if not nativePipe.enabled or #rs.pipes ~= 1 or not class.isInstance(dest, Socket)
    or rawget(src, '_pipedTo') or rawget(dest, '_pipedFrom') or not idle(src, dest)
    or not unheard(pipe, src._events, dest._events)
    or not isOrdinary(src, Socket) or not isOrdinary(dest, Socket) then
    return
  end
  if src._handle:pipe(dest._handle) then
    rawset(src, '_pipedTo', dest)
    rawset(dest, '_pipedFrom', src)
    watch(src)
    watch(dest)
  end
end

return nativePipe

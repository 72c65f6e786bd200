--- What the processes of a cluster say to each other: a kind, a value, and at times a descriptor.
---
--- Values are what LuaJIT's string.buffer can write: nil, booleans, numbers, strings, tables of these.
local buffer = require 'string.buffer'
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local messages = require 'moonlatch.cluster.messages'
local native = require 'moonlatch.native'

local pcall, type = pcall, type

---@class moonlatch.cluster.Channel
---@field connected boolean
local Channel = class('Channel')

---@param fd integer                                          the channel's from now on
---@param kinds table<string, moonlatch.cluster.Shape>        what may come
---@param receive fun(kind: string, value: any, fd?: integer)  a descriptor is the receiver's
---@param ended fun()                  the other process is gone, has closed, or says what means nothing
function Channel:init(fd, kinds, receive, ended)
  self.kinds, self.receive, self.ended = kinds, receive, ended
  self.connected = true
  local handle, err = native.channel(self, fd)
  if not handle then
    native.fs.close(fd)
    error(err, 0)
  end
  self.handle = handle
end

--- Queues a message.
---
--- Raises ERR_INVALID_ARG_VALUE for a value that cannot be written.
---@param kind string
---@param value any
---@param fd? integer  stays the caller's
---@return true? ok
---@return Error? err
function Channel:send(kind, value, fd)
  if not self.connected then
    return nil, errors.codes.ERR_IPC_CHANNEL_CLOSED()
  end
  local ok, bytes = pcall(buffer.encode, { kind, value })
  if not ok then
    error(errors.argValue('message', value, 'cannot be sent to another process'), 0)
  end
  return self.handle:send(bytes, fd)
end

--- Blocks until one message has been received.
function Channel:wait()
  local ok, err = self.handle:wait()
  if not ok then
    error(err, 0)
  end
end

function Channel:close()
  if self.connected then
    self.connected = false
    self.handle:close()
  end
end

--- Whether the channel keeps the process running.
---@param on boolean
function Channel:setRef(on)
  if on then
    self.handle:ref()
  else
    self.handle:unref()
  end
end

local function over(self)
  self:close()
  self.ended()
end

local function isProper(self, message, fd)
  if type(message) ~= 'table' then
    return false
  end
  local kind = message[1]
  local shape = self.kinds[kind]
  return shape ~= nil and shape(message[2]) and (not fd or kind == messages.bringsDescriptor)
end

native.handlers('channel', {
  read = function(self, bytes, fd)
    local ok, message = pcall(buffer.decode, bytes)
    if ok and isProper(self, message, fd) then
      self.receive(message[1], message[2], fd)
      return
    end
    -- One process that has gone wrong is no reason for another to end.
    if fd then
      native.fs.close(fd)
    end
    over(self)
  end,
  ['end'] = over,
})

return Channel

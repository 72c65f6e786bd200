--- How native handles and listeners reach their owners: one function per class and event, none per connection.
---
--- The classes `sock` and `tls` share the functions for streams, so whatever owns a handle has the methods named here,
--- which net.Socket defines.

local native = require 'moonlatch.native'

local handlers = {}

--- Events of every handle that is a byte stream.
handlers.stream = {
  read = function(owner, chunk)
    owner:_onHandleRead(chunk)
  end,
  ['end'] = function(owner)
    owner:_onHandleEnd()
  end,
  written = function(owner)
    owner:_onHandleWritten()
  end,
  shutdown = function(owner)
    owner:_onHandleShutdown()
  end,
  connect = function(owner)
    owner:_onHandleConnect()
  end,
  error = function(owner, err)
    owner:_onHandleError(err)
  end,
  timeout = function(owner)
    owner:_onHandleTimeout()
  end,
}

--- Events of a listener; its owner is a net.Server or something with its methods.
handlers.listener = {
  connection = function(owner, handle)
    owner:_onConnection(handle)
  end,
  error = function(owner, err)
    owner:_onListenerError(err)
  end,
  drop = function(owner, address, family, port)
    owner:_onListenerDrop(address, family, port)
  end,
}

--- Registers the stream events for a native class, with more of its own.
---@param name string
---@param extra? table<string, function>
function handlers.register(name, extra)
  local all = {}
  for event, handler in pairs(handlers.stream) do
    all[event] = handler
  end
  for event, handler in pairs(extra or {}) do
    all[event] = handler
  end
  native.handlers(name, all)
end

handlers.register('sock')
native.handlers('listener', handlers.listener)

return handlers

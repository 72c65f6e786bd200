--- What primary and workers say to each other: the kinds of messages, and the shape of each one's value. Whoever says
--- something else has gone wrong and is let go (cluster/channel.lua).
local type, pairs, floor = type, pairs, math.floor

---@alias moonlatch.cluster.Shape fun(value: any): boolean

local function nothing(value)
  return value == nil
end

local function anything()
  return true
end

local function of(kind)
  return function(value)
    return type(value) == kind
  end
end

local boolean, number, text = of 'boolean', of 'number', of 'string'

local function integer(max)
  return function(value)
    return number(value) and value == floor(value) and value >= 0 and value <= max
  end
end

local function optional(shape)
  return function(value)
    return value == nil or shape(value)
  end
end

-- A table with these fields; what else is in it nobody reads.
local function record(fields)
  return function(value)
    if type(value) ~= 'table' then
      return false
    end
    for name, shape in pairs(fields) do
      if not shape(value[name]) then
        return false
      end
    end
    return true
  end
end

local function either(...)
  local shapes = { ... }
  return function(value)
    for _, shape in pairs(shapes) do
      if shape(value) then
        return true
      end
    end
    return false
  end
end

local number32, port = integer(2 ^ 31 - 1), integer(65535)
local someText, someNumber, someBoolean = optional(text), optional(number), optional(boolean)

-- moonlatch.net.ListenRequest
local listenOptions = record {
  backlog = someNumber, ipv6Only = someBoolean, reusePort = someBoolean, readableAll = someBoolean,
  writableAll = someBoolean, exclusive = someBoolean,
}
local listenRequest = either(
  record { fd = number32, options = listenOptions },
  record { fd = nothing, path = text, options = listenOptions },
  record { fd = nothing, path = nothing, address = someText, port = port, options = listenOptions }
)

local messages = {}

---@type table<string, moonlatch.cluster.Shape>
messages.ofWorkers = {
  online = nothing,
  ready = nothing,
  leaving = nothing,
  listening = record { address = someText, port = someNumber, addressType = number },
  listen = record { question = number, key = text, request = listenRequest },
  release = text,
  message = anything,
}

---@type table<string, moonlatch.cluster.Shape>
messages.ofPrimary = {
  init = record { ticketKeys = of 'table', drainTimeout = someNumber, supervised = boolean },
  answer = record { question = number, err = optional(of 'table') },
  ticketKeys = of 'table',
  disconnect = nothing,
  message = anything,
}

--- The one kind that brings a descriptor.
messages.bringsDescriptor = 'answer'

return messages

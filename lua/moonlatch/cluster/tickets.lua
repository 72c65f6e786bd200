--- The ticket keys that the workers of a cluster share: what one seals, every one opens.
local ticketKeys = require 'moonlatch.tls.ticket_keys'

local pairs = pairs

local tickets = {}

local KEEP = 3 -- the current keys and those before them

--- New keys: the first of the list seals from now on, the others still open.
---@param ring? string[]  the list so far
---@return string[]
function tickets.rotate(ring)
  local next = { require('moonlatch.crypto.random').randomBytes(ticketKeys.SIZE) }
  for i = 1, KEEP - 1 do
    next[i + 1] = ring and ring[i]
  end
  return next
end

local current
local servers = setmetatable({}, { __mode = 'k' })

--- Has every server use these keys, those to come included, but for the ones that were given keys of their own.
---@param ring string[]
function tickets.use(ring)
  current = ring
  for server in pairs(servers) do
    server:_useTicketKeys(ring)
  end
end

--- A server without keys of its own takes part from now on.
---@param server tls.Server
function tickets.join(server)
  if current then
    servers[server] = true
    server:_useTicketKeys(current)
  end
end

--- The server has another context: should it take part, that one has the keys, too.
---@param server tls.Server
function tickets.renew(server)
  if servers[server] then
    server:_useTicketKeys(current)
  end
end

--- The script has given the server its own keys.
---@param server tls.Server
function tickets.leave(server)
  servers[server] = nil
end

return tickets

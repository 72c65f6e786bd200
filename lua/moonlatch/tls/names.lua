--- Which context belongs to which server name: what server:addContext fills and the default SNICallback asks.
local class = require 'moonlatch.class'

---@class moonlatch.tls.Names
---@field exact table<string, {order: integer, context: tls.SecureContext}>
---@field wild {pattern: string, order: integer, context: tls.SecureContext}[]  in the order they were added
local Names = class('Names')

function Names:init()
  self.exact, self.wild, self.order = {}, {}, 0
end

--- A `*` stands for any run of characters without a dot. Names are compared without regard to case (RFC 4343).
---@param name string
---@param context tls.SecureContext
function Names:add(name, context)
  name = name:lower()
  self.order = self.order + 1
  if not name:find('*', 1, true) then
    self.exact[name] = { order = self.order, context = context }
    return
  end
  local pattern = '^' .. name:gsub('[%-%.%+%[%]%(%)%$%^%%%?]', '%%%0'):gsub('%*', '[^.]*') .. '$'
  self.wild[#self.wild + 1] = { pattern = pattern, order = self.order, context = context }
end

--- The context added last among those that match.
---@param name string
---@return tls.SecureContext?
function Names:find(name)
  name = name:lower()
  local exact = self.exact[name]
  local wild = self.wild
  for i = #wild, 1, -1 do
    local entry = wild[i]
    if exact and exact.order > entry.order then
      break
    end
    if name:find(entry.pattern) then
      return entry.context
    end
  end
  return exact and exact.context
end

return Names

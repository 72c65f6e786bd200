--- The keys that seal session tickets: 48 bytes, or a list of such. The first seal, all of them open.
local errors = require 'moonlatch.errors'

local type, ipairs = type, ipairs

local SIZE = 48

local M = {}

local function checkOne(name, valueName, keys)
  if type(keys) ~= 'string' then
    error(errors.argType(name, { 'string', 'string[]' }, keys), 0)
  end
  if #keys ~= SIZE then
    error(errors.argValue(valueName, #keys, ('must be exactly %d bytes'):format(SIZE)), 0)
  end
end

--- Checks what a script gives as ticket keys and joins them into one string.
---@param keys any
---@param name string  what it is called where its type is wrong
---@param valueName? string  what it is called where its value is wrong; the same when left out
---@return string
function M.join(keys, name, valueName)
  valueName = valueName or name
  if type(keys) ~= 'table' then
    checkOne(name, valueName, keys)
    return keys
  end
  for i, one in ipairs(keys) do
    local place = ('[%d]'):format(i)
    checkOne(name .. place, valueName .. place, one)
  end
  if #keys == 0 then
    error(errors.argValue(valueName, {}, 'must hold at least one string'), 0)
  end
  return table.concat(keys)
end

--- The list that was joined.
---@param joined string
---@return string[]
function M.split(joined)
  local list = {}
  for at = 1, #joined, SIZE do
    list[#list + 1] = joined:sub(at, at + SIZE - 1)
  end
  return list
end

return M

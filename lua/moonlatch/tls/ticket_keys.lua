--- The keys that seal session tickets: 48 bytes, or a list of such. The first seal, all of them open.
local errors = require 'moonlatch.errors'

local type, ipairs = type, ipairs

local M = {}

--- Bytes of one.
local SIZE = 48
M.SIZE = SIZE

local function checkOne(name, wrongSize, keys)
  if type(keys) ~= 'string' then
    error(errors.argType(name, { 'string', 'string[]' }, keys), 0)
  end
  if #keys ~= SIZE then
    error(wrongSize(name, #keys), 0)
  end
end

local function wrongOption(name, size)
  return errors.argValue(name, size, ('must be exactly %d bytes'):format(SIZE))
end

--- What setTicketKeys raises, in Node's words.
---@param name string
---@param size integer
---@return Error
function M.wrongArgument(name, size)
  return errors.coded(errors.TypeError, 'ERR_INVALID_ARG_VALUE',
    ("Session ticket keys must be a %d-byte buffer. Received %d bytes in '%s'"):format(SIZE, size, name))
end

--- Checks what a script gives as ticket keys and joins them into one string.
---@param keys any
---@param name string  what it is called
---@param wrongSize? fun(name: string, size: integer): Error  for keys that are none by their size; that of an option
---  when left out
---@return string
function M.join(keys, name, wrongSize)
  wrongSize = wrongSize or wrongOption
  if type(keys) ~= 'table' or keys[1] == nil then
    checkOne(name, wrongSize, keys)
    return keys
  end
  for i, one in ipairs(keys) do
    checkOne(('%s[%d]'):format(name, i), wrongSize, one)
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

--- StringDecoder: turns chunks of bytes into text without splitting a character, a pair of hexadecimal
--- digits or a group of base64 between two pieces.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local encoding = require 'moonlatch.stream.encoding'

local sub, byte = string.sub, string.byte

---@class StringDecoder
---@field encoding string
---@overload fun(encoding?: string): StringDecoder
local StringDecoder = class('StringDecoder')

-- How many bytes at the end of a chunk have to wait for more, by encoding; none for the others.
local held = {
  utf8 = encoding.incomplete,
  base64 = function(bytes)
    return #bytes % 3
  end,
  utf16le = function(bytes)
    local odd = #bytes % 2
    local high = byte(bytes, #bytes - odd)
    if #bytes - odd >= 2 and high >= 0xd8 and high < 0xdc then
      return odd + 2
    end
    return odd
  end,
}
held.base64url = held.base64

--- Raises ERR_UNKNOWN_ENCODING.
---@param name? string  default 'utf8'
---@source Node.js StringDecoder
function StringDecoder:init(name)
  local canonical = encoding.normalize(name == nil and 'utf8' or name)
  if not canonical then
    error(errors.codes.ERR_UNKNOWN_ENCODING(name), 0)
  end
  self.encoding = canonical
  self._held = ''
end

--- The text of the bytes so far that is complete.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param bytes string
---@return string
---@source Node.js stringDecoder.write()
function StringDecoder:write(bytes)
  if type(bytes) ~= 'string' then
    error(errors.argType('buf', { 'string', 'Buffer' }, bytes), 0)
  end
  if self._held ~= '' then
    bytes = self._held .. bytes
    self._held = ''
  end
  local holds = held[self.encoding]
  local count = holds and holds(bytes) or 0
  if count > 0 then
    self._held = sub(bytes, -count)
    bytes = sub(bytes, 1, -count - 1)
  end
  return encoding.encode(bytes, self.encoding)
end

--- The rest: the text of `bytes`, if given, and of what was held back, U+FFFD for a character that never
--- got complete.
---@param bytes? string
---@return string
---@source Node.js stringDecoder.end()
function StringDecoder:finish(bytes)
  local text = bytes ~= nil and self:write(bytes) or ''
  local rest = self._held
  self._held = ''
  return text .. encoding.encode(rest, self.encoding)
end

StringDecoder['end'] = StringDecoder.finish

---@class string_decoder
---@field StringDecoder moonlatch.Class
local module = { StringDecoder = StringDecoder }

return module

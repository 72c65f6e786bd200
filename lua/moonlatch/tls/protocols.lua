--- Protocol name lists (ALPN, RFC 7301; NPN): Lua sequences of names and the wire format, length-prefixed names.
local errors = require 'moonlatch.errors'

local concat, char = table.concat, string.char

local M = {}

local function check(wire, name)
  local at = 1
  while at <= #wire do
    local len = wire:byte(at)
    if len == 0 or at + len > #wire then
      error(errors.argValue(name, wire, 'must be a list of names, each after a byte with its length'), 0)
    end
    at = at + 1 + len
  end
  return wire
end

--- The wire format of `protocols`: a sequence of names in order of preference, or a string that is in wire format
--- already. A name of more than 255 bytes raises ERR_OUT_OF_RANGE.
---@param protocols string|string[]
---@param name string  what errors call the option
---@return string
function M.wire(protocols, name)
  if type(protocols) == 'string' then
    return check(protocols, name)
  elseif type(protocols) ~= 'table' then
    error(errors.argType(name, { 'string', 'Array' }, protocols), 0)
  end
  local parts = {}
  for i, protocol in ipairs(protocols) do
    if type(protocol) ~= 'string' then
      error(errors.argType(name .. '[' .. i .. ']', 'string', protocol), 0)
    end
    if #protocol > 255 then
      error(errors.coded(errors.RangeError, 'ERR_OUT_OF_RANGE', ('The byte length of the protocol at index %d '
        .. 'exceeds the maximum length. It must be <= 255. Received %d'):format(i - 1, #protocol)), 0)
    end
    if #protocol > 0 then
      parts[#parts + 1] = char(#protocol) .. protocol
    end
  end
  return concat(parts)
end

--- Node's spelling: fills `out.ALPNProtocols`.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE for a string that is no wire format, and ERR_OUT_OF_RANGE for a
--- name of more than 255 bytes.
---@param protocols string|string[]
---@param out table
---@source Node.js tls.convertALPNProtocols(), RFC 7301
function M.convertALPNProtocols(protocols, out)
  errors.validate.table(out, 'out')
  out.ALPNProtocols = M.wire(protocols, 'protocols')
end

--- The same for NPN: fills `out.NPNProtocols`.
---
--- Raises as convertALPNProtocols does.
---@param protocols string|string[]
---@param out table
---@source Node.js tls.convertNPNProtocols(), 0.x to 9
function M.convertNPNProtocols(protocols, out)
  errors.validate.table(out, 'out')
  out.NPNProtocols = M.wire(protocols, 'protocols')
end

return M

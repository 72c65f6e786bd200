--- Which native objects are open: what a test must have closed when it ends.

local native = require 'moonlatch.native'

local handles = {}

---@class moonlatch.spec.Handle
---@field kind string     'sock', 'tls', 'listener', 'timer', 'child', …
---@field owner table     the Lua object it belongs to
---@field handle userdata
---@field ref boolean     whether it keeps the loop running

-- The standard streams open when a test first prints, and stay.
local function isStandardStream(entry)
  local fd = entry.handle.fd and entry.handle:fd()
  return fd ~= nil and fd >= 0 and fd <= 2
end

--- Everything open now.
---@return moonlatch.spec.Handle[]
function handles.list()
  local out = {}
  for _, entry in ipairs(native.census()) do
    if not isStandardStream(entry) then
      entry.ref = not entry.handle.hasRef or entry.handle:hasRef()
      out[#out + 1] = entry
    end
  end
  return out
end

--- How many are open: all, and those that keep the loop running.
---@return integer open
---@return integer referenced
function handles.count()
  local open, referenced = handles.list(), 0
  for _, entry in ipairs(open) do
    referenced = referenced + (entry.ref and 1 or 0)
  end
  return #open, referenced
end

--- The set of what is open now, to tell later what was opened since.
---@return table<userdata, true>
function handles.snapshot()
  local set = {}
  for _, entry in ipairs(handles.list()) do
    set[entry.handle] = true
  end
  return set
end

--- What is open now and was not in `before`.
---@param before table<userdata, true>
---@return moonlatch.spec.Handle[]
function handles.since(before)
  local out = {}
  for _, entry in ipairs(handles.list()) do
    if not before[entry.handle] then
      out[#out + 1] = entry
    end
  end
  return out
end

local function describe(entry)
  local text = ('%s of %s'):format(entry.kind, tostring(entry.owner))
  return entry.ref and text or text .. ' (unreferenced)'
end

--- One line that names them.
---@param list moonlatch.spec.Handle[]
---@return string
function handles.describe(list)
  local lines = {}
  for i, entry in ipairs(list) do
    lines[i] = describe(entry)
  end
  return table.concat(lines, ', ')
end

--- Ends what a failed test left, so that the next one starts clean.
---@param list moonlatch.spec.Handle[]
function handles.close(list)
  for _, entry in ipairs(list) do
    local owner = entry.owner
    local close = owner.destroy or owner.kill or owner.close
    if close then
      pcall(close, owner)
    elseif entry.handle.close then
      pcall(entry.handle.close, entry.handle)
    end
  end
end

return handles

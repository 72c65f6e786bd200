--- Streams of little use, for specs of what all streams do.
local stream = require 'stream'

local M = {}

--- A Readable that gives these chunks, one for each _read, then ends.
function M.source(chunks, options)
  options = options or {}
  local i = 0
  function options.read(self)
    i = i + 1
    self:push(chunks[i])
  end
  return stream.Readable(options)
end

local function nop() end

--- A Readable that gives nothing by itself.
function M.idle(options)
  options = options or {}
  options.read = options.read or nop
  return stream.Readable(options)
end

--- A Writable that notes what it gets; with hold, callbacks wait in `held`.
function M.sink(options, hold)
  options = options or {}
  local got, held = {}, {}
  function options.write(_, chunk, encoding, callback)
    got[#got + 1] = encoding == 'buffer' and chunk or tostring(chunk) .. '/' .. tostring(encoding)
    if hold then
      held[#held + 1] = callback
    else
      callback()
    end
  end
  return stream.Writable(options), got, held
end

--- A Duplex that gives nothing by itself, and whose writes are done at once.
function M.duplex(options)
  options = options or {}
  options.read = options.read or nop
  options.write = options.write or function(_, _, _, callback)
    callback()
  end
  return stream.Duplex(options)
end

--- Notes these events as they come, with their first value.
---@return string[]
function M.record(target, ...)
  local log = {}
  for _, name in ipairs { ... } do
    target:on(name, function(value)
      log[#log + 1] = value == nil and name or name .. ':' .. tostring(value)
    end)
  end
  return log
end

--- Calls a function: the code of what it raises, or 'ok'.
function M.codeOf(...)
  local ok, err = pcall(...)
  return ok and 'ok' or err.code
end

return M

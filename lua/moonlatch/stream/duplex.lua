--- Duplex: a stream with a readable and a writable half.

local class = require 'moonlatch.class'
local Readable = require 'moonlatch.stream.readable'
local Writable = require 'moonlatch.stream.writable'

local type = type

---@class Duplex : Readable, Writable
---@field allowHalfOpen boolean
---@overload fun(options?: stream.DuplexOptions): Duplex
local Duplex = class('Duplex', Readable)
class.mixin(Duplex, Writable)

--- False: the writable half is finished when the readable half has ended.
Duplex.allowHalfOpen = true

---@param options? stream.DuplexOptions
---@source Node.js stream.Duplex
function Duplex:init(options)
  self:_initReadable(options, true)
  self:_initWritable(options, true)
  if options then
    local halfOpen = options.allowHalfOpen
    if type(halfOpen) == 'boolean' and halfOpen ~= self.allowHalfOpen then
      self.allowHalfOpen = halfOpen
    end
    self:_closeHalves(options)
    if options.signal then
      require('moonlatch.stream.abort_signal').attach(options.signal, self)
    end
  end
  if self._construct then
    self:_constructReadable()
    self:_constructWritable()
  end
end

-- A half that is not wanted has already ended.
function Duplex:_closeHalves(options)
  if options.readable == false then
    local rs = self._readableState
    rs.readable, rs.ended, rs.endEmitted, rs.plain = false, true, true, false
  end
  if options.writable == false then
    local ws = self._writableState
    ws.writable, ws.ending, ws.ended, ws.finished, ws.plain = false, true, true, true, false
  end
end

class.getter(Duplex, 'destroyed', function(self)
  local rs, ws = self._readableState, self._writableState
  return rs ~= nil and ws ~= nil and rs.destroyed and ws.destroyed
end)

-- Only what the mixin could not decide: both halves have these, and the writable one's counts.
for _, field in ipairs { 'closed', 'errored' } do
  class.getter(Duplex, field, function(self)
    local ws = self._writableState
    return ws and ws[field]
  end)
end

return Duplex

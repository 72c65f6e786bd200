--- Two Duplex streams back to back: what is written to one can be read from the other.

local class = require 'moonlatch.class'
local codes = require('moonlatch.errors').codes
local Duplex = require 'moonlatch.stream.duplex'

local nextTick = require('moonlatch.tick').nextTick

---@class moonlatch.stream.DuplexSide : Duplex
local DuplexSide = class('DuplexSide', Duplex)

-- The callback of the other side's write, until what it wrote is wanted here.
DuplexSide._taken = false

function DuplexSide:_read()
  local callback = self._taken
  if callback then
    self._taken = false
    callback()
  end
end

function DuplexSide:_write(chunk, _, callback)
  local other = self._other
  if chunk == '' then
    nextTick(callback)
  elseif not other.destroyed then
    other._taken = callback
    other:push(chunk)
  end
end

function DuplexSide:_final(callback)
  local other = self._other
  if not other.destroyed then
    other:on('end', callback)
    other:push(nil)
  end
end

local function hangUp(side)
  side:destroy()
end

-- A side alone would wait for ever: it closes as well, and has no error for that. So would a write of ours that the
-- other side has not made room for.
function DuplexSide:_destroy(err, callback)
  local other = self._other
  local writing = other._taken
  other._taken = false
  if writing then
    nextTick(writing, err or codes.ERR_STREAM_DESTROYED('write'))
  end
  nextTick(hangUp, other)
  callback(err)
end

--- Makes two streams that are each other's far end, like the ends of a connection: a write is done when the other side
--- wants more, finish() is the other side's 'end', and destroying one closes the other.
---@param options? table  those of Duplex, for both
---@return { [1]: Duplex, [2]: Duplex }
---@source Node.js stream.duplexPair()
return function(options)
  local one, other = DuplexSide(options), DuplexSide(options)
  one._other, other._other = other, one
  return { one, other }
end

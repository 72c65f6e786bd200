--- Two Duplex streams back to back: what is written to one can be read from the other.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local Duplex = require 'moonlatch.stream.duplex'

local nextTick = require('moonlatch.tick').nextTick

---@class moonlatch.stream.DuplexSide : Duplex
local DuplexSide = class('DuplexSide', Duplex)

-- The other side.
DuplexSide._other = false

-- The callback of the other side's write, until what it wrote is wanted here.
DuplexSide._taken = false

function DuplexSide:_read()
  local callback = self._taken
  if callback then
    self._taken = false
    callback()
  end
end

-- As where a connection has gone.
local function brokenPipe()
  return errors.new('write EPIPE', { code = 'EPIPE', syscall = 'write' })
end

function DuplexSide:_write(chunk, _, callback)
  local other = self._other
  if other.destroyed then
    nextTick(callback, brokenPipe())
  elseif chunk == '' then
    nextTick(callback)
  else
    other._taken = callback
    other:push(chunk)
  end
end

function DuplexSide:_final(callback)
  local other = self._other
  if other.destroyed or other.readableEnded then
    callback()
    return
  end
  local called = false
  local function done()
    if not called then
      called = true
      callback()
    end
  end
  other:once('end', done)
  other:once('close', done)
  other:push(nil)
end

-- A side alone would wait for ever. What was written before is still to be read, then comes the end; a failure leaves
-- none.
local function hangUp(side, failed)
  if side.destroyed then
    return
  elseif failed then
    side:destroy()
  elseif not side._readableState.ended then
    side:push(nil)
  end
end

function DuplexSide:_destroy(err, callback)
  local other = self._other
  local writing, written = other._taken, self._taken
  other._taken, self._taken = false, false
  if writing then
    nextTick(writing, err or errors.codes.ERR_STREAM_DESTROYED('write'))
  end
  if written then
    nextTick(written, brokenPipe())
  end
  nextTick(hangUp, other, err ~= nil)
  callback(err)
end

local M = { DuplexSide = DuplexSide }

--- Joins two sides that have just been made.
---@param one moonlatch.stream.DuplexSide
---@param other moonlatch.stream.DuplexSide
function M.join(one, other)
  one._other, other._other = other, one
end

--- Makes two streams that are each other's far end, like the ends of a connection: a write is done when the other side
--- wants more, finish() is the other side's 'end', and so is destroy(); writing to a side that is gone is EPIPE.
---@param options? stream.DuplexOptions  for both
---@return { [1]: Duplex, [2]: Duplex }
---@source Node.js stream.duplexPair()
function M.duplexPair(options)
  local one, other = DuplexSide(options), DuplexSide(options)
  M.join(one, other)
  return { one, other }
end

return M

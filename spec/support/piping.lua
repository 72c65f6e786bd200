--- What the specs of pipes between streams of every kind share.
local C = require 'spec.support.conformance'
local tape = require 'spec.support.tape'
local transports = require 'spec.support.transports'
local assert = require 'luassert'

local M = {}

M.PIECE = 65536

--- Collects what comes out of `from`.
function M.collect(from)
  local parts = {}
  from:on('data', function(chunk) parts[#parts + 1] = chunk end)
  return function()
    return table.concat(parts)
  end
end

--- As collect() gives it, its length.
function M.length(bytes)
  return function()
    return #bytes()
  end
end

--- Writes `count` times 64 KiB of the tape, the first of them number `first`; returns what the last write did.
function M.pour(into, count, first)
  local more
  for i = first or 0, (first or 0) + count - 1 do
    more = into:write(tape.piece(i * M.PIECE, M.PIECE))
  end
  return more
end

--- Compares what comes out of `from` with the tape; the function returned tells how much has come.
function M.compare(from)
  local count = 0
  from:on('data', function(chunk)
    assert.is_true(tape.holds(count, chunk))
    count = count + #chunk
  end)
  return function()
    return count
  end
end

--- Suspends until `bytes()` has that many.
function M.reached(t, bytes, count)
  local size = M.length(bytes)
  t:untilTrue(function() return size() >= count end)
  assert.equal(count, size())
end

--- Registers groups of cases, over everything that can be piped. Each case begins with four ends: what is written to
--- t.a comes out of t.b, what is written to t.c comes out of t.d. The case pipes t.b into t.c.
function M.run(busted, subject, groups)
  local all = {}
  for _, group in ipairs(groups) do
    for _, case in ipairs(group) do
      all[#all + 1] = { case[1], function(t)
        t.c, t.d = t:into()
        case[2](t)
      end, on = case.on, options = case.options }
    end
  end
  C.run(busted, subject, { all }, transports.pipes)
end

return M

-- What a chunk that comes and a chunk that goes leave to the collector: nothing but the strings.
local spec = require 'moonlatch.spec'
local transports = require 'spec.support.transports'

local ROUNDS = 2000

-- A string's header in LuaJIT (24 bytes on 64 bits), and as much again for what shares a page with it.
local STRING = 48

-- Bytes of garbage per round trip of a chunk.
local function garbage(await, transport)
  local one, other = transport.open(await, {})
  local rounds, payload = 0, ('x'):rep(100)
  other:on('data', function(chunk)
    other:write(chunk)
  end)
  local before
  await(function(done)
    one:on('data', function()
      rounds = rounds + 1
      if rounds == ROUNDS / 10 then -- the first have made what stays
        collectgarbage()
        collectgarbage('stop')
        before = collectgarbage('count')
      elseif rounds == ROUNDS then
        done()
        return
      end
      -- Another string each time: the same one is made once.
      one:write(('%06d'):format(rounds) .. payload)
    end)
    one:write(payload)
  end)
  local grown = (collectgarbage('count') - before) * 1024
  collectgarbage('restart')
  one:destroy()
  other:destroy()
  return grown / (ROUNDS - ROUNDS / 10), #payload + 6
end

describe('an exchange of chunks over', function()
  for _, transport in ipairs(transports.all) do
    if transport.native and transport.name ~= 'TLS over Duplex streams' then
      it(transport.name .. ' leaves no garbage but its strings', spec.coroutine(function(await)
        local bytes, size = garbage(await, transport)
        -- The number as text, and the two joined; the other end has the same string. Its echo is that one again.
        local strings = size + STRING + 6 + STRING
        assert(bytes <= strings, ('%.0f bytes instead of %d'):format(bytes, strings))
      end))
    end
  end
end)

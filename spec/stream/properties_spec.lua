-- Whatever a script does to streams, and in whatever order, their promises hold.
--
-- MOONLATCH_SPEC_SEED=n begins at that seed, MOONLATCH_SPEC_SEQUENCES=n tries so many per transport. A failure names
-- the seed of its sequence and lists the steps: that seed with one sequence does them again.

local sequences = require 'spec.support.sequences'
local spec = require 'moonlatch.spec'
local transports = require 'spec.support.transports'

local count = tonumber(os.getenv('MOONLATCH_SPEC_SEQUENCES')) or 100
local seed = tonumber(os.getenv('MOONLATCH_SPEC_SEED')) or os.time() % 1000000 * 1000

-- Milliseconds that a sequence may take on a busy machine.
local SLOWEST = 200

local function properties(shape, transport)
  it(('hold for %s streams over %s'):format(shape, transport.name), spec.coroutine(function(await)
    for i = 0, count - 1 do
      sequences.run(await, transport, shape, seed + i)
    end
  end, { timeout = 10000 + count * SLOWEST }))
end

describe(('The promises of streams (%d sequences each from seed %d)'):format(count, seed), function()
  for _, transport in ipairs(transports.all) do
    properties('direct', transport)
    properties('echoed', transport)
  end
  for _, transport in ipairs(transports.pipes) do
    properties('piped', transport)
  end
end)

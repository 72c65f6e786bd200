-- usage: moonlatch transports.lua [MIB [SEED]]: sends 100 MiB (or MIB) through TLS over each kind of transport and
-- back, in chunks of random sizes and with random pauses at both ends. Checks that what comes back has the same
-- SHA-256, that no stream holds more than its high-water mark and one chunk, and that the resident memory of the
-- process stays below 48 MiB. Exit status 0 when so.
package.path = (arg[0]:match('^(.*)/') or '.') .. '/?.lua;' .. (arg[0]:match('^(.*)/') or '.') .. '/../../?.lua;'
  .. package.path
local common = require 'common'
local process = require 'process'
local spec = require 'moonlatch.spec'
local transports = require 'spec.support.carriers'

local LIMIT_KIB = 48 * 1024
local LARGEST = 200000
local MARK = 16384
local RECORDS = 128 * 1024 -- what one turn of the loop brings at most, above the mark

local total = (tonumber(arg[1]) or 100) * common.MIB
local seed = tonumber(arg[2]) or os.time() % 1000000
print(('seed %d'):format(seed))

local authority = spec.ca {}
local identity = authority:issue { names = { 'localhost' } }
local materials = { key = identity.key, cert = identity.cert, ca = authority.cert }

local function run(i)
  local kind = transports.kinds[i]
  if not kind then
    common.pass('all of them; resident memory was %d KiB at most', common.memory(process.pid, 'VmHWM'))
  end
  local begun = process.hrtime()
  transports.open(kind, materials, function(client, server)
    local open, facts = 2, nil
    local function closed()
      open = open - 1
      if open > 0 then return end
      common.check(facts, '%s: closed before all had come back', kind)
      common.check(facts.same, '%s: what came back differs from what was sent', kind)
      common.check(facts.waiting <= MARK + LARGEST + RECORDS, '%s: %d bytes waited', kind, facts.waiting)
      local peak = common.memory(process.pid, 'VmHWM')
      common.check(peak < LIMIT_KIB, '%s: memory reached %d KiB, %d are allowed', kind, peak, LIMIT_KIB)
      local took = process.hrtime(begun)
      print(('%s: %d MiB unchanged in %.1f s, %d KiB resident at most'):format(kind, total / common.MIB,
        took[1] + took[2] / 1e9, peak))
      run(i + 1)
    end
    client:on('close', closed)
    server:on('close', closed)
    transports.flood(client, server, { total = total, seed = seed, largest = LARGEST }, function(err, result)
      common.check(not err, '%s: %s', kind, tostring(err))
      facts = result
    end)
  end)
end

process.exitCode = 1 -- unless it comes to its end
run(1)

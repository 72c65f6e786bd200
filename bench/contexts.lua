-- usage: moonlatch contexts.lua DIRECTORY COUNT: prints what bench/run puts into a row. Memory is what the kernel
-- counts as this process' own.
local fs = require 'fs'
local process = require 'process'
local tls = require 'tls'

local directory, count = process.argv[3], tonumber(process.argv[4])
local options = {
  key = fs.readFileSync(directory .. '/chain.key'),
  cert = fs.readFileSync(directory .. '/chain.crt'),
}

-- KiB.
local function memory()
  collectgarbage()
  collectgarbage()
  local total = 0
  for amount in fs.readFileSync('/proc/self/smaps_rollup', 'utf8'):gmatch 'Private_%a+:%s+(%d+)' do
    total = total + tonumber(amount)
  end
  return total
end

local function milliseconds(fn)
  local start = process.hrtime()
  fn()
  local elapsed = process.hrtime(start)
  return elapsed[1] * 1e3 + elapsed[2] / 1e6
end

local function build(number)
  local contexts = {}
  for i = 1, number do
    contexts[i] = tls.createSecureContext(options)
  end
  return contexts
end

-- The first one sets up what all of them share.
local one, all
local first = milliseconds(function()
  one = build(1)
end)
local before = memory()
local elapsed = milliseconds(function()
  all = build(count)
end)
local built = memory()
assert(#one == 1 and #all == count)
all = nil -- luacheck: ignore 311
local dropped = memory()
build(count)
local again = memory()

print(('first_ms=%.2f each_us=%.2f each_kib=%.2f dropped_mib=%.2f again_mib=%.2f'):format(first,
  elapsed * 1e3 / count, (built - before) / count, (dropped - before) / 1024, (again - before) / 1024))

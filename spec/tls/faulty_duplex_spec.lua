-- TLS over a Duplex that does, somewhere on its way, what a Duplex may not do, or stops doing what it should: never
-- more than one error at either end, one close, nothing raised elsewhere, and nothing left.

local errors = require 'moonlatch.errors'
local process = require 'process'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local T = require 'spec.support.tls'
local timers = require 'timers'
local tls = require 'tls'

-- Turns of the loop after which nothing more is to be expected.
local TURNS = 100

local function failure()
  return errors.new('made to fail', { code = 'MADE' })
end

-- Each gets the Duplex, and the callback of the operation that it happens in; it returns whether it has dealt with
-- that.
local faults = {
  ['throws'] = function() error(failure(), 0) end,
  ['throws a string'] = function() error('made to fail', 0) end,
  ['throws nil'] = function() error() end,
  ['fails'] = function(_, callback) callback(failure()) return true end,
  ['fails with a string'] = function(_, callback) callback('made to fail') return true end,
  ['fails later'] = function(_, callback) timers.setImmediate(callback, failure()) return true end,
  ['calls back twice'] = function(_, callback) callback() callback() return true end,
  ['never calls back'] = function() return true end,
  ['is destroyed'] = function(below) below:destroy() end,
  ['is destroyed with an error'] = function(below) below:destroy(failure()) end,
  ['is destroyed with a string'] = function(below) below:destroy('made to fail') end,
  ['is finished'] = function(below) below:finish() end,
  ['ends'] = function(below) below:push(nil) end,
  ['gives out garbage'] = function(below) below:push(('garbage'):rep(100)) end,
  ['gives out what is no string'] = function(below) below:push {} end,
  ['puts something back'] = function(below) below:unshift('x') end,
  ['is written to by somebody else'] = function(below) below:write('x') end,
  ['emits an error'] = function(below) below:emit('error', failure()) end,
  ['emits a string as an error'] = function(below) below:emit('error', 'made to fail') end,
  ['emits end'] = function(below) below:emit('end') end,
  ['emits close'] = function(below) below:emit('close') end,
  ['emits data that is no string'] = function(below) below:emit('data', 5) end,
  ['gives out text from now on'] = function(below) below:setEncoding('hex') end,
  ['takes text from now on'] = function(below) below:setDefaultEncoding('hex') end,
  ['is paused'] = function(below) below:pause() end,
  ['is corked'] = function(below) below:cork() end,
  ['is read by somebody else'] = function(below) below:read() end,
  ['is piped elsewhere'] = function(below) below:pipe(stream.PassThrough():resume()) end,
  ['loses its listeners'] = function(below) below:removeAllListeners() below:on('error', function() end) end,
  ['takes TLS down'] = function(_, _, client) client:destroy() end,
}

-- What changes nothing.
local HARMLESS = { ['takes text from now on'] = true, ['is piped elsewhere'] = true }

-- Has the fault happen in the nth call of one of its methods.
local function places(method, n)
  return function(below, strike)
    local original, calls = below[method], 0
    below[method] = function(self, ...)
      calls = calls + 1
      local callback = select(select('#', ...), ...)
      if calls ~= n or not strike(type(callback) == 'function' and callback or function() end) then
        return original(self, ...)
      end
    end
  end
end

local where = {
  ['in its first write'] = places('_write', 1),
  ['in its second write'] = places('_write', 2),
  ['in its third write'] = places('_write', 3),
  ['when it is first read'] = places('_read', 1),
  ['when it is read again'] = places('_read', 3),
  ['in its end'] = places('_final', 1),
  ['when it is destroyed'] = places('_destroy', 1),
}

local function sortedKeys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function watch(socket)
  local seen = { errors = 0, closes = 0, got = 0 }
  socket:on('error', function() seen.errors = seen.errors + 1 end)
  socket:on('close', function() seen.closes = seen.closes + 1 end)
  socket:on('data', function(chunk) seen.got = seen.got + #chunk end)
  return seen
end

local function settle(await)
  for _ = 1, TURNS do
    await(timers.setImmediate)
  end
end

-- A connection over a Duplex that does so; how it went at either end, and what was raised elsewhere.
local function connection(await, place, fault)
  local uncaught = {}
  local function onUncaught(err)
    uncaught[#uncaught + 1] = tostring(err)
  end
  process:on('uncaughtException', onUncaught)
  local ends = stream.duplexPair()
  local below, above = ends[1], ends[2]
  below:on('error', function() end)
  above:on('error', function() end)
  local client, struck
  place(below, function(callback)
    struck = true
    return fault(below, callback, client)
  end)
  client = tls.connect { socket = below, servername = 'localhost', ca = T.ca.cert }
  local server = tls.TLSSocket(above, T.identity { isServer = true })
  local ofClient, ofServer = watch(client), watch(server)
  server:on('data', function(chunk) server:write(chunk) end)
  server:on('end', function() server:finish() end)
  client:on('secureConnect', function()
    for _ = 1, 3 do
      client:write(('x'):rep(10000))
    end
  end)
  client:on('data', function()
    if ofClient.got == 30000 then
      client:finish() -- its third write: the first two are the flights of the handshake, the data with the second
    end
  end)
  settle(await)
  client:destroy()
  server:destroy()
  settle(await)
  process:removeListener('uncaughtException', onUncaught)
  assert.is_true(struck)
  return ofClient, ofServer, uncaught
end

describe('TLS over a Duplex that', function()
  for _, placeName in ipairs(sortedKeys(where)) do
    for _, faultName in ipairs(sortedKeys(faults)) do
      it(('%s %s'):format(faultName, placeName), spec.coroutine(function(await)
        local ofClient, ofServer, uncaught = connection(await, where[placeName], faults[faultName])
        assert.same({}, uncaught)
        for _, seen in ipairs { ofClient, ofServer } do
          assert.equal(1, seen.closes)
          assert.is_true(seen.errors <= 1)
        end
        if HARMLESS[faultName] then
          assert.equal(30000, ofClient.got)
          assert.equal(0, ofClient.errors + ofServer.errors)
        end
      end))
    end
  end
end)

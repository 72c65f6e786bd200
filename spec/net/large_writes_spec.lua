-- A write of many megabytes: what it takes in memory, and what others have to wait for it.

local fs = require 'fs'
local spec = require 'moonlatch.spec'
local timers = require 'timers'
local transports = require 'spec.support.transports'

local KIB, MIB = 1024, 1024 * 1024

-- Encrypted in a turn of the loop, the head of a record included; or handed to the kernel in two of them.
local SLICE = { ['TLS 1.3 from the server'] = 256 * KIB, ['TLS 1.2'] = 256 * KIB, ['net sockets'] = 2 * MIB }

-- Bytes of memory of this process that are its own, mapped files not counted.
local function privateMemory()
  return tonumber(fs.readFileSync('/proc/self/status', 'utf8'):match('RssAnon:%s*(%d+)')) * KIB
end

local function turn(await)
  await(function(done)
    timers.setImmediate(done)
  end)
end

-- Until nothing has moved for many turns.
local function settle(await, socket)
  local still, last = 0, -1
  while still < 100 do
    turn(await)
    local queued = socket._handle:queued()
    still = queued == last and still + 1 or 0
    last = queued
  end
end

-- Counts what comes, and drops it.
local function drain(socket)
  local count = { bytes = 0 }
  socket:on('data', function(chunk)
    count.bytes = count.bytes + #chunk
  end)
  return count
end

local function finish(await, ...)
  for _, socket in ipairs { ... } do
    if not socket.destroyed then
      socket:destroy()
      await(socket, 'close')
    end
  end
end

for _, transport in ipairs(transports.all) do
  local slice = SLICE[transport.name]
  if slice then
    describe('a write of many megabytes over ' .. transport.name, function()
      it('is not copied, however long the peer leaves it waiting', spec.coroutine(function(await)
        local writer, reader = transport.open(await, {})
        reader:pause()
        local data = ('x'):rep(64 * MIB)
        collectgarbage()
        local before = privateMemory()
        local written = false
        assert.is_false(writer:write(data, function()
          written = true
        end))
        settle(await, writer)
        assert.is_false(written)
        assert.is_true(writer._handle:queued() > 32 * MIB)
        local more = privateMemory() - before
        assert(more < 16 * MIB, ('%.1f MiB more'):format(more / MIB))
        local received = drain(reader)
        reader:resume()
        while received.bytes < #data do
          turn(await)
        end
        finish(await, writer, reader)
      end))

      it('keeps nobody waiting for more than a slice of it', spec.coroutine(function(await)
        local writer, reader = transport.open(await, {})
        local asked, asking = transport.open(await, {})
        asked:on('data', function(question)
          asked:write('re: ' .. question)
        end)
        drain(reader)
        local written, answers = false, 0
        asking:on('data', function()
          answers = answers + 1
          if not written then
            asking:write('and now?')
          end
        end)
        asking:write('are you there?')

        local left, most = 16 * MIB, 0
        await(function(done)
          local function look()
            local queued = writer._handle:queued()
            most, left = math.max(most, left - queued), queued
            if written then
              done()
            else
              timers.setImmediate(look)
            end
          end
          writer:write(('x'):rep(left), function()
            written = true
          end)
          look()
        end)
        assert(most <= slice + 64 * KIB, ('%d KiB in one turn'):format(most / KIB))
        assert(answers >= 8, answers .. ' answers')
        finish(await, writer, reader, asked, asking)
      end))
    end)
  end
end

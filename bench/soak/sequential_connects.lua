-- usage: moonlatch sequential_connects.lua [COUNT]: makes 20,000 (or COUNT) TLS connections one after the
-- other, each answered once, and checks that neither process has more descriptors or noticeably more memory
-- afterwards than it had after the first fifth. Exit status 0 when so.
package.path = (arg[0]:match('^(.*)/') or '.') .. '/?.lua;' .. package.path
local common = require 'common'
local process = require 'process'
local tls = require 'tls'

-- Allocators keep some pages more or less; 16,000 leaks of 128 bytes would pass this.
local GROWTH_KIB = 2048

local count = tonumber(arg[1]) or 20000

local function figures(pid)
  return { descriptors = common.descriptors(pid), memory = common.memory(pid, 'VmRSS') }
end

local function compare(name, before, after)
  common.check(after.descriptors <= before.descriptors, 'the %s had %d descriptors and has %d', name,
    before.descriptors, after.descriptors)
  common.check(after.memory - before.memory <= GROWTH_KIB, "the %s's memory grew from %d to %d KiB", name,
    before.memory, after.memory)
end

common.run(function(server)
  local options = common.clientOptions(server)
  local made = 0
  local serverBefore, clientBefore

  -- Figures are taken when the server has closed everything and both have collected garbage.
  local function measure(done)
    server.settle(function()
      collectgarbage()
      collectgarbage()
      done(figures(server.pid), figures(process.pid))
    end)
  end

  local connect
  local function next()
    made = made + 1
    if made == math.floor(count / 5) then
      measure(function(serverNow, clientNow)
        serverBefore, clientBefore = serverNow, clientNow
        connect()
      end)
    elseif made == count then
      measure(function(serverNow, clientNow)
        compare('server', serverBefore, serverNow)
        compare('client', clientBefore, clientNow)
        common.pass('%d connections, one after the other: server %d to %d KiB, client %d to %d KiB', count,
          serverBefore.memory, serverNow.memory, clientBefore.memory, clientNow.memory)
      end)
    else
      connect()
    end
  end

  function connect()
    local socket = tls.connect(options)
    local answered = false
    socket:on('secureConnect', function() socket:write('hello\n') end)
    socket:on('data', function(chunk)
      common.check(chunk == 'hello\n', 'connection %d was answered %q', made, chunk)
      answered = true
      socket:finish()
    end)
    socket:on('error', function(err) common.fail('connection %d: %s', made, tostring(err)) end)
    socket:on('close', function()
      common.check(answered, 'connection %d closed without an answer', made)
      next()
    end)
  end

  connect()
end)

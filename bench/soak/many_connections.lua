-- usage: moonlatch many_connections.lua [COUNT]: opens 5,000 (or COUNT) TLS connections to one server
-- process, has every one answered, has every one answered again while all are open, closes them and checks
-- that the server has its descriptors back. Exit status 0 when so, 77 when the limit on open files is too low.
package.path = (arg[0]:match('^(.*)/') or '.') .. '/?.lua;' .. package.path
local common = require 'common'
local tls = require 'tls'

local OPENING_AT_ONCE = 64

local count = tonumber(arg[1]) or 5000
if arg[1] ~= 'server' then common.needDescriptors(count + 64) end

common.run(function(server)
  local options = common.clientOptions(server)
  local descriptorsBefore = common.descriptors(server.pid)
  local memoryBefore = common.memory(server.pid, 'VmRSS')
  local sockets, opened, answered, closed = {}, 0, 0, 0
  local open, closing

  local function finished()
    server.settle(function()
      local descriptors = common.descriptors(server.pid)
      common.check(descriptors <= descriptorsBefore, 'the server had %d descriptors before and has %d after',
        descriptorsBefore, descriptors)
      common.pass('%d connections were open at once', count)
    end)
  end

  local function closeAll()
    local perConnection = (common.memory(server.pid, 'VmRSS') - memoryBefore) * 1024 / count
    print(('%d open: %d bytes of resident memory each in the server'):format(count, perConnection))
    closing = true
    for _, socket in ipairs(sockets) do socket:finish() end
  end

  -- Asks on every connection, all being open, and goes on when each has had its own answer.
  local function askAll()
    answered = 0
    for number, socket in ipairs(sockets) do
      local expected, got = ('again %d\n'):format(number), ''
      socket:removeAllListeners('data')
      socket:on('data', function(chunk)
        got = got .. chunk
        common.check(expected:sub(1, #got) == got, 'connection %d was answered %q', number, got)
        if got ~= expected then return end
        answered = answered + 1
        if answered == count then closeAll() end
      end)
      socket:write(expected)
    end
  end

  function open()
    opened = opened + 1
    local number = opened
    local socket = tls.connect(options)
    sockets[number] = socket
    socket:on('error', function(err) common.fail('connection %d: %s', number, tostring(err)) end)
    socket:on('secureConnect', function() socket:write('hello\n') end)
    socket:on('data', function()
      answered = answered + 1
      if opened < count then open() elseif answered == count then askAll() end
    end)
    socket:on('close', function()
      common.check(closing, 'connection %d closed by itself', number)
      closed = closed + 1
      if closed == count then finished() end
    end)
  end

  for _ = 1, math.min(OPENING_AT_ONCE, count) do open() end
end)

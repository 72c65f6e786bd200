-- usage: moonlatch gib_echo.lua [MIB]: sends 1 GiB (or MIB) through an echo server and checks that what comes
-- back has the same SHA-256 and that the server's resident memory never passed 32 MiB. Exit status 0 when so.
package.path = (arg[0]:match('^(.*)/') or '.') .. '/?.lua;' .. package.path
local common = require 'common'
local crypto = require 'crypto'
local tls = require 'tls'

local LIMIT_KIB = 32 * 1024
local BLOCK = 64 * 1024

common.run(function(server)
  local total = (tonumber(arg[1]) or 1024) * common.MIB
  local sent, received = 0, 0
  local sentHash, receivedHash = crypto.createHash('sha256'), crypto.createHash('sha256')
  -- Every block begins with its number, so a lost, doubled or swapped one changes the hash.
  local filling = crypto.randomBytes(BLOCK - 16)
  local socket = tls.connect(common.clientOptions(server))

  local function pump()
    while sent < total do
      local block = ('%016x'):format(sent) .. filling
      sent = sent + #block
      sentHash:update(block)
      if not socket:write(block) then
        socket:once('drain', pump)
        return
      end
    end
    socket:finish()
  end

  socket:on('secureConnect', pump)
  socket:on('error', function(err) common.fail('%s after %d bytes', tostring(err), received) end)
  socket:on('data', function(chunk)
    received = received + #chunk
    receivedHash:update(chunk)
  end)
  socket:on('end', function()
    common.check(received == total, '%d bytes sent, %d came back', total, received)
    local same = sentHash:digest('hex') == receivedHash:digest('hex')
    common.check(same, 'what came back differs from what was sent')
    local peak = common.memory(server.pid, 'VmHWM')
    common.check(peak < LIMIT_KIB, "the server's memory reached %d KiB, %d are allowed", peak, LIMIT_KIB)
    common.pass('%d MiB echoed unchanged; the server used up to %d KiB', total / common.MIB, peak)
  end)
end)

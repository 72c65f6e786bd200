-- usage: moonlatch moonlatch.lua PORT CERTIFICATE_DIR BULK_MIB: the work of ../ceiling.c on moonlatch's tls.
local fs = require 'fs'
local tls = require 'tls'

local port, dir = tonumber(arg[1]), arg[2]
local bulkSize = tonumber(arg[3]) * 1024 * 1024

local reply = 'HTTP/1.1 200 OK\r\n' ..
  'Content-Type: text/plain\r\n' ..
  'Content-Length: 14\r\n' ..
  'Connection: keep-alive\r\n' ..
  '\r\n' ..
  'Hello, world!\n'
local bulkHeader = ('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n'):format(bulkSize)
local zeros = ('\0'):rep(256 * 1024)

local function ignore() end

local function sendBulk(socket)
  local left = bulkSize
  socket:write(bulkHeader)
  local function more()
    while left > 0 do
      local size = math.min(left, #zeros)
      left = left - size
      if not socket:write(size == #zeros and zeros or zeros:sub(1, size)) and left > 0 then
        socket:once('drain', more)
        return
      end
    end
  end
  more()
end

-- The load has one request of one packet under way per connection, so a chunk is a request.
local function answer(socket)
  socket:setNoDelay(true)
  socket:on('error', ignore)
  socket:on('data', function(chunk)
    if chunk:byte(6) == 0x62 then sendBulk(socket) else socket:write(reply) end -- "GET /b"
  end)
end

local function echo(socket)
  socket:setNoDelay(true)
  socket:on('error', ignore)
  socket:pipe(socket)
end

local function listen(kind, offset, listener)
  local options = {
    key = fs.readFileSync(('%s/%s.key'):format(dir, kind)),
    cert = fs.readFileSync(('%s/%s.crt'):format(dir, kind)),
  }
  tls.createServer(options, listener):listen(port + offset, '127.0.0.1', 4096)
end

listen('ecdsa', 0, answer)
listen('rsa', 1, answer)
listen('ecdsa', 2, echo)

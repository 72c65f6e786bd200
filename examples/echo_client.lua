-- Standard input goes to a TLS server; what it answers goes to standard output.
--
--   moonlatch examples/echo_client.lua [port] [ca.pem] [host]
--
-- ca.pem is the server's authority (the echo server leaves echo-ca.pem); without it the system's are trusted.
local tls = require 'tls'
local fs = require 'fs'

local port = tonumber(process.argv[3]) or 8000
local options = { host = process.argv[5] or 'localhost' }
local caFile = process.argv[4] or (fs.existsSync('echo-ca.pem') and 'echo-ca.pem')
if caFile then
  options.ca = { fs.readFileSync(caFile) }
end

local socket
socket = tls.connect(port, options, function()
  io.stderr:write(('connected: %s, %s, %s\n'):format(socket.authorized and 'authorized' or 'unauthorized',
    socket:getProtocol(), socket:getCipher().name))
  process.stdin:pipe(socket)
end)
socket:setEncoding('utf8')
socket:on('data', function(data)
  io.stdout:write(data)
  io.stdout:flush()
end)
socket:on('error', function(err)
  io.stderr:write(tostring(err), '\n')
  process.exitCode = 1
end)

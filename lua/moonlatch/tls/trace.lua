--- What --trace-tls and enableTrace print to stderr: the messages of a connection in words. Each line begins with the
--- process and a number that the connection has, so that several can be told apart.
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'

local trace = { enabled = false }

local connections = 0

--- Begins to trace every connection when the command line asks for it.
function trace.start()
  if (native.options or {})['trace-tls'] then
    trace.enabled = true
    errors.emitWarning('Enabling --trace-tls can expose sensitive data in the resulting log.')
  end
end

-- "server 127.0.0.1:443, client 127.0.0.1:50412"
local function heading(socket)
  local ours, theirs = 'client', 'server'
  if socket._tls.isServer then
    ours, theirs = theirs, ours
  end
  local function at(address, port)
    return address and (' %s:%s'):format(address, port) or ''
  end
  return ('%s%s, %s%s'):format(ours, at(socket.localAddress, socket.localPort), theirs,
    at(socket.remoteAddress, socket.remotePort))
end

--- Has the socket's messages traced from now on.
---@param handle table
function trace.attach(handle)
  local ok, err = handle:trace()
  if not ok and err then
    errors.emitWarning(('TLS connections cannot be traced: %s'):format(err.message))
  end
end

---@param socket tls.TLSSocket
---@param text string  lines
function trace.write(socket, text)
  local prefix = socket._tracePrefix
  if not prefix then
    connections = connections + 1
    prefix = ('TLS %d.%d: '):format(native.process.pid(), connections)
    socket._tracePrefix = prefix
    text = heading(socket) .. '\n' .. text
  end
  native.process.writeSync(2, (text:gsub('[^\n]+', prefix .. '%0'):gsub('\n\n+', '\n')))
end

return trace

--- What the soak tests share: a server in a process of its own, certificates, and figures from /proc.
---
--- A script calls `common.run(check)`. Started by hand it makes a certificate, starts itself again as an echo
--- server and calls `check`. The two processes are joined by a control connection: the server ends when that
--- closes, however the first process came to its end.

local fs = require 'fs'
local net = require 'net'
local process = require 'process'
local tls = require 'tls'

local common = {}

common.MIB = 1024 * 1024
common.SKIPPED = 77 -- ctest's SKIP_RETURN_CODE

local directory -- of the certificate, made by the first process

--- Runs a shell command and returns its first line.
---@param command string
---@return string
local function firstLine(command)
  local pipe = assert(io.popen(command))
  local line = pipe:read('*l')
  pipe:close()
  return (assert(line, command .. ' printed nothing'))
end

local function quoted(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function removeDirectory()
  if directory then os.execute('rm -rf ' .. quoted(directory)) end
  directory = nil
end

--- Ends the test as failed.
function common.fail(format, ...)
  io.stderr:write(arg[0], ': ', format:format(...), '\n')
  removeDirectory()
  process.exit(1)
end

--- Fails unless `ok`.
function common.check(ok, format, ...)
  if not ok then common.fail(format, ...) end
end

--- Ends the test as passed.
function common.pass(format, ...)
  print(format:format(...))
  removeDirectory()
  process.exit(0)
end

--- A number from /proc/<pid>/status: 'VmRSS' (resident memory) or 'VmHWM' (its peak), in KiB.
---@param pid integer
---@param field string
---@return integer
function common.memory(pid, field)
  local file = assert(io.open(('/proc/%d/status'):format(pid)))
  local text = file:read('*a')
  file:close()
  return (assert(tonumber(text:match(field .. ':%s*(%d+) kB')), field))
end

--- How many descriptors a process has open. No other program is started to find out: where that is this process, the
--- pipe to it might have one end or two at that moment.
---@param pid integer
---@return integer
function common.descriptors(pid)
  return #fs.readdirSync(('/proc/%d/fd'):format(pid))
end

--- Options for a client that verifies the server.
function common.clientOptions(server)
  return {
    host = '127.0.0.1',
    port = server.port,
    servername = 'localhost',
    secureContext = tls.createSecureContext({ ca = fs.readFileSync(directory .. '/cert.pem') }),
  }
end

--- Starts this script again when fewer than `count` descriptors may be open; skips the test when that cannot
--- be changed. The server inherits the limit.
function common.needDescriptors(count)
  local file = assert(io.open('/proc/self/limits'))
  local soft, hard = file:read('*a'):match('Max open files%s+(%S+)%s+(%S+)')
  file:close()
  local function enough(limit) return limit == 'unlimited' or tonumber(limit) >= count end
  if enough(soft) then return end
  if not enough(hard) then
    print(('skipped: %d open files are needed, the limit is %s'):format(count, hard))
    process.exit(common.SKIPPED)
  end
  local words = {}
  for _, word in ipairs(arg) do words[#words + 1] = quoted(word) end
  local status = os.execute(('ulimit -n %s && /proc/%d/exe %s %s'):format(
    hard, process.pid, quoted(arg[0]), table.concat(words, ' ')))
  process.exit(status == 0 and 0 or 1)
end

--- The server's end of the control connection. It answers whatever comes when the last TLS connection has
--- closed and garbage is collected.
---@param state {open: integer, settled: fun()} `settled` is to be called when `open` falls
---@param ready fun(port: integer)
local function serveControl(state, ready)
  local control = net.createServer(function(socket)
    local asked = false
    function state.settled()
      if not asked or state.open > 0 then return end
      asked = false
      collectgarbage()
      collectgarbage()
      socket:write('settled\n')
    end
    socket:on('data', function()
      asked = true
      state.settled()
    end)
    socket:on('error', function() end)
    socket:on('close', function() process.exit(0) end)
  end)
  control:listen(0, '127.0.0.1', function() ready(control:address().port) end)
end

--- The second process: an echo server that counts its connections.
function common.serveEcho()
  directory = arg[2]
  local state = { open = 0, settled = function() end }
  local server = tls.createServer({
    key = fs.readFileSync(directory .. '/key.pem'),
    cert = fs.readFileSync(directory .. '/cert.pem'),
  }, function(socket)
    state.open = state.open + 1
    socket:on('error', function(err) io.stderr:write('server: ', tostring(err), '\n') end)
    socket:on('close', function()
      state.open = state.open - 1
      state.settled()
    end)
    socket:pipe(socket)
  end)
  server:on('tlsClientError', function(err) io.stderr:write('server: ', tostring(err), '\n') end)
  server:listen(0, '127.0.0.1', 4096, function()
    serveControl(state, function(controlPort)
      io.stdout:write(('%d %d %d\n'):format(server:address().port, controlPort, process.pid))
      io.stdout:flush()
    end)
  end)
end

--- Starts the server process.
---@param started fun(server: { port: integer, pid: integer, settle: fun(done: fun()) })
local function startServer(started)
  directory = firstLine('mktemp -d')
  local made = os.execute(('openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 ' ..
    '-subj /CN=localhost -addext subjectAltName=DNS:localhost ' ..
    '-keyout %s/key.pem -out %s/cert.pem 2>/dev/null'):format(directory, directory))
  common.check(made == 0, 'openssl cannot make a certificate')
  local pipe = assert(io.popen(('/proc/%d/exe %s server %s'):format(
    process.pid, quoted(arg[0]), quoted(directory))))
  local line = pipe:read('*l')
  local port, controlPort, pid = (line or ''):match('^(%d+) (%d+) (%d+)$')
  common.check(port, 'the server did not start')

  local control = net.connect(tonumber(controlPort), '127.0.0.1')
  local server = { port = tonumber(port), pid = tonumber(pid), pipe = pipe }
  function server.settle(done)
    control:once('data', done)
    control:write('settle\n')
  end
  control:on('close', function() common.fail('the server process ended') end)
  control:on('error', function() end)
  -- Its answer says that the server has accepted the control connection, whose descriptor counts too.
  server.settle(function() started(server) end)
end

--- Runs the server's or the test's side of the script.
---@param check fun(server: table)
function common.run(check)
  if arg[1] == 'server' then common.serveEcho() else startServer(check) end
end

return common

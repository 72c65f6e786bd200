--- Other TLS implementations as peers of specs: openssl, GnuTLS, curl and Node, started beside the loop.
local fs = require 'fs'
local spec = require 'moonlatch.spec'
local T = require 'spec.support.tls'

local M = {}

local TCP_LISTEN = '0A' -- as /proc/net/tcp writes it

--- Writes identities to files, as programs want them: `files.name_cert`, `files.name_key` … are paths.
---@param identities table<string, moonlatch.spec.Identity>
---@param fn fun(files: table<string, string>)  the files are there until it returns
function M.withFiles(identities, fn)
  spec.tempdir(function(dir)
    local files = { dir = dir }
    local function write(name, content)
      files[name] = dir .. '/' .. name .. '.pem'
      fs.writeFileSync(files[name], content)
    end
    for name, identity in pairs(identities) do
      write(name .. '_cert', identity.cert)
      write(name .. '_key', identity.key)
    end
    write('ca', T.ca.cert)
    fn(files)
  end)
end

--- One test as a coroutine with files at hand: `fn(await, files, expect)`.
---@param identities table<string, moonlatch.spec.Identity>
---@param fn fun(await: function, files: table<string, string>, expect: function)
---@param options? moonlatch.spec.Options
---@return fun()
function M.test(identities, fn, options)
  return function()
    M.withFiles(identities, function(files)
      spec.coroutine(function(await, expect)
        fn(await, files, expect)
      end, options)()
    end)
  end
end

--- Starts a server with the localhost identity and waits until it listens.
---@return tls.Server server
---@return integer port
function M.serve(await, options, onSocket)
  local server
  local port = await(function(listening)
    server = T.serve(options, onSocket, function(port)
      listening(nil, port)
    end)
  end)
  return server, port
end

--- Closes a server and waits until its last connection has ended.
function M.close(await, server)
  await(function(closed)
    server:close(closed)
  end)
end

--- Waits until each of these streams has been closed and has said so.
function M.closed(await, ...)
  for _, stream in ipairs { ... } do
    await(function(done)
      if stream.closed and stream._readableState.closeEmitted then
        done()
      else
        stream:once('close', function()
          done()
        end)
      end
    end)
  end
end

--- Runs a program to its end.
---@return integer status
---@return string stdout
---@return string stderr
function M.run(await, argv, options)
  return await(function(ended)
    spec.command(argv, options, function(status, stdout, stderr)
      ended(nil, status, stdout, stderr)
    end)
  end)
end

--- Waits until an output of the program contains `pattern`; what it captured is the result. A program that ends
--- without having said so is an error, with all that it said.
function M.waitFor(await, command, output, pattern)
  return await(function(found)
    command:waitFor(output, pattern, function(match)
      found(nil, match)
    end)
    command:on('exit', function(status)
      found(('ended with status %d before it said "%s"\n%s\n%s'):format(status, pattern, command.stdout,
        command.stderr))
    end)
  end)
end

--- Waits until a program that ends by itself has ended and all it printed is here.
function M.over(await, command)
  if command.waiting > 0 then
    await(command, 'exit')
  end
end

--- Ends a server program and waits until it is gone.
function M.stop(await, command)
  if command.status == nil then
    command.stdin:destroy()
    command:kill()
  end
  M.over(await, command)
end

-- ---- openssl ----

--- Types a line into `openssl s_client`, waits for its echo, and ends the connection from the client's side.
---@param argv string[]  what follows `openssl s_client -connect …`
---@return integer status
---@return string stdout
---@return string stderr
function M.sClientEcho(await, port, argv)
  local command = M.sClient(port, argv)
  command.stdin:write('typed into s_client\n')
  -- The answer comes on a line of its own: what is typed is not shown.
  M.waitFor(await, command, 'stdout', 'typed into s_client')
  local status = await(function(ended)
    command:on('exit', function(status)
      ended(nil, status)
    end)
    command.stdin:finish()
  end)
  return status, command.stdout, command.stderr
end

--- Starts `openssl s_client`; its standard input stays open.
---@return moonlatch.spec.Command
function M.sClient(port, argv)
  local all = { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port }
  for _, argument in ipairs(argv) do
    all[#all + 1] = argument
  end
  return spec.command(all, { input = false })
end

--- Starts `openssl s_server`, which sends each line back reversed.
---@return moonlatch.spec.Command command
---@return integer port
function M.sServer(await, argv)
  local all = { 'openssl', 's_server', '-accept', '127.0.0.1:0', '-rev' }
  for _, argument in ipairs(argv) do
    all[#all + 1] = argument
  end
  local command = spec.command(all, { input = false })
  return command, tonumber(M.waitFor(await, command, 'stdout', 'ACCEPT 127%.0%.0%.1:(%d+)'))
end

-- ---- GnuTLS ----

-- gnutls-serv takes port 0 and does not say which one it got; the kernel does.
local function listeningPort(await, pid)
  local _, links = M.run(await, ('readlink /proc/%d/fd/*'):format(pid))
  local mine = {}
  for inode in links:gmatch('socket:%[(%d+)%]') do
    mine[inode] = true
  end
  for line in io.lines('/proc/net/tcp') do
    local port, state, inode = line:match('^%s*%d+: %x+:(%x+) %x+:%x+ (%x+) %S+ %S+ %S+%s+%d+%s+%d+ (%d+)')
    if state == TCP_LISTEN and mine[inode] then
      return tonumber(port, 16)
    end
  end
  error('gnutls-serv does not listen on any IPv4 port')
end

--- Starts `gnutls-serv --echo`.
---@return moonlatch.spec.Command command
---@return integer port
function M.gnutlsServer(await, argv)
  local all = { 'gnutls-serv', '--echo', '--port', '0' }
  for _, argument in ipairs(argv) do
    all[#all + 1] = argument
  end
  local command = spec.command(all, { input = false })
  -- IPv6 is the last it opens, where there is any; the port of IPv4 is open by the time it has said so.
  M.waitFor(await, command, 'stderr', 'IPv4 0%.0%.0%.0 port 0%.%.%.done')
  return command, listeningPort(await, command.pid)
end

-- ---- Node ----

-- The last value of each "name=value" line.
local function facts(text)
  local result = {}
  for name, value in text:gmatch('(%w+)=([^\n]*)\n') do
    result[name] = value
  end
  return result
end

M.facts = facts

--- Runs Node's client (node_client.js) against `port`.
---@param env table<string, string>
---@return table<string, string> facts
---@return string stdout
function M.nodeClient(await, port, env)
  local status, stdout, stderr = M.run(await, { 'node', 'spec/support/node_client.js' },
    { env = T.merged({ PORT = tostring(port), CA = T.ca.cert, NODE_OPTIONS = false }, env) })
  assert(status == 0, stderr)
  return facts(stdout), stdout
end

--- Starts Node's echo server (node_server.js).
---@param env? table<string, string>
---@return moonlatch.spec.Command command
---@return integer port
function M.nodeServer(await, env)
  local command = spec.command({ 'node', 'spec/support/node_server.js' }, {
    input = false,
    env = T.merged({ CERT = T.localhost.cert, KEY = T.localhost.key, NODE_OPTIONS = false }, env),
  })
  return command, tonumber(M.waitFor(await, command, 'stdout', 'port=(%d+)'))
end

-- ---- moonlatch's own client ----

--- Connects, sends `text`, waits for `expected` (the same when left out) and ends the connection.
---@return tls.TLSSocket socket  destroyed by now, with what it has learnt in socket.seen
function M.ownClientEcho(await, port, options, text, expected)
  local socket = T.connect(port, options)
  local got = ''
  expected = expected or text
  socket:setEncoding('utf8')
  return await(function(ended)
    socket:on('secureConnect', function()
      socket.seen = {
        authorized = socket.authorized,
        authorizationError = socket.authorizationError,
        protocol = socket:getProtocol(),
        alpn = socket.alpnProtocol,
        reused = socket:isSessionReused(),
        cn = (socket:getPeerCertificate().subject or {}).CN,
        bits = socket:getPeerCertificate().bits,
      }
      socket:write(text)
    end)
    socket:on('session', function(session)
      socket.session = session
    end)
    socket:on('data', function(chunk)
      got = got .. chunk
      if got == expected then
        socket:finish()
      end
    end)
    socket:on('error', ended)
    socket:on('close', function()
      assert(got == expected, 'the echo was: ' .. got)
      ended(nil, socket)
    end)
  end)
end

return M

-- usage: moonlatch rolling_reload.lua [COUNT]: 20,000 (or COUNT) requests over TLS, four on each connection, to a
-- server of two workers that are replaced again and again meanwhile (SIGHUP). Exit status 0 when every request was
-- answered, by workers of every generation.
package.path = (arg[0]:match('^(.*)/') or '.') .. '/?.lua;' .. package.path
local common = require 'common'
local process = require 'process'
local spec = require 'moonlatch.spec'
local tls = require 'tls'

local REQUESTS_PER_CONNECTION = 4
local CLIENTS = 16
local RELOADS = 5
local SIGHUP = 1

-- A worker: answers each line with its process id.
local function serve()
  local server = tls.createServer({ key = process.env.SOAK_KEY, cert = process.env.SOAK_CERT }, function(socket)
    socket:on('error', function(err) io.stderr:write('server: ', tostring(err), '\n') end)
    socket:on('data', function() socket:write(process.pid .. '\n') end)
  end)
  server:on('tlsClientError', function(err) io.stderr:write('server: ', tostring(err), '\n') end)
  server:listen(0, '127.0.0.1', 4096, function()
    io.stdout:write('listening ', server:address().port, '\n')
  end)
end

-- All clients, until `total` requests have been answered.
local function load(port, ca, total, answered, done)
  local begun, finished, pids, clients = 0, 0, {}, CLIENTS
  local context = tls.createSecureContext { ca = ca }

  local function client()
    if begun >= total then
      clients = clients - 1
      if clients == 0 then done(finished, pids) end
      return
    end
    begun = begun + REQUESTS_PER_CONNECTION
    local left = REQUESTS_PER_CONNECTION
    local socket = tls.connect { host = '127.0.0.1', port = port, servername = 'localhost', secureContext = context }
    socket:on('secureConnect', function() socket:write('who?\n') end)
    socket:on('data', function(pid)
      pids[pid] = true
      left, finished = left - 1, finished + 1
      answered(finished)
      if left > 0 then socket:write('who?\n') else socket:finish() end
    end)
    socket:on('error', function(err) common.fail('request %d: %s', finished, tostring(err)) end)
    socket:on('close', function()
      common.check(left == 0, 'a connection was closed with %d requests left', left)
      client()
    end)
  end
  for _ = 1, CLIENTS do client() end
end

local function count(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

local function check()
  local total = tonumber(arg[1]) or 20000
  local identity = spec.selfSigned { names = { 'localhost' } }
  local server = spec.command({ process.execPath, '--workers=2', arg[0], 'serve' }, {
    env = { SOAK_KEY = identity.key, SOAK_CERT = identity.cert }, input = false, timeout = 280000,
  })
  local reloads, reloading = 0, false

  local function reload()
    reloads, reloading = reloads + 1, true
    server:kill(SIGHUP)
    server:waitFor('stderr', ('replaced\n.-'):rep(reloads), function() reloading = false end)
  end

  server:waitFor('stdout', 'listening (%d+)\n', function(port)
    load(tonumber(port), identity.cert, total, function(finished)
      if not reloading and reloads < RELOADS and finished >= reloads * total / RELOADS + CLIENTS then reload() end
    end, function(finished, pids)
      common.check(finished >= total, '%d of %d requests were answered', finished, total)
      common.check(reloads == RELOADS, 'the workers were replaced %d times', reloads)
      server:kill()
      server:on('exit', function(status)
        common.check(status == 0, 'the server ended with %d\n%s', status, server.stderr)
        common.check(count(pids) > RELOADS, 'only %d workers ever answered', count(pids))
        common.check(not server.stderr:find('server:', 1, true), '%s', server.stderr)
        common.pass('%d requests, 0 failed, %d reloads, %d workers answered', finished, reloads, count(pids))
      end)
    end)
  end)
end

if arg[1] == 'serve' then serve() else check() end

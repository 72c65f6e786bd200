--- Programs of several processes as specs see them: `moonlatch --workers=N script`, or a script that forks.
local fs = require 'fs'
local net = require 'net'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'

local M = {}

--- A server script: says "listening PORT PID", answers each connection's first byte with PREFIX and its pid. A 'k'
--- keeps the connection open: it echoes from then on.
function M.server(prefix)
  return ([[
    local net = require 'net'
    local server = net.createServer(function(socket)
      socket:on('error', function() end)
      socket:once('data', function(first)
        socket:write(%q .. process.pid .. '\n')
        if first == 'k' then
          socket:pipe(socket)
        else
          socket:finish()
        end
      end)
    end)
    server:listen(tonumber(arg and arg[1] or 0), '127.0.0.1', function()
      io.stdout:write('listening ', server:address().port, ' ', process.pid, '\n')
    end)
  ]]):format(prefix or '')
end

--- One test with a directory and a script in it: `fn(await, script, expect)`; script.write(text) replaces it.
function M.test(text, fn)
  return function()
    spec.tempdir(function(dir)
      local script = { path = dir .. '/script.lua', dir = dir }
      function script.write(new)
        fs.writeFileSync(script.path, new)
      end
      script.write(text)
      spec.coroutine(function(await, expect)
        fn(await, script, expect)
      end)()
    end)
  end
end

--- Starts the program with options before the script and arguments after it.
function M.start(script, options, arguments)
  local argv = { program.path }
  for _, option in ipairs(options or {}) do
    argv[#argv + 1] = option
  end
  argv[#argv + 1] = script.path
  for _, argument in ipairs(arguments or {}) do
    argv[#argv + 1] = argument
  end
  return spec.command(argv, { input = false, cwd = script.dir })
end

--- Waits until `n` workers have said that they listen.
---@return integer port
function M.listening(await, command, n)
  local pattern = 'listening (%d+) %d+\n' .. ('.-listening %d+ %d+\n'):rep(n - 1)
  return tonumber(P.waitFor(await, command, 'stdout', pattern))
end

--- One connection: sends `say`, reads to the end.
---@return string? answer
---@return Error? err
function M.ask(await, port, say)
  return await(function(done)
    local answer = ''
    local socket = net.connect(port, '127.0.0.1', function() end)
    socket:write(say or 'x')
    socket:on('data', function(chunk)
      answer = answer .. chunk
    end)
    socket:on('error', function(err)
      done(nil, nil, err)
    end)
    socket:on('end', function()
      done(nil, answer)
    end)
  end)
end

--- A connection that stays: the server echoes on it.
function M.keep(await, port)
  local socket = net.connect(port, '127.0.0.1')
  socket:setEncoding('utf8')
  socket:write('k')
  local hello = await(socket, 'data')
  return socket, tonumber(hello:match('(%d+)\n'))
end

--- Waits until the program has ended.
---@return integer status
function M.ended(await, command)
  P.over(await, command)
  return command.status
end

--- Has the program end in good order.
function M.finish(await, command)
  if command.status == nil then
    command:kill()
  end
  return M.ended(await, command)
end

return M

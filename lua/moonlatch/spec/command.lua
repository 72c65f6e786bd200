--- Other programs as peers of a spec: openssl, curl, node. They run beside the loop and never block it.

local class = require 'moonlatch.class'
local EventEmitter = require('events').EventEmitter
local native = require 'moonlatch.native'
local slowness = require 'moonlatch.spec.slowness'
local spawn = require 'moonlatch.process.children'
local timers = require 'timers'

local command = {}

-- What a shell calls the status of a program that a signal ended.
local SIGNAL_STATUS = 128
local SIGKILL, SIGTERM = 9, 15
local TIMEOUT = 30000

---@class moonlatch.spec.Command : EventEmitter
---@field pid integer
---@field stdin Socket
---@field stdout string     what it wrote so far
---@field stderr string
---@field timedOut? boolean
local Command = class('Command', EventEmitter)

-- Environment of the child: ours with the changes of `changes` (false removes a variable).
local function environment(changes)
  if not changes then
    return nil
  end
  local all, list = native.process.environ(), {}
  for name, value in pairs(changes) do
    all[name] = value or nil
  end
  for name, value in pairs(all) do
    list[#list + 1] = name .. '=' .. value
  end
  return list
end

function Command:init(argv, options, callback)
  EventEmitter.init(self)
  self.stdout, self.stderr = '', ''
  self.callback = callback
  local child, stdin, stdout, stderr = spawn(self, argv, environment(options.env), options.cwd)
  if not child then
    error(stdin, 0)
  end
  self.child, self.pid = child, child:pid()
  self.waiting = 3
  self:collect('stdout', stdout)
  self:collect('stderr', stderr)
  self:feed(stdin, options.input)
  self.timer = timers.setTimeout(function()
    self.timedOut = true
    self:kill(SIGKILL)
  end, (options.timeout or TIMEOUT) * slowness)
  self.timer:unref()
end

-- Gathers one output; each piece is an event too ('stdout', 'stderr').
function Command:collect(name, fd)
  local stream = require('net').Socket { fd = fd, readable = true, writable = false }
  stream:on('data', function(chunk)
    self[name] = self[name] .. chunk
    self:emit(name, chunk)
  end)
  stream:on('error', function() end)
  stream:on('close', function()
    self:finish()
  end)
end

-- `input` is written and the pipe closed; false leaves it open for self.stdin:write. A program that does not
-- read its input breaks the pipe, which is its right.
function Command:feed(fd, input)
  self.stdin = require('net').Socket { fd = fd, readable = false, writable = true }
  self.stdin:on('error', function() end)
  if input ~= false then
    self.stdin:finish(input or '')
  end
end

function Command:_onResult(status, signal)
  self.status = signal ~= 0 and SIGNAL_STATUS + signal or status
  timers.clearTimeout(self.timer)
  self.stdin:destroy()
  self:finish()
end

-- Over when the program has ended and both outputs are read to the end.
function Command:finish()
  self.waiting = self.waiting - 1
  if self.waiting > 0 then
    return
  end
  if self.callback then
    self.callback(self.status, self.stdout, self.stderr, self)
  end
  self:emit('exit', self.status)
end

--- Ends the program.
---@param signal? integer  SIGTERM when left out
function Command:kill(signal)
  self.child:kill(signal or SIGTERM)
end

--- Calls `fn(self)` as soon as an output contains `pattern`: a server says that it listens.
---@param output 'stdout'|'stderr'
---@param pattern string
---@param fn fun(match: string)
function Command:waitFor(output, pattern, fn)
  local function look()
    local match = self[output]:match(pattern)
    if match then
      self:removeListener(output, look)
      fn(match)
    end
  end
  self:on(output, look)
  look()
end

---@class moonlatch.spec.CommandOptions
---@field input? string|false          given to its standard input; false: write to command.stdin
---@field env? table<string, string|false>   changes to the environment
---@field cwd? string
---@field timeout? number              milliseconds, 30000 when left out; then it is killed

--- Starts a program: `{ 'openssl', 's_client', … }`, or a string for the shell.
---@param argv string[]|string
---@param options? moonlatch.spec.CommandOptions
---@param callback? fun(status: integer, stdout: string, stderr: string, command: moonlatch.spec.Command)
---@return moonlatch.spec.Command
function command.start(argv, options, callback)
  if type(options) == 'function' then
    options, callback = nil, options
  end
  if type(argv) == 'string' then
    argv = { '/bin/sh', '-c', argv }
  end
  return Command(argv, options or {}, callback)
end

--- Is there such a program in PATH?
---@param program string
---@return boolean
function command.available(program)
  for directory in (os.getenv('PATH') or ''):gmatch('[^:]+') do
    local file = io.open(directory .. '/' .. program)
    if file then
      file:close()
      return true
    end
  end
  return false
end

return command

--- The process, as Node's `process`: one EventEmitter with what a script wants to know of, and do
--- to, the process it runs in. Functions are called with a dot (`process.exit(1)`); a colon does no
--- harm.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local EventEmitter = require('events').EventEmitter
local native = require 'moonlatch.native'
local signals = require 'moonlatch.signals'
local tick = require 'moonlatch.tick'

local floor = math.floor
local select, tonumber, tostring, type = select, tonumber, tostring, type
local system = native.process
local validate = errors.validate

---@class moonlatch.Process : EventEmitter
---@field argv string[]       [1] the program, [2] the script, then its arguments
---@field argv0 string
---@field execPath string
---@field execArgv string[]   the program's own options
---@field env table<string, string>
---@field pid integer
---@field ppid integer
---@field exitCode? integer
---@field title string
---@field platform string
---@field arch string
---@field version string
---@field versions table<string, string>
---@field stdin Readable
---@field stdout Writable
---@field stderr Writable
---@field release { name: string }
---@field noDeprecation boolean
---@field throwDeprecation boolean
---@field connected? boolean  in a worker of a cluster
local Process = class('process', EventEmitter)
local process = Process()

local started = native.hrtime()

-- Makes `process:cwd()` the same as `process.cwd()`.
---@generic F : function
---@param fn F
---@return F
local function dotted(fn)
  return function(first, ...)
    if first == process then
      return fn(...)
    end
    return fn(first, ...)
  end
end

local function check(value, err)
  if value == nil then
    error(err, 0)
  end
  return value
end

process.nextTick = tick.nextTick

-- Identity ---------------------------------------------------------------------------------------

process.pid, process.ppid = system.pid()
process.execPath = system.execPath() or 'moonlatch'
process.argv0 = process.execPath
process.argv = { process.execPath }
process.execArgv = {}
process.noDeprecation = native.options['no-deprecation'] or false
process.throwDeprecation = native.options['throw-deprecation'] or false

local ARCHITECTURES = { x86_64 = 'x64', aarch64 = 'arm64', i686 = 'ia32', armv7l = 'arm' }
local sysname, machine = system.uname()
process.platform = tostring(sysname):lower()
process.arch = ARCHITECTURES[machine] or machine
process.version = 'v' .. native.version
process.versions = {
  moonlatch = native.version,
  luajit = jit and jit.version:match('%S+$') or _VERSION,
}
for name, version in pairs(native.versions) do
  process.versions[name] = version
end
process.release = { name = 'moonlatch' }

-- Fields that are more than fields: what is assigned is checked or has an effect.
local assign, assigned = {}, {}
Process.metatable.__newindex = function(self, key, value)
  local accept = assign[key]
  if accept then
    assigned[key] = accept(value)
  else
    rawset(self, key, value)
  end
end

local function special(name, accept)
  assign[name] = accept
  class.getter(Process, name, function()
    return assigned[name]
  end)
end

assigned.title = process.argv0
special('title', function(value)
  local title = tostring(value)
  system.setTitle(title)
  return title
end)

-- Environment and directories --------------------------------------------------------------------

--- The environment: reading and assigning a name reads and changes it, nil removes a variable.
--- `pairs` has nothing to go by under LuaJIT; calling it gives a table of all variables: `for name,
--- value in pairs(process.env()) do`.
process.env = setmetatable({}, {
  __index = function(_, name)
    return type(name) == 'string' and os.getenv(name) or nil
  end,
  __newindex = function(_, name, value)
    validate.cString(name, 'name')
    if type(value) == 'boolean' or type(value) == 'number' then
      value = tostring(value)
    elseif value ~= nil then
      validate.cString(value, 'process.env.' .. name)
    end
    check(system.setenv(name, value))
  end,
  __call = function()
    return system.environ()
  end,
  __pairs = function()
    return pairs(system.environ())
  end,
})

---@return string
process.cwd = dotted(function()
  return check(system.cwd())
end)

---@param directory string
process.chdir = dotted(function(directory)
  validate.cString(directory, 'directory')
  require('moonlatch.fs.failure').check('chdir', (system.cwd()), directory, native.fs.chdir(directory))
end)

---@param mask? integer|string  a string is octal
---@return integer before
process.umask = dotted(function(mask)
  if type(mask) == 'string' then
    mask = tonumber(mask, 8) or
      error(errors.argValue('mask', mask, 'must be a 32-bit unsigned integer or an octal string'), 0)
  elseif mask ~= nil then
    validate.integer(mask, 'mask', 0, 4294967295)
  end
  return system.umask(mask)
end)

process.getuid = function() return (select(1, system.ids())) end
process.geteuid = function() return (select(2, system.ids())) end
process.getgid = function() return (select(3, system.ids())) end
process.getegid = function() return (select(4, system.ids())) end

-- Time and resources -----------------------------------------------------------------------------

--- Monotonic time as { seconds, nanoseconds }; with an earlier one, the difference.
---@param before? { [1]: integer, [2]: integer }
---@return { [1]: integer, [2]: integer }
process.hrtime = dotted(function(before)
  local seconds, nanoseconds = native.hrtimeParts()
  if before == nil then
    return { seconds, nanoseconds }
  end
  validate.table(before, 'time')
  if #before ~= 2 then
    error(errors.range('time', '2', #before), 0)
  end
  validate.number(before[1], 'time[1]')
  validate.number(before[2], 'time[2]')
  seconds, nanoseconds = seconds - before[1], nanoseconds - before[2]
  if nanoseconds < 0 then
    seconds, nanoseconds = seconds - 1, nanoseconds + 1e9
  end
  return { seconds, nanoseconds }
end)

--- Seconds since the program started.
---@return number
process.uptime = function()
  return native.hrtime() - started
end

--- Memory in bytes: `rss` of the process, `heapUsed` of the Lua heap.
---@return { rss: number, heapTotal: number, heapUsed: number, external: number, arrayBuffers: number }
process.memoryUsage = function()
  local used = floor(collectgarbage('count') * 1024)
  return { rss = check(system.rss()), heapTotal = used, heapUsed = used, external = 0, arrayBuffers = 0 }
end

--- Processor time in microseconds; with an earlier value, the difference.
---@param before? { user: number, system: number }
---@return { user: number, system: number }
process.cpuUsage = dotted(function(before)
  local user, kernel = system.cpu()
  if before ~= nil then
    validate.table(before, 'prevValue')
    user = user - validate.number(before.user, 'prevValue.user')
    kernel = kernel - validate.number(before.system, 'prevValue.system')
  end
  return { user = user, system = kernel }
end)

-- Signals ----------------------------------------------------------------------------------------

---@param pid integer
---@param signal? string|integer  SIGTERM when left out
---@return true
process.kill = dotted(function(pid, signal)
  -- Cut off at 32 bits it would be another process, or a group.
  if not signals.isInt32(pid) then
    error(errors.argType('pid', 'number', pid), 0)
  end
  return check(system.kill(pid, signals.number(signal)))
end)

process.abort = function()
  system.abort()
end

-- The end ----------------------------------------------------------------------------------------

special('exitCode', function(code)
  local number = type(code) == 'string' and tonumber(code) or code
  if number ~= nil and type(number) ~= 'number' then
    error(errors.argType('code', 'number', code), 0)
  elseif number and (number ~= floor(number) or math.abs(number) == math.huge) then
    error(errors.range('code', 'an integer', code), 0)
  end
  return code
end)

-- The exit code as the operating system will see it.
local function exitStatus()
  return tonumber(process.exitCode or 0) % 256
end

--- Emits 'exit', once, and gives the status to end with. What its listeners put off is not done any more.
---@param code? integer
---@return integer
function process._finish(code)
  if code ~= nil then
    process.exitCode = code
  end
  if not process._exiting then
    process._exiting = true
    process:emit('exit', process.exitCode or 0)
  end
  tick.halt()
  return exitStatus()
end

-- Ends the process once what was accepted for writing has been sent, as far as the kernel takes it.
local function leave(status)
  native.flush()
  system.exit(status)
end

--- Ends the process: emits 'exit', sends what was accepted for writing, and never returns.
---@param code? integer  process.exitCode when left out
process.exit = dotted(function(code)
  leave(process._finish(code))
end)

-- Errors that nothing caught -----------------------------------------------------------------------

local capture

--- Has `fn(err)` called for every uncaught error in place of the events; nil ends that.
---@param fn? fun(err: any)
process.setUncaughtExceptionCaptureCallback = dotted(function(fn)
  if fn ~= nil then
    if not validate.isCallable(fn) then
      error(errors.argType('fn', { 'function', 'nil' }, fn), 0)
    end
    if capture then
      error(errors.coded(errors.Error, 'ERR_UNCAUGHT_EXCEPTION_CAPTURE_ALREADY_SET',
        '`process.setupUncaughtExceptionCapture()` was called while a capture callback was already ' ..
        'active'), 0)
    end
  end
  capture = fn
end)

---@return boolean
process.hasUncaughtExceptionCaptureCallback = function()
  return capture ~= nil
end

local function describe(err, traceback)
  if type(err) == 'table' then
    local ok, text = pcall(function()
      return require('moonlatch.inspect').inspect(err)
    end)
    return ok and text or errors.text(err)
  end
  return errors.text(err) .. (traceback and '\n' .. traceback or '')
end

native.setUncaught(function(err, traceback)
  if capture then
    capture(err)
    return
  end
  if not process._exiting then
    process:emit('uncaughtExceptionMonitor', err, 'uncaughtException')
    if process:emit('uncaughtException', err, 'uncaughtException', traceback) then
      return
    end
  end
  -- As under lua, error() without a value ends the program in silence.
  if err ~= nil then
    system.writeSync(2, 'Uncaught ' .. describe(err, traceback) .. '\n')
  end
  process.exitCode = 1
  process._finish()
  leave(process.exitCode == 0 and 1 or exitStatus())
end)

-- Streams ------------------------------------------------------------------------------------------

for name, fd in pairs { stdout = 1, stderr = 2 } do
  class.getter(Process, name, function(self)
    local stream = require('moonlatch.process.stdio').output(self, fd)
    rawset(self, name, stream)
    return stream
  end)
end
class.getter(Process, 'stdin', function(self)
  local stream = require('moonlatch.process.stdio').input()
  rawset(self, 'stdin', stream)
  return stream
end)

require('moonlatch.process.warning')(process)
require('moonlatch.process.signals')(process)

return process

--- The moonlatch program: reads the command line and says, step by step, what to run. It behaves as
--- lua does, and then knows Node's options for tls. bindings/main.c calls start, next until nothing
--- comes, beforeExit, exit.

local native = require 'moonlatch.native'
local options = require 'moonlatch.options'

local unpack, loadstring, loadfile = unpack, loadstring, loadfile

local program = {}

local steps = {}       -- functions still to run, each with its arguments
local place = 0
local ignoreEnvironment = false
local seenOptions = {} -- what stood before the script

local USAGE = [=[
usage: moonlatch [options] [script [arguments]]
  -e chunk   run a string of Lua
  -l name    require a library
  -i         be interactive after the script
  -v         print versions
  -E         ignore LUA_INIT, LUA_PATH, LUA_CPATH
  -j cmd     LuaJIT: on, off, flush, or a jit.* module
  -O[opt]    LuaJIT: optimiser flags
  --         end of options
  -          run standard input
  --workers=N|auto                   N processes that run the script and share its ports
  --drain-timeout=SECONDS            how long a worker that is to end waits for its connections
  --reload-timeout=SECONDS           how long a reload waits for a worker that does not answer
  --tls-cipher-list=LIST             default cipher list
  --tls-min-v1.0|1.1|1.2|1.3         lowest version of TLS by default
  --tls-max-v1.2|1.3                 highest version of TLS by default
  --tls-v1.0|1.1                     older spellings of --tls-min-v1.0|1.1
  --tls-keylog=FILE                  write session keys for tcpdump or Wireshark
  --trace-tls                        print the handshake of every TLS connection
  --use-openssl-ca|--use-bundled-ca|--use-system-ca  where trusted certificates come from
  --openssl-config=FILE              configuration of OpenSSL
  --no-warnings, --trace-warnings, --no-deprecation, --throw-deprecation, --trace-deprecation
  --version  --help
MOONLATCH_OPTIONS may hold any of the options that begin with --, but the last two.
]=]

local function say(fd, text)
  native.process.writeSync(fd, text)
end

local function quit(status)
  native.process.exit(status)
end

local function refuse(problem)
  say(2, ('moonlatch: %s\n'):format(problem))
  quit(9)
end

local function printVersions()
  say(1, ('moonlatch %s, %s, OpenSSL %s\n'):format(native.version, jit and jit.version or _VERSION,
    native.versions.openssl))
end

local function addStep(fn, ...)
  steps[#steps + 1] = { n = select('#', ...), fn = fn, ... }
end

-- A chunk that does not compile, or is not there, is an uncaught error like one that raises.
local function checked(chunk, problem)
  if not chunk then
    error(problem, 0)
  end
  return chunk
end

local function runString(text, name)
  return checked(loadstring(text, name))()
end

-- jit.opt.start, jit.on and so on, as luajit's -O and -j.
local function setOptimiser(flags)
  local list = {}
  for flag in flags:gmatch('[^,]+') do
    list[#list + 1] = flag
  end
  require('jit.opt').start(unpack(list))
end

local function controlJit(command)
  local name, arguments = command:match('^([^=]+)=?(.*)$')
  if name == 'on' or name == 'off' or name == 'flush' then
    jit[name]()
    return
  end
  local list = {}
  for argument in arguments:gmatch('[^,]+') do
    list[#list + 1] = argument
  end
  require('jit.' .. tostring(name)).start(unpack(list))
end

-- One handler per letter: (plan, rest of the argument, following argument) → arguments used.
local letters = {}

local function withValue(handle)
  return function(plan, rest, following, letter)
    if rest ~= '' then
      handle(plan, rest)
      return 1
    end
    if not following then
      refuse(('-%s requires an argument'):format(letter))
    end
    handle(plan, following)
    return 2
  end
end

letters.e = withValue(function(plan, text)
  plan.chunks = true
  addStep(runString, text, '=(command line)')
end)

letters.l = withValue(function(_, name)
  addStep(require, name)
end)

letters.j = withValue(function(_, command)
  addStep(controlJit, command)
end)

function letters.O(_, rest)
  addStep(setOptimiser, rest)
  return 1
end

-- Letters that stand alone.
local function single(handle)
  return function(plan, rest)
    if rest ~= '' then
      return nil
    end
    handle(plan)
    return 1
  end
end

letters.i = single(function(plan)
  plan.interactive, plan.version = true, true
end)

letters.v = single(function(plan)
  plan.version, plan.only = true, true
end)

letters.E = single(function()
  ignoreEnvironment = true
end)

local function takeLong(argv, i)
  local text = argv[i]
  if text == '--version' then
    say(1, 'v' .. native.version .. '\n')
    quit(0)
  elseif text == '--help' then
    say(1, USAGE)
    quit(0)
  end
  local used, problem = options.take(native.options, text, argv[i + 1])
  return used or refuse(problem)
end

local function takeLetter(plan, argv, i)
  local letter = argv[i]:sub(2, 2)
  local handle = letters[letter]
  local used = handle and handle(plan, argv[i]:sub(3), argv[i + 1], letter)
  return used or refuse('bad option: ' .. argv[i])
end

-- Reads options up to the script; plan.script is its index in argv, or #argv + 1.
local function readArguments(argv)
  local plan = {}
  local i = 1
  while argv[i] do
    local text = argv[i]
    if text == '--' then
      i = i + 1
      break
    elseif text == '-' or text:sub(1, 1) ~= '-' then
      break
    end
    local used = text:sub(1, 2) == '--' and takeLong(argv, i) or takeLetter(plan, argv, i)
    for k = i, i + used - 1 do
      seenOptions[#seenOptions + 1] = argv[k]
    end
    i = i + used
  end
  plan.script = i
  return plan
end

-- LUA_PATH and its like: two semicolons stand for the default.
local function applyPath(field, variable)
  local value = os.getenv(variable)
  if value then
    local default = package[field]:gsub('%%', '%%%%')
    package[field] = value:gsub(';;', ';\1;'):gsub('\1', default)
  end
end

local function applyEnvironment()
  if ignoreEnvironment then
    return
  end
  applyPath('path', 'LUA_PATH')
  applyPath('cpath', 'LUA_CPATH')
  local init = os.getenv('LUA_INIT')
  if not init then
    return
  end
  local step
  if init:sub(1, 1) == '@' then
    step = { n = 0, fn = function() checked(loadfile(init:sub(2)))() end }
  else
    step = { n = 2, fn = runString, init, '=LUA_INIT' }
  end
  table.insert(steps, 1, step)
end

-- `arg` as lua has it: the script at 0, what stood before it at negative places.
local function setArguments(argv, script)
  if not argv[script] then
    script = 0
  end
  local arg = {}
  for i = 0, #argv do
    arg[i - script] = argv[i]
  end
  _G.arg = arg
end

local function describeProcess(argv, plan)
  local process = require 'process'
  process.argv0 = argv[0]
  process.execArgv = seenOptions
  for i = plan.script, #argv do
    process.argv[#process.argv + 1] = argv[i]
  end
end

local function addScript(argv, script)
  local name = argv[script]
  if name == '-' and argv[script - 1] ~= '--' then
    name = nil
  end
  local arguments = { unpack(argv, script + 1, #argv) }
  addStep(function()
    -- The chunk itself is the next step, so that nothing of ours stands below it on the stack.
    table.insert(steps, place + 1,
      { n = #arguments, fn = checked(loadfile(name)), unpack(arguments) })
  end)
end

-- Options of the primary, each with a value.
local PRIMARYS = { ['--workers'] = true, ['--drain-timeout'] = true, ['--reload-timeout'] = true }

-- What the workers of a cluster are started with: all options but those.
local function workersOptions()
  local kept, skip = {}, false
  for _, text in ipairs(seenOptions) do
    if skip then
      skip = false
    elseif PRIMARYS[text] then
      skip = true
    elseif not PRIMARYS[text:match('^[^=]+')] then
      kept[#kept + 1] = text
    end
  end
  return kept
end

-- An option that is given in seconds.
local function milliseconds(name)
  local text = native.options[name]
  local seconds = tonumber(text or 0)
  if not seconds or seconds < 0 then
    refuse(('--%s requires a number of seconds'):format(name))
  end
  return text and seconds * 1000
end

local function addWorkers(argv, plan)
  local supervisor = require 'moonlatch.cluster.supervisor'
  local n = supervisor.count(native.options.workers)
  if not n then
    refuse('--workers requires a number of processes, or auto')
  end
  local drain, patience = milliseconds 'drain-timeout', milliseconds 'reload-timeout'
  if not argv[plan.script] or argv[plan.script] == '-' or plan.chunks or plan.interactive then
    refuse('--workers requires a script')
  end
  addStep(supervisor.start, n, { execArgv = workersOptions(), drainTimeout = drain, reloadTimeout = patience })
end

local function addStandardInput(plan)
  if native.process.fdType(0) == 'tty' then
    printVersions()
    plan.interactive = true
  else
    addStep(function()
      table.insert(steps, place + 1, { n = 0, fn = checked(loadfile()) })
    end)
  end
end

local function replaceOsExit()
  local exit = os.exit
  --- As Lua's, after sending what was accepted for writing.
  os.exit = function(...) -- luacheck: ignore 122
    native.flush()
    return exit(...)
  end
end

--- Reads the command line.
---@param argv string[]  with the program at 0
function program.start(argv)
  local fromEnvironment = os.getenv('MOONLATCH_OPTIONS')
  if fromEnvironment then
    local ok, problem = options.fromText(native.options, fromEnvironment)
    if not ok then
      refuse(problem)
    end
  end
  local plan = readArguments(argv)
  local conflict = options.conflict(native.options)
  if conflict then
    refuse(conflict)
  end
  -- OpenSSL reads its configuration when it is first used, which is later than this.
  if native.options['openssl-config'] then
    native.process.setenv('OPENSSL_CONF', native.options['openssl-config'])
  end
  require 'moonlatch.bootstrap'
  require('moonlatch.globals').install()
  -- A server's messages are read while it runs, through pipes and in files too.
  io.stdout:setvbuf('line')
  replaceOsExit()
  applyEnvironment()
  setArguments(argv, plan.script)
  describeProcess(argv, plan)
  if plan.version then
    printVersions()
  end
  local worker = require('moonlatch.cluster.state').id
  if worker then
    require 'cluster'
  end
  if native.options.workers and not worker then
    addWorkers(argv, plan)
  elseif argv[plan.script] then
    addScript(argv, plan.script)
  elseif not (plan.chunks or plan.only or plan.interactive) then
    addStandardInput(plan)
  end
  if worker then
    addStep(require('cluster')._started)
  end
  if plan.interactive then
    addStep(function()
      require('moonlatch.repl').start()
    end)
  end
end

--- The next function to run and its arguments, or nothing.
function program.next()
  place = place + 1
  local step = steps[place]
  steps[place] = false
  if step then
    return step.fn, unpack(step, 1, step.n)
  end
end

--- The loop has nothing left: listeners may give it more.
function program.beforeExit()
  local process = require 'process'
  process:emit('beforeExit', process.exitCode or 0)
end

--- Emits 'exit'.
---@return integer status
function program.exit()
  return require('process')._finish()
end

return program

--- Runs the moonlatch program that runs the specs, as a child, and waits for it.

local fs = require 'fs'
local process = require 'process'
local spec = require 'moonlatch.spec'

local program = {}

--- What to start as the program: MOONLATCH_SPEC_PROGRAM may be a wrapper that runs it under valgrind.
program.path = os.getenv 'MOONLATCH_SPEC_PROGRAM' or process.execPath

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end
program.quote = quote

---@class spec.Outcome
---@field status integer  exit status; 128 + n for signal n, as the shell has it
---@field out string
---@field err string

--- Runs a shell command.
---@param command string
---@param input? string
---@return spec.Outcome
function program.shell(command, input)
  return spec.tempdir(function(directory)
    local stdin = '/dev/null'
    if input then
      stdin = directory .. '/in'
      fs.writeFileSync(stdin, input)
    end
    local line = ('exec 2>/dev/null; ( %s ) <%s >%s/out 2>%s/err; echo $? >%s/status'):format(command, quote(stdin),
      quote(directory), quote(directory), quote(directory))
    os.execute(line)
    return {
      status = tonumber(fs.readFileSync(directory .. '/status')),
      out = fs.readFileSync(directory .. '/out'),
      err = fs.readFileSync(directory .. '/err'),
    }
  end)
end

--- Runs the program with arguments.
---@param arguments string[]
---@param options? { input?: string, env?: table<string, string>, before?: string, after?: string, program?: string }
---@return spec.Outcome
function program.run(arguments, options)
  options = options or {}
  local words = { options.before }
  for name, value in pairs(options.env or {}) do
    words[#words + 1] = name .. '=' .. quote(value)
  end
  words[#words + 1] = quote(options.program or program.path)
  for _, argument in ipairs(arguments) do
    words[#words + 1] = quote(argument)
  end
  words[#words + 1] = options.after
  return program.shell(table.concat(words, ' '), options.input)
end

--- Runs Lua code in the program.
---@param code string
---@param options? table
---@return spec.Outcome
function program.eval(code, options)
  return program.run({ '-e', code }, options)
end

return program

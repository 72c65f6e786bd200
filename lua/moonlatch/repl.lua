--- The interactive mode: lines from standard input, run as they come, while the loop goes on turning.

local native = require 'moonlatch.native'

local repl = {}

local chunk = ''   -- lines of a statement that is not complete yet
local partial = '' -- input after the last line end
local interactive = false

local function say(text)
  native.process.writeSync(1, text)
end

local function prompt()
  if chunk == '' then
    say(tostring(rawget(_G, '_PROMPT') or '> '))
  else
    say(tostring(rawget(_G, '_PROMPT2') or '>> '))
  end
end

local function describe(value)
  if type(value) == 'string' then
    return value
  end
  return require('util').inspect(value)
end

local function show(ok, ...)
  if not ok then
    native.process.writeSync(2, tostring((...)) .. '\n')
    return
  end
  local values = {}
  for i = 1, select('#', ...) do
    values[i] = describe((select(i, ...)))
  end
  if #values > 0 then
    say(table.concat(values, '\t') .. '\n')
  end
end

-- Message handler: the error's own stack, or a traceback of now.
local function explain(err)
  if type(err) == 'table' and type(err.stack) == 'string' then
    return err.stack
  end
  return debug.traceback(tostring(err), 2)
end

local function isIncomplete(problem)
  return problem:find("'<eof>'$") ~= nil
end

-- An expression first: "x", or "= x" as lua takes it; then a statement. The third result tells that more
-- lines could make it either.
local function compile(text)
  local expression = text:match('^%s*=(.*)$') or text
  local fn, asExpression = loadstring('return ' .. expression, '=stdin')
  if fn then
    return fn
  end
  local problem
  fn, problem = loadstring(text, '=stdin')
  return fn, problem, not fn and (isIncomplete(problem) or isIncomplete(asExpression))
end

local function takeLine(line)
  chunk = chunk == '' and line or chunk .. '\n' .. line
  if chunk:find('^%s*$') then
    chunk = ''
    return
  end
  local fn, problem, incomplete = compile(chunk)
  if incomplete then
    return
  end
  chunk = ''
  if fn then
    show(xpcall(fn, explain))
  else
    native.process.writeSync(2, problem .. '\n')
  end
end

local function takeInput(data)
  partial = partial .. data
  while true do
    local line, rest = partial:match('^(.-)\r?\n(.*)$')
    if not line then
      return
    end
    partial = rest
    takeLine(line)
    prompt()
  end
end

local function finish()
  if partial ~= '' then
    takeLine(partial)
    partial = ''
  end
  if interactive then
    say('\n')
    -- Whoever types the end of input means the end, whatever servers are still open.
    require('process').exit()
  end
end

--- Begins reading. Returns at once; the loop does the rest.
function repl.start()
  local stdin = require('process').stdin
  interactive = stdin.isTTY == true
  stdin:setEncoding('utf8')
  stdin:on('data', takeInput)
  stdin:on('end', finish)
  prompt()
end

return repl

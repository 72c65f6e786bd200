--- The program's own options, in Node's spelling: from MOONLATCH_OPTIONS and the command line into
--- native.options.

local options = {}

--- What an option takes: nothing (true), or a value ('value').
---@type table<string, true|'value'>
local known = {
  ['workers'] = 'value',
  ['drain-timeout'] = 'value',
  ['reload-timeout'] = 'value',
  ['tls-cipher-list'] = 'value',
  ['tls-keylog'] = 'value',
  ['tls-min-v1.0'] = true,
  ['tls-min-v1.1'] = true,
  ['tls-min-v1.2'] = true,
  ['tls-min-v1.3'] = true,
  ['tls-max-v1.2'] = true,
  ['tls-max-v1.3'] = true,
  ['tls-v1.0'] = true,
  ['tls-v1.1'] = true,
  ['trace-tls'] = true,
  ['use-openssl-ca'] = true,
  ['use-bundled-ca'] = true,
  ['use-system-ca'] = true,
  ['openssl-config'] = 'value',
  ['no-warnings'] = true,
  ['no-deprecation'] = true,
  ['throw-deprecation'] = true,
  ['trace-warnings'] = true,
  ['trace-deprecation'] = true,
}

options.known = known

--- One option of the form --name, --name=value or --name value.
---@param target table       filled
---@param text string        the argument
---@param following? string  the argument after it
---@return integer|nil used  arguments used, 1 or 2; nil when it is none of ours or malformed
---@return string? problem
function options.take(target, text, following)
  local name, value = text:match('^%-%-([^=]+)=(.*)$')
  name = name or text:match('^%-%-(.+)$')
  local kind = name and known[name]
  if not kind then
    return nil, 'bad option: ' .. text
  end
  if kind == true then
    if value then
      return nil, ('--%s takes no argument'):format(name)
    end
    target[name] = true
    return 1
  end
  local used = 1
  if not value then
    value, used = following, 2
  end
  if not value or value == '' or used == 2 and value:sub(1, 1) == '-' then
    return nil, ('--%s requires an argument'):format(name)
  end
  target[name] = value
  return used
end

-- Words between spaces; double quotes keep spaces together, and a backslash inside them what follows it.
local function split(text)
  local words, word, quoted = {}, nil, false
  local i = 1
  while i <= #text do
    local char = text:sub(i, i)
    if char == '\\' and quoted then
      i = i + 1
      word = word .. text:sub(i, i)
    elseif char == '"' then
      quoted = not quoted
      word = word or ''
    elseif char == ' ' and not quoted then
      words[#words + 1] = word
      word = nil
    else
      word = (word or '') .. char
    end
    i = i + 1
  end
  words[#words + 1] = word
  return not quoted and words or nil
end

--- Options from the environment variable's text.
---@param target table
---@param text string
---@return true|nil ok
---@return string? problem
function options.fromText(target, text)
  local words = split(text)
  if not words then
    return nil, 'invalid value for MOONLATCH_OPTIONS (unterminated string)'
  end
  local i = 1
  while words[i] do
    local word = words[i]
    if word:sub(1, 2) ~= '--' or word == '--' or word == '--help' or word == '--version' then
      return nil, word .. ' is not allowed in MOONLATCH_OPTIONS'
    end
    local used, problem = options.take(target, word, words[i + 1])
    if not used then
      return nil, problem
    end
    i = i + used
  end
  return true
end

-- Options that contradict each other.
local CONFLICTS = { { 'tls-min-v1.3', 'tls-max-v1.2' }, { 'use-openssl-ca', 'use-bundled-ca' } }

--- What is wrong with options that are in order one by one.
---@param given table
---@return string? problem
function options.conflict(given)
  for _, pair in ipairs(CONFLICTS) do
    if given[pair[1]] and given[pair[2]] then
      return ('either --%s or --%s can be used, not both'):format(pair[1], pair[2])
    end
  end
end

return options

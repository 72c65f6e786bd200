-- What the Lua language server shows of the public functions: a sentence, the types of arguments and results, what is
-- raised, and whose function it is after.

local fs = require 'fs'

local FILES = {
  'lua/tls.lua', 'lua/crypto.lua',
  'lua/moonlatch/tls/connect.lua', 'lua/moonlatch/tls/context.lua', 'lua/moonlatch/tls/identity.lua',
  'lua/moonlatch/tls/protocols.lua', 'lua/moonlatch/tls/secure_pair.lua',
  'lua/moonlatch/tls/server.lua', 'lua/moonlatch/tls/socket.lua',
  'lua/moonlatch/tls/socket_facts.lua', 'lua/moonlatch/tls/trust.lua',
  'lua/moonlatch/crypto/hash.lua', 'lua/moonlatch/crypto/keys.lua', 'lua/moonlatch/crypto/ocsp.lua',
  'lua/moonlatch/crypto/random.lua', 'lua/moonlatch/crypto/x509.lua',
  'lua/net.lua', 'lua/moonlatch/net/socket.lua', 'lua/moonlatch/net/socket_properties.lua',
  'lua/moonlatch/net/server.lua', 'lua/moonlatch/net/ending.lua', 'lua/moonlatch/net/peek.lua', 'lua/stream.lua',
  'lua/moonlatch/stream/readable.lua', 'lua/moonlatch/stream/flow.lua', 'lua/moonlatch/stream/pipe.lua',
  'lua/moonlatch/stream/sources.lua', 'lua/moonlatch/stream/writable.lua', 'lua/moonlatch/stream/duplex.lua',
  'lua/moonlatch/stream/transform.lua', 'lua/moonlatch/stream/finished.lua', 'lua/moonlatch/stream/pipeline.lua',
  'lua/moonlatch/stream/legacy.lua',
  'lua/moonlatch/emitter.lua', 'lua/events.lua', 'lua/moonlatch/abort.lua', 'lua/dns.lua', 'lua/timers.lua',
  'lua/moonlatch/immediate.lua', 'lua/process.lua', 'lua/moonlatch/process/warning.lua', 'lua/fs.lua',
  'lua/moonlatch/fs/sync.lua', 'lua/moonlatch/fs/streams.lua', 'lua/moonlatch/fs/watcher.lua', 'lua/util.lua',
  'lua/moonlatch/format.lua', 'lua/moonlatch/inspect.lua', 'lua/moonlatch/string_decoder.lua',
  'lua/moonlatch/cluster/primary.lua', 'lua/moonlatch/cluster/worker.lua', 'lua/moonlatch/cluster/reload.lua',
}

-- What scripts never call by these names: it is behind a class, or between files.
local INTERNAL = {
  ['keys.wrap'] = true, ['keys.secretBytes'] = true, ['x509.wrap'] = true, ['x509.handle'] = true, ['M.from'] = true,
  ['M.coerce'] = true, ['M.given'] = true, ['M.wire'] = true, ['trust.sequence'] = true, ['trust.install'] = true,
  ['sync.options'] = true, ['sync.checkPath'] = true,
}

-- Classes and tables that are nobody's outside their file.
local INTERNAL_OWNERS = {
  Watch = true, Pipeline = true, receive = true, listeners = true, owner = true, listening = true,
}

-- What Node does not have.
local OWN = {
  ['Socket:peek'] = true, ['Request:cancel'] = true, ['cluster.reload'] = true, ['util.isArray'] = true,
  ['events:extend'] = true,
}

---@return { name: string, parameters: string[], comment: string, body: string, line: integer }[]
local function functions(path)
  local found, comment, number = {}, {}, 0
  local current
  for line in (fs.readFileSync(path, 'utf8') .. '\n'):gmatch('([^\n]*)\n') do
    number = number + 1
    local indent, name, list = line:match('^(%s*)function ([%w_]+[.:][%w_]+)%((.-)%)')
    if name then
      current = { name = name, comment = table.concat(comment, '\n'), body = '', line = number, parameters = {},
        last = '^' .. indent .. 'end$' }
      for parameter in list:gmatch('[^%s,]+') do
        table.insert(current.parameters, parameter)
      end
      table.insert(found, current)
    elseif current then
      current.body = current.body .. line .. '\n'
      current = not line:find(current.last) and current or nil
    end
    comment = line:find('^%s*%-%-%-') and comment or {}
    table.insert(comment, line)
  end
  return found
end

local function isPublic(fn)
  local member = fn.name:match('[.:](.*)$')
  return not member:find('^_') and not INTERNAL[fn.name] and not INTERNAL_OWNERS[fn.name:match('^%w+')]
    and not fn.comment:find('---@package', 1, true)
    and not fn.name:find('^PROPERTIES%.') and not fn.name:find('^viewMetatable%.') and not fn.name:find('^cls:')
end

local function missing(fn)
  local lacks, comment = {}, fn.comment
  for _, parameter in ipairs(fn.parameters) do
    local tag = '---@param ' .. parameter
    if parameter ~= '...' and not comment:find(tag .. ' ', 1, true) and not comment:find(tag .. '? ', 1, true) then
      table.insert(lacks, '@param ' .. parameter)
    end
  end
  local constructor = fn.name:find(':init$')
  if not comment:find('%-%-%- ?%u') and not constructor then
    table.insert(lacks, 'a sentence')
  end
  if fn.body:find('%f[%w]return [^\n]*%w') and not comment:find('---@return', 1, true) then
    table.insert(lacks, '@return')
  end
  if (fn.body:find('error(', 1, true) or fn.body:find('validate.', 1, true)) and not comment:find('ERR_', 1, true)
    and not comment:find('aise', 1, true) then
    table.insert(lacks, 'what it raises')
  end
  if not comment:find('---@source', 1, true) and not OWN[fn.name] then
    table.insert(lacks, '@source')
  end
  return lacks
end

describe('the annotations', function()
  for _, path in ipairs(FILES) do
    it('say everything about the functions of ' .. path, function()
      local problems = {}
      for _, fn in ipairs(functions(path)) do
        local lacks = isPublic(fn) and missing(fn) or {}
        if #lacks > 0 then
          table.insert(problems, ('%s:%d: %s lacks %s'):format(path, fn.line, fn.name, table.concat(lacks, ', ')))
        end
      end
      assert.equal('', table.concat(problems, '\n'))
    end)
  end
end)

local fs = require 'fs'
local spec = require 'moonlatch.spec'
local tls = require 'tls'

--- The fenced blocks of a language in a Markdown file.
local function blocks(path, language)
  local text, found = '\n' .. fs.readFileSync(path, 'utf8'), {}
  for block in text:gmatch('\n```' .. language .. '\n(.-\n)```') do
    found[#found + 1] = block
  end
  return found
end

--- A block as a function, with `modules` in place of what require would give.
local function chunk(block, modules)
  local fn = assert(loadstring(block, '=README.md'))
  local function requireOr(name)
    return modules[name] or require(name)
  end
  return setfenv(fn, setmetatable({ require = requireOr }, { __index = _G }))
end

local PAGES = { 'README.md', 'docs/getting-started.md', 'docs/errors.md', 'docs/architecture.md',
  'docs/handshake.md', 'docs/benchmarks.md', 'docs/transports.md' }

describe('README.md', function()
  local README = blocks('README.md', 'lua')

  it('holds Lua that compiles, as do the pages under docs/', function()
    assert.is_true(#README >= 3)
    for _, path in ipairs(PAGES) do
      for _, block in ipairs(blocks(path, 'lua')) do
        assert(loadstring(block, '=' .. path))
      end
    end
  end)

  it('links to files that exist, as do the pages under docs/', function()
    for _, path in ipairs(PAGES) do
      local directory = path:match('^.*/') or ''
      for target in fs.readFileSync(path, 'utf8'):gmatch('%]%(([^)#:]+)%)') do
        assert.is_true(fs.existsSync(directory .. target), path .. ' links to ' .. target)
      end
    end
  end)

  it('opens with a server that echoes', spec.async(function(done, expect)
    local ca = spec.ca()
    local leaf = ca:issue()
    local files = { ['server-key.pem'] = leaf.key, ['server-cert.pem'] = leaf.cert }
    local server

    local function talk()
      local received = ''
      local socket = tls.connect { port = server:address().port, host = 'localhost', ca = ca.cert }
      socket:setEncoding('utf8')
      socket:on('data', function(text)
        received = received .. text
        if received == 'welcome!\nback and forth\n' then
          socket:finish()
        end
      end)
      socket:on('close', expect(function()
        server:close(done)
      end))
      socket:write('back and forth\n')
    end

    -- The block listens on a fixed port, which may be taken: any free one does.
    local function createServer(...)
      server = tls.createServer(...)
      local listen = server.listen
      function server:listen()
        return listen(self, 0, 'localhost', talk)
      end
      return server
    end

    chunk(README[1], {
      fs = { readFileSync = function(path) return assert(files[path]) end },
      tls = setmetatable({ createServer = createServer }, { __index = tls }),
    })()
  end))

  it('shows a spec that passes', function()
    local names = {}
    local env = {
      assert = assert,
      describe = function(_, body) body() end,
      it = function(name, body)
        names[#names + 1] = name
        body()
      end,
    }
    local fn = assert(loadstring(README[3], '=README.md'))
    setfenv(fn, setmetatable(env, { __index = _G }))()
    assert.same({ 'greets' }, names)
  end)
end)

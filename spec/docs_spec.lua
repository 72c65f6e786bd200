-- The programs on the pages under docs/ do what the pages say.

local fs = require 'fs'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local tls = require 'tls'

-- Pages whose every program can be run, in order, in one empty directory. What follows a program in a block of text is
-- what it prints.
local PAGES = {
  'docs/contexts-and-trust.md', 'docs/ocsp.md', 'docs/sessions.md', 'docs/transports.md', 'docs/api/stream.md',
  'docs/api/net.md', 'docs/api/dns.md', 'docs/api/timers.md', 'docs/api/process.md', 'docs/api/events.md',
  'docs/api/fs.md', 'docs/api/cluster.md', 'docs/api/crypto.md', 'docs/api/util.md', 'docs/api/console.md',
  'docs/api/string_decoder.md', 'docs/api/README.md',
}

---@return { code: string, name?: string, output?: string }[]
local function programs(path)
  local text, found = fs.readFileSync(path, 'utf8'), {}
  for code, rest in text:gmatch('\n```lua\n(.-\n)```()') do
    found[#found + 1] = {
      code = code,
      name = code:match('^%-%- ([%w_-]+%.lua)\n'),
      output = text:match('^\n```text\n(.-)```', rest),
    }
  end
  return found
end

local function run(directory, name)
  return program.shell(('cd %s && exec env -u MOONLATCH_EXTRA_CA_CERTS -u NODE_EXTRA_CA_CERTS %s %s'):format(
    program.quote(directory), program.quote(program.path), program.quote(name)))
end

for _, path in ipairs(PAGES) do
  describe(path, function()
    local directory

    setup(function()
      directory = spec.tempdir()
    end)

    teardown(function()
      spec.remove(directory)
    end)

    for i, each in ipairs(programs(path)) do
      local name = each.name or ('program%d.lua'):format(i)
      it(('holds %s, which prints what it should'):format(name), function()
        fs.writeFileSync(directory .. '/' .. name, each.code)
        local outcome = run(directory, name)
        assert.equal('', outcome.err)
        assert.equal(0, outcome.status)
        assert.equal(each.output or '', outcome.out)
      end)
    end
  end)
end

-- Text without blocks of code, in which other things look like links and headings.
local function prose(path)
  return ('\n' .. fs.readFileSync(path, 'utf8')):gsub('\n```.-\n```', '')
end

-- The anchors that a page's headings get: small letters, hyphens for spaces, and of the rest only what stands in words.
local anchors = {}
local function anchorsOf(path)
  if not anchors[path] then
    anchors[path] = {}
    for heading in prose(path):gmatch('\n#+ ([^\n]*)') do
      local anchor = heading:gsub('%b[]%b()', function(link)
        return link:match('%[(.*)%]')
      end):lower():gsub('[^%w _-]', ''):gsub(' ', '-')
      anchors[path][anchor] = true
    end
  end
  return anchors[path]
end

local function files(directory, pattern, into)
  for _, name in ipairs(fs.readdirSync(directory)) do
    local path = directory .. '/' .. name
    if fs.statSync(path):isDirectory() then
      files(path, pattern, into)
    elseif name:find(pattern) then
      into[#into + 1] = path
    end
  end
  return into
end

describe('links', function()
  for _, path in ipairs(files('docs', '%.md$', { './README.md', './CHANGELOG.md' })) do
    it('lead from ' .. path .. ' to pages and headings that are there', function()
      local directory = path:match('^(.*)/')
      for link in prose(path):gsub('`[^`\n]*`', ''):gmatch('%]%(([^)%s]+)%)') do
        local file, anchor = link:match('^([^#]*)#?(.*)$')
        if not link:find('^https?:') then
          local target = file == '' and path or fs.realpathSync(directory .. '/' .. file)
          assert.truthy(anchor == '' or anchorsOf(target)[anchor], link)
        end
      end
    end)
  end
end)

describe('codes of errors', function()
  local sources = {}
  for _, directory in ipairs { 'lua', 'bindings', 'runtime' } do
    for _, path in ipairs(files(directory, '%.[chl][ua]*$', {})) do
      sources[#sources + 1] = fs.readFileSync(path, 'utf8')
    end
  end
  sources = table.concat(sources)

  -- OpenSSL's are made of what it says.
  for _, path in ipairs(files('docs', '%.md$', { 'README.md' })) do
    it('that ' .. path .. ' names are some', function()
      for code in fs.readFileSync(path, 'utf8'):gmatch('`(ERR_[%u%d_]+)`') do
        if not code:find('^ERR_SSL_') and not code:find('^ERR_OSSL_') then
          local whole, name = '%f[%w_]' .. code .. '%f[^%w_]', '"' .. code:sub(5) .. '"'
          assert.truthy(sources:find(whole) or sources:find(name, 1, true), code)
        end
      end
    end)
  end
end)

describe('docs/api/tls.md', function()
  local page = fs.readFileSync('docs/api/tls.md', 'utf8')

  -- What the headings of a level name, "tls.connect" or "server:addContext", as a set.
  local function headed(pattern)
    local names = {}
    for name in page:gmatch(pattern) do
      names[name] = true
    end
    return names
  end

  it('has a section for every name of the module, and for no other', function()
    local expected = { rootCertificates = true }
    for name in pairs(tls) do
      expected[name] = true
    end
    assert.same(expected, headed '\n### tls%.([%w_]+)')
  end)

  -- Classes do not list their methods; the sources do.
  local function methods(class, ...)
    local names = {}
    for _, path in ipairs { ... } do
      for name in fs.readFileSync(path, 'utf8'):gmatch('function ' .. class .. ':(%l%w*)%(') do
        names[name] = name ~= 'init' and name ~= 'emit' or nil
      end
    end
    return names
  end

  it('has a section for every method of a server', function()
    assert.same(methods('Server', 'lua/moonlatch/tls/server.lua'), headed '\n#### server:(%w+)')
  end)

  it('has a section for every method of a socket', function()
    assert.same(methods('TLSSocket', 'lua/moonlatch/tls/socket.lua', 'lua/moonlatch/tls/socket_facts.lua',
      'lua/moonlatch/tls/renegotiation.lua', 'lua/moonlatch/tls/post_handshake.lua'), headed '\n#### socket:(%w+)')
  end)

  it('has a row for every option of a context', function()
    local expected, found = {}, {}
    local annotations = fs.readFileSync('lua/moonlatch/tls/options.lua', 'utf8')
    for name in annotations:match('class tls%.SecureContextOptions\n(.-)\n\n'):gmatch('%-%-%-@field (%w+)') do
      expected[name] = true
    end
    for row in page:match('\n| option | type | meaning | raises |\n(.-)\n\n'):gmatch('| (`[^|]*) |[^\n]*') do
      for name in row:gmatch('`(%w+)`') do
        found[name] = true
      end
    end
    assert.same(expected, found)
  end)
end)

describe('docs/api/crypto-ocsp.md', function()
  local page = fs.readFileSync('docs/api/crypto-ocsp.md', 'utf8')

  it('has a section for every function, and for no other', function()
    local expected, found = {}, {}
    for name in pairs(require('crypto').ocsp) do
      expected[name] = true
    end
    for name in page:gmatch('\n### crypto%.ocsp%.(%w+)') do
      found[name] = true
    end
    assert.same(expected, found)
  end)

  it('has a row for every field', function()
    local expected, found = {}, {}
    local annotations = fs.readFileSync('lua/moonlatch/crypto/ocsp.lua', 'utf8')
    for name in annotations:gmatch('%-%-%-@field (%w+)') do
      expected[name] = true
    end
    for row in page:gmatch('\n| (`[^|]*) | `[%w?`, ]+ | ') do
      for name in row:gmatch('`(%w+)`') do
        found[name] = true
      end
    end
    assert.same(expected, found)
  end)
end)

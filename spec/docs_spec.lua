-- The programs on the pages under docs/ do what the pages say.

local fs = require 'fs'
local process = require 'process'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'

-- Pages whose every program can be run, in order, in one empty directory. What follows a program in a block of text is
-- what it prints.
local PAGES = { 'docs/contexts-and-trust.md' }

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
    program.quote(directory), program.quote(process.execPath), program.quote(name)))
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

--- What a page under docs/api/ names, and what the modules and the annotations in lua/ have.
---
--- A page names functions of its module in headings (`### net.connect(...)`) or in the first column of a table; what
--- belongs to a class stands below `## net.Socket`: `#### socket:peek(size, callback)` and the rows of tables whose
--- first column is called method, property or event. Options are the rows of a table whose first column is called
--- option. A second column called "with a callback" names functions too.

local fs = require 'fs'

local reference = {}

-- ---- Pages ----

local function addWords(set, cell, pattern)
  for word in cell:gmatch(pattern) do
    set[word] = true
  end
end

-- How names are written in the first column of each kind of table: within backticks, arguments behind them.
local COLUMNS = {
  method = '`([%w_]+)[^`]*`', property = '`([%w_]+)`', option = '`([%w_]+)`', event = "`'?([%w_]+)'?`",
  ['function'] = '`([%w_.]+)[^`]*`', value = '`([%w_.]+)`',
}

local function newSection()
  return { method = {}, property = {}, option = {}, event = {}, ['function'] = {}, value = {} }
end

---@class spec.Page
---@field sections table<string, table<string, table<string, true>>>  by heading, then by kind of name
---@field headings table<string, true>  every "module.name" in a heading of level 2 or 3

--- Reads a page. Sections are known by their headings, without arguments.
---@param path string
---@return spec.Page
function reference.page(path)
  local page = { sections = {}, headings = {} }
  local function section(name)
    page.sections[name] = page.sections[name] or newSection()
    return page.sections[name]
  end
  local current, class, kind, paired = section '', nil, nil, nil
  for line in (fs.readFileSync(path, 'utf8') .. '\n'):gmatch('([^\n]*)\n') do
    local level, title = line:match('^(#+) (.*)')
    local first, second = line:match('^| ([^|]-) | ?([^|]*)')
    if level == '##' or level == '###' then
      current = section(title:match('^[^(]+'))
      class = level == '##' and current or class
      for name in title:gmatch('[%w_]+%.[%w_.]+') do
        page.headings[name] = true
      end
    elseif level == '####' then
      local event = title:match("^Event '([%w_]+)'")
      if event then
        class.event[event] = true
      else
        addWords(class.method, title, '[%w_]+:([%w_]+)')
      end
    end
    if first and COLUMNS[first] then
      kind, paired = first, second:find('^with a callback') ~= nil
    elseif not first then
      kind = nil
    elseif kind then
      local into = kind == 'option' and current or class or current
      addWords(into[kind], paired and first .. second or first, COLUMNS[kind])
    end
  end
  return page
end

-- ---- What there is ----

-- The getters of a class are upvalues of its metatable's __index.
local function getters(class)
  local index = class.metatable.__index
  local i = 1
  while type(index) == 'function' do
    local name, value = debug.getupvalue(index, i)
    if name == 'getters' or name == nil then
      return value or {}
    end
    i = i + 1
  end
  return {}
end

-- How subclasses are made; and the other key of finish.
local INTERNAL = { init = true, constructor = true, ['end'] = true }

local function collect(class)
  local methods, properties = {}, {}
  for name, value in pairs(getmetatable(class.prototype).__index) do
    if not name:find('^_') and not INTERNAL[name] then
      (type(value) == 'function' and methods or properties)[name] = true
    end
  end
  for name in pairs(getters(class)) do
    properties[name] = name:find('^_') == nil or nil
  end
  return methods, properties
end

--- The public methods and properties of a class that those it is made of do not have.
---@param class moonlatch.Class
---@param ... moonlatch.Class  whose names are not wanted
---@return table<string, true> methods
---@return table<string, true> properties
function reference.members(class, ...)
  local methods, properties = collect(class)
  for _, other in ipairs { ... } do
    local otherMethods, otherProperties = collect(other)
    for name in pairs(otherMethods) do
      methods[name] = nil
    end
    for name in pairs(otherProperties) do
      properties[name] = nil
    end
  end
  return methods, properties
end

local function sources(directory, into)
  for _, name in ipairs(fs.readdirSync(directory)) do
    local path = directory .. '/' .. name
    if fs.statSync(path):isDirectory() then
      sources(path, into)
    elseif name:find('%.lua$') then
      into[#into + 1] = fs.readFileSync(path, 'utf8')
    end
  end
  return into
end

local everything

--- The fields that the annotation of a class lists, of all places where it stands.
---@param class string  "net.SocketOptions"
---@return table<string, true>
function reference.fields(class)
  everything = everything or table.concat(sources('lua', {}), '\n') .. '\n'
  local found, known = {}, false
  for rest in everything:gmatch('%-%-%-@class ' .. class:gsub('%p', '%%%0') .. '%f[^%w.]()') do
    known = true
    local at = everything:find('\n', rest, true) + 1
    while true do
      local line = everything:match('^[^\n]*', at)
      local name = line:match('^%-%-%-@field ([%w_]+)[? ]')
      if not line:find('^%-%-%-') then
        break
      elseif name and name ~= 'package' then
        found[name] = true
      end
      at = at + #line + 1
    end
  end
  assert(known, 'no annotation of ' .. class)
  return found
end

--- The events that files emit, as far as their names stand in the same line.
---@param paths string[]
---@param emitter? string  how it is called there; any when left out
---@return table<string, true>
function reference.events(paths, emitter)
  local found = {}
  local pattern = (emitter and '%f[%w]' .. emitter .. '[.:]' or '') .. "emit[^'\n]*'([%w_]+)'"
  for _, path in ipairs(paths) do
    for line in fs.readFileSync(path, 'utf8'):gmatch('[^\n]+') do
      local name = line:match(pattern)
      if name and not name:find('^_') and not line:find('^%s*%-%-') then
        found[name] = true
      end
    end
  end
  return found
end

--- The union of sets.
---@param ... table<string, true>
---@return table<string, true>
function reference.union(...)
  local all = {}
  for _, set in ipairs { ... } do
    for name in pairs(set) do
      all[name] = true
    end
  end
  return all
end

return reference

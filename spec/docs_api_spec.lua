-- The pages under docs/api/ name what there is, all of it, and nothing else.

local reference = require 'spec.support.reference'

---@class spec.Reference
---@field module? string      whose names the headings and tables hold, with the module's name before them
---@field hidden? string[]    names of the module that need no place
---@field more? string[]      names in headings that are not the module's own
---@field classes? table<string, { class: moonlatch.Class, without?: moonlatch.Class[], annotation?: string,
---  emitted?: string[], fields?: boolean, events?: string[] }>  by section
---@field options? table<string, string[]>  annotations that a table of options matches, by section

local PAGES = {}

local stream = require 'stream'
local EventEmitter = require('events').EventEmitter

local STREAM = 'lua/moonlatch/stream/'

PAGES['stream.md'] = {
  module = 'stream',
  more = { 'Readable.from', 'Duplex.from' },
  classes = {
    ['stream.Readable'] = {
      class = stream.Readable, annotation = 'Readable', own = { 'on', 'addListener', 'off', 'removeListener',
        'removeAllListeners', 'pipe' }, without = { EventEmitter },
      emitted = { STREAM .. 'readable.lua', STREAM .. 'flow.lua', STREAM .. 'destroy.lua' },
    },
    ['stream.Writable'] = {
      class = stream.Writable, annotation = 'Writable', own = { 'pipe' }, without = { EventEmitter },
      emitted = { STREAM .. 'writable.lua', STREAM .. 'pipe.lua', STREAM .. 'destroy.lua' },
    },
    ['stream.Duplex'] = {
      class = stream.Duplex, annotation = 'Duplex', without = { stream.Readable, stream.Writable }, emitted = {},
    },
    ['stream.Transform'] = { class = stream.Transform, without = { stream.Duplex }, emitted = {} },
  },
  options = {
    ['Options of Readable'] = { 'stream.ReadableOptions' }, ['Options of Writable'] = { 'stream.WritableOptions' },
    ['Options of Duplex'] = { 'stream.DuplexOptions' }, ['Options of Transform'] = { 'stream.TransformOptions' },
    ['stream.finished'] = { 'stream.FinishedOptions' },
  },
}

local net = require 'net'

PAGES['net.md'] = {
  module = 'net',
  classes = {
    ['net.Server'] = {
      class = net.Server, annotation = 'net.Server', without = { EventEmitter },
      emitted = { 'lua/moonlatch/net/server.lua' },
    },
    ['net.Socket'] = {
      class = net.Socket, annotation = 'net.Socket', without = { stream.Duplex }, own = { 'pause', 'resume' },
      emitted = { 'lua/moonlatch/net/socket.lua', 'lua/moonlatch/net/socket_properties.lua',
        'lua/moonlatch/net/connecting.lua' },
    },
  },
  options = {
    ['net.createServer'] = { 'net.ServerOptions' }, ['net.connect'] = { 'net.ConnectOptions' },
    ['Options of listen'] = { 'net.ListenOptions' }, ['Options of Socket'] = { 'net.SocketOptions' },
  },
}

local function set(list)
  local found = {}
  for _, name in ipairs(list or {}) do
    found[name] = true
  end
  return found
end

-- The module's own names in the page, "net.connect" as "connect".
local function named(page, module)
  local found = {}
  for _, section in pairs(page.sections) do
    for name in pairs(section['function']) do
      found[name] = true
    end
  end
  local own = {}
  for name in pairs(reference.union(found, page.headings)) do
    own[name:match('^' .. module .. '%.([%w_]+)$') or name] = true
  end
  return own
end

local function publicNames(module, hidden)
  local names, out = set(hidden), {}
  for name in pairs(module) do
    if not names[name] and not name:find('^_') then
      out[name] = true
    end
  end
  return out
end

for path, expected in pairs(PAGES) do
  describe('docs/api/' .. path, function()
    local page = reference.page('docs/api/' .. path)

    if expected.module then
      it('names what the module has, and nothing else', function()
        local module = require(expected.module)
        assert.same(reference.union(publicNames(module, expected.hidden), set(expected.more)),
          named(page, expected.module))
      end)
    end

    for heading, entry in pairs(expected.classes or {}) do
      local section = page.sections[heading]

      it('names the methods of ' .. heading, function()
        local methods = reference.members(entry.class, unpack(entry.without or {}))
        assert.same(reference.union(methods, set(entry.own)), section.method)
      end)

      it('names the properties of ' .. heading .. ', as the annotations do', function()
        local _, properties = reference.members(entry.class, unpack(entry.without or {}))
        local fields = entry.annotation and reference.fields(entry.annotation) or {}
        assert.same(reference.union(properties, fields), section.property)
        assert.same(section.property, fields)
      end)

      it('names the events of ' .. heading, function()
        assert.same(reference.union(reference.events(entry.emitted), set(entry.events)), section.event)
      end)
    end

    for heading, annotations in pairs(expected.options or {}) do
      it(('has a row for every option under "%s"'):format(heading), function()
        local fields = {}
        for _, annotation in ipairs(annotations) do
          fields = reference.union(fields, reference.fields(annotation))
        end
        assert.same(fields, page.sections[heading].option)
      end)
    end
  end)
end

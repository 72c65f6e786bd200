-- The pages under docs/api/ name what there is, all of it, and nothing else.

local reference = require 'spec.support.reference'

---@class spec.Reference
---@field module? string      whose names the headings and tables hold, with the module's name before them
---@field hidden? string[]    names of the module that need no place
---@field more? string[]      names in headings that are not the module's own
---@field annotation? string  of the table of values
---@field classes? table<string, spec.ReferenceClass>  by section
---@field options? table<string, string[]>  annotations that a table of options matches, by section

---@class spec.ReferenceClass
---@field class? moonlatch.Class       whose methods and properties the section's tables and headings hold
---@field without? moonlatch.Class[]   but not those of these
---@field own? string[]                nor, of these, any but those
---@field annotation? string           the class's fields
---@field emitted? string[]            files whose events are the class's
---@field events? string[]             further ones

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

local dns = require 'dns'
local events = require 'events'
local timers = require 'timers'

PAGES['dns.md'] = {
  module = 'dns',
  classes = {
    ['dns.Resolver'] = { class = dns.Resolver, annotation = 'dns.Resolver' },
    ['dns.Request'] = { class = getmetatable(dns.lookup('127.0.0.1', print)).__class, annotation = 'dns.Request' },
  },
  more = { 'Request' },
  options = { ['dns.lookup'] = { 'dns.LookupOptions' }, ['dns.Resolver'] = { 'dns.ResolverOptions' } },
}

PAGES['timers.md'] = {
  module = 'timers',
  classes = {
    ['timers.Timeout'] = { class = timers.Timeout }, ['timers.Immediate'] = { class = timers.Immediate },
  },
}

PAGES['process.md'] = {
  module = 'process',
  more = { 'title', 'exitCode', 'stdin', 'stdout', 'stderr', 'connected', 'send', 'disconnect' },
  annotation = 'moonlatch.Process',
  classes = {
    Events = {
      emitted = { 'lua/process.lua', 'lua/moonlatch/program.lua', 'lua/moonlatch/process/warning.lua',
        'lua/moonlatch/cluster/worker.lua' },
      events = { 'SIGINT', 'SIGTERM', 'SIGHUP' },
    },
  },
}

PAGES['events.md'] = {
  module = 'events', hidden = { 'prototype', 'extend' },
  more = { 'defaultMaxListeners', 'AbortSignal.abort', 'AbortSignal.timeout', 'AbortSignal.any' },
  classes = {
    ['events.EventEmitter'] = {
      class = EventEmitter, annotation = 'EventEmitter', emitted = { 'lua/moonlatch/emitter.lua' },
    },
    ['events.AbortController'] = { class = events.AbortController, annotation = 'AbortController' },
    ['events.AbortSignal'] = { class = events.AbortSignal, annotation = 'AbortSignal' },
  },
  options = { ['events.on'] = { 'events.OnOptions' } },
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
    found = reference.union(found, section['function'], section.value)
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

    if expected.annotation then
      it('has values with annotations', function()
        local values = {}
        for name in pairs(page.sections.Values.value) do
          values[name:match('[^.]+$')] = true
        end
        assert.same(reference.fields(expected.annotation), values)
      end)
    end

    if expected.module then
      it('names what the module has, and nothing else', function()
        local module = require(expected.module)
        assert.same(reference.union(publicNames(module, expected.hidden), set(expected.more)),
          named(page, expected.module))
      end)
    end

    for heading, entry in pairs(expected.classes or {}) do
      local section = page.sections[heading]

      it('names the events of ' .. heading, function()
        assert.same(reference.union(reference.events(entry.emitted or {}), set(entry.events)), section.event)
      end)

      if not entry.class then
        return
      end

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

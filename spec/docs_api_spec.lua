-- The pages under docs/api/ name what there is, all of it, and nothing else.

local reference = require 'spec.support.reference'

---@class spec.Reference
---@field module? string      whose names the headings and tables hold, with the module's name before them
---@field source? string      a file besides the module's own where its functions are
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
---@field emitter? string              how it is called there
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
      emitted = { STREAM .. 'writable.lua', STREAM .. 'finishing.lua', STREAM .. 'pipe.lua', STREAM .. 'destroy.lua' },
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
        'lua/moonlatch/net/connecting.lua', 'lua/moonlatch/net/ending.lua' },
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
    ['dns.Request'] = { class = dns.lookup('127.0.0.1', function() end).constructor, annotation = 'dns.Request' },
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
  module = 'process', source = 'lua/moonlatch/process/warning.lua',
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

local cluster = require 'cluster'
local crypto = require 'crypto'
local fs = require 'fs'
local StringDecoder = require('string_decoder').StringDecoder

local Transform = stream.Transform

PAGES['fs.md'] = {
  module = 'fs', source = 'lua/moonlatch/fs/sync.lua', more = { 'ReadStream', 'WriteStream', 'FSWatcher' },
  hidden = { 'F_OK', 'R_OK', 'W_OK', 'X_OK', 'ReadStream', 'WriteStream', 'FSWatcher' },
  classes = {
    ['fs.Stats'] = { class = fs.Stats, annotation = 'fs.Stats' },
    ['fs.FSWatcher'] = {
      class = fs.FSWatcher, without = { EventEmitter }, emitted = { 'lua/moonlatch/fs/watcher.lua' },
    },
  },
  options = {
    ['fs.watch'] = { 'fs.WatchOptions' },
    ['fs.createReadStream'] = { 'fs.StreamOptions' },
  },
}

PAGES['cluster.md'] = {
  module = 'cluster', more = { 'worker' },
  classes = {
    ['In the primary'] = { emitted = { 'lua/moonlatch/cluster/primary.lua' }, emitter = 'cluster' },
    ['cluster.Worker'] = {
      class = cluster.Worker, annotation = 'cluster.Worker', without = { EventEmitter },
      emitted = { 'lua/moonlatch/cluster/primary.lua', 'lua/moonlatch/cluster/common.lua' }, emitter = 'worker',
      events = { 'exit' },
    },
  },
  options = { ['Options of setupPrimary'] = { 'cluster.Settings' } },
}

PAGES['crypto.md'] = {
  module = 'crypto',
  classes = {
    ['crypto.Hash'] = { class = crypto.Hash, without = { Transform } },
    ['crypto.Hmac'] = { class = crypto.Hmac, without = { Transform } },
    ['crypto.KeyObject'] = { class = crypto.KeyObject, annotation = 'crypto.KeyObject' },
    ['crypto.X509Certificate'] = { class = crypto.X509Certificate, annotation = 'crypto.X509Certificate' },
  },
  options = { ['Options of checkHost'] = { 'crypto.CheckOptions' } },
}

PAGES['util.md'] = {
  module = 'util',
  more = { 'util.types.isArray', 'util.types.isClass', 'util.types.isCoroutine', 'util.types.isExternal',
    'util.types.isNativeError' },
  options = { ['Options of inspect'] = { 'util.InspectOptions' } },
}

PAGES['console.md'] = { module = 'console', options = { ['console.Console'] = { 'console.Options' } } }

PAGES['string_decoder.md'] = {
  module = 'string_decoder',
  classes = { ['string_decoder.StringDecoder'] = { class = StringDecoder, annotation = 'StringDecoder' } },
}

local TLS = 'lua/moonlatch/tls/'

-- Its names are headings, which spec/docs_spec.lua looks at.
PAGES['tls.md'] = {
  classes = {
    Connections = {
      emitted = { TLS .. 'socket.lua', TLS .. 'sessions.lua' },
      events = { 'clientHello', 'OCSPRequest', 'resumeSession' },
    },
  },
  options = {
    ['tls.connect'] = { 'tls.ConnectOptions' }, ['tls.createServer'] = { 'tls.ServerOptions' },
    ['tls.TLSSocket'] = { 'tls.TLSSocketOptions' },
  },
}

-- Modules whose annotation has another name.
local ANNOTATED = { process = 'moonlatch.Process', console = 'Console' }

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

describe('docs/api/README.md', function()
  local index = fs.readFileSync('docs/api/README.md', 'utf8')

  it('leads to every page', function()
    for _, name in ipairs(fs.readdirSync('docs/api')) do
      assert.truthy(name == 'README.md' or index:find('](' .. name .. ')', 1, true), name)
    end
  end)

  it('names every module that scripts can require', function()
    for _, name in ipairs(fs.readdirSync('lua')) do
      local module = name:match('^(.*)%.lua$')
      assert.truthy(not module or index:find('| `' .. module .. '` |', 1, true)
        or index:find('| [' .. module .. '](', 1, true), name)
    end
  end)

  it('names every global, as the definitions for the Lua language server do', function()
    local globals, definitions = {}, fs.readFileSync('docs/luals/globals.lua', 'utf8')
    require('moonlatch.globals').install(globals)
    globals.ipairs = nil
    for name in pairs(globals) do
      assert.truthy(index:find('`' .. name .. '`', 1, true), name)
      assert.truthy(definitions:find('\n' .. name .. ' = ') or definitions:find('\nfunction ' .. name .. '%('), name)
    end
  end)
end)

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

    if expected.module then
      it('is about names that the Lua language server sees', function()
        local source = ''
        for _, file in ipairs { ('lua/%s.lua'):format(expected.module), expected.source } do
          source = source .. fs.readFileSync(file, 'utf8')
        end
        local fields = reference.fields(ANNOTATED[expected.module] or expected.module)
        local unseen = {}
        for name in pairs(publicNames(require(expected.module), expected.hidden)) do
          if not (fields[name] or source:find('\n  ' .. name .. ' = ', 1, true)
            or source:find('%f[^\n%s][%w_]+%.' .. name .. ' =')
            or source:find('function [%w_]+%.' .. name .. '%(')) then
            unseen[#unseen + 1] = name
          end
        end
        table.sort(unseen)
        assert.equal('', table.concat(unseen, ' '))
      end)
    end

    for heading, entry in pairs(expected.classes or {}) do
      local section = page.sections[heading]

      it('names the events of ' .. heading, function()
        local emitted = reference.events(entry.emitted or {}, entry.emitter)
        assert.same(reference.union(emitted, set(entry.events)), section.event)
      end)

      if entry.class then
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

-- Whatever a script hands over: what is wrong with it is said in an Error, never in Lua's own words from inside.
local class = require 'moonlatch.class'
local crypto = require 'crypto'
local errors = require 'moonlatch.errors'
local events = require 'events'
local net = require 'net'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'

local function nothing() end

local JUNK = {
  false, true, 0, -1, 1.5, 0 / 0, 1 / 0, 2 ^ 53, 'x', '', 'a\0b', {}, { 1 }, nothing, coroutine.create(nothing),
  newproxy(),
}

-- What takes anything by design, and what rightly warns.
local PASSED_OVER = {
  init = true, emit = true, wrap = true, extend = true, setMaxListeners = true, setTimeout = true, setOptions = true,
  createSecurePair = true, createCredentials = true,
}

local function methodsOf(object)
  local names, prototype = {}, class.of(object).prototype
  while prototype do
    for name, method in pairs(prototype) do
      if type(method) == 'function' and not name:find '^_' and not PASSED_OVER[name] then
        names[name] = true
      end
    end
    local super = getmetatable(prototype)
    prototype = super and type(super.__index) == 'table' and super.__index or nil
  end
  return names
end

local function dispose(object)
  if type(object) ~= 'table' then
    return
  elseif object.on then
    object:on('error', function() end)
  end
  if object.destroy then
    object:destroy()
  elseif object.close then
    pcall(object.close, object)
  end
end

-- Calls `fn(make(), …)` with junk in each of the first places; nothing but an Error may be raised.
local function tryJunk(name, make, fn)
  for i = 1, #JUNK do
    local other = JUNK[i * 7 % #JUNK + 1]
    for _, arguments in ipairs { { JUNK[i] }, { JUNK[i], other }, { 'x', JUNK[i], other } } do
      local object = make()
      if type(object) == 'table' and object.on then
        object:on('error', function() end)
      end
      local ok, result = pcall(fn, object, unpack(arguments, 1, 3))
      assert(ok or errors.isError(result),
        ('%s(%s): %s'):format(name, tostring(arguments[#arguments]), tostring(result)))
      if ok and result ~= object then
        dispose(result)
      end
      dispose(object)
    end
  end
end

describe('misuse of', function()
  local identity = spec.selfSigned()
  local secureContext = tls.createSecureContext { key = identity.key, cert = identity.cert }

  local kinds = {
    ['a net.Socket'] = function()
      return net.Socket()
    end,
    ['a tls.TLSSocket'] = function()
      return tls.TLSSocket(nil, { secureContext = secureContext })
    end,
    ['a tls.TLSSocket over a Duplex'] = function()
      return tls.TLSSocket(stream.PassThrough(), { secureContext = secureContext })
    end,
    ['a net.Server'] = function()
      return net.createServer()
    end,
    ['a tls.Server'] = function()
      return tls.createServer { secureContext = secureContext }
    end,
    ['a Readable'] = function()
      return stream.Readable { read = function() end }
    end,
    ['a Writable'] = function()
      return stream.Writable { write = function(_, _, _, callback) callback() end }
    end,
    ['a Transform'] = function()
      return stream.PassThrough()
    end,
    ['an EventEmitter'] = function()
      return events.EventEmitter()
    end,
    ['a certificate'] = function()
      return crypto.X509Certificate(identity.cert)
    end,
    ['a hash'] = function()
      return crypto.createHash 'sha256'
    end,
    ['a key'] = function()
      return crypto.createPrivateKey(identity.key)
    end,
  }
  for kind, make in pairs(kinds) do
    it(kind .. ' is an Error', spec.async(function(done)
      local sample = make()
      for name in pairs(methodsOf(sample)) do
        tryJunk(name, make, function(object, ...)
          return object[name](object, ...)
        end)
      end
      dispose(sample)
      require('timers').setImmediate(done)
    end))
  end

  local modules = { net = net, tls = tls, crypto = crypto, stream = stream, events = events }
  for module, functions in pairs(modules) do
    it('the functions of ' .. module .. ' is an Error', spec.async(function(done)
      for name, fn in pairs(functions) do
        if errors.validate.isCallable(fn) and not name:find '^_' and not PASSED_OVER[name] then
          tryJunk(name, function() end, function(_, ...)
            return fn(...)
          end)
        end
      end
      require('timers').setImmediate(done)
    end))
  end
end)

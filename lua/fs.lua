--- Files, as Node's `fs`: the synchronous functions, the same with callbacks, streams and watching.
--- There are no threads behind the callbacks: the work is done in an immediate, and then the
--- callback is called.

local errors = require 'moonlatch.errors'
local setImmediate = require('moonlatch.immediate').setImmediate
local sync = require 'moonlatch.fs.sync'

local pcall, select, unpack, type = pcall, select, unpack, type

---@class fs : moonlatch.fs.sync
---@field ReadStream moonlatch.Class
---@field WriteStream moonlatch.Class
---@field FSWatcher moonlatch.Class
---@field readFile fun(file: string|integer, options?: string|table|function, callback?: function)
---@field writeFile fun(file: string|integer, data: string, options?: string|table|function, callback?: function)
---@field appendFile fun(file: string|integer, data: string, options?: string|table|function, callback?: function)
---@field access fun(path: string, mode?: integer|function, callback?: fun(err?: Error))
---@field stat fun(path: string, options?: table|function, callback?: fun(err?: Error, stats?: fs.Stats))
---@field lstat fun(path: string, options?: table|function, callback?: fun(err?: Error, stats?: fs.Stats))
---@field fstat fun(fd: integer, callback: fun(err?: Error, stats?: fs.Stats))
---@field unlink fun(path: string, callback: fun(err?: Error))
---@field rename fun(from: string, to: string, callback: fun(err?: Error))
---@field chmod fun(path: string, mode: integer|string, callback: fun(err?: Error))
---@field symlink fun(target: string, path: string, callback: fun(err?: Error))
---@field realpath fun(path: string, callback: fun(err?: Error, path?: string))
---@field mkdir fun(path: string, options?: table|integer|string|function, callback?: fun(err?: Error, first?: string))
---@field mkdtemp fun(prefix: string, callback: fun(err?: Error, path?: string))
---@field readdir fun(path: string, callback: fun(err?: Error, names?: string[]))
---@field rmdir fun(path: string, options?: table|function, callback?: fun(err?: Error))
---@field rm fun(path: string, options?: table|function, callback?: fun(err?: Error))
---@field open fun(path: string, flags?: string|integer|function, ...: any)
---@field close fun(fd: integer, callback: fun(err?: Error))
---@field read fun(fd: integer, length: integer, position?: integer|function, callback?: function)
---@field write fun(fd: integer, data: string, position?: integer|function, callback?: function)
local fs = {
  Stats = require 'moonlatch.fs.stats',
  F_OK = 0,
  R_OK = 4,
  W_OK = 2,
  X_OK = 1,
}
fs.constants = { F_OK = 0, R_OK = 4, W_OK = 2, X_OK = 1 }

for name, fn in pairs(sync) do
  if name:find('Sync$') then
    fs[name] = fn
  end
end

local function complete(callback, run, args)
  local result = { pcall(run, unpack(args, 1, args.n)) }
  if result[1] then
    callback(nil, result[2])
  else
    callback(result[2])
  end
end

-- The first argument is a path, and for these it may be a descriptor. A wrong type is raised at the
-- call, as the synchronous function does; what the system refuses goes to the callback.
local takesFd = {
  readFile = true, writeFile = true, appendFile = true, close = true, read = true, write = true,
  fstat = true,
}

local function withCallback(name, run)
  return function(...)
    local count = select('#', ...)
    local callback = count > 0 and (select(count, ...)) or nil
    errors.validate.func(callback, 'callback')
    local args = { n = count - 1, ... }
    if not (takesFd[name] and type(args[1]) == 'number') then
      sync.checkPath(args[1], name == 'mkdtemp' and 'prefix' or 'path')
    end
    if (name == 'writeFile' or name == 'appendFile') and type(args[2]) ~= 'string' then
      error(errors.argType('data', 'string', args[2]), 0)
    end
    setImmediate(complete, callback, run, args)
  end
end

for _, name in ipairs {
  'readFile', 'writeFile', 'appendFile', 'access', 'stat', 'lstat', 'fstat', 'unlink', 'rename', 'chmod',
  'symlink', 'realpath', 'mkdir', 'mkdtemp', 'readdir', 'rmdir', 'rm', 'open', 'close', 'read', 'write',
} do
  fs[name] = withCallback(name, sync[name .. 'Sync'])
end

-- Streams are loaded when they are first asked for: most programs read their certificates and need none.
local lazy = {
  ReadStream = function() return require('moonlatch.fs.streams').ReadStream end,
  WriteStream = function() return require('moonlatch.fs.streams').WriteStream end,
  FSWatcher = function() return require('moonlatch.fs.watcher').FSWatcher end,
}

---@class fs.StreamOptions
---@field fd? integer             an open file, in place of the path
---@field flags? string           'r' or 'w'
---@field mode? integer           of a file that is made
---@field encoding? string
---@field start? integer          the first byte
---@field end? integer            the last byte to read; `finish` is the same
---@field finish? integer
---@field highWaterMark? integer
---@field autoClose? boolean      true
---@field emitClose? boolean      true
---@field signal? AbortSignal

--- A stream of a file's contents, 64 KiB at a time; `start` and `end` are the first and the last byte.
---@param path? string  may be left out with options.fd
---@param options? string|fs.StreamOptions
---@return fs.ReadStream
---@source Node.js fs.createReadStream()
function fs.createReadStream(path, options)
  return fs.ReadStream(path, options)
end

--- A stream into a file.
---@param path? string
---@param options? string|fs.StreamOptions
---@return fs.WriteStream
---@source Node.js fs.createWriteStream()
function fs.createWriteStream(path, options)
  return fs.WriteStream(path, options)
end

---@class fs.WatchOptions
---@field persistent? boolean   false: as unref()
---@field signal? AbortSignal   closes it
---@field encoding? string      without effect: names are bytes
---@field recursive? boolean    refused: ERR_FEATURE_UNAVAILABLE_ON_PLATFORM

--- Watches a file or a directory.
---@param path string
---@param options? fs.WatchOptions
---@param listener? fun(event: 'change'|'rename', name: string)
---@return fs.FSWatcher
---@source Node.js fs.watch()
function fs.watch(path, options, listener)
  return require('moonlatch.fs.watcher').watch(path, options, listener)
end

return setmetatable(fs, {
  __index = function(self, name)
    local load = lazy[name]
    if load then
      local value = load()
      rawset(self, name, value)
      return value
    end
  end,
})

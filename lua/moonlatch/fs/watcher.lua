--- fs.watch: changes of a file, or of a directory's entries, as they happen.

local errors = require 'moonlatch.errors'
local EventEmitter = require('events').EventEmitter
local failure = require 'moonlatch.fs.failure'
local native = require 'moonlatch.native'
local sync = require 'moonlatch.fs.sync'
local tick = require 'moonlatch.tick'

---@class fs.FSWatcher : EventEmitter
local FSWatcher = EventEmitter:extend('FSWatcher')

native.handlers('watch', {
  change = function(self, kind, name)
    self:emit('change', kind, name)
  end,
})

---@param path string
---@source Node.js fs.FSWatcher
function FSWatcher:init(path)
  EventEmitter.init(self)
  local handle = native.fs.watch()
  failure.check('watch', path, nil, handle:start(self, path))
  self._handle = handle
end

--- Ends it, with 'close' in the next tick. A second call does nothing.
---@source Node.js watcher.close()
function FSWatcher:close()
  local handle = self._handle
  if not handle then
    return
  end
  self._handle = nil
  handle:close()
  tick.nextTick(self.emit, self, 'close')
end

require 'moonlatch.referenced'(FSWatcher)

local watcher = { FSWatcher = FSWatcher }

--- Watches a file or a directory. The watcher emits 'change'(event, name), with event 'change' or 'rename'.
---
--- Raises ERR_INVALID_ARG_TYPE, what the system says, and ERR_FEATURE_UNAVAILABLE_ON_PLATFORM for `recursive`: inotify
--- tells of the entries of one directory.
---@param path string
---@param options? fs.WatchOptions
---@param listener? fun(event: 'change'|'rename', name: string)
---@return fs.FSWatcher
---@source Node.js fs.watch()
function watcher.watch(path, options, listener)
  sync.checkPath(path, 'filename')
  if type(options) == 'function' then
    options, listener = nil, options
  end
  options = sync.options(options)
  local signal = errors.validate.abortSignal(options.signal, 'options.signal')
  if options.recursive then
    error(errors.codes.ERR_FEATURE_UNAVAILABLE_ON_PLATFORM('watch recursively'), 0)
  end
  local self = FSWatcher(path)
  if options.persistent == false then
    self:unref()
  end
  if listener then
    self:on('change', listener)
  end
  if signal then
    local function stop()
      self:close()
    end
    if signal.aborted then
      tick.nextTick(stop)
    else
      signal:addEventListener('abort', stop, { once = true })
      self:once('close', function()
        signal:removeEventListener('abort', stop)
      end)
    end
  end
  return self
end

return watcher

--- The synchronous functions of fs. They return what they find and raise Errors.

local encoding = require 'moonlatch.stream.encoding'
local errors = require 'moonlatch.errors'
local failure = require 'moonlatch.fs.failure'
local native = require 'moonlatch.native'
local Stats = require 'moonlatch.fs.stats'

local type, pcall, tonumber = type, pcall, tonumber
local check = failure.check
local system = native.fs
local validate = errors.validate

---@class moonlatch.fs.sync
local sync = {}

--- A path that can be given to the system.
local function checkPath(path, name)
  return validate.cString(path, name or 'path')
end
sync.checkPath = checkPath

--- options as a table: an encoding's name stands for { encoding = name }.
---@return table
function sync.options(options)
  if options == nil or type(options) == 'function' then
    options = {}
  elseif type(options) == 'string' then
    options = { encoding = options }
  elseif type(options) ~= 'table' then
    error(errors.argType('options', { 'string', 'Object' }, options), 0)
  end
  local name = options.encoding
  if name ~= nil and name ~= 'buffer' and not encoding.normalize(name) then
    error(errors.argValue('encoding', name, 'is invalid encoding'), 0)
  end
  return options
end

--- Bytes as the encoding of the options has them; without one, the bytes.
local function encode(bytes, options)
  local name = options.encoding
  if name == nil or name == 'buffer' then
    return bytes
  end
  return encoding.encode(bytes, encoding.normalize(name))
end

local function checkMode(mode, default)
  if mode == nil then
    return default
  end
  if type(mode) == 'string' then
    local number = mode:find('^[0-7]+$') and tonumber(mode, 8)
    if not number then
      error(errors.argValue('mode', mode,
        'must be a 32-bit unsigned integer or an octal string'), 0)
    end
    return number
  end
  return validate.integer(mode, 'mode', 0, 4294967295)
end

local function checkFlags(flags, default)
  if flags == nil then
    return default
  end
  if type(flags) == 'number' then
    return flags
  end
  if type(flags) ~= 'string' or not system.validFlags(flags) then
    error(errors.argValue('flags', flags), 0)
  end
  return flags
end

local function checkFd(fd)
  return validate.integer(fd, 'fd', 0, 2147483647)
end

--- Opens a file.
---@param path string
---@param flags? string|integer  'r' when left out
---@param mode? integer|string   0666
---@return integer fd
---@source Node.js fs.openSync()
function sync.openSync(path, flags, mode)
  return (check('open', path, nil,
    system.open(checkPath(path), checkFlags(flags, 'r'), checkMode(mode, 438))))
end

--- Closes a descriptor.
---@param fd integer
---@source Node.js fs.closeSync()
function sync.closeSync(fd)
  check('close', nil, nil, system.close(checkFd(fd)))
end

local function checkPosition(position)
  if position ~= nil then
    validate.integer(position, 'position')
  end
end

-- A string can be twice as long, if there is memory for it.
local LONGEST_READ = 2 ^ 30

--- At most `length` bytes, '' at the end of the file.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE, what the system says.
---@param fd integer
---@param length integer
---@param position? integer  where to read; where the last read ended when left out
---@return string
---@source Node.js fs.readSync()
function sync.readSync(fd, length, position)
  validate.integer(length, 'length', 0, LONGEST_READ)
  checkPosition(position)
  return (check('read', nil, nil, system.read(checkFd(fd), length, position)))
end

--- Writes all of `data`.
---
--- Raises ERR_INVALID_ARG_TYPE, what the system says.
---@param fd integer
---@param data string
---@param position? integer
---@return integer bytes
---@source Node.js fs.writeSync()
function sync.writeSync(fd, data, position)
  validate.string(data, 'data')
  checkPosition(position)
  return (check('write', nil, nil, system.write(checkFd(fd), data, position)))
end

-- Runs fn(fd) and closes what was opened for it, whatever happens.
local function withFile(file, flags, mode, fn)
  if type(file) == 'number' then
    return fn(checkFd(file))
  end
  local fd = sync.openSync(file, flags, mode)
  local ok, result = pcall(fn, fd)
  system.close(fd)
  if not ok then
    error(result, 0)
  end
  return result
end

--- The whole contents of a file, as bytes, or as text in an encoding.
---@param file string|integer  a path or a descriptor
---@param options? string|{ encoding?: string, flag?: string }
---@return string
---@source Node.js fs.readFileSync()
function sync.readFileSync(file, options)
  options = sync.options(options)
  local bytes = withFile(file, options.flag or 'r', nil, function(fd)
    return (check('read', nil, nil, system.readAll(fd)))
  end)
  return encode(bytes, options)
end

local function writeFile(file, data, options, flag)
  options = sync.options(options)
  if type(data) ~= 'string' then
    error(errors.argType('data', 'string', data), 0)
  end
  local name = options.encoding and encoding.normalize(options.encoding)
  if name then
    data = encoding.decode(data, name)
  end
  withFile(file, options.flag or flag, options.mode, function(fd)
    check('write', nil, nil, system.write(fd, data))
  end)
end

--- Replaces a file's contents.
---@param file string|integer
---@param data string
---@param options? string|{ encoding?: string, mode?: integer, flag?: string }
---@source Node.js fs.writeFileSync()
function sync.writeFileSync(file, data, options)
  writeFile(file, data, options, 'w')
end

--- Adds to the end of a file.
---@param file string|integer
---@param data string
---@param options? string|{ encoding?: string, mode?: integer, flag?: string }
---@source Node.js fs.appendFileSync()
function sync.appendFileSync(file, data, options)
  writeFile(file, data, options, 'a')
end

--- Never raises: what cannot be a path does not exist.
---@param path string
---@return boolean
---@source Node.js fs.existsSync()
function sync.existsSync(path)
  return type(path) == 'string' and not path:find('\0', 1, true) and system.access(path) ~= nil
end

--- Raises what the system says unless the process may do that with the file.
---@param path string
---@param mode? integer  F_OK, R_OK, W_OK, X_OK added up
---@source Node.js fs.accessSync()
function sync.accessSync(path, mode)
  if mode ~= nil then
    validate.integer(mode, 'mode', 0, 7)
  end
  check('access', path, nil, system.access(checkPath(path), mode))
end

local function statWith(name)
  return function(path, options)
    validate.options(options)
    local fields, kind, text, number = system[name](checkPath(path))
    if fields then
      return Stats(fields, kind)
    end
    if options and options.throwIfNoEntry == false and (kind == 'ENOENT' or kind == 'ENOTDIR') then
      return nil
    end
    error(failure.new(name, path, nil, kind, text, number), 0)
  end
end

---@type fun(path: string, options?: { throwIfNoEntry?: boolean }): fs.Stats
sync.statSync = statWith('stat')
---@type fun(path: string, options?: { throwIfNoEntry?: boolean }): fs.Stats
sync.lstatSync = statWith('lstat')

--- What stat(2) tells of an open file.
---@param fd integer
---@return fs.Stats
---@source Node.js fs.fstatSync()
function sync.fstatSync(fd)
  return Stats(check('fstat', nil, nil, system.fstat(checkFd(fd))))
end

--- Removes a file.
---@param path string
---@source Node.js fs.unlinkSync()
function sync.unlinkSync(path)
  check('unlink', path, nil, system.unlink(checkPath(path)))
end

--- Gives a file another name, in place of what has it.
---@param from string
---@param to string
---@source Node.js fs.renameSync()
function sync.renameSync(from, to)
  check('rename', from, to, system.rename(checkPath(from, 'oldPath'), checkPath(to, 'newPath')))
end

--- Sets a file's permissions.
---@param path string
---@param mode integer|string
---@source Node.js fs.chmodSync()
function sync.chmodSync(path, mode)
  check('chmod', path, nil, system.chmod(checkPath(path), checkMode(mode, 438)))
end

--- Makes a symbolic link to `target` at `path`.
---@param target string
---@param path string
---@source Node.js fs.symlinkSync()
function sync.symlinkSync(target, path)
  check('symlink', target, path, system.symlink(checkPath(target, 'target'), checkPath(path)))
end

--- The path without links and dots.
---@param path string
---@return string
---@source Node.js fs.realpathSync()
function sync.realpathSync(path)
  return (check('realpath', path, nil, system.realpath(checkPath(path))))
end

local function isDirectory(path)
  local _, kind = system.stat(path)
  return kind == 'directory'
end

-- mkdir -p: returns the first directory that had to be made.
local function makePath(path, mode)
  local result, code, text, number = system.mkdir(path, mode)
  if result then
    return path
  end
  if code == 'EEXIST' and isDirectory(path) then
    return nil
  end
  local parent = path:match('^(.*[^/])/+[^/]+/*$')
  if code ~= 'ENOENT' or not parent then
    error(failure.new('mkdir', path, nil, code, text, number), 0)
  end
  local first = makePath(parent, mode)
  return makePath(path, mode) and (first or path) or first
end

--- Makes a directory; with `recursive` those above it too, and none is no error.
---@param path string
---@param options? integer|string|{ recursive?: boolean, mode?: integer }
---@return string? first  with `recursive`: the first directory made
---@source Node.js fs.mkdirSync()
function sync.mkdirSync(path, options)
  checkPath(path)
  if type(options) ~= 'table' then
    options = { mode = options }
  end
  local mode = checkMode(options.mode, 511)
  if options.recursive then
    return makePath(path, mode)
  end
  check('mkdir', path, nil, system.mkdir(path, mode))
end

--- Makes a directory with a name of its own: the prefix and six random characters.
---@param prefix string
---@return string path
---@source Node.js fs.mkdtempSync()
function sync.mkdtempSync(prefix)
  return (check('mkdtemp', checkPath(prefix, 'prefix') .. 'XXXXXX', nil, system.mkdtemp(prefix)))
end

--- The names in a directory, sorted.
---@param path string
---@return string[]
---@source Node.js fs.readdirSync()
function sync.readdirSync(path)
  local names = check('scandir', path, nil, system.readdir(checkPath(path)))
  table.sort(names)
  return names
end

--- Removes an empty directory, or with `recursive` what it holds too.
---
--- Raises ERR_INVALID_ARG_TYPE, and what the system says.
---@param path string
---@param options? { recursive?: boolean }
---@source Node.js fs.rmdirSync()
function sync.rmdirSync(path, options)
  if validate.options(options) and options.recursive then
    sync.rmSync(path, { recursive = true })
    return
  end
  check('rmdir', path, nil, system.rmdir(checkPath(path)))
end

-- Removes what is at `path`; symbolic links are not followed.
local function removeTree(path)
  local _, kind = system.lstat(path)
  if kind ~= 'directory' then
    check('rm', path, nil, system.unlink(path))
    return
  end
  for _, name in ipairs((check('scandir', path, nil, system.readdir(path)))) do
    removeTree(path .. '/' .. name)
  end
  check('rm', path, nil, system.rmdir(path))
end

--- Removes a file, or with `recursive` a directory and what it holds; with `force` its absence is no error.
---
--- Raises what the system says, ERR_FS_EISDIR for a directory without `recursive`.
---@param path string
---@param options? { recursive?: boolean, force?: boolean }
---@source Node.js fs.rmSync()
function sync.rmSync(path, options)
  options = validate.options(options) or {}
  local fields, kind, text, number = system.lstat(checkPath(path))
  if not fields then
    if not (options.force and kind == 'ENOENT') then
      error(failure.new('rm', path, nil, kind, text, number), 0)
    end
  elseif kind ~= 'directory' then
    check('rm', path, nil, system.unlink(path))
  elseif options.recursive then
    removeTree(path)
  else
    error(errors.coded(errors.Error, 'ERR_FS_EISDIR',
      ('Path is a directory: rm returned EISDIR (is a directory) %s'):format(path),
      { path = path, syscall = 'rm', errno = 21 }), 0)
  end
end

return sync

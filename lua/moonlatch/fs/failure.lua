--- What a failed system call on a file becomes: "ENOENT: no such file or directory, open 'x'".

local errors = require 'moonlatch.errors'

local failure = {}

-- Where Node's words are not libc's.
local WORDS = {
  EEXIST = 'file already exists',
  EISDIR = 'illegal operation on a directory',
  ELOOP = 'too many symbolic links encountered',
  ENAMETOOLONG = 'name too long',
  ENOTSUP = 'operation not supported on socket',
  EXDEV = 'cross-device link not permitted',
  EBUSY = 'resource busy or locked',
  EIO = 'i/o error',
}

--- Builds the Error for what a function of native.fs returned after its nil.
---@param syscall string
---@param path? string
---@param dest? string
---@param code string     "ENOENT"
---@param text string     libc's words
---@param number integer  errno
---@return Error
function failure.new(syscall, path, dest, code, text, number)
  local words = WORDS[code] or text:sub(1, 1):lower() .. text:sub(2)
  local message = ('%s: %s, %s'):format(code, words, syscall)
  if path then
    message = ("%s '%s'"):format(message, path)
  end
  if dest then
    message = ("%s -> '%s'"):format(message, dest)
  end
  return errors.new(message, { code = code, errno = -number, syscall = syscall, path = path, dest = dest })
end

--- Passes on what a function of native.fs returned, or raises its failure.
---@param syscall string
---@param path? string
---@param dest? string
function failure.check(syscall, path, dest, value, ...)
  if value == nil then
    error(failure.new(syscall, path, dest, ...), 0)
  end
  return value, ...
end

return failure

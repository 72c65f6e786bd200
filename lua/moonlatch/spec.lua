--- What specs of asynchronous programs need, ours and those of our users: `require 'moonlatch.spec'` works
--- under busted and under any other runner, in the moonlatch program and in a stock luajit with the module.
---
---     local spec = require 'moonlatch.spec'
---
---     it('greets', spec.async(function(done, expect)
---       local ca = spec.ca()
---       local server = tls.createServer(ca:issue(), function(socket) socket:finish('hello') end)
---       …
---     end))

require 'moonlatch.bootstrap'

local await = require 'moonlatch.spec.await'
local certificates = require 'moonlatch.spec.certificates'
local command = require 'moonlatch.spec.command'
local handles = require 'moonlatch.spec.handles'
local native = require 'moonlatch.native'
local run = require 'moonlatch.spec.run'
local slowness = require 'moonlatch.spec.slowness'

---@class moonlatch.spec
local spec = {
  run = run.run,
  async = run.async,
  await = await.await,
  ca = certificates.ca,
  selfSigned = certificates.selfSigned,
  command = command.start,
  available = command.available,
  handles = handles,
  slowness = slowness,
}

--- Milliseconds that a test may take when it does not say.
---@param ms? number  sets it
---@return number
function spec.timeout(ms)
  run.timeout = ms or run.timeout
  return run.timeout
end

--- The function to give to `it`, for a test written as one coroutine: `fn(await, expect)`. The test is over
--- when it returns and all that was expected has come.
---@param fn fun(await: function, expect: function)
---@param options? moonlatch.spec.Options
---@return fun()
function spec.coroutine(fn, options)
  local all = { mustEnd = true }
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  return run.async(function(done, expect)
    await.start(fn, done, expect)
  end, all)
end

--- A new directory. Give it back with `spec.remove`, or name a function that gets it and after which it is
--- removed.
---@param fn? fun(path: string): ...
---@return string|any
function spec.tempdir(fn)
  local path, err = native.makeTempDirectory()
  if not path then
    error(err, 0)
  end
  if not fn then
    return path
  end
  local results = { pcall(fn, path) }
  spec.remove(path)
  if not results[1] then
    error(results[2], 0)
  end
  return unpack(results, 2)
end

--- Removes a directory with everything in it.
---@param path string
function spec.remove(path)
  local ok, err = native.removeTree(path)
  if not ok then
    error(err, 0)
  end
end

return spec

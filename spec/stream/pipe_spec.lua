local stream = require 'stream'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local source, idle = S.source, S.idle

local function sink(options, hold)
  options = options or {}
  local got, held = {}, {}
  options.write = function(_, chunk, _, callback)
    got[#got + 1] = chunk
    if hold then
      held[#held + 1] = callback
    else
      callback()
    end
  end
  return stream.Writable(options), got, held
end

local function record(target, ...)
  local log = {}
  for _, name in ipairs { ... } do
    target:on(name, function() log[#log + 1] = name end)
  end
  return log
end

describe('Readable:pipe', function()
  it('writes everything to the destination and finishes it', function()
    local dest, got = sink()
    local log = record(dest, 'pipe', 'unpipe', 'finish', 'close')
    assert.equal(dest, source({ 'a', 'b' }):pipe(dest))
    tick.drain()
    assert.same({ 'a', 'b' }, got)
    assert.same({ 'pipe', 'finish', 'unpipe', 'close' }, log)
  end)

  it('tells the destination who is piped into it, and who no longer', function()
    local src, dest = idle(), sink()
    local piped, unpiped
    dest:on('pipe', function(from) piped = from end)
    dest:on('unpipe', function(from) unpiped = from end)
    src:pipe(dest)
    src:unpipe(dest)
    assert.equal(src, piped)
    assert.equal(src, unpiped)
  end)

  it('leaves the destination open with end = false', function()
    local dest, got = sink()
    local src = source { 'a' }
    src:pipe(dest, { ['end'] = false })
    tick.drain()
    assert.same({ 'a' }, got)
    assert.is_false(dest.writableEnded)
    dest:write('b')
    assert.same({ 'a', 'b' }, got)
  end)

  it('pauses the source until the destination drains', function()
    local dest, got, held = sink({ highWaterMark = 1 }, true)
    local src = idle()
    src:pipe(dest)
    tick.drain()
    src:push('a')
    assert.is_true(src:isPaused())
    src:push('b')
    tick.drain()
    assert.same({ 'a' }, got)
    held[1]()
    tick.drain()
    assert.same({ 'a', 'b' }, got)
  end)

  it('waits at once when the destination is full already', function()
    local dest, got, held = sink({ highWaterMark = 1 }, true)
    dest:write('full')
    local src = idle()
    src:push('x')
    src:pipe(dest)
    tick.drain()
    assert.same({ 'full' }, got)
    held[1]()
    tick.drain()
    assert.same({ 'full', 'x' }, got)
  end)

  it('feeds several destinations at the pace of the slowest', function()
    local fast, fastGot = sink()
    local slow, slowGot, held = sink({ highWaterMark = 1 }, true)
    local src = idle()
    src:pipe(fast)
    src:pipe(slow)
    tick.drain()
    src:push('a')
    src:push('b')
    tick.drain()
    assert.same({ 'a' }, fastGot)
    assert.same({ 'a' }, slowGot)
    held[1]()
    tick.drain()
    assert.same({ 'a', 'b' }, fastGot)
    assert.same({ 'a', 'b' }, slowGot)
  end)

  it('waits for all destinations that are full', function()
    local one, oneGot, oneHeld = sink({ highWaterMark = 1 }, true)
    local two, _, twoHeld = sink({ highWaterMark = 1 }, true)
    local src = idle()
    src:pipe(one)
    src:pipe(two)
    tick.drain()
    src:push('a')
    src:push('b')
    tick.drain()
    oneHeld[1]()
    tick.drain()
    assert.same({ 'a' }, oneGot)
    twoHeld[1]()
    tick.drain()
    assert.same({ 'a', 'b' }, oneGot)
  end)

  it('goes on with the others when a full one is unpiped', function()
    local stuck = sink({ highWaterMark = 1 }, true)
    local free, got = sink()
    local src = idle()
    src:pipe(stuck)
    src:pipe(free)
    tick.drain()
    src:push('a')
    src:push('b')
    tick.drain()
    assert.same({ 'a' }, got)
    src:unpipe(stuck)
    tick.drain()
    assert.same({ 'a', 'b' }, got)
  end)

  it('finishes the destination of a source that has already ended', function()
    local src = source {}
    src:resume()
    tick.drain()
    local dest = sink()
    local log = record(dest, 'finish')
    src:pipe(dest)
    tick.drain()
    assert.same({ 'finish' }, log)
  end)

  it('chains', function()
    local upper = stream.Transform { transform = function(_, chunk, _, callback) callback(nil, chunk:upper()) end }
    local dest, got = sink()
    source({ 'a', 'b' }):pipe(upper):pipe(dest)
    tick.drain()
    assert.equal('AB', table.concat(got))
    assert.is_true(dest.writableFinished)
  end)

  it('echoes a Duplex into itself', function()
    local got = {}
    local duplex = stream.Duplex { read = function() end, write = function(_, chunk, _, callback)
      got[#got + 1] = chunk
      callback()
    end }
    duplex:pipe(duplex)
    tick.drain()
    duplex:push('a')
    duplex:push('b')
    duplex:push(nil)
    tick.drain()
    assert.same({ 'a', 'b' }, got)
    assert.is_true(duplex.writableFinished)
    assert.is_true(duplex.closed)
  end)

  it('passes objects', function()
    local object = {}
    local dest, got = sink { objectMode = true }
    source({ object, false, 1 }, { objectMode = true }):pipe(dest)
    tick.drain()
    assert.same({ object, false, 1 }, got)
  end)

  it('ends with an error of the destination, which is not swallowed', function()
    local src = idle()
    local dest = stream.Writable { write = function(_, _, _, callback) callback(errors.new('no')) end }
    src:pipe(dest)
    tick.drain()
    src:push('x')
    local _, err = pcall(tick.drain)
    assert.equal('no', err.message)
    tick.drain()
    assert.equal(0, src:listenerCount('data'))
  end)

  it('is undone before the destination\'s own error listeners run', function()
    local src, dest = idle(), sink()
    local pipes
    dest:on('error', function() pipes = #src._readableState.pipes end)
    src:pipe(dest)
    dest:destroy(errors.new('x'))
    tick.drain()
    assert.equal(0, pipes)
  end)

  it('is undone when the destination closes', function()
    local src, dest = idle(), sink()
    local log = record(dest, 'unpipe', 'close')
    src:pipe(dest)
    dest:destroy()
    tick.drain()
    assert.same({ 'close', 'unpipe' }, log)
    assert.equal(0, src:listenerCount('data'))
    assert.is_true(src:isPaused())
  end)

  it('leaves no listeners behind', function()
    local src, dest = source { 'a' }, sink()
    src:pipe(dest)
    tick.drain()
    assert.same({}, src:eventNames())
    assert.same({}, dest:eventNames())
  end)

  it('does not destroy the destination when the source fails', function()
    local src, dest = idle(), sink()
    src:on('error', function() end)
    src:pipe(dest)
    src:destroy(errors.new('x'))
    tick.drain()
    assert.is_false(dest.destroyed)
    assert.is_false(dest.writableEnded)
  end)
end)

describe('Readable:unpipe', function()
  it('stops one pipe and leaves the others', function()
    local one, oneGot = sink()
    local two, twoGot = sink()
    local src = idle()
    src:pipe(one)
    src:pipe(two)
    tick.drain()
    assert.equal(src, src:unpipe(one))
    src:push('x')
    tick.drain()
    assert.same({}, oneGot)
    assert.same({ 'x' }, twoGot)
  end)

  it('stops all pipes without an argument, and pauses', function()
    local one, two = sink(), sink()
    local src = idle()
    src:pipe(one)
    src:pipe(two)
    local log = record(src, 'pause')
    src:unpipe()
    assert.same({ 'pause' }, log)
    assert.is_true(src:isPaused())
    assert.equal(0, src:listenerCount('data'))
  end)

  it('of what was never piped does nothing', function()
    local src, dest = idle(), sink()
    assert.equal(src, src:unpipe(dest))
    src:pipe(sink())
    src:unpipe(dest)
    assert.equal(1, #src._readableState.pipes)
  end)

  it('keeps what is in the buffer for a later pipe', function()
    local dest, got = sink()
    local src = idle()
    src:pipe(dest)
    tick.drain()
    src:unpipe(dest)
    src:push('later')
    tick.drain()
    assert.same({}, got)
    src:pipe(dest)
    tick.drain()
    assert.same({ 'later' }, got)
  end)

  it('does not finish the destination', function()
    local src, dest = idle(), sink()
    src:pipe(dest)
    src:unpipe(dest)
    src:push(nil)
    src:resume()
    tick.drain()
    assert.is_false(dest.writableEnded)
  end)
end)

describe('Stream:pipe', function()
  it('joins streams of the oldest kind', function()
    local src, dest = stream.Stream(), stream.Stream()
    local got, paused = {}, 0
    src.readable, dest.writable = true, true
    src.pause = function() paused = paused + 1 end
    src.resume = function() paused = paused - 1 end
    dest.write = function(_, chunk)
      got[#got + 1] = chunk
      return false
    end
    dest.finish = function() got[#got + 1] = 'end' end
    src:pipe(dest)
    src:emit('data', 'a')
    assert.equal(1, paused)
    dest:emit('drain')
    assert.equal(0, paused)
    src:emit('end')
    assert.same({ 'a', 'end' }, got)
    assert.equal(0, src:listenerCount('data'))
  end)

  it('raises an error nobody listens for', function()
    local src, dest = stream.Stream(), stream.Stream()
    src:pipe(dest)
    local _, err = pcall(src.emit, src, 'error', errors.new('x'))
    assert.equal('x', err.message)
  end)
end)

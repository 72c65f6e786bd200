-- What a Readable gives, and when.
local stream = require 'stream'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local Readable = stream.Readable
local source, idle, record = S.source, S.idle, S.record

describe('Readable in flowing mode', function()
  it('gives chunks as data and then ends and closes', function()
    local readable = source { 'a', 'b' }
    local log = record(readable, 'data', 'end', 'close')
    tick.drain()
    assert.same({ 'data:a', 'data:b', 'end', 'close' }, log)
  end)

  it('does not read before somebody listens', function()
    local reads = 0
    idle { read = function() reads = reads + 1 end }
    tick.drain()
    assert.equal(0, reads)
  end)

  it('starts to flow in the tick after a data listener was added', function()
    local readable = source { 'a' }
    local log = record(readable, 'data')
    assert.same({}, log)
    assert.is_true(readable.readableFlowing)
    tick.drain()
    assert.same({ 'data:a' }, log)
  end)

  it('hands a pushed chunk to the listener at once when nothing waits', function()
    local readable = idle()
    local log = record(readable, 'data')
    tick.drain()
    readable:push('x')
    assert.same({ 'data:x' }, log)
    assert.equal(0, readable.readableLength)
  end)

  it('gives each chunk to all data listeners in order', function()
    local readable = idle()
    local got = {}
    readable:on('data', function(c) got[#got + 1] = '1' .. c end)
    readable:on('data', function(c) got[#got + 1] = '2' .. c end)
    tick.drain()
    readable:push('x')
    assert.same({ '1x', '2x' }, got)
  end)

  it('does not flow when pause() came before the listener', function()
    local readable = source { 'a' }
    readable:pause()
    local log = record(readable, 'data')
    tick.drain()
    assert.same({}, log)
    assert.is_false(readable.readableFlowing)
    readable:resume()
    tick.drain()
    assert.same({ 'data:a' }, log)
  end)

  it('drops data when resumed without a listener', function()
    local readable = source { 'a', 'b' }
    local log = record(readable, 'end')
    readable:resume()
    tick.drain()
    assert.same({ 'end' }, log)
  end)

  it('pauses inside a data listener', function()
    local readable = idle()
    local got = {}
    readable:on('data', function(c)
      got[#got + 1] = c
      readable:pause()
    end)
    tick.drain()
    readable:push('a')
    readable:push('b')
    tick.drain()
    assert.same({ 'a' }, got)
    assert.equal(1, readable.readableLength)
    readable:resume()
    tick.drain()
    assert.same({ 'a', 'b' }, got)
  end)

  it('emits pause and resume once each', function()
    local readable = idle()
    local log = record(readable, 'pause', 'resume')
    readable:resume()
    readable:resume()
    tick.drain()
    readable:pause()
    readable:pause()
    assert.same({ 'resume', 'pause' }, log)
  end)

  it('tells isPaused before it was started, while flowing and when paused', function()
    local readable = idle()
    assert.is_false(readable:isPaused())
    assert.is_nil(readable.readableFlowing)
    readable:resume()
    assert.is_false(readable:isPaused())
    readable:pause()
    assert.is_true(readable:isPaused())
  end)

  it('goes on flowing into nothing when the data listener is removed', function()
    local readable = idle()
    local function listener() end
    readable:on('data', listener)
    tick.drain()
    readable:removeListener('data', listener)
    assert.is_true(readable.readableFlowing)
  end)

  it('returns itself from pause, resume, on and setEncoding', function()
    local readable = idle()
    for _, method in ipairs { 'pause', 'resume', 'setEncoding' } do
      assert.equal(readable, readable[method](readable))
    end
    assert.equal(readable, readable:on('data', print))
    assert.equal(readable, readable:off('data', print))
  end)

  it('obeys an emit of the instance\'s own', function()
    local readable = idle()
    local seen = {}
    readable:on('data', function() end)
    tick.drain()
    function readable:emit(name, ...)
      seen[#seen + 1] = name
      return Readable.emit(self, name, ...)
    end
    readable:push('x')
    assert.same({ 'data' }, seen)
  end)

  it('obeys an emit of a subclass', function()
    local Sub, seen = Readable:extend('Sub'), {}
    function Sub._read() end
    function Sub:emit(name, ...)
      seen[#seen + 1] = name
      return Readable.emit(self, name, ...)
    end
    local readable = Sub()
    readable:on('data', function() end)
    tick.drain()
    readable:push('x')
    assert.same({ 'resume', 'data' }, seen)
  end)

  it('calls a once data listener for one chunk', function()
    local readable, got = idle(), {}
    readable:once('data', function(c) got[#got + 1] = c end)
    tick.drain()
    readable:push('a')
    readable:push('b')
    assert.same({ 'a' }, got)
  end)
end)

describe('Readable in paused mode', function()
  it('emits readable in a tick, and read() takes everything', function()
    local readable = idle()
    local log = record(readable, 'readable')
    readable:push('ab')
    readable:push('cd')
    tick.drain()
    assert.same({ 'readable' }, log)
    assert.equal('abcd', readable:read())
    assert.is_nil(readable:read())
  end)

  it('reads n bytes across chunks', function()
    local readable = idle()
    readable:push('abc')
    readable:push('def')
    readable:push('g')
    assert.equal('ab', readable:read(2))
    assert.equal('cdef', readable:read(4))
    assert.is_nil(readable:read(2))
    readable:push('h')
    assert.equal('gh', readable:read(2))
  end)

  it('gives what is left at the end when fewer than n bytes remain', function()
    local readable = idle()
    readable:push('abc')
    readable:push(nil)
    assert.equal('abc', readable:read(10))
    assert.is_nil(readable:read(10))
  end)

  it('raises the high-water mark to the next power of two for a larger read', function()
    local readable = idle { highWaterMark = 4 }
    readable:read(100)
    assert.equal(128, readable.readableHighWaterMark)
    local _, err = pcall(readable.read, readable, 2 ^ 31)
    assert.equal('ERR_OUT_OF_RANGE', err.code)
  end)

  it('emits data for what read() returns as well', function()
    local readable = idle()
    readable:pause()
    local log = record(readable, 'data')
    readable:push('x')
    readable:read()
    assert.same({ 'data:x' }, log)
  end)

  it('starts _read by read(0) without taking anything', function()
    local asked
    local readable = idle { read = function(_, n) asked = n end, highWaterMark = 7 }
    assert.is_nil(readable:read(0))
    assert.equal(7, asked)
  end)

  it('emits readable at the end of the stream too', function()
    local readable = idle()
    local log = record(readable, 'readable', 'end')
    tick.drain()
    readable:push(nil)
    tick.drain()
    assert.same({ 'readable' }, log)
    readable:read()
    tick.drain()
    assert.same({ 'readable', 'end' }, log)
  end)

  it('lets a readable listener take precedence over data', function()
    local readable = idle()
    local data = record(readable, 'data')
    readable:on('readable', function() end)
    tick.drain()
    readable:push('x')
    tick.drain()
    assert.same({}, data)
    assert.is_false(readable.readableFlowing)
    readable:read()
    assert.same({ 'data:x' }, data)
  end)

  it('flows again when the readable listener is removed and data is listened for', function()
    local readable = idle()
    local data = record(readable, 'data')
    local function listener() end
    readable:on('readable', listener)
    tick.drain()
    readable:removeListener('readable', listener)
    tick.drain()
    readable:push('x')
    tick.drain()
    assert.same({ 'data:x' }, data)
  end)

  it('forgets flowing when the only readable listener is removed', function()
    local readable = idle()
    readable:on('readable', print)
    assert.is_false(readable.readableFlowing)
    readable:removeAllListeners('readable')
    tick.drain()
    assert.is_nil(readable.readableFlowing)
  end)

  it('reads the stream to its end with a loop in readable', function()
    local readable, got = source({ 'a', 'b', 'c' }), {}
    local log = record(readable, 'end')
    readable:on('readable', function()
      local chunk = readable:read()
      while chunk do
        got[#got + 1] = chunk
        chunk = readable:read()
      end
    end)
    tick.drain()
    assert.equal('abc', table.concat(got))
    assert.same({ 'end' }, log)
  end)

  it('stops calling _read at the high-water mark', function()
    local reads = 0
    local readable = Readable { highWaterMark = 3, read = function(self)
      reads = reads + 1
      self:push('x')
    end }
    readable:read(0)
    tick.drain()
    assert.equal(3, reads)
    assert.equal(3, readable.readableLength)
  end)

  it('does not call _read while one is under way', function()
    local reads = 0
    local readable = idle { read = function() reads = reads + 1 end }
    readable:read(0)
    readable:read(0)
    readable:read()
    assert.equal(1, reads)
  end)

  it('asks for more after a push that came later', function()
    local reads = 0
    local readable = idle { read = function() reads = reads + 1 end }
    readable:read(0)
    readable:push('x')
    tick.drain()
    assert.equal(2, reads)
  end)
end)

describe('the end of a Readable', function()
  it('comes only when everything has been read', function()
    local readable = idle()
    local log = record(readable, 'end')
    readable:push('x')
    readable:push(nil)
    tick.drain()
    assert.same({}, log)
    assert.is_false(readable.readableEnded)
    readable:read()
    readable:read()
    tick.drain()
    assert.same({ 'end' }, log)
    assert.is_true(readable.readableEnded)
  end)

  it('comes once, and close after it', function()
    local readable = source {}
    local log = record(readable, 'end', 'close')
    readable:resume()
    tick.drain()
    readable:read()
    readable:resume()
    tick.drain()
    assert.same({ 'end', 'close' }, log)
    assert.is_true(readable.closed)
    assert.is_true(readable.destroyed)
  end)

  it('makes readable false', function()
    local readable = source {}
    assert.is_true(readable.readable)
    readable:resume()
    tick.drain()
    assert.is_false(readable.readable)
  end)

  it('does not destroy the stream without autoDestroy', function()
    local readable = source({}, { autoDestroy = false })
    local log = record(readable, 'end', 'close')
    readable:resume()
    tick.drain()
    assert.same({ 'end' }, log)
    assert.is_false(readable.destroyed)
  end)

  it('is not followed by close with emitClose = false', function()
    local readable = source({}, { emitClose = false })
    local log = record(readable, 'end', 'close')
    readable:resume()
    tick.drain()
    assert.same({ 'end' }, log)
    assert.is_true(readable.destroyed)
  end)

  it('does not come after destroy', function()
    local readable = idle()
    local log = record(readable, 'end', 'close')
    readable:push(nil)
    readable:resume()
    readable:destroy()
    tick.drain()
    assert.same({ 'close' }, log)
  end)
end)

describe('properties of Readable', function()
  it('say whether anything was read', function()
    local readable = idle()
    assert.is_false(readable.readableDidRead)
    readable:push('x')
    readable:read()
    assert.is_true(readable.readableDidRead)
    assert.is_true(stream.isDisturbed(readable))
  end)

  it('say whether it was cut off before its end', function()
    local cut, whole = idle(), source {}
    cut:destroy()
    whole:resume()
    tick.drain()
    assert.is_true(cut.readableAborted)
    assert.is_false(whole.readableAborted)
  end)

  it('show the buffer', function()
    local readable = idle()
    readable:push('a')
    readable:push('b')
    assert.same({ 'a', 'b' }, readable.readableBuffer)
  end)

  it('can be hidden by fields of the instance', function()
    local readable = idle()
    readable.readable = false
    assert.is_false(readable.readable)
  end)
end)

describe('Readable:wrap', function()
  it('reads an old-style stream', function()
    local old = require('events')()
    old.pause = function() old.paused = true end
    old.resume = function() old.paused = false end
    local readable = Readable({ highWaterMark = 2 }):wrap(old)
    old:emit('data', 'ab')
    assert.is_true(old.paused)
    local log = record(readable, 'data', 'end')
    tick.drain()
    assert.is_false(old.paused)
    old:emit('data', 'c')
    old:emit('end')
    tick.drain()
    assert.same({ 'data:ab', 'data:c', 'end' }, log)
  end)

  it('passes its errors on', function()
    local old = require('events')()
    local readable = Readable():wrap(old)
    local log = record(readable, 'error')
    old:emit('error', errors.new('x'))
    tick.drain()
    assert.same({ 'error:Error: x' }, log)
  end)
end)

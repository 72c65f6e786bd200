local stream = require 'stream'
local errors = require 'moonlatch.errors'
local events = require 'events'
local tick = require 'moonlatch.tick'

local Readable = stream.Readable

local function collect(readable)
  local got = {}
  readable:on('data', function(value) got[#got + 1] = value end)
  readable:on('end', function() got[#got + 1] = 'END' end)
  return got
end

describe('Readable.from', function()
  it('gives the members of a sequence', function()
    local got = collect(Readable.from { 'a', 2, { x = 1 } })
    tick.drain()
    assert.same({ 'a', 2, { x = 1 }, 'END' }, got)
  end)

  it('gives what an iterator function returns until nil', function()
    local got = collect(Readable.from(('a b c'):gmatch('%a')))
    tick.drain()
    assert.same({ 'a', 'b', 'c', 'END' }, got)
  end)

  it('gives a string as one chunk', function()
    local got = collect(Readable.from('whole'))
    tick.drain()
    assert.same({ 'whole', 'END' }, got)
  end)

  it('is in object mode unless told otherwise', function()
    assert.is_true(Readable.from({}).readableObjectMode)
    assert.is_false(Readable.from({ 'a' }, { objectMode = false }).readableObjectMode)
  end)

  it('asks the iterator only for what is read', function()
    local calls = 0
    local readable = Readable.from(function()
      calls = calls + 1
      return calls
    end)
    readable:read()
    tick.drain()
    assert.is_true(calls <= 3)
    readable:destroy()
    tick.drain()
  end)

  it('fails with what the iterator raises', function()
    local readable, got = Readable.from(function() error(errors.new('no'), 0) end), nil
    readable:on('error', function(err) got = err end)
    readable:resume()
    tick.drain()
    assert.equal('no', got.message)
  end)

  it('lets the iterator wait for events', function()
    local emitter = events()
    local got = collect(Readable.from(function() return events.once(emitter, 'next') end))
    tick.drain()
    emitter:emit('next', 1)
    tick.drain()
    emitter:emit('next', 2)
    tick.drain()
    emitter:emit('next', nil)
    tick.drain()
    assert.same({ 1, 2, 'END' }, got)
  end)

  it('refuses what cannot be iterated over', function()
    local _, err = pcall(Readable.from, 5)
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
  end)
end)

describe('Readable:chunks', function()
  local function idle()
    return Readable { read = function() end }
  end

  it('iterates inside a coroutine, waiting for data, until the end', function()
    local readable, got = idle(), {}
    coroutine.wrap(function()
      for chunk in readable:chunks() do
        got[#got + 1] = chunk
      end
      got[#got + 1] = 'over'
    end)()
    tick.drain()
    readable:push('a')
    tick.drain()
    readable:push('b')
    readable:push(nil)
    tick.drain()
    assert.same({ 'a', 'b', 'over' }, got)
    assert.is_true(readable.destroyed)
  end)

  it('raises the error of the stream', function()
    local readable, caught = idle(), nil
    coroutine.wrap(function()
      local _, err = pcall(function()
        for _ in readable:chunks() do end -- luacheck: ignore 542
      end)
      caught = err
    end)()
    readable:destroy(errors.new('x'))
    tick.drain()
    assert.equal('x', caught.message)
  end)

  it('raises ERR_STREAM_PREMATURE_CLOSE for a stream closed early', function()
    local readable, caught = idle(), nil
    coroutine.wrap(function()
      local _, err = pcall(readable:chunks())
      caught = err
    end)()
    readable:destroy()
    tick.drain()
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', caught.code)
  end)

  it('gives false as a value', function()
    local got = {}
    coroutine.wrap(function()
      local next = Readable.from({ false, 1 }):chunks()
      got[1], got[2], got[3] = next(), next(), next() == nil
    end)()
    tick.drain()
    assert.same({ false, 1, true }, got)
  end)

  it('stops when its second value is called, and destroys the stream', function()
    local readable = idle()
    local reached = false
    readable:push('a')
    coroutine.wrap(function()
      local next, close = readable:chunks()
      assert.equal('a', next())
      close()
      assert.is_nil(next())
      reached = true
    end)()
    tick.drain()
    assert.is_true(reached)
    assert.is_true(readable.destroyed)
    assert.same({}, readable:eventNames())
  end)

  it('leaves the stream alive with destroyOnReturn = false', function()
    local readable = idle()
    coroutine.wrap(function()
      local next, close = readable:chunks { destroyOnReturn = false }
      readable:push('a')
      next()
      close()
    end)()
    tick.drain()
    assert.is_false(readable.destroyed)
  end)

  it('reads slowly from a source that is kept waiting', function()
    local pushed = 0
    local readable = Readable { highWaterMark = 2, read = function(self)
      pushed = pushed + 1
      self:push(pushed <= 20 and 'x' or nil)
    end }
    local count = 0
    coroutine.wrap(function()
      for chunk in readable:chunks() do
        count = count + #chunk
        assert.is_true(pushed - count <= 3)
      end
    end)()
    tick.drain()
    assert.equal(20, count)
  end)
end)

describe('stream predicates', function()
  it('tell what can still be done with a stream', function()
    local through = stream.PassThrough()
    assert.is_true(stream.isReadable(through))
    assert.is_true(stream.isWritable(through))
    through:destroy()
    tick.drain()
    assert.is_false(stream.isReadable(through))
    assert.is_false(stream.isWritable(through))
    assert.is_true(stream.isDestroyed(through))
    assert.is_nil(stream.isReadable({}))
  end)

  it('module stream can be called like the class Stream', function()
    assert.is_true(require('util').isInstance(stream(), stream.Stream))
  end)
end)

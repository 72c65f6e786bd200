local class = require 'moonlatch.class'
local stream = require 'stream'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local Duplex, Transform, PassThrough = stream.Duplex, stream.Transform, stream.PassThrough
local newDuplex, record = S.duplex, S.record

describe('Duplex', function()
  it('is a Readable and a Writable', function()
    local duplex = newDuplex()
    for _, cls in ipairs { stream.Readable, stream.Writable, stream.Stream, Duplex } do
      assert.is_true(class.isInstance(duplex, cls))
    end
    assert.is_false(class.isInstance(stream.Writable(), stream.Readable))
  end)

  it('reads and writes independently', function()
    local got = {}
    local duplex = newDuplex { write = function(_, chunk, _, callback)
      got[#got + 1] = chunk
      callback()
    end }
    local log = record(duplex, 'data')
    tick.drain()
    duplex:push('in')
    duplex:write('out')
    assert.same({ 'data:in' }, log)
    assert.same({ 'out' }, got)
  end)

  it('closes when both halves are over, in either order', function()
    for _, endFirst in ipairs { true, false } do
      local duplex = newDuplex()
      local log = record(duplex, 'end', 'finish', 'close')
      duplex:resume()
      if endFirst then
        duplex:push(nil)
        tick.drain()
        assert.same({ 'end' }, log)
        duplex:finish()
      else
        duplex:finish()
        tick.drain()
        assert.same({ 'finish' }, log)
        duplex:push(nil)
      end
      tick.drain()
      assert.equal('close', log[3])
      assert.equal(3, #log)
    end
  end)

  it('stays half open by default when the readable half ends', function()
    local duplex = newDuplex()
    assert.is_true(duplex.allowHalfOpen)
    duplex:resume()
    duplex:push(nil)
    tick.drain()
    assert.is_true(duplex.writable)
    assert.is_false(duplex.destroyed)
  end)

  it('finishes the writable half with allowHalfOpen = false', function()
    local duplex = newDuplex { allowHalfOpen = false }
    local log = record(duplex, 'end', 'finish', 'close')
    duplex:resume()
    duplex:push(nil)
    tick.drain()
    assert.same({ 'end', 'finish', 'close' }, log)
  end)

  it('has no readable half with readable = false', function()
    local duplex = newDuplex { readable = false }
    assert.is_false(duplex.readable)
    assert.is_true(duplex.writable)
    local log = record(duplex, 'finish', 'close', 'end')
    duplex:finish()
    tick.drain()
    assert.same({ 'finish', 'close' }, log)
  end)

  it('has no writable half with writable = false', function()
    local duplex = newDuplex { writable = false }
    assert.is_false(duplex.writable)
    local log = record(duplex, 'end', 'close', 'finish')
    duplex:resume()
    duplex:push(nil)
    tick.drain()
    assert.same({ 'end', 'close' }, log)
  end)

  it('takes high-water marks and object modes for each half', function()
    local duplex = newDuplex { readableHighWaterMark = 3, writableHighWaterMark = 5, readableObjectMode = true }
    assert.equal(3, duplex.readableHighWaterMark)
    assert.equal(5, duplex.writableHighWaterMark)
    assert.is_true(duplex.readableObjectMode)
    assert.is_false(duplex.writableObjectMode)
    local both = newDuplex { highWaterMark = 7, readableHighWaterMark = 3, objectMode = true }
    assert.equal(7, both.readableHighWaterMark)
    assert.equal(7, both.writableHighWaterMark)
    assert.is_true(both.readableObjectMode and both.writableObjectMode)
    local _, err = pcall(newDuplex, { writableHighWaterMark = 'x' })
    assert.matches("'options.writableHighWaterMark'", err.message)
  end)

  it('fails both halves by an error of one', function()
    local duplex = newDuplex { write = function(_, _, _, callback) callback(errors.new('no')) end }
    local log = record(duplex, 'error', 'close', 'end')
    duplex:write('x')
    tick.drain()
    assert.same({ 'error:Error: no', 'close' }, log)
    assert.is_false(duplex.readable)
    assert.is_true(duplex.readableAborted)
    assert.is_true(duplex.writableAborted)
  end)

  it('ends under both names', function()
    local duplex = newDuplex()
    assert.equal(duplex.finish, duplex['end'])
  end)

  it('constructs once for both halves', function()
    local calls = 0
    newDuplex { construct = function(_, callback)
      calls = calls + 1
      callback()
    end }
    tick.drain()
    assert.equal(1, calls)
  end)
end)

describe('Transform', function()
  local function upper(options)
    options = options or {}
    options.transform = options.transform or function(_, chunk, _, callback) callback(nil, chunk:upper()) end
    return Transform(options)
  end

  it('gives out what becomes of what is written', function()
    local transform = upper()
    local log = record(transform, 'data', 'end', 'finish', 'close')
    transform:write('a')
    transform:finish('b')
    tick.drain()
    table.sort(log, function(x, y) return x < y end)
    assert.same({ 'close', 'data:A', 'data:B', 'end', 'finish' }, log)
  end)

  it('may push any number of chunks for one', function()
    local transform = Transform { transform = function(self, chunk, _, callback)
      for char in chunk:gmatch('.') do
        self:push(char)
      end
      callback()
    end }
    local log = record(transform, 'data')
    transform:write('abc')
    transform:write('')
    tick.drain()
    assert.same({ 'data:a', 'data:b', 'data:c' }, log)
  end)

  it('keeps the order when it works later', function()
    local queue = {}
    local transform = Transform { transform = function(_, chunk, _, callback)
      queue[#queue + 1] = function() callback(nil, chunk) end
    end }
    local log = record(transform, 'data')
    transform:write('a')
    transform:write('b')
    tick.drain()
    assert.equal(1, #queue)
    queue[1]()
    assert.equal(2, #queue)
    queue[2]()
    tick.drain()
    assert.same({ 'data:a', 'data:b' }, log)
  end)

  it('flushes before the end', function()
    local transform = upper { flush = function(self, callback)
      self:push('1')
      callback(nil, '2')
    end }
    local log = record(transform, 'data', 'end')
    transform:finish('a')
    tick.drain()
    assert.same({ 'data:A', 'data:1', 'data:2', 'end' }, log)
  end)

  it('finishes when the flush is done', function()
    local release
    local transform = upper { flush = function(_, callback) release = callback end }
    local log = record(transform, 'finish', 'end')
    transform:resume()
    transform:finish()
    tick.drain()
    assert.same({}, log)
    release()
    tick.drain()
    assert.equal(2, #log)
  end)

  it('is destroyed by an error of transform', function()
    local transform = Transform { transform = function(_, _, _, callback) callback(errors.new('bad')) end }
    local log = record(transform, 'error', 'close')
    local got
    transform:write('x', function(err) got = err end)
    tick.drain()
    assert.same({ 'error:Error: bad', 'close' }, log)
    assert.equal('bad', got.message)
  end)

  it('is destroyed by an error of flush', function()
    local transform = upper { flush = function(_, callback) callback(errors.new('bad')) end }
    local log = record(transform, 'error', 'end', 'finish', 'close')
    transform:resume()
    transform:finish()
    tick.drain()
    assert.same({ 'error:Error: bad', 'close' }, log)
  end)

  it('stops at its high-water mark and goes on when read', function()
    local transform = upper { highWaterMark = 2 }
    assert.is_true(transform:write('a'))
    assert.is_false(transform:write('bc'))
    assert.is_false(transform:write('de'))
    local drained = record(transform, 'drain')
    tick.drain()
    assert.same({}, drained)
    assert.equal(3, transform.readableLength)
    assert.equal('ABCDE', transform:read())
    tick.drain()
    assert.same({ 'drain' }, drained)
  end)

  it('does not buffer with a high-water mark of 0', function()
    local transform = upper { readableHighWaterMark = 0 }
    assert.equal(0, transform.writableHighWaterMark)
    assert.equal(0, transform.readableHighWaterMark)
  end)

  it('missing its method is ERR_METHOD_NOT_IMPLEMENTED', function()
    local transform = Transform()
    local _, err = pcall(transform.write, transform, 'x')
    assert.equal('The _transform() method is not implemented', err.message)
  end)

  it('that calls back twice is ERR_MULTIPLE_CALLBACK', function()
    local transform = Transform { transform = function(_, _, _, callback)
      callback()
      callback()
    end }
    local log = record(transform, 'error')
    transform:write('x')
    tick.drain()
    assert.matches('ERR_MULTIPLE_CALLBACK', log[1])
  end)

  it('flushes also when a _final of its own is given', function()
    local order = {}
    local transform = upper {
      final = function(_, callback)
        order[#order + 1] = 'final'
        callback()
      end,
      flush = function(_, callback)
        order[#order + 1] = 'flush'
        callback(nil, 'f')
      end,
    }
    local log = record(transform, 'data', 'end')
    transform:finish()
    tick.drain()
    assert.same({ 'final', 'flush' }, order)
    assert.same({ 'data:f', 'end' }, log)
  end)

  it('makes objects of strings', function()
    local transform = Transform { readableObjectMode = true, transform = function(_, chunk, _, callback)
      callback(nil, { value = chunk })
    end }
    local got
    transform:on('data', function(object) got = object end)
    transform:write('x')
    tick.drain()
    assert.same({ value = 'x' }, got)
  end)

  it('may be a subclass', function()
    local Reverse = Transform:extend('Reverse')
    function Reverse:_transform(chunk, _, callback) callback(nil, chunk:reverse()) end
    function Reverse:_flush(callback) callback(nil, '.') end
    local reverse = Reverse()
    local log = record(reverse, 'data')
    reverse:finish('abc')
    tick.drain()
    assert.same({ 'data:cba', 'data:.' }, log)
  end)

  it('ends early when it pushes nil', function()
    local transform = Transform { transform = function(self, _, _, callback)
      self:push('last')
      self:push(nil)
      callback()
    end }
    local log = record(transform, 'data', 'end')
    transform:write('x')
    tick.drain()
    assert.same({ 'data:last', 'end' }, log)
  end)
end)

describe('PassThrough', function()
  it('gives out what is written, then ends', function()
    local through = PassThrough()
    local log = record(through, 'data', 'end')
    through:write('a')
    through:finish('b')
    tick.drain()
    assert.same({ 'data:a', 'data:b', 'end' }, log)
  end)

  it('passes objects', function()
    local through, object = PassThrough { objectMode = true }, {}
    through:write(object)
    assert.equal(object, through:read())
  end)

  it('carries a megabyte through a small buffer unchanged', function()
    local through, parts = PassThrough { highWaterMark = 100 }, {}
    through:on('data', function(c) parts[#parts + 1] = c end)
    local chunk = ('0123456789'):rep(100)
    for _ = 1, 1000 do
      through:write(chunk)
    end
    through:finish()
    tick.drain()
    assert.equal(chunk:rep(1000), table.concat(parts))
  end)
end)

-- What goes into a Readable: chunks, encodings, objects, and how much of it.
local stream = require 'stream'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local Readable = stream.Readable
local source, idle, record = S.source, S.idle, S.record

describe('Readable:push', function()
  it('returns false at the high-water mark', function()
    local readable = idle { highWaterMark = 3 }
    assert.is_true(readable:push('ab'))
    assert.is_false(readable:push('c'))
  end)

  it('returns false for the end', function()
    assert.is_false(idle():push(nil))
  end)

  it('takes an empty string for nothing', function()
    local readable = idle()
    local log = record(readable, 'data')
    tick.drain()
    assert.is_true(readable:push(''))
    assert.same({}, log)
    assert.equal(0, readable.readableLength)
  end)

  it('after the end is ERR_STREAM_PUSH_AFTER_EOF', function()
    local readable = idle()
    local log = record(readable, 'error')
    readable:push(nil)
    readable:push('x')
    tick.drain()
    assert.same({ 'error:Error [ERR_STREAM_PUSH_AFTER_EOF]: stream.push() after EOF' }, log)
  end)

  for _, value in ipairs { 5, true, false, {}, print } do
    it('of a ' .. type(value) .. ' is ERR_INVALID_ARG_TYPE', function()
      local readable, got = idle(), nil
      readable:on('error', function(err) got = err end)
      assert.is_false(readable:push(value))
      tick.drain()
      assert.equal('ERR_INVALID_ARG_TYPE', got.code)
      assert.matches('^The "chunk" argument must be of type string', got.message)
    end)
  end

  it('after destroy returns false and does nothing', function()
    local readable = idle()
    readable:destroy()
    assert.is_false(readable:push('x'))
    assert.equal(0, readable.readableLength)
  end)

  it('decodes a string pushed with an encoding', function()
    local readable = idle()
    readable:push('616263', 'hex')
    readable:push('ZGVm', 'base64')
    assert.equal('abcdef', readable:read())
  end)

  it('raises for an unknown encoding', function()
    local _, err = pcall(function() idle():push('x', 'nope') end)
    assert.equal('ERR_UNKNOWN_ENCODING', err.code)
  end)

  it('several times in one _read gives all of it', function()
    local readable = Readable { read = function(self)
      self:push('a')
      self:push('b')
      self:push(nil)
    end }
    local log = record(readable, 'data', 'end')
    tick.drain()
    assert.same({ 'data:a', 'data:b', 'end' }, log)
  end)
end)

describe('Readable:unshift', function()
  it('puts a chunk in front', function()
    local readable = idle()
    readable:push('world')
    readable:unshift('hello ')
    assert.equal('hello world', readable:read())
  end)

  it('works inside a data listener, for the next read', function()
    local readable, got = idle(), {}
    readable:on('data', function(chunk)
      got[#got + 1] = chunk
      if #got == 1 then
        readable:pause()
        readable:unshift(chunk:sub(3))
      end
    end)
    tick.drain()
    readable:push('abcd')
    assert.same({ 'abcd' }, got)
    readable:resume()
    tick.drain()
    assert.same({ 'abcd', 'cd' }, got)
  end)

  it('works after the end was pushed but not yet emitted', function()
    local readable = idle()
    readable:push('a')
    readable:push(nil)
    readable:read()
    readable:unshift('b')
    local log = record(readable, 'data', 'end')
    tick.drain()
    assert.same({ 'data:b', 'end' }, log)
  end)

  it('after the end event is ERR_STREAM_UNSHIFT_AFTER_END_EVENT', function()
    local readable = idle { autoDestroy = false }
    local log = record(readable, 'error')
    readable:push(nil)
    readable:resume()
    tick.drain()
    readable:unshift('x')
    tick.drain()
    assert.matches('ERR_STREAM_UNSHIFT_AFTER_END_EVENT', log[1])
  end)

  it('of nil is the end', function()
    local readable = idle()
    assert.is_false(readable:unshift(nil))
    assert.is_true(readable._readableState.ended)
  end)
end)

describe('Readable:setEncoding', function()
  it('never splits a UTF-8 character', function()
    local readable, got = idle(), {}
    readable:setEncoding('utf8')
    readable:on('data', function(c) got[#got + 1] = c end)
    tick.drain()
    for byte in ('a€😀'):gmatch('.') do
      readable:push(byte)
    end
    assert.same({ 'a', '€', '😀' }, got)
  end)

  for name, expected in pairs { hex = '6162ff', base64 = 'YWL/', base64url = 'YWL_', latin1 = 'ab\255',
    binary = 'ab\255', ascii = 'ab\127' } do
    it('gives ' .. name, function()
      local readable, got = idle(), {}
      readable:setEncoding(name)
      readable:on('data', function(c) got[#got + 1] = c end)
      tick.drain()
      readable:push('a')
      readable:push('b\255')
      readable:push(nil)
      tick.drain()
      assert.equal(expected, table.concat(got))
    end)
  end

  it('gives utf16le as UTF-8', function()
    local readable, got = idle(), {}
    readable:setEncoding('utf16le')
    readable:on('data', function(c) got[#got + 1] = c end)
    tick.drain()
    for byte in ('h\0\61\216\0\222'):gmatch('.') do
      readable:push(byte)
    end
    assert.same({ 'h', '😀' }, got)
  end)

  it('gives an incomplete character as U+FFFD at the end', function()
    local readable = idle()
    readable:setEncoding('utf8')
    local log = record(readable, 'data', 'end')
    tick.drain()
    readable:push('a\226')
    readable:push(nil)
    tick.drain()
    assert.same({ 'data:a', 'data:\239\191\189', 'end' }, log)
  end)

  it('re-encodes what is in the buffer', function()
    local readable = idle()
    readable:push('ab')
    readable:setEncoding('hex')
    assert.equal(4, readable.readableLength)
    assert.equal('6162', readable:read())
  end)

  it('is the encoding option as well, and readableEncoding', function()
    local readable = idle { encoding = 'HEX' }
    assert.equal('hex', readable.readableEncoding)
    readable:push('a')
    assert.equal('61', readable:read())
    assert.is_nil(idle().readableEncoding)
  end)

  it('leaves a string pushed in that encoding as it is', function()
    local readable = idle { encoding = 'hex' }
    readable:push('6162', 'hex')
    readable:push('Yw==', 'base64')
    assert.equal('616263', readable:read())
  end)

  it('re-encodes what is unshifted in another encoding', function()
    local readable = idle { encoding = 'hex' }
    readable:push('b')
    readable:unshift('a', 'utf8')
    readable:unshift('60', 'hex')
    assert.equal('606162', readable:read())
  end)

  it('raises for an unknown encoding', function()
    local _, err = pcall(function() idle():setEncoding('nope') end)
    assert.equal('ERR_UNKNOWN_ENCODING', err.code)
  end)
end)

describe('Readable in object mode', function()
  it('gives any value but nil, false and empty strings included', function()
    local readable, got = idle { objectMode = true }, {}
    readable:on('data', function(v) got[#got + 1] = v end)
    tick.drain()
    local object = {}
    for _, value in ipairs { object, false, '', 0 } do
      readable:push(value)
    end
    assert.same({ object, false, '', 0 }, got)
  end)

  it('counts objects, 16 by default', function()
    local readable = idle { objectMode = true }
    assert.equal(16, readable.readableHighWaterMark)
    assert.is_true(readable.readableObjectMode)
    readable:push({})
    readable:push({})
    assert.equal(2, readable.readableLength)
  end)

  it('reads one object whatever n is', function()
    local readable = idle { objectMode = true }
    readable:push('a')
    readable:push('b')
    assert.equal('a', readable:read(10))
    assert.equal('b', readable:read())
    assert.is_nil(readable:read())
  end)

  it('unshifts objects', function()
    local readable = idle { objectMode = true }
    readable:push(1)
    readable:unshift(2)
    assert.equal(2, readable:read())
  end)
end)

describe('Readable high-water mark', function()
  it('is 16384 bytes by default', function()
    assert.equal(16384, idle().readableHighWaterMark)
  end)

  it('is what the options say, 0 included', function()
    assert.equal(0, idle({ highWaterMark = 0 }).readableHighWaterMark)
    assert.equal(5, idle({ highWaterMark = 5 }).readableHighWaterMark)
  end)

  for _, value in ipairs { 'x', -1, 1.5, true } do
    it('refuses ' .. tostring(value), function()
      local _, err = pcall(Readable, { highWaterMark = value })
      assert.equal('ERR_INVALID_ARG_VALUE', err.code)
      assert.matches("^The property 'options.highWaterMark' is invalid. Received ", err.message)
    end)
  end

  it('has defaults that can be changed', function()
    stream.setDefaultHighWaterMark(false, 100)
    stream.setDefaultHighWaterMark(true, 3)
    local bytes, objects = idle(), idle { objectMode = true }
    stream.setDefaultHighWaterMark(false, 16384)
    stream.setDefaultHighWaterMark(true, 16)
    assert.equal(100, bytes.readableHighWaterMark)
    assert.equal(3, objects.readableHighWaterMark)
    assert.equal(16384, stream.getDefaultHighWaterMark(false))
    assert.equal(16, stream.getDefaultHighWaterMark(true))
    local _, err = pcall(stream.setDefaultHighWaterMark, false, -1)
    assert.equal('ERR_OUT_OF_RANGE', err.code)
  end)

  it('of 0 still gives data', function()
    local readable = source({ 'a', 'b' }, { highWaterMark = 0 })
    local log = record(readable, 'data', 'end')
    tick.drain()
    assert.same({ 'data:a', 'data:b', 'end' }, log)
  end)
end)

describe('Readable:_read', function()
  it('that raises destroys the stream with the error', function()
    local boom = errors.new('boom')
    local readable = Readable { read = function() error(boom, 0) end }
    local log = record(readable, 'error', 'close')
    readable:resume()
    tick.drain()
    assert.same({ 'error:Error: boom', 'close' }, log)
    assert.equal(boom, readable.errored)
  end)

  it('that raises a string gives an Error', function()
    local readable, got = Readable { read = function() error('text', 0) end }, nil
    readable:on('error', function(err) got = err end)
    readable:resume()
    tick.drain()
    assert.equal('text', got.message)
  end)

  it('missing is ERR_METHOD_NOT_IMPLEMENTED', function()
    local readable, got = Readable(), nil
    readable:on('error', function(err) got = err end)
    readable:resume()
    tick.drain()
    assert.equal('ERR_METHOD_NOT_IMPLEMENTED', got.code)
    assert.equal('The _read() method is not implemented', got.message)
  end)

  it('may be a method of a subclass', function()
    local Sub = Readable:extend('Sub')
    function Sub:_read()
      self:push(self.done == nil and 'x' or nil)
      self.done = true
    end
    local readable = Sub()
    local log = record(readable, 'data', 'end')
    tick.drain()
    assert.same({ 'data:x', 'end' }, log)
  end)

  it('of a continuous source is called once until a push returns false', function()
    local Source, reads = Readable:extend('Source'), 0
    Source._readsContinuously = true
    function Source._read() reads = reads + 1 end
    local readable = Source { highWaterMark = 4 }
    local log = record(readable, 'data')
    tick.drain()
    tick.waiting[1] = false -- as the loop says when it has drained
    for _ = 1, 10 do
      assert.is_true(readable:push('abc'))
    end
    assert.is_false(tick.waiting[1])
    assert.equal(1, reads)
    readable:pause()
    assert.is_true(readable:push('abc'))
    assert.is_false(readable:push('abc'))
    tick.drain()
    assert.equal(1, reads)
    readable:resume()
    tick.drain()
    assert.equal(2, reads)
    assert.equal(12, #log)
  end)
end)

-- What becomes of writes.
local stream = require 'stream'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local Writable = stream.Writable
local sink, record, codeOf = S.sink, S.record, S.codeOf

describe('Writable:write', function()
  it('hands chunks to _write in order', function()
    local writable, got = sink()
    writable:write('a')
    writable:write('b')
    assert.same({ 'a', 'b' }, got)
  end)

  it('hands on one chunk at a time', function()
    local writable, got, held = sink(nil, true)
    writable:write('a')
    writable:write('b')
    assert.same({ 'a' }, got)
    held[1]()
    assert.same({ 'a', 'b' }, got)
  end)

  it('returns true below the high-water mark and false from it on', function()
    local writable = sink({ highWaterMark = 3 }, true)
    assert.is_true(writable:write('ab'))
    assert.is_false(writable:write('c'))
    assert.equal(3, writable.writableLength)
    assert.is_true(writable.writableNeedDrain)
  end)

  it('returns true when the chunk was dealt with at once, however large', function()
    local writable = sink { highWaterMark = 3 }
    assert.is_true(writable:write('abcdef'))
    assert.is_false(writable.writableNeedDrain)
  end)

  it('emits drain when everything is written after a false', function()
    local writable, _, held = sink({ highWaterMark = 2 }, true)
    local log = record(writable, 'drain')
    writable:write('ab')
    writable:write('c')
    held[1]()
    tick.drain()
    assert.same({}, log)
    held[2]()
    tick.drain()
    assert.same({ 'drain' }, log)
  end)

  it('emits no drain when no write returned false', function()
    local writable, _, held = sink({ highWaterMark = 10 }, true)
    local log = record(writable, 'drain')
    writable:write('a')
    held[1]()
    tick.drain()
    assert.same({}, log)
  end)

  it('emits no drain once ended', function()
    local writable, _, held = sink({ highWaterMark = 1 }, true)
    local log = record(writable, 'drain', 'finish')
    writable:write('a')
    writable:finish()
    held[1]()
    tick.drain()
    assert.same({ 'finish' }, log)
  end)

  it('calls back in order, never inside write', function()
    local writable = sink()
    local order = {}
    for i = 1, 3 do
      writable:write('x', function(err)
        order[#order + 1] = err or i
      end)
    end
    assert.same({}, order)
    tick.drain()
    assert.same({ 1, 2, 3 }, order)
  end)

  it('calls back at once when _write calls back later', function()
    local writable, _, held = sink(nil, true)
    local done = false
    writable:write('x', function() done = true end)
    held[1]()
    assert.is_true(done)
  end)

  it('emits drain before the callback', function()
    local writable, _, held = sink({ highWaterMark = 1 }, true)
    local log = record(writable, 'drain')
    writable:write('a', function() log[#log + 1] = 'callback' end)
    held[1]()
    assert.same({ 'drain', 'callback' }, log)
  end)

  it('takes the callback without an encoding, with one, and with nil in its place', function()
    local writable = sink()
    local calls = 0
    local function count() calls = calls + 1 end
    writable:write('a', count)
    writable:write('b', nil, count)
    writable:write('c', 'utf8', count)
    tick.drain()
    assert.equal(3, calls)
  end)

  it('decodes strings by their encoding', function()
    local writable, got = sink()
    writable:write('616263', 'hex')
    writable:write('ZGVm', 'base64')
    writable:write('Z-_8', 'base64url')
    writable:write('\255', 'latin1')
    writable:write('h', 'utf16le')
    assert.same({ 'abc', 'def', 'g\239\252', '\255', 'h\0' }, got)
  end)

  it('counts decoded bytes', function()
    local writable = sink({}, true)
    writable:write('616263', 'hex')
    assert.equal(3, writable.writableLength)
  end)

  it('leaves strings and encodings alone with decodeStrings = false', function()
    local writable, got = sink { decodeStrings = false }
    writable:write('6162', 'hex')
    writable:write('x')
    assert.same({ '6162/hex', 'x/utf8' }, got)
  end)

  it('uses the default encoding where none is given', function()
    local writable, got = sink { defaultEncoding = 'hex' }
    writable:write('61')
    writable:setDefaultEncoding('base64')
    writable:write('Yg==')
    writable:write('c', 'utf8')
    assert.same({ 'a', 'b', 'c' }, got)
    assert.equal('ERR_UNKNOWN_ENCODING', codeOf(writable.setDefaultEncoding, writable, 'nope'))
  end)

  it('raises for an unknown encoding', function()
    local writable = sink()
    assert.equal('ERR_UNKNOWN_ENCODING', codeOf(writable.write, writable, 'x', 'nope'))
  end)

  it('raises for nil', function()
    local writable = sink()
    assert.equal('ERR_STREAM_NULL_VALUES', codeOf(writable.write, writable, nil))
    assert.equal('ERR_STREAM_NULL_VALUES', codeOf(writable.write, sink { objectMode = true }, nil))
  end)

  for _, value in ipairs { 5, true, false, {} } do
    it('raises for a ' .. type(value) .. ' outside object mode', function()
      local writable = sink()
      local _, err = pcall(writable.write, writable, value)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.matches('^The "chunk" argument must be of type string', err.message)
    end)
  end

  it('takes any value but nil in object mode', function()
    local got = {}
    local writable = Writable { objectMode = true, write = function(_, chunk, _, callback)
      got[#got + 1] = chunk
      callback()
    end }
    local object = {}
    writable:write(object)
    writable:write(false)
    writable:write(7)
    assert.same({ object, false, 7 }, got)
    assert.is_true(writable.writableObjectMode)
    assert.equal(16, writable.writableHighWaterMark)
  end)

  it('counts objects in object mode', function()
    local writable = sink({ objectMode = true, highWaterMark = 2 }, true)
    assert.is_true(writable:write('long string'))
    assert.is_false(writable:write('x'))
    assert.equal(2, writable.writableLength)
  end)

  it('writes an empty string too', function()
    local writable, got = sink()
    local called = false
    writable:write('', function() called = true end)
    tick.drain()
    assert.same({ '' }, got)
    assert.is_true(called)
  end)

  it('after finish() is ERR_STREAM_WRITE_AFTER_END, for the callback and as error', function()
    local writable, got = sink()
    local log = record(writable, 'error', 'finish', 'close')
    writable:finish()
    local code
    assert.is_false(writable:write('x', function(err) code = err.code end))
    assert.is_nil(code)
    tick.drain()
    assert.equal('ERR_STREAM_WRITE_AFTER_END', code)
    assert.same({}, got)
    assert.same({ 'error:Error [ERR_STREAM_WRITE_AFTER_END]: write after end', 'close' }, log)
  end)

  it('after destroy() is ERR_STREAM_DESTROYED, for the callback alone', function()
    local writable = sink()
    local log = record(writable, 'error', 'close')
    writable:destroy()
    local code
    assert.is_false(writable:write('x', function(err) code = err.code end))
    tick.drain()
    assert.equal('ERR_STREAM_DESTROYED', code)
    assert.same({ 'close' }, log)
  end)

  it('makes no garbage when _write calls back at once', function()
    local writable = Writable { write = function(_, _, _, callback) callback() end }
    for _ = 1, 100 do
      writable:write('x')
    end
    tick.waiting[1] = false -- as the loop says when it has drained
    collectgarbage()
    collectgarbage('stop')
    local before = collectgarbage('count')
    for _ = 1, 1000 do
      writable:write('x')
    end
    local grown = collectgarbage('count') - before
    collectgarbage('restart')
    -- Traces of the just-in-time compiler are counted too.
    assert.is_true(grown < 16, grown)
    assert.is_false(tick.waiting[1])
  end)
end)

describe('Writable:_write', function()
  it('missing is ERR_METHOD_NOT_IMPLEMENTED', function()
    local writable = Writable()
    assert.equal('ERR_METHOD_NOT_IMPLEMENTED', codeOf(writable.write, writable, 'x'))
  end)

  it('that fails gives the error to the callback, then destroys the stream', function()
    local boom = errors.new('boom')
    local writable = Writable { write = function(_, _, _, callback) callback(boom) end }
    local log = record(writable, 'error', 'close', 'finish')
    local returned = writable:write('x', function(err) log[#log + 1] = 'callback:' .. tostring(err) end)
    assert.is_false(returned)
    tick.drain()
    assert.same({ 'callback:Error: boom', 'error:Error: boom', 'close' }, log)
    assert.equal(boom, writable.errored)
    assert.is_false(writable.writable)
  end)

  it('that fails later does the same', function()
    local writable, _, held = sink(nil, true)
    local log = record(writable, 'error', 'close')
    writable:write('x', function(err) log[#log + 1] = 'callback:' .. tostring(err) end)
    held[1](errors.new('late'))
    tick.drain()
    assert.same({ 'callback:Error: late', 'error:Error: late', 'close' }, log)
  end)

  it('that fails fails what is buffered behind it, before error', function()
    local writable, got, held = sink(nil, true)
    local log = record(writable, 'error')
    writable:write('a', function() log[#log + 1] = 'a' end)
    writable:write('b', function(err) log[#log + 1] = 'b:' .. err.message end)
    held[1](errors.new('no'))
    tick.drain()
    assert.same({ 'a', 'b:no', 'error:Error: no' }, log)
    assert.same({ 'a' }, got)
    assert.equal(0, writable.writableLength)
  end)

  it('that calls back twice is ERR_MULTIPLE_CALLBACK', function()
    local writable = Writable { write = function(_, _, _, callback)
      callback()
      callback()
    end }
    local log = record(writable, 'error')
    writable:write('x')
    tick.drain()
    assert.same({ 'error:Error [ERR_MULTIPLE_CALLBACK]: Callback called multiple times' }, log)
  end)

  it('that raises raises out of write', function()
    local writable = Writable { write = function() error('oops', 0) end }
    assert.has_error(function() writable:write('x') end, 'oops')
  end)

  it('without autoDestroy emits error and no close', function()
    local writable = Writable { autoDestroy = false, write = function(_, _, _, callback)
      callback(errors.new('x'))
    end }
    local log = record(writable, 'error', 'close')
    writable:write('x')
    tick.drain()
    assert.same({ 'error:Error: x' }, log)
    assert.is_false(writable.destroyed)
  end)

  it('may write more', function()
    local got = {}
    local writable
    writable = Writable { write = function(_, chunk, _, callback)
      got[#got + 1] = chunk
      if chunk == 'a' then
        writable:write('b')
      end
      callback()
    end }
    writable:write('a')
    tick.drain()
    assert.same({ 'a', 'b' }, got)
  end)

  it('keeps the order over thousands of writes that complete later', function()
    local got, held = {}, nil
    local writable = Writable { write = function(_, chunk, _, callback)
      got[#got + 1] = chunk
      held = callback
    end }
    for i = 1, 3000 do
      writable:write(tostring(i))
    end
    for _ = 1, 3000 do
      held()
    end
    local ordered = #got == 3000
    for i = 1, 3000 do
      ordered = ordered and got[i] == tostring(i)
    end
    assert.is_true(ordered)
    assert.equal(0, writable.writableLength)
  end)
end)

describe('Writable:_writev', function()
  local function vectored()
    local batches, held = {}, {}
    local writable = Writable { writev = function(_, chunks, callback)
      batches[#batches + 1] = chunks
      held[#held + 1] = callback
    end }
    return writable, batches, held
  end

  it('gets a single chunk too when there is no _write', function()
    local writable, batches = vectored()
    writable:write('a')
    assert.equal(1, #batches[1])
    assert.equal('a', batches[1][1].chunk)
    assert.equal('buffer', batches[1][1].encoding)
  end)

  it('gets everything that was buffered at once, in order', function()
    local writable, batches, held = vectored()
    for _, chunk in ipairs { 'a', 'b', 'c', 'd' } do
      writable:write(chunk)
    end
    held[1]()
    assert.equal(3, #batches[2])
    assert.equal('b', batches[2][1].chunk)
    assert.equal('d', batches[2][3].chunk)
    assert.is_true(batches[2].allBuffers)
    held[2]()
    assert.equal(0, writable.writableLength)
  end)

  it('calls the callbacks of a batch in order, with its error', function()
    local writable, _, held = vectored()
    local order = {}
    writable:on('error', function() end)
    for i = 1, 3 do
      writable:write('x', function(err) order[#order + 1] = i .. (err and err.message or '') end)
    end
    held[1]()
    held[2](errors.new('e'))
    tick.drain()
    assert.same({ '1', '2e', '3e' }, order)
  end)

  it('is passed over for _write when only one chunk is buffered', function()
    local calls = {}
    local held
    local writable = Writable {
      write = function(_, chunk, _, callback)
        calls[#calls + 1] = chunk
        held = callback
      end,
      writev = function(_, chunks, callback)
        calls[#calls + 1] = #chunks
        held = callback
      end,
    }
    writable:write('a')
    writable:write('b')
    held()
    writable:write('c')
    writable:write('d')
    held()
    assert.same({ 'a', 'b', 2 }, calls)
  end)

  it('gives way to _writeStrings, which gets plain strings', function()
    local Sub, lists, held = Writable:extend('Sub'), {}, nil
    function Sub:_write(chunk, _, callback)
      lists[#lists + 1] = chunk
      held = callback
    end
    function Sub:_writeStrings(list, callback)
      lists[#lists + 1] = table.concat(list, ',')
      held = callback
    end
    local writable = Sub()
    local done = 0
    for _, chunk in ipairs { 'a', 'b', 'c' } do
      writable:write(chunk, function() done = done + 1 end)
    end
    writable:write('64', 'hex')
    held()
    held()
    assert.same({ 'a', 'b,c,d' }, lists)
    assert.equal(3, done)
  end)
end)

-- Corked writes, the end of a Writable, and the rest about it.
local stream = require 'stream'
local errors = require 'moonlatch.errors'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local Writable = stream.Writable
local sink, record = S.sink, S.record

describe('Writable:cork', function()
  it('holds writes back until uncork', function()
    local writable, got = sink()
    writable:cork()
    writable:write('a')
    writable:write('b')
    assert.same({}, got)
    assert.equal(1, writable.writableCorked)
    writable:uncork()
    assert.same({ 'a', 'b' }, got)
    assert.equal(0, writable.writableCorked)
  end)

  it('needs as many uncorks as corks', function()
    local writable, got = sink()
    writable:cork()
    writable:cork()
    writable:write('a')
    writable:uncork()
    assert.same({}, got)
    writable:uncork()
    assert.same({ 'a' }, got)
    writable:uncork()
    assert.equal(0, writable.writableCorked)
  end)

  it('is undone by finish()', function()
    local writable, got = sink()
    local log = record(writable, 'finish')
    writable:cork()
    writable:cork()
    writable:write('a')
    writable:finish('b')
    tick.drain()
    assert.same({ 'a', 'b' }, got)
    assert.same({ 'finish' }, log)
  end)

  it('counts towards the high-water mark', function()
    local writable = sink { highWaterMark = 2 }
    local log = record(writable, 'drain')
    writable:cork()
    assert.is_false(writable:write('abc'))
    writable:uncork()
    tick.drain()
    assert.same({ 'drain' }, log)
  end)

  it('shows what is held in writableBuffer', function()
    local writable = sink()
    writable:cork()
    writable:write('a')
    assert.equal('a', writable.writableBuffer[1].chunk)
    assert.equal(1, writable._writableState.bufferedRequestCount)
  end)
end)

describe('Writable:finish', function()
  it('emits prefinish, finish and close, in that order and once', function()
    local writable = sink()
    local log = record(writable, 'prefinish', 'finish', 'close')
    writable:finish()
    writable:finish()
    tick.drain()
    assert.same({ 'prefinish', 'finish', 'close' }, log)
  end)

  it('never emits finish inside the call', function()
    local writable = sink()
    local log = record(writable, 'finish')
    writable:finish()
    assert.same({}, log)
    assert.is_true(writable.writableEnded)
    assert.is_false(writable.writableFinished)
    tick.drain()
    assert.is_true(writable.writableFinished)
  end)

  it('writes a last chunk, with its encoding', function()
    local writable, got = sink()
    writable:write('a')
    writable:finish('62', 'hex')
    assert.same({ 'a', 'b' }, got)
  end)

  it('waits for writes under way', function()
    local writable, _, held = sink(nil, true)
    local log = record(writable, 'finish')
    writable:write('a')
    writable:finish('b')
    tick.drain()
    held[1]()
    tick.drain()
    assert.same({}, log)
    held[2]()
    tick.drain()
    assert.same({ 'finish' }, log)
  end)

  it('also stands under the key end, and returns the stream', function()
    local writable, got = sink()
    assert.equal(writable, writable['end'](writable, 'x'))
    assert.same({ 'x' }, got)
  end)

  for name, call in pairs {
    ['a callback alone'] = function(w, cb) w:finish(cb) end,
    ['a chunk and a callback'] = function(w, cb) w:finish('x', cb) end,
    ['chunk, encoding and callback'] = function(w, cb) w:finish('78', 'hex', cb) end,
    ['nil, nil and a callback'] = function(w, cb) w:finish(nil, nil, cb) end,
  } do
    it('takes ' .. name .. ', called just before finish is emitted', function()
      local writable = sink()
      local log = record(writable, 'finish')
      call(writable, function(err) log[#log + 1] = err or 'callback' end)
      tick.drain()
      assert.same({ 'callback', 'finish' }, log)
    end)
  end

  it('tells its callback when the stream had already finished', function()
    local writable, code = sink(), nil
    writable:finish()
    tick.drain()
    writable:finish(function(err) code = err.code end)
    tick.drain()
    assert.equal('ERR_STREAM_ALREADY_FINISHED', code)
  end)

  it('tells its callback of a failure that came before', function()
    local writable, got = sink { autoDestroy = false }, {}
    local destroyed = sink()
    writable:on('error', function() end)
    destroyed:on('error', function() end)
    writable._final = function(_, callback) callback(errors.new('before')) end
    writable:finish()
    destroyed:destroy(errors.new('x'))
    tick.drain()
    writable:finish(function(err) got[1] = err.message end)
    destroyed:finish(function(err) got[2] = err.code end)
    tick.drain()
    assert.same({ 'before', 'ERR_STREAM_DESTROYED' }, got)
  end)

  it('fails its callback when a write fails', function()
    local writable, _, held = sink(nil, true)
    writable:on('error', function() end)
    local got
    writable:write('a')
    writable:finish(function(err) got = err end)
    held[1](errors.new('no'))
    tick.drain()
    assert.equal('no', got.message)
  end)

  it('of a chunk after finish() is ERR_STREAM_WRITE_AFTER_END', function()
    local writable = sink()
    local log = record(writable, 'error')
    local code
    writable:finish()
    writable:finish('x', function(err) code = err.code end)
    tick.drain()
    assert.equal('ERR_STREAM_WRITE_AFTER_END', code)
    assert.equal(1, #log)
  end)

  it('makes writable false', function()
    local writable = sink()
    assert.is_true(writable.writable)
    writable:finish()
    assert.is_false(writable.writable)
  end)
end)

describe('Writable:_final', function()
  it('is called when everything is written, and finish waits for it', function()
    local release
    local order = {}
    local writable = Writable {
      write = function(_, chunk, _, callback)
        order[#order + 1] = chunk
        callback()
      end,
      final = function(_, callback)
        order[#order + 1] = 'final'
        release = callback
      end,
    }
    writable:on('finish', function() order[#order + 1] = 'finish' end)
    writable:finish('a')
    tick.drain()
    assert.same({ 'a', 'final' }, order)
    release()
    tick.drain()
    assert.same({ 'a', 'final', 'finish' }, order)
  end)

  it('that fails destroys the stream, without finish', function()
    local writable = Writable { write = function(_, _, _, cb) cb() end, final = function(_, cb)
      cb(errors.new('no'))
    end }
    local log = record(writable, 'error', 'finish', 'close')
    local got
    writable:finish(function(err) got = err end)
    tick.drain()
    assert.same({ 'error:Error: no', 'close' }, log)
    assert.equal('no', got.message)
  end)

  it('that raises does the same', function()
    local writable = Writable { final = function() error(errors.new('raised'), 0) end }
    local log = record(writable, 'error', 'finish', 'close')
    writable:finish()
    tick.drain()
    assert.same({ 'error:Error: raised', 'close' }, log)
  end)

  it('that calls back twice is ERR_MULTIPLE_CALLBACK', function()
    local writable = Writable { final = function(_, cb)
      cb()
      cb()
    end }
    local log = record(writable, 'error')
    writable:finish()
    tick.drain()
    assert.matches('ERR_MULTIPLE_CALLBACK', log[1])
  end)

  it('is called once', function()
    local calls = 0
    local writable = Writable { final = function(_, cb)
      calls = calls + 1
      cb()
    end }
    writable:finish()
    writable:finish()
    tick.drain()
    assert.equal(1, calls)
  end)
end)

describe('Writable', function()
  it('cannot be piped from', function()
    local writable = sink()
    local log = record(writable, 'error')
    writable:pipe(sink())
    tick.drain()
    assert.same({ 'error:Error [ERR_STREAM_CANNOT_PIPE]: Cannot pipe, not readable' }, log)
  end)

  it('does not close itself without autoDestroy', function()
    local writable = sink { autoDestroy = false }
    local log = record(writable, 'finish', 'close')
    writable:finish()
    tick.drain()
    assert.same({ 'finish' }, log)
    assert.is_false(writable.destroyed)
  end)

  it('says whether it was cut off before its end', function()
    local cut, whole = sink(), sink()
    cut:destroy()
    whole:finish()
    tick.drain()
    assert.is_true(cut.writableAborted)
    assert.is_false(whole.writableAborted)
  end)

  it('takes its methods from a subclass', function()
    local Sub, got = Writable:extend('Sub'), {}
    function Sub:_write(chunk, _, callback)
      got[#got + 1] = chunk
      callback()
    end
    Sub():write('x')
    assert.same({ 'x' }, got)
  end)

  it('gives option functions the stream as self', function()
    local selves = {}
    local writable = Writable {
      write = function(self, _, _, cb) selves[1] = self cb() end,
      final = function(self, cb) selves[2] = self cb() end,
      destroy = function(self, err, cb) selves[3] = self cb(err) end,
    }
    writable:finish('x')
    tick.drain()
    assert.same({ writable, writable, writable }, selves)
  end)
end)

local stream = require 'stream'
local errors = require 'moonlatch.errors'
local abort = require 'moonlatch.abort'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local newReadable, newDuplex, record = S.idle, S.duplex, S.record

local function newWritable(options)
  options = options or {}
  options.write = options.write or function(_, _, _, callback) callback() end
  return stream.Writable(options)
end

for name, make in pairs { Readable = newReadable, Writable = newWritable, Duplex = newDuplex } do
  describe(name .. ':destroy', function()
    it('emits close in a tick, once, and nothing else', function()
      local target = make()
      local log = record(target, 'close', 'error', 'end', 'finish')
      assert.equal(target, target:destroy())
      assert.same({}, log)
      assert.is_true(target.destroyed)
      target:destroy()
      tick.drain()
      target:destroy()
      tick.drain()
      assert.same({ 'close' }, log)
      assert.is_true(target.closed)
    end)

    it('with an error emits error, then close', function()
      local target = make()
      local log = record(target, 'close', 'error')
      local boom = errors.new('boom')
      target:destroy(boom)
      tick.drain()
      assert.same({ 'error:Error: boom', 'close' }, log)
      assert.equal(boom, target.errored)
      assert.is_true(stream.isErrored(target))
    end)

    it('with an error nobody listens for raises it', function()
      local target = make()
      target:destroy(errors.new('unheard'))
      local _, err = pcall(tick.drain)
      assert.equal('unheard', err.message)
      tick.drain()
    end)

    it('counts the first error only', function()
      local target = make()
      local log = record(target, 'error')
      target:destroy(errors.new('first'))
      target:destroy(errors.new('second'))
      tick.drain()
      assert.same({ 'error:Error: first' }, log)
    end)

    it('calls _destroy with the error, and waits for its callback', function()
      local release, got
      local target = make { destroy = function(_, err, callback)
        got, release = err, callback
      end }
      local log = record(target, 'close', 'error')
      target:destroy(errors.new('x'))
      tick.drain()
      assert.equal('x', got.message)
      assert.same({}, log)
      assert.is_false(target.closed)
      release(got)
      tick.drain()
      assert.same({ 'error:Error: x', 'close' }, log)
    end)

    it('lets _destroy swallow the error, or replace it', function()
      local quiet = make { destroy = function(_, _, callback) callback() end }
      local other = make { destroy = function(_, _, callback) callback(errors.new('other')) end }
      local quietLog, otherLog = record(quiet, 'close', 'error'), record(other, 'close', 'error')
      quiet:destroy(errors.new('x'))
      other:destroy(errors.new('x'))
      tick.drain()
      assert.same({ 'close' }, quietLog)
      assert.same({ 'error:Error: other', 'close' }, otherLog)
    end)

    it('takes an error raised in _destroy for its failure', function()
      local target = make { destroy = function() error(errors.new('raised'), 0) end }
      local log = record(target, 'close', 'error')
      target:destroy()
      tick.drain()
      assert.same({ 'error:Error: raised', 'close' }, log)
    end)

    it('ignores a second callback of _destroy', function()
      local target = make { destroy = function(_, _, callback)
        callback()
        callback(errors.new('again'))
      end }
      local log = record(target, 'close', 'error')
      target:destroy()
      tick.drain()
      assert.same({ 'close' }, log)
    end)

    it('does not emit close with emitClose = false', function()
      local target = make { emitClose = false }
      local log = record(target, 'close')
      target:destroy()
      tick.drain()
      assert.same({}, log)
      assert.is_true(target.closed)
    end)

    it('calls its own callback when _destroy is done, before the events', function()
      local target = make()
      local log = record(target, 'close', 'error')
      target:destroy(errors.new('x'), function(err) log[#log + 1] = 'callback:' .. err.message end)
      tick.drain()
      assert.same({ 'callback:x', 'error:Error: x', 'close' }, log)
    end)

    it('works in the listener of close and error', function()
      local target = make()
      local log = record(target, 'close', 'error')
      target:on('error', function() target:destroy(errors.new('inside')) end)
      target:on('close', function() target:destroy() end)
      target:destroy(errors.new('x'))
      tick.drain()
      assert.same({ 'error:Error: x', 'close' }, log)
    end)

    it('happens when a signal given as option is aborted', function()
      local controller = abort.AbortController()
      local target = make { signal = controller.signal }
      local log = record(target, 'close', 'error')
      controller:abort('why')
      tick.drain()
      assert.same({ 'error:AbortError: The operation was aborted', 'close' }, log)
      assert.equal('why', target.errored.cause)
    end)
  end)

  describe(name .. ' with _construct', function()
    it('constructs in a tick, before anything else', function()
      local order = {}
      local target = make {
        construct = function(_, callback)
          order[#order + 1] = 'construct'
          callback()
        end,
        read = function() order[#order + 1] = 'read' end,
        write = function(_, _, _, callback)
          order[#order + 1] = 'write'
          callback()
        end,
      }
      if target.write then
        target:write('x')
      end
      if target.read then
        target:read()
      end
      assert.same({}, order)
      tick.drain()
      assert.equal('construct', order[1])
      assert.is_true(#order >= 2)
    end)

    it('that fails destroys the stream', function()
      local target = make { construct = function(_, callback) callback(errors.new('no')) end }
      local log = record(target, 'error', 'close')
      tick.drain()
      assert.same({ 'error:Error: no', 'close' }, log)
    end)

    it('that raises destroys the stream', function()
      local target = make { construct = function() error(errors.new('raised'), 0) end }
      local log = record(target, 'error', 'close')
      tick.drain()
      assert.same({ 'error:Error: raised', 'close' }, log)
    end)

    it('is waited for by destroy', function()
      local release
      local order = {}
      local target = make {
        construct = function(_, callback) release = callback end,
        destroy = function(_, err, callback)
          order[#order + 1] = '_destroy'
          callback(err)
        end,
      }
      target:on('close', function() order[#order + 1] = 'close' end)
      target:destroy()
      tick.drain()
      assert.same({}, order)
      release()
      tick.drain()
      assert.same({ '_destroy', 'close' }, order)
    end)

    it('that calls back twice is ERR_MULTIPLE_CALLBACK', function()
      local target = make { construct = function(_, callback)
        callback()
        callback()
      end }
      local log = record(target, 'error')
      tick.drain()
      assert.matches('ERR_MULTIPLE_CALLBACK', log[1])
    end)
  end)
end

describe('destroying', function()
  it('a Writable with writes under way fails those that wait behind', function()
    local held
    local writable = newWritable { write = function(_, _, _, callback) held = callback end }
    local results = {}
    for i = 1, 3 do
      writable:write('x', function(err) results[i] = err and err.code or 'ok' end)
    end
    writable:destroy()
    tick.drain()
    held()
    tick.drain()
    assert.same({ 'ok', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_DESTROYED' }, results)
  end)

  it('a corked Writable fails what it holds', function()
    local writable, code = newWritable(), nil
    writable:cork()
    writable:write('x', function(err) code = err.code end)
    writable:destroy()
    tick.drain()
    assert.equal('ERR_STREAM_DESTROYED', code)
  end)

  it('fails the callback of finish()', function()
    local writable = newWritable { write = function() end }
    local code
    writable:write('x')
    writable:finish(function(err) code = err.code end)
    writable._writableState.writing = false
    writable:destroy()
    tick.drain()
    assert.equal('ERR_STREAM_DESTROYED', code)
  end)

  it('a Readable keeps it from ending', function()
    local readable = newReadable()
    local log = record(readable, 'end', 'close')
    readable:resume()
    readable:push(nil)
    readable:destroy()
    tick.drain()
    assert.same({ 'close' }, log)
  end)

  it('inside a data listener stops reading from the source', function()
    local reads, got = 0, {}
    local readable = newReadable { read = function(self)
      reads = reads + 1
      self:push('x')
    end }
    local readsBefore
    readable:on('data', function(c)
      got[#got + 1] = c
      readsBefore = readsBefore or reads
      readable:destroy()
    end)
    tick.drain()
    assert.equal(readsBefore, reads)
    assert.equal(reads, #got)
  end)

  it('can be undone for a stream that is used again', function()
    local duplex = newDuplex()
    duplex:destroy(nil)
    tick.drain()
    duplex:_undestroy()
    assert.is_false(duplex.destroyed)
    assert.is_true(duplex.readable)
    assert.is_true(duplex.writable)
    local log = record(duplex, 'data', 'finish')
    tick.drain()
    duplex:push('again')
    duplex:finish('x')
    tick.drain()
    assert.same({ 'data:again', 'finish' }, log)
  end)
end)

describe('addAbortSignal', function()
  it('destroys the stream with an AbortError', function()
    local controller, readable = abort.AbortController(), newReadable()
    local log = record(readable, 'error')
    assert.equal(readable, stream.addAbortSignal(controller.signal, readable))
    controller:abort()
    tick.drain()
    assert.same({ 'error:AbortError: The operation was aborted' }, log)
    assert.equal('ABORT_ERR', readable.errored.code)
  end)

  it('destroys it at once when the signal is aborted already', function()
    local readable = newReadable()
    readable:on('error', function() end)
    stream.addAbortSignal(abort.AbortSignal.abort(), readable)
    assert.is_true(readable.destroyed)
    tick.drain()
  end)

  it('lets go of the signal when the stream is over', function()
    local controller, readable = abort.AbortController(), newReadable()
    stream.addAbortSignal(controller.signal, readable)
    readable:destroy()
    tick.drain()
    assert.same({}, require('events').getEventListeners(controller.signal, 'abort'))
  end)

  it('refuses what is no signal or no stream', function()
    for _, arguments in ipairs { { {}, newReadable() }, { abort.AbortController().signal, {} } } do
      local _, err = pcall(stream.addAbortSignal, arguments[1], arguments[2])
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    end
  end)
end)

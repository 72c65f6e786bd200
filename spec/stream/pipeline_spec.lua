local stream = require 'stream'
local errors = require 'moonlatch.errors'
local abort = require 'moonlatch.abort'
local tick = require 'moonlatch.tick'
local S = require 'spec.support.streams'

local pipeline, finished = stream.pipeline, stream.finished
local idle = S.idle

local function sink(options)
  options = options or {}
  local got = {}
  options.write = options.write or function(_, chunk, _, callback)
    got[#got + 1] = chunk
    callback()
  end
  return stream.Writable(options), got
end

-- A callback that keeps its arguments and counts.
local function waiter()
  local result = { calls = 0 }
  return result, function(err, value)
    result.calls, result.err, result.value = result.calls + 1, err, value
  end
end

describe('finished', function()
  it('tells when a Readable has ended', function()
    local readable, result, callback = idle(), waiter()
    finished(readable, callback)
    readable:push(nil)
    tick.drain()
    assert.equal(0, result.calls)
    readable:resume()
    tick.drain()
    assert.equal(1, result.calls)
    assert.is_nil(result.err)
  end)

  it('tells when a Writable has finished', function()
    local writable, result, callback = sink(), waiter()
    finished(writable, callback)
    writable:finish()
    tick.drain()
    assert.equal(1, result.calls)
    assert.is_nil(result.err)
  end)

  it('waits for both halves of a Duplex', function()
    local duplex = stream.PassThrough()
    local result, callback = waiter()
    finished(duplex, callback)
    duplex:finish()
    tick.drain()
    assert.equal(0, result.calls)
    duplex:resume()
    tick.drain()
    assert.equal(1, result.calls)
  end)

  it('waits for one half when told so', function()
    local duplex = stream.PassThrough()
    local written, writtenCallback = waiter()
    finished(duplex, { readable = false }, writtenCallback)
    duplex:finish('x')
    tick.drain()
    assert.equal(1, written.calls)
    local read, readCallback = waiter()
    finished(duplex, { writable = false }, readCallback)
    duplex:resume()
    tick.drain()
    assert.equal(1, read.calls)
  end)

  it('gives the error of a stream that fails', function()
    local readable, result, callback = idle(), waiter()
    finished(readable, callback)
    readable:destroy(errors.new('x'))
    tick.drain()
    assert.equal('x', result.err.message)
    assert.equal(1, result.calls)
  end)

  it('gives ERR_STREAM_PREMATURE_CLOSE for a stream closed before its end', function()
    for _, target in ipairs { idle(), (sink()), stream.PassThrough() } do
      local result, callback = waiter()
      finished(target, callback)
      target:destroy()
      tick.drain()
      assert.equal('ERR_STREAM_PREMATURE_CLOSE', result.err.code)
    end
  end)

  it('tells in a tick when the stream is over already', function()
    local writable = sink()
    writable:finish()
    tick.drain()
    local result, callback = waiter()
    finished(writable, callback)
    assert.equal(0, result.calls)
    tick.drain()
    assert.equal(1, result.calls)
    assert.is_nil(result.err)
  end)

  it('gives the error of a stream that had failed already', function()
    local writable = sink()
    writable:on('error', function() end)
    writable:destroy(errors.new('before'))
    tick.drain()
    local result, callback = waiter()
    finished(writable, callback)
    tick.drain()
    assert.equal('before', result.err.message)
  end)

  it('can be called off', function()
    local readable, result, callback = idle(), waiter()
    local cleanup = finished(readable, callback)
    cleanup()
    assert.same({}, readable:eventNames())
    readable:resume()
    readable:push(nil)
    tick.drain()
    assert.equal(0, result.calls)
  end)

  it('does not listen to errors with error = false', function()
    local readable, result, callback = idle(), waiter()
    finished(readable, { error = false }, callback)
    assert.equal(0, readable:listenerCount('error'))
    readable:on('error', function() end)
    readable:destroy(errors.new('x'))
    tick.drain()
    assert.equal('x', result.err.message)
  end)

  it('is called off by a signal, with an AbortError', function()
    local controller = abort.AbortController()
    local readable, result, callback = idle(), waiter()
    finished(readable, { signal = controller.signal }, callback)
    controller:abort('why')
    assert.equal('ABORT_ERR', result.err.code)
    assert.equal('why', result.err.cause)
    assert.is_false(readable.destroyed)
    assert.same({}, readable:eventNames())
  end)

  it('checks its arguments', function()
    for _, arguments in ipairs { { {}, print }, { idle(), 5, print }, { idle(), {}, 5 }, { idle() } } do
      local _, err = pcall(finished, unpack(arguments, 1, 3))
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    end
  end)

  it('waits inside a coroutine in promises', function()
    local readable, over = idle(), false
    coroutine.wrap(function()
      stream.promises.finished(readable)
      over = true
    end)()
    readable:resume()
    readable:push(nil)
    tick.drain()
    assert.is_true(over)
  end)

  it('raises inside the coroutine what went wrong', function()
    local readable, caught = idle(), nil
    coroutine.wrap(function()
      local _, err = pcall(stream.promises.finished, readable)
      caught = err
    end)()
    readable:destroy(errors.new('x'))
    tick.drain()
    assert.equal('x', caught.message)
  end)
end)

describe('pipeline', function()
  it('carries everything through and calls back once', function()
    local dest, got = sink()
    local result, callback = waiter()
    local last = pipeline(stream.Readable.from { 'a', 'b' }, stream.PassThrough(), dest, callback)
    assert.equal(dest, last)
    tick.drain()
    assert.equal('ab', table.concat(got))
    assert.equal(1, result.calls)
    assert.is_nil(result.err)
  end)

  it('takes the streams in a list', function()
    local dest, got = sink()
    local result, callback = waiter()
    pipeline({ stream.Readable.from { 'a' }, dest }, callback)
    tick.drain()
    assert.same({ 'a' }, got)
    assert.equal(1, result.calls)
  end)

  for place, name in ipairs { 'first', 'middle', 'last' } do
    it('destroys all when the ' .. name .. ' stream fails, and gives its error', function()
      local streams = { idle(), stream.PassThrough(), (sink()) }
      local result, callback = waiter()
      pipeline(streams[1], streams[2], streams[3], callback)
      tick.drain()
      streams[place]:destroy(errors.new('boom'))
      tick.drain()
      assert.equal('boom', result.err.message)
      assert.equal(1, result.calls)
      for _, member in ipairs(streams) do
        assert.is_true(member.destroyed)
      end
    end)

    it('calls the ' .. name .. ' stream closing early ERR_STREAM_PREMATURE_CLOSE', function()
      local streams = { idle(), stream.PassThrough(), (sink()) }
      local result, callback = waiter()
      pipeline(streams[1], streams[2], streams[3], callback)
      tick.drain()
      streams[place]:destroy()
      tick.drain()
      assert.equal('ERR_STREAM_PREMATURE_CLOSE', result.err.code)
      assert.equal(1, result.calls)
      for _, member in ipairs(streams) do
        assert.is_true(member.destroyed)
      end
    end)
  end

  it('gives the error of a transform', function()
    local bad = stream.Transform { transform = function(_, _, _, callback) callback(errors.new('bad')) end }
    local result, callback = waiter()
    pipeline(stream.Readable.from { 'a' }, bad, (sink()), callback)
    tick.drain()
    assert.equal('bad', result.err.message)
  end)

  it('gives the error of a final', function()
    local dest = sink { final = function(_, callback) callback(errors.new('final')) end }
    local result, callback = waiter()
    pipeline(stream.Readable.from { 'a' }, dest, callback)
    tick.drain()
    assert.equal('final', result.err.message)
  end)

  it('leaves the last stream open with end = false', function()
    local dest, got = sink()
    local result, callback = waiter()
    pipeline(stream.Readable.from { 'a' }, dest, { ['end'] = false }, callback)
    tick.drain()
    assert.same({ 'a' }, got)
    assert.equal(1, result.calls)
    assert.is_false(dest.writableEnded)
    assert.is_false(dest.destroyed)
  end)

  it('obeys backpressure', function()
    local held = {}
    local dest = sink { highWaterMark = 1, write = function(_, _, _, callback) held[#held + 1] = callback end }
    local result, callback = waiter()
    pipeline(stream.Readable.from { 'a', 'b', 'c' }, dest, callback)
    for i = 1, 3 do
      tick.drain()
      assert.equal(i, #held)
      held[i]()
    end
    tick.drain()
    assert.equal(1, result.calls)
  end)

  it('takes a sequence or an iterator function as its source', function()
    local one, oneGot = sink()
    local two, twoGot = sink()
    local n = 0
    pipeline({ 'a', 'b' }, one, function() end)
    pipeline(function()
      n = n + 1
      return n < 3 and tostring(n) or nil
    end, two, function() end)
    tick.drain()
    assert.equal('ab', table.concat(oneGot))
    assert.equal('12', table.concat(twoGot))
  end)

  it('takes a function in the middle, which turns an iterator into another', function()
    local dest, got = sink()
    local result, callback = waiter()
    pipeline({ 'a', 'b' }, function(source)
      return function()
        local chunk = source()
        return chunk and chunk:upper()
      end
    end, dest, callback)
    tick.drain()
    assert.equal('AB', table.concat(got))
    assert.is_nil(result.err)
  end)

  it('takes a function at the end, whose result goes to the callback', function()
    local result, callback = waiter()
    pipeline({ 'a', 'b' }, stream.PassThrough(), function(source)
      local all = ''
      for chunk in source do
        all = all .. chunk
      end
      return all
    end, callback)
    tick.drain()
    assert.equal('ab', result.value)
    assert.equal(1, result.calls)
  end)

  it('destroys all when a function raises', function()
    local source = idle()
    source:push('x')
    local result, callback = waiter()
    pipeline(source, function(chunks)
      chunks()
      error(errors.new('in consumer'), 0)
    end, callback)
    tick.drain()
    assert.equal('in consumer', result.err.message)
    assert.is_true(source.destroyed)
  end)

  it('is called off by a signal', function()
    local controller = abort.AbortController()
    local source, dest = idle(), sink()
    local result, callback = waiter()
    pipeline(source, dest, { signal = controller.signal }, callback)
    tick.drain()
    controller:abort()
    tick.drain()
    assert.equal('ABORT_ERR', result.err.code)
    assert.is_true(source.destroyed)
    assert.is_true(dest.destroyed)
  end)

  it('waits inside a coroutine in promises', function()
    local dest, got = sink()
    local over
    coroutine.wrap(function()
      stream.promises.pipeline({ 'a' }, dest)
      over = #got
    end)()
    tick.drain()
    assert.equal(1, over)
  end)

  it('checks its arguments', function()
    assert.equal('ERR_INVALID_ARG_TYPE', S.codeOf(pipeline, idle(), (sink())))
    assert.equal('ERR_MISSING_ARGS', S.codeOf(pipeline, idle(), print))
    assert.equal('ERR_MISSING_ARGS', S.codeOf(pipeline, print))
    assert.equal('ERR_INVALID_ARG_TYPE', S.codeOf(pipeline, idle(), 5, print))
  end)
end)

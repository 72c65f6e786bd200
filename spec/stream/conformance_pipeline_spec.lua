-- What Node promises of pipes that fail and of pipeline, between streams of every kind; spec.support.piping says what
-- a case begins with.

local AbortController = require('events').AbortController
local C = require 'spec.support.conformance'
local errors = require 'moonlatch.errors'
local stream = require 'stream'
local timers = require 'timers'
local R = require 'spec.support.piping'

local pattern = C.pattern
local MEGABYTES = pattern(4 * 1024 * 1024)
local collect, pour = R.collect, R.pour
local reached = R.reached

local failing = {
  { "an error of the destination undoes the pipe and leaves the source alone (readable.pipe)", function(t)
    local log = t:log(t.c, { 'error', 'unpipe' })
    t.b:pipe(t.c)
    t.a:write('x')
    t:settle()
    t.c:destroy(errors.new('dest'))
    t:closed(t.c)
    assert.same({ 'unpipe', 'error dest' }, log)
    assert.is_false(t.b.destroyed)
    assert.is_false(t.b.readableFlowing)
  end },
  { "an error of the destination that nobody listens for is uncaught (readable.pipe)", function(t)
    local caught = t:uncaught()
    t:ignore(t.d)
    if t.c == t.d then
      t.c:removeAllListeners('error')
    end
    t.b:pipe(t.c)
    t.c:destroy(errors.new('dest'))
    t:closed(t.c)
    assert.same({ 'dest' }, caught)
  end },
  { "an error of the source does not end the destination (readable.pipe)", function(t)
    t:ignore(t.a)
    t:ignore(t.b)
    local log = t:log(t.c, { 'finish', 'close', 'error' })
    t.b:pipe(t.c)
    t.b:destroy(errors.new('source'))
    t:closed(t.b)
    t:settle()
    assert.same({}, log)
    assert.is_true(t.c.writable)
  end },
  { "a destination that closes early leaves the source where it is (readable.pipe)", function(t)
    t:ignore(t.d)
    t.b:pipe(t.c)
    t.a:write('x')
    t:settle()
    t.c:destroy()
    t:closed(t.c)
    t.a:write('y')
    t:settle()
    assert.is_false(t.b.destroyed)
    assert.is_false(t.b.readableFlowing)
  end },
  { "a destination destroyed while it is full lets the source be used otherwise (readable.pipe)", function(t)
    t:ignore(t.d)
    t.d:pause()
    t.b:pipe(t.c)
    pour(t.a, 320)
    t.a:finish()
    t:settle()
    t.c:destroy()
    t:closed(t.c)
    local count = 0
    t.b:on('data', function(chunk) count = count + #chunk end)
    t.b:resume()
    t.await(t.b, 'end')
    assert.is_true(count > 0)
  end },
  { "a source destroyed while the destination is full ends there (readable.pipe)", function(t)
    t:ignore(t.a)
    t.d:pause()
    t.b:pipe(t.c)
    pour(t.a, 320)
    t:settle()
    t.b:destroy()
    t:closed(t.b)
    t.d:resume()
    t:settle()
    assert.is_false(t.d.readableEnded)
    t.c:finish()
    t:all(t.d)
  end },
  { "a destination that the script ends is unpiped at its 'finish' (event 'unpipe')", function(t)
    t:ignore(t.c)
    local log = t:log(t.c, { 'unpipe', 'finish' })
    t.b:pipe(t.c)
    t:settle()
    t.c:finish()
    t.d:resume()
    t:untilTrue(function() return #log == 2 end)
    assert.same({ 'unpipe', 'finish' }, log[1] == 'unpipe' and log or { log[2], log[1] })
    assert.is_false(t.b.destroyed)
  end },
  { "data that comes after the script has ended the destination is a write after end (readable.pipe)", function(t)
    t:ignore(t.d)
    t.d:pause()
    local log = t:log(t.c, { 'error' })
    t.b:pipe(t.c)
    t.a:write('x')
    t:settle()
    t.c:cork()
    for _ = 1, 2 do
      t.c:write(MEGABYTES)
    end
    t.c:uncork()
    for _ = 1, 16 do
      t.c:write(MEGABYTES)
    end
    t.c:finish()
    t.a:write('late')
    t:settle()
    t:closed(t.c)
    assert.same({ 'error ERR_STREAM_WRITE_AFTER_END' }, log)
  end },
  { "destroy of both ends of a pipe at once (stream.destroy)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    t.b:pipe(t.c)
    t.a:write(MEGABYTES)
    t:settle()
    t.b:destroy()
    t.c:destroy()
    t:closed(t.b, t.c)
  end },
}

local pipelines = {
  { "pipeline carries everything and calls back once, without an error (stream.pipeline)", function(t)
    local data, calls = pattern(300000), 0
    local bytes = collect(t.d)
    t.d.allowHalfOpen, t.a.allowHalfOpen = false, false
    t.await(function(done)
      assert.equal(t.c, stream.pipeline(t.b, t.c, function(err)
        calls = calls + 1
        done(err)
      end))
      t.a:resume()
      t.a:finish(data)
    end)
    t:untilTrue(function() return #bytes() == #data end)
    t:settle()
    assert.is_true(bytes() == data)
    assert.equal(1, calls)
  end },
  { "an error of the source destroys all, and is what pipeline reports (stream.pipeline)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    local err
    stream.pipeline(t.b, t.c, function(failure) err = failure end)
    t.b:destroy(errors.new('source'))
    t:closed(t.b, t.c)
    t:settle()
    assert.equal('source', err.message)
  end },
  { "an error of the destination destroys all, and is what pipeline reports (stream.pipeline)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    local err
    stream.pipeline(t.b, t.c, function(failure) err = failure end)
    t.c:destroy(errors.new('destination'))
    t:closed(t.b, t.c)
    t:settle()
    assert.equal('destination', err.message)
  end },
  { "a source that closes early is ERR_STREAM_PREMATURE_CLOSE (stream.pipeline)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    local err
    stream.pipeline(t.b, t.c, function(failure) err = failure end)
    t.b:destroy()
    t:closed(t.b, t.c)
    t:settle()
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', err.code)
  end },
  { "a destination that closes early is ERR_STREAM_PREMATURE_CLOSE (stream.pipeline)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    local err
    stream.pipeline(t.b, t.c, function(failure) err = failure end)
    t.c:destroy()
    t:closed(t.b, t.c)
    t:settle()
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', err.code)
  end },
  { "a transform in the middle, and its error (stream.pipeline)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    local err
    local upper = stream.Transform { transform = function(_, chunk, _, callback)
      if chunk:find('bad', 1, true) then
        callback(errors.new('bad chunk'))
      else
        callback(nil, chunk:upper())
      end
    end }
    local bytes = collect(t.d)
    stream.pipeline(t.b, upper, t.c, function(failure) err = failure end)
    t.a:write('good')
    reached(t, bytes, 4)
    assert.equal('GOOD', bytes())
    t.a:write('bad')
    t:closed(t.b, t.c)
    t:settle()
    assert.equal('bad chunk', err.message)
  end },
  { "a signal ends it with an AbortError (stream.pipeline)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    local controller, err = AbortController(), nil
    stream.pipeline(t.b, t.c, { signal = controller.signal }, function(failure) err = failure end)
    t.a:write('x')
    t:settle()
    controller:abort()
    t:closed(t.b, t.c)
    t:settle()
    assert.equal('AbortError', err.name)
  end },
  { "promises.pipeline waits inside a coroutine, and raises (stream.promises)", function(t)
    t:ignore(t.a)
    t:ignore(t.d)
    timers.setImmediate(function() t.b:destroy(errors.new('source')) end)
    local ok, err = pcall(stream.promises.pipeline, t.b, t.c)
    assert.is_false(ok)
    assert.equal('source', err.message)
  end },
  { "with end = false the last stream stays open (stream.pipeline)", function(t)
    local bytes = collect(t.d)
    t.a:resume()
    t.await(function(done)
      stream.pipeline(t.b, t.c, { ['end'] = false }, done)
      t.a:finish('x')
    end)
    reached(t, bytes, 1)
    assert.is_true(t.c.writable)
  end },
}

R.run({ describe = describe, it = it }, 'Piping', { failing, pipelines })

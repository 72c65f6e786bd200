-- What Node promises of streams that are destroyed or fail, over every transport.

local C = require 'spec.support.conformance'
local AbortController = require('events').AbortController
local errors = require 'moonlatch.errors'
local process = require 'process'
local stream = require 'stream'

local pattern = C.pattern
local MEGABYTES = pattern(4 * 1024 * 1024)

-- Each case begins with two ends, t.a and t.b: what is written to a comes out of b.
local destroying = {
  { "'close' comes later than destroy(), once, and no 'error' (stream.destroy)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'error', 'close' })
    assert.equal(t.b, t.b:destroy())
    assert.same({}, log)
    t:closed(t.b)
    t:settle()
    assert.same({ 'close' }, log)
  end },
  { "destroyed is true at once (stream.destroyed)", function(t)
    t:ignore(t.a)
    assert.is_false(t.b.destroyed)
    t.b:destroy()
    assert.is_true(t.b.destroyed)
    assert.is_false(t.b.readable)
    assert.is_false(t.b.writable)
    assert.is_true(stream.isDestroyed(t.b))
  end },
  { "destroy(err) emits 'error', then 'close', each later than the call (stream.destroy)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'error', 'close' })
    t.b:destroy(errors.new('boom'))
    assert.same({}, log)
    t:closed(t.b)
    assert.same({ 'error boom', 'close' }, log)
  end },
  { "only the first destroy counts (stream.destroy)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'error', 'close' })
    t.b:destroy(errors.new('first'))
    t.b:destroy(errors.new('second'))
    t.b:destroy()
    t:closed(t.b)
    t:settle()
    assert.same({ 'error first', 'close' }, log)
  end },
  { "a destroy without an error cannot be made to fail later (stream.destroy)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'error', 'close' })
    t.b:destroy()
    t.b:destroy(errors.new('late'))
    t:closed(t.b)
    t:settle()
    assert.same({ 'close' }, log)
    assert.is_nil(t.b.errored)
  end },
  { "an error that nobody listens for is uncaught (event 'error')", function(t)
    if t.a ~= t.b then
      t:ignore(t.a)
    end
    local caught = t:uncaught()
    t.b:destroy(errors.new('unheard'))
    t:closed(t.b)
    assert.same({ 'unheard' }, caught)
  end },
  { "errored holds the error, for isErrored too (stream.errored)", function(t)
    t:ignore(t.a)
    t:ignore(t.b)
    local err = errors.new('boom')
    t.b:destroy(err)
    assert.equal(err, t.b.errored)
    assert.is_true(stream.isErrored(t.b))
    t:closed(t.b)
    assert.equal(err, t.b.errored)
  end },
  { "errored is set when 'error' is emitted, closed when 'close' is (stream.closed)", function(t)
    t:ignore(t.a)
    local seen = {}
    t.b:on('error', function() seen[1] = t.b.errored.message end)
    t.b:on('close', function() seen[2] = t.b.closed end)
    t.b:destroy(errors.new('boom'))
    t:closed(t.b)
    assert.same({ 'boom', true }, seen)
  end },
  { "what nextTick was given before runs before 'close' (process.nextTick)", function(t)
    t:ignore(t.a)
    local log = {}
    process.nextTick(function() log[#log + 1] = 'tick' end)
    t:log(t.b, { 'close' }, '', log)
    t.b:destroy()
    t:closed(t.b)
    assert.same({ 'tick', 'close' }, log)
  end },
}

local inListeners = {
  { "destroy in 'data' ends the flow there (stream.destroy)", function(t)
    t:ignore(t.a)
    local got = {}
    t.b:on('data', function(chunk)
      got[#got + 1] = chunk
      t.b:destroy()
    end)
    local log = t:log(t.b, { 'end', 'close' })
    t.a:write('one')
    t:settle()
    t:closed(t.b)
    assert.same({ 'one' }, got)
    assert.same({ 'close' }, log)
  end },
  { "destroy in 'readable' ends the flow there (stream.destroy)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'readable', 'data', 'end', 'close' })
    t.b:once('readable', function() t.b:destroy() end)
    t.a:finish('one')
    t:closed(t.b)
    t:settle()
    assert.equal('close', log[#log])
    assert.equal('readable', log[1])
  end },
  { "destroy in 'end' closes it, without 'finish' coming of it (stream.destroy)", on = 'ends', function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'end', 'finish', 'close', 'error' })
    t.b:on('end', function() t.b:destroy() end)
    t.b:resume()
    t.a:finish()
    t:closed(t.b)
    t:settle()
    assert.same({ 'end', 'close' }, log)
  end },
  { "destroy in 'finish' closes it (stream.destroy)", function(t)
    t:ignore(t.b)
    local log = t:log(t.a, { 'finish', 'close', 'error' })
    t.a:on('finish', function() t.a:destroy() end)
    t.b:on('data', function() end)
    t.a:finish('x')
    t:closed(t.a)
    t:settle()
    assert.same({ 'finish', 'close' }, log)
  end },
  { "destroy in 'close' does no harm (stream.destroy)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'close', 'error' })
    t.b:on('close', function() t.b:destroy(errors.new('late')) end)
    t.b:destroy()
    t:closed(t.b)
    t:settle()
    assert.same({ 'close' }, log)
  end },
  { "destroy in 'error' does no harm (stream.destroy)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'close', 'error' })
    t.b:on('error', function() t.b:destroy(errors.new('again')) end)
    t.b:destroy(errors.new('boom'))
    t:closed(t.b)
    t:settle()
    assert.same({ 'error boom', 'close' }, log)
  end },
  { "destroy in the callback of a write (stream.destroy)", function(t)
    t:ignore(t.b)
    local log = t:log(t.a, { 'close', 'error', 'finish' })
    t.b:on('data', function() end)
    t.a:write('x', function() t.a:destroy() end)
    t:closed(t.a)
    t:settle()
    assert.same({ 'close' }, log)
  end },
  { "destroy in 'drain' (stream.destroy)", function(t)
    t:ignore(t.b)
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    local log = t:log(t.a, { 'close', 'error', 'finish' })
    t.a:on('drain', function() t.a:destroy() end)
    t.b:resume()
    t:closed(t.a)
    t:settle()
    assert.same({ 'close' }, log)
  end },
  { "destroy of the other end in 'data' (stream.destroy)", on = 'ends', function(t)
    t:ignore(t.a)
    t:ignore(t.b)
    t.b:on('data', function() t.a:destroy() end)
    t.a:write(pattern(100000))
    t:closed(t.a, t.b)
  end },
  { "a listener of 'close' that raises is an uncaught error (event 'close')", function(t)
    t:ignore(t.a)
    local caught = t:uncaught()
    t.b:once('close', function() error(errors.new('close'), 0) end)
    t.b:destroy()
    t:closed(t.b)
    t:settle()
    assert.same({ 'close' }, caught)
  end },
  { "a listener of 'error' that raises is an uncaught error, and 'close' comes all the same (event 'error')",
    on = 'native', function(t)
      t:ignore(t.a)
      local caught = t:uncaught()
      t.b:once('error', function() error(errors.new('listener'), 0) end)
      t.b:destroy(errors.new('boom'))
      t:closed(t.b)
      assert.same({ 'listener' }, caught)
    end },
  { "a listener of 'end' that raises is an uncaught error (event 'end')", on = 'ends', function(t)
    local caught = t:uncaught()
    t.b:once('end', function() error(errors.new('end'), 0) end)
    t.b:resume()
    t.a:finish()
    t:untilTrue(function() return #caught > 0 end)
    assert.same({ 'end' }, caught)
  end },
}

local nothingMore = {
  { "no 'data' comes after destroy, of what had arrived either (stream.destroy)", function(t)
    t:ignore(t.a)
    t.b:pause()
    t.a:write('abc')
    t:settle()
    local log = t:log(t.b, { 'data', 'readable', 'end' })
    t.b:destroy()
    t.b:resume()
    t:closed(t.b)
    t:settle()
    assert.same({}, log)
  end },
  { "no 'end' comes after destroy (stream.destroy)", on = 'ends', function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'end' })
    t.b:resume()
    t.a:finish()
    t.b:destroy()
    t:closed(t.b)
    t:settle()
    assert.same({}, log)
  end },
  { "no 'finish' comes after destroy (stream.destroy)", function(t)
    t:ignore(t.b)
    local log = t:log(t.a, { 'finish', 'prefinish' })
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    t.a:finish()
    t.a:destroy()
    t:closed(t.a)
    t:settle()
    assert.same({}, log)
    assert.is_false(t.a.writableFinished)
  end },
  { "no 'drain' comes after destroy (stream.destroy)", function(t)
    t:ignore(t.b)
    local log = t:log(t.a, { 'drain' })
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    t.a:destroy()
    t.b:resume()
    t:closed(t.a)
    t:settle()
    assert.same({}, log)
  end },
  { "methods of a destroyed stream do nothing and do not raise (stream.destroy)", function(t)
    t:ignore(t.a)
    t.b:destroy()
    t:closed(t.b)
    local log = t:log(t.b, { 'data', 'end', 'error', 'close', 'finish', 'drain' })
    t.b:resume()
    t.b:pause()
    t.b:setEncoding('utf8')
    t.b:unshift('x')
    t.b:cork()
    t.b:uncork()
    t.b:finish()
    t.b:unpipe()
    t.b:read()
    t:settle()
    assert.same({}, log)
  end },
  { "a cork that is never undone does not hold destroy up (writable.cork)", function(t)
    t:ignore(t.b)
    t.a:cork()
    local code
    t.a:write('x', function(err) code = err and err.code end)
    t.a:destroy()
    t:closed(t.a)
    t:settle()
    assert.equal('ERR_STREAM_DESTROYED', code)
  end },
  { "a stream without listeners can be destroyed (stream.destroy)", function(t)
    t.opened = {} -- nobody counts their 'close' then
    t.a:removeAllListeners()
    t.b:removeAllListeners()
    t.b:destroy()
    t.a:destroy()
    t:settle()
    assert.is_true(t.a.closed)
    assert.is_true(t.b.closed)
  end },
}

local failing = {
  { "writes that fail hear of it before 'error' comes (stream.destroy)", on = 'ends', function(t)
    t:ignore(t.b)
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    t:settle()
    local log = {}
    t.a:write('never', function(err) log[#log + 1] = 'callback ' .. err.message end)
    t:log(t.a, { 'error', 'close' }, '', log)
    t.a:destroy(errors.new('boom'))
    t:closed(t.a)
    assert.same({ 'callback boom', 'error boom', 'close' }, log)
  end },
  { "every write that failed hears of it, in order and once (writable.write)", on = 'ends', function(t)
    t:ignore(t.b)
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    t:settle()
    local order = {}
    for i = 1, 5 do
      t.a:write('never', function(err) order[#order + 1] = err and i or -i end)
    end
    t.a:destroy()
    t:closed(t.a)
    t:settle()
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end },
  { "an AbortSignal destroys with an AbortError (addAbortSignal)", function(t)
    t:ignore(t.a)
    local controller = AbortController()
    local seen
    t.b:on('error', function(err) seen = err end)
    assert.equal(t.b, stream.addAbortSignal(controller.signal, t.b))
    controller:abort()
    t:closed(t.b)
    assert.equal('AbortError', seen.name)
    assert.equal('ABORT_ERR', seen.code)
  end },
  { "an AbortSignal that is aborted later than the end changes nothing (addAbortSignal)", function(t)
    local controller = AbortController()
    stream.addAbortSignal(controller.signal, t.b)
    local log = t:log(t.b, { 'error' })
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t:closed(t.a, t.b)
    controller:abort()
    t:settle()
    assert.same({}, log)
  end },
  { "destroy with what is no Error emits just that (stream.destroy)", function(t)
    t:ignore(t.a)
    local seen
    t.b:on('error', function(err) seen = err end)
    t.b:destroy('text')
    t:closed(t.b)
    assert.equal('text', seen)
  end },
}

local farEnd = {
  { "the other end closes when this one is destroyed (event 'close')", on = 'ends', function(t)
    t:ignore(t.b)
    t.b:resume()
    t.a:destroy()
    t:closed(t.a, t.b)
  end },
  { "the other end closes when this one is destroyed with an error, which is not its own (event 'close')",
    on = 'ends', function(t)
      t:ignore(t.a)
      local log = t:log(t.b, { 'error' })
      t.b:resume()
      t.a:destroy(errors.new('mine'))
      t:closed(t.a, t.b)
      assert.is_true(log[1] ~= 'error mine')
    end },
  { "what was written before destroySoon arrives (socket.destroySoon)", on = 'native', function(t)
    local data = pattern(500000)
    t.a:resume()
    t.a:write(data)
    t.a:destroySoon()
    assert.is_true(t:all(t.b) == data)
    t:closed(t.a)
  end },
  { "a destroy by the reader fails or closes the writer (event 'close')", on = 'ends', function(t)
    t:ignore(t.a)
    t.b:destroy()
    local function again()
      if t.a:write(pattern(100000)) then
        require('timers').setImmediate(again)
      else
        t.a:once('drain', again)
      end
    end
    again()
    t:closed(t.a)
  end },
  { "hadError tells the listeners of a socket's 'close' (net 'close')", on = 'native', function(t)
    t:ignore(t.a)
    t:ignore(t.b)
    local seen = {}
    t.a:on('close', function(hadError) seen[1] = hadError end)
    local a, b = t:open()
    t:ignore(b)
    a:on('close', function(hadError) seen[2] = hadError end)
    t.a:destroy(errors.new('boom'))
    a:destroy()
    t:closed(t.a, a)
    assert.same({ true, false }, seen)
  end },
}

C.run({ describe = describe, it = it }, 'Destroying', { destroying, inListeners, nothingMore, failing, farEnd })

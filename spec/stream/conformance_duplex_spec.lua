-- What Node promises of the two halves of a stream together: how they end, and how it closes then.

local C = require 'spec.support.conformance'
local stream = require 'stream'

local pattern = C.pattern
local HALF_OPEN = { allowHalfOpen = true }

-- Each case begins with two ends, t.a and t.b: what is written to one comes out of the other.
local halves = {
  { "data goes both ways at once (Duplex)", function(t)
    local there, back = pattern(200000), pattern(150000):reverse()
    local one, other = {}, {}
    t.b:on('data', function(chunk) one[#one + 1] = chunk end)
    t.a:on('data', function(chunk) other[#other + 1] = chunk end)
    t.a:finish(there)
    t.b:finish(back)
    t:closed(t.a, t.b)
    assert.is_true(table.concat(one) == there)
    assert.is_true(table.concat(other) == back)
  end },
  { "pausing one half leaves the other alone (Duplex)", function(t)
    t.b:pause()
    local log = t:log(t.a, { 'data' })
    t.a:write('there')
    t.b:write('back')
    t:settle()
    assert.same({ 'data back' }, log)
    assert.equal(5, t.b.readableLength)
  end },
  { "a chunk travels there and back many times (Duplex)", function(t)
    local left = 50
    t.b:on('data', function(chunk) t.b:write(chunk) end)
    t.await(function(done)
      t.a:on('data', function(chunk)
        left = left - 1
        if left == 0 then
          done()
        else
          t.a:write(chunk)
        end
      end)
      t.a:write('ping')
    end)
  end },
  { "an end written to comes out of the other as its end only (event 'end')", options = HALF_OPEN, function(t)
    local log = t:log(t.b, { 'data', 'end' })
    t:log(t.a, { 'end', 'close' }, 'a ', log)
    t.a:resume()
    t.a:finish('bye')
    t.await(t.b, 'end')
    t:settle()
    assert.same({ 'data bye', 'end' }, log)
  end },
}

local halfOpen = {
  { "with allowHalfOpen the other half goes on after 'end' (allowHalfOpen)", options = HALF_OPEN, function(t)
    t.a:finish()
    t:all(t.b)
    t:settle()
    assert.is_true(t.b.writable)
    assert.is_false(t.b.writableEnded)
    t.b:finish('still here')
    assert.equal('still here', t:all(t.a))
    t:closed(t.a, t.b)
  end },
  { "with allowHalfOpen much can be sent after 'end' (allowHalfOpen)", options = HALF_OPEN, function(t)
    local data = pattern(1000000)
    t.a:finish()
    t.b:on('end', function()
      t.b:finish(data)
    end)
    t.b:resume()
    assert.is_true(t:all(t.a) == data)
  end },
  { "without allowHalfOpen the end of one half ends the other (allowHalfOpen)", function(t)
    local log = t:log(t.b, { 'end', 'finish', 'close' })
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t:closed(t.a, t.b)
    assert.same({ 'end', 'finish', 'close' }, log)
  end },
  { "without allowHalfOpen listeners of 'end' may still write (allowHalfOpen)", function(t)
    t.b:on('end', function()
      t.b:write('last words')
    end)
    t.b:resume()
    t.a:finish()
    assert.equal('last words', t:all(t.a))
  end },
  { "without allowHalfOpen what was written before the end still arrives (allowHalfOpen)", function(t)
    local data = pattern(2000000)
    t.b:write(data)
    t.a:finish()
    t.b:resume()
    assert.is_true(t:all(t.a) == data)
    t:closed(t.a, t.b)
  end },
  { "the property allowHalfOpen may be changed (duplex.allowHalfOpen)", function(t)
    t.b.allowHalfOpen = true
    t.b:resume()
    t.a:resume()
    t.a:finish()
    t.await(t.b, 'end')
    t:settle()
    assert.is_true(t.b.writable)
    t.b:finish()
    t:closed(t.a, t.b)
  end },
  { "an end that nobody reads ends nothing (event 'end')", function(t)
    t.a:finish('unread')
    t:settle()
    assert.is_true(t.b.writable)
    assert.is_false(t.b.readableEnded)
    assert.equal('unread', t:all(t.b))
  end },
}

local order = {
  { "'close' is the last event, and comes once (event 'close')", function(t)
    local events = { 'data', 'end', 'prefinish', 'finish', 'close', 'drain', 'readable', 'resume', 'pause', 'error' }
    local a, b = {}, {}
    for _, event in ipairs(events) do
      if event ~= 'readable' then
        t.a:on(event, function() a[#a + 1] = event end)
        t.b:on(event, function() b[#b + 1] = event end)
      end
    end
    t.a:finish('ping')
    t.b:finish('pong')
    t:closed(t.a, t.b)
    t.a:write('late', function() end)
    t.a:resume()
    t.a:pause()
    t.a:destroy()
    t:settle()
    for _, log in ipairs { a, b } do
      local closes = 0
      for i, event in ipairs(log) do
        closes = closes + (event == 'close' and 1 or 0)
        assert.is_true(closes == 0 or event == 'close' or event == 'pause' or event == 'resume', i .. ' ' .. event)
      end
      assert.equal(1, closes)
    end
  end },
  { "'close' waits for both halves, the written one last (event 'close')", options = HALF_OPEN, function(t)
    local log = t:log(t.b, { 'end', 'finish', 'close' })
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t.await(t.b, 'end')
    t:settle()
    assert.same({ 'end' }, log)
    t.b:finish()
    t:closed(t.b)
    assert.same({ 'end', 'finish', 'close' }, log)
  end },
  { "'close' waits for both halves, the read one last (event 'close')", options = HALF_OPEN, function(t)
    local log = t:log(t.b, { 'end', 'finish', 'close' })
    t.a:resume()
    t.b:resume()
    t.b:finish()
    t.await(t.b, 'finish')
    t:settle()
    assert.same({ 'finish' }, log)
    t.a:finish()
    t:closed(t.b)
    assert.same({ 'finish', 'end', 'close' }, log)
  end },
  { "both ends at the same time close without an error (event 'close')", function(t)
    local log = t:log(t.a, { 'error', 'end', 'close' })
    local other = t:log(t.b, { 'error', 'end', 'close' })
    t.a:resume()
    t.b:resume()
    t.a:finish('x')
    t.b:finish('y')
    t:closed(t.a, t.b)
    assert.same({ 'end', 'close' }, log)
    assert.same({ 'end', 'close' }, other)
  end },
  { "'close' waits until what has come was read (event 'close')", function(t)
    local log = t:log(t.b, { 'end', 'close' })
    t.a:resume()
    t.a:finish('unread')
    t.b:finish()
    t:settle()
    assert.same({}, log)
    t.b:resume()
    t:closed(t.b)
    assert.same({ 'end', 'close' }, log)
  end },
  { "closed and destroyed are true in 'close' (duplex.closed)", function(t)
    local seen
    t.b:on('close', function() seen = { t.b.closed, t.b.destroyed, t.b.readable, t.b.writable } end)
    t.a:resume()
    t.b:resume()
    t.a:finish()
    assert.is_false(t.b.closed)
    t:closed(t.b)
    assert.same({ true, true, false, false }, seen)
  end },
  { "a closed stream has neither errored nor aborted (duplex.errored)", function(t)
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t:closed(t.a, t.b)
    for _, side in ipairs { t.a, t.b } do
      assert.is_nil(side.errored)
      assert.is_false(side.readableAborted)
      assert.is_false(side.writableAborted)
      assert.is_false(stream.isErrored(side))
      assert.is_true(stream.isDestroyed(side))
    end
  end },
  { "listeners see the halves as they are (readable, writable)", function(t)
    local seen = {}
    for _, event in ipairs { 'end', 'finish' } do
      t.b:on(event, function()
        seen[#seen + 1] = ('%s %s %s'):format(event, t.b.readable, t.b.writable)
      end)
    end
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t:closed(t.b)
    assert.same({ 'end false true', 'finish false false' }, seen)
  end },
}

local over = {
  { "finished() calls back once both halves are over, without an error (stream.finished)", function(t)
    local log = t:log(t.b, { 'end', 'finish' })
    stream.finished(t.b, function(err) log[#log + 1] = 'finished ' .. tostring(err) end)
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t:closed(t.b)
    t:settle()
    assert.same({ 'end', 'finish', 'finished nil' }, log)
  end },
  { "finished() may wait for the read half alone (stream.finished)", options = HALF_OPEN, function(t)
    t.b:resume()
    t.a:finish('x')
    t.await(function(done) stream.finished(t.b, { writable = false }, done) end)
    assert.is_true(t.b.writable)
  end },
  { "finished() may wait for the written half alone (stream.finished)", options = HALF_OPEN, function(t)
    t.b:resume()
    t.a:finish('x')
    t.await(function(done) stream.finished(t.a, { readable = false }, done) end)
    assert.is_true(t.a.readable)
  end },
  { "finished() of a stream cut off is ERR_STREAM_PREMATURE_CLOSE (stream.finished)", function(t)
    t:ignore(t.a)
    local code
    stream.finished(t.b, function(err) code = err and err.code end)
    t.b:destroy()
    t:closed(t.b)
    t:settle()
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', code)
  end },
  { "finished() of a stream that is over calls back in a later tick (stream.finished)", function(t)
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t:closed(t.a, t.b)
    local called = false
    t.await(function(done)
      stream.finished(t.b, function(err)
        called = true
        done(err)
      end)
      assert.is_false(called)
    end)
  end },
  { "finished() called off says nothing (stream.finished)", function(t)
    local called = false
    local cleanup = stream.finished(t.b, function() called = true end)
    cleanup()
    t.a:resume()
    t.b:resume()
    t.a:finish()
    t:closed(t.b)
    t:settle()
    assert.is_false(called)
  end },
  { "promises.finished waits inside a coroutine (stream.promises)", function(t)
    t.a:resume()
    t.b:resume()
    t.a:finish()
    stream.promises.finished(t.b)
    assert.is_true(t.b.readableEnded)
  end },
}

local groups = { halves, halfOpen, order, over }
for _, group in ipairs(groups) do
  for _, case in ipairs(group) do
    case.on = 'ends'
  end
end

C.run({ describe = describe, it = it }, 'Duplex', groups)

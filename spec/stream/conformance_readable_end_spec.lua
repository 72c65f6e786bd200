-- What Node promises of the readable half of a stream, over every transport: how it ends, what it tells, iterators.

local C = require 'spec.support.conformance'
local errors = require 'moonlatch.errors'
local stream = require 'stream'

local pattern = C.pattern

-- Each case begins with two ends, t.a and t.b: what is written to a comes out of b.
local ended = {
  { "'end' comes after the last byte, once, then 'close' (event 'end')", function(t)
    local log = t:log(t.b, { 'data', 'end', 'close' })
    t.a:resume()
    t.a:write('abc')
    t.a:finish('def')
    t:closed(t.b)
    t:settle()
    assert.same({ 'data abcdef', 'end', 'close' }, log)
  end },
  { "'end' waits until everything has been read (event 'end')", function(t)
    local log = t:log(t.b, { 'end', 'close' })
    t.b:on('readable', function() end)
    t.a:finish('abc')
    t:settle()
    assert.same({}, log)
    assert.is_false(t.b.readableEnded)
    assert.equal('abc', t.b:read())
    t:settle()
    assert.equal('end', log[1])
  end },
  { "'end' does not come while nobody reads (event 'end')", function(t)
    local log = t:log(t.b, { 'end' })
    t.a:finish('abc')
    t:settle()
    assert.same({}, log)
    assert.is_true(t.b.readable)
  end },
  { "'end' waits while the stream is paused (readable.pause)", function(t)
    local log = t:log(t.b, { 'data', 'end' })
    t.b:pause()
    t.a:finish('abc')
    t:settle()
    assert.same({}, log)
    t.b:resume()
    t.await(t.b, 'end')
    assert.same({ 'data abc', 'end' }, log)
  end },
  { "a stream without data ends when it is read (event 'end')", function(t)
    local log = t:log(t.b, { 'data', 'end' })
    t.a:finish()
    t.await(t.b, 'end')
    assert.same({ 'end' }, log)
  end },
  { "readableEnded becomes true with 'end' (readable.readableEnded)", function(t)
    local seen = {}
    t.b:on('data', function() seen[#seen + 1] = t.b.readableEnded end)
    t.b:on('end', function() seen[#seen + 1] = t.b.readableEnded end)
    t.a:finish('abc')
    t.await(t.b, 'end')
    assert.is_false(seen[1])
    assert.is_true(seen[#seen])
  end },
  { "readable becomes false with 'end' (readable.readable)", function(t)
    assert.is_true(t.b.readable)
    local inEnd
    t.b:on('end', function() inEnd = t.b.readable end)
    t.b:resume()
    t.a:finish('abc')
    t.await(t.b, 'end')
    assert.is_false(inEnd)
  end },
  { "read() after the end gives nil and emits nothing (readable.read)", function(t)
    t.a:finish('abc')
    t:all(t.b)
    local log = t:log(t.b, { 'data', 'end', 'readable', 'error' })
    assert.is_nil(t.b:read())
    assert.is_nil(t.b:read(5))
    t:settle()
    assert.same({}, log)
  end },
  { "resume() and pause() after the end do no harm (readable.resume)", function(t)
    t.a:finish('abc')
    t:all(t.b)
    local log = t:log(t.b, { 'data', 'end', 'error' })
    t.b:pause()
    t.b:resume()
    t:settle()
    assert.same({}, log)
  end },
}

local told = {
  { "readableLength counts bytes (readable.readableLength)", function(t)
    t.b:pause()
    t.a:write('abc')
    t:settle()
    assert.equal(3, t.b.readableLength)
    t.b:read()
    assert.equal(0, t.b.readableLength)
  end },
  { "readableHighWaterMark is what the option said, in bytes (highWaterMark)", options = { highWaterMark = 1000 },
    function(t)
      assert.equal(1000, t.b.readableHighWaterMark)
      assert.equal(1000, t.a.writableHighWaterMark)
      assert.is_false(t.b.readableObjectMode)
    end },
  { "with a small mark everything comes all the same (highWaterMark)", options = { highWaterMark = 3 }, function(t)
    local data = pattern(5000)
    for from = 1, #data, 10 do
      t.a:write(data:sub(from, from + 9))
    end
    t.a:finish()
    assert.is_true(t:all(t.b) == data)
  end },
  { "readableDidRead and isDisturbed tell that something was read (stream.isDisturbed)", function(t)
    assert.is_false(t.b.readableDidRead)
    assert.is_false(stream.isDisturbed(t.b))
    t.a:write('abc')
    t.await(t.b, 'data')
    assert.is_true(t.b.readableDidRead)
    assert.is_true(stream.isDisturbed(t.b))
  end },
  { "readableAborted tells a stream that was cut off from one that ended (readable.readableAborted)", function(t)
    assert.is_false(t.b.readableAborted)
    t.b:destroy()
    assert.is_true(t.b.readableAborted)
  end },
  { "readableAborted stays false after the end (readable.readableAborted)", function(t)
    t.a:resume()
    t.a:finish('abc')
    t:all(t.b)
    t:closed(t.b)
    assert.is_false(t.b.readableAborted)
  end },
  { "isReadable tells whether it can still be read (stream.isReadable)", function(t)
    assert.is_true(stream.isReadable(t.b))
    t.a:finish('abc')
    t:all(t.b)
    assert.is_false(stream.isReadable(t.b))
  end },
}

local iterated = {
  { "chunks() gives everything, then the stream is destroyed (async iterator)", function(t)
    local data, parts = pattern(100000), {}
    t.a:resume()
    t.a:finish(data)
    for chunk in t.b:chunks() do
      parts[#parts + 1] = chunk
    end
    assert.is_true(table.concat(parts) == data)
    assert.is_true(t.b.destroyed)
  end },
  { "chunks() waits for what comes later (async iterator)", function(t)
    local got = {}
    coroutine.wrap(function()
      for chunk in t.b:chunks() do
        got[#got + 1] = chunk
      end
      got[#got + 1] = 'over'
    end)()
    for _, piece in ipairs { 'one', 'two' } do
      t.a:write(piece)
      t:settle()
    end
    t.a:finish()
    t:untilTrue(function() return got[#got] == 'over' end)
    assert.same({ 'one', 'two', 'over' }, got)
  end },
  { "chunks() raises the stream's error inside the loop (async iterator)", function(t)
    t:ignore(t.a)
    t.a:write('abc')
    local got = {}
    local ok, err = pcall(function()
      for chunk in t.b:chunks() do
        got[#got + 1] = chunk
        t.b:destroy(errors.new('boom'))
      end
    end)
    assert.is_false(ok)
    assert.equal('boom', err.message)
    assert.same({ 'abc' }, got)
  end },
  { "chunks() of a stream destroyed early raises ERR_STREAM_PREMATURE_CLOSE (async iterator)", function(t)
    t:ignore(t.a)
    t.a:write('abc')
    local ok, err = pcall(function()
      for _ in t.b:chunks() do
        t.b:destroy()
      end
    end)
    assert.is_false(ok)
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', err.code)
  end },
  { "an error raised in the loop leaves it, and the second value of chunks() ends the stream (async iterator)",
    function(t)
      t:ignore(t.a)
      t.a:write('abc')
      local next, close = t.b:chunks()
      local ok, err = pcall(function()
        for _ in next do
          error('mine', 0)
        end
      end)
      assert.is_false(ok)
      assert.equal('mine', err)
      assert.is_false(t.b.destroyed)
      close()
      assert.is_true(t.b.destroyed)
      assert.is_nil(next())
    end },
  { "chunks() left early can be taken up again with destroyOnReturn = false (readable.iterator)", function(t)
    t.a:write('abc')
    local next, close = t.b:chunks { destroyOnReturn = false }
    assert.equal('abc', next())
    close()
    t.a:finish('def')
    assert.is_false(t.b.destroyed)
    assert.equal('def', t:all(t.b))
  end },
  { "chunks() obeys setEncoding (async iterator)", function(t)
    t.b:setEncoding('hex')
    t.a:finish('ab')
    local text = ''
    for chunk in t.b:chunks() do
      text = text .. chunk
    end
    assert.equal('6162', text)
  end },
  { "chunks() holds writers back while the loop is busy (async iterator)", function(t)
    local sent = 0
    while sent < 4 * 1024 * 1024 do
      t.a:write(('x'):rep(65536))
      sent = sent + 65536
    end
    t.a:finish()
    local count = 0
    for chunk in t.b:chunks() do
      count = count + #chunk
      if count < 500000 then
        t:settle()
        assert.is_true(t.b.readableLength < 300000)
      end
    end
    assert.equal(sent, count)
  end },
}

C.run({ describe = describe, it = it }, 'Readable', { ended, told, iterated })

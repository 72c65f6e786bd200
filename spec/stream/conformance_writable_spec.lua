-- What Node promises of the writable half of a stream, over every transport.

local C = require 'spec.support.conformance'
local errors = require 'moonlatch.errors'
local process = require 'process'
local stream = require 'stream'

local pattern = C.pattern
local MEGABYTES = pattern(4 * 1024 * 1024) -- more than a kernel takes at once

-- Each case begins with two ends, t.a and t.b: what is written to a comes out of b.
local writing = {
  { "true means that there is room for more (writable.write)", function(t)
    assert.is_true(t.a:write('x'))
    t.a:finish()
    assert.equal('x', t:all(t.b))
  end },
  { "false comes when the high-water mark is reached, nothing being lost (writable.write)", function(t)
    t.b:pause()
    local count = 0
    repeat
      count = count + 1
    until not t.a:write(MEGABYTES)
    assert.is_true(t.a.writableLength >= t.a.writableHighWaterMark)
    t.a:finish()
    assert.is_true(t:all(t.b) == MEGABYTES:rep(count))
  end },
  { "'drain' follows a false once everything has been written (event 'drain')", function(t)
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    local lengths = {}
    t.a:on('drain', function() lengths[#lengths + 1] = t.a.writableLength end)
    assert.is_true(t.a.writableNeedDrain)
    t.b:resume()
    t.await(t.a, 'drain')
    t:settle()
    assert.same({ 0 }, lengths)
    assert.is_false(t.a.writableNeedDrain)
  end },
  { "'drain' does not come inside the write (event 'drain')", function(t)
    t.b:resume()
    local inside, drained = false, 0
    t.a:on('drain', function()
      assert.is_false(inside)
      drained = drained + 1
    end)
    for _ = 1, 6 do
      inside = true
      t.a:write(MEGABYTES)
      inside = false
    end
    t.await(t.a, 'drain')
    assert.equal(1, drained)
  end },
  { "no 'drain' comes when no write was refused (event 'drain')", function(t)
    local log = t:log(t.a, { 'drain' })
    t.b:resume()
    t.a:write('x')
    t:settle()
    assert.same({}, log)
  end },
  { "no 'drain' comes once the stream is being ended (event 'drain')", function(t)
    t.b:pause()
    local log = t:log(t.a, { 'drain', 'finish' })
    repeat until not t.a:write(MEGABYTES)
    t.a:finish()
    t.b:resume()
    t.await(t.a, 'finish')
    assert.same({ 'finish' }, log)
  end },
  { "writing until false and going on at 'drain' delivers everything (event 'drain')", function(t)
    local data, parts, at = pattern(3000000), {}, 0
    t.b:on('data', function(chunk) parts[#parts + 1] = chunk end)
    local function more()
      local going = true
      while going and at < #data do
        going = t.a:write(data:sub(at + 1, at + 50000))
        at = at + 50000
      end
      if going then
        t.a:finish()
      else
        t.a:once('drain', more)
      end
    end
    more()
    t.await(t.b, 'end')
    assert.is_true(table.concat(parts) == data)
  end },
  { "one write of megabytes arrives (writable.write)", function(t)
    t.a:finish(MEGABYTES)
    assert.is_true(t:all(t.b) == MEGABYTES)
  end },
  { "ten thousand writes of one byte arrive in order (writable.write)", function(t)
    local data = pattern(10000)
    for i = 1, #data do
      t.a:write(data:sub(i, i))
    end
    t.a:finish()
    assert.equal(data, t:all(t.b))
  end },
  { "an empty write calls back and shows nowhere (writable.write)", function(t)
    local log = t:log(t.b, { 'data' })
    t.b:resume()
    t.await(function(done) t.a:write('', done) end)
    t:settle()
    assert.same({}, log)
  end },
  { "writableLength counts bytes that wait (writable.writableLength)", function(t)
    t.a:cork()
    t.a:write('abc')
    t.a:write('de')
    assert.equal(5, t.a.writableLength)
    t.b:resume()
    t.a:uncork()
    t:settle()
    assert.equal(0, t.a.writableLength)
  end },
}

local callbacks = {
  { "the callback comes later than the write, without an error (writable.write)", function(t)
    t.b:resume()
    local called = false
    t.await(function(done)
      t.a:write('x', function(err)
        called = true
        done(err)
      end)
      assert.is_false(called)
    end)
  end },
  { "callbacks come in the order of the writes (writable.write)", on = 'ends', function(t)
    t.b:resume()
    local order = {}
    for i = 1, 20 do
      t.a:write(('x'):rep(i * 3000), function() order[i] = #order + 1 end)
    end
    t.await(function(done) t.a:write('last', done) end)
    for i = 1, 20 do
      assert.equal(i, order[i])
    end
  end },
  { "callbacks come before 'finish' (event 'finish')", function(t)
    t.b:resume()
    local log = t:log(t.a, { 'finish' })
    t.a:write('one', function() table.insert(log, 'one') end)
    t.a:write('two', function() table.insert(log, 'two') end)
    t.a:finish('three', function() table.insert(log, 'ended') end)
    t.await(t.a, 'finish')
    assert.same({ 'one', 'two', 'ended', 'finish' }, log)
  end },
  { "a callback may be given after an encoding or without one (writable.write)", function(t)
    t.b:resume()
    t.await(function(done) t.a:write('6162', 'hex', done) end)
    t.await(function(done) t.a:write('ab', nil, done) end)
    t.await(function(done) t.a:write('ab', done) end)
  end },
  { "the callback of a write that a destroy overtook gets an error (writable.write)", on = 'ends', function(t)
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    t:settle()
    local code
    t.a:write('never', function(err) code = err and err.code end)
    t:ignore(t.b)
    t.a:destroy()
    t:closed(t.a)
    assert.equal('ERR_STREAM_DESTROYED', code)
  end },
  { "a callback may write again, for as long as it likes (writable.write)", function(t)
    local left = 50
    t.b:resume()
    t.await(function(done)
      local function again(err)
        left = left - 1
        if err or left == 0 then
          done(err)
        else
          t.a:write('x', again)
        end
      end
      t.a:write('x', again)
    end)
  end },
  { "a callback that raises is an uncaught error, and writing goes on (writable.write)", on = 'native', function(t)
    local caught = t:uncaught()
    t.b:resume()
    t.a:write('x', function() error(errors.new('callback'), 0) end)
    t:settle()
    assert.same({ 'callback' }, caught)
    t.await(function(done) t.a:write('y', done) end)
  end },
  { "a listener of 'drain' that raises is an uncaught error, and writing goes on (event 'drain')",
    on = 'native', function(t)
      local caught = t:uncaught()
      t.b:pause()
      repeat until not t.a:write(MEGABYTES)
      t.a:once('drain', function() error(errors.new('drain'), 0) end)
      t.b:resume()
      t:untilTrue(function() return #caught > 0 end)
      assert.same({ 'drain' }, caught)
      t.await(function(done) t.a:write('y', done) end)
    end },
}

local encodings = {
  { "hexadecimal digits are written as what they stand for (writable.write)", function(t)
    t.a:write('00ff61', 'hex')
    t.a:finish('62', 'hex')
    assert.equal('\0\255ab', t:all(t.b))
  end },
  { "base64 is written as what it stands for (writable.write)", function(t)
    t.a:finish('YWJjZA==', 'base64')
    assert.equal('abcd', t:all(t.b))
  end },
  { "'utf8', 'latin1' and 'buffer' leave a string as it is (writable.write)", function(t)
    for _, name in ipairs { 'utf8', 'utf-8', 'latin1', 'binary', 'buffer' } do
      t.a:write('a\255', name)
    end
    t.a:finish()
    assert.equal(('a\255'):rep(5), t:all(t.b))
  end },
  { "setDefaultEncoding counts for writes that name none (writable.setDefaultEncoding)", function(t)
    assert.equal(t.a, t.a:setDefaultEncoding('hex'))
    t.a:write('6162')
    t.a:finish('cd', 'utf8')
    assert.equal('abcd', t:all(t.b))
  end },
  { "an encoding that is none raises ERR_UNKNOWN_ENCODING (writable.write)", function(t)
    for _, method in ipairs { 'write', 'setDefaultEncoding' } do
      local ok, err = pcall(t.a[method], t.a, 'klingon', 'klingon')
      assert.is_false(ok)
      assert.equal('ERR_UNKNOWN_ENCODING', err.code)
    end
    assert.is_false(t.a.destroyed)
  end },
}

local misuse = {
  { "nil raises ERR_STREAM_NULL_VALUES (writable.write)", function(t)
    local ok, err = pcall(t.a.write, t.a, nil)
    assert.is_false(ok)
    assert.equal('ERR_STREAM_NULL_VALUES', err.code)
    assert.is_false(t.a.destroyed)
  end },
  { "what is no string raises ERR_INVALID_ARG_TYPE (writable.write)", function(t)
    for _, value in ipairs { 5, true, {}, print } do
      local ok, err = pcall(t.a.write, t.a, value)
      assert.is_false(ok)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    end
    assert.is_false(t.a.destroyed)
  end },
  { "a write after the end is ERR_STREAM_WRITE_AFTER_END, to the callback and as 'error' (writable.write)",
    function(t)
      t:ignore(t.b)
      local log = t:log(t.a, { 'error' })
      t.a:finish('x')
      local result = t.a:write('late', function(err) table.insert(log, 'callback ' .. err.code) end)
      assert.is_false(result)
      assert.same({}, log)
      t:closed(t.a)
      assert.same({ 'callback ERR_STREAM_WRITE_AFTER_END', 'error ERR_STREAM_WRITE_AFTER_END' }, log)
    end },
  { "a write after destroy is ERR_STREAM_DESTROYED to the callback, and no 'error' (writable.write)", function(t)
    t:ignore(t.b)
    local log = t:log(t.a, { 'error' })
    t.a:destroy()
    local code
    assert.is_false(t.a:write('late', function(err) code = err.code end))
    t:closed(t.a)
    assert.equal('ERR_STREAM_DESTROYED', code)
    assert.same({}, log)
  end },
}

local corking = {
  { "cork holds writes back until uncork (writable.cork)", function(t)
    local log = t:log(t.b, { 'data' })
    t.a:cork()
    t.a:write('a')
    t.a:write('b')
    t:settle()
    assert.same({}, log)
    t.a:uncork()
    t:settle()
    assert.same({ 'data ab' }, log)
  end },
  { "uncork must be called as often as cork (writable.cork)", function(t)
    t.b:resume()
    t.a:cork()
    t.a:cork()
    assert.equal(2, t.a.writableCorked)
    t.a:write('a')
    t.a:uncork()
    t:settle()
    assert.equal(1, t.a.writableLength)
    t.a:uncork()
    t:settle()
    assert.equal(0, t.a.writableCorked)
    assert.equal(0, t.a.writableLength)
  end },
  { "uncork without cork does no harm (writable.uncork)", function(t)
    t.a:uncork()
    assert.equal(0, t.a.writableCorked)
    t.a:finish('a')
    assert.equal('a', t:all(t.b))
  end },
  { "finish undoes every cork (writable.end)", function(t)
    t.a:cork()
    t.a:cork()
    t.a:write('a')
    t.a:finish('b')
    assert.equal('ab', t:all(t.b))
  end },
  { "callbacks of corked writes come in order after uncork (writable.cork)", function(t)
    t.b:resume()
    local order = {}
    t.a:cork()
    for i = 1, 5 do
      t.a:write('x', function() order[#order + 1] = i end)
    end
    t:settle()
    assert.same({}, order)
    t.a:uncork()
    t:settle()
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end },
  { "uncork in a tick is the way to gather what one turn writes (writable.uncork)", function(t)
    t.b:pause()
    t.a:cork()
    t.a:write('a')
    process.nextTick(t.a.uncork, t.a)
    t.a:write('b')
    t:settle()
    assert.equal('ab', t.b:read())
  end },
}

local ending = {
  { "'finish' comes once everything has been handed on, once (event 'finish')", function(t)
    local log = t:log(t.a, { 'finish' })
    t.b:resume()
    t.a:write(MEGABYTES)
    t.a:finish('x')
    assert.same({}, log)
    t.await(t.b, 'end')
    t:settle()
    assert.same({ 'finish' }, log)
  end },
  { "'finish' does not come while something waits to be written (event 'finish')", on = 'ends', function(t)
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    local log = t:log(t.a, { 'finish' })
    t.a:finish()
    t:settle()
    assert.same({}, log)
    assert.is_false(t.a.writableFinished)
    t.b:resume()
    t.await(t.a, 'finish')
    assert.is_true(t.a.writableFinished)
  end },
  { "a destroy in the tick of end() keeps 'finish' from coming (event 'finish')", on = 'native', function(t)
    t:ignore(t.b)
    local log = t:log(t.a, { 'finish', 'close' })
    t.a:finish('x')
    t.a:destroy()
    t:closed(t.a)
    t:settle()
    assert.same({ 'close' }, log)
  end },
  { "an end() in a listener of an event is one end (writable.end)", on = 'ends', function(t)
    local log = t:log(t.a, { 'finish', 'error', 'close' })
    t.a:on('data', function() t.a:finish('answer') end)
    t.b:write('question')
    assert.equal('answer', t:all(t.b))
    t:closed(t.a)
    assert.same({ 'finish', 'close' }, log)
  end },
  { "'prefinish' comes before 'finish' (event 'finish')", function(t)
    local log = t:log(t.a, { 'prefinish', 'finish' })
    t.b:resume()
    t.a:finish('x')
    t.await(t.a, 'finish')
    assert.same({ 'prefinish', 'finish' }, log)
  end },
  { "writableEnded is true at once, writableFinished with 'finish' (writable.writableEnded)", function(t)
    t.b:resume()
    assert.is_false(t.a.writableEnded)
    t.a:finish('x')
    assert.is_true(t.a.writableEnded)
    assert.is_false(t.a.writableFinished)
    local inFinish
    t.a:on('finish', function() inFinish = t.a.writableFinished end)
    t.await(t.a, 'finish')
    assert.is_true(inFinish)
  end },
  { "writable becomes false with end() (writable.writable)", function(t)
    assert.is_true(t.a.writable)
    assert.is_true(stream.isWritable(t.a))
    t.a:finish()
    assert.is_false(t.a.writable)
    assert.is_false(stream.isWritable(t.a))
  end },
  { "end() returns the stream and stands under both names (writable.end)", function(t)
    assert.equal(t.a.finish, t.a['end'])
    assert.equal(t.a, t.a['end'](t.a, 'x'))
    assert.equal('x', t:all(t.b))
  end },
  { "end() takes a chunk, an encoding and a callback, each left out as one likes (writable.end)", function(t)
    t.b:resume()
    t.await(function(done) t.a:finish('6162', 'hex', done) end)
    local a, b = t:open()
    b:resume()
    t.await(function(done) a:finish('x', done) end)
    a, b = t:open()
    b:resume()
    t.await(function(done) a:finish(done) end)
  end },
  { "a second end() calls back with ERR_STREAM_ALREADY_FINISHED once it is finished (writable.end)",
    options = { allowHalfOpen = true }, on = 'ends', function(t)
      t.b:resume()
      t.a:finish('x')
      t.await(t.a, 'finish')
      local code
      t.await(function(done)
        t.a:finish(function(err)
          code = err and err.code
          done()
        end)
      end)
      assert.equal('ERR_STREAM_ALREADY_FINISHED', code)
      assert.is_false(t.a.destroyed)
    end },
  { "a second end() while the first is under way calls back with it (writable.end)", function(t)
    t.b:resume()
    local log = t:log(t.a, { 'finish' })
    t.a:finish('x', function(err) table.insert(log, 'first ' .. tostring(err)) end)
    t.a:finish(function(err) table.insert(log, 'second ' .. tostring(err)) end)
    t.await(t.a, 'finish')
    assert.same({ 'first nil', 'second nil', 'finish' }, log)
  end },
  { "end() of a destroyed stream calls back with ERR_STREAM_DESTROYED (writable.end)", function(t)
    t:ignore(t.b)
    t.a:destroy()
    local code
    t.a:finish(function(err) code = err and err.code end)
    t:closed(t.a)
    t:settle()
    assert.equal('ERR_STREAM_DESTROYED', code)
  end },
  { "the callback of end() gets the error that kept it from finishing (writable.end)", on = 'ends', function(t)
    t:ignore(t.a)
    t:ignore(t.b)
    t.b:pause()
    repeat until not t.a:write(MEGABYTES)
    local message
    t.a:finish(function(err) message = err and err.message end)
    t.a:destroy(errors.new('cut'))
    t:closed(t.a)
    t:settle()
    assert.equal('cut', message)
  end },
  { "what a listener of 'finish' writes is a write after the end (event 'finish')", function(t)
    t:ignore(t.b)
    local log = t:log(t.a, { 'error' })
    t.b:resume()
    t.a:once('finish', function() t.a:write('late') end)
    t.a:finish('x')
    t:closed(t.a)
    assert.same({ 'error ERR_STREAM_WRITE_AFTER_END' }, log)
  end },
  { "writableAborted tells a stream that was cut off from one that finished (writable.writableAborted)", function(t)
    t:ignore(t.b)
    local a, b = t:open()
    b:resume()
    a:resume()
    a:finish()
    t:closed(a)
    assert.is_false(a.writableAborted)
    t.a:destroy()
    assert.is_true(t.a.writableAborted)
  end },
  { "a chunk with end() that is no string raises and leaves the stream open (writable.end)", function(t)
    local ok, err = pcall(t.a.finish, t.a, 5)
    assert.is_false(ok)
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    assert.is_false(t.a.writableEnded)
    t.a:finish('x')
    assert.equal('x', t:all(t.b))
  end },
}

C.run({ describe = describe, it = it }, 'Writable', { writing, callbacks, encodings, misuse, corking, ending })

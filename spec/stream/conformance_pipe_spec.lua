-- What Node promises of pipe, between streams of every kind; spec.support.piping says what a case begins with.

local C = require 'spec.support.conformance'
local stream = require 'stream'
local timers = require 'timers'
local R = require 'spec.support.piping'

local pattern = C.pattern
local PIECE = R.PIECE
local MEGABYTES = pattern(4 * 1024 * 1024)
local collect, pour = R.collect, R.pour
local compare, reached = R.compare, R.reached

local carrying = {
  { "everything comes out at the far end, in order, then the end (readable.pipe)", function(t)
    local data = pattern(400000)
    t.b:pipe(t.c)
    for from = 1, #data, 9001 do
      t.a:write(data:sub(from, from + 9000))
    end
    t.a:finish()
    assert.is_true(t:all(t.d) == data)
  end },
  { "megabytes written at once come through (readable.pipe)", function(t)
    t.b:pipe(t.c)
    t.a:finish(MEGABYTES)
    assert.is_true(t:all(t.d) == MEGABYTES)
  end },
  { "what had arrived before the pipe comes through first (readable.pipe)", function(t)
    t.a:write('before ')
    t:settle()
    t.b:pipe(t.c)
    t.a:finish('after')
    assert.equal('before after', t:all(t.d))
  end },
  { "what was put back before the pipe comes through first (readable.unshift)", function(t)
    t.b:unshift('front ')
    t.b:pipe(t.c)
    t.a:finish('back')
    assert.equal('front back', t:all(t.d))
  end },
  { "pipe returns its destination, so that pipes chain (readable.pipe)", function(t)
    local through = stream.PassThrough()
    assert.equal(through, t.b:pipe(through))
    through:pipe(t.c)
    t.a:finish('chained')
    assert.equal('chained', t:all(t.d))
  end },
  { "a pipe sets a stream flowing that was paused (readable.pipe)", function(t)
    t.b:pause()
    t.b:pipe(t.c)
    t.a:finish('abc')
    assert.equal('abc', t:all(t.d))
  end },
  { "the end of the source ends the destination (readable.pipe)", function(t)
    local log = t:log(t.c, { 'finish', 'unpipe' })
    t.b:pipe(t.c)
    t.a:finish('x')
    t:all(t.d)
    t:untilTrue(function() return #log == 2 end)
    assert.same({ 'unpipe', 'finish' }, log[1] == 'unpipe' and log or { log[2], log[1] })
    assert.is_true(t.c.writableFinished)
  end },
  { "with end = false the destination stays open (readable.pipe)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c, { ['end'] = false })
    t.a:finish('first ')
    t.await(t.b, 'end')
    t:settle()
    assert.is_true(t.c.writable)
    t.c:finish('second')
    t.await(t.d, 'end')
    assert.equal('first second', bytes())
  end },
  { "a source that has ended already ends the destination in a tick (readable.pipe)", function(t)
    t.b.allowHalfOpen = true
    t.b:resume()
    t.a:finish()
    t.await(t.b, 'end')
    t.b:pipe(t.c)
    assert.equal('', t:all(t.d))
  end },
  { "an empty source ends the destination (readable.pipe)", function(t)
    t.b:pipe(t.c)
    t.a:finish()
    assert.equal('', t:all(t.d))
  end },
  { "the script may write in between (readable.pipe)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t.a:write('one ')
    reached(t, bytes, 4)
    t.c:write('two ')
    reached(t, bytes, 8)
    t.a:finish('three')
    t.await(t.d, 'end')
    assert.equal('one two three', bytes())
  end },
  { "what the script had written comes first (readable.pipe)", function(t)
    t.c:write('first ')
    t.b:pipe(t.c)
    t.a:finish('second')
    assert.equal('first second', t:all(t.d))
  end },
  { "a corked destination holds everything until it is uncorked (writable.cork)", function(t)
    local bytes = collect(t.d)
    t.c:cork()
    t.b:pipe(t.c)
    t.a:write('held')
    t:settle()
    assert.equal('', bytes())
    t.c:uncork()
    reached(t, bytes, 4)
  end },
  { "cork in the middle holds what comes from then on (writable.cork)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t.a:write('one')
    reached(t, bytes, 3)
    t.c:cork()
    t.a:write('two')
    t:settle()
    assert.equal('one', bytes())
    t.c:uncork()
    reached(t, bytes, 6)
  end },
}

local pace = {
  { "a slow destination holds the source's writer back (backpressure)", function(t)
    t.d:pause()
    t.b:pipe(t.c)
    local sent = 0
    repeat
      local more = pour(t.a, 64, sent / PIECE)
      sent = sent + 64 * PIECE
      t:settle()
    until not more and t.a.writableNeedDrain or sent > 256 * 1024 * 1024
    assert.is_true(t.a.writableNeedDrain)
    local held = t.b.readableLength + t.c.writableLength
    assert.is_true(held < 400000, held)
    t.a:finish()
    local came = compare(t.d)
    t.d:resume()
    t.await(t.d, 'end')
    assert.equal(sent, came())
  end },
  { "a destination that needs to drain is waited for (writable.writableNeedDrain)", function(t)
    t.d:pause()
    local count = 0
    repeat
      count = count + 1
    until not t.c:write(MEGABYTES)
    t.b:pipe(t.c)
    t.a:write('tail')
    t:settle()
    assert.is_true(t.b.readableLength <= 4)
    t.a:finish()
    assert.is_true(t:all(t.d) == MEGABYTES:rep(count) .. 'tail')
  end },
  { "a reader that stops and goes on gets everything (backpressure)", function(t)
    local data, parts = pattern(2000000), {}
    t.b:pipe(t.c)
    t.d:on('data', function(chunk)
      parts[#parts + 1] = chunk
      if #parts % 3 == 0 then
        t.d:pause()
        timers.setImmediate(function() t.d:resume() end)
      end
    end)
    t.a:finish(data)
    t.await(t.d, 'end')
    assert.is_true(table.concat(parts) == data)
  end },
  { "pause() of the source by the script stops the pipe until resume() (readable.pause)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t.a:write('one')
    reached(t, bytes, 3)
    t.b:pause()
    t.a:write('two')
    t:settle()
    assert.equal('one', bytes())
    t.b:resume()
    reached(t, bytes, 6)
  end },
  { "the pipe leaves the 'drain' of the destination to be seen (event 'drain')", function(t)
    local drains = 0
    t.c:on('drain', function() drains = drains + 1 end)
    t.d:pause()
    t.b:pipe(t.c)
    pour(t.a, 320)
    t.a:finish()
    t:untilTrue(function() return t.c.writableNeedDrain end)
    local came = compare(t.d)
    t.d:resume()
    t.await(t.d, 'end')
    assert.equal(320 * PIECE, came())
    assert.is_true(drains > 0)
  end },
}

local undoing = {
  { "'pipe' and 'unpipe' tell the destination of the source (event 'pipe')", function(t)
    local log = {}
    t.c:on('pipe', function(source) log[#log + 1] = source == t.b and 'pipe' end)
    t.c:on('unpipe', function(source) log[#log + 1] = source == t.b and 'unpipe' end)
    t.b:pipe(t.c)
    t.b:unpipe(t.c)
    assert.same({ 'pipe', 'unpipe' }, log)
  end },
  { "after unpipe nothing more gets through, and the source waits (readable.unpipe)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t.a:write('one')
    reached(t, bytes, 3)
    assert.equal(t.b, t.b:unpipe(t.c))
    t.a:write('two')
    t:settle()
    assert.equal('one', bytes())
    assert.is_false(t.b.readableFlowing)
    assert.equal('two', t.b:read())
  end },
  { "unpipe without an argument undoes all (readable.unpipe)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t.b:pipe(stream.PassThrough())
    t.b:unpipe()
    t.a:write('none')
    t:settle()
    assert.equal('', bytes())
  end },
  { "unpipe of a stranger changes nothing (readable.unpipe)", function(t)
    t.b:pipe(t.c)
    t.b:unpipe(stream.PassThrough())
    t.a:finish('abc')
    assert.equal('abc', t:all(t.d))
  end },
  { "unpipe and pipe again lose and repeat nothing (readable.unpipe)", function(t)
    local data, bytes, sent = pattern(600000), collect(t.d), 0
    t.b:pipe(t.c)
    while sent < #data do
      t.a:write(data:sub(sent + 1, sent + 20000))
      sent = sent + 20000
      timers.setImmediate(function() t.b:unpipe(t.c) end)
      t:settle()
      t.b:pipe(t.c)
    end
    t.a:finish()
    t.await(t.d, 'end')
    assert.is_true(bytes() == data)
  end },
  { "unpipe leaves the destination open (readable.unpipe)", function(t)
    t.b:pipe(t.c)
    t.b:unpipe(t.c)
    t.b:resume()
    t.a:finish()
    t.await(t.b, 'end')
    t:settle()
    assert.is_true(t.c.writable)
  end },
  { "from one destination to another without losing a byte (readable.unpipe)", function(t)
    local data = pattern(500000)
    local e, f = t:into()
    local first, second = collect(t.d), collect(f)
    t.b:pipe(t.c)
    for from = 1, #data, 50000 do
      t.a:write(data:sub(from, from + 49999))
    end
    t:settle()
    t.b:unpipe(t.c)
    t.c:finish()
    t.b:pipe(e)
    t.a:finish()
    t:untilTrue(function() return t.d.readableEnded and f.readableEnded end)
    assert.is_true(first() .. second() == data)
  end },
  { "a pipe that is over leaves no listeners on the destination (readable.pipe)", function(t)
    local before = {}
    for _, event in ipairs { 'unpipe', 'error', 'close', 'finish', 'drain' } do
      before[event] = t.c:listenerCount(event)
    end
    t.b:pipe(t.c)
    t.a:write('x')
    t:settle()
    t.b:unpipe(t.c)
    for event, count in pairs(before) do
      assert.equal(count, t.c:listenerCount(event), event)
    end
    assert.equal(0, t.b:listenerCount('data'))
  end },
}

local several = {
  { "two destinations get everything (readable.pipe)", function(t)
    local data = pattern(200000)
    local e, f = t:into()
    t.b:pipe(t.c)
    t.b:pipe(e)
    local first, second = collect(t.d), collect(f)
    t.a:finish(data)
    t:untilTrue(function() return t.d.readableEnded and f.readableEnded end)
    assert.is_true(first() == data)
    assert.is_true(second() == data)
  end },
  { "a second destination gets what comes from then on (readable.pipe)", function(t)
    local e, f = t:into()
    local first, second = collect(t.d), collect(f)
    t.b:pipe(t.c)
    t.a:write('one')
    reached(t, first, 3)
    t.b:pipe(e)
    t.a:finish('two')
    t:untilTrue(function() return t.d.readableEnded and f.readableEnded end)
    assert.equal('onetwo', first())
    assert.equal('two', second())
  end },
  { "the slowest of two destinations holds both back (readable.pipe)", function(t)
    local e, f = t:into()
    local first = compare(t.d)
    f:pause()
    t.b:pipe(t.c)
    t.b:pipe(e)
    pour(t.a, 320)
    t.a:finish()
    t:settle()
    assert.is_true(first() < 320 * PIECE)
    local second = compare(f)
    f:resume()
    t:untilTrue(function() return t.d.readableEnded and f.readableEnded end)
    assert.equal(320 * PIECE, first())
    assert.equal(320 * PIECE, second())
  end },
  { "one of two destinations goes, the other goes on (readable.unpipe)", function(t)
    local e, f = t:into()
    local first, second = collect(t.d), collect(f)
    t.b:pipe(t.c)
    t.b:pipe(e)
    t.a:write('one')
    reached(t, first, 3)
    t.b:unpipe(t.c)
    t.a:write('two')
    reached(t, second, 6)
    assert.equal('one', first())
  end },
  { "two sources into one destination, ended by neither, both arrive (readable.pipe)", function(t)
    local e, f = t:open()
    local bytes = collect(t.d)
    t.b:pipe(t.c, { ['end'] = false })
    f:pipe(t.c, { ['end'] = false })
    t.a:write('x')
    reached(t, bytes, 1)
    e:write('y')
    reached(t, bytes, 2)
    t.c:finish()
    t.await(t.d, 'end')
    assert.equal('xy', bytes())
  end },
}

local watching = {
  { "a 'data' listener beside the pipe sees every byte (event 'data')", function(t)
    local data = pattern(300000)
    local seen = collect(t.b)
    t.b:pipe(t.c)
    t.a:finish(data)
    assert.is_true(t:all(t.d) == data)
    assert.is_true(seen() == data)
  end },
  { "a 'data' listener may come in the middle and go again (event 'data')", function(t)
    local bytes, seen = collect(t.d), {}
    local function listener(chunk) seen[#seen + 1] = chunk end
    t.b:pipe(t.c)
    t.a:write('one')
    reached(t, bytes, 3)
    t.b:on('data', listener)
    t.a:write('two')
    reached(t, bytes, 6)
    t.b:removeListener('data', listener)
    t.a:write('three')
    reached(t, bytes, 11)
    assert.equal('two', table.concat(seen))
    assert.equal('onetwothree', bytes())
  end },
  { "a once listener of 'data' in the middle sees the next chunk (event 'data')", function(t)
    local bytes, seen = collect(t.d), nil
    t.b:pipe(t.c)
    t.a:write('one')
    reached(t, bytes, 3)
    t.b:once('data', function(chunk) seen = chunk end)
    t.a:write('two')
    reached(t, bytes, 6)
    assert.equal('two', seen)
  end },
  { "an encoding set on the source is what the destination gets (readable.setEncoding)", function(t)
    t.b:setEncoding('hex')
    t.b:pipe(t.c)
    t.a:finish('ab')
    assert.equal('6162', t:all(t.d))
  end },
  { "an encoding set in the middle counts from there (readable.setEncoding)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t.a:write('ab')
    reached(t, bytes, 2)
    t.b:setEncoding('hex')
    t.a:write('ab')
    reached(t, bytes, 6)
    assert.equal('ab6162', bytes())
  end },
  { "a 'readable' listener takes the source over from the pipe (event 'readable')", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t.a:write('one')
    reached(t, bytes, 3)
    t.b:on('readable', function() end)
    t.a:write('two')
    t:settle()
    assert.equal('one', bytes())
    -- What is read by hand is 'data', and so goes through the pipe.
    assert.equal('two', t.b:read())
    reached(t, bytes, 6)
  end },
  { "events of the source and the destination come in order (readable.pipe)", function(t)
    local log = t:log(t.b, { 'end' }, 'source ')
    t:log(t.c, { 'pipe', 'unpipe', 'prefinish', 'finish' }, '', log)
    t.b:pipe(t.c)
    t.a:finish('x')
    t:all(t.d)
    t:settle()
    assert.equal('pipe', log[1])
    assert.equal('source end', log[2])
    local at = {}
    for i, name in ipairs(log) do
      at[name] = i
    end
    assert.is_true(at.prefinish < at.finish)
    assert.is_true(at.unpipe ~= nil)
  end },
  { "the stream tells that it flows and has been read (readable.readableFlowing)", function(t)
    local bytes = collect(t.d)
    t.b:pipe(t.c)
    t:settle()
    assert.is_true(t.b.readableFlowing)
    assert.is_false(t.b.readableDidRead)
    t.a:write('x')
    reached(t, bytes, 1)
    assert.is_true(t.b.readableDidRead)
    assert.is_false(t.b:isPaused())
    assert.equal(0, t.b.readableLength)
    assert.is_true(t.c.writableLength <= 1)
    assert.is_false(t.c.writableNeedDrain)
  end },
  { "bytesRead and bytesWritten count what went through (socket.bytesRead)", on = 'native', function(t)
    local data = pattern(300000)
    t.b:pipe(t.c)
    t.a:finish(data)
    t:all(t.d)
    assert.equal(#data, t.b.bytesRead)
    assert.equal(#data, t.c.bytesWritten)
  end },
}

local circles = {
  { "a stream piped into itself echoes, and ends when the other end does (readable.pipe)", on = 'ends', function(t)
    local data = pattern(500000)
    t.b:pipe(t.b)
    t.a:finish(data)
    assert.is_true(t:all(t.a) == data)
    t:closed(t.a, t.b)
  end },
  { "a slow reader of its own echo gets everything (readable.pipe)", on = 'ends', function(t)
    local data, parts = pattern(3000000), {}
    t.b:pipe(t.b)
    t.a:on('data', function(chunk)
      parts[#parts + 1] = chunk
      t.a:pause()
      timers.setImmediate(function() t.a:resume() end)
    end)
    t.a:finish(data)
    t.await(t.a, 'end')
    assert.is_true(table.concat(parts) == data)
  end },
  { "two pipes make a proxy, each way ending on its own (readable.pipe)", on = 'ends', function(t)
    local there, back = pattern(400000), pattern(300000):reverse()
    t.b.allowHalfOpen, t.c.allowHalfOpen = true, true
    t.a.allowHalfOpen, t.d.allowHalfOpen = true, true
    t.b:pipe(t.c)
    t.c:pipe(t.b)
    local one, other = collect(t.d), collect(t.a)
    t.a:finish(there)
    t.await(t.d, 'end')
    assert.is_true(one() == there)
    t.d:finish(back)
    t:closed(t.a, t.b, t.c, t.d)
    assert.is_true(other() == back)
  end },
  { "a proxy of requests and answers goes on for long (readable.pipe)", on = 'ends', function(t)
    t.b:pipe(t.c):pipe(t.b)
    t.d:pipe(t.d)
    for i = 1, 30 do
      local request = ('request %d'):format(i)
      t.a:write(request)
      local answer = ''
      while #answer < #request do
        answer = answer .. t.await(t.a, 'data')
      end
      assert.equal(request, answer)
    end
  end },
}

R.run({ describe = describe, it = it }, 'Piping', { carrying, pace, undoing, several, watching, circles })

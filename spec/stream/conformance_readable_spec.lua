-- What Node promises of reading from a stream, over every transport.

local C = require 'spec.support.conformance'
local errors = require 'moonlatch.errors'

local pattern = C.pattern

-- Each case begins with two ends, t.a and t.b: what is written to a comes out of b.
local flowing = {
  { "every byte comes once and in the order of the writes ('data')", function(t)
    local data = pattern(300000)
    for from = 1, #data, 7001 do
      t.a:write(data:sub(from, from + 7000))
    end
    t.a:finish()
    assert.is_true(t:all(t.b) == data)
  end },
  { "all 256 byte values come as they are ('data')", function(t)
    local bytes = {}
    for i = 0, 255 do
      bytes[#bytes + 1] = string.char(i)
    end
    bytes = table.concat(bytes)
    t.a:finish(bytes)
    assert.equal(bytes, t:all(t.b))
  end },
  { "nothing flows before somebody wants it (readableFlowing nil)", function(t)
    assert.is_nil(t.b.readableFlowing)
    t.a:write('abc')
    t:settle()
    assert.is_nil(t.b.readableFlowing)
    assert.is_false(t.b.readableDidRead)
    assert.equal(3, t.b.readableLength)
  end },
  { "a 'data' listener sets it flowing, in a later tick (on 'data')", function(t)
    t.a:write('abc')
    t:settle()
    local log = t:log(t.b, { 'data' })
    assert.same({}, log)
    assert.is_true(t.b.readableFlowing)
    t:settle()
    assert.same({ 'data abc' }, log)
  end },
  { "a 'data' listener does not override pause() (readable.pause)", function(t)
    t.b:pause()
    local log = t:log(t.b, { 'data' })
    t.a:write('abc')
    t:settle()
    assert.same({}, log)
    assert.is_false(t.b.readableFlowing)
    t.b:resume()
    t:settle()
    assert.same({ 'data abc' }, log)
  end },
  { "resume() without a listener loses the data (readable.resume)", function(t)
    t.a:write('abc')
    t.b:resume()
    t:settle()
    local log = t:log(t.b, { 'data', 'end' })
    t.a:finish('def')
    t.await(t.b, 'end')
    assert.same({ 'data def', 'end' }, log)
  end },
  { "removing the 'data' listener does not pause it (removeListener)", function(t)
    local function listener() end
    t.b:on('data', listener)
    t:settle()
    t.b:removeListener('data', listener)
    assert.is_true(t.b.readableFlowing)
    t.a:finish('lost')
    t.await(t.b, 'end')
  end },
  { "no 'data' follows a pause() in the listener until resume() (readable.pause)", function(t)
    local got = {}
    t.b:on('data', function(chunk)
      got[#got + 1] = chunk
      t.b:pause()
    end)
    t.a:write('first')
    t:settle()
    t.a:write('second')
    t:settle()
    assert.same({ 'first' }, got)
    t.b:resume()
    t:settle()
    assert.same({ 'first', 'second' }, got)
  end },
  { "'pause' comes at once and once, 'resume' in a tick and once (events)", function(t)
    local log = t:log(t.b, { 'pause', 'resume' })
    t.b:resume()
    t.b:resume()
    assert.same({}, log)
    t:tick()
    assert.same({ 'resume' }, log)
    t.b:pause()
    t.b:pause()
    assert.same({ 'resume', 'pause' }, log)
  end },
  { "isPaused() is true only while paused (readable.isPaused)", function(t)
    assert.is_false(t.b:isPaused())
    t.b:pause()
    assert.is_true(t.b:isPaused())
    t.b:resume()
    assert.is_false(t.b:isPaused())
  end },
  { "all 'data' listeners get each chunk, in the order they were added (events)", function(t)
    local got = {}
    t.b:on('data', function(chunk) got[#got + 1] = '1' .. chunk end)
    t.b:on('data', function(chunk) got[#got + 1] = '2' .. chunk end)
    t.a:write('x')
    t:settle()
    assert.same({ '1x', '2x' }, got)
  end },
  { "a once listener gets one chunk, and the stream flows on (once 'data')", function(t)
    local got = {}
    t.b:once('data', function(chunk) got[#got + 1] = chunk end)
    t.a:write('x')
    t:settle()
    t.a:write('y')
    t:settle()
    assert.same({ 'x' }, got)
    assert.is_true(t.b.readableFlowing)
  end },
  { "a listener that raises is an uncaught error, and the stream flows on ('data')", on = 'native', function(t)
    local got = {}
    local caught = t:uncaught()
    t.b:on('data', function(chunk)
      got[#got + 1] = chunk
      if #got == 1 then
        error(errors.new('listener'), 0)
      end
    end)
    t.a:write('x')
    t:settle()
    t.a:write('y')
    t:settle()
    assert.same({ 'listener' }, caught)
    assert.same({ 'x', 'y' }, got)
  end },
  { "pause() and resume() in one tick change nothing in the data (readable.resume)", function(t)
    local data = pattern(100000)
    local parts = {}
    t.b:on('data', function(chunk)
      parts[#parts + 1] = chunk
      t.b:pause()
      t.b:resume()
    end)
    t.a:finish(data)
    t.await(t.b, 'end')
    assert.is_true(table.concat(parts) == data)
  end },
  { "a stream paused in every 'data' and resumed later gives everything (readable.pause)", function(t)
    local data, parts = pattern(200000), {}
    t.b:on('data', function(chunk)
      parts[#parts + 1] = chunk
      t.b:pause()
      require('timers').setImmediate(function() t.b:resume() end)
    end)
    t.a:finish(data)
    t.await(t.b, 'end')
    assert.is_true(table.concat(parts) == data)
  end },
  { "what arrives while it is paused waits, and writers are held back (highWaterMark)", function(t)
    t.b:pause()
    local total = 0
    repeat
      repeat
        total = total + 65536
        t.a:write(('x'):rep(65536))
      until t.a.writableLength > 1024 * 1024
      t:settle() -- the kernel may take that much, and more
    until t.a.writableNeedDrain or total > 64 * 1024 * 1024
    assert.is_true(t.b.readableLength < 200000)
    assert.is_true(t.a.writableNeedDrain)
    local count = 0
    t.b:on('data', function(chunk) count = count + #chunk end)
    t.b:resume()
    t.a:finish()
    t.await(t.b, 'end')
    assert.equal(total, count)
  end },
}

local paused = {
  { "'readable' comes when there is data, and read() takes all of it (readable.read)", function(t)
    local log = t:log(t.b, { 'readable' })
    t.a:write('abc')
    t:settle()
    assert.same({ 'readable' }, log)
    assert.equal('abc', t.b:read())
    assert.is_nil(t.b:read())
  end },
  { "'readable' comes again after the buffer was emptied (event 'readable')", function(t)
    local parts = {}
    t.b:on('readable', function()
      local chunk = t.b:read()
      while chunk do
        parts[#parts + 1] = chunk
        chunk = t.b:read()
      end
    end)
    for _, piece in ipairs { 'one', 'two', 'three' } do
      t.a:write(piece)
      t:settle()
    end
    assert.same({ 'one', 'two', 'three' }, parts)
  end },
  { "read(n) gives n bytes, or nil while there are fewer (readable.read)", function(t)
    t.b:on('readable', function() end)
    t.a:write('abcdef')
    t:settle()
    assert.is_nil(t.b:read(7))
    assert.equal('abcd', t.b:read(4))
    assert.is_nil(t.b:read(3))
    assert.equal('ef', t.b:read(2))
  end },
  { "read(n) joins what arrived in pieces (readable.read)", function(t)
    t.b:on('readable', function() end)
    for _, piece in ipairs { 'ab', 'cd', 'ef' } do
      t.a:write(piece)
      t:settle()
    end
    assert.equal('abcde', t.b:read(5))
    assert.equal('f', t.b:read())
  end },
  { "read(n) gives the rest when the end has come and fewer are left (readable.read)", function(t)
    t.b:on('readable', function() end)
    t.a:finish('abc')
    t:settle()
    assert.equal('abc', t.b:read(10))
  end },
  { "read(0) takes nothing (readable.read)", function(t)
    t.a:write('abc')
    t:settle()
    assert.is_nil(t.b:read(0))
    assert.equal(3, t.b.readableLength)
    assert.equal('abc', t.b:read())
  end },
  { "what read() returns is emitted as 'data' too (event 'data')", function(t)
    t.b:on('readable', function() end)
    local log = t:log(t.b, { 'data' })
    t.a:write('abc')
    t:settle()
    assert.same({}, log)
    assert.equal('ab', t.b:read(2))
    assert.equal('c', t.b:read())
    assert.same({ 'data abc' }, log)
  end },
  { "'readable' takes precedence over 'data' and resume() (event 'readable')", function(t)
    t.b:on('data', function() end)
    t.b:on('readable', function() end)
    t.b:resume()
    t.a:write('abc')
    t:settle()
    assert.is_false(t.b.readableFlowing)
    assert.equal('abc', t.b:read())
  end },
  { "it flows again when the 'readable' listener goes and a 'data' listener is there (removeListener)", function(t)
    local function listener() end
    t.b:on('readable', listener)
    local log = t:log(t.b, { 'data' })
    t.a:write('abc')
    t:settle()
    t.b:removeListener('readable', listener)
    t:settle()
    assert.same({ 'data abc' }, log)
    assert.is_true(t.b.readableFlowing)
  end },
  { "without the only 'readable' listener it waits for whoever comes (removeListener)", function(t)
    local function listener() end
    t.b:on('readable', listener)
    t:settle()
    t.b:removeListener('readable', listener)
    t:settle()
    assert.is_nil(t.b.readableFlowing)
    t.a:finish('abc')
    assert.equal('abc', t:all(t.b))
  end },
  { "the end is announced by 'readable', then read() gives nil (event 'readable')", function(t)
    local log = {}
    t.b:on('readable', function()
      log[#log + 1] = tostring(t.b:read())
    end)
    t:log(t.b, { 'end' }, '', log)
    t.a:write('abc')
    t:settle()
    t.a:finish()
    t.await(t.b, 'end')
    assert.same({ 'abc', 'nil', 'end' }, log)
  end },
  { "read() in a loop reaches the end with everything (readable.read)", function(t)
    local data, parts = pattern(150000), {}
    t.b:on('readable', function()
      local chunk = t.b:read(1000) or t.b:read()
      while chunk do
        parts[#parts + 1] = chunk
        chunk = t.b:read(1000) or t.b:read()
      end
    end)
    t.a:finish(data)
    t.await(t.b, 'end')
    assert.is_true(table.concat(parts) == data)
  end },
  { "a read larger than the mark is met in the end (highWaterMark)", function(t)
    local size, got = 100000, nil
    t.b:on('readable', function()
      got = got or t.b:read(size)
    end)
    t.a:write(pattern(size))
    t.a:write('x')
    t:untilTrue(function() return got end)
    assert.is_true(got == pattern(size))
    assert.is_true(t.b.readableHighWaterMark >= size)
  end },
}

local putBack = {
  { "an unshifted chunk is read next (readable.unshift)", function(t)
    t.b:on('readable', function() end)
    t.a:write('world')
    t:settle()
    t.b:unshift('hello ')
    assert.equal('hello world', t.b:read())
  end },
  { "a rest put back in 'data' comes again, in front of what follows (readable.unshift)", function(t)
    local got = {}
    t.b:on('data', function(chunk)
      got[#got + 1] = chunk:sub(1, 2)
      if #chunk > 2 then
        t.b:unshift(chunk:sub(3))
      end
    end)
    t.a:write('aabbccd')
    t:settle()
    t.a:finish('ee')
    t.await(t.b, 'end')
    assert.same({ 'aa', 'bb', 'cc', 'd', 'ee' }, got)
  end },
  { "unshift keeps 'end' from coming until it has been read (readable.unshift)", function(t)
    local log = {}
    local function readAll()
      local chunk = t.b:read(5)
      while chunk do
        log[#log + 1] = chunk
        chunk = t.b:read(5)
      end
    end
    t.b:once('readable', function()
      t.b:unshift('again')
      t.b:on('readable', readAll)
      readAll()
    end)
    t:log(t.b, { 'end' }, '', log)
    t.a:finish('first')
    t.await(t.b, 'end')
    assert.same({ 'again', 'first', 'end' }, log)
  end },
  { "unshift after 'end' is ERR_STREAM_UNSHIFT_AFTER_END_EVENT (readable.unshift)", function(t)
    local log = t:log(t.b, { 'error' })
    t.b:on('end', function()
      t.b:unshift('late')
    end)
    t.b:resume()
    t.a:finish()
    t:closed(t.b)
    assert.same({ 'error ERR_STREAM_UNSHIFT_AFTER_END_EVENT' }, log)
  end },
  { "unshift of what is no string is ERR_INVALID_ARG_TYPE (readable.unshift)", function(t)
    t:ignore(t.a)
    local log = t:log(t.b, { 'error' })
    t.b:unshift(5)
    t:closed(t.b)
    assert.same({ 'error ERR_INVALID_ARG_TYPE' }, log)
  end },
  { "unshift of nothing changes nothing (readable.unshift)", function(t)
    t.b:unshift('')
    assert.equal(0, t.b.readableLength)
    t.a:finish('abc')
    assert.equal('abc', t:all(t.b))
  end },
}

local encoded = {
  { "setEncoding('utf8') never splits a character (readable.setEncoding)", function(t)
    local text, whole = 'aé€😀z', true
    t.b:setEncoding('utf8')
    local parts = {}
    t.b:on('data', function(chunk)
      parts[#parts + 1] = chunk
      local first, last = chunk:byte(1), chunk:match('[\192-\255][\128-\191]*$')
      whole = whole and (first < 0x80 or first >= 0xC0)
        and (not last or #last == (last:byte() >= 0xF0 and 4 or last:byte() >= 0xE0 and 3 or 2))
    end)
    for i = 1, #text do
      t.a:write(text:sub(i, i))
      t:settle()
    end
    t.a:finish()
    t.await(t.b, 'end')
    assert.equal(text, table.concat(parts))
    assert.is_true(whole)
  end },
  { "a character cut off by the end is U+FFFD (readable.setEncoding)", function(t)
    t.b:setEncoding('utf8')
    t.a:finish('a\226\130')
    assert.equal('a\239\191\189', t:all(t.b))
  end },
  { "setEncoding('hex') gives hexadecimal digits (readable.setEncoding)", function(t)
    t.b:setEncoding('hex')
    t.a:finish('\0\255abc')
    assert.equal('00ff616263', t:all(t.b))
  end },
  { "setEncoding('base64') joins groups over chunks (readable.setEncoding)", function(t)
    t.b:setEncoding('base64')
    local parts = {}
    t.b:on('data', function(chunk) parts[#parts + 1] = chunk end)
    for _, piece in ipairs { 'a', 'bcd', 'ef' } do
      t.a:write(piece)
      t:settle()
    end
    t.a:finish()
    t.await(t.b, 'end')
    assert.equal('YWJjZGVm', table.concat(parts))
  end },
  { "setEncoding('latin1') leaves each byte as it is (readable.setEncoding)", function(t)
    t.b:setEncoding('latin1')
    t.a:finish('a\233\255')
    assert.equal('a\233\255', t:all(t.b))
  end },
  { "setEncoding after data has come re-encodes what waits (readable.setEncoding)", function(t)
    t.a:write('abc')
    t:settle()
    t.b:setEncoding('hex')
    assert.equal('616263', t.b:read())
  end },
  { "an encoding that is none is ERR_UNKNOWN_ENCODING (readable.setEncoding)", function(t)
    local ok, err = pcall(t.b.setEncoding, t.b, 'klingon')
    assert.is_false(ok)
    assert.equal('ERR_UNKNOWN_ENCODING', err.code)
  end },
  { "readableEncoding names it (readable.readableEncoding)", function(t)
    assert.is_nil(t.b.readableEncoding)
    t.b:setEncoding('UTF-8')
    assert.equal('utf8', t.b.readableEncoding)
  end },
}

C.run({ describe = describe, it = it }, 'Readable', { flowing, paused, putBack, encoded })

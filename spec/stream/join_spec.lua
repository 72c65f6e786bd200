-- Streams made of streams: stream.duplexPair and Duplex.from.
local errors = require 'moonlatch.errors'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local util = require 'util'

local function gather(readable)
  local got = {}
  readable:on('data', function(chunk)
    got[#got + 1] = chunk
  end)
  return got
end

local function closed(await, ...)
  for _, each in ipairs { ... } do
    if not each.closed then
      await(each, 'close')
    end
  end
end

describe('stream.duplexPair', function()
  it('gives out at one end what is written at the other', spec.coroutine(function(await)
    local ends = stream.duplexPair()
    local a, b = ends[1], ends[2]
    assert.is_true(util.isInstance(a, stream.Duplex))
    local fromA, fromB = gather(b), gather(a)
    a:write('one ')
    a:write('')
    a:finish('two')
    b:finish('three')
    closed(await, a, b)
    assert.equal('one two', table.concat(fromA))
    assert.equal('three', table.concat(fromB))
  end))

  it('holds the writer up until what it wrote is read', spec.coroutine(function(await)
    local ends = stream.duplexPair { highWaterMark = 4 }
    local a, b = ends[1], ends[2]
    local written = 0
    for _ = 1, 3 do
      a:write('four', function()
        written = written + 1
      end)
    end
    await(setImmediate)
    assert.equal(0, written)
    assert.is_true(a.writableNeedDrain)
    assert.equal('four', b:read(4))
    await(setImmediate)
    assert.equal(1, written)
    b:resume()
    await(function(done)
      a:write('the last', done)
    end)
    assert.equal(3, written)
    a:destroy()
    b:destroy()
    closed(await, a, b)
  end))

  it('finishes when the other end has come to the end', spec.coroutine(function(await)
    local ends = stream.duplexPair()
    local finished = false
    ends[1]:finish('data', function()
      finished = true
    end)
    await(setImmediate)
    assert.is_false(finished)
    ends[2]:resume()
    await(ends[1], 'finish')
    ends[2]:finish()
    ends[1]:resume()
    closed(await, ends[1], ends[2])
  end))

  it('lets the other end come to an end when one is destroyed', spec.coroutine(function(await)
    local ends = stream.duplexPair()
    local got = gather(ends[2])
    ends[1]:write('before')
    ends[1]:destroy()
    await(ends[2], 'end')
    assert.equal('before', table.concat(got))
    ends[2]:write('after')
    assert.equal('EPIPE', await(ends[2], 'error').code)
  end))

  it('leaves no end when one fails', spec.coroutine(function(await, expect)
    local ends = stream.duplexPair()
    ends[1]:on('error', expect())
    ends[2]:on('end', expect(0))
    ends[2]:resume()
    ends[1]:destroy(errors.new('failed'))
    closed(await, ends[2])
  end))

  it('fails the write of a side that is destroyed', spec.coroutine(function(await)
    local ends = stream.duplexPair { highWaterMark = 1 }
    local err = await(function(done)
      ends[1]:write('stuck', function(err)
        done(nil, err)
      end)
      ends[1]:destroy()
    end)
    assert.equal('ERR_STREAM_DESTROYED', err.code)
    ends[2]:destroy()
  end))

  it('fails the write of a side whose reader is destroyed', spec.coroutine(function(await)
    local ends = stream.duplexPair { highWaterMark = 1 }
    ends[1]:write('stuck')
    ends[2]:destroy()
    assert.equal('EPIPE', await(ends[1], 'error').code)
  end))
end)

describe('Duplex.from', function()
  it('joins a readable and a writable', spec.coroutine(function(await)
    local there, back = stream.PassThrough(), stream.PassThrough()
    local a = stream.Duplex.from { readable = back, writable = there }
    local b = stream.Duplex.from { readable = there, writable = back }
    local fromA, fromB = gather(b), gather(a)
    local text = ('x'):rep(100000)
    a:finish(text)
    b:finish('y')
    closed(await, a, b)
    assert.equal(text, table.concat(fromA))
    assert.equal('y', table.concat(fromB))
  end))

  it('passes the backpressure of either half on', spec.coroutine(function(await)
    local sink = stream.PassThrough { highWaterMark = 10 }
    local source = stream.PassThrough { highWaterMark = 10 }
    local duplex = stream.Duplex.from { readable = source, writable = sink }
    local called = 0
    for _ = 1, 5 do
      duplex:write(('x'):rep(10), function()
        called = called + 1
      end)
    end
    await(setImmediate)
    assert.is_true(called < 5)
    sink:resume()
    await(function(done)
      duplex:write('the last', done)
    end)
    assert.equal(5, called)
    repeat
    until not source:write(('y'):rep(1000))
    for _ = 1, 20 do
      source:write(('y'):rep(1000))
    end
    await(setImmediate)
    assert.is_true(source.writableNeedDrain)
    duplex:resume()
    await(source, 'drain')
    duplex:destroy()
    closed(await, source, sink)
  end))

  it('fails with either half, and takes the other with it', spec.coroutine(function(await)
    for _, which in ipairs { 'source', 'sink' } do
      local halves = { source = stream.PassThrough(), sink = stream.PassThrough() }
      local duplex = stream.Duplex.from { readable = halves.source, writable = halves.sink }
      local reason = errors.new('broken')
      halves[which]:destroy(reason)
      assert.equal(reason, (await(duplex, 'error')))
      closed(await, halves.source, halves.sink)
    end
  end))

  it('tells of a half that closes too early', spec.coroutine(function(await)
    local source = stream.PassThrough()
    local duplex = stream.Duplex.from { readable = source, writable = stream.PassThrough() }
    source:destroy()
    assert.equal('ERR_STREAM_PREMATURE_CLOSE', await(duplex, 'error').code)
    closed(await, duplex)
  end))

  it('destroys both halves', spec.coroutine(function(await)
    local source, sink = stream.PassThrough(), stream.PassThrough()
    stream.Duplex.from({ readable = source, writable = sink }):destroy()
    closed(await, source, sink)
  end))

  it('makes a Duplex of one half', spec.coroutine(function(await)
    local duplex = stream.Duplex()
    assert.equal(duplex, stream.Duplex.from(duplex))

    local list = stream.Duplex.from { 'a', 'b' }
    assert.is_false(list.writable)
    local got = gather(list)
    await(list, 'end')
    assert.same({ 'a', 'b' }, got)

    local written = {}
    local sink = stream.Writable { write = function(_, chunk, _, callback)
      written[#written + 1] = chunk
      callback()
    end }
    local writer = stream.Duplex.from(sink)
    assert.is_false(writer.readable)
    writer:finish('c')
    await(writer, 'finish')
    assert.same({ 'c' }, written)

    local reader = stream.Duplex.from(stream.Readable.from { 'd' })
    assert.equal('d', (await(reader, 'data')))
    closed(await, reader)
  end))

  it('raises for anything else', function()
    for _, value in ipairs { 5, true, 'text', { readable = 5 }, { writable = stream.Readable() } } do
      local ok, err = pcall(stream.Duplex.from, value)
      assert.is_false(ok)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    end
  end)
end)

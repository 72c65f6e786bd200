-- What is no stream, or the wrong one, is refused at the call, and nothing has been done by then.

local EventEmitter = require('events').EventEmitter
local net = require 'net'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local T = require 'spec.support.tls'
local tls = require 'tls'

local function nop() end

local function readable()
  return stream.Readable { read = nop }
end

local function writable()
  return stream.Writable { write = nop }
end

local function refused(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal('table', type(err), tostring(err))
  assert.equal('ERR_INVALID_ARG_TYPE', err.code)
  return err.message
end

local function listeners(source)
  local count = 0
  for _, name in ipairs(source:eventNames()) do
    count = count + source:listenerCount(name)
  end
  return count
end

describe('a wrong stream', function()
  it('is nothing to pipe into', function()
    for _, wrong in ipairs { false, 5, true, 'text', {}, nop, EventEmitter(), readable(), { write = nop } } do
      local source = readable()
      assert.matches('^The "dest" argument must be an instance of Writable. Received ',
        refused(source.pipe, source, wrong or nil))
      assert.equal(0, listeners(source))
      assert.is_nil(source.readableFlowing)
    end
    -- Something of a script's own will do.
    local own = EventEmitter()
    function own.write() end
    assert.equal(own, readable():pipe(own))
  end)

  it('is no part of a pipeline', function()
    local good = { readable, stream.PassThrough, writable }
    local wrong = {
      { 5, true, 'text', EventEmitter(), writable() },
      { 5, true, 'text', {}, EventEmitter(), readable(), writable() },
      { 5, true, 'text', EventEmitter(), readable() },
    }
    for index, values in ipairs(wrong) do
      for _, value in ipairs(values) do
        local stages = { good[1](), good[2](), good[3]() }
        stages[index] = value
        local message = refused(stream.pipeline, stages[1], stages[2], stages[3], nop)
        assert.equal(('The "streams[%d]" argument must be of type function or an instance of Stream.'):format(index),
          message:match('^.-%.'))
        for place, stage in ipairs(stages) do
          if place ~= index then
            assert.equal(0, listeners(stage))
          end
        end
      end
    end
  end)

  it('is nothing to wait for, to wrap or to read from', function()
    for _, wrong in ipairs { false, 5, true, 'text', {}, EventEmitter() } do
      refused(stream.finished, wrong or nil, nop)
    end
    local target = readable()
    for _, wrong in ipairs { false, 5, true, 'text', {}, nop } do
      refused(target.wrap, target, wrong or nil)
    end
    for _, wrong in ipairs { false, 5, true, EventEmitter(), writable() } do
      refused(stream.Readable.from, wrong or nil)
    end
    refused(stream.Duplex.from, 5)
    refused(stream.Duplex.from, { readable = 5 })
    refused(stream.Duplex.from, { writable = readable() })
  end)

  it('is nothing to serve TLS on', function()
    local server = tls.createServer(T.identity())
    for _, wrong in ipairs { false, 5, true, 'text', {}, nop, EventEmitter(), readable(), writable() } do
      assert.matches('^The "socket" argument must be ', refused(server.emit, server, 'connection', wrong or nil))
    end
  end)
end)

describe('options', function()
  it('of streams are a table', function()
    for _, class in ipairs { stream.Readable, stream.Writable, stream.Duplex, stream.Transform, stream.PassThrough } do
      for _, wrong in ipairs { 5, 'text', true, nop } do
        assert.matches('^The "options" argument must be of type object', refused(class, wrong))
      end
    end
  end)

  it('of sockets name no handle that is none', function()
    for _, wrong in ipairs { 5, 'text', true, {}, nop } do
      assert.matches('^The "options.handle" property ', refused(net.Socket, { handle = wrong }))
    end
  end)
end)

describe('a Readable', function()
  it('is made from another stream too', spec.coroutine(function(await)
    local source, got = stream.PassThrough(), {}
    local copy = stream.Readable.from(source)
    copy:on('data', function(chunk) got[#got + 1] = chunk end)
    source:write('one ')
    source:finish('two')
    await(copy, 'end')
    assert.equal('one two', table.concat(got))
  end))

  it('pipes bytes as they are, whatever encoding the destination takes text for', spec.coroutine(function(await)
    for encoding, expected in pairs { [false] = '6869', utf8 = 'hi' } do
      local source, dest, got = stream.PassThrough(), stream.PassThrough(), {}
      if encoding then
        source:setEncoding(encoding) -- gives out text, which is decoded
      end
      dest:setDefaultEncoding('hex')
      dest:on('data', function(chunk) got[#got + 1] = chunk end)
      source:pipe(dest)
      source:finish('6869')
      await(dest, 'end')
      assert.equal(expected, table.concat(got))
    end
  end))
end)

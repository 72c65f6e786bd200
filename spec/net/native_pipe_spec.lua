-- A pipe between two sockets runs in C, and nobody can tell.
--
-- Whatever a script may do with either end is done twice, once with the native pipe and once without, and must show the
-- same: right away, later, and in the bytes that come out.

local C = require 'spec.support.conformance'
local errors = require 'moonlatch.errors'
local net = require 'net'
local nativePipe = require 'moonlatch.net.native_pipe'
local stream = require 'stream'
local tape = require 'spec.support.tape'
local timers = require 'timers'
local transports = require 'spec.support.transports'

local PIECE = 65536
local MUCH = 32 -- pieces: more than unix sockets hold

local function isNative(source)
  return rawget(source, '_pipedTo') ~= nil
end

-- What can be seen of a pipe from b to c.
local function look(log, b, c)
  log[#log + 1] = ('b %s %s %s %s %s %s data %d readable %d pipes %d'):format(b.readable, b.readableFlowing,
    b:isPaused(), b.destroyed, b.closed, b.readableEncoding, b:listenerCount('data'), b:listenerCount('readable'),
    #(b._readableState.pipes or {}))
  log[#log + 1] = ('c %s %s %s %s %s %s unpipe %d'):format(c.writable, c.writableNeedDrain, c.writableLength > 0,
    c.destroyed, c.writableEnded, c.writableFinished, c:listenerCount('unpipe'))
end

-- Each is done to the pipe's source b and its destination c, or to the far ends t.a and t.d; what it adds to the log
-- counts too.
local acts = {
  ['pause'] = function(b) b:pause() end,
  ['pause and resume'] = function(b) b:pause() b:resume() end,
  ['resume'] = function(b) b:resume() end,
  ['unpipe'] = function(b) b:unpipe() end,
  ['unpipe and pipe'] = function(b, c) b:unpipe(c) b:pipe(c) end,
  ['read'] = function(b) b:read(0) end,
  ['unshift'] = function(b) b:unshift('') end,
  ['setEncoding'] = function(b) b:setEncoding('latin1') end,
  ['on data'] = function(b) b:on('data', function() end) end,
  ['once data'] = function(b) b:once('data', function() end) end,
  ['prepend data'] = function(b) b:prependListener('data', function() end) end,
  ['prepend once data'] = function(b) b:prependOnceListener('data', function() end) end,
  ['on and off data'] = function(b)
    local function listener() end
    b:on('data', listener):off('data', listener)
  end,
  ['on readable'] = function(b) b:on('readable', function() b:read() end) end,
  ['on pause'] = function(b, _, log) b:on('pause', function() log.paused = true end) end,
  ['all listeners of data removed'] = function(b) b:removeAllListeners('data') end,
  ['listeners counted'] = function(b, c, log)
    log[#log + 1] = b:listenerCount('data') .. #b:listeners('data') .. c:listenerCount('unpipe')
  end,
  ['write'] = function(_, c) c:write('') end,
  ['write with a callback'] = function(_, c, log) c:write('', function() log.called = true end) end,
  ['cork and uncork'] = function(_, c) c:cork() c:uncork() end,
  ['cork in a tick'] = function(_, c)
    c:cork()
    require('process').nextTick(c.uncork, c)
  end,
  ['setDefaultEncoding'] = function(_, c) c:setDefaultEncoding('latin1') end,
  ['on drain'] = function(_, c, log) c:on('drain', function() log.drained = true end) end,
  ['finish'] = function(_, c) c:on('error', function() end) c:finish() end,
  ['a second destination'] = function(b) b:pipe(stream.PassThrough():resume()) end,
  ['destroy of the source'] = function(b) b:destroy() end,
  ['destroy of the source with an error'] = function(b) b:destroy(errors.new('source')) end,
  ['destroy of the destination'] = function(_, c) c:destroy() end,
  ['destroy of the destination with an error'] = function(_, c) c:destroy(errors.new('destination')) end,
  ['destroySoon of the destination'] = function(_, c) c:on('error', function() end) c:destroySoon() end,
  ['a field set on the source'] = function(b) b.mine = 1 end,
  ['a method of the destination replaced'] = function(_, c, log)
    local write = c.write
    function c:write(...)
      log.replaced = true
      return write(self, ...)
    end
  end,
  ['properties read'] = function(b, c, log)
    log[#log + 1] = ('%s %s %s'):format(b.readableDidRead, c.bufferSize == c.writableLength, b.pending)
  end,
  ['setTimeout'] = function(b, c) b:setTimeout(60000) c:setTimeout(60000) end,
  ['ref and unref'] = function(b, c) b:unref():ref() c:unref():ref() end,
  ['setNoDelay'] = function(_, c) c:setNoDelay(true) end,
  ['listeners of the destination removed'] = function(_, c)
    for _, name in ipairs { 'unpipe', 'drain', 'finish' } do
      c:removeAllListeners(name)
    end
  end,
  ['a listener of each end told of listeners'] = function(b, c)
    b:on('newListener', function() end):on('removeListener', function() end)
    c:on('newListener', function() end):on('removeListener', function() end)
  end,
  ['emitted data'] = function(b) b:emit('data', '') end,
  ['emitted drain'] = function(_, c) c:emit('drain') end,
  ['peek'] = function(b, _, log)
    b:peek(1, function(err, bytes) log.peeked = tostring(err) .. #bytes end)
  end,
  ['emitted finish'] = function(_, c) c:emit('finish') end,
  ['emitted error of the source'] = function(b) b:emit('error', errors.new('emitted')) end,
  ['emitted error of the destination'] = function(_, c) c:emit('error', errors.new('emitted')) end,
  ['pushed bytes'] = function(b) b:push('') end,
  ['an end that is not passed on'] = function(b, c) b:unpipe(c) b:pipe(c, { ['end'] = false }) end,
  ['a write that fails'] = function(_, c)
    function c._write(_, _, _, done) done(errors.new('write')) end
    c._writeStrings = c._write
  end,
  ['an end that fails'] = function(_, c)
    function c._final(_, done) done(errors.new('final')) end
  end,
  ['destroy at unpipe'] = function(b, c)
    c:on('unpipe', function() c:destroy() end)
    b:unpipe():resume()
  end,
  ['destroy of the destination at end'] = function(b, c) b:on('end', function() c:destroy() end) end,
  ['an error at finish'] = function(_, c) c:on('finish', function() c:destroy(errors.new('finished')) end) end,
  ['a pipe back'] = function(b, c, _, t)
    c:pipe(b)
    t.a:resume()
    t.d:write('answer')
  end,
  ['a write back'] = function(b, _, log, t)
    t.a:resume()
    b:write('answer', function(err) log.called = tostring(err) end)
  end,
  ['the end of the sender'] = function(_, _, _, t) t.a:finish() end,
  ['destroy of the sender'] = function(_, _, _, t) t.a:destroy() end,
  ['the end of the receiver'] = function(_, _, _, t) t.d:finish('answer') end,
  ['destroy of the receiver'] = function(_, _, _, t) t.d:destroy() end,
}

local names = {}
for name in pairs(acts) do
  names[#names + 1] = name
end
table.sort(names)

local EVENTS = { 'error', 'end', 'finish', 'close', 'pipe', 'unpipe' }

local function finalState(t, log, count)
  t.a:finish()
  t.d:resume()
  t:settle()
  local last = -1
  while last ~= count() do
    last = count()
    t:settle()
    t:settle()
  end
  for _, name in ipairs { 'drained', 'called', 'replaced', 'peeked' } do
    log[#log + 1] = ('%s %s'):format(name, log[name])
  end
end

-- Does `act` to a pipe over which data flows (or is held up), and notes everything.
local function observe(t, act, stalled)
  local log = {}
  local a, b = t:open()
  local c, d = t:into()
  t.a, t.b, t.c, t.d = a, b, c, d
  for _, side in ipairs { a, b, c, d } do
    t:ignore(side)
  end
  -- Each by itself: which of two sockets closes first nobody has promised.
  local ofB, ofC = t:log(b, EVENTS), t:log(c, EVENTS)
  local count, right = 0, true
  d:on('data', function(chunk)
    right = right and tape.holds(count, chunk)
    count = count + #chunk
  end)
  b:pipe(c)
  a:write(tape.piece(0, PIECE))
  t:untilTrue(function() return count == PIECE end)
  local native = isNative(b)
  local sent = PIECE
  if stalled then
    d:pause()
    for i = 1, MUCH do
      a:write(tape.piece(i * PIECE, PIECE))
    end
    sent = sent + MUCH * PIECE
    for _ = 1, 10 do
      t:settle()
    end
    native = isNative(b) and c._handle:queued() > 0
  end
  act(b, c, log, t)
  look(log, b, c)
  t:settle()
  look(log, b, c)
  if not stalled then
    a:write(tape.piece(PIECE, PIECE))
    sent = sent + PIECE
  end
  finalState(t, log, function() return count end)
  look(log, b, c)
  log[#log + 1] = ('right %s, all %s'):format(right, count == sent)
  return { log = log, b = ofB, c = ofC }, native
end

-- A stand-in whose methods are those of the class, as a script has them that keeps `local write = socket.write`.
local function kept(socket, originals)
  local methods = socket.constructor.prototype
  local standIn = setmetatable({}, {
    __index = function(_, name)
      local method = methods[name]
      if type(method) ~= 'function' then
        return socket[name]
      end
      return function(_, first, ...)
        return method(socket, first ~= nil and originals[first] or first, ...)
      end
    end,
    __newindex = function(_, name, value)
      socket[name] = value
    end,
  })
  originals[standIn] = socket
  return standIn
end

local function byKeptMethods(act)
  return function(b, c, log, t)
    local originals = {}
    return act(kept(b, originals), kept(c, originals), log, t)
  end
end

local function compared(name, stalled, way)
  return function(t)
    finally(function()
      nativePipe.enabled = true
    end)
    local act = way and way(acts[name]) or acts[name]
    nativePipe.enabled = false
    local expected, native = observe(t, act, stalled)
    assert.is_false(native)
    nativePipe.enabled = true
    local got
    got, native = observe(t, act, stalled)
    assert.is_true(native)
    assert.same(expected, got)
  end
end

for _, transport in ipairs(transports.pipes) do
  if transport.name:find('unix', 1, true) then
    describe('a native pipe over ' .. transport.name, function()
      for _, name in ipairs(names) do
        it('shows nothing of itself: ' .. name, C.test(transport, nil, compared(name, false)))
        it('shows nothing of itself while it is held up: ' .. name, C.test(transport, nil, compared(name, true)))
        if transport.name == 'unix sockets' then
          it('shows nothing of itself to methods that were kept: ' .. name,
            C.test(transport, nil, compared(name, false, byKeptMethods)))
          it('shows nothing of itself to methods that were kept, while it is held up: ' .. name,
            C.test(transport, nil, compared(name, true, byKeptMethods)))
        end
      end
    end)
  end
end

-- A pipe that has become native.
local function running(t)
  local c, d = t:into()
  t.c, t.d = c, d
  t.b:pipe(c)
  t.a:write('x')
  t.await(d, 'data')
  assert.is_true(isNative(t.b))
  return c, d
end

local function unix(fn, options)
  for _, transport in ipairs(transports.pipes) do
    if transport.name == 'unix sockets' then
      return C.test(transport, options, fn)
    end
  end
end

describe('a native pipe', function()
  it('does not enter Lua for a chunk', unix(function(t)
    local _, d = running(t)
    local push, pushes = net.Socket.prototype.push, 0
    finally(function()
      net.Socket.push = push
    end)
    -- The far end is read in Lua, the source is not.
    function net.Socket:push(...)
      pushes = pushes + (self == t.b and 1 or 0)
      return push(self, ...)
    end
    for i = 1, 10 do
      t.a:write('x')
      t.await(d, 'data')
      assert.is_true(isNative(t.b), i)
    end
    assert.equal(0, pushes)
  end))

  it('comes back when the listener beside it has gone', unix(function(t)
    local _, d = running(t)
    local function listener() end
    t.b:on('data', listener)
    assert.is_false(isNative(t.b))
    t.a:write('x')
    t.await(d, 'data')
    assert.is_false(isNative(t.b))
    t.b:off('data', listener)
    t.a:write('x')
    t.await(d, 'data')
    assert.is_true(isNative(t.b))
  end))

  it('is not for sockets whose class writes in a way of its own', unix(function(t)
    local Mine = net.Socket:extend('Mine')
    local seen = 0
    function Mine:write(...)
      seen = seen + 1
      return net.Socket.write(self, ...)
    end
    local server = net.createServer(function(socket) socket:pipe(socket) end):listen(0, '127.0.0.1')
    t.await(server, 'listening')
    local mine = Mine()
    mine:connect(server:address().port, '127.0.0.1')
    t.await(mine, 'connect')
    t.b:pipe(mine)
    for i = 1, 3 do
      t.a:write('x')
      t.await(mine, 'data')
      assert.equal(i, seen)
      assert.is_false(isNative(t.b))
    end
    mine:destroy()
    server:close()
  end))

  it('is not for a destination that has lost all its listeners', unix(function(t)
    local c, d = t.transport.open(t.await, {})
    t.b:pipe(c)
    c:removeAllListeners()
    for i = 1, 3 do
      t.a:write('x')
      t.await(d, 'data')
      assert.is_false(isNative(t.b), i)
    end
    c:destroy()
    d:destroy()
  end))

  it('is not for sockets whose class was given another method', unix(function(t)
    local write, written = net.Socket.write, 0
    finally(function()
      net.Socket.write = write
    end)
    function net.Socket:write(...)
      written = written + (self == t.c and 1 or 0)
      return write(self, ...)
    end
    local c, d = t:into()
    t.c, t.d = c, d
    t.b:pipe(c)
    for i = 1, 3 do
      t.a:write('x')
      t.await(d, 'data')
      assert.equal(i, written)
    end
  end))

  it('leaves what is piped back alone', unix(function(t)
    local c, d = running(t)
    c:pipe(t.b)
    d:write('back')
    assert.equal('back', t.await(t.a, 'data'))
    t.b:pause()
    assert.is_false(isNative(t.b))
    assert.is_true(isNative(c))
    c:write('a word of its own')
    assert.equal('a word of its own', t.await(d, 'data'))
    assert.is_true(isNative(c))
    t.b:resume()
    t.a:write('there')
    assert.equal('there', t.await(d, 'data'))
    assert.is_true(isNative(t.b))
    c:unpipe(t.b)
    assert.is_false(isNative(c))
    t.a:write('and there')
    assert.equal('and there', t.await(d, 'data'))
    assert.is_true(isNative(t.b))
  end))

  it('may lead back into its own source', unix(function(t)
    t.b:pipe(t.b)
    for i = 1, 3 do
      t.a:write('x')
      t.await(t.a, 'data')
      assert.is_true(isNative(t.b), i)
    end
    t.b:unpipe()
    assert.is_false(isNative(t.b))
    assert.is_nil(rawget(getmetatable(t.b), '__original'))
    assert.is_nil(getmetatable(t.b._events))
    t.b:write('last')
    assert.equal('last', t.await(t.a, 'data'))
  end))

  it('leaves nothing behind that keeps its sockets', unix(function(t)
    local known = setmetatable({}, { __mode = 'k' })
    local function ends()
      local a, b = t.transport.open(t.await, {})
      known[a], known[b] = true, true
      b:pipe(b)
      a:write('x')
      t.await(a, 'data')
      assert.is_true(isNative(b))
      a:destroy()
      t.await(b, 'close')
    end
    ends()
    t:settle()
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(known))
  end))

  it('keeps the class, the name and the fields of a socket', unix(function(t)
    local util = require 'util'
    local c = running(t)
    assert.is_true(util.isInstance(c, net.Socket))
    assert.equal(net.Socket, c.constructor)
    assert.truthy(tostring(c):find('^Socket: '))
    c.mine = 'kept'
    assert.equal('kept', c.mine)
    assert.is_nil(c.nobodys)
  end))

  it('counts what goes through as activity, for timeouts', unix(function(t)
    local c, d = running(t)
    local timeouts = 0
    c:setTimeout(200, function() timeouts = timeouts + 1 end)
    t.b:setTimeout(200, function() timeouts = timeouts + 1 end)
    t.await(function(done)
      local left = 20
      local timer
      timer = timers.setInterval(function()
        t.a:write('x')
        left = left - 1
        if left == 0 or timeouts > 0 then
          timer:close()
          done()
        end
      end, 20)
    end)
    assert.equal(0, timeouts)
    d:resume()
    t.await(c, 'timeout')
  end))

  it('tells of a timeout while it goes on', unix(function(t)
    local _, d = running(t)
    t.b:setTimeout(10)
    t.await(t.b, 'timeout')
    t.a:write('y')
    assert.equal('y', t.await(d, 'data'))
  end))

  it('ends for a source whose destination fails while writing', unix(function(t)
    local c, d = running(t)
    local log = t:log(c, { 'error', 'close', 'unpipe' })
    d:destroy()
    t:untilTrue(function()
      t.a:write(('x'):rep(10000))
      return t.closes[c] > 0
    end)
    assert.equal('unpipe', log[1])
    assert.truthy(log[2]:find('^error E'))
    assert.equal('close', log[3])
    assert.is_false(t.b.destroyed)
    assert.is_false(isNative(t.b))
  end))

  it('goes on although nobody holds its sockets', unix(function(t)
    local function ends()
      local open = t.transport.open
      local a, b = open(t.await, {})
      local c, d = open(t.await, {})
      b:pipe(c)
      a:write('x')
      t.await(d, 'data')
      assert.is_true(isNative(b))
      return a, d
    end
    local a, d = ends()
    collectgarbage()
    collectgarbage()
    a:write('y')
    assert.equal('y', t.await(d, 'data'))
    a:finish()
    t.await(d, 'end')
    a:destroy()
    d:destroy()
    t:settle()
  end))

  it('takes a change of direction: two pipes, one each way', unix(function(t)
    local c, d = running(t)
    c:pipe(t.b)
    d:write('back')
    assert.equal('back', t.await(t.a, 'data'))
    t.a:write('there')
    assert.equal('there', t.await(d, 'data'))
    d:write('back')
    assert.equal('back', t.await(t.a, 'data'))
    assert.is_true(isNative(t.b))
    assert.is_true(isNative(c))
  end))

  it('gives its sockets to TLS when TLS takes them over', unix(function(t)
    local tls = require 'tls'
    local T = require 'spec.support.tls'
    local c, d = running(t)
    t.b:unpipe(c)
    local server = tls.TLSSocket(d, T.identity { isServer = true })
    local client = tls.connect { socket = c, servername = 'localhost', ca = T.ca.cert }
    t.await(client, 'secureConnect')
    t.b:pipe(client)
    t.a:write('secret')
    assert.equal('secret', t.await(server, 'data'))
    client:destroy()
    server:destroy()
  end))
end)

-- TLS over a Duplex of the script's, or of anybody's.
local errors = require 'moonlatch.errors'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local tls = require 'tls'
local util = require 'util'
local P = require 'spec.support.peers'
local X = require 'spec.support.carriers'

local CUT_SHORT = 'Client network socket disconnected before secure TLS connection was established'
local serverOptions, clientOptions, overPair = X.serverOptions, X.clientOptions, X.overPair
local secured, record, count = X.secured, X.record, X.count

describe('a TLS connection over a Duplex', function()
  it('ends with it on either side', spec.coroutine(function(await)
    local client, server, below, above = secured(await)
    local log = {}
    for name, socket in pairs { client = client, server = server, below = below, above = above } do
      record(log, name, socket)
    end
    client:finish('last')
    server:on('end', function()
      server:finish()
    end)
    P.closed(await, client, server, below, above)
    for _, name in ipairs { 'client', 'server', 'below', 'above' } do
      for _, event in ipairs { 'end', 'finish', 'close' } do
        assert.equal(1, count(log, name .. ' ' .. event), name .. ' ' .. event)
      end
    end
    assert.equal(12, #log)
  end))

  it('is half open as long as the Duplex may be', spec.coroutine(function(await)
    local client, server = secured(await)
    client:finish('question')
    await(server, 'end')
    assert.is_true(server.writable)
    server:finish('answer')
    assert.equal('answer', (await(client, 'data')))
    P.closed(await, client, server)
  end))

  it('ends by itself where the Duplex does not allow half open ones', spec.coroutine(function(await)
    local client, server = secured(await, { allowHalfOpen = false })
    client:finish()
    P.closed(await, client, server)
  end))

  it('may be destroyed at once', spec.coroutine(function(await)
    for _, method in ipairs { 'destroy', 'resetAndDestroy', 'destroySoon' } do
      local client, server, below, above = overPair()
      server:on('error', function() end)
      server:on('end', function()
        server:finish()
      end)
      server:resume()
      client[method](client)
      P.closed(await, client, below, server, above)
    end
  end))

  it('destroys it when it is destroyed', spec.coroutine(function(await)
    for _, reason in ipairs { false, errors.new('enough') } do
      local client, server, below = secured(await)
      local log = {}
      record(log, 'client', client)
      record(log, 'below', below)
      client:destroy(reason or nil)
      assert.is_true(below.destroyed)
      P.closed(await, client, below)
      assert.equal(reason and 1 or 0, count(log, 'client error enough'))
      assert.equal(1, count(log, 'below close'))
      assert.equal(1, count(log, 'client close'))
      assert.equal(reason and 3 or 2, #log)
      server:destroy()
      P.closed(await, server)
    end
  end))

  it('is destroyed when it is', spec.coroutine(function(await)
    for _, reason in ipairs { false, errors.new('broken') } do
      local client, server, below = secured(await)
      local log = {}
      record(log, 'client', client)
      record(log, 'below', below)
      server:on('error', function() end)
      below:destroy(reason or nil)
      P.closed(await, client, below)
      assert.equal(reason and 1 or 0, count(log, 'client error broken'))
      assert.equal(reason and 1 or 0, count(log, 'below error broken'))
      assert.equal(1, count(log, 'client close'))
      assert.equal(reason and 4 or 2, #log)
      server:destroy()
      P.closed(await, server)
    end
  end))

  it('has the very error of the Duplex, behind what came before it', spec.coroutine(function(await)
    local client, server, below = secured(await)
    local reason = errors.new('the carrier pigeon is tired', { code = 'EPIGEON' })
    client:on('data', function(chunk)
      assert.equal('first this', chunk)
      client.seen = true
    end)
    -- What arrives and the failure come in one go.
    below:on('data', function()
      below:destroy(reason)
    end)
    server:on('error', function() end)
    server:write('first this')
    assert.equal(reason, (await(client, 'error')))
    assert.is_true(client.seen)
    server:destroy()
    P.closed(await, client, server)
  end))

  it('has its error when that cannot be shown, too', spec.coroutine(function(await)
    local client, server, below = secured(await)
    server:on('error', function() end)
    local reason = setmetatable({}, { __tostring = function()
      error 'cannot be shown'
    end })
    below:destroy(reason)
    assert.is_true(rawequal(reason, (await(client, 'error'))))
    P.closed(await, client, server)
  end))

  it('tells a handshake that the Duplex ended, closed or failed', spec.coroutine(function(await)
    local cases = {
      { function(below) below:push(nil) end, 'ECONNRESET', CUT_SHORT },
      { function(below) below:destroy() end, 'ECONNRESET', CUT_SHORT },
      { function(below) below:destroy(errors.new('no', { code = 'ENO' })) end, 'ENO', 'no' },
    }
    for _, case in ipairs(cases) do
      for _, later in ipairs { false, true } do
        local ends = stream.duplexPair()
        local client = tls.connect(clientOptions(ends[1]))
        if later then
          await(ends[2], 'data')
        end
        case[1](ends[1])
        local err = await(client, 'error')
        assert.equal(case[2], err.code)
        assert.equal(case[3], err.message)
        P.closed(await, client, ends[1])
        ends[2]:destroy()
      end
    end
  end))

  it('tells a server whose client hung up', spec.coroutine(function(await)
    local server = tls.createServer(serverOptions())
    for _, finish in ipairs { 'finish', 'destroy' } do
      local ends = stream.duplexPair()
      server:emit('connection', ends[2])
      ends[1][finish](ends[1])
      local err, socket = await(server, 'tlsClientError')
      assert.equal('ECONNRESET', err.code)
      assert.is_true(util.isInstance(socket, tls.TLSSocket))
      P.closed(await, socket, ends[2])
      ends[1]:destroy()
    end
  end))

  it('carries the alert of a failed handshake', spec.coroutine(function(await)
    local ends = stream.duplexPair()
    local client = tls.connect(clientOptions(ends[1], { ca = {} }))
    local server = tls.TLSSocket(ends[2], serverOptions())
    local errs = {}
    client:on('error', function(err)
      errs.client = err
    end)
    server:on('error', function(err)
      errs.server = err
    end)
    P.closed(await, client, server)
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', errs.client.code)
    assert.matches('ALERT_UNKNOWN_CA$', errs.server.code)
  end))

  it('refuses one that gives out text or objects', spec.coroutine(function(await)
    local client, server, below = overPair()
    below:setEncoding('utf8')
    server:on('error', function() end)
    local err = await(client, 'error')
    assert.equal('ERR_STREAM_WRAP', err.code)
    assert.equal('Stream has StringDecoder set or is in objectMode', err.message)
    P.closed(await, client, server)

    client, server = overPair { objectMode = true }
    server:on('error', function() end)
    assert.equal('ERR_STREAM_WRAP', await(client, 'error').code)
    P.closed(await, client, server)

    -- Also where it begins to in the middle.
    client, server, below = secured(await)
    below:setEncoding('latin1')
    server:write('more')
    assert.equal('ERR_STREAM_WRAP', await(client, 'error').code)
    server:destroy()
    P.closed(await, client, server)
  end))

  it('refuses one that is over already', spec.coroutine(function(await)
    local function failure(make)
      local ends = stream.duplexPair()
      make(ends[1], ends[2])
      local client = tls.connect(clientOptions(ends[1]))
      local err = await(client, 'error')
      P.closed(await, client, ends[1])
      ends[2]:destroy()
      return err.code
    end
    assert.equal('ERR_STREAM_DESTROYED', failure(function(below)
      below:destroy()
    end))
    assert.equal('EGONE', failure(function(below)
      below:on('error', function() end)
      below:destroy(errors.new('gone', { code = 'EGONE' }))
    end))
    assert.equal('ERR_STREAM_WRITE_AFTER_END', failure(function(below)
      below:finish()
    end))
    assert.equal('ECONNRESET', failure(function(below, above)
      above:finish()
      below:resume()
      await(below, 'end')
    end))
  end))

  it('fails when a write does, or throws', spec.coroutine(function(await)
    local reason = errors.new('disk full', { code = 'ENOSPC' })
    for _, write in ipairs {
      function(_, _, _, callback)
        callback(reason)
      end,
      function()
        error(reason, 0)
      end,
    } do
      local client = tls.connect(clientOptions(stream.Duplex { read = function() end, write = write }))
      assert.equal(reason, (await(client, 'error')))
      P.closed(await, client)
    end
  end))

  it('waits for one that does not drain, and stops reading when it is not read', spec.coroutine(function(await)
    -- What is written to `below` is let through by hand, what is read from it is counted.
    local client, server, below, above = secured(await, { highWaterMark = 1000 })
    local chunk = ('x'):rep(100000)
    server:pause()
    local called = 0
    for _ = 1, 20 do
      client:write(chunk, function()
        called = called + 1
      end)
    end
    for _ = 1, 100 do
      await(setImmediate)
    end
    -- The reader is full, then what it stands on, then the writer.
    assert.is_true(called < 10)
    assert.is_true(client.writableNeedDrain)
    assert.is_true(server.readableLength >= server.readableHighWaterMark)
    assert.is_true(server.readableLength <= server.readableHighWaterMark + 65536)
    assert.is_true(above.readableLength <= 200000)
    assert.is_true(below.writableLength <= 200000)

    local got = 0
    server:on('data', function(data)
      got = got + #data
    end)
    server:on('end', function()
      server:finish()
    end)
    client:finish()
    server:resume()
    P.closed(await, client, server)
    assert.equal(20, called)
    assert.equal(20 * #chunk, got)
  end))

  it('is given up by a server after its time', spec.coroutine(function(await)
    local server = tls.createServer(serverOptions { handshakeTimeout = 20 })
    local silent = stream.Duplex { read = function() end, write = function() end }
    local awake = setInterval(function() end, 1000) -- neither the limit nor the stream holds the loop
    server:emit('connection', silent)
    local err = await(server, 'tlsClientError')
    assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
    P.closed(await, silent)
    clearInterval(awake)
  end))

  it('times out when nothing moves', spec.coroutine(function(await)
    local mute = stream.Duplex { read = function() end, write = function() end }
    local client = tls.connect(clientOptions(mute))
    local awake = setInterval(function() end, 1000)
    client:setTimeout(20)
    await(client, 'timeout')
    clearInterval(awake)
    client:destroy()
    assert.is_true(mute.destroyed)
    P.closed(await, client)
  end))

  it('is read to its end also when the Duplex has closed', spec.coroutine(function(await)
    local client, server, below, above = secured(await)
    local text = ('unread '):rep(12000) -- what the streams between take while nobody reads
    client:pause()
    server:finish(text)
    client:finish()
    await(server, 'finish')
    server:destroy()
    above:destroy()
    await(function(done)
      local turns = 0
      local function turn()
        turns = turns + 1
        if turns == 50 then
          done()
        else
          setImmediate(turn)
        end
      end
      turn()
    end)
    local got = {}
    client:on('data', function(chunk)
      got[#got + 1] = chunk
    end)
    client:resume()
    P.closed(await, client, below)
    assert.is_true(text == table.concat(got))
  end))

  it('survives being destroyed in any event of either', spec.coroutine(function(await)
    local events = { 'data', 'end', 'finish', 'secure', 'secureConnect', 'resume', 'pause' }
    for _, target in ipairs { 'client', 'below' } do
      for _, event in ipairs(events) do
        local client, server, below = overPair()
        local emitter = target == 'client' and client or below
        emitter:on(event, function()
          emitter:destroy()
        end)
        for _, socket in ipairs { client, server } do
          socket:on('error', function() end)
        end
        server:on('secure', function()
          server:finish('data')
        end)
        client:on('end', function()
          client:finish()
        end)
        client:resume()
        server:resume()
        P.closed(await, client, server)
      end
    end
  end))

  it('reaches scripts of their own making', spec.coroutine(function(await)
    -- Chunks of one byte, each a turn of the loop later.
    local Slow = stream.Duplex:extend('Slow')
    function Slow:_read() -- luacheck: ignore self
    end
    function Slow:_write(chunk, _, callback)
      local i = 0
      local function step()
        for _ = 1, 100 do
          i = i + 1
          if i > #chunk then
            callback()
            return
          end
          self.other:push(chunk:sub(i, i))
        end
        setImmediate(step)
      end
      step()
    end
    function Slow:_final(callback)
      self.other:push(nil)
      callback()
    end
    local a, b = Slow(), Slow()
    a.other, b.other = b, a
    local client, server = tls.connect(clientOptions(a)), tls.TLSSocket(b, serverOptions())
    server:pipe(server)
    client:finish('byte by byte')
    local got = ''
    client:on('data', function(chunk)
      got = got .. chunk
    end)
    P.closed(await, client, server)
    assert.equal('byte by byte', got)
  end))
end)

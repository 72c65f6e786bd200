-- What Node documents of the bytes of a TLSSocket: it is a Duplex like any net.Socket.

local spec = require 'moonlatch.spec'
local stream = require 'stream'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'

local function ignore() end

describe('the bytes of a TLS connection', function()
  T.eachVersion(it, 'come back unchanged through pipe (pipe)', function(version, done, expect)
    N.securePair(function(client, peer, over)
      local parts = {}
      for i = 1, 4000 do
        parts[i] = ('%d %s'):format(i, string.char(i % 256))
      end
      local text, got = table.concat(parts):rep(40), {}
      peer:pipe(peer)
      client:on('data', function(data)
        got[#got + 1] = data
      end)
      client:on('close', expect(function()
        assert.is_true(table.concat(got) == text)
        assert.equal(#text, client.bytesRead)
        assert.equal(#text, client.bytesWritten)
        over(done)
      end))
      client:finish(text)
    end, { server = { maxVersion = version } })
  end)

  it('are characters with setEncoding (setEncoding)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      local text = ('\195\164\226\130\172\240\159\152\128'):rep(20000)
      local got = {}
      assert.equal(client, client:setEncoding('utf8'))
      client:on('data', function(data)
        assert.is_nil(data:find('^[\128-\191]'))
        got[#got + 1] = data
      end)
      client:on('end', expect(function()
        assert.is_true(table.concat(got) == text)
        over(done)
      end))
      peer:finish(text)
      peer:resume()
    end)
  end))

  it('are hex with setEncoding, and may be written so (setEncoding, write)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      client:setEncoding('hex')
      client:on('data', expect(function(data)
        assert.equal('00ff10', data)
      end))
      client:on('end', expect(function()
        over(done)
      end))
      peer:finish('00FF10', 'hex')
      peer:resume()
    end)
  end))

  it('make write return false and drain follow (write, drain)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      local size, got = 8 * 1024 * 1024, 0
      peer:on('data', function(data)
        got = got + #data
      end)
      peer:on('end', expect(function()
        assert.equal(size, got)
        over(done)
      end))
      client:resume()
      assert.is_false(client:write(('x'):rep(size)))
      assert.equal(size, client.bytesWritten)
      assert.is_true(client.writableNeedDrain)
      client:on('drain', expect(function()
        assert.equal(0, client.writableLength)
        client:finish()
      end))
    end)
  end))

  it('wait in the peer while it is paused, and come when it resumes (pause, resume)', spec.async(
    function(done, expect)
      N.securePair(function(client, peer, over)
        local size, got = 16 * 1024 * 1024, 0
        client:pause()
        client:on('data', function(data)
          got = got + #data
        end)
        client:on('end', expect(function()
          assert.equal(size, got)
          over(done)
        end))
        peer:finish(('y'):rep(size))
        peer:resume()
        setTimeout(function()
          assert.equal(0, got)
          assert.is_true(peer.writableLength > 0)
          client:resume()
        end, 50)
      end)
    end))

  it('may be read with readable and read (readable event)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      local got = ''
      client:on('readable', function()
        local chunk = client:read()
        while chunk do
          got = got .. chunk
          chunk = client:read()
        end
      end)
      client:on('end', expect(function()
        assert.equal('one two', got)
        over(done)
      end))
      peer:write('one ')
      peer:finish('two')
      peer:resume()
    end)
  end))

  it('call back once for each write, in order, before finish (write, callback)', spec.async(
    function(done, expect)
      N.securePair(function(client, peer, over)
        local order = {}
        peer:resume()
        for i = 1, 3 do
          client:write(('x'):rep(i * 100000), expect(function(err)
            assert.is_nil(err)
            order[#order + 1] = i
          end))
        end
        client:finish(expect(function()
          order[#order + 1] = 'end'
        end))
        N.record(order, client, { 'finish' })
        client:resume()
        client:on('close', expect(function()
          assert.same({ 1, 2, 3, 'end', 'finish' }, order)
          over(done)
        end))
      end)
    end))

  it('may be none: an empty write is called back and nothing comes (write)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      peer:on('data', expect(0))
      client:write('', expect(function(err)
        assert.is_nil(err)
        client:finish('')
      end))
      client:resume()
      client:on('close', expect(function()
        assert.equal(0, client.bytesWritten)
        over(done)
      end))
    end)
  end))

  it('cross from both sides at once (write)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      local size, open = 4 * 1024 * 1024, 2
      local function one(socket)
        local got = 0
        socket:on('data', function(data)
          got = got + #data
        end)
        socket:on('close', expect(function()
          assert.equal(size, got)
          open = open - 1
          if open == 0 then
            over(done)
          end
        end))
        socket:finish(('z'):rep(size))
      end
      one(client)
      one(peer)
    end)
  end))

  it('go through pipeline and finished (stream.pipeline, stream.finished)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      local got = {}
      stream.finished(client, expect(function(err)
        assert.is_nil(err)
      end))
      stream.pipeline(client, stream.Writable { write = function(_, chunk, _, callback)
        got[#got + 1] = chunk
        setImmediate(callback)
      end }, expect(function(err)
        assert.is_nil(err)
        assert.equal(2000000, #table.concat(got))
        over(done)
      end))
      peer:finish(('p'):rep(2000000))
      peer:resume()
    end)
  end))

  it('are counted on the way of the plain text only (bytesRead, bytesWritten)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      assert.equal(0, client.bytesRead)
      assert.equal(0, client.bytesWritten)
      assert.equal(0, peer.bytesRead)
      client:write('12345')
      assert.equal(5, client.bytesWritten)
      peer:on('data', expect(function()
        assert.equal(5, peer.bytesRead)
        peer:finish('123')
      end))
      client:resume()
      client:on('close', expect(function()
        assert.equal(3, client.bytesRead)
        assert.equal(5, client.bytesWritten)
        over(done)
      end))
    end)
  end))

  it('count as written only when they have left (bufferSize, writableLength)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      peer:resume()
      client:resume()
      assert.equal(0, client.bufferSize)
      for i = 1, 9 do
        client:write('a')
        assert.equal(i, client.bufferSize)
        assert.equal(i, client.writableLength)
      end
      client:write('a', expect(function()
        assert.equal(0, client.bufferSize)
        client:write('bc')
        client:write('de', ignore)
        client:write('fg')
        assert.equal(6, client.bufferSize)
        client:finish()
      end))
      client:on('finish', expect(function()
        assert.equal(0, client.bufferSize)
        assert.equal(16, client.bytesWritten)
      end))
      client:on('close', expect(function()
        assert.is_nil(client.bufferSize)
        over(done)
      end))
    end)
  end))

  it('wait in the buffer until there is a connection (bufferSize)', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local client = T.connect(port)
      client:on('error', ignore)
      client:write('abc')
      assert.equal(3, client.bufferSize)
      client:on('connect', expect(function()
        client:write('de')
        assert.equal(5, client.bufferSize)
        client:destroy()
        assert.is_nil(client.bufferSize)
        server:close(done)
      end))
    end)
  end))

  it('are called back when they have left, after the ticks of the writer (write, callback)', spec.async(
    function(done, expect)
      N.securePair(function(client, peer, over)
        local order = {}
        local function note(what)
          return function()
            order[#order + 1] = what
          end
        end
        peer:resume()
        client:resume()
        client:write('a', note 'a')
        client:write('b')
        client:write('c', note 'c')
        require('process').nextTick(note 'tick')
        client:finish('d', note 'end')
        client:on('finish', note 'finish')
        client:on('close', expect(function()
          assert.same({ 'tick', 'a', 'c', 'end', 'finish' }, order)
          over(done)
        end))
      end)
    end))

  it('that were called back arrive although the writer destroys the socket then (write, destroy)', spec.async(
    function(done, expect)
      N.securePair(function(client, peer, over)
        local got = ''
        client:on('data', function(data)
          got = got .. data
        end)
        client:on('close', expect(function()
          assert.equal('last words', got)
          over(done)
        end))
        peer:write('last words', expect(function()
          peer:destroy()
        end))
      end)
    end))

  it('that come with the end of the handshake are not lost on a paused socket (pause)', spec.async(
    function(done, expect)
      local server
      server = T.serve({}, function(socket)
        socket:finish('first words')
        socket:resume()
      end, function(port)
        local client = T.connect(port)
        client:pause()
        client:on('secureConnect', expect(function()
          assert.is_true(client:isPaused())
          setTimeout(function()
            client:on('data', expect(function(data)
              assert.equal('first words', data)
            end))
            client:resume()
          end, 30)
        end))
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
    end))

  it('are not lost when the listener comes late (data event)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      peer:finish('unheard yet')
      peer:resume()
      setTimeout(function()
        assert.is_false(client.destroyed)
        client:on('data', expect(function(data)
          assert.equal('unheard yet', data)
        end))
        client:on('close', expect(function()
          over(done)
        end))
      end, 30)
    end)
  end))

  it('fail to be written once the peer has gone (write, error)', spec.async(function(done, expect)
    N.securePair(function(client, peer, over)
      peer:destroy()
      local failed
      client:on('error', function(err)
        failed = err
      end)
      client:resume()
      client:on('close', expect(function()
        over(done)
      end))
      local function more()
        if not client.destroyed then
          client:write(('x'):rep(100000), function(err)
            if not err then
              setImmediate(more)
            end
          end)
        end
      end
      setImmediate(more)
      client:on('close', function()
        local code = failed and failed.code
        assert.is_truthy(code == nil or code == 'EPIPE' or code == 'ECONNRESET'
          or code == 'ERR_STREAM_WRITE_AFTER_END', code)
      end)
    end)
  end))

  it('of many connections do not mix (data event)', spec.async(function(done, expect)
    local server, left = nil, 20
    server = T.serve({}, function(socket)
      socket:on('error', ignore)
      socket:pipe(socket)
    end, function(port)
      for i = 1, 20 do
        local client, got = T.connect(port), ''
        local text = ('%d,'):format(i):rep(5000)
        client:on('data', function(data)
          got = got .. data
        end)
        client:on('close', expect(function()
          assert.equal(text, got)
          left = left - 1
          if left == 0 then
            server:close(done)
          end
        end))
        client:finish(text)
      end
    end)
  end))
end)

-- Idle timeouts, and what keeps the loop running.

local net = require 'net'
local spec = require 'moonlatch.spec'
local timers = require 'timers'
local native = require 'moonlatch.native'

local function pair(fn)
  local server, client
  server = net.createServer(function(socket)
    server:close()
    fn(client, socket)
  end)
  server:listen(0, '127.0.0.1', function()
    client = net.connect(server:address().port, '127.0.0.1')
  end)
end

describe('net.Socket:setTimeout', function()
  it('tells that nothing happened, once per time of idleness', spec.async(function(_, expect)
    pair(function(client, peer)
      local started = native.now()
      client:setTimeout(30, expect(function()
        assert.is_true(native.now() - started >= 29)
        assert.equal(30, client.timeout)
        client:destroy()
        peer:destroy()
      end))
    end)
  end))

  -- Bytes go through the connection one by one, at shorter intervals than the timeout. However late a busy machine
  -- makes them, the timeout is never early after the last one that the client has seen.
  local function startsAgain(send, seen)
    return spec.async(function(_, expect)
      pair(function(client, peer)
        local ended, sent = expect(), {}
        client:resume()
        peer:resume()
        client:setTimeout(60)
        local interval
        interval = timers.setInterval(function()
          sent[#sent + 1] = native.now()
          send(client, peer)
          if #sent == 4 then
            timers.clearInterval(interval)
          end
        end, 25)
        client:on('timeout', function()
          local last = seen(client)
          assert.is_true(last == 0 or native.now() - sent[last] >= 59)
          if last == 4 then
            client:destroy()
            peer:destroy()
            ended()
          end
        end)
      end)
    end)
  end

  it('starts again with what is read', startsAgain(function(_, peer)
    peer:write('x')
  end, function(client)
    return client.bytesRead
  end))

  it('starts again with what is written', startsAgain(function(client)
    client:write('x')
  end, function(client)
    return client.bytesWritten
  end))

  it('is called off with 0, and the callback with it', spec.async(function(_, expect)
    pair(function(client, peer)
      local function never()
        error('it was called off')
      end
      client:setTimeout(20, never)
      client:setTimeout(0, never)
      assert.equal(0, client:listenerCount('timeout'))
      timers.setTimeout(expect(function()
        client:destroy()
        peer:destroy()
      end), 50)
    end)
  end))

  it('does not destroy the socket, nor keep the loop running', spec.async(function(_, expect)
    pair(function(client, peer)
      client:setTimeout(20, expect(function()
        assert.is_false(client.destroyed)
        client:setTimeout(100000)
        client:destroy()
        peer:destroy()
      end))
    end)
  end))

  it('counts while connecting and survives it', spec.async(function(_, expect)
    local server
    server = net.createServer(function(socket)
      socket:on('error', function() end)
      socket:resume()
      server:close()
    end)
    server:listen(0, '127.0.0.1', function()
      local client = net.connect { port = server:address().port, host = '127.0.0.1', timeout = 30 }
      assert.equal(30, client.timeout)
      local idle = expect()
      client:on('connect', expect())
      -- Connecting may take longer than that; then it comes twice.
      client:on('timeout', function()
        if not client.connecting then
          idle()
          client:destroy()
        end
      end)
    end)
  end))
end)

describe('an unreferenced socket', function()
  it('lets the loop end', spec.async(function(_, expect)
    pair(expect(function(client, peer)
      client:resume()
      peer:resume()
      client:unref()
      peer:unref()
      timers.setTimeout(expect(function()
        assert.is_false(native.alive())
        client:ref()
        assert.is_true(native.alive())
        client:destroy()
        peer:destroy()
      end), 5)
    end))
  end))

  it('may be unreferenced before it connects', spec.async(function(_, expect)
    local socket = net.Socket()
    socket:unref()
    socket:connect(1, '127.0.0.1')
    socket:on('error', function() end)
    timers.setTimeout(expect(function()
      socket:destroy()
    end), 20)
  end))

  it('may be a server', spec.async(function(_, expect)
    local server = net.createServer()
    server:unref()
    server:listen(0, expect(function()
      assert.is_false(native.alive())
      server:ref()
      assert.is_true(native.alive())
      server:close()
    end))
  end))
end)

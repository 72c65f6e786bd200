-- What is written before there is a connection.
local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local N = require 'spec.support.node'

local LOST = 'a ERR_SOCKET_CLOSED_BEFORE_CONNECTION'

local function unusedPort(await)
  return await(function(found)
    N.unusedPort(function(port)
      found(nil, port)
    end)
  end)
end

-- What becomes of a socket on which `act(socket, note)` writes while it connects: note('a') makes a callback.
local function outcome(await, make, act)
  local log = {}
  local client = make()
  client:on('error', function(err) log[#log + 1] = 'error ' .. (err.code or err.message) end)
  client:once('close', function() log[#log + 1] = 'close' end)
  act(client, function(name)
    return function(err) log[#log + 1] = ('%s %s'):format(name, err and (err.code or err.message)) end
  end)
  client:once('close', function() log[#log + 1] = 'closed' end)
  await(function(closed)
    client:once('close', function() closed() end)
  end)
  await(setImmediate)
  return log
end

local function write(client, note)
  assert.is_true(client:write('never', note 'a'))
  assert.is_true(client:write('never either', note 'b'))
  client:finish('nor this', note 'end')
end

describe('a write that waits for the connection', function()
  it('fails among the listeners of close when there comes none, others with its error', spec.coroutine(
    function(await)
      local port = unusedPort(await)
      local directory = spec.tempdir()
      for code, options in pairs {
        ECONNREFUSED = { port = port, host = '127.0.0.1' },
        ENOTFOUND = { port = port, host = 'nowhere.invalid' },
        ENOENT = { path = directory .. '/nobody' },
      } do
        for _, module in ipairs { net, tls } do
          assert.same({ 'error ' .. code, 'close', LOST, 'b ' .. code, 'end ' .. code, 'closed' },
            outcome(await, function() return module.connect(options) end, write))
        end
      end
      spec.remove(directory)
    end))

  it('fails alike when the socket is destroyed', spec.coroutine(function(await)
    local function make() return net.connect(1, '127.0.0.1') end
    assert.same({ 'close', LOST, (LOST:gsub('^a', 'b')), 'closed' }, outcome(await, make, function(client, note)
      client:write('never', note 'a')
      client:write('never either', note 'b')
      client:destroy()
    end))
    assert.same({ 'error mine', 'close', LOST, 'b mine', 'closed' }, outcome(await, make, function(client, note)
      client:write('never', note 'a')
      client:write('never either', note 'b')
      client:destroy(Error 'mine')
    end))
  end))

  it('fails before the error of the socket while it is corked', spec.coroutine(function(await)
    local port = unusedPort(await)
    assert.same({ 'a ECONNREFUSED', 'error ECONNREFUSED', 'close', 'closed' }, outcome(await, function()
      return net.connect(port, '127.0.0.1')
    end, function(client, note)
      client:cork()
      client:write('never', note 'a')
    end))
  end))

  it('fails though the listeners of close have been removed', spec.coroutine(function(await)
    local client = net.connect(1, '127.0.0.1')
    local failure = await(function(failed)
      client:write('never', function(err) failed(nil, err) end)
      client:removeAllListeners('close')
      client:destroy()
    end)
    assert.equal('ERR_SOCKET_CLOSED_BEFORE_CONNECTION', failure.code)
  end))

  it('fails before the next connection is begun, which it does not harm', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      N.unusedPort(function(nobody)
        local client, log = net.connect(nobody, '127.0.0.1'), {}
        client:write('never', function(err) log[#log + 1] = err.code end)
        client:once('error', expect(function()
          client:connect(port, '127.0.0.1')
          log[#log + 1] = 'again'
        end))
        client:once('connect', expect(function()
          assert.same({ 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION', 'again' }, log)
          client:write('this time', expect(function(err)
            assert.is_nil(err)
            client:destroy()
            server:close(done)
          end))
        end))
      end)
    end)
  end))

  it('leaves no listener behind when it is sent', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local client = net.connect(port, '127.0.0.1')
      client:write('x', expect(function()
        assert.equal(0, client:listenerCount('close'))
        client:destroy()
        server:close(done)
      end))
      assert.equal(1, client:listenerCount('close'))
    end)
  end))
end)

describe('an end that waits for the connection', function()
  local function asksAgain(make)
    return spec.async(function(done, expect)
      N.listening(nil, function(server, port)
        local calls = 0
        local client = make(function(socket, callback)
          calls = calls + 1
          net.Socket._final(socket, callback)
        end)
        client:connect(port, '127.0.0.1')
        client:on('finish', expect(function()
          assert.equal(2, calls)
          client:destroy()
          server:close(done)
        end))
        client:finish()
        assert.equal(1, calls)
      end)
    end)
  end

  it('asks _final again, as an option gave it, when that is there', asksAgain(function(final)
    return net.Socket { final = final }
  end))

  it('asks _final again, as a script set it, when that is there', asksAgain(function(final)
    local socket = net.Socket()
    socket._final = final
    return socket
  end))

  it('fails when a _final that was replaced meanwhile calls back twice', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local client = net.connect(port, '127.0.0.1')
      client:finish()
      function client._final(_, callback)
        callback()
        callback()
      end
      client:on('error', expect(function(err)
        assert.equal('ERR_MULTIPLE_CALLBACK', err.code)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))

  it('fails as a replaced _final says, then', spec.async(function(done, expect)
    N.listening(nil, function(server, port)
      local client, late = net.Socket(), nil
      function client:_final(callback)
        if self.connecting then
          net.Socket._final(self, callback)
        else
          late = Error('no end')
          callback(late)
        end
      end
      client:on('error', expect(function(err)
        assert.equal(late, err)
      end))
      client:on('close', expect(function()
        server:close(done)
      end))
      client:connect(port, '127.0.0.1')
      client:finish()
    end)
  end))
end)

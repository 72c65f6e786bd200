-- Connecting: its forms, its failures, its look-ups.

local net = require 'net'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local timers = require 'timers'

local function listening(fn)
  local server
  server = net.createServer(function(socket)
    socket:resume()
    socket:finish()
  end)
  server:listen(0, '127.0.0.1', function()
    fn(server:address().port, server)
  end)
end

-- A port that nobody listens on.
local function unusedPort(fn)
  listening(function(port, server)
    server:close(function()
      fn(port)
    end)
  end)
end

local function raises(code, message, fn)
  local ok, err = pcall(fn)
  assert.is_false(ok)
  assert.equal(code, err.code)
  if message then
    assert.equal(message, err.message)
  end
end

describe('net.connect', function()
  local function form(call)
    return spec.async(function(_, expect)
      listening(function(port, server)
        local client
        client = call(port, expect(function()
          assert.equal('127.0.0.1', client.remoteAddress)
          assert.equal('IPv4', client.remoteFamily)
          assert.equal(port, client.remotePort)
          assert.is_true(client.localPort > 0)
          assert.same({ address = '127.0.0.1', family = 'IPv4', port = client.localPort }, client:address())
          assert.equal('open', client.readyState)
          assert.is_false(client.pending)
        end))
        assert.is_true(client.connecting)
        assert.is_true(client.pending)
        assert.equal('opening', client.readyState)
        client:resume()
        client:on('close', expect(function()
          assert.is_nil(client.localAddress)
          assert.same({}, client:address())
          server:close()
        end))
      end)
    end)
  end

  it('takes port, host and callback', form(function(port, callback)
    return net.connect(port, '127.0.0.1', callback)
  end))
  it('takes a port as a string', form(function(port, callback)
    return net.connect(tostring(port), '127.0.0.1', callback)
  end))
  it('takes options and callback', form(function(port, callback)
    return net.createConnection({ port = port, host = '127.0.0.1' }, callback)
  end))
  it('looks localhost up when there is no host', form(function(port, callback)
    return net.connect(port, callback)
  end))
  it('takes a socket made before', form(function(port, callback)
    return net.Socket():connect(port, '127.0.0.1', callback)
  end))

  it('binds to localAddress and localPort', spec.async(function(_, expect)
    unusedPort(function(localPort)
      listening(function(port, server)
        local client
        client = net.connect({ port = port, host = '127.0.0.1', localAddress = '127.0.0.1', localPort = localPort },
          expect(function()
            assert.equal(localPort, client.localPort)
            client:destroy()
            server:close()
          end))
      end)
    end)
  end))

  it('emits connectionAttempt, lookup, connect and ready in this order', spec.async(function(done)
    listening(function(port, server)
      local order = {}
      local client = net.connect { port = port, host = 'localhost', family = 4 }
      for _, name in ipairs { 'lookup', 'connectionAttempt', 'connect', 'ready' } do
        client:on(name, function(...)
          order[#order + 1] = name
          if name == 'lookup' then
            assert.same({ n = 4, nil, '127.0.0.1', 4, 'localhost' }, { n = select('#', ...), ... })
          elseif name == 'connectionAttempt' then
            assert.same({ '127.0.0.1', port, 4 }, { ... })
          end
        end)
      end
      client:on('close', function()
        assert.same({ 'lookup', 'connectionAttempt', 'connect', 'ready' }, order)
        server:close(function()
          done()
        end)
      end)
      client:resume()
    end)
  end))
end)

describe('a connection attempt', function()
  it('that is refused says so in Node\'s words', spec.async(function(_, expect)
    unusedPort(function(port)
      local client = net.connect(port, '127.0.0.1')
      client:on('connectionAttemptFailed', expect(function(address, failedPort, family, err)
        assert.same({ '127.0.0.1', port, 4 }, { address, failedPort, family })
        assert.equal('ECONNREFUSED', err.code)
      end))
      client:on('error', expect(function(err)
        assert.equal('connect ECONNREFUSED 127.0.0.1:' .. port, err.message)
        assert.equal('ECONNREFUSED', err.code)
        assert.equal(-111, err.errno)
        assert.equal('connect', err.syscall)
        assert.equal('127.0.0.1', err.address)
        assert.equal(port, err.port)
      end))
      client:on('close', expect(function(hadError)
        assert.is_true(hadError)
      end))
    end)
  end))

  it('to a path without a socket fails with ENOENT', spec.async(function(_, expect)
    net.connect('/nonexistent/socket'):on('error', expect(function(err)
      assert.equal('connect ENOENT /nonexistent/socket', err.message)
      assert.equal('/nonexistent/socket', err.address)
      assert.is_nil(err.port)
    end))
  end))

  it('to a path that is none fails in its own name', spec.async(function(_, expect)
    local paths = { ['/' .. ('x'):rep(200)] = 'ENAMETOOLONG', ['a\0b'] = 'EINVAL' }
    for path, code in pairs(paths) do
      net.connect(path):on('error', expect(function(err)
        assert.equal(code, err.code)
        assert.equal('connect', err.syscall)
      end))
    end
  end))

  it('fails with the look-up', spec.async(function(_, expect)
    local client = net.connect { port = 1, host = 'nowhere.invalid' }
    client:on('lookup', expect(function(err)
      assert.equal('ENOTFOUND', err.code)
    end))
    client:on('error', expect(function(err)
      assert.equal('ENOTFOUND', err.code)
    end))
  end))

  it('can be called off while it looks the name up', spec.async(function(_, expect)
    local client = net.connect {
      port = 1, host = 'example.invalid', lookup = function(_, _, callback)
        require('timers').setTimeout(function()
          callback(nil, '127.0.0.1', 4)
        end, 20)
      end,
    }
    client:on('connectionAttempt', function()
      error('nobody waits for this any more')
    end)
    client:on('close', expect())
    client:destroy()
  end))

  -- A server, and a socket that is connected to it after `before(socket)` has had it connect elsewhere, and its end.
  local function secondThoughts(before)
    return spec.async(function(_, expect)
      listening(function(port, server)
        local client = net.Socket()
        client:on('connectionAttempt', expect(function(_, attempted)
          assert.equal(port, attempted)
        end))
        client:on('connect', expect(function()
          assert.equal(port, client.remotePort)
          client:destroy()
          server:close()
        end))
        before(client)
        client:destroy()
        client:connect(port, '127.0.0.1')
      end)
    end)
  end

  it('counts for nothing when the socket connects elsewhere in the same tick', secondThoughts(function(client)
    client:connect(1, '127.0.0.1')
  end))

  it('counts for nothing when its look-up answers after the socket connects elsewhere', secondThoughts(function(client)
    client:connect {
      port = 1, host = 'example.invalid', lookup = function(_, _, callback)
        require('moonlatch.tick').nextTick(callback, nil, '127.0.0.1', 4)
      end,
    }
  end))

  it('checks what the lookup function gives', spec.async(function(_, expect)
    local function attempt(address, family, code)
      net.connect({ port = 1, host = 'a.b', family = 4, lookup = function(_, _, callback)
        callback(nil, address, family)
      end }):on('error', expect(function(err)
        assert.equal(code, err.code)
      end))
    end
    attempt('not an address', 4, 'ERR_INVALID_IP_ADDRESS')
    attempt(nil, nil, 'ERR_INVALID_IP_ADDRESS')
    attempt('127.0.0.1', 100, 'ERR_INVALID_ADDRESS_FAMILY')
  end))
end)

describe('choosing between addresses', function()
  local function answers(list)
    return function(_, options, callback)
      assert.is_true(options.all)
      require('process').nextTick(callback, nil, list)
    end
  end

  it('tries the next address when one refuses', spec.async(function(_, expect)
    listening(function(port, server)
      local client = net.connect {
        port = port, host = 'two.test', autoSelectFamily = true,
        lookup = answers { { address = '::1', family = 6 }, { address = '127.0.0.1', family = 4 } },
      }
      client:on('connectionAttemptFailed', expect(function(address)
        assert.equal('::1', address)
      end))
      client:on('connectionAttempt', expect(2))
      client:on('lookup', expect(2))
      client:on('connect', expect(function()
        assert.equal('127.0.0.1', client.remoteAddress)
        assert.same({ '::1:' .. port, '127.0.0.1:' .. port }, client.autoSelectFamilyAttemptedAddresses)
      end))
      client:resume()
      client:on('close', function()
        server:close()
      end)
    end)
  end))

  it('fails with all the reasons when every address refuses', spec.async(function(_, expect)
    unusedPort(function(port)
      local client = net.connect {
        port = port, host = 'two.test',
        lookup = answers { { address = '127.0.0.1', family = 4 }, { address = '::1', family = 6 } },
      }
      client:on('error', expect(function(err)
        assert.equal('AggregateError', err.name)
        assert.equal('ECONNREFUSED', err.code)
        assert.equal(2, #err.errors)
        assert.equal('::1', err.errors[2].address)
      end))
    end)
  end))

  -- A port of 127.0.0.1 where connections neither come about nor fail, since as many wait there as may; what to kill in
  -- the end, and those who wait.
  local function silent(await)
    local command = spec.command { program.path, '-e', [[
      local server = require('net').createServer()
      server:listen(0, '127.0.0.1', 1, function()
        print('port ' .. server:address().port .. '.')
        process.kill(process.pid, 'SIGSTOP')
      end)]] }
    local port = await(function(done)
      command:waitFor('stdout', 'port (%d+)%.', function(match) done(nil, tonumber(match)) end)
    end)
    local waiting = {}
    for i = 1, 2 do
      waiting[i] = net.connect(port, '127.0.0.1')
      waiting[i]:on('error', function() end)
      await(waiting[i], 'connect')
    end
    return port, function()
      command:kill(9)
      await(command, 'exit')
    end
  end

  local both = answers { { address = '127.0.0.1', family = 4 }, { address = '127.0.0.2', family = 4 } }

  it('gives an attempt up after its time', spec.coroutine(function(await)
    local port, over = silent(await)
    local server = net.createServer():listen(port, '127.0.0.2')
    await(server, 'listening')
    local client = net.connect { port = port, host = 'two.test', autoSelectFamilyAttemptTimeout = 20, lookup = both }
    local order = {}
    for _, event in ipairs { 'connectionAttempt', 'connectionAttemptTimeout', 'connectionAttemptFailed' } do
      client:on(event, function(address, atPort, family)
        assert.equal(port, atPort)
        assert.equal(4, family)
        order[#order + 1] = event .. ' ' .. address
      end)
    end
    await(client, 'connect')
    assert.same({ 'connectionAttempt 127.0.0.1', 'connectionAttemptTimeout 127.0.0.1', 'connectionAttempt 127.0.0.2' },
      order)
    assert.equal('127.0.0.2', client.remoteAddress)
    client:destroy()
    server:close()
    over()
  end))

  it('says which attempt took too long when all fail', spec.coroutine(function(await)
    local port, over = silent(await)
    local client = net.connect { port = port, host = 'two.test', autoSelectFamilyAttemptTimeout = 20, lookup = both }
    local err = await(function(done)
      client:on('error', function(err) done(nil, err) end)
    end)
    assert.equal('ETIMEDOUT', err.code)
    assert.equal('connect ETIMEDOUT 127.0.0.1:' .. port, err.errors[1].message)
    assert.equal('ECONNREFUSED', err.errors[2].code)
    over()
  end))

  it('ends with the socket that is destroyed while an attempt waits, or in the event that tells of it',
    spec.coroutine(function(await)
      local port, over = silent(await)
      for _, event in ipairs { 'connectionAttempt', 'connectionAttemptTimeout', 'later' } do
        local client = net.connect { port = port, host = 'two.test', autoSelectFamilyAttemptTimeout = 20,
          lookup = both }
        local attempts = 0
        client:on('connectionAttempt', function() attempts = attempts + 1 end)
        client:on('connect', function() error('connected') end)
        client:on('error', function(err) error(err, 0) end)
        client:on(event, function() client:destroy() end)
        if event == 'later' then
          client:once('connectionAttempt', function() timers.setImmediate(client.destroy, client) end)
        end
        assert.is_false(await(client, 'close'))
        assert.equal(1, attempts)
      end
      over()
    end))

  it('is not done without autoSelectFamily, nor for one family, nor from an address of ours',
    spec.async(function(_, expect)
      for _, options in ipairs { { autoSelectFamily = false }, { family = 4 }, { localAddress = '127.0.0.1' } } do
        unusedPort(function(port)
          options.port, options.host = port, 'two.test'
          options.lookup = expect(function(_, request, callback)
            assert.is_nil(request.all)
            require('process').nextTick(callback, nil, '127.0.0.1', 4)
          end)
          local client = net.connect(options)
          client:on('error', expect(function(err)
            assert.equal('ECONNREFUSED', err.code)
            assert.is_nil(err.errors)
            assert.is_nil(client.autoSelectFamilyAttemptedAddresses)
          end))
        end)
      end
    end))

  it('puts the families in turn', spec.async(function(_, expect)
    unusedPort(function(port)
      local client = net.connect {
        port = port, host = 'many.test',
        lookup = answers {
          { address = '::1', family = 6 }, { address = '::1', family = 6 },
          { address = '127.0.0.1', family = 4 }, { address = '127.0.0.2', family = 4 },
        },
      }
      client:on('error', expect(function()
        assert.same({ '::1:' .. port, '127.0.0.1:' .. port, '127.0.0.2:' .. port },
          client.autoSelectFamilyAttemptedAddresses)
      end))
    end)
  end))

  it('has defaults that can be changed', function()
    assert.is_true(net.getDefaultAutoSelectFamily())
    assert.equal(250, net.getDefaultAutoSelectFamilyAttemptTimeout())
    net.setDefaultAutoSelectFamilyAttemptTimeout(5)
    assert.equal(10, net.getDefaultAutoSelectFamilyAttemptTimeout())
    net.setDefaultAutoSelectFamilyAttemptTimeout(250)
    raises('ERR_INVALID_ARG_TYPE', nil, function()
      net.setDefaultAutoSelectFamily('yes')
    end)
    raises('ERR_OUT_OF_RANGE', nil, function()
      net.setDefaultAutoSelectFamilyAttemptTimeout(0)
    end)
  end)
end)

describe('misuse of a net socket', function()
  it('raises at the call', function()
    raises('ERR_MISSING_ARGS', 'The "options" or "port" or "path" argument must be specified', function()
      net.connect {}
    end)
    raises('ERR_SOCKET_BAD_PORT', 'Port should be >= 0 and < 65536. Received type number (65536).', function()
      net.connect(65536)
    end)
    raises('ERR_INVALID_ARG_TYPE', nil, function()
      net.connect { port = true }
    end)
    raises('ERR_INVALID_ARG_TYPE', 'The "options.path" property must be of type string. Received type number (5)',
      function()
        net.connect { path = 5 }
      end)
    raises('ERR_INVALID_IP_ADDRESS', 'Invalid IP address: here', function()
      net.connect { port = 1, localAddress = 'here' }
    end)
    raises('ERR_INVALID_ARG_TYPE', nil, function()
      net.connect { port = 1, localPort = 'x' }
    end)
    raises('ERR_INVALID_ARG_TYPE', nil, function()
      net.connect { port = 1, lookup = 'x' }
    end)
    raises('ERR_INVALID_ARG_VALUE', nil, function()
      net.Socket { objectMode = true }
    end)
    raises('ERR_OUT_OF_RANGE', nil, function()
      net.Socket { fd = -1 }
    end)
    raises('EBADF', 'open EBADF', function()
      net.Socket { fd = 99999 }
    end)
    local socket = net.Socket()
    raises('ERR_INVALID_ARG_TYPE', 'The "msecs" argument must be of type number. Received type string (\'x\')',
      function()
        socket:setTimeout('x')
      end)
    raises('ERR_OUT_OF_RANGE', nil, function()
      socket:setTimeout(-1)
    end)
    raises('ERR_INVALID_ARG_TYPE', nil, function()
      socket:setTimeout(1, 'x')
    end)
    raises('ERR_INVALID_ARG_TYPE', nil, function()
      socket:write(5)
    end)
  end)

  it('fails a second connect', spec.async(function(_, expect)
    listening(function(port, server)
      local client
      client = net.connect(port, '127.0.0.1', expect(function()
        client:connect(port, '127.0.0.1')
      end))
      client:on('error', expect(function(err)
        assert.equal('connect EISCONN 127.0.0.1:' .. port, err.message)
        server:close()
      end))
    end)
  end))

  it('fails a write without a connection', spec.async(function(_, expect)
    local socket = net.Socket()
    socket:on('error', expect(function(err)
      assert.equal('ERR_SOCKET_CLOSED', err.code)
    end))
    socket:write('x')
  end))
end)

describe('net.isIP', function()
  it('tells addresses from other text', function()
    assert.equal(4, net.isIP('127.0.0.1'))
    assert.equal(6, net.isIP('::1'))
    assert.equal(6, net.isIP('fe80::1%eth0'))
    assert.equal(0, net.isIP('127.0.0.1\0'))
    assert.equal(0, net.isIP('localhost'))
    assert.equal(0, net.isIP(nil))
    assert.equal(0, net.isIP({}))
    assert.is_true(net.isIPv4('8.8.8.8'))
    assert.is_false(net.isIPv4('::'))
    assert.is_true(net.isIPv6('::'))
  end)
end)

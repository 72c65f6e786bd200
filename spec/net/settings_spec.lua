-- What is set on sockets, as the system sees it. ss(8) tells.

local net = require 'net'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local T = require 'spec.support.tls'

-- Seconds to the next probe of the connection that is at this end's port; nil without keep-alive.
local function probe(socket)
  local out
  repeat
    out = program.shell(("ss -H -t -n -o 'sport = :%d and dport = :%d'"):format(socket.localPort,
      socket.remotePort)).out
  until not out:find('timer:(on', 1, true) -- which hides the other, until all that was sent is acknowledged
  local number, unit = out:match('timer:%(keepalive,([%d.]+)(%a+)')
  -- "6.976ms" is what ss makes of 6976 ms, "59sec" of a minute.
  return number and (unit == 'min' and 60 or 1) * tonumber(number)
end

-- Both ends of a connection, and the server, which is not closed.
local function connected(await, settings, ofServer)
  local server = net.createServer(ofServer or {})
  server:listen(0, '127.0.0.1')
  await(server, 'listening')
  local options = { port = server:address().port, host = '127.0.0.1' }
  for name, value in pairs(settings) do
    options[name] = value
  end
  local client = net.connect(options)
  local peer = await(server, 'connection')
  if client.connecting then
    await(client, 'connect')
  end
  server:close()
  return client, peer
end

describe('keep-alive', function()
  it('is off unless it is asked for', spec.coroutine(function(await)
    local client, peer = connected(await, {})
    assert.is_nil(probe(client))
    assert.is_nil(probe(peer))
    client:destroy()
    peer:destroy()
  end))

  it('begins after the delay given, for a client and for what a server accepts', spec.coroutine(function(await)
    local client, peer = connected(await, { keepAlive = true, keepAliveInitialDelay = 50000 },
      { keepAlive = true, keepAliveInitialDelay = 30000 })
    local ofClient, ofPeer = probe(client), probe(peer)
    assert.is_true(ofClient > 30 and ofClient <= 50, ofClient)
    assert.is_true(ofPeer > 10 and ofPeer <= 30, ofPeer)
    client:destroy()
    peer:destroy()
  end))

  it('is turned on and off later, and before there is a connection', spec.coroutine(function(await)
    local client, peer = connected(await, {})
    assert.equal(client, client:setKeepAlive(true, 40000))
    local left = probe(client)
    assert.is_true(left > 20 and left <= 40, left)
    client:setKeepAlive()
    assert.is_nil(probe(client))
    client:destroy()
    peer:destroy()
  end))

  it('is set for TLS connections', spec.coroutine(function(await)
    local server = T.serve({ keepAlive = true, keepAliveInitialDelay = 30000 }, nil, function() end)
    await(server, 'listening')
    local client = T.connect(server:address().port, {})
    client:setKeepAlive(true, 50000)
    local peer = await(server, 'secureConnection')
    assert.is_true(probe(client) > 30)
    assert.is_true(probe(peer) <= 30)
    client:destroy()
    peer:destroy()
    server:close()
  end))
end)

-- socket:handshakeTimeline(): which phases there are and what they wait for. How long they take is the machine's
-- affair.
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local EPSILON = 0.01 -- ms, of adding up

-- "name waiting" of each phase, when all times add up.
local function outline(timeline)
  local list, sums, at = {}, { network = 0, script = 0, crypto = 0 }, 0
  for i, phase in ipairs(timeline.phases) do
    list[i] = phase.name .. ' ' .. phase.waiting
    sums[phase.waiting] = sums[phase.waiting] + phase.ms
    assert.is_true(phase.ms >= 0)
    assert.is_true(math.abs(phase.at - at) < EPSILON)
    at = phase.at + phase.ms
  end
  for waiting, sum in pairs(sums) do
    assert.is_true(math.abs(sum - timeline[waiting]) < EPSILON)
  end
  assert.is_true(math.abs(at - timeline.total) < EPSILON)
  return list
end

-- The timelines of both ends once their handshake is over.
local function timelines(await, options)
  local client, peer, close = N.awaitSecurePair(await, options)
  local ours, theirs = client:handshakeTimeline(), peer:handshakeTimeline()
  client:destroy()
  peer:destroy()
  await(close)
  return ours, theirs
end

describe('socket:handshakeTimeline', function()
  it('tells what each end waited for under TLS 1.3', spec.coroutine(function(await)
    local client, server = timelines(await)
    assert.is_true(client.over)
    assert.is_true(server.over)
    assert.same({ 'ClientHello crypto', 'ServerHello network', 'ServerHello crypto', 'checkServerIdentity script',
      'Finished crypto' }, outline(client))
    assert.same({ 'ClientHello network', 'ServerHello crypto', 'Finished network', 'NewSessionTicket crypto' },
      outline(server))
  end))

  it('tells what each end waited for under TLS 1.2', spec.coroutine(function(await)
    local client, server = timelines(await, { client = { maxVersion = 'TLSv1.2' } })
    assert.same({ 'ClientHello crypto', 'ServerHello network', 'ServerHello crypto', 'checkServerIdentity script',
      'ClientKeyExchange crypto', 'NewSessionTicket network', 'NewSessionTicket crypto' }, outline(client))
    assert.same({ 'ClientHello network', 'ServerHello crypto', 'ClientKeyExchange network', 'NewSessionTicket crypto' },
      outline(server))
  end))

  it('has a phase for everything that the script is asked', spec.coroutine(function(await)
    local slow = 20
    local sockets = {}
    local server, port = P.serve(await, {
      SNICallback = function(_, callback)
        setTimeout(callback, slow)
      end,
      ALPNCallback = function()
        return 'h2'
      end,
    }, function(socket)
      sockets[#sockets + 1] = socket
      socket:resume()
    end)
    server:on('newSession', function(_, _, done)
      done()
    end)
    server:on('OCSPRequest', function(_, _, done)
      done()
    end)
    local client = T.connect(port, { ALPNProtocols = { 'h2' }, requestOCSP = true })
    client:resume()
    await(client, 'secureConnect')
    if not sockets[1] then
      await(server, 'secureConnection')
    end
    local timeline = sockets[1]:handshakeTimeline()
    local script = {}
    for _, phase in ipairs(timeline.phases) do
      if phase.waiting == 'script' then
        script[#script + 1] = phase.name
      end
    end
    assert.same({ 'SNICallback', 'ALPNCallback', 'OCSPRequest', 'newSession', 'newSession' }, script)
    assert.is_true(timeline.script >= slow - 1) -- a timer is never early
    outline(timeline)
    client:finish()
    await(client, 'close')
    P.close(await, server)
  end))

  it('goes on while the handshake does', spec.coroutine(function(await)
    local seen
    local server, port = P.serve(await, {})
    local client
    client = T.connect(port, { checkServerIdentity = function()
      seen = client:handshakeTimeline()
    end })
    client:on('connect', function()
      assert.same({}, client:handshakeTimeline().phases)
    end)
    await(client, 'secureConnect')
    assert.is_false(seen.over)
    assert.same({ 'ClientHello crypto', 'ServerHello network', 'ServerHello crypto', 'checkServerIdentity script' },
      outline(seen))
    local over = client:handshakeTimeline()
    assert.is_true(over.over)
    assert.is_true(over.total >= seen.total)
    assert.equal(over.total, client:handshakeTimeline().total)
    client:destroy()
    P.close(await, server)
  end))

  it('is there for those who hear of a failure', spec.coroutine(function(await)
    local server, port = P.serve(await, {})
    local client = T.connect(port, { ca = spec.ca().cert })
    local ours, theirs
    client:on('error', function() end)
    await(function(failed)
      server:on('tlsClientError', function(_, socket)
        theirs = socket:handshakeTimeline()
        failed()
      end)
    end)
    assert.is_true(theirs.over)
    assert.same({ 'ClientHello network', 'ServerHello crypto' }, { unpack(outline(theirs), 1, 2) })
    ours = client:handshakeTimeline()
    assert.is_true(ours == nil or ours.over)
    P.close(await, server)
  end))

  it('is nothing before there is a connection and after it has been closed', spec.coroutine(function(await)
    local socket = tls.TLSSocket()
    assert.is_nil(socket:handshakeTimeline())
    local server, port = P.serve(await, {})
    local client = T.connect(port)
    assert.is_nil(client:handshakeTimeline())
    await(client, 'secureConnect')
    client:destroy()
    assert.is_nil(client:handshakeTimeline())
    P.close(await, server)
  end))
end)
